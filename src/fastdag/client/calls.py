"""The calls of the service's API: what each sends and how its answer is read. `Client` and `AsyncClient` share them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from fastdag.client import answers, wire
from fastdag.client.owner import started_at
from fastdag.errors import FastDAGError, ServiceError, UnitIdRequiredError, UnitNotFoundError
from fastdag.explain import Explanation
from fastdag.status import Requirement
from fastdag.units import Dependency, Unit

if TYPE_CHECKING:
    from fastdag._core import Graph

T = TypeVar("T")


class Call(NamedTuple, Generic[T]):
    """One call.

    Attributes
    ----------
    method, path : str
    fields : dict or None
        The body.
    wait : float or None
        Seconds for which the service may wait before it answers; None: no limit.
    read : callable
        Makes the answer of the body, as bytes.
    """

    method: str
    path: str
    fields: dict[str, object] | None
    wait: float | None
    read: Callable[[bytes], T]

    def answer(self, body: bytes, where: str) -> T:
        """Read the answer; `where` names the service."""
        try:
            return self.read(body)
        except FastDAGError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(f"the answer of the service at {where} makes no sense: {error!r}", 200) from None


def _read(name: str, query: dict[str, str | None], read: Callable[[Any], T]) -> Call[T]:
    return Call("GET", wire.target(f"/v1/{name}", query), None, 0.0, lambda body: read(json.loads(body)))


def _write(name: str, fields: dict[str, object], read: Callable[[Any], T], wait: float | None = 0.0) -> Call[T]:
    return Call("POST", f"/v1/{name}", fields, wait, lambda body: read(json.loads(body)))


def _nothing(_: Any) -> None:
    return None


def _limit(timeout: float | None) -> float | None:
    """Check the seconds to wait; infinity is no limit."""
    if timeout is None or timeout == math.inf:
        return None
    if not 0 <= timeout <= wire.LONGEST:
        raise ValueError(f"a timeout is 0 to {wire.LONGEST} seconds, or None for no limit, not {timeout!r}")
    return timeout


def ping() -> Call[answers.Ping]:
    return _read(
        "ping",
        {},
        lambda view: answers.Ping(view["version"], view["pid"], view["instance"], view["journal"]),
    )


def register_all(units: Iterable[str]) -> Call[None]:
    if isinstance(units, str):
        message = f"units must be an iterable of names, not the single name {units!r}; pass [{units!r}]"
        raise UnitIdRequiredError(message)
    return _write("register", {"units": list(units)}, _nothing)


def want(
    unit: str, depends_on: str | Sequence[str], requires: Requirement | str, replace: bool
) -> Call[answers.UnitStatus]:
    wanted = [depends_on] if isinstance(depends_on, str) else list(depends_on)
    fields = {"unit": unit, "depends_on": wanted, "requires": answers.requires_of(requires), "replace": replace}
    return _write("want", fields, answers.unit_status)


def add_dependencies(rows: Iterable[Sequence[Any]], replace: bool) -> Call[int]:
    dependencies = []
    for row in rows:
        unit, depends_on, requires = row if len(row) == 3 else (*row, Requirement.SUCCESS)
        dependencies.append({"unit": unit, "depends_on": depends_on, "requires": answers.requires_of(requires)})
    return _write("dependencies", {"dependencies": dependencies, "replace": replace}, lambda view: int(view["added"]))


def start(unit: str, timeout: float | None, owner: int | None) -> Call[answers.ServiceUnit]:
    limit = _limit(timeout)
    lease = None if owner is None else {"pid": owner, "started": started_at(owner)}
    return _write("start", {"unit": unit, "timeout": limit, "owner": lease}, answers.service_unit, limit)


def wait(unit: str, status: str | None, timeout: float | None) -> Call[answers.ServiceUnit]:
    limit = _limit(timeout)
    return _write("wait", {"unit": unit, "status": status, "timeout": limit}, answers.service_unit, limit)


def wait_ready(unit: str, timeout: float | None) -> Call[None]:
    limit = _limit(timeout)
    return _write("wait", {"unit": unit, "status": None, "timeout": limit}, _nothing, limit)


def end(verb: str, unit: str, reason: str | None) -> Call[answers.ServiceUnit]:
    """`verb`: complete, fail, skip or cancel."""
    return _write(verb, {"unit": unit, "reason": reason}, answers.service_unit)


def update_status(unit: str, status: str, reason: str | None) -> Call[None]:
    return _write("status", {"unit": unit, "status": status, "reason": reason}, _nothing)


def status(unit: str) -> Call[answers.UnitStatus]:
    return _read("status", {"unit": unit}, answers.unit_status)


def unit(unit: str) -> Call[Unit]:
    return _read("status", {"unit": unit}, answers.unit)


def units() -> Call[list[Unit]]:
    return _read("list", {}, lambda view: [answers.unit(each) for each in view["units"]])


def is_ready(unit: str) -> Call[bool]:
    return _read("status", {"unit": unit}, lambda view: bool(view["ready"]))


def state(unit: str) -> Call[str]:
    return _read("status", {"unit": unit}, lambda view: str(view["state"]))


def dependencies(unit: str) -> Call[list[Dependency]]:
    return _read("status", {"unit": unit}, _dependencies)


def unmet_dependencies(unit: str) -> Call[list[Dependency]]:
    return _read("status", {"unit": unit}, lambda view: [each for each in _dependencies(view) if not each.satisfied])


def _dependencies(view: Any) -> list[Dependency]:
    if not view["status"]:
        raise UnitNotFoundError(view["unit"])
    return [answers.dependency(each) for each in view["dependencies"]]


def ready() -> Call[list[str]]:
    return _read("ready", {}, lambda view: list(view["units"]))


def explain(unit: str) -> Call[Explanation]:
    return _read("explain", {"unit": unit}, answers.explanation)


def snapshot() -> Call[answers.Snapshot]:
    return _read(
        "snapshot",
        {},
        lambda view: answers.Snapshot(view["event_id"], [answers.unit_status(each) for each in view["units"]]),
    )


def graph() -> Call[Graph[str]]:
    return _read("graph", {"format": "json"}, _graph)


def _graph(view: Any) -> Graph[str]:
    from fastdag._core import Graph  # noqa: PLC0415 - the compiled core is needed here only

    graph: Graph[str] = Graph()
    for unit in view["units"]:
        graph.add_vertex(unit["unit"])
    graph.add_edges_from(
        (each["unit"], each["depends_on"], answers.requirement_of(each["requires"])) for each in view["dependencies"]
    )
    return graph


def picture(format_: str) -> Call[str]:
    """`format_`: dot or mermaid."""
    return Call("GET", wire.target("/v1/graph", {"format": format_}), None, 0.0, lambda body: body.decode())


def events(unit: str | None, kinds: str | Iterable[str] | None, last_event_id: str | None) -> tuple[str, str]:
    """Give the path and the additional header for events."""
    if last_event_id is not None and not (last_event_id.isascii() and last_event_id.isprintable()):
        raise ValueError(f"a last_event_id comes from an Event's stream or a Snapshot; {last_event_id!r} does not")
    chosen = None if kinds is None else kinds if isinstance(kinds, str) else ",".join(kinds)
    header = "" if last_event_id is None else f"Last-Event-ID: {last_event_id}\r\n"
    return wire.target("/v1/events", {"unit": unit, "kinds": chosen}), header

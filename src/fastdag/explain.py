"""Why units wait: the chains of unmet dependencies behind one unit, and the units that can never become ready."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from fastdag.events import BLOCKED, READY, STATES
from fastdag.status import Status
from fastdag.units import Dependency, shown

if TYPE_CHECKING:
    from fastdag._core import StatusGraph


class Held(NamedTuple):
    """One unit of an explanation.

    Attributes
    ----------
    unit, status, state : str
    seconds : float or None
        For how long it has had the status; `None` when it is not registered.
    unmet : list of Dependency
        What it waits for. Empty for a unit that is ready, and for one that runs or has ended: what that one's own
        dependencies are no longer matters.
    """

    unit: str
    status: str
    state: str
    seconds: float | None
    unmet: list[Dependency]

    def __str__(self) -> str:
        return "not registered" if self.seconds is None else f"{self.status} for {self.seconds:.1f} s"


class Explanation(NamedTuple):
    """Why a unit waits. As text: an indented tree (from level 20 on with numbers) that spells out each unit once.

    Attributes
    ----------
    unit : str
    units : mapping of str to Held
        The unit and everything that it waits for, directly or not, by name.
    """

    unit: str
    units: Mapping[str, Held]

    @property
    def held_up_by(self) -> list[Held]:
        """The units at the ends of the chains, which wait for nobody; empty when the unit itself waits for nobody."""
        return [held for held in self.units.values() if not held.unmet and held.unit != self.unit]

    @property
    def stalled_because(self) -> list[Dependency]:
        """The dependencies of the unit that nothing can satisfy any more, as in `Stall`; O(units + dependencies) here.

        Empty when the unit can still become ready.
        """
        waiting = {
            held.unit: _Waiting(held.status, held.state == STATES[BLOCKED], held.unmet)
            for held in self.units.values()
            if held.status and held.state != STATES[READY]
        }
        found = _dead(waiting)
        return _because(waiting[self.unit].unmet, found) if self.unit in found else []

    def __str__(self) -> str:
        first = self.units[self.unit]
        state = f"is {first.state}: {first}" if first.status else "is not registered"
        lines = [f"{self.unit!r} {state}"]
        spelled_out = set()
        open_ = [(1, dependency) for dependency in reversed(first.unmet)]
        while open_:
            depth, dependency = open_.pop()
            held = self.units[dependency.depends_on]
            indent = "  " * depth if depth <= _DEEPEST else "  " * _DEEPEST + f"({depth}) "
            line = f"{indent}needs {dependency.requires} of {held.unit!r}: {held}"
            if dependency.impossible:
                line += ", impossible"
            elif held.status == Status.PENDING and held.state == STATES[READY]:
                line += ", ready"
            if held.unmet:
                if held.unit in spelled_out:
                    line += ", see above"
                else:
                    spelled_out.add(held.unit)
                    line += ", because it"
                    open_.extend((depth + 1, below) for below in reversed(held.unmet))
            lines.append(line)
        return "\n".join(lines)


class Stall(NamedTuple):
    """A unit that can never become ready.

    Attributes
    ----------
    unit, status : str
    because : list of Dependency
        Those of its dependencies that nothing can satisfy any more; `explain(unit)` has the chains behind them.

    Examples
    --------
    >>> from fastdag.status import Requirement
    >>> print(Stall("app", "pending", [Dependency("app", "db", Requirement.SUCCESS, "failed", False)]))
    'app' (pending) can never become ready: it needs success of 'db' (failed)
    """

    unit: str
    status: str
    because: list[Dependency]

    def __str__(self) -> str:
        reasons = (f"{why.requires} of {why.depends_on!r} ({shown(why.status)})" for why in self.because)
        return f"{self.unit!r} ({self.status}) can never become ready: it needs {', '.join(reasons)}"


_DEEPEST = 20  # levels that are indented; from there on they are numbered, or a long chain would be mostly blanks
_NOT_BEGUN = frozenset({Status.PENDING, Status.SKIPPED})  # such a unit waits for its dependencies, or waited in vain


def explain(core: StatusGraph[str], names: Mapping[int, str], unit: str) -> Explanation:
    """Follow the unmet dependencies of a unit down to the units that hold it up; O(units + dependencies) of those."""
    now = time.monotonic_ns()
    units: dict[str, Held] = {}
    queue = deque([unit])
    while queue:
        name = queue.popleft()
        if name in units:
            continue
        code, state, since = core.snapshot(name)
        status = names[code]
        unmet = []
        if state != READY and (name == unit or status in _NOT_BEGUN):
            unmet = _unmet(core, names, name)
        seconds = max(0, now - since) / 1e9 if status else None
        units[name] = Held(name, status, STATES[state], seconds, unmet)
        queue.extend(dependency.depends_on for dependency in unmet)
    return Explanation(unit, units)


def stalled(core: StatusGraph[str], names: Mapping[int, str]) -> list[Stall]:
    """Find the units that can never become ready; see `Manager.stalled` for the definition.

    One pass over the units that are not ready finds the dependencies that are dead at once, a second one, from
    dependency to dependent, those that are dead because they wait for such: O(units + dependencies).
    """
    waiting: dict[str, _Waiting] = {}
    for unit in core.registered():
        code, state, _ = core.snapshot(unit)
        if state != READY:
            waiting[unit] = _Waiting(names[code], state == BLOCKED, _unmet(core, names, unit))
    found = _dead(waiting)
    return [
        Stall(unit, status, _because(unmet, found)) for unit, (status, _, unmet) in waiting.items() if unit in found
    ]


class _Waiting(NamedTuple):
    """A registered unit that is not ready."""

    status: str
    blocked: bool
    unmet: list[Dependency]


def _dead(waiting: Mapping[str, _Waiting]) -> set[str]:
    """Find those that can never become ready, from dependency to dependent; what is not among these goes on."""
    dependents: dict[str, list[str]] = {}
    found: set[str] = set()
    for unit, (_, blocked, unmet) in waiting.items():
        if blocked or any(map(_ended, unmet)):
            found.add(unit)
        for dependency in unmet:
            dependents.setdefault(dependency.depends_on, []).append(unit)
    spreading = list(found)
    while spreading:
        unit = spreading.pop()
        if waiting[unit].status == Status.PENDING:  # one that runs may still reach any status, stalled or not
            for dependent in dependents.get(unit, ()):
                if dependent not in found:
                    found.add(dependent)
                    spreading.append(dependent)
    return found


def _because(unmet: Iterable[Dependency], dead: Container[str]) -> list[Dependency]:
    return [why for why in unmet if _ended(why) or (why.status == Status.PENDING and why.depends_on in dead)]


def _unmet(core: StatusGraph[str], names: Mapping[int, str], unit: str) -> list[Dependency]:
    return [
        Dependency(unit, depends_on, requires, names[status], False)
        for depends_on, requires, status, satisfied in core.dependencies(unit)
        if not satisfied
    ]


def _ended(unmet: Dependency) -> bool:
    """Whether what an unmet dependency depends on does not go on by itself."""
    return unmet.status == Status.NOT_REGISTERED or unmet.status in Status.TERMINAL or unmet.impossible

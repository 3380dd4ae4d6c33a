"""`Client`: the service for threads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fastdag.client import answers, calls, sse
from fastdag.client.transport import PATIENCE, Address, Stream, Transport
from fastdag.events import Event
from fastdag.explain import Explanation
from fastdag.status import Requirement
from fastdag.units import Dependency, Unit

if TYPE_CHECKING:
    from fastdag._core import Graph


class Client:
    """A fastdag service, with the names of `fastdag.Manager`.

    Safe to use from several threads at once, each of which has a connection while it waits for an answer, and after a
    fork. Connections are kept for the next call; one that the service has ended meanwhile, because it was restarted, is
    opened again. A call that the service may have taken before it went away is not sent twice, unless it only reads:
    it raises `ServiceNotFoundError`.

    Parameters
    ----------
    socket : path, optional
        The service's Unix socket; without it and without `url` that of `default_socket()`.
    url : str, optional
        `http://HOST:PORT` or `https://HOST:PORT` of a service that listens there.
    token : str, optional
        The text in that service's `--token-file`; sent to another machine by https only.
    cafile : str, optional
        The certificates to trust instead of the system's, for https.
    timeout : float, default 30
        Seconds for the service to answer. A call that waits has its own `timeout` on top.

    Raises
    ------
    ServiceNotFoundError
        By any call: if nobody listens, or the service goes away before it answers.
    ServiceError
        By any call: if the service refuses it for a reason that has no class of its own, or does not answer.
    FastDAGError
        By any call: what the same method of `Manager` raises.

    Examples
    --------
    A service that is not there says how to start one:

    >>> from fastdag.client import Client
    >>> with Client("/nowhere/fastdag.sock") as client:
    ...     client.ping()
    Traceback (most recent call last):
        ...
    fastdag.errors.ServiceNotFoundError: no fastdag service at /nowhere/fastdag.sock; start one with: \
fastdag serve --background --socket /nowhere/fastdag.sock
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
        cafile: str | None = None,
        timeout: float = PATIENCE,
    ) -> None:
        self._transport = Transport(Address(socket, url, token, cafile), timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that no call is using. The next call opens one again."""
        self._transport.close()

    def _do(self, call: calls.Call[calls.T]) -> calls.T:
        body = self._transport.call(call.method, call.path, call.fields, call.wait)
        return call.answer(bytes(body), self._transport.address.where)

    def ping(self) -> answers.Ping:
        """Ask who answers."""
        return self._do(calls.ping())

    def register(self, unit: str) -> None:
        """Register a unit: it gets the status `pending`. As `Manager.register`."""
        self._do(calls.register_all([unit]))

    def register_all(self, units: Iterable[str]) -> None:
        """Register units, all or none. As `Manager.register_all`."""
        self._do(calls.register_all(units))

    def want(
        self,
        unit: str,
        depends_on: str | Sequence[str],
        requires: Requirement | str = Requirement.SUCCESS,
        replace: bool = False,
    ) -> answers.UnitStatus:
        """Let a unit, which is registered if it is not yet, depend on others, on all of them or none.

        `requires`, here and below: a plain string asks for exactly that status, as in `Manager.add_dependency`.
        """
        return self._do(calls.want(unit, depends_on, requires, replace))

    def add_dependency(
        self, unit: str, depends_on: str, requires: Requirement | str = Requirement.SUCCESS, replace: bool = False
    ) -> None:
        """Let a registered unit depend on another. As `Manager.add_dependency`."""
        self._do(calls.add_dependencies([(unit, depends_on, requires)], replace))

    def add_dependencies(
        self, dependencies: Iterable[tuple[str, str] | tuple[str, str, Requirement | str]], replace: bool = False
    ) -> int:
        """Add many dependencies, all of them or none; gives how many are new. As `Manager.add_dependencies`."""
        return self._do(calls.add_dependencies(dependencies, replace))

    def start(self, unit: str, timeout: float | None = None, owner: int | None = None) -> answers.ServiceUnit:
        """Wait until a unit, which is registered if it is not yet, is ready, and set it to `started`.

        With `owner`, the number of a process on the service's machine, the unit becomes `failed` when that process ends
        before the unit does. `timeout` in seconds; 0: do not wait; None: no limit.

        Raises
        ------
        DependencyFailedError
            If the unit is, or becomes, blocked, or others end it while this waits, as complete or cancel do.
        WaitTimeoutError
            If the time is over.
        SameStatusError
            If it is started already, or others start it while this waits.
        ProcessLookupError
            If there is no such process.
        """
        return self._do(calls.start(unit, timeout, owner))

    def wait(self, unit: str, status: str | None = None, timeout: float | None = None) -> answers.ServiceUnit:
        """Wait until a unit has a status, or without one until it is ready. Registers nothing.

        Raises
        ------
        DependencyFailedError
            If the unit ends in another status than that, or is, or becomes, blocked.
        WaitTimeoutError
            If the time is over.
        """
        return self._do(calls.wait(unit, status, timeout))

    def wait_ready(self, unit: str, timeout: float | None = None) -> None:
        """Wait until a unit is ready. As `Manager.wait_ready`."""
        self._do(calls.wait_ready(unit, timeout))

    def complete(self, unit: str, reason: str | None = None) -> answers.ServiceUnit:
        """Set a unit to `completed`."""
        return self._do(calls.end("complete", unit, reason))

    def fail(self, unit: str, reason: str | None = None) -> answers.ServiceUnit:
        """Set a unit to `failed`."""
        return self._do(calls.end("fail", unit, reason))

    def skip(self, unit: str, reason: str | None = None) -> answers.ServiceUnit:
        """Set a unit to `skipped`."""
        return self._do(calls.end("skip", unit, reason))

    def cancel(self, unit: str, reason: str | None = None) -> answers.ServiceUnit:
        """Set a unit to `canceled`."""
        return self._do(calls.end("cancel", unit, reason))

    def update_status(self, unit: str, status: str, reason: str | None = None) -> None:
        """Change the status of a unit. As `Manager.update_status`, with a reason."""
        self._do(calls.update_status(unit, status, reason))

    def unit(self, unit: str) -> Unit:
        """Give a unit; an unknown one has the status `NOT_REGISTERED`. As `Manager.unit`."""
        return self._do(calls.unit(unit))

    def status(self, unit: str) -> answers.UnitStatus:
        """Give all that the service knows of a unit, and what it depends on."""
        return self._do(calls.status(unit))

    def units(self) -> list[Unit]:
        """Give all units, in the order of registration. As `Manager.units`."""
        return self._do(calls.units())

    def is_ready(self, unit: str) -> bool:
        """Tell whether a unit is registered and all it depends on satisfied. As `Manager.is_ready`."""
        return self._do(calls.is_ready(unit))

    def state(self, unit: str) -> str:
        """Give `waiting`, `ready` or `blocked`. As `Manager.state`."""
        return self._do(calls.state(unit))

    def dependencies(self, unit: str) -> list[Dependency]:
        """Give what a unit depends on. As `Manager.dependencies`."""
        return self._do(calls.dependencies(unit))

    def unmet_dependencies(self, unit: str) -> list[Dependency]:
        """Give what a unit depends on and is not satisfied. As `Manager.unmet_dependencies`."""
        return self._do(calls.unmet_dependencies(unit))

    def ready(self) -> list[str]:
        """Give the pending units that could start now."""
        return self._do(calls.ready())

    def explain(self, unit: str) -> Explanation:
        """Say why a unit waits, down to the units that hold it up. As `Manager.explain`."""
        return self._do(calls.explain(unit))

    def snapshot(self) -> answers.Snapshot:
        """Give all units of one moment, and from where to go on with `events`."""
        return self._do(calls.snapshot())

    def graph(self) -> Graph[str]:
        """Give the dependencies as they are now, a plain graph whose labels are requirements. As `Manager.graph`."""
        return self._do(calls.graph())

    def to_dot(self) -> str:
        """Draw the units and dependencies in Graphviz's language. As `Manager.to_dot`."""
        return self._do(calls.picture("dot"))

    def to_mermaid(self) -> str:
        """Draw the units and dependencies as a Mermaid flow chart."""
        return self._do(calls.picture("mermaid"))

    def events(
        self,
        unit: str | None = None,
        kinds: str | Iterable[str] | None = None,
        last_event_id: str | None = None,
    ) -> Events:
        """Give the events from now on, or from another one on, as an iterator.

        Parameters
        ----------
        unit, kinds : optional
            As for `Manager.subscribe`.
        last_event_id : str, optional
            Go on behind this event: `Events.last_event_id` of an earlier stream, or `Snapshot.event_id`.

        Returns
        -------
        Events
            Hears every event that begins after this call returned.
        """
        return Events(self._transport, unit, kinds, last_event_id)


class Events:
    """The events of a service, an iterator; end it with `close` or use it in `with`. For one thread at a time.

    An `Event` of a service has seconds since the epoch as its `time`. The iterator ends by an exception only:
    `ServiceNotFoundError` when the service went away, `EventGapError` when events are missing.

    Attributes
    ----------
    last_event_id : str or None
        Of the last event given; pass it to `Client.events` to go on from there.
    """

    def __init__(
        self, transport: Transport, unit: str | None, kinds: str | Iterable[str] | None, last_event_id: str | None
    ) -> None:
        path, header = calls.events(unit, kinds, last_event_id)
        self._reader = sse.EventReader(last_event_id)
        self._stream = Stream(transport.address, path, header, transport.timeout, sse.SILENCE)

    @property
    def last_event_id(self) -> str | None:  # noqa: D102 - above
        return self._reader.last_event_id

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while True:
            event = self._reader.take()
            if event is not None:
                return event
            self._reader.feed(self._stream.read())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._stream.close()

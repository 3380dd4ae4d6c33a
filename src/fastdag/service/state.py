"""What the service knows and does, without HTTP: `Service`, one Manager with reasons, leases, history and journal.

Guarantees
----------
- Whatever the manager does is seen by one subscriber, `_hear`, which keeps history and journal: also what follows from
  a call (units that are skipped), and what others do who use the manager.
- An effect is in the journal with all the others of its call, or not at all.
- `settled` returns when everything that was done before is in the journal. The answers wait for it, those of reads too,
  so that nobody is told what a crash could undo.

Assumes
-------
- All methods, and all changes of a manager with a journal, are called in the thread of the event loop. So is `_hear`.
- Nobody else adds dependencies: between what `want` asks first and what it adds nothing changes.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import islice
from threading import get_ident
from typing import TYPE_CHECKING, NamedTuple

import msgspec

import fastdag
from fastdag.errors import (
    CapacityError,
    ConflictingRequirementError,
    CycleError,
    DependencyFailedError,
    EdgeNotFoundError,
    FastDAGError,
    JournalError,
    SameStatusError,
    VertexNotFoundError,
    WaitTimeoutError,
)
from fastdag.events import BLOCKED, KINDS, READY, STATES, Event
from fastdag.explain import Explanation
from fastdag.manager import Manager
from fastdag.service.history import History, Kept
from fastdag.service.journal import DependencyRow, UnitRow
from fastdag.service.leases import Lease, OwnerNotFoundError, boot
from fastdag.service.messages import (
    Added,
    Dependencies,
    End,
    EventsQuery,
    EventView,
    ExplanationView,
    GraphQuery,
    GraphView,
    HeldView,
    Ping,
    Ready,
    Register,
    Requires,
    Snapshot,
    Start,
    StatusView,
    UnitQuery,
    Units,
    UnitView,
    Update,
    Wait,
    Want,
    dependency_view,
    requirement_of,
    requires_of,
)
from fastdag.status import Requirement, Status
from fastdag.units import Dependency

if TYPE_CHECKING:
    from fastdag.service.journal import Journal


Gone = Callable[[], asyncio.Future[None]]  # makes a future that is done when the client has gone


Cause = tuple[str, str, str | None]  # a unit, its status, and the reason that was given for it


_FEW = 32  # dependencies in one call that are added one by one
_CAUSES = 100  # of those who failed first so many are named
_IDLE = 15.0  # seconds without an event after which a stream says that it is alive


class Limits(NamedTuple):
    """What the service holds at the most."""

    names: int = 100_000  # units, those included that are only depended on
    dependencies: int = 1_000_000
    waiters: int = 10_000
    streams: int = 1_000  # each costs some 20 µs at every event


_LIMITS = Limits()

_BUILT_IN = Status.TERMINAL | {Status.PENDING, Status.STARTED}
_BEGUN = _BUILT_IN - {Status.PENDING, Status.SKIPPED}  # such a unit waits for nothing any more


class ServiceStoppingError(FastDAGError, RuntimeError):
    """The service is stopping; whoever waited has to ask again once it runs."""


class TooManyWaitersError(FastDAGError, RuntimeError):
    """The service has as many waiters as it may have."""


class TooManyStreamsError(FastDAGError, RuntimeError):
    """The service has as many streams of events as it may have."""


class ClientGoneError(Exception):
    """The client that waited has closed its connection: nobody is left to answer."""


class _Note(NamedTuple):
    """What the service knows of a registered unit beside its status."""

    since: float  # monotonic: when it got its status
    reason: str | None
    lease: Lease | None


class Service:
    """One manager, and all that the API offers.

    Parameters
    ----------
    manager : Manager
        New and empty, where there is a journal to take it from.
    journal : Journal, optional
        Opened and not started.
    limits : Limits
    on_failed : callable, optional
        Called with what is wrong when the journal fails: the service has to stop.
    """

    def __init__(
        self,
        manager: Manager,
        journal: Journal | None = None,
        limits: Limits = _LIMITS,
        on_failed: Callable[[Exception], object] | None = None,
    ) -> None:
        self.manager = manager
        self.journal = journal
        self.limits = limits
        self._on_failed = on_failed
        self.history = History()
        self.waiters = 0
        self.streams = 0  # kept by whoever sends them
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._notes: dict[str, _Note] = {}
        self._names: set[str] = set()
        self._dependencies = 0
        self._next: tuple[str, str | None, Lease | None] | None = None  # unit, reason and lease of a change under way
        self._rows: list[UnitRow | DependencyRow] = []  # effects of the call under way, for the journal
        self._shown_at: deque[tuple[int, int]] = deque()  # positions in the journal, and the events to show once there
        self._flushing = False
        self._answers: set[asyncio.Future[None]] = set()  # of those who wait
        self._followers: dict[str, set[Callable[[str, str | None], None]]] = {}  # told the statuses of a unit
        self._ends: dict[str, tuple[Cause, ...]] = {}  # what failed first behind a unit, as of event `_ends_at`
        self._ends_at = 0
        self._stopping = False
        manager.reserve(_BUILT_IN)  # so that no unit that fails is refused for the statuses that others brought
        orphans = [] if journal is None else self._restore(journal)
        manager.subscribe(self._hear)
        for row in orphans:
            self._end(row.unit, Status.FAILED, f"its process {row.owner} ended while the service was down")

    # --- changes --------------------------------------------------------------------------------------------------

    def register(self, request: Register) -> Units:
        """Register units, all or none."""
        self._refuse_excess(request.units, 0)
        self.manager.register_all(request.units)
        return Units([self._view(unit) for unit in request.units])

    def want(self, request: Want) -> StatusView:
        """Let a unit, registered if need be, depend on others; on all of them or, with nothing changed, on none."""
        unit, manager = request.unit, self.manager
        requires = requirement_of(request.requires)
        self._refuse_excess((unit, *request.depends_on), len(request.depends_on))
        # All that could be refused is asked first: a registration cannot be taken back. Few are asked about and added
        # one by one; for many it is cheaper to look at the whole graph, once.
        many = len(request.depends_on) > _FEW
        above = self._above(unit) if many else None
        for depends_on in request.depends_on:
            if (above is None or depends_on in above) and (path := manager.find_cycle(unit, depends_on)):
                raise CycleError(path)
            existing = self._requirement(unit, depends_on)
            if existing not in (None, requires) and not request.replace:
                raise ConflictingRequirementError(unit, depends_on, existing, requires)
        manager.reserve(requires.satisfied | requires.impossible)
        if unit not in self._notes:
            manager.register(unit)
        if many:
            rows = [(unit, depends_on, requires) for depends_on in request.depends_on]
            self._dependencies += manager.add_dependencies(rows, request.replace)
        else:
            for depends_on in request.depends_on:
                self._add(unit, depends_on, requires, request.replace)
        return self._status(unit)

    def add_dependencies(self, request: Dependencies) -> Added:
        """Let registered units depend on others, all or none."""
        names = (name for wish in request.dependencies for name in (wish.unit, wish.depends_on))
        self._refuse_excess(names, len(request.dependencies))
        rows = [(wish.unit, wish.depends_on, requirement_of(wish.requires)) for wish in request.dependencies]
        if len(rows) == 1:  # at the cost of its own, not of a look at the whole graph
            return Added(int(self._add(*rows[0], request.replace)))
        added = self.manager.add_dependencies(rows, request.replace)
        self._dependencies += added
        return Added(added)

    def _above(self, unit: str) -> set[str]:
        """Give a unit and all that depend on it, directly or not; it cannot depend on any of these. O(graph)."""
        try:
            return {unit, *self.manager.graph.ancestors(unit)}
        except VertexNotFoundError:
            return {unit}

    def _add(self, unit: str, depends_on: str, requires: Requirement, replace: bool) -> bool:
        """Add one dependency; tells whether it was not there before."""
        new = self._requirement(unit, depends_on) is None
        self.manager.add_dependency(unit, depends_on, requires, replace)
        self._dependencies += new
        return new

    def update(self, request: Update) -> UnitView:
        """Give a unit another status; it is tied to its process no longer."""
        return self._end(request.unit, request.status, request.reason)

    def set_status(self, unit: str, status: str, reason: str | None = None) -> None:
        """Give a unit another status, without a request; its name and the reason are not looked at.

        Raises
        ------
        UnitNotFoundError, SameStatusError
            As `Manager.update_status`.
        """
        self._set(unit, status, reason, None)

    def complete(self, request: End) -> UnitView:
        """Set a unit to `completed`."""
        return self._end(request.unit, Status.COMPLETED, request.reason)

    def fail(self, request: End) -> UnitView:
        """Set a unit to `failed`; what needs its success is skipped, and so on down."""
        return self._end(request.unit, Status.FAILED, request.reason)

    def skip(self, request: End) -> UnitView:
        """Set a unit to `skipped`."""
        return self._end(request.unit, Status.SKIPPED, request.reason)

    def cancel(self, request: End) -> UnitView:
        """Set a unit to `canceled`."""
        return self._end(request.unit, Status.CANCELED, request.reason)

    def _end(self, unit: str, status: str, reason: str | None) -> UnitView:
        self._set(unit, status, reason, None)
        return self._view(unit)

    async def start(self, request: Start, gone: Gone) -> UnitView:
        """Wait until a unit, registered if need be, is ready, and set it to `started`; both or, on an error, neither.

        Parameters
        ----------
        request : Start
        gone : callable
            Asked when there is something to wait for; once its future is done, nothing is started.

        Raises
        ------
        DependencyFailedError
            If it is, or becomes, blocked, or others end it while this waits; one that had ended before may be started.
        SameStatusError
            If it is started, or others start it while this waits.
        """
        unit, manager = request.unit, self.manager
        lease = None if request.owner is None else Lease(request.owner.pid, request.owner.started)
        try:
            if unit not in self._notes:
                self._refuse_excess((unit,), 0)
                manager.register(unit)
            if manager.unit(unit).status == Status.STARTED:
                raise SameStatusError(unit, Status.STARTED)
            if not manager.is_ready(unit):
                await self._startable(request, gone)
            self._set(unit, Status.STARTED, None, lease)
        except BaseException:
            if lease is not None:
                lease.close(self._loop)
            raise
        return self._view(unit)

    async def _startable(self, request: Start, gone: Gone) -> None:
        """Return in the turn of the loop in which a unit is ready and nobody has started or ended it meanwhile."""
        unit = request.unit
        until = None if request.timeout is None else self._loop.time() + request.timeout
        ended: asyncio.Future[FastDAGError] = self._loop.create_future()

        def look(status: str, reason: str | None) -> None:
            if ended.done():
                return
            if status == Status.STARTED:
                ended.set_result(SameStatusError(unit, status))
            elif status in Status.TERMINAL and self.manager.state(unit) != STATES[BLOCKED]:  # else it hears that
                ended.set_result(DependencyFailedError(unit, [(unit, status)], [(unit, status, reason)]))

        with self._following(unit, look):
            # Others may start it, end it, or give it another dependency, before this task goes on.
            while not ended.done() and not self.manager.is_ready(unit):
                ready = self.manager.when_ready(unit)
                await self._wait(ready, unit, until, gone, f"dependencies of unit {unit}", ended)
        if ended.done():
            raise ended.result()

    # --- waiting --------------------------------------------------------------------------------------------------

    async def wait(self, request: Wait, gone: Gone) -> UnitView:
        """Wait until a unit is ready or, where a status is given, has it."""
        unit, manager = request.unit, self.manager
        until = None if request.timeout is None else self._loop.time() + request.timeout
        if request.status is not None:
            await self._reached(unit, request.status, until, gone, f"unit {unit} to be {request.status}")
            return self._view(unit)
        what = f"dependencies of unit {unit}"
        # A unit that is registered to be given dependencies, in one call, is ready for a moment.
        while not manager.is_ready(unit):
            if unit in self._notes:
                await self._wait(manager.when_ready(unit), unit, until, gone, what)
            else:
                await self._reached(unit, None, until, gone, what)
        return self._view(unit)

    async def _reached(self, unit: str, wanted: str | None, until: float | None, gone: Gone, what: str) -> None:
        """Wait until a unit has a status or, where none is wanted, is registered.

        The manager is not asked to tell: it would keep the name for ever, also one that nobody ever registers.
        """
        reached: Future[str] = Future()

        def look(status: str, _: str | None) -> None:
            if reached.done():
                return
            if status == wanted or (status and wanted is None):
                reached.set_result(unit)
            elif status in Status.TERMINAL:
                reached.set_exception(DependencyFailedError(unit, [(unit, status)]))

        with self._following(unit, look):
            look(self.manager.unit(unit).status, None)
            await self._wait(reached, unit, until, gone, what)

    @contextmanager
    def _following(self, unit: str, told: Callable[[str, str | None], None]) -> Iterator[None]:
        """Have a function called with each status that a unit is given, and the reason."""
        same = self._followers.setdefault(unit, set())
        same.add(told)
        try:
            yield
        finally:
            same.discard(told)
            if not same:
                del self._followers[unit]

    async def _wait(
        self,
        future: Future[str],
        unit: str,
        until: float | None,
        gone: Gone,
        what: str,
        ended: asyncio.Future[FastDAGError] | None = None,
    ) -> None:
        """Wait for a future of the manager; released by the event itself, and it costs no thread.

        With `ended`: or until that is resolved, by an error to raise.
        """
        try:
            await self._released(future, unit, until, gone, what, ended)
        except DependencyFailedError as error:  # told with what is behind it before that can change
            if error.causes:
                raise
            raise DependencyFailedError(error.unit, error.failed, self._causes(error.failed)) from None

    async def _released(
        self,
        future: Future[str],
        unit: str,
        until: float | None,
        gone: Gone,
        what: str,
        ended: asyncio.Future[FastDAGError] | None,
    ) -> None:
        if future.done():
            future.result()
            return
        left = None if until is None else until - self._loop.time()
        timer = client = None
        answer: asyncio.Future[None] = self._loop.create_future()

        def settle(error: BaseException | None) -> None:
            if not answer.done():
                if error is None:
                    answer.set_result(None)
                else:
                    answer.set_exception(error)

        def out_of_time() -> None:
            settle(WaitTimeoutError(f"timeout waiting for {what}", unit, self._unmet(unit)))

        try:
            if self._stopping:
                raise ServiceStoppingError("the service is stopping; ask again once it runs")
            if left is not None and left <= 0:
                out_of_time()
            elif self.waiters >= self.limits.waiters:
                raise TooManyWaitersError(
                    f"the service has {self.waiters} waiters already, as many as it may have; try again later"
                )
            elif left is not None:
                timer = self._loop.call_later(left, out_of_time)
            future.add_done_callback(self._in_loop(lambda: settle(future.exception())))
            client = gone()
            client.add_done_callback(lambda _: settle(ClientGoneError()))
            if ended is not None:
                ended.add_done_callback(lambda end: settle(end.result()))
            self._answers.add(answer)
            self.waiters += 1
            try:
                await answer
            finally:
                self.waiters -= 1
                self._answers.discard(answer)
        finally:
            for what_waits in (timer, client, future):
                if what_waits is not None:
                    what_waits.cancel()

    def _in_loop(self, call: Callable[[], None]) -> Callable[[object], None]:
        """Make a callback for a future that is resolved in any thread; one in the loop's costs no wake-up."""

        def callback(future: object) -> None:
            if isinstance(future, Future) and future.cancelled():
                return
            if get_ident() == self._thread:
                call()
            else:
                self._loop.call_soon_threadsafe(call)

        return callback

    # --- reads ----------------------------------------------------------------------------------------------------

    def ping(self) -> Ping:
        """Say who answers."""
        return Ping("fastdag", fastdag.__version__, os.getpid(), self.history.instance, self.journal is not None)

    def _view(self, unit: str) -> UnitView:
        return UnitView(*self._known(unit, time.monotonic()))

    def _known(self, unit: str, now: float) -> tuple[str, str, str, bool, float | None, str | None, int | None]:
        """Give the fields of a `UnitView`. What asks for all units holds up everybody else meanwhile."""
        _, status, ready = self.manager.unit(unit)
        state = STATES[READY] if ready else self.manager.state(unit)
        note = self._notes.get(unit)
        if note is None:
            return unit, status, state, ready, None, None, None
        since, reason, lease = note
        return unit, status, state, ready, max(0.0, now - since), reason, None if lease is None else lease.pid

    def _seconds(self, unit: str) -> float | None:
        note = self._notes.get(unit)
        return None if note is None else max(0.0, time.monotonic() - note.since)

    def _reason(self, unit: str) -> str | None:
        note = self._notes.get(unit)
        return None if note is None else note.reason

    def status(self, request: UnitQuery) -> StatusView:
        """Give a unit and what it depends on."""
        return self._status(request.unit)

    def _status(self, unit: str) -> StatusView:
        known = self._known(unit, time.monotonic())
        return StatusView(*known, [dependency_view(one) for one in self.manager.dependencies(unit)] if known[1] else [])

    def units(self) -> Units:
        """Give all units in the order of their registration."""
        now = time.monotonic()
        return Units([UnitView(*self._known(unit, now)) for unit in self._notes])

    def ready(self) -> Ready:
        """Give the units that could start now."""
        return Ready([unit.id for unit in self.manager.units() if unit.ready and unit.status == Status.PENDING])

    def snapshot(self) -> Snapshot:
        """Give everything at one moment."""
        return Snapshot(self.history.event_id(self.history.last), [self._status(unit) for unit in self._notes])

    def graph(self, request: GraphQuery) -> GraphView | str:
        """Draw the units and dependencies; what nobody registered stands at the end."""
        if request.format == "dot":
            return self.manager.to_dot()
        if request.format == "mermaid":
            return self.manager.to_mermaid()
        others: list[str] = []
        if len(self._names) > len(self._notes):  # else the copy of the graph is spared
            others = [name for name in self.manager.graph if name not in self._notes]
        return GraphView(
            [self._view(unit) for unit in (*self._notes, *others)],
            [dependency_view(one) for unit in self._notes for one in self.manager.dependencies(unit)],
        )

    def events(self, request: EventsQuery, last: str | None) -> tuple[AsyncIterator[list[Kept] | None], bool]:
        """Give the events from now on, or behind the one with the id `last`, and whether some of those are missing.

        Raises
        ------
        ValueError
            If there is no such kind.
        TooManyStreamsError
            If there are as many streams as there may be.
        """
        kinds = frozenset(KINDS if request.kinds is None else request.kinds.split(","))
        if unknown := kinds.difference(KINDS):
            raise ValueError(f"no events are of the kind {min(unknown)!r}; choose from {', '.join(KINDS)}")
        if self.streams >= self.limits.streams:
            raise TooManyStreamsError(
                f"the service has {self.streams} streams of events already, as many as it may have; try again later"
            )
        unit, needs = request.unit, self._requirement

        def wanted(event: EventView) -> bool:
            return event.kind in kinds and (unit is None or event.unit == unit or needs(unit, event.unit) is not None)

        number = None if last is None else self.history.number(last)
        return self.history.follow(number, wanted, _IDLE), last is not None and number is None

    def _requirement(self, unit: str, other: str) -> Requirement | None:
        """Give what a unit asks of another; `None` when it does not depend on it."""
        try:
            return self.manager.requirement(unit, other)
        except (VertexNotFoundError, EdgeNotFoundError):
            return None

    def explain(self, request: UnitQuery) -> ExplanationView:
        """Say why a unit waits, and whether anything could still release it."""
        unit = request.unit
        explanation = self._explanation(unit)
        waits = explanation.units[unit].status not in _BEGUN
        because = explanation.stalled_because if waits else []
        return ExplanationView(
            unit,
            [
                HeldView(
                    held.unit,
                    held.status,
                    held.state,
                    held.seconds,
                    self._reason(held.unit),
                    [dependency_view(one) for one in held.unmet],
                )
                for held in explanation.units.values()
            ],
            [held.unit for held in explanation.held_up_by],
            bool(because),
            [dependency_view(one) for one in because],
            str(explanation),
        )

    def _explanation(self, unit: str) -> Explanation:
        explanation = self.manager.explain(unit)
        units = {
            name: held._replace(seconds=self._seconds(name) if held.status else None)
            for name, held in explanation.units.items()
        }
        return explanation._replace(units=units)

    def _causes(self, failed: Iterable[tuple[str, str]]) -> list[Cause]:
        """Give what failed first: the ends of the chains of units that were skipped because others failed.

        A unit that fails releases at once all who wait for what is behind it, so the ends found for one unit are kept
        for the next one, until something happens: O(units + dependencies) for all of them, times `_CAUSES`.
        """
        if self._ends_at != self.history.last:
            self._ends_at = self.history.last
            self._ends.clear()
        ends = self._ends
        open_ = [unit for unit, _ in failed]
        while open_:
            unit = open_[-1]
            if unit in ends:
                open_.pop()
                continue
            status, reason = self.manager.unit(unit).status, self._reason(unit)
            below = []
            if status == Status.SKIPPED and reason is None:  # somebody who skips a unit may say why, and is the end
                below = [one.depends_on for one in self._unmet(unit) if one.impossible]
            if missing := [name for name in below if name not in ends]:
                open_.extend(missing)
                continue
            ends[unit] = self._together(below) if below else ((unit, status, reason),)
        return list(self._together(unit for unit, _ in failed))

    def _together(self, units: Iterable[str]) -> tuple[Cause, ...]:
        """Give the ends behind some units, each once; the first `_CAUSES` of them."""
        all_ends = (end for unit in units for end in self._ends[unit])
        return tuple(islice(dict.fromkeys(all_ends), _CAUSES))

    # --- effects --------------------------------------------------------------------------------------------------

    def _set(self, unit: str, status: str, reason: str | None, lease: Lease | None) -> None:
        self._next = unit, reason, lease
        try:
            self.manager.update_status(unit, status)
        finally:
            self._next = None

    def _unmet(self, unit: str) -> list[Dependency]:
        return self.manager.unmet_dependencies(unit) if unit in self._notes else []

    def _refuse_excess(self, names: Iterable[str], dependencies: int) -> None:
        if len(self._names) + len(set(names) - self._names) > self.limits.names:
            raise CapacityError(f"the service holds {self.limits.names} units, and no more; start another service")
        if self._dependencies + dependencies > self.limits.dependencies:
            raise CapacityError(
                f"the service holds {self.limits.dependencies} dependencies, and no more; start another service"
            )

    def _hear(self, event: Event) -> None:
        """Keep history and journal of everything that happens to the manager."""
        now = time.time()
        self.history.add(EventView(event.kind, event.unit, event.dependency, event.old, event.new, now))
        if event.kind == "registered" or event.kind == "status":
            self._names.add(event.unit)
            self._note(event.unit, event.new, now)
        elif event.kind == "dependency" and event.dependency is not None:
            self._names.update((event.unit, event.dependency))
            if self.journal is not None:
                requires = requires_of(self.manager.requirement(event.unit, event.dependency))
                text = msgspec.json.encode(requires).decode()
                self._rows.append(DependencyRow(event.unit, event.dependency, text))
        if not self._flushing:  # behind all effects of the call under way
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _note(self, unit: str, status: str, now: float) -> None:
        old = self._notes.get(unit)
        reason = lease = None
        if self._next is not None and self._next[0] == unit:
            _, reason, lease = self._next
        if old is not None and old.lease is not None:
            old.lease.close(self._loop)
        self._notes[unit] = _Note(time.monotonic(), reason, lease)
        if lease is not None:
            lease.watch(self._loop, partial(self._owner_ended, unit, lease))
        if self.journal is not None:
            owner = (None, None, None) if lease is None else (lease.pid, lease.started, lease.boot)
            self._rows.append(UnitRow(unit, status, now, reason, *owner))
        for told in tuple(self._followers.get(unit, ())):
            told(status, reason)

    def _owner_ended(self, unit: str, lease: Lease) -> None:
        if self._notes[unit].lease is lease:  # or another call was faster
            self._end(unit, Status.FAILED, f"its process {lease.pid} ended without a word")

    def _flush(self) -> None:
        """Hand the effects so far to the journal, or show them at once where there is none."""
        if not self._flushing:
            return
        self._flushing = False
        if self.journal is None:
            self.history.show(self.history.last)
            return
        self.journal.put(self._rows)
        self._rows = []
        self._shown_at.append((self.journal.position, self.history.last))

    def _in_journal(self, position: int) -> None:
        while self._shown_at and self._shown_at[0][0] <= position:
            self.history.show(self._shown_at.popleft()[1])

    async def settled(self) -> None:
        """Return when all that was done before is in the journal.

        Raises
        ------
        JournalError
            If it could not be written; the service has to stop.
        """
        if self.journal is not None:
            self._flush()
            await self.journal.committed(self.journal.position)

    def stop(self) -> None:
        """Send away all who wait or listen, and whoever comes to wait from now on."""
        self._stopping = True
        for answer in list(self._answers):
            if not answer.done():
                answer.set_exception(ServiceStoppingError("the service is stopping; ask again once it runs"))
        self.history.close()

    def _restore(self, journal: Journal) -> list[UnitRow]:
        """Take up what the journal has, and tell nobody; the answer is the units whose processes have ended."""
        units, dependencies = journal.load()
        try:
            self._take_up(units, dependencies)
        except (FastDAGError, msgspec.MsgspecError) as error:  # rows that SQLite finds sound, and that mean nothing
            raise JournalError(
                journal.path, f"is damaged: {error}; put a sound copy in its place, or move it away"
            ) from error
        self._names.update(row.unit for row in units)
        self._names.update(row.depends_on for row in dependencies)
        now, monotonic = time.time(), time.monotonic()
        orphans = []
        for row in units:
            lease = None
            if row.owner is not None:
                try:
                    if row.boot != boot():
                        raise OwnerNotFoundError(row.owner)
                    lease = Lease(row.owner, row.owner_started)
                except OwnerNotFoundError:
                    orphans.append(row)
                else:
                    lease.watch(self._loop, partial(self._owner_ended, row.unit, lease))
            self._notes[row.unit] = _Note(monotonic - max(0.0, now - row.since), row.reason, lease)
        journal.start(self._loop, self._in_journal, self._on_failed)
        return orphans

    def _take_up(self, units: list[UnitRow], dependencies: list[DependencyRow]) -> None:
        """Have the manager as it was."""
        manager = self.manager
        manager.register_all([row.unit for row in units])
        for row in units:
            if row.status != Status.PENDING:
                manager.update_status(row.unit, row.status)
        self._dependencies = manager.add_dependencies(
            (row.unit, row.depends_on, requirement_of(msgspec.json.decode(row.requires, type=Requires)))
            for row in dependencies
        )
        # The dependencies made the manager skip what had been set back to pending on purpose. What others depend on
        # comes first, as setting it back may have its dependents skipped again.
        statuses = {row.unit: row.status for row in units}
        for unit in reversed(manager.graph.topological_sort()):
            status = statuses.get(unit)
            if status is not None and manager.unit(unit).status != status:
                manager.update_status(unit, status)

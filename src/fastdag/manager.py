"""`Manager`: named units with statuses, what they need of each other, and who hears of it.

Guarantees
----------
- Thread-safe, and usable from asyncio and from threads at once. Every operation, a bulk one too, happens or leaves the
  manager as it was.
- A change is in effect, and visible to every reader, before anybody hears of it. Where memory runs out behind it, in
  telling of it, `MemoryError` is raised and the change stands; what is left to tell is told with the next change. So
  with `auto_skip`: what memory ran out for is not skipped, and stays blocked and `pending`.
- No lock is held while a callback runs (see `fastdag.subscribers` and `fastdag.waiters` for what is promised there).

Assumes
-------
- The compiled core (`StatusGraph`) keeps the states; this module gives names to its numbers, words to its refusals
  and ears to its log. The writers are measured in nanoseconds, so they ask the core first and look at their arguments
  only when it refuses - except where it would accept what a manager must not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fastdag._core import StatusGraph
from fastdag.errors import (
    ConflictingRequirementError,
    SameStatusError,
    UnitAlreadyRegisteredError,
    UnitIdRequiredError,
    UnitNotFoundError,
    VertexNotFoundError,
)
from fastdag.events import BLOCKED, READY, STATES
from fastdag.explain import Explanation, Stall, explain, stalled
from fastdag.export import to_dot, to_mermaid
from fastdag.status import Requirement, Status, StatusCodes, check_status
from fastdag.streams import EventStream
from fastdag.subscribers import Callback, Delivery, OnError, Subscription
from fastdag.units import Dependency, Unit, shown

if TYPE_CHECKING:
    from concurrent.futures import Future

    from fastdag._core import Graph

Flips = list[tuple[str, int]]


class Manager:
    """Units, their statuses, and what each needs of others before it is ready.

    Parameters
    ----------
    auto_skip : bool, default False
        Whether a `pending` unit that becomes blocked becomes `skipped`, and so on down. One that is set back to
        `pending` while it is still blocked is left alone, so that a failed chain can be repaired in any order.
    on_error : callable, optional
        Called with the exception, the event and the callback when a subscriber raises, which is logged in any case.

    Examples
    --------
    >>> manager = Manager()
    >>> manager.register("app")
    >>> manager.add_dependency("app", "db")  # not registered yet: that is no error
    >>> manager.is_ready("app")
    False
    >>> manager.register("db")
    >>> manager.update_status("db", Status.COMPLETED)
    >>> manager.unit("app")
    Unit(id='app', status='pending', ready=True)
    """

    def __init__(self, *, auto_skip: bool = False, on_error: OnError | None = None) -> None:
        core: StatusGraph[str] = StatusGraph()
        self._core = core
        self._auto_skip = auto_skip
        self._statuses = StatusCodes(core)
        self._statuses.add((Status.PENDING, Status.SKIPPED) if auto_skip else (Status.PENDING,))
        self._codes = self._statuses.code
        self._names = self._statuses.name
        self._pending = self._codes[Status.PENDING]
        self._delivery = Delivery(core, self._names, on_error)
        self._waiters = self._delivery.waiters
        # looked up once: each of these is called in every writer
        self._register = core.register
        self._set_status = core.set_status
        self._add_dependency = core.add_dependency
        self._deliver = self._delivery.deliver

    # writers

    def register(self, unit: str) -> None:
        """Register a unit; it is `pending`.

        Raises
        ------
        UnitIdRequiredError
            If the name is empty or not a string.
        UnitAlreadyRegisteredError
            If it is registered; it keeps its status.

        Notes
        -----
        O(1), and O(dependents) when others depend on it already.
        """
        if type(unit) is not str or not unit:
            _require_unit(unit)
        if not self._register(unit, self._pending):
            raise UnitAlreadyRegisteredError(unit)
        try:
            if self._auto_skip:
                self._skip_after_registering(unit)
        finally:
            self._deliver()

    def register_all(self, units: Iterable[str]) -> None:
        """Register many units, all of them or, on an error, none.

        Raises
        ------
        UnitIdRequiredError
            If a name is empty or not a string.
        UnitAlreadyRegisteredError
            If one is registered already or named twice; where there are several, any one of them is named.

        Notes
        -----
        O(units), as `register` for each. A reader may see a part of the batch while it is being registered.

        Examples
        --------
        >>> manager = Manager()
        >>> manager.register_all(["app", "db"])
        >>> [unit.id for unit in manager.units()]
        ['app', 'db']
        """
        names = _listed(units)
        for unit in names:
            _require_unit(unit)
        self._core.register_all(names, self._pending)
        try:
            if self._auto_skip:
                for unit in names:
                    self._skip_after_registering(unit)
        finally:
            self._deliver()

    def add_dependency(
        self, unit: str, depends_on: str, requires: Requirement | str = Requirement.SUCCESS, replace: bool = False
    ) -> None:
        """Let a unit depend on another one, which need not be registered yet.

        Parameters
        ----------
        unit, depends_on : str
        requires : Requirement or str, default Requirement.SUCCESS
            What is asked of `depends_on`; a status stands for exactly that status.
        replace : bool, default False
            Whether to change the requirement where the dependency exists with another one.

        Raises
        ------
        UnitIdRequiredError
            If a name is empty or not a string.
        UnitNotFoundError
            If `unit` is not registered.
        CycleError
            If `depends_on` is `unit` or depends on it, directly or not.
        ConflictingRequirementError
            If the dependency exists with another requirement, unless `replace`. With the same one it is no error.
        StatusRequiredError
            If `requires` is neither a requirement nor a status.
        CapacityError
            If `requires` names more new statuses than the manager can still hold.

        Notes
        -----
        Amortised as an edge of `Graph`: O(1) where it agrees with the topological order.
        """
        if type(requires) is not Requirement:
            requires = Requirement.of(requires)
        if type(depends_on) is not str or not depends_on:
            _require_unit(depends_on)
        flips: Flips | None = [] if self._auto_skip else None
        try:
            code = self._add_dependency(unit, depends_on, requires, replace, flips)
            while code > 1 and code != 4:
                self._settle(code, unit, depends_on, requires, ())
                code = self._add_dependency(unit, depends_on, requires, replace, flips)
            if flips:
                self._skip(flips)
        except TypeError:
            if isinstance(unit, str):
                raise
            raise _unit_error(unit) from None  # an unhashable one
        finally:  # after an error too: memory may run out behind the change
            self._deliver()

    def add_dependencies(
        self,
        dependencies: Iterable[tuple[str, str] | tuple[str, str, Requirement | str]],
        replace: bool = False,
    ) -> int:
        """Add many dependencies, all of them or, on an error, none.

        Parameters
        ----------
        dependencies : iterable of (unit, depends_on) or (unit, depends_on, requires)
            As the parameters of `add_dependency`.
        replace : bool, default False

        Returns
        -------
        int
            How many there are that were not there before.

        Raises
        ------
        UnitIdRequiredError, UnitNotFoundError, CycleError, ConflictingRequirementError, StatusRequiredError
            As `add_dependency`, for the first one to blame.
        CapacityError
            If the requirements name more new statuses than the manager can still hold.
        ValueError
            If an element is no sequence of two or three.

        Notes
        -----
        O(units + dependencies), old and new.

        Examples
        --------
        >>> manager = Manager()
        >>> manager.register_all(["app", "db"])
        >>> manager.add_dependencies([("app", "db"), ("db", "disk", "mounted")])
        2
        """
        given = list(dependencies)
        flips: Flips | None = [] if self._auto_skip else None
        # Made on the way: a list of all these tuples would cost more in garbage collection than adding them does.
        try:
            code, position = self._core.add_dependencies(map(_row, given), replace, flips)
            while code:
                self._settle(code, *_row(given[position]), given[:position])
                code, position = self._core.add_dependencies(map(_row, given), replace, flips)
            if flips:
                self._skip(flips)
        finally:  # after an error too: memory may run out behind the change
            self._deliver()
        return position

    def update_status(self, unit: str, status: str) -> None:
        """Change the status of a unit, and with it the state of those that depend on it.

        Raises
        ------
        UnitNotFoundError
            If the unit is not registered.
        SameStatusError
            If it has the status already.
        UnitIdRequiredError, StatusRequiredError
            If the name or the status is empty or not a string.
        CapacityError
            If the status would be the 65th.

        Notes
        -----
        O(dependents).

        Examples
        --------
        >>> manager = Manager()
        >>> manager.register("db")
        >>> manager.update_status("db", "warming_up")
        >>> manager.update_status("db", "warming_up")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        fastdag.errors.SameStatusError: unit 'db' already has the status 'warming_up'; ...
        """
        try:
            code = self._codes[status]
        except (KeyError, TypeError):
            code = -1
        if code < 0:
            code = self._new_status((unit,), status)
        flips: Flips | None = [] if self._auto_skip else None
        try:
            old = self._set_status(unit, code, -1, flips)
            if flips:
                self._skip(flips)
        except TypeError:
            if isinstance(unit, str):
                raise
            raise _unit_error(unit) from None  # an unhashable one
        finally:  # after an error too: memory may run out behind the change
            self._deliver()
        if old == code:
            raise SameStatusError(unit, status)
        if old < 0:
            raise UnitNotFoundError(_require_unit(unit))

    def update_statuses(self, units: Iterable[str], status: str) -> int:
        """Change the status of many units, of all of them or, on an error, of none.

        Returns
        -------
        int
            How many changed; those that have the status already when their turn comes are left alone.

        Raises
        ------
        UnitNotFoundError
            If one of them is not registered; where there are several, any one of them is named.
        UnitIdRequiredError, StatusRequiredError, CapacityError
            As `update_status`.

        Notes
        -----
        O(units + their dependents). A reader may see a part of the batch while it is being updated.

        Examples
        --------
        >>> manager = Manager()
        >>> manager.register_all(["app", "db"])
        >>> manager.update_statuses(["app", "db"], Status.STARTED)
        2
        """
        names = _listed(units)
        try:
            code = self._codes[status]
        except (KeyError, TypeError):
            code = -1
        if code < 0:
            code = self._new_status(names, status)
        flips: Flips | None = [] if self._auto_skip else None
        try:
            changed = self._core.set_statuses(names, code, flips)
            if flips:
                self._skip(flips)
        except (TypeError, UnitNotFoundError):
            for unit in names:  # what is registered is a name, so this is asked only now
                _require_unit(unit)
            raise
        finally:  # after an error too: memory may run out behind the change
            self._deliver()
        return changed

    def reserve(self, statuses: Iterable[str]) -> None:
        """Count statuses among the 64 that a manager holds before anybody has one: none of them is refused later.

        Raises
        ------
        CapacityError
            If there would be more than 64; then none is counted.
        StatusRequiredError
            If one is empty or not a string.

        Examples
        --------
        >>> manager = Manager()
        >>> manager.reserve(["warming_up", Status.FAILED])
        """
        self._statuses.add([check_status(status) for status in statuses])

    # readers

    def unit(self, unit: str) -> Unit:
        """Give a unit as it is now; one that nobody registered has `Status.NOT_REGISTERED`. O(1).

        Raises
        ------
        UnitIdRequiredError
            If the name is empty or not a string. So in every reader below.
        """
        status, state, _ = self._core.snapshot(_require_unit(unit))
        return Unit(unit, self._names[status], state == READY)

    def units(self) -> list[Unit]:
        """Give every registered unit, in the order of registration, each as it is when its turn comes. O(units)."""
        snapshot, names = self._core.snapshot, self._names
        units = []
        for unit in self._core.registered():
            status, state, _ = snapshot(unit)
            units.append(Unit(unit, names[status], state == READY))
        return units

    def is_ready(self, unit: str) -> bool:
        """Whether the unit is registered and all its dependencies are satisfied. O(1)."""
        return self._core.state(_require_unit(unit)) == READY

    def state(self, unit: str) -> str:
        """Give `ready`, `blocked` (some dependency is impossible) or, for all others, `waiting`. O(1).

        Examples
        --------
        >>> manager = Manager()
        >>> manager.register_all(["app", "db"])
        >>> manager.add_dependency("app", "db")
        >>> manager.update_status("db", Status.FAILED)
        >>> manager.state("app")
        'blocked'
        """
        return STATES[self._core.state(_require_unit(unit))]

    def dependencies(self, unit: str) -> list[Dependency]:
        """Give what a unit depends on. O(dependencies).

        Raises
        ------
        UnitNotFoundError
            If the unit is not registered.
        """
        self._require_registered(unit)
        names = self._names
        return [
            Dependency(unit, depends_on, requires, names[status], satisfied)
            for depends_on, requires, status, satisfied in self._core.dependencies(unit)
        ]

    def unmet_dependencies(self, unit: str) -> list[Dependency]:
        """Give those dependencies of a unit that are not satisfied. O(dependencies).

        Raises
        ------
        UnitNotFoundError
            If the unit is not registered.
        """
        return [dependency for dependency in self.dependencies(unit) if not dependency.satisfied]

    def dependents(self, unit: str) -> list[Dependency]:
        """Give the dependencies of others on a unit, registered or not. O(dependents)."""
        status = self._names[self._core.status(_require_unit(unit))]
        # `satisfied` by the status that is shown, should the unit change between the two calls
        return [
            Dependency(dependent, unit, requires, status, status in requires.satisfied)
            for dependent, requires, _ in self._core.dependents(unit)
        ]

    def requirement(self, unit: str, depends_on: str) -> Requirement:
        """Give what a unit asks of another one that it depends on. O(dependencies).

        Raises
        ------
        VertexNotFoundError, EdgeNotFoundError
            If there is no such dependency.

        Examples
        --------
        >>> manager = Manager()
        >>> manager.register("app")
        >>> manager.add_dependency("app", "db", Requirement.COMPLETION)
        >>> manager.requirement("app", "db")
        Requirement.COMPLETION
        """
        requirement: Requirement = self._core.edge_label(_require_unit(unit), _require_unit(depends_on))
        return requirement

    def find_cycle(self, unit: str, depends_on: str) -> list[str] | None:
        """Give the cycle that this dependency would close, as `CycleError.path`, or `None`; adds nothing.

        Neither has to be registered, or known at all. See `Graph.find_cycle` for the cost.

        Examples
        --------
        >>> manager = Manager()
        >>> manager.register("app")
        >>> manager.add_dependency("app", "db")
        >>> manager.find_cycle("db", "app")
        ['db', 'app', 'db']
        """
        if _require_unit(unit) == _require_unit(depends_on):
            return [unit, unit]
        try:
            return self._core.find_cycle(unit, depends_on)
        except VertexNotFoundError:
            return None

    def explain(self, unit: str) -> Explanation:
        """Say why a unit waits: its unmet dependencies, theirs, and so on down to the units that hold it up.

        A dependency is followed further while it is `pending` or `skipped`; one that runs, has ended or is not
        registered holds things up by itself.

        Returns
        -------
        Explanation
            Print it, or look at its `units` and `held_up_by`.

        Notes
        -----
        O(units + dependencies) of the chains, each unit once. Each is read at its own moment while others change it.

        Examples
        --------
        >>> manager = Manager()
        >>> manager.register_all(["app", "db"])
        >>> manager.add_dependencies([("app", "db"), ("db", "disk", "mounted")])
        2
        >>> print(manager.explain("app"))
        'app' is waiting: pending for 0.0 s
          needs success of 'db': pending for 0.0 s, because it
            needs exactly mounted of 'disk': not registered
        """
        return explain(self._core, self._names, _require_unit(unit))

    def stalled(self) -> list[Stall]:
        """Find the units that can never become ready as things stand, and why.

        A unit is stalled when it is registered and not ready, and is blocked or has an unmet dependency that nothing
        which runs or is ready can satisfy any more. A dependency can still be satisfied while it

        - runs: its status is `started` or one of your own; or
        - is `pending`, and ready or itself not stalled.

        One that has ended in another status than required cannot, nor one that nobody registered.

        Returns
        -------
        list of Stall
            In the order of registration; empty when everything can still become ready.

        Notes
        -----
        O(units + dependencies). Each unit is read at its own moment while others change it.

        Examples
        --------
        >>> manager = Manager()
        >>> manager.register("app")
        >>> manager.add_dependency("app", "db")
        >>> print(*manager.stalled())
        'app' (pending) can never become ready: it needs success of 'db' (not registered)
        """
        return stalled(self._core, self._names)

    @property
    def graph(self) -> Graph[str]:
        """A copy of the dependencies as they are now, a plain graph whose labels are requirements. O(n + m)."""
        return self._core.copy()

    def to_dot(self, name: str = "G") -> str:
        """Draw the units with status and the dependencies with requirement, in Graphviz's language. O(n + m)."""
        graph = self._core.copy()
        status, names = self._core.status, self._names
        return to_dot(
            name,
            [(unit, {"label": f"{unit}\n{shown(names[status(unit)])}"}) for unit in graph],
            [(source, target, {"label": str(requires)}) for source, target, requires in graph.edges()],
        )

    def to_mermaid(self) -> str:
        """Draw what `to_dot` draws as a flowchart in Mermaid's language. O(n + m)."""
        graph = self._core.copy()
        status, names = self._core.status, self._names
        return to_mermaid(
            [(unit, f"{unit}\n{shown(names[status(unit)])}") for unit in graph],
            [(source, target, str(requires)) for source, target, requires in graph.edges()],
        )

    def lock_stats(self) -> dict[str, dict[str, int]]:
        """Give the contended acquisitions and the total and longest wait in ns for each class of locks in the core."""
        return self._core.lock_stats()

    # listeners

    def subscribe(
        self, callback: Callback, unit: str | None = None, kinds: str | Iterable[str] | None = None
    ) -> Subscription:
        """Have a callback called with every event.

        Parameters
        ----------
        callback : callable
            Called with one `Event` at a time, in whichever thread delivers. It may call any method of the manager,
            cancel subscriptions and raise.
        unit : str, optional
            Only what concerns this unit: its own events, and those of the units that it depends on.
        kinds : str or iterable of str, optional
            Only events of these kinds.

        Returns
        -------
        Subscription
            A context manager; hears every change that begins after this call returned, until it is cancelled.

        Raises
        ------
        UnitIdRequiredError
            If the unit's name is empty or not a string.
        ValueError
            If there is no such kind of event.
        TypeError
            If the callback is not callable.

        Examples
        --------
        >>> manager = Manager()
        >>> with manager.subscribe(lambda event: print(event.kind, event.unit, event.new)):
        ...     manager.register("app")
        registered app pending
        state app ready
        """
        return self._delivery.subscribe(callback, None if unit is None else _require_unit(unit), kinds)

    def events(self, unit: str | None = None, kinds: str | Iterable[str] | None = None) -> EventStream:
        """Give the events from now on as an asynchronous iterator, for the running event loop.

        Parameters are those of `subscribe`. End it with `aclose` or use it in `async with`.

        Raises
        ------
        RuntimeError
            If no event loop is running.
        """
        return EventStream(lambda callback: self.subscribe(callback, unit, kinds))

    def when_ready(self, unit: str) -> Future[str]:
        """Give a future for the unit's becoming ready, whether it is registered already or not.

        Returns
        -------
        concurrent.futures.Future
            Its result is the unit's name, at once when the unit is ready. When the unit becomes blocked, or is, it
            raises `DependencyFailedError`. Cancel it to stop waiting.
        """
        return self._waiters.wait_for(_require_unit(unit), None)

    def when(self, unit: str, status: str) -> Future[str]:
        """Give a future for the unit's having a status, whether it is registered already or not.

        Returns
        -------
        concurrent.futures.Future
            Its result is the unit's name, at once when the unit has the status. It stays pending while the unit has
            any other status, also one that ends it: statuses may change again. Cancel it to stop waiting.

        Raises
        ------
        StatusRequiredError
            If the status is empty or not a string.
        """
        return self._waiters.wait_for(_require_unit(unit), check_status(status))

    def wait_ready(self, unit: str, timeout: float | None = None) -> None:
        """Block until the unit is ready.

        Parameters
        ----------
        unit : str
        timeout : float, optional
            Seconds to wait; without it, as long as it takes.

        Raises
        ------
        DependencyFailedError
            If the unit is, or becomes, blocked.
        TimeoutError
            If the time is over.
        """
        future = self.when_ready(unit)
        try:
            future.result(timeout)
        except TimeoutError:
            if future.cancel():
                raise TimeoutError(
                    f"unit {unit!r} was not ready within {timeout} s; explain({unit!r}) says what it waits for"
                ) from None
            future.result()  # it was resolved at the last moment
        finally:
            future.cancel()  # after any other exception, such as KeyboardInterrupt

    async def wait_ready_async(self, unit: str) -> None:
        """Wait in asyncio until the unit is ready; cancelling the task ends the wait.

        Raises
        ------
        DependencyFailedError
            If the unit is, or becomes, blocked.
        """
        await asyncio.wrap_future(self.when_ready(unit))

    # what is not needed when all goes well

    def _require_registered(self, unit: str) -> None:
        if self._core.status(_require_unit(unit)) < 0:
            raise UnitNotFoundError(unit)

    def _new_status(self, units: Iterable[str], status: str) -> int:
        """Give a status that was not heard of before its number, unless one of the units is not registered."""
        name = check_status(status)
        for unit in units:
            self._require_registered(unit)
        self._statuses.add((name,))
        return self._codes[name]

    def _settle(
        self,
        code: int,
        unit: str,
        depends_on: str,
        requires: Requirement,
        earlier: Sequence[object],
    ) -> None:
        """Raise what the core's refusal means, or set right what keeps it from accepting when it is asked again."""
        if code == 5:
            self._require_registered(unit)
            self._statuses.add(sorted(requires.satisfied | requires.impossible))
            satisfied, impossible = map(self._statuses.mask, (requires.satisfied, requires.impossible))
            self._core.define_requirement(requires, satisfied, impossible)
            return
        if code == 3:
            raise UnitNotFoundError(_require_unit(unit))
        # of the same batch, added by nobody yet
        same = [row[2] for row in map(_row, earlier) if row[:2] == (unit, depends_on)]
        existing = same[0] if same else self._core.edge_label(unit, depends_on)
        if existing is not requires:  # or another thread has replaced it just now
            raise ConflictingRequirementError(unit, depends_on, existing, requires)

    def _skip(self, flips: Flips) -> None:
        """Skip the units that became blocked, those that become blocked by that, and so on."""
        set_status, skipped, pending = self._set_status, self._codes[Status.SKIPPED], self._pending
        for unit, state in flips:  # the core appends to the list that this loop reads
            if state == BLOCKED:
                set_status(unit, skipped, pending, flips)  # only if it is still pending

    def _skip_after_registering(self, unit: str) -> None:
        """Skip the dependents for which `pending`, which the unit is now, is impossible."""
        dependents = self._core.dependents(unit)
        self._skip(
            [(dependent, BLOCKED) for dependent, requires, _ in dependents if Status.PENDING in requires.impossible]
        )


def _require_unit(unit: object) -> str:
    if not isinstance(unit, str) or not unit:
        raise _unit_error(unit)
    return unit


def _unit_error(unit: object) -> UnitIdRequiredError:
    return UnitIdRequiredError(f"a unit's name must be a non-empty string, not {unit!r}; name the unit")


def _listed(units: Iterable[str]) -> list[str]:
    if isinstance(units, str):
        raise UnitIdRequiredError(
            f"units must be an iterable of names, not the single name {units!r}; pass [{units!r}]"
        )
    return list(units)


def _row(dependency: object) -> tuple[str, str, Requirement]:
    """Check one element of a bulk of dependencies and fill in the requirement."""
    match dependency:
        case (unit, depends_on):
            requires: object = Requirement.SUCCESS
        case (unit, depends_on, requires):
            pass
        case _:
            raise ValueError(
                f"a dependency must be (unit, depends_on) or (unit, depends_on, requires), not {dependency!r}"
            )
    return _require_unit(unit), _require_unit(depends_on), Requirement.of(requires)

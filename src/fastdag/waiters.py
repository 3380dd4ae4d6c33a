"""Waiting for a unit to become ready or to reach a status: futures that the event itself resolves.

Nothing polls and no thread is kept for a waiter. While a unit has waiters the core logs what happens to it
(`watch`), and the thread that takes the event out of the log resolves them.

How no moment is missed
-----------------------
A waiter is entered together with `watch`, which gives the unit's status and state at the very moment from which on
everything is logged. Either that is already what the waiter wants, or the change to it comes later and is logged. An
event from before, still in the log because somebody subscribes to everything, must not resolve it: `watch` gives the
last sequence number too, and only later events count.

How no waiter is lost
---------------------
An exception may come up between any two instructions here, from a signal handler for one. So entering, leaving and
deciding are each one step of compiled code (`fastdag._core.Dispatch`); the log moves on only when `sort_out` has
returned, and looking at the same events again decides nobody twice; and telling goes on where it was interrupted.

How callbacks are called
------------------------
All who were decided are resolved, and then their callbacks called, one by one. A change that a callback makes resolves
futures at once, so that it may wait for them; their callbacks come after it, not within it, however long a chain is.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from threading import Condition
from typing import TYPE_CHECKING

from fastdag._core import Lock, call_each, condition_enter, condition_exit
from fastdag.errors import DependencyFailedError
from fastdag.events import BLOCKED, READY, STATE

if TYPE_CHECKING:
    from fastdag._core import Dispatch, StatusGraph

_log = logging.getLogger("concurrent.futures")


class _Condition(Condition):
    """A condition of which a `with` block lets go whatever comes up: an exception of a signal handler, or no memory."""

    __enter__ = condition_enter
    __exit__ = condition_exit


class Waiter(Future[str]):
    """A future for a unit's becoming ready (`wanted` is `None`) or having a status; resolves to the unit's name."""

    def __init__(self, registry: Waiters, unit: str, wanted: str | None) -> None:
        super().__init__()
        self._condition = _Condition()
        self.unit = unit
        self.index = -1  # of the unit in the core, once the waiter is entered
        self.wanted = wanted
        self.after: float = float("inf")  # events up to this sequence number are older than the waiter
        self._registry = registry  # `_waiters` is taken: the base class has one

    def cancel(self) -> bool:
        """Stop waiting; `False` when it is resolved already. What an interruption leaves undone, the next call does."""
        cancelled = super().cancel()
        if cancelled:
            self._registry.forget(self)
            self.call_back()
            self._begin()  # or concurrent.futures.wait() would not see it end
        return cancelled

    def _begin(self) -> bool:
        """Go on from pending to running, or to having told that it was cancelled; whether it is running."""
        with self._condition:
            if self._state in ("PENDING", "CANCELLED"):
                self.set_running_or_notify_cancel()
            return self.running()

    def tell(self, error: DependencyFailedError | None) -> None:
        """Resolve; again, after an exception came up in here: go on where it stopped.

        One gap is left: `concurrent.futures.wait` and `as_completed` are told one by one by the base class, and
        where an exception comes up in there nobody can say which. Telling again would count a future twice.
        """
        if self.done() and self._state != "CANCELLED":
            with self._condition:
                self._condition.notify_all()
        elif self._begin():
            if error is None:
                self.set_result(self.unit)
            else:
                self.set_exception(error)

    def _invoke_callbacks(self) -> None:
        """Not within `set_result`, as in the base class: whoever tells or cancels has `call_back` called afterwards."""

    def call_back(self) -> None:
        """Call the callbacks. Each leaves the list first: going on after an exception calls only those left."""
        call_each(self._done_callbacks, self, self._report)  # type: ignore[attr-defined]

    def _report(self, error: Exception) -> None:
        _log.error("exception calling callback for %r", self, exc_info=error)


class Waiters:
    """Those who wait for the units of one manager.

    Parameters
    ----------
    core : StatusGraph
    names : dict of int to str
        Statuses by code.
    lock : Lock
        Held for dict operations and core calls only.

    Attributes
    ----------
    dispatch : Dispatch
        Has the waiters by unit; set by whoever makes this.
    """

    dispatch: Dispatch[str]

    def __init__(self, core: StatusGraph[str], names: dict[int, str], lock: Lock) -> None:
        self._core = core
        self._names = names
        self._lock = lock

    def renew(self) -> Lock:
        """In the child of a fork: new locks for all, as a thread that is not there may have held the old ones.

        The waiters' lock stays where this thread holds it, in the middle of something that goes on in the child.
        """
        # Copied first: what a finalizer or a signal handler does in the middle may change them.
        for waiter, _ in [*self.dispatch.decided, *self.dispatch.resolved, *self.dispatch.telling]:
            waiter._condition = _Condition()
        for there in list(self.dispatch.waiting.values()):
            for waiter in list(there):
                waiter._condition = _Condition()
        if not self._lock.is_owned():
            self._lock = Lock()
        return self._lock

    def wait_for(self, unit: str, wanted: str | None) -> Waiter:
        """Enter a waiter; it may be resolved already when this returns."""
        waiter = Waiter(self, unit, wanted)
        status, state, _ = self._core.snapshot(unit)
        if state == READY if wanted is None else self._names[status] == wanted:
            waiter.set_result(unit)  # a shortcut: what follows would come to the same
            return waiter
        waiter.index = self._core.add_vertex(unit)  # without the lock: a name's hash and comparison may do anything
        try:
            with self._lock:
                try:
                    status, state = self.dispatch.enter(waiter)
                    self._consider(waiter, state if wanted is None else None, status)
                except BaseException:
                    self.forget(waiter)
                    raise
        finally:
            self.dispatch.deliver()  # and what a finalizer changed under the lock
        return waiter

    def forget(self, waiter: Waiter) -> bool:
        """Take the waiter out; `False` when it was out already. With the last one the unit is no longer watched."""
        try:
            with self._lock:
                return self.dispatch.leave(waiter)
        finally:
            self.dispatch.deliver()  # what a finalizer changed under the lock

    def sort_out(self, events: list[tuple[int, int, int, int]]) -> None:
        """Decide which waiters these events, (kind, index of the unit, new, sequence), concern."""
        waiting = self.dispatch.waiting
        for kind, index, new, sequence in events:
            with self._lock:
                for waiter in list(waiting.get(index, ())):
                    if sequence > waiter.after:
                        self._consider(waiter, *((new, None) if kind == STATE else (None, new)))

    def _consider(self, waiter: Waiter, state: int | None, status: int | None) -> None:
        """Decide a waiter if this state or status is what it waits for; under the lock."""
        if waiter.wanted is not None:
            if status is not None and self._names[status] == waiter.wanted:
                self._decide(waiter, None)
        elif state == READY:
            self._decide(waiter, None)
        elif state == BLOCKED and (failed := self._failed(waiter.unit)):
            # Nothing failed any more: it was repaired in the meantime, and the waiter goes on waiting.
            self._decide(waiter, DependencyFailedError(waiter.unit, failed))

    def _decide(self, waiter: Waiter, error: DependencyFailedError | None) -> None:
        self.dispatch.decide(waiter, (waiter, error))

    def _failed(self, unit: str) -> list[tuple[str, str]]:
        return [
            (depends_on, self._names[status])
            for depends_on, requires, status, _ in self._core.dependencies(unit)
            if self._names[status] in requires.impossible
        ]

    def tell(self, decision: tuple[Waiter, DependencyFailedError | None]) -> None:
        """Resolve a waiter that was decided."""
        waiter, error = decision
        waiter.tell(error)

    def call_back(self, decision: tuple[Waiter, DependencyFailedError | None]) -> None:
        """Call the callbacks of a waiter that was resolved; without a lock."""
        decision[0].call_back()

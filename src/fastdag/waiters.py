"""Waiting for a unit to become ready or to reach a status: futures that the event itself resolves.

Nothing polls and no thread is kept for a waiter. While a unit has waiters the core logs what happens to it
(`watch`), and the thread that takes the event out of the log resolves them.

How no moment is missed
-----------------------
A waiter is entered first, and then `watch` gives the unit's status and state at the very moment from which on
everything is logged. Either that is already what the waiter wants, or the change to it comes later and is logged. An
event from before, still in the log because somebody subscribes to everything, must not resolve it: the last
sequence number is read before `watch`, and only later events count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from fastdag.errors import DependencyFailedError
from fastdag.events import BLOCKED, READY, REGISTERED, STATE, STATUS, RawEvent

if TYPE_CHECKING:
    from threading import RLock

    from fastdag._core import StatusGraph


class Waiter(Future[str]):
    """A future for a unit's becoming ready (`wanted` is `None`) or having a status; resolves to the unit's name."""

    def __init__(self, registry: Waiters, unit: str, wanted: str | None) -> None:
        super().__init__()
        self.unit = unit
        self.wanted = wanted
        self.after: float = float("inf")  # events up to this sequence number are older than the waiter
        self._registry = registry  # `_waiters` is taken: the base class has one

    def cancel(self) -> bool:
        """Stop waiting; `False` when it is resolved already."""
        cancelled = super().cancel()
        if cancelled and self._registry.forget(self):
            self.set_running_or_notify_cancel()  # or concurrent.futures.wait() would not see it end
        return cancelled


class Waiters:
    """Those who wait for the units of one manager.

    Parameters
    ----------
    core : StatusGraph
    names : dict of int to str
        Statuses by code.
    lock : RLock
        Held for dict operations and core calls only.
    last_sequence : callable
        Gives the sequence number of the last event logged.
    """

    def __init__(
        self, core: StatusGraph[str], names: dict[int, str], lock: RLock, last_sequence: Callable[[], int]
    ) -> None:
        self._core = core
        self._names = names
        self._lock = lock
        self._last_sequence = last_sequence
        self._waiting: dict[str, dict[Waiter, bool]] = {}  # changed under the lock; a unit in it is watched
        self._decided: deque[tuple[Waiter, DependencyFailedError | None]] = deque()  # no longer waiting, to be told

    def wait_for(self, unit: str, wanted: str | None) -> Waiter:
        """Enter a waiter; it may be resolved already when this returns."""
        waiter = Waiter(self, unit, wanted)
        with self._lock:
            there: dict[Waiter, bool] | None = None
            while there is None or self._waiting.get(unit) is not there:
                # Again where a finalizer cancelled the only other waiter meanwhile, and took the unit out.
                there = self._waiting.setdefault(unit, {})
                there[waiter] = True
            try:
                waiter.after = self._last_sequence()
                status, state = self._core.watch(unit)
                self._consider(waiter, state if wanted is None else None, status)
            except BaseException:
                self.forget(waiter)
                raise
        self.resolve()
        return waiter

    def forget(self, waiter: Waiter) -> bool:
        """Take the waiter out; `False` when it was out already. With the last one the unit is no longer watched."""
        with self._lock:
            there = self._waiting.get(waiter.unit, {})
            if not there.pop(waiter, False):
                return False
            if not there and self._waiting.get(waiter.unit) is there:
                self._waiting.pop(waiter.unit, None)
                self._core.unwatch(waiter.unit)
            return True

    def sort_out(self, events: list[RawEvent]) -> None:
        """Decide which waiters these events concern; `resolve` tells them."""
        if not self._waiting:
            return
        for kind, unit, _, _, new, sequence, _ in events:
            if unit in self._waiting and kind in (REGISTERED, STATUS, STATE):
                with self._lock:
                    for waiter in list(self._waiting.get(unit, ())):
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
        if self.forget(waiter):
            self._decided.append((waiter, error))

    def _failed(self, unit: str) -> list[tuple[str, str]]:
        return [
            (depends_on, self._names[status])
            for depends_on, requires, status, _ in self._core.dependencies(unit)
            if self._names[status] in requires.impossible
        ]

    def resolve(self) -> None:
        """Tell the waiters that are decided; their callbacks run here, without a lock."""
        while self._decided:
            try:
                waiter, error = self._decided.popleft()
            except IndexError:  # another thread tells the last one
                return
            if waiter.set_running_or_notify_cancel():
                if error is None:
                    waiter.set_result(waiter.unit)
                else:
                    waiter.set_exception(error)

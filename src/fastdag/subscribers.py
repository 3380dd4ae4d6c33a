"""Bringing what happened to whoever subscribed: `Subscription`, and the delivery behind it.

Guarantees
----------
- Every subscription hears every event that concerns it exactly once, in the order in which they happened, from the
  first change that begins after `subscribe` returned.
- One callback runs at a time, in the thread that made a change or in another one that is making changes. No lock is
  held meanwhile: the callback may call anything. Events that it causes come after the current one has reached
  everybody.
- An exception in a callback is reported and stops nobody else. One that is no `Exception`, such as
  `KeyboardInterrupt`, goes out through the call that was delivering; what is left is delivered after the next change.
- Waiters are served before and apart from subscribers: a callback that blocks holds up no waiter.

Assumes
-------
- The core's log is in the order in which things happened, and `take_events` removes what it returns.
- `deque.append` and `popleft`, and reading a `dict`, are atomic, with and without the interpreter lock.

How no event is left lying
--------------------------
Two batons, for taking events out of the log and for calling subscribers. Whoever finds work tries the baton without
waiting, works until nothing is left, gives it back, *and looks again*. A thread that fails to get the baton may
leave: its event was there before it tried, it failed because somebody had the baton at that time, and that
somebody looks again after giving it back - so the event is seen by him, or by somebody who took it before. Not
waiting matters: a callback, a signal handler or a finalizer that makes a change while its own thread has the baton
would wait for itself.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock, RLock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fastdag.events import DEPENDENCY, KINDS, STATE, STATES, Event, RawEvent
from fastdag.waiters import Waiters

if TYPE_CHECKING:
    from fastdag._core import StatusGraph

_log = logging.getLogger("fastdag")

Callback = Callable[[Event], object]
OnError = Callable[[Exception, Event, Callback], object]


class Subscription:
    """A callback's place among the subscribers, held until `cancel` or the end of its `with` block.

    Attributes
    ----------
    callback : callable
    unit : str or None
        The unit that it follows; `None` for all.
    kinds : frozenset of str
        The kinds of event that it hears.
    """

    __slots__ = ("__weakref__", "_after", "_delivery", "_routes", "active", "callback", "kinds", "unit")

    def __init__(self, delivery: Delivery, callback: Callback, unit: str | None, kinds: frozenset[str]) -> None:
        self.callback = callback
        self.unit = unit
        self.kinds = kinds
        self.active = True  # False once cancelled
        self._delivery = delivery
        self._after: float = float("inf")  # hears events with a later sequence than this
        self._routes: list[str | None] = []  # where the routing table has it; guarded by the delivery's table lock

    def cancel(self) -> None:
        """Hear nothing more; again is no error.

        When this returns, no further call of the callback begins; one in progress in another thread may still run.
        """
        self._delivery.cancel(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        whom = "all units" if self.unit is None else repr(self.unit)
        return f"<Subscription of {self.callback!r} to {whom}, {'active' if self.active else 'cancelled'}>"


class Delivery:
    """Takes events out of the core's log and brings them to the waiters and subscribers of one manager."""

    def __init__(self, core: StatusGraph[str], names: dict[int, str], on_error: OnError | None) -> None:
        self._core = core
        self._has_events = core.has_events
        self._names = names
        self._on_error = on_error
        self._taking = Lock()  # baton of whoever takes events out of the log; only ever tried
        self._calling = Lock()  # baton of whoever calls subscribers; only ever tried
        self._queue: deque[RawEvent] = deque()  # taken from the log, for subscribers; appended to under `_taking`
        self._turn: deque[tuple[Subscription, Event]] = deque()  # who is still to hear the current event; `_calling`
        # Subscriptions by the unit whose events they hear, `None` for all. Changed under `_table`; read by copying.
        self._routes: dict[str | None, dict[Subscription, None]] = {}
        self._subscriptions: set[Subscription] = set()
        self._table = RLock()  # held for dict operations and core calls only; reentrant for finalizers that cancel
        self.waiters = Waiters(core, names, self._table, self.last_sequence)

    def subscribe(self, callback: Callback, unit: str | None, kinds: Iterable[str] | None) -> Subscription:
        """See `Manager.subscribe`."""
        wanted = frozenset(KINDS if kinds is None else (kinds,) if isinstance(kinds, str) else kinds)
        if unknown := wanted.difference(KINDS):
            raise ValueError(f"no events are of the kind {min(unknown, key=repr)!r}; choose from {', '.join(KINDS)}")
        if not callable(callback):
            raise TypeError(f"a subscriber must be callable with one event, not {callback!r}")
        subscription = Subscription(self, callback, unit, wanted)
        with self._table:
            # Entered before logging is switched on, so that no cancel switches it off again. Dependencies are read
            # after that: one added later is logged, and routed when its event comes by.
            self._subscriptions.add(subscription)
            try:
                self._route(subscription, unit)
                subscription._after = self._core.log_all(True)
                if unit is not None:
                    for depends_on, *_ in self._core.dependencies(unit):
                        self._route(subscription, depends_on)
            except BaseException:
                self.cancel(subscription)
                raise
        return subscription

    def cancel(self, subscription: Subscription) -> None:
        """See `Subscription.cancel`."""
        with self._table:
            subscription.active = False
            if subscription not in self._subscriptions:
                return
            self._subscriptions.discard(subscription)
            for unit in subscription._routes:
                there = self._routes.get(unit, {})
                there.pop(subscription, None)
                if not there and self._routes.get(unit) is there:
                    self._routes.pop(unit, None)
            if not self._subscriptions:
                self._core.log_all(False)

    def last_sequence(self) -> int:
        """Give the sequence number of the last event logged."""
        with self._table:
            return self._core.log_all(bool(self._subscriptions))

    def _route(self, subscription: Subscription, unit: str | None) -> None:
        """Let the subscription hear the events of a unit from now on; under `_table`."""
        if subscription in self._routes.get(unit, ()):
            return
        subscription._routes.append(unit)
        there: dict[Subscription, None] | None = None
        while there is None or self._routes.get(unit) is not there:
            # Again where a finalizer cancelled the only other subscription meanwhile, and took the route away.
            there = self._routes.setdefault(unit, {})
            there[subscription] = None

    def deliver(self) -> None:
        """Bring everything in the log to those whom it concerns, or leave it to the thread that is at it."""
        while self._has_events():
            if not self._taking.acquire(blocking=False):
                break
            try:
                while self._has_events():
                    events = self._core.take_events()
                    if self._subscriptions:
                        self._queue.extend(events)
                    self.waiters.sort_out(events)
            finally:
                self._taking.release()
        self.waiters.resolve()
        while self._queue:
            if not self._calling.acquire(blocking=False):
                break
            try:
                self._call()
            finally:
                self._calling.release()

    def _call(self) -> None:
        """Call subscribers until nothing is left; under `_calling`."""
        turn, queue, routes, names = self._turn, self._queue, self._routes, self._names
        while True:
            while turn:
                # Out of the turn before the call: should this call end the delivery, the next one goes on behind it.
                subscription, event = turn.popleft()
                if subscription.active:
                    try:
                        subscription.callback(event)
                    except Exception as error:  # noqa: BLE001 - reported, whatever it is
                        self._report(error, event, subscription.callback)
            if not queue:
                return
            kind, unit, cause, old, new, sequence, time = queue.popleft()  # nobody else takes from it
            if kind == DEPENDENCY and unit in routes:
                self._follow(unit, cause)
            name = KINDS[kind]
            made = None
            for route in (routes.get(None), routes.get(unit)):
                if route is not None:
                    for subscription in list(route):
                        if name in subscription.kinds and sequence > subscription._after:
                            if made is None:
                                meanings = STATES if kind == STATE else names
                                reason = None if cause == unit else cause
                                fields = (name, unit, reason, meanings[old], meanings[new], sequence, time / 1e9)
                                made = tuple.__new__(Event, fields)  # half the price of Event(...)
                            turn.append((subscription, made))

    def _follow(self, unit: str, depends_on: str | None) -> None:
        """Route the events of a new dependency to those who follow its unit."""
        with self._table:
            for subscription in list(self._routes.get(unit, ())):
                if subscription.unit == unit:
                    self._route(subscription, depends_on)

    def _report(self, error: Exception, event: Event, callback: Callback) -> None:
        _log.error("subscriber %r failed on %r", callback, event, exc_info=error)
        if self._on_error is not None:
            try:
                self._on_error(error, event, callback)
            except Exception:  # noqa: BLE001
                _log.exception("on_error failed on the failure of subscriber %r", callback)

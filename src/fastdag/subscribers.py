"""Bringing what happened to whoever subscribed: `Subscription`, and the delivery behind it.

Guarantees
----------
- Every subscription hears every event that concerns it exactly once, in the order in which they happened, from the
  first change that begins after `subscribe` returned.
- One callback runs at a time, in the thread that made a change or in another one that is making changes. No lock is
  held meanwhile: the callback may call anything. Events that it causes come after the current one has reached
  everybody.
- Nobody who makes a change waits for a callback. Where changes are made faster than one thread tells of them, what is
  not told yet waits in memory, and that thread stays at it.
- An exception in a callback is reported and stops nobody else. One that is no `Exception`, such as
  `KeyboardInterrupt`, goes out through the call that was delivering; what is left is delivered after the next change.
- Wherever such an exception comes up - a signal handler may raise between any two instructions of Python code -
  nothing is lost or heard twice: the one callback that it ended counts as called, and that is all.
- Waiters are served before and apart from subscribers: a callback that blocks holds up no waiter.

Assumes
-------
- The core's log is in the order in which things happened.
- Nothing interrupts compiled code: `fastdag._core.Dispatch` does there what must not be torn apart, and calls what is
  here to be asked or told. Whatever it calls of this module and of `fastdag.waiters` may be interrupted anywhere and
  is then called again.

How no event is left lying
--------------------------
The log has two readers, the waiters' and the subscribers', with a baton each. Whoever finds work tries the baton
without waiting, works until nothing is left, gives it back, *and looks again*. A thread that fails to get the baton
may leave: its event was there before it tried, it failed because somebody had the baton at that time, and that
somebody looks again after giving it back - so the event is seen by him, or by somebody who took it before. Not
waiting matters: a callback, a signal handler or a finalizer that makes a change while its own thread has the baton
would wait for itself.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from fastdag._core import Dispatch, Lock
from fastdag.events import KINDS, STATES, Event
from fastdag.waiters import Waiters

if TYPE_CHECKING:
    from fastdag._core import StatusGraph

_log = logging.getLogger("fastdag")

ALL = -1  # where the routing table has those who hear the events of all units

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

    __slots__ = ("__weakref__", "_delivery", "_index", "_routes", "active", "after", "callback", "kinds", "unit")

    def __init__(
        self, delivery: Delivery, callback: Callback, unit: str | None, index: int, kinds: frozenset[str]
    ) -> None:
        self.callback = callback
        self.unit = unit
        self._index = index  # of the unit in the core, or ALL
        self.kinds = kinds
        self.active = True  # False once cancelled
        self._delivery = delivery
        self.after: float = float("inf")  # hears events with a later sequence than this
        self._routes: list[int] = []  # where the routing table has it; guarded by the delivery's table lock

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
    """Who hears what of one manager, and its waiters; the core's `Dispatch` brings it to them."""

    def __init__(self, core: StatusGraph[str], names: dict[int, str], on_error: OnError | None) -> None:
        self._core = core
        self._on_error = on_error
        self._table = Lock()  # held for dict operations and core calls only; reentrant for finalizers that cancel
        self._subscriptions: set[Subscription] = set()
        self.waiters = Waiters(core, names, self._table)
        self._dispatch: Dispatch[str] = Dispatch(
            core,
            lock=self._table,
            sort_out=self.waiters.sort_out,
            tell=self.waiters.tell,
            call_back=self.waiters.call_back,
            follow=self._follow,
            report=self._report,
            make=Event,
            kinds=KINDS,
            states=STATES,
            statuses=names,
        )
        self.waiters.dispatch = self._dispatch
        # Subscriptions by the index of the unit whose events they hear. Changed under `_table`; read by copying.
        self._routes: dict[int, dict[Subscription, None]] = self._dispatch.routes
        self.deliver = self._dispatch.deliver
        _deliveries.add(self)

    def after_fork(self) -> None:
        """In the child: leave nothing to a thread that is not there, and wait for no lock that it held."""
        before = self._table
        self._table = self.waiters.renew()
        self._dispatch.after_fork(self._table)
        if self._table is not before:  # else what has been begun under it is of this thread, which goes on with it
            for subscription in list(self._subscriptions):
                if not subscription.active or subscription.after == float("inf"):
                    self._take_out(subscription)
            if not self._subscriptions:
                self._core.log_all(False)

    def subscribe(self, callback: Callback, unit: str | None, kinds: Iterable[str] | None) -> Subscription:
        """See `Manager.subscribe`."""
        wanted = frozenset(KINDS if kinds is None else (kinds,) if isinstance(kinds, str) else kinds)
        if unknown := wanted.difference(KINDS):
            raise ValueError(f"no events are of the kind {min(unknown, key=repr)!r}; choose from {', '.join(KINDS)}")
        if not callable(callback):
            raise TypeError(f"a subscriber must be callable with one event, not {callback!r}")
        index = ALL if unit is None else self._core.add_vertex(unit)
        subscription = Subscription(self, callback, unit, index, wanted)
        try:
            with self._table:
                # Entered before logging is switched on, so that no cancel switches it off again. Dependencies are read
                # after that: one added later is logged, and routed when its event comes by.
                self._subscriptions.add(subscription)
                try:
                    self._route(subscription, index)
                    after = self._core.log_all(True)
                    if unit is not None:
                        for depends_on, *_ in self._core.dependencies(unit):
                            self._route(subscription, self._core.index(depends_on))
                    subscription.after = after  # last: by it the child of a fork tells what is whole
                except BaseException:
                    self.cancel(subscription)
                    raise
        finally:
            self.deliver()  # what a finalizer changed under the lock
        return subscription

    def cancel(self, subscription: Subscription) -> None:
        """See `Subscription.cancel`."""
        try:
            with self._table:
                self._take_out(subscription)
        finally:
            self.deliver()  # as in `subscribe`

    def _take_out(self, subscription: Subscription) -> None:
        """Let a subscription hear nothing more; under `_table`.

        Every step may be done again: what an interruption leaves undone, the next call does.
        """
        subscription.active = False
        for index in list(subscription._routes):
            there = self._routes.get(index, {})
            there.pop(subscription, None)
            if not there and self._routes.get(index) is there:
                self._routes.pop(index, None)
        self._subscriptions.discard(subscription)
        if not self._subscriptions:
            self._core.log_all(False)

    def _route(self, subscription: Subscription, index: int) -> None:
        """Let the subscription hear the events of a unit from now on; under `_table`."""
        if subscription in self._routes.get(index, ()):
            return
        subscription._routes.append(index)
        there: dict[Subscription, None] | None = None
        while there is None or self._routes.get(index) is not there:
            # Again where a finalizer cancelled the only other subscription meanwhile, and took the route away.
            there = self._routes.setdefault(index, {})
            there[subscription] = None

    def _follow(self, index: int, depends_on: int) -> None:
        """Route the events of a new dependency to those who follow its unit."""
        with self._table:
            for subscription in list(self._routes.get(index, ())):
                if subscription._index == index:
                    self._route(subscription, depends_on)
                    if not subscription.active:  # a finalizer has cancelled it meanwhile
                        self.cancel(subscription)

    def _report(self, error: Exception, event: Event, callback: Callback) -> None:
        _log.error("subscriber %r failed on %r", callback, event, exc_info=error)
        if self._on_error is not None:
            try:
                self._on_error(error, event, callback)
            except Exception:  # noqa: BLE001
                _log.exception("on_error failed on the failure of subscriber %r", callback)


_deliveries: WeakSet[Delivery] = WeakSet()


def _after_fork() -> None:
    for delivery in _deliveries:
        delivery.after_fork()


os.register_at_fork(after_in_child=_after_fork)

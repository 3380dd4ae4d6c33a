"""An exception that comes up between any two instructions of the delivery loses nothing and repeats nothing."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections import Counter
from concurrent.futures import _base

import pytest

from fastdag import DependencyFailedError, Manager, Requirement, Status, subscribers, waiters

FILES = {subscribers.__file__, waiters.__file__, _base.__file__}
MOST = 10_000  # more instructions than one delivery takes


class Interrupt(BaseException):
    """As `KeyboardInterrupt`, but nobody else raises it."""


class InterruptAt:
    """A trace function that raises before the n-th instruction executed in one of the files.

    That is more often than signals do: their handlers run behind calls and jumps back only.
    """

    def __init__(self, n):
        self.left = n

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and self.left:
            self.left -= 1
            if not self.left:
                raise Interrupt
        return self


class InterruptAtCall(InterruptAt):
    """Raises where the n-th function of these files or of `threading` begins or ends, where signals come up as well."""

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename not in FILES | {threading.__file__}:
            return None
        if event in ("call", "return") and self.left:
            self.left -= 1
            if not self.left:
                raise Interrupt
        return self


class Scene:
    """A manager, every event of which somebody hears, and waiters."""

    def __init__(self):
        self.manager = manager = Manager()
        manager.register_all(["app", "db", "disk", "last"])
        manager.add_dependency("app", "db")
        self.all = [[] for _ in range(3)]
        self.of_app = []
        for heard in self.all:
            manager.subscribe(heard.append)
        manager.subscribe(self.of_app.append, unit="app")
        self.released = [manager.when_ready("app"), manager.when_ready("app"), manager.when("db", Status.COMPLETED)]
        self.called = Counter()
        for future in self.released:
            for i in range(2):
                future.add_done_callback(lambda future, i=i: self.called.update([(id(future), i)]))
        self.changes = [
            lambda: manager.add_dependencies([("last", "db", "broken"), ("app", "disk", Requirement.STARTED)]),
            lambda: manager.update_status("disk", Status.STARTED),
            lambda: manager.update_status("db", Status.COMPLETED),
            lambda: manager.update_status("disk", Status.PENDING),
            lambda: blocked.append(manager.when_ready("app")),
            lambda: manager.update_status("db", Status.FAILED),
        ]
        self.blocked = blocked = []

    def check(self):
        """After one more change, at the latest, everybody has heard everything once."""
        manager = self.manager
        manager.register("later")
        assert not manager._core.has_events()
        assert not manager._waiters.dispatch.decided
        assert not manager._waiters.dispatch.resolved
        for heard in self.all:
            assert [event.sequence for event in heard] == list(range(1, len(heard) + 1))
            assert [(event.kind, event.unit) for event in heard] == [
                ("dependency", "last"),
                ("state", "last"),
                ("dependency", "app"),
                ("status", "disk"),
                ("status", "db"),
                ("state", "app"),
                ("status", "disk"),
                ("state", "app"),
                ("status", "db"),
                ("state", "app"),
                ("registered", "later"),
                ("state", "later"),
            ]
        assert [(event.kind, event.unit) for event in self.of_app] == [
            ("dependency", "app"),
            ("status", "disk"),
            ("status", "db"),
            ("state", "app"),
            ("status", "disk"),
            ("state", "app"),
            ("status", "db"),
            ("state", "app"),
        ]
        assert [future.result(0) for future in self.released] == ["app", "app", "db"]
        assert self.called == Counter({(id(future), i): 1 for future in self.released for i in range(2)})
        for future in self.blocked:  # it is not there when the call that makes it was interrupted
            assert isinstance(future.exception(0), DependencyFailedError)


def interrupted(scene, trace):
    """Make the changes of a scene, going on after an interruption; whether there was one."""
    seen = False
    lock = scene.manager._delivery._table
    before = sys.gettrace()
    for change in scene.changes:
        sys.settrace(trace)
        try:
            change()
        except Interrupt:
            seen = True
        finally:
            sys.settrace(before)
        while lock.is_owned():  # it came up between the end of a `with` block and the release, where no handler runs
            lock.release()
    return seen


def test_an_interrupt_at_any_instruction():
    for n in range(1, MOST):
        scene = Scene()
        if not interrupted(scene, InterruptAt(n)):
            assert n > 500  # else nothing was traced
            return
        scene.check()
    pytest.fail(f"the delivery takes more than {MOST} instructions")


def test_an_interrupt_leaves_no_future_locked():
    for n in range(1, MOST):
        scene = Scene()
        if not interrupted(scene, InterruptAtCall(n)):
            assert n > 100  # else nothing was traced
            return
        for future in scene.released + scene.blocked:
            assert not future._condition._lock._is_owned()
        scene.check()
    pytest.fail(f"the delivery takes more than {MOST} calls")


def test_an_interrupted_cancel_is_finished_by_the_next():
    for n in range(1, MOST):
        manager = Manager()
        manager.register_all(["app", "db"])
        manager.add_dependency("app", "db")
        heard = []
        subscription = manager.subscribe(heard.append, unit="app")
        before = sys.gettrace()
        sys.settrace(InterruptAt(n))
        try:
            subscription.cancel()
        except Interrupt:
            sys.settrace(before)
            subscription.cancel()
        else:
            sys.settrace(before)
            assert n > 50  # else nothing was traced
            return
        assert not subscription.active
        assert manager._delivery._routes == {}
        assert manager._delivery._subscriptions == set()
        manager._core.set_status("db", 1)  # the manager itself would deliver, and so hide, what is logged
        assert not manager._core.has_events()
    pytest.fail(f"cancelling takes more than {MOST} instructions")


def test_an_interrupted_cancel_of_a_future_is_finished_by_the_next():
    for n in range(1, MOST):
        manager = Manager()
        manager.register("app")
        future = manager.when("app", "on")
        called = []
        for i in range(2):
            future.add_done_callback(lambda future, called=called, i=i: called.append(i))
        waiting = _base._AllCompletedWaiter(1, stop_on_exception=False)  # what wait() in another thread enters
        future._waiters.append(waiting)
        before = sys.gettrace()
        sys.settrace(InterruptAt(n))
        try:
            future.cancel()
            interrupted = False
        except Interrupt:
            interrupted = True
        finally:
            sys.settrace(before)
        # the known limit: who was told, nobody knows
        telling = interrupted and future._state == "CANCELLED_AND_NOTIFIED"
        assert future.cancel()
        assert called == [0, 1]
        assert manager._waiters.dispatch.waiting == {}
        assert waiting.finished_futures == [future] or telling
        if not interrupted:
            assert n > 50  # else nothing was traced
            return
    pytest.fail(f"cancelling takes more than {MOST} instructions")


def test_signals_at_any_time():
    """Real signals, whose handler raises, at random moments of real time."""
    armed = []

    def handler(number, frame):
        if armed:
            armed.clear()
            raise Interrupt

    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    manager = Manager()
    manager.register_all(["A", "B"])
    manager.add_dependency("A", "B")
    heard, of_a = [], []
    manager.subscribe(heard.append)
    manager.subscribe(of_a.append, unit="A")
    interrupts = 0
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(1_000):
            futures = [manager.when("B", "wanted") for _ in range(3)]
            try:
                try:
                    armed.append(True)
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, 1e-4))
                    for status in ("started", "wanted", "pending"):
                        manager.update_status("B", status)
                finally:
                    armed.clear()
            except Interrupt:
                interrupts += 1
            for status in ("afterwards", "wanted", "over"):
                manager.update_status("B", status)
            assert all(future.result(0) == "B" for future in futures)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 10
    assert [event.sequence for event in heard] == list(range(1, len(heard) + 1))
    assert of_a == heard
    assert not manager._core.has_events()
    assert not manager._waiters.dispatch.waiting

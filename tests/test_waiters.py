"""Futures and blocking waits: resolved by the event itself, by nothing else, and leaving nothing behind."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import time

import pytest
from manager_support import DEADLINE, at_once, unchanged

from fastdag import DependencyFailedError, FastDAGError, Manager, Requirement, Status


@pytest.fixture
def manager():
    manager = Manager()
    manager.register_all(["A", "B", "C"])
    manager.add_dependencies([("A", "B"), ("A", "C")])
    return manager


def forgotten(manager):
    """No waiter is left, and nothing is logged for one."""
    assert manager._waiters.dispatch.waiting == {}
    assert not manager._waiters.dispatch.decided
    for unit in manager.units():  # the manager itself would deliver, and so hide, what is logged
        manager._core.set_status(unit.id, (manager._codes[unit.status] + 1) % 2)
    return not manager._core.has_events()


def test_resolved_inside_the_call_that_makes_it_ready(manager):
    future = manager.when_ready("A")
    manager.update_status("B", Status.COMPLETED)
    assert not future.done()
    manager.update_status("C", Status.COMPLETED)
    assert future.done()
    assert future.result(0) == "A"
    assert forgotten(manager)


def test_a_ready_unit_is_not_waited_for(manager):
    assert manager.when_ready("B").result(0) == "B"
    assert manager.wait_ready("B", 0) is None
    assert manager.when("B", Status.PENDING).result(0) == "B"
    assert forgotten(manager)


def test_a_unit_that_is_not_registered_yet():
    manager = Manager()
    ready, started = manager.when_ready("A"), manager.when("A", Status.STARTED)
    pending = manager.when("A", Status.PENDING)
    assert manager.units() == []
    manager.register("A")
    assert ready.result(0) == pending.result(0) == "A"
    assert not started.done()
    manager.update_status("A", Status.STARTED)
    assert started.result(0) == "A"
    assert manager._waiters.dispatch.waiting == {}


def test_a_status_once_reached_counts_even_if_it_is_left_at_once(manager):
    """Both changes happen before anybody looks at the log."""
    futures = []

    def callback(event):
        if event.new == "go":
            subscription.cancel()
            futures.extend([manager.when("B", "short"), manager.when_ready("A")])
            for unit in ("B", "C"):
                manager._core.set_status(unit, manager._codes["completed"])
            manager._core.set_status("B", manager._codes["short"])
            manager._core.set_status("B", manager._codes["pending"])
            manager._deliver()

    manager.update_status("C", "short")
    manager.update_status("C", "completed")
    manager.update_status("C", "pending")
    subscription = manager.subscribe(callback)
    manager.update_status("B", "go")
    assert not manager.is_ready("A")
    assert [future.result(0) for future in futures] == ["B", "A"]


def test_an_event_from_before_does_not_count(manager):
    """The log still holds that A was ready and B was completed, when somebody begins to wait."""
    futures = []

    def callback(event):
        if event.new == "go":
            code = manager._codes
            for status in ("completed", "pending"):
                for unit in ("B", "C"):
                    manager._core.set_status(unit, code[status])
            futures.extend([manager.when_ready("A"), manager.when("B", "completed")])
            manager._deliver()

    manager.update_status("C", "completed")
    manager.update_status("C", "pending")
    heard = []
    manager.subscribe(callback)
    manager.subscribe(heard.append)
    manager.update_status("B", "go")
    assert ("A", "ready") in {(event.unit, event.new) for event in heard}
    assert not any(future.done() for future in futures)
    manager.update_statuses(["B", "C"], "completed")
    assert [future.result(0) for future in futures] == ["A", "B"]


def test_a_blocked_unit(manager):
    early = manager.when_ready("A")
    manager.update_status("B", Status.FAILED)
    late = manager.when_ready("A")
    for future in (early, late):
        with pytest.raises(DependencyFailedError) as caught:
            future.result(0)
        assert caught.value.unit == "A"
        assert caught.value.failed == [("B", "failed")]
        assert str(caught.value) == (
            "unit 'A' cannot become ready: 'B' is failed; repair that and set its status again"
        )
        assert isinstance(caught.value, RuntimeError)
    with pytest.raises(DependencyFailedError):
        manager.wait_ready("A", 0)
    manager.update_status("C", Status.CANCELED)
    with pytest.raises(DependencyFailedError) as caught:
        manager.wait_ready("A")
    assert sorted(caught.value.failed) == [("B", "failed"), ("C", "canceled")]
    manager.update_statuses(["B", "C"], Status.COMPLETED)
    assert manager.when_ready("A").result(0) == "A"
    assert forgotten(manager)


def test_a_block_that_is_repaired_before_anybody_hears_of_it(manager):
    futures = []

    def callback(event):
        if event.new == "go":
            futures.append(manager.when_ready("A"))
            manager._core.set_status("B", manager._codes["failed"])
            manager._core.set_status("B", manager._codes["pending"])

    manager.update_status("C", "failed")
    manager.update_status("C", "pending")
    manager.subscribe(callback)
    manager.update_status("B", "go")
    assert not futures[0].done()
    manager.update_statuses(["B", "C"], "completed")
    assert futures[0].result(0) == "A"


def test_another_end_than_the_one_waited_for_leaves_it_pending(manager):
    future = manager.when("B", Status.COMPLETED)
    manager.update_status("B", Status.FAILED)
    assert not future.done()
    manager.update_status("B", Status.PENDING)
    manager.update_status("B", Status.COMPLETED)
    assert future.result(0) == "B"


def test_many_waiters_of_one_unit(manager):
    threads = threading.active_count()
    futures = [manager.when_ready("A") for _ in range(50)]
    assert threading.active_count() == threads
    futures[7].cancel()
    manager.update_statuses(["B", "C"], Status.COMPLETED)
    assert sum(future.done() and not future.cancelled() for future in futures) == 49
    assert forgotten(manager)


def test_a_cancelled_future_is_forgotten(manager):
    futures = [manager.when_ready("A"), manager.when("A", Status.STARTED), manager.when_ready("X")]
    for future in futures:
        assert future.cancel()
        assert future.cancel()
        assert future.cancelled()
    done, pending = concurrent.futures.wait(futures, timeout=DEADLINE)
    assert (len(done), len(pending)) == (3, 0)
    assert forgotten(manager)
    resolved = manager.when_ready("B")
    assert not resolved.cancel()


def test_a_wait_that_times_out_is_forgotten(manager):
    begin = time.monotonic()
    with unchanged(manager), pytest.raises(TimeoutError) as caught:
        manager.wait_ready("A", timeout=0.02)
    assert time.monotonic() - begin >= 0.02
    assert str(caught.value) == "unit 'A' was not ready within 0.02 s; explain('A') says what it waits for"
    assert forgotten(manager)


def test_a_wait_that_is_interrupted_is_forgotten(manager, monkeypatch):
    def interrupted(self, timeout=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(concurrent.futures.Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        manager.wait_ready("A")
    assert forgotten(manager)


def test_it_is_ready_after_all_in_the_moment_in_which_the_time_is_over(manager, monkeypatch):
    result = concurrent.futures.Future.result

    def late(self, timeout=None):
        if not self.done():
            manager.update_statuses(["B", "C"], Status.COMPLETED)
            raise TimeoutError
        return result(self, timeout)

    monkeypatch.setattr(concurrent.futures.Future, "result", late)
    assert manager.wait_ready("A", 1) is None


def test_a_thread_that_waits_does_nothing_until_the_event(manager, monkeypatch):
    """Not one Python call in the waiting thread between its blocking and the event, and no sleep or timer anywhere."""

    def forbidden(*args, **kwargs):
        raise AssertionError("somebody polls")

    blocked = threading.Event()
    calls = []

    def wait():
        acquired = threading.Condition.wait

        def wait_in_condition(self, timeout=None):
            assert timeout is None
            blocked.set()
            sys.setprofile(lambda frame, what, _: calls.append((what, frame.f_code.co_name, time.monotonic())))
            return acquired(self, timeout)

        with monkeypatch.context() as patch:
            patch.setattr(threading.Condition, "wait", wait_in_condition)
            manager.wait_ready("A")
        sys.setprofile(None)
        calls.append(("end", "", time.monotonic()))

    thread = threading.Thread(target=wait, daemon=True)
    real_sleep = time.sleep
    thread.start()
    while not blocked.is_set():
        real_sleep(0.001)
    monkeypatch.setattr(time, "sleep", forbidden)
    monkeypatch.setattr(threading, "Timer", forbidden)
    real_sleep(0.2)
    quiet_until = time.monotonic()
    threads = threading.active_count()
    manager.update_status("B", Status.COMPLETED)
    manager.update_status("C", Status.COMPLETED)
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert calls[-1][0] == "end"
    assert threading.active_count() == threads - 1
    blocking = [call for call in calls if call[2] < quiet_until - 0.1]
    assert not [call for call in calls if quiet_until - 0.1 <= call[2] < quiet_until]
    assert len(blocking) < 20  # on its way into the lock


def test_a_callback_of_a_future_may_do_anything(manager):
    results = []

    def when_done(future):
        def elsewhere():
            manager.register("D")
            manager.add_dependency("D", "A")
            manager.when_ready("D").cancel()
            manager.update_status("A", Status.STARTED)

        at_once(elsewhere)
        manager.subscribe(results.append, kinds="status")
        results.append(future.result(0))

    manager.when_ready("A").add_done_callback(when_done)
    manager.update_statuses(["B", "C"], Status.COMPLETED)
    assert results == ["A"]
    assert manager.unit("A").status == Status.STARTED


def test_a_waiter_is_not_held_up_by_a_subscriber(manager):
    """The callback is still running when the waiter is released."""
    future = manager.when_ready("A")
    release, released = threading.Event(), threading.Event()

    def slow(event):
        release.wait(DEADLINE)

    def wait():
        assert future.result(DEADLINE) == "A"
        released.set()
        release.set()

    manager.subscribe(slow)
    at_once(wait, lambda: manager.update_statuses(["B", "C"], Status.COMPLETED))
    assert released.is_set()


def test_an_interrupt_in_a_callback_of_a_future_loses_no_waiter(manager):
    def interrupt(future):
        raise KeyboardInterrupt

    heard = []
    manager.subscribe(heard.append, kinds="status")
    first, second = manager.when_ready("A"), manager.when_ready("A")
    first.add_done_callback(interrupt)
    with pytest.raises(KeyboardInterrupt):
        manager.update_statuses(["B", "C"], Status.COMPLETED)
    assert first.done()
    manager.update_status("A", Status.STARTED)
    assert second.result(0) == "A"
    assert [(event.unit, event.new) for event in heard] == [("B", "completed"), ("C", "completed"), ("A", "started")]


@pytest.fixture
def many_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_no_moment_is_missed(many_switches):
    """Somebody begins to wait while the change is being made, over and over; with and without subscribers."""
    for subscribed in (False, True):
        manager = Manager()
        if subscribed:
            manager.subscribe(len)
        units = [str(i) for i in range(3_000)]
        manager.register_all(["d" + unit for unit in units])
        futures = []

        def change(manager=manager, units=units):
            for unit in units:
                manager.register(unit)
                manager.add_dependency(unit, "d" + unit)
                manager.update_status("d" + unit, Status.COMPLETED)
                manager.update_status(unit, Status.STARTED)

        def wait(manager=manager, units=units, futures=futures):
            for unit in units:
                futures.extend([(manager.when_ready(unit), unit), (manager.when(unit, Status.STARTED), unit)])

        at_once(change, wait, wait)
        assert len(futures) == 12_000
        assert all(future.result(0) == unit for future, unit in futures)
        assert manager._waiters.dispatch.waiting == {}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_last_waiter_of_a_unit_leaves_while_another_one_comes(manager, moment):
    """In the same thread: a finalizer or signal handler."""
    dispatch = manager._waiters.dispatch
    leaving = manager.when_ready("A")

    class Interrupted:
        def __getattr__(self, name):
            return getattr(dispatch, name)

        def enter(self, waiter):
            if moment == "before":
                leaving.cancel()
            answer = dispatch.enter(waiter)
            leaving.cancel()
            return answer

    manager._waiters.dispatch = Interrupted()
    future = manager.when_ready("A")
    assert leaving.cancelled()
    manager.update_statuses(["B", "C"], Status.COMPLETED)
    assert future.done()
    assert forgotten(manager)


class Meddler(str):
    """A name whose hash runs code of its own."""

    __slots__ = ("meddle",)

    def __hash__(self):
        getattr(self, "meddle", lambda: None)()
        return str.__hash__(self)

    __eq__ = str.__eq__


@pytest.mark.parametrize("n", range(20))
def test_a_name_that_registers_a_waiter_while_the_last_one_leaves(manager, n):
    """Whenever the hash of the name is asked for: the n-th time."""
    name = Meddler("A")
    leaving = manager.when_ready(name)
    hashed, futures = [], []

    def meddle():
        hashed.append(True)
        if len(hashed) == n:
            futures.append(manager.when_ready("A"))

    name.meddle = meddle
    leaving.cancel()
    futures.append(manager.when_ready(name))
    manager.update_statuses(["B", "C"], Status.COMPLETED)
    assert leaving.cancelled()
    assert [future.result(0) for future in futures] == ["A"] * len(futures)
    assert forgotten(manager)


def test_cancelling_while_it_is_being_resolved(many_switches):
    manager = Manager()
    units = [str(i) for i in range(2_000)]
    manager.register_all(units)
    futures = [manager.when(unit, Status.STARTED) for unit in units]
    cancelled = []

    def update():
        for unit in units:
            manager.update_status(unit, Status.STARTED)

    def cancel():
        cancelled.extend(future.cancel() for future in futures)

    at_once(update, cancel)
    pending = concurrent.futures.wait(futures, timeout=DEADLINE).not_done
    assert not pending
    for future, was_cancelled, unit in zip(futures, cancelled, units, strict=True):
        assert future.cancelled() == was_cancelled
        if not was_cancelled:
            assert future.result(0) == unit
    assert manager._waiters.dispatch.waiting == {}


def test_threads_wait_for_one_another():
    """A tree of threads, each waiting for its unit and then completing it."""
    manager = Manager()
    units = [str(i) for i in range(40)]
    manager.register_all(units)
    manager.add_dependencies([(units[i], units[(i - 1) // 2]) for i in range(1, 40)])
    order = []

    def run(unit):
        manager.wait_ready(unit, DEADLINE)
        order.append(unit)
        manager.update_status(unit, Status.COMPLETED)

    at_once(*(lambda unit=unit: run(unit) for unit in reversed(units)))
    assert sorted(order) == sorted(units)
    assert all(order.index(units[i]) > order.index(units[(i - 1) // 2]) for i in range(1, 40))


def test_what_cannot_be_waited_for(manager):
    with unchanged(manager):
        for call in (lambda: manager.when_ready(""), lambda: manager.when("A", ""), lambda: manager.wait_ready(None)):
            with pytest.raises(FastDAGError):
                call()
    assert manager._waiters.dispatch.waiting == {}


def test_a_requirement_that_is_replaced_releases(manager):
    future = manager.when_ready("A")
    manager.update_statuses(["B", "C"], Status.STARTED)
    manager.add_dependency("A", "B", Requirement.STARTED, replace=True)
    assert not future.done()
    manager.add_dependency("A", "C", Requirement.STARTED, replace=True)
    assert future.done()


class UnhashableOnce(tuple):  # noqa: SLOT001
    """As a decision for which there is no memory at first."""

    hashed = False

    def __hash__(self):
        if not self.hashed:
            self.hashed = True
            raise MemoryError
        return super().__hash__()


def test_a_waiter_for_which_memory_runs_out_is_told_later(manager, monkeypatch):
    waiters = manager._waiters
    monkeypatch.setattr(
        waiters, "_decide", lambda waiter, error: waiters.dispatch.decide(waiter, UnhashableOnce((waiter, error)))
    )
    future = manager.when("B", "go")
    with pytest.raises(MemoryError):
        manager.update_status("B", "go")
    assert not future.done()
    manager.register("later")
    assert future.result(0) == "B"
    assert forgotten(manager)


def test_callbacks_that_make_changes_are_not_called_within_each_other(manager):
    depth, deepest, called = 0, 0, 0

    def change(future):
        nonlocal depth, deepest, called
        depth += 1
        deepest = max(deepest, depth)
        assert last.done()  # all are resolved before the first callback: it may wait for the others
        manager.update_status("B", str(called % 2))
        called += 1
        depth -= 1

    for _ in range(2 * sys.getrecursionlimit()):
        manager.when("C", "go").add_done_callback(change)
    last = manager.when("C", "go")
    manager.update_status("C", "go")
    assert (deepest, called) == (1, 2 * sys.getrecursionlimit())
    assert forgotten(manager)


def test_a_callback_sees_a_waiter_resolved_that_its_own_change_releases(manager):
    order = []

    def change(future):
        manager.update_status("B", "next")
        assert following.result(0) == "B"
        order.append("first")

    following = manager.when("B", "next")
    following.add_done_callback(lambda future: order.append("second"))
    manager.when("C", "go").add_done_callback(change)
    manager.update_status("C", "go")
    assert order == ["first", "second"]

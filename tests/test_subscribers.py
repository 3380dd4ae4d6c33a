"""What subscribers hear, in which order, how often, and what they may do meanwhile."""

from __future__ import annotations

import gc
import logging
import random
import re
import sys
import threading
import time
import weakref
from collections import Counter
from contextlib import suppress

import pytest
from manager_support import DEADLINE, at_once

import fastdag.status as status_module
from fastdag import Event, FastDAGError, Manager, Requirement, Status, Subscription, UnitIdRequiredError


@pytest.fixture
def manager():
    return Manager()


@pytest.fixture
def many_switches():
    """Threads change places as often as they can, so that they meet everywhere."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def brief(events):
    return [(event.kind, event.unit, event.dependency, event.old, event.new) for event in events]


def quiet(manager):
    """Nothing is left lying anywhere, and nothing is logged for nobody."""
    assert not manager._core.has_events()
    assert not manager._waiters.dispatch.decided
    return True


# what is heard


def test_every_kind_of_event(manager):
    heard = []
    before = time.monotonic()
    manager.subscribe(heard.append)
    manager.register("A")
    manager.add_dependency("A", "B", Status.STARTED)
    manager.register("B")
    manager.update_status("B", Status.STARTED)
    manager.update_status("B", Status.PENDING)
    manager.update_status("A", "own")
    manager.add_dependency("A", "B", Requirement("pending"), replace=True)
    assert brief(heard) == [
        ("registered", "A", None, "", "pending"),
        ("state", "A", None, "waiting", "ready"),
        ("dependency", "A", "B", "", ""),
        ("state", "A", "B", "ready", "waiting"),
        ("registered", "B", None, "", "pending"),
        ("state", "B", None, "waiting", "ready"),
        ("status", "B", None, "pending", "started"),
        ("state", "A", "B", "waiting", "ready"),
        ("status", "B", None, "started", "pending"),
        ("state", "A", "B", "ready", "waiting"),
        ("status", "A", None, "pending", "own"),
        ("dependency", "A", "B", "", "pending"),
        ("state", "A", "B", "waiting", "ready"),
    ]
    assert [event.sequence for event in heard] == list(range(heard[0].sequence, heard[0].sequence + len(heard)))
    assert all(isinstance(event.time, float) for event in heard)
    assert before <= heard[0].time <= heard[-1].time <= time.monotonic()
    assert quiet(manager)


def test_an_event_is_frozen_and_small(manager):
    heard = []
    manager.subscribe(heard.append)
    manager.register("A")
    with pytest.raises(AttributeError):
        heard[0].kind = "other"
    assert not hasattr(heard[0], "__dict__")
    assert Event._fields == ("kind", "unit", "dependency", "old", "new", "sequence", "time")


def test_blocked_is_a_state(manager):
    manager.register_all(["A", "B"])
    manager.add_dependency("A", "B")
    heard = []
    manager.subscribe(heard.append, kinds="state")
    manager.update_status("B", Status.FAILED)
    manager.update_status("B", Status.COMPLETED)
    assert brief(heard) == [("state", "A", "B", "waiting", "blocked"), ("state", "A", "B", "blocked", "ready")]


def test_bulk_operations_are_heard_event_by_event(manager):
    heard = []
    manager.subscribe(heard.append)
    manager.register_all(["A", "B", "C"])
    manager.add_dependencies([("A", "B"), ("A", "C")])
    manager.update_statuses(["B", "C"], Status.COMPLETED)
    counts = Counter(event.kind for event in heard)
    assert counts == {"registered": 3, "state": 5, "dependency": 2, "status": 2}
    assert brief(heard)[-1][:2] == ("state", "A")
    assert brief(heard)[-1][3:] == ("waiting", "ready")


def test_only_these_kinds(manager):
    heard = {kinds: [] for kinds in (("status",), ("registered", "state"), ())}
    for kinds, events in heard.items():
        manager.subscribe(events.append, kinds=kinds)
    manager.register("A")
    manager.update_status("A", Status.STARTED)
    assert [event.kind for event in heard["status",]] == ["status"]
    assert [event.kind for event in heard["registered", "state"]] == ["registered", "state"]
    assert heard[()] == []
    with pytest.raises(ValueError, match="no events are of the kind 'colour'; choose from registered, status"):
        manager.subscribe(print, kinds=["status", "colour"])


def test_only_what_concerns_a_unit(manager):
    heard = []
    manager.register_all(["B", "C", "D"])
    with manager.subscribe(heard.append, unit="A"):  # not registered yet
        manager.update_status("B", "1")
        manager.register("A")
        manager.add_dependency("A", "B")
        manager.update_status("B", "2")
        manager.update_status("C", "3")  # concerns A only from the next line on
        manager.add_dependency("A", "C")
        manager.update_status("C", "4")
        manager.add_dependency("C", "D")  # concerns what A depends on
        manager.update_status("D", "5")  # but this does not: A does not depend on D itself
        manager.add_dependencies([("A", "X"), ("D", "Y")])
        manager.register_all(["X", "Y"])
    assert [(event.kind, event.unit, event.new) for event in heard if event.kind != "state"] == [
        ("registered", "A", "pending"),
        ("dependency", "A", "1"),
        ("status", "B", "2"),
        ("dependency", "A", "3"),
        ("status", "C", "4"),
        ("dependency", "C", "pending"),
        ("dependency", "A", ""),
        ("registered", "X", "pending"),
    ]
    assert {event.unit for event in heard} == {"A", "B", "C", "X"}


def test_dependencies_from_before_the_subscription_concern_a_unit_too(manager):
    manager.register("A")
    manager.add_dependencies([("A", "B"), ("A", "C")])
    heard = []
    subscription = manager.subscribe(heard.append, unit="A", kinds="registered")
    manager.register_all(["B", "C", "D"])
    assert [event.unit for event in heard] == ["B", "C"]
    subscription.cancel()
    assert manager._delivery._routes == {}


def test_a_new_subscriber_hears_nothing_old(manager):
    first, second = [], []

    def callback(event):
        first.append(event)
        if event.kind == "registered" and event.unit == "A":
            manager.register("B")  # logged, not yet delivered
            manager.subscribe(second.append)
            manager.register("C")

    manager.subscribe(callback)
    manager.register("A")
    assert [event.unit for event in first if event.kind == "registered"] == ["A", "B", "C"]
    assert [event.unit for event in second if event.kind == "registered"] == ["C"]


def test_wrong_subscribers(manager):
    with pytest.raises(TypeError, match="a subscriber must be callable with one event, not 'A'"):
        manager.subscribe("A")
    with pytest.raises(UnitIdRequiredError):
        manager.subscribe(print, unit="")
    assert manager._delivery._subscriptions == set()


# cancelling


def test_a_subscription_ends(manager):
    heard = []
    with manager.subscribe(heard.append) as subscription:
        assert isinstance(subscription, Subscription)
        assert subscription.active
        manager.register("A")
    count = len(heard)
    assert count == 2
    assert not subscription.active
    manager.register("B")
    subscription.cancel()
    assert len(heard) == count
    assert quiet(manager)
    assert "cancelled" in repr(subscription)
    assert "all units" in repr(subscription)


def test_nothing_is_logged_without_subscribers(manager):
    manager.subscribe(print, unit="X").cancel()
    manager._core.register("A", 0)  # a manager would deliver what is logged
    assert manager._core.take_events() == []
    one, two = manager.subscribe(len), manager.subscribe(len)
    one.cancel()
    one.cancel()
    heard = []
    manager.subscribe(heard.append)
    two.cancel()
    manager.register("B")
    assert len(heard) == 2


def test_a_callback_cancels_itself_and_others(manager):
    heard = {"one": [], "two": [], "three": []}
    subscriptions = {}

    def one(event):
        heard["one"].append(event)
        subscriptions["one"].cancel()
        subscriptions["three"].cancel()

    subscriptions["one"] = manager.subscribe(one)
    subscriptions["two"] = manager.subscribe(heard["two"].append)
    subscriptions["three"] = manager.subscribe(heard["three"].append)
    manager.register("A")
    assert {name: len(events) for name, events in heard.items()} == {"one": 1, "two": 2, "three": 0}


def test_after_cancel_returned_no_call_begins(manager, many_switches):
    manager.register("A")
    for _ in range(20):
        calls = []
        inside = threading.Lock()

        def callback(event, calls=calls, inside=inside):
            with inside:
                calls.append(event)

        subscription = manager.subscribe(callback, kinds="status")
        stop = threading.Event()

        def update(stop=stop):
            status = 0
            while not stop.is_set():
                status = 1 - status
                manager.update_status("A", "ab"[status])

        def cancel(subscription=subscription, inside=inside, calls=calls, stop=stop):
            end = time.monotonic() + DEADLINE
            while len(calls) < 5 and time.monotonic() < end:
                time.sleep(0)
            subscription.cancel()
            count = len(calls)
            time.sleep(0.005)
            with inside:
                late = len(calls) - count
            stop.set()
            assert late <= 1  # the one in progress

        at_once(update, cancel)
        manager.update_status("A", "end")
        assert quiet(manager)


@pytest.mark.parametrize("n", range(20))
def test_a_name_that_subscribes_while_the_last_subscription_leaves(manager, n):
    """Whenever the hash of the name is asked for: the n-th time."""

    class Meddler(str):
        __slots__ = ("meddle",)

        def __hash__(self):
            getattr(self, "meddle", lambda: None)()
            return str.__hash__(self)

        __eq__ = str.__eq__

    manager.register_all(["A", "B"])
    name = Meddler("A")
    leaving = manager.subscribe(print, unit=name)
    heard, subscriptions = [], []

    def meddle():
        name.meddle = lambda: hashed.append(True)
        hashed.append(True)
        if len(hashed) == n:
            subscriptions.append(manager.subscribe(heard.append, unit="A"))
        name.meddle = meddle

    hashed = []
    name.meddle = meddle
    leaving.cancel()
    with manager.subscribe(heard.append, unit=name) as last:
        manager.update_status("A", "other")
    assert [event.new for event in heard] == ["other"] * (1 + len(subscriptions))
    for subscription in subscriptions:
        subscription.cancel()
    assert not last.active
    assert manager._delivery._routes == {}
    assert quiet(manager)


def test_the_last_to_leave_and_the_first_to_come(manager, many_switches):
    """Logging is switched off by the last and on by the next: whoever has subscribed hears, whatever the others do."""

    def come_and_go(name):
        def run():
            for i in range(200):
                heard = threading.Event()
                with manager.subscribe(lambda event, heard=heard: heard.set(), unit=name, kinds="status"):
                    manager.update_status(name, f"{i % 2}")
                    assert heard.wait(DEADLINE), f"{name} missed its event"

        return run

    manager.register_all(["A", "B", "C", "D"])
    at_once(*map(come_and_go, "ABCD"))
    assert manager._delivery._subscriptions == set()
    assert manager._delivery._routes == {}
    assert quiet(manager)
    manager._core.register("E", 0)
    assert not manager._core.has_events()


# what a callback may do


def test_a_callback_that_raises_stops_nobody(caplog):
    reported = []
    manager = Manager(on_error=lambda *report: reported.append(report))
    before, after = [], []

    def bad(event):
        raise ZeroDivisionError(event.unit)

    manager.subscribe(before.append)
    manager.subscribe(bad, kinds="registered")
    manager.subscribe(after.append)
    with caplog.at_level(logging.ERROR, logger="fastdag"):
        manager.register("A")
        manager.register("B")
    assert before == after
    assert len(after) == 4
    seen = [(str(error), event.unit, callback) for error, event, callback in reported]
    assert seen == [("A", "A", bad), ("B", "B", bad)]
    assert len(caplog.records) == 2
    assert "bad" in caplog.records[0].getMessage()
    assert "unit='A'" in caplog.records[0].getMessage()
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


def test_an_error_hook_that_raises_stops_nobody(caplog):
    def hook(*report):
        raise RuntimeError("the hook")

    manager = Manager(on_error=hook)
    heard = []
    manager.subscribe(lambda event: 1 / 0)
    manager.subscribe(heard.append)
    with caplog.at_level(logging.ERROR, logger="fastdag"):
        manager.register("A")
    assert len(heard) == 2
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError, RuntimeError] * 2


def test_events_that_a_callback_causes_come_after_the_current_one_has_reached_everybody(manager):
    heard = []

    def starter(event):
        heard.append(("starter", event.kind, event.unit))
        if event.kind == "registered" and len(event.unit) < 3:
            manager.register(event.unit + "x")

    manager.subscribe(starter, kinds="registered")
    manager.subscribe(lambda event: heard.append(("other", event.kind, event.unit)), kinds="registered")
    manager.register("x")
    assert heard == [(who, "registered", "x" * n) for n in (1, 2, 3) for who in ("starter", "other")]
    assert quiet(manager)


def test_a_callback_may_call_every_method(manager):
    manager.register("old")
    errors = []
    once = []

    def callback(event):
        if once:
            return
        once.append(event)
        try:
            manager.register("new")
            manager.register_all(["many"])
            manager.add_dependency("new", "old")
            manager.add_dependencies([("many", "old")])
            assert not manager.when_ready("new").done()
            manager.update_status("old", Status.COMPLETED)
            assert manager.when_ready("new").result(0) == "new"
            manager.wait_ready("new", 0)
            manager.update_statuses(["old"], Status.FAILED)
            manager.subscribe(len).cancel()
            assert manager.unit("new").status == "pending"
            assert manager.state("many") == "blocked"
            assert manager.units()
            assert manager.dependents("old")
            assert manager.unmet_dependencies("new")
            assert str(manager.explain("new"))
            assert manager.stalled()
            assert len(manager.graph) == 3
            assert manager.to_dot()
            with pytest.raises(FastDAGError):
                manager.register("new")
        except BaseException as error:
            errors.append(error)
            raise

    manager.subscribe(callback)
    manager.update_status("old", "go")
    assert errors == []
    assert once


def test_no_lock_is_held_during_a_callback(manager):
    """Another thread does everything while a callback is running, and ends."""
    manager.register_all(["A", "B"])
    done = []

    def everything():
        manager.register("C")
        manager.register_all(["D"])
        manager.add_dependency("C", "A", "new status")
        manager.add_dependencies([("D", "C")])
        manager.update_status("C", "newer status")
        manager.update_statuses(["A", "D"], Status.COMPLETED)
        manager.subscribe(len, unit="D").cancel()
        future = manager.when_ready("E")
        manager.register("E")
        assert future.result(DEADLINE) == "E"
        assert manager.when("E", "odd").cancel()
        manager.units(), manager.graph, manager.stalled(), manager.to_dot(), str(manager.explain("D"))
        done.append(True)

    def callback(event):
        if event.new == "go":
            at_once(everything, deadline=DEADLINE / 2)

    heard = []
    manager.subscribe(callback)
    manager.subscribe(heard.append)
    manager.update_status("B", "go")
    assert done == [True]
    assert {"C", "D", "E"} <= {event.unit for event in heard}
    assert quiet(manager)


def test_a_callback_may_wait_for_what_another_thread_does(manager):
    """Waiters are served apart from subscribers, or this would wait for itself."""
    manager.register_all(["A", "B"])
    manager.add_dependency("A", "B")
    waited = []
    waiting = threading.Event()

    def callback(event):
        if event.new == "go":
            future = manager.when_ready("A")
            waiting.set()
            waited.append(future.result(DEADLINE))

    def helper():
        assert waiting.wait(DEADLINE)
        manager.update_status("B", Status.COMPLETED)

    manager.subscribe(callback)
    at_once(lambda: manager.update_status("A", "go"), helper)
    assert waited == ["A"]
    assert quiet(manager)


def test_keyboard_interrupt_propagates_and_loses_nothing(manager):
    first, last = [], []
    interrupts = [KeyboardInterrupt(), SystemExit()]

    def middle(event):
        if interrupts and event.kind == "registered":
            raise interrupts.pop()

    manager.subscribe(first.append)
    manager.subscribe(middle)
    manager.subscribe(last.append)
    with pytest.raises(SystemExit):
        manager.register("A")
    assert manager.is_ready("A")  # the change is in effect
    assert [event.kind for event in first] == ["registered"]
    assert last == []
    with pytest.raises(KeyboardInterrupt):
        manager.register("B")
    manager.register("C")
    assert first == last
    assert [(event.kind, event.unit) for event in last] == [
        (kind, unit) for unit in "ABC" for kind in ("registered", "state")
    ]
    assert quiet(manager)


# threads


def chained(events, start):
    """Each unit's events follow from one another; the last value of each unit."""
    current = {}
    for event in events:
        assert event.old == current.get(event.unit, start), event
        assert event.old != event.new
        current[event.unit] = event.new
    return current


def test_order_and_exactly_once_under_threads(many_switches, caplog):
    for seed in range(3):
        manager = Manager()
        rng = random.Random(seed)
        units = [f"u{i}" for i in range(40)]
        heard = [[] for _ in range(3)]
        concerning = []
        for events in heard:
            manager.subscribe(events.append)
        manager.subscribe(lambda event: 1 / 0 if event.sequence % 97 == 0 else None, kinds="state")
        manager.subscribe(concerning.append, unit="u0")

        def work(seed, manager=manager, units=units):
            rng = random.Random(seed)
            requirements = [Requirement.SUCCESS, "started", "x"]
            statuses = ["pending", "started", "completed", "failed", "x"]

            def run():
                for _ in range(600):
                    kind, i, k = rng.random(), rng.randrange(40), rng.randrange(40)
                    try:
                        if kind < 0.15:
                            manager.register(units[i])
                        elif kind < 0.3:
                            manager.add_dependency(units[i], units[k], rng.choice(requirements))
                        elif kind < 0.35:
                            manager.update_statuses(rng.sample(units, 3), rng.choice(["started", "completed"]))
                        else:
                            manager.update_status(units[i], rng.choice(statuses))
                    except FastDAGError:
                        pass

            return run

        with caplog.at_level(logging.CRITICAL, logger="fastdag"):
            at_once(*(work(rng.random()) for _ in range(6)))
        assert quiet(manager)
        assert heard[0] == heard[1] == heard[2]
        events = heard[0]
        assert [event.sequence for event in events] == list(range(events[0].sequence, events[0].sequence + len(events)))
        last = chained([event for event in events if event.kind in ("registered", "status")], "")
        assert last == {unit.id: unit.status for unit in manager.units()}
        states = chained([event for event in events if event.kind == "state"], "waiting")
        assert all(manager.state(unit) == states.get(unit, "waiting") for unit in units)
        added = {(event.unit, event.dependency) for event in events if event.kind == "dependency"}
        assert added == {(edge.source, edge.target) for edge in manager.graph.edges()}
        assert sum(event.kind == "dependency" for event in events) == len(added)
        followed, expected = {"u0"}, []
        for event in events:
            if event.unit in followed:
                expected.append(event)
            if event.kind == "dependency" and event.unit == "u0":
                followed.add(event.dependency)
        assert concerning == expected
        manager._core._check()


def test_nothing_is_left_when_all_threads_are_done(many_switches):
    """No wake-up is lost: whoever leaves an event to another thread can rely on it."""
    for _ in range(200):
        manager = Manager()
        manager.register_all(["A", "B", "C"])
        heard = []
        manager.subscribe(heard.append, kinds="status")

        def update(unit, manager=manager):
            for status in "abcab":
                manager.update_status(unit, status)

        at_once(*(lambda unit=unit: update(unit) for unit in "ABC"))
        assert len(heard) == 15
        assert quiet(manager)


class Reentrant:
    """The core, in one of whose methods a finalizer or signal handler runs."""

    def __init__(self, core, method, handler):
        self.core, self.method, self.handlers = core, method, [handler]

    def __getattr__(self, name):
        method = getattr(self.core, name)

        def interrupted(*args):
            result = method(*args)
            if self.handlers:
                self.handlers.pop()()
            return result

        return interrupted if name == self.method else method


class Names(dict):
    """The names of statuses; a finalizer or signal handler runs when the first one is looked up."""

    def __init__(self, names, handler):
        self.names, self.handlers = names, [handler]

    def __getitem__(self, code):
        if self.handlers:
            self.handlers.pop()()
        return self.names[code]


def test_a_change_made_while_events_are_being_taken(manager):
    """By the thread that takes them, which must not wait for itself."""
    manager.register("A")
    heard = []
    manager.subscribe(heard.append, kinds="status")
    future = manager.when("A", "within")
    manager._waiters._names = Names(manager._names, lambda: manager.update_status("A", "within"))
    at_once(lambda: manager.update_status("A", "around"), deadline=5)
    assert [event.new for event in heard] == ["around", "within"]
    assert future.result(0) == "A"


def test_the_last_subscription_is_cancelled_while_another_one_is_being_made(manager):
    manager.register("A")
    last = manager.subscribe(len)
    manager._delivery._core = Reentrant(manager._core, "log_all", last.cancel)
    heard = []
    manager.subscribe(heard.append)
    assert not last.active
    manager.update_status("A", "new")
    assert [event.new for event in heard] == ["new"]


def test_a_unit_is_reported_ready_exactly_once_when_its_last_two_dependencies_complete_together(many_switches):
    rounds, batch = 100_000, 500
    manager = Manager()
    reported = Counter()
    manager.subscribe(lambda event: reported.update((event.unit,)) if event.new == "ready" else None, kinds="state")
    barrier = threading.Barrier(2)
    units = [str(i) for i in range(batch)]

    def names(side, generation):
        return [f"{side}{generation}.{unit}" for unit in units]

    def complete(side):
        def run():
            for generation in range(rounds // batch):
                if side == "l":  # a fresh batch, so that every round is a first time
                    targets = names("u", generation)
                    lefts, rights = names("l", generation), names("r", generation)
                    manager.register_all([*targets, *lefts, *rights])
                    manager.add_dependencies([*zip(targets, lefts, strict=True), *zip(targets, rights, strict=True)])
                    reported.clear()
                barrier.wait(DEADLINE)
                for unit in names(side, generation):
                    manager.update_status(unit, Status.COMPLETED)
                barrier.wait(DEADLINE)
                if side == "l":
                    assert quiet(manager)
                    if reported != dict.fromkeys(names("u", generation), 1):
                        wrong.update(reported)
                        barrier.abort()  # the other one need not wait for its deadline
                    finished.append(generation)
                barrier.wait(DEADLINE)

        return run

    wrong, finished = Counter(), []
    with suppress(threading.BrokenBarrierError):
        at_once(complete("l"), complete("r"), deadline=4 * DEADLINE)
    assert {unit: times for unit, times in wrong.items() if times != 1} == {}
    assert not wrong, f"{batch - len(wrong)} units were never reported"
    assert finished == list(range(rounds // batch))
    manager._core._check()


def test_a_subscription_keeps_the_callback_and_not_the_other_way_round(manager):
    class Listener:
        def hear(self, event):
            pass

    listener = Listener()
    alive = weakref.ref(listener)
    subscription = manager.subscribe(listener.hear)
    del listener
    gc.collect()
    assert alive() is not None
    subscription.cancel()
    del subscription
    gc.collect()
    assert alive() is None


def test_a_finalizer_may_change_the_manager(manager):
    """Garbage is collected anywhere, also inside the delivery: what a finalizer does there must not wait for itself."""

    class Trash:
        def __init__(self, i):
            self.i, self.me = i, self  # a cycle, so that only the collector finds it
            self.subscription = manager.subscribe(len, unit=f"unit {i}")
            self.future = manager.when_ready(f"unit {i}")

        def __del__(self):
            self.subscription.cancel()
            self.future.cancel()
            manager.register(f"trash {self.i}")
            manager.update_status(f"trash {self.i}", f"status {self.i % 40}")

    heard = []
    manager.subscribe(heard.append, kinds="registered")
    threshold = gc.get_threshold()

    def run():
        gc.set_threshold(5, 2, 2)
        for i in range(2_000):
            Trash(i)
            manager.register(f"{i}")

    try:
        at_once(run)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert len([event for event in heard if event.unit.startswith("trash")]) == 2_000
    assert quiet(manager)
    assert manager._waiters.dispatch.waiting == {}


def test_the_error_names_the_kind_whatever_it_is(manager):
    with pytest.raises(ValueError, match=re.escape("no events are of the kind None")):
        manager.subscribe(print, kinds=[None])


def test_garbage_that_is_collected_while_a_child_renews():
    """A finalizer that ends a wait may come up wherever something is allocated; all is renewed nevertheless."""

    class Trash:
        def __init__(self, manager, i):
            self.me = self  # a cycle, so that only the collector finds it
            self.future = manager.when_ready(f"unit {i}")

        def __del__(self):
            self.future.cancel()

    def renew(after):
        """Renew a manager with waiters, some of whom are garbage that is collected after so many allocations."""
        manager = Manager()
        futures = [manager.when_ready(f"unit {i}") for i in range(0, 10, 2)]
        gc.collect()
        gc.disable()
        for i in range(10):
            Trash(manager, i)
        gc.set_threshold(gc.get_count()[0] + after)
        gc.enable()
        manager._delivery.after_fork()
        late = gc.get_count()[1] == 0
        gc.collect()
        dispatch = manager._waiters.dispatch
        assert [waiter for there in dispatch.waiting.values() for waiter in there] == futures
        manager.register_all([f"unit {i}" for i in range(10)])
        assert [future.result(0) for future in futures] == [f"unit {i}" for i in range(0, 10, 2)]
        assert dispatch.waiting == {}
        manager._core.set_status("unit 1", 1)  # the manager itself would deliver, and so hide, what is logged
        assert not manager._core.has_events()
        manager._core._check()
        return late

    threshold = gc.get_threshold()
    try:
        for after in range(1_000):
            if renew(after):
                return
    finally:
        gc.enable()
        gc.set_threshold(*threshold)
    pytest.fail("renewing allocates more than 1,000 objects")


def test_what_a_child_renews_goes_on(manager):
    """As after a fork, in a process in which nothing was held: nothing is lost, and later changes are told."""
    heard = []
    manager.register("A")
    manager.subscribe(heard.append, kinds="status")
    waiter, other = manager.when("A", "go"), manager.when("B", "pending")
    manager._delivery.after_fork()
    status_module._after_fork()
    manager.register("B")
    manager.add_dependency("A", "B", Requirement("up after the fork"))
    manager.update_status("A", "go")
    assert [event.new for event in heard] == ["go"]
    assert [waiter.result(0), other.result(0)] == ["A", "B"]

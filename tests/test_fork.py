"""A fork in the middle of other threads' work: the child works, and the parent never hears of it."""

from __future__ import annotations

import itertools
import os
import random
import sys
import sysconfig
import threading
import time
from array import array
from concurrent.futures import wait
from contextlib import ExitStack

import pytest
from manager_support import in_a_child

import fastdag.status as status_module
from fastdag import CycleError, DependencyFailedError, Graph, Manager, VertexNotFoundError
from fastdag._core import StatusGraph
from fastdag.subscribers import Delivery

DEADLINE = 60.0

# CPython says since 3.12 that a child of a process with threads may deadlock: it is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


# Every object has a lock then. One that is being handed from a thread to the next, which has waited for it, stays
# taken in the child, where nobody will ever let go of it: seen with a dict of a manager, with the generator of
# `random`, which is seeded after a fork, and with variables of functions that threads share.
leaves_locks = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="without the interpreter lock a child of CPython hangs where threads contended for an object",
)


class Beside:
    """Threads that go on until the end of the block; raises what the first of them raised.

    They share no more than what is tested, not even a variable of the function around them: see `leaves_locks`.
    """

    def __init__(self, *bodies):
        self.over = False
        self.errors = []
        self.rounds = [0] * len(bodies)
        self.threads = [threading.Thread(target=self.run, args=pair, daemon=True) for pair in enumerate(bodies)]

    def run(self, i, body):
        try:
            while not self.over:
                body()
                self.rounds[i] += 1
        except BaseException as error:  # noqa: BLE001  # raised again below
            self.errors.append(error)

    def __enter__(self):
        self.before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        for thread in self.threads:
            thread.start()
        while not all(self.rounds) and not self.errors:
            time.sleep(0)
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in self.threads:
            thread.join(DEADLINE)
        sys.setswitchinterval(self.before)
        assert not any(thread.is_alive() for thread in self.threads), "a thread of the parent hangs"
        if self.errors:
            raise self.errors[0]


def test_a_graph_in_the_middle_of_everything():
    n = 2000
    graph = Graph.from_edges(array("i", range(n - 1)), array("i", range(1, n)), n)
    whole = array("i", range(n - 1)), array("i", range(1, n))

    def edges(who, graph=graph, n=n):
        rng = random.Random(who)

        def body():
            u, v = sorted(rng.sample(range(n), 2))
            if rng.random() < 0.5:
                graph.add_edge((who, u), (who, v), who)
            elif (who, u) in graph:
                graph.remove_vertex((who, u))
            else:
                try:
                    graph.add_edge(v, u)
                except CycleError:
                    pass
                else:
                    raise AssertionError("a cycle")

        return body

    def child():
        graph._check()
        assert len(graph) == len(list(graph)) == len(graph.topological_sort())
        assert graph.number_of_edges() == len(graph.edges())
        for v in list(graph):
            if isinstance(v, tuple):
                assert graph.degree(v) >= 0
                graph.remove_vertex(v)
        assert [edge[:2] for edge in graph.edges()] == [(i, i + 1) for i in range(n - 1)]
        with pytest.raises(CycleError):
            graph.add_edge(n - 1, 0)
        assert graph.add_edge(n - 1, n)
        assert len(graph.descendants(0)) == n
        together = [threading.Thread(target=graph.add_edge, args=(i, i + 2)) for i in range(20)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
        graph._check()

    busy = Beside(
        edges("a"),
        edges("b"),
        graph.to_csr,  # holds the order lock most of the time, without the interpreter
        lambda graph=graph: graph.add_edges(*whole),
        lambda graph=graph: graph.descendants(0),
    )
    with busy:
        for _ in range(30):
            in_a_child(child)
            before = list(busy.rounds)
            end = time.monotonic() + DEADLINE
            while busy.rounds == before and not busy.errors:  # the parent goes on
                assert time.monotonic() < end
                time.sleep(0)
    graph._check()


@leaves_locks
def test_a_manager_in_the_middle_of_everything():
    manager = Manager()
    manager.register_all(["hub", *(f"u{i}" for i in range(300))])
    manager.add_dependencies((f"u{i}", "hub", "completed") for i in range(300))
    heard = []
    manager.subscribe(heard.append, unit="u0", kinds="state")
    turn = itertools.count()
    updates = itertools.count(2, 2)  # changes of u0 so far

    def update():
        manager.update_status("hub", "completed")
        manager.update_status("hub", "started")
        # Another thread may be the one that delivers. It is no faster than this one, and what it is behind with is
        # copied by each fork.
        changes = next(updates)
        while len(heard) < changes - 1000 and not busy.over:
            time.sleep(0)

    def subscribe():
        manager.subscribe(lambda event: None, unit="u1").cancel()

    def wait_for():
        manager.when("u2", "never").cancel()
        manager.when("hub", "completed").add_done_callback(lambda future: None)

    def register():
        unit = f"new {next(turn) % 200}"  # few: checking takes the square of the dependents of one unit
        if not manager.unit(unit).status:
            manager.register(unit)
        manager.add_dependency(unit, "hub")

    def child():
        manager._core._check()
        before = len(heard)
        manager.update_status("u299", "child")
        if manager.unit("hub").status == "completed":
            manager.update_status("hub", "started")
        assert manager.state("u0") == "waiting"
        ready = manager.when_ready("u0")
        events = []
        with manager.subscribe(events.append, unit="u0", kinds="state"):
            manager.update_status("hub", "completed")
        assert ready.result(DEADLINE) == "u0"
        assert [(event.unit, event.new) for event in events] == [("u0", "ready")]
        assert heard[-1].new == "ready"
        states = [event.new for event in heard]
        assert states == [("ready", "waiting")[i % 2] for i in range(len(states))]  # each once, in order
        assert len(heard) > before
        manager._core._check()

    busy = Beside(update, subscribe, wait_for, register)
    with busy:
        for _ in range(20):
            in_a_child(child)
    states = [event.new for event in heard]
    assert states == [("ready", "waiting")[i % 2] for i in range(len(states))]
    manager._core._check()


def test_from_within_a_callback_and_beside_one():
    manager = Manager()
    manager.register_all(["a", "b"])
    entered, leave = threading.Event(), threading.Event()
    heard = []

    def slow(event):
        if event.unit == "a":
            entered.set()
            assert leave.wait(DEADLINE)

    subscription = manager.subscribe(slow)
    manager.subscribe(heard.append, kinds="status")
    other = threading.Thread(target=manager.update_status, args=("a", "started"), daemon=True)
    other.start()
    assert entered.wait(DEADLINE)

    def child():
        # The thread that was delivering is gone: the callback counts as called, and the others come next.
        manager.update_status("b", "started")
        assert [event.unit for event in heard] == ["a", "b"]

    in_a_child(child)
    assert heard == []
    leave.set()
    other.join(DEADLINE)
    assert [event.unit for event in heard] == ["a"]
    subscription.cancel()

    def fork(event):
        def child():
            before = len(heard)
            manager.update_status("a", "in the child")  # heard when the callback, which this thread is still in, ends
            assert len(heard) == before

        in_a_child(child)

    with manager.subscribe(fork, unit="b", kinds="status"):
        manager.update_status("b", "completed")
    assert [event.unit for event in heard] == ["a", "b"]


def test_futures_of_before():
    """Also one that another thread is just resolving, with the lock of the future in its hands."""
    manager = Manager()
    manager.register_all(["a", "b", "c"])
    manager.add_dependency("c", "b")
    entered, leave = threading.Event(), threading.Event()
    manager.when("a", "started").add_done_callback(lambda future: entered.set() or leave.wait(DEADLINE))
    later = [manager.when("a", "started"), manager.when("b", "failed")]
    blocked = manager.when_ready("c")
    other = threading.Thread(target=manager.update_status, args=("a", "started"), daemon=True)
    other.start()
    assert entered.wait(DEADLINE)

    def child():
        with later[1]._condition:
            manager.update_status("b", "failed")
        manager.update_status("b", "named for the first time")
        assert wait(later, DEADLINE).not_done == set()
        with pytest.raises(DependencyFailedError):
            blocked.result(DEADLINE)

    held, done = threading.Event(), threading.Event()

    def hold():
        locks = [later[0]._condition, later[1]._condition, blocked._condition, manager._delivery._table]
        with ExitStack() as stack:
            for lock in (*locks, status_module._naming_lock):
                stack.enter_context(lock)
            held.set()
            assert done.wait(DEADLINE)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert held.wait(DEADLINE)
    in_a_child(child)
    done.set()
    leave.set()
    for thread in (holder, other):
        thread.join(DEADLINE)
    assert later[0].result(DEADLINE) == "a"
    assert not later[1].done()


def test_what_is_cut_off_leaves_no_vertex_behind():
    graph = Graph()
    graph.add_edge("a", "b")
    entered, leave = threading.Event(), threading.Event()

    class Slow:
        def __hash__(self):
            return hash("a")

        def __eq__(self, other):
            entered.set()
            assert leave.wait(DEADLINE)
            return False

    other = threading.Thread(target=graph.add_edge, args=("c", Slow()), daemon=True)
    other.start()
    assert entered.wait(DEADLINE)

    def child():
        assert len(graph) == 2
        assert list(graph) == ["a", "b"]
        with pytest.raises(VertexNotFoundError):
            graph.remove_vertex("c")
        assert graph.add_edge("c", "a")
        assert len(graph) == 3
        graph._check()

    in_a_child(child)
    leave.set()
    other.join(DEADLINE)
    assert len(graph) == 4


class Halts(StatusGraph):
    """Stops where it is told to: before or behind a step that others can see."""

    def __init__(self):
        super().__init__()
        self.at = None
        self.entered, self.leave = threading.Event(), threading.Event()

    def _step(self, name, *arguments):
        for moment in ("before", "behind"):
            if moment == "behind":
                answer = getattr(super(), name)(*arguments)
            if self.at == (moment, name):
                self.entered.set()
                assert self.leave.wait(DEADLINE)
        return answer

    def watch(self, index):
        return self._step("watch", index)

    def unwatch(self, index):
        return self._step("unwatch", index)

    def log_all(self, on):
        return self._step("log_all", on)

    def dependencies(self, vertex):
        return self._step("dependencies", vertex)


@pytest.mark.parametrize("moment", ["before", "behind"])
@pytest.mark.parametrize(("step", "name"), [
    ("wait", "watch"), ("stop waiting", "unwatch"), ("subscribe", "log_all"), ("subscribe", "dependencies"),
    ("cancel", "log_all"),
])
def test_what_is_cut_off_leaves_no_log_on(step, name, moment):
    """Waiting and subscribing switch logging on, ending either switches it off; a fork comes up in the middle."""
    core = Halts()
    delivery = Delivery(core, {-1: "", 0: "off", 1: "on"}, None)
    core.register("a", 0)
    waiting, subscriptions = [], []
    steps = {
        "wait": lambda: waiting.append(delivery.waiters.wait_for("a", "on")),
        "stop waiting": lambda: waiting.pop().cancel(),
        "subscribe": lambda: subscriptions.append(delivery.subscribe(print, "a", None)),
        "cancel": lambda: subscriptions.pop().cancel(),
    }
    if step == "stop waiting":
        steps["wait"]()
    if step == "cancel":
        steps["subscribe"]()
    core.at = (moment, name)
    other = threading.Thread(target=steps[step], daemon=True)
    other.start()
    assert core.entered.wait(DEADLINE)
    core.at = None

    def child():
        core._check()
        for status in (1, 0):
            core.set_status("a", status)
        assert not core.has_events()
        assert delivery._dispatch.waiting == delivery._routes == {}
        steps["wait"]()  # and all goes on from there
        heard = []
        with delivery.subscribe(heard.append, "a", "status"):
            core.set_status("a", 1)
            delivery.deliver()
        assert waiting[0].result(DEADLINE) == "a"
        assert [event.new for event in heard] == ["on"]
        assert delivery._dispatch.waiting == delivery._routes == {}
        core._check()

    in_a_child(child)
    core.leave.set()
    other.join(DEADLINE)
    assert len(waiting) == (step == "wait")
    assert len(subscriptions) == (step == "subscribe")
    core._check()


def test_what_the_thread_that_forks_is_in_the_middle_of_goes_on_in_the_child():
    """A finalizer or a signal handler may fork anywhere; here, in the middle of waiting and of subscribing."""

    class Forks(StatusGraph):
        def watch(self, index):
            self.fork()
            return super().watch(index)

        def log_all(self, on):
            if on:
                self.fork()
            return super().log_all(on)

        def fork(self):
            process = os.fork()
            if process:
                children.append(process)
            else:
                children.clear()

    def child():
        heard = []
        future = delivery.waiters.wait_for("a", "on")
        subscription = delivery.subscribe(heard.append, "a", "status")
        core.set_status("a", 1)
        delivery.deliver()
        assert future.result(DEADLINE) == "a"
        assert [event.new for event in heard] == ["on"]
        subscription.cancel()
        assert delivery._dispatch.waiting == delivery._routes == {}
        core._check()
        for process in children:  # which have gone on from the middle of a step, as this one has
            assert os.waitpid(process, 0)[1] == 0

    children = []
    core = Forks()
    delivery = Delivery(core, {-1: "", 0: "off", 1: "on"}, None)
    core.register("a", 0)
    in_a_child(child)


def highest_index(graph, rounds=100):
    """The highest index of those that so many vertices got, which came and went one after the other."""
    highest = 0
    for i in range(rounds):
        highest = max(highest, graph.add_vertex(("came", i)))
        graph.remove_vertex(("came", i))
    return highest


def test_reads_of_threads_that_are_gone_hold_no_index_back():
    """Two reads, so that one is left in either epoch of the ids."""
    graph = Graph()
    graph.add_edge("a", "b")
    graph.add_edge("a", "c")
    entered, leave = [threading.Event() for _ in range(2)], threading.Event()

    def read(i):
        graph.longest_path(lambda edge: entered[i].set() or (leave.wait(DEADLINE) and 1))

    threads = [threading.Thread(target=read, args=(i,), daemon=True) for i in range(2)]
    for i, thread in enumerate(threads):
        thread.start()
        assert entered[i].wait(DEADLINE)
        graph.remove_vertex("bc"[i])
    assert highest_index(graph) > 100  # here they do

    def child():
        before = highest_index(graph)
        assert highest_index(graph, 1000) <= before + 1
        graph._check()

    in_a_child(child)
    leave.set()
    for thread in threads:
        thread.join(DEADLINE)


def test_a_read_of_the_thread_that_forks_goes_on_in_the_child():
    graph = Graph()
    graph.add_edge("a", "b", 1)
    graph.add_edge("b", "c", 1)
    entered, leave = threading.Event(), threading.Event()
    other = threading.Thread(
        target=graph.longest_path, args=(lambda edge: entered.set() or (leave.wait(DEADLINE) and 1),), daemon=True
    )
    other.start()
    assert entered.wait(DEADLINE)

    def child():
        inner = []

        def weight(edge):
            if not inner:
                inner.append(os.fork())
                gone = graph.index("c")
                graph.remove_vertex("c")
                assert highest_index(graph) > 100
                assert "c" not in graph
                assert graph.add_vertex("stays") > gone
            return 1

        assert graph.longest_path(weight) == ["a", "b", "c"]
        before = highest_index(graph)
        assert highest_index(graph, 1000) <= before + 1
        graph._check()
        if inner[0]:  # the child has a child of its own, which has done the same
            assert os.waitpid(inner[0], 0)[1] == 0

    in_a_child(child)
    leave.set()
    other.join(DEADLINE)


def test_graphs_that_come_and_go():
    """The list of all graphs, which a fork goes through, stays whole."""

    def body():
        graphs = [Graph() for _ in range(5)]
        for i in (2, 0, 2, 1, 0):
            graphs.pop(i).add_edge(1, 2)

    with Beside(body, body):
        for _ in range(20):
            in_a_child(body)

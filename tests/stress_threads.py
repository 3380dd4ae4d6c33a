"""Everything at once: threads, an event loop, forks, and subscribers that misbehave; `tests.stress --minutes` runs it.

An *era* is one `Graph` and one `Manager`, and some rounds on them. In a round each worker does random operations on
vertices and units that nobody else changes, so that every answer it gets can be compared with an oracle's at once, and
on others that all workers change; a task on an event loop reads a stream of events and waits; the process forks. Own
vertices hang between shared ones, so that the threads meet in their edge lists, and own units depend on shared ones.

Between rounds all threads stand still. Then the invariants hold, the graph and the manager are exactly what the
oracles of all workers come to, what the subscribers heard adds up to the same, and no waiter waits for what is there.
When an era is over its memory is free again: what stays allocated may not grow from era to era.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import logging
import os
import pickle
import random
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from linearizability.answers import ERRORS, plain, refusal
from linearizability.manager_specification import REQUIREMENTS, SPOKEN, manager_answer, state_of
from linearizability.search import Op
from manager_support import in_a_child
from reference import ReferenceGraph
from stress import LABELS, Pair, random_rows, require

from fastdag import (
    CycleError,
    DependencyFailedError,
    EdgeNotFoundError,
    Event,
    Graph,
    Manager,
    SameStatusError,
    Subscription,
    VertexNotFoundError,
)
from fastdag.subscribers import ALL

DEADLINE = 60.0  # seconds until threads that should long have stood still count as stuck
WORKERS = 4
ROOT = "root"  # edges from it into the workers' own vertices, and from these to the anchors
ANCHORS = [f"anchor {i}" for i in range(6)]
SHARED = [f"shared {i}" for i in range(12)]
HUBS = [f"hub {i}" for i in range(6)]
ECHOES = [f"echo {i}" for i in range(4)]
STATUSES = ["pending", "started", "completed", "completed", "completed", "failed"]  # else most are blocked
ROUNDS = 4


class DeliberateError(Exception):
    """What a subscriber raises on purpose."""


class Era:
    """One graph, one manager, who listens to it, and who works on it.

    If it is not `exact`, blocked units are skipped by themselves, and statuses are nobody's own.
    """

    def __init__(self, rng: random.Random, exact: bool) -> None:
        self.rng = random.Random(rng.random())
        self.graph: Graph[Any] = Graph()
        for name in (ROOT, *ANCHORS):
            self.graph.add_vertex(name)
        self.raised = self.reported = self.heard = 0
        self.errors: list[Exception] = []
        self.exact = exact
        self.manager = Manager(auto_skip=not exact, on_error=self.on_error)
        self.passing: list[list[Subscription]] = []  # cancelled when all stand still, if not before
        self.sequence = 0
        self.statuses: dict[str, str] = {}  # as the events tell; so the next two
        self.states: dict[str, str] = {}
        self.edges: set[tuple[str, str | None]] = set()
        self.lasting = [
            self.manager.subscribe(callback) for callback in (self.keep_account, self.meddle, self.fail, self.dawdle)
        ]
        self.manager.register_all([*HUBS, *ECHOES])
        self.workers = [Worker(self, i, random.Random(rng.random())) for i in range(WORKERS)]

    # subscribers

    def on_error(self, error: Exception, event: Event, callback: object) -> None:
        if isinstance(error, DeliberateError):
            self.reported += 1
        else:
            self.errors.append(error)

    def keep_account(self, event: Event) -> None:
        """Each event once and in order, or what it says was before does not fit."""
        self.heard += 1
        require(event.sequence > self.sequence, ("out of order", event, self.sequence))
        self.sequence = event.sequence
        if event.kind == "dependency":
            self.edges.add((event.unit, event.dependency))
            return
        known, start = (self.states, "waiting") if event.kind == "state" else (self.statuses, "")
        require(known.get(event.unit, start) == event.old != event.new, ("does not follow", event, known))
        known[event.unit] = event.new

    def meddle(self, event: Event) -> None:
        """Calls back into the manager, and into the graph."""
        if event.unit in ECHOES:
            return
        what = self.rng.randrange(24)
        if what < 3:
            with suppress(SameStatusError):
                self.manager.update_status(self.rng.choice(ECHOES), self.rng.choice(STATUSES))
        elif what == 3:
            self.manager.explain(event.unit)
        elif what == 4:
            self.manager.subscribe(self.fail, unit=event.unit).cancel()
        elif what == 5:
            self.manager.when_ready(event.unit).cancel()
        elif what == 6:
            with suppress(CycleError):
                self.graph.add_edge(self.rng.choice(SHARED), self.rng.choice(SHARED))
        elif what == 7:
            self.once()

    def once(self) -> None:
        """Subscribe two that cancel both at the first event, so that neither hears another one."""
        both: list[Subscription] = []
        over: list[bool] = []

        def callback(event: Event) -> None:
            require(not over, ("heard after it was cancelled", event))
            if len(both) == 2:  # else the thread that subscribes them has not come that far
                over.append(True)
                for subscription in both:
                    subscription.cancel()

        hub = self.rng.choice(HUBS)
        for _ in range(2):
            both.append(self.manager.subscribe(callback, unit=hub))
        self.passing.append(both)

    def fail(self, event: Event) -> None:
        if event.sequence % 50 == 0:
            self.raised += 1
            raise DeliberateError

    def dawdle(self, event: Event) -> None:
        if event.sequence % 200 == 0:
            time.sleep(0.001)

    # the oracle

    def check(self) -> None:
        """With all threads standing still."""
        if self.errors:
            raise self.errors[0]
        require(self.raised == self.reported, ("failures raised and reported", self.raised, self.reported))
        self.check_graph()
        self.check_manager()

    def check_graph(self) -> None:
        graph = self.graph
        graph._check()
        edges = graph.edges()
        require(graph.number_of_edges() == len(edges) == len({edge[:2] for edge in edges}), "number of edges")
        own = {edge for edge in edges if edge.source not in SHARED}
        oracles = [worker.pair.oracle for worker in self.workers]
        require(own == {edge for oracle in oracles for edge in oracle.edges()}, "edges")
        vertices = list(graph)
        for worker in self.workers:
            mine = set(worker.names)
            require(
                [v for v in vertices if v in mine] == [v for v in worker.pair.oracle if v in mine],
                ("vertices", worker.names[0]),
            )
        require(all(edge.target in SHARED for edge in edges if edge.source in SHARED), "edges of shared vertices")
        for vertex in vertices:
            outs = {edge for edge in edges if edge.source == vertex}
            ins = {edge for edge in edges if edge.target == vertex}
            require(set(graph.out_edges(vertex)) == outs and set(graph.in_edges(vertex)) == ins, ("ends", vertex))
        check_whole(graph)

    def check_manager(self) -> None:
        manager = self.manager
        manager._core._check()
        require(not manager._core.has_events(), "events that nobody delivered")
        statuses = {unit.id: unit.status for unit in manager.units()}
        dependencies = {row[0]: row[2] for worker in self.workers for row in worker.state}
        for worker in self.workers:
            registered = {unit: status for unit, status, _ in worker.state}
            require(registered.keys() == {u for u in statuses if u in worker.units}, ("registered", worker.units[0]))
            if self.exact:
                require(all(statuses[unit] == registered[unit] for unit in registered), "statuses")
        expected = {(u, v, requirement) for u, row in dependencies.items() for v, requirement in row}
        labelled = {(u, v, SPOKEN[requirement]) for u, v, requirement in manager.graph.edges()}
        require(labelled == expected, ("dependencies", labelled ^ expected))
        state = tuple((unit, status, dependencies.get(unit, ())) for unit, status in statuses.items())
        states = {unit: state_of(state, unit) for unit in statuses}
        require({unit: manager.state(unit) for unit in statuses} == states, "states")
        require(self.statuses == statuses, ("statuses that were heard of", self.statuses, statuses))
        require({u: s for u, s in self.states.items() if s != "waiting"}
                == {u: s for u, s in states.items() if s != "waiting"}, "states that were heard of")  # fmt: skip
        require(self.edges == {row[:2] for row in expected}, "dependencies that were heard of")
        for worker in self.workers:
            worker.check_waiters(statuses, states)
        require(not manager._waiters.dispatch.waiting, "waiters that nobody has")
        for subscription in itertools.chain.from_iterable(self.passing):
            subscription.cancel()
        self.passing.clear()
        delivery = manager._delivery
        require(delivery._subscriptions == set(self.lasting), "subscriptions that nobody has")
        require({index: set(there) for index, there in delivery._routes.items()} == {ALL: set(self.lasting)}, "routes")


class Worker:
    """A thread's own vertices and units with their oracles, and what it does."""

    def __init__(self, era: Era, who: int, rng: random.Random) -> None:
        self.era = era
        self.rng = rng
        self.names = [f"v{who}.{i}" for i in range(25)]
        self.units = [f"u{who}.{i}" for i in range(25)]
        self.pair = Pair([ROOT, *self.names, *ANCHORS])
        self.pair.graph = era.graph
        self.pair.oracle = ReferenceGraph()
        for name in (ROOT, *ANCHORS):
            self.pair.oracle.add_vertex(name)
        self.state: Any = ()
        self.waiters: list[tuple[Future[str], str, str | None]] = []
        self.done = 0

    def work(self) -> None:
        what = self.rng.randrange(100)
        if what < 35:
            self.own_vertices()
        elif what < 45:
            self.shared_vertices()
        elif what < 80:
            self.own_units()
        elif what < 90:
            self.shared_units()
        elif what < 98:
            self.listen()
        else:
            self.whole()
        self.done += 1

    def rows(self, most: int) -> list[tuple[Any, Any, Any]]:
        """Edges among the own vertices, from the root and to the anchors."""
        return [
            row
            for row in random_rows(self.rng, self.pair.names, most)
            if row[0] not in ANCHORS and row[1] != ROOT and not (row[0] == ROOT and row[1] in ANCHORS)
        ]

    def own_vertices(self) -> None:
        rng, pair = self.rng, self.pair
        u, v = rng.choices(self.names, k=2)
        what = rng.randrange(24)
        if what < 10:
            for row in self.rows(1):
                pair.both("add_edge", *row)
        elif what < 13:
            edges = pair.oracle.edges()
            pair.both("remove_edge", *(rng.choice(edges)[:2] if edges and rng.random() < 0.8 else (u, v)))
        elif what < 15:
            pair.both("remove_vertex", u)
        elif what == 15:
            pair.add_vertex(u)
        elif what == 16:
            pair.add_edges_from(self.rows(8))
        elif what == 17:
            pair.add_edges(rng.choice("iIlq"), self.rows(8), rng.random() < 0.5)
        elif what < 21:
            for name in ("has_edge", "edge_label"):
                pair.both(name, u, v)
            for name in ("degree", "in_degree", "out_degree", "successors", "out_edges"):
                pair.both(name, u)
            require(set(pair.graph.in_edges(u)) == set(pair.oracle.in_edges(u)), ("in_edges", u))
        else:
            pair.walks(u, v)

    def shared_vertices(self) -> None:
        rng, graph = self.rng, self.era.graph
        u, v = rng.choices(SHARED, k=2)
        with suppress(CycleError, EdgeNotFoundError, VertexNotFoundError):
            match rng.randrange(10):
                case 0 | 1 | 2 | 3:
                    graph.add_edge(u, v, rng.choice(LABELS))
                case 4:
                    graph.remove_edge(u, v)
                case 5:
                    graph.remove_vertex(u)
                case 6:
                    graph.add_edges_from(random_rows(rng, SHARED, 6))
                case 7:
                    graph.descendants(u)
                    graph.find_cycle(u, v)
                case 8:
                    graph.successors(u)
                    graph.in_edges(u)
                case 9:
                    graph.predecessors(rng.choice(ANCHORS))
                    graph.out_edges(ROOT)

    def own_units(self) -> None:
        rng, manager = self.rng, self.era.manager
        u = rng.choice(self.units)
        what = rng.choices(
            ["register", "register_all", "add_dependency", "update_status", "update_statuses"], [4, 1, 7, 8, 1]
        )[0]
        args: tuple[Any, ...]
        if what == "register":
            args = (u,)
        elif what == "add_dependency":
            requirement = REQUIREMENTS[rng.choice(list(REQUIREMENTS))]
            args = (u, rng.choice([*self.units, *HUBS, *HUBS]), requirement, rng.random() < 0.3)
        elif what == "update_status":
            args = (u, rng.choice(STATUSES))
        else:
            names = rng.sample(self.units, 3)
            args = (names,) if what == "register_all" else (names, rng.choice(STATUSES))
        try:
            answer = plain(getattr(manager, what)(*args))
        except ERRORS as error:
            answer = refusal(what, error)
        self.state, expected = manager_answer(self.state, Op(0, what, plain(args), 0, 0, answer))
        if self.era.exact or not what.startswith("update"):
            require(answer == expected, (what, args, answer, expected))
        if self.era.exact:
            status = next((row[1] for row in self.state if row[0] == u), "")
            require(manager.unit(u).status == status, ("status", u, status))

    def shared_units(self) -> None:
        rng, manager = self.rng, self.era.manager
        if rng.random() < 0.2:
            manager.update_statuses(rng.sample(HUBS, 3), rng.choice(STATUSES))
        else:
            with suppress(SameStatusError):
                manager.update_status(rng.choice(HUBS), rng.choice(STATUSES))

    def listen(self) -> None:
        rng, manager = self.rng, self.era.manager
        u = rng.choice([*self.units, *HUBS])
        what = rng.randrange(6)
        if what < 2 and len(self.waiters) < 30:
            wanted = None if what else rng.choice(STATUSES)
            self.waiters.append((manager.when(u, wanted) if wanted else manager.when_ready(u), u, wanted))
        elif what == 2 and self.waiters:
            future, _, _ = self.waiters.pop(rng.randrange(len(self.waiters)))
            future.cancel()
        elif what == 3:
            self.era.once()
        elif what == 4:
            with manager.subscribe(lambda event: None, unit=u, kinds=rng.choice(["status", "state", "dependency"])):
                self.shared_units()
        else:
            with suppress(TimeoutError, DependencyFailedError):
                manager.wait_ready(u, timeout=0.0005)

    def whole(self) -> None:
        graph, manager = self.era.graph, self.era.manager
        match self.rng.randrange(6):
            case 0:
                check_whole(graph.copy())
            case 1:
                check_whole(pickle.loads(pickle.dumps(graph)))
            case 2:
                graph.transitive_reduction()._check()
            case 3:
                require(len(graph.longest_path()) <= len(self.names) * WORKERS + 20, "longest path")
            case 4:
                manager.stalled()
                manager.units()
            case 5:
                manager.graph._check()
                manager.to_dot()

    def check_waiters(self, statuses: dict[str, str], states: dict[str, str]) -> None:
        """Nobody waits for what is there, then none is left for the next round."""
        for future, unit, wanted in self.waiters:
            if not future.done():
                there = statuses.get(unit, "") == wanted if wanted else states.get(unit, "waiting") != "waiting"
                require(not there, ("not woken", unit, wanted))
                require(future.cancel(), ("cannot be cancelled", unit))
            elif not future.cancelled() and future.exception() is None:
                require(future.result() == unit, ("resolved to another unit", unit))
            else:
                require(wanted is None and isinstance(future.exception(), DependencyFailedError), ("failed", unit))
        self.waiters.clear()


def check_whole(graph: Graph[Any]) -> None:
    """What every graph shows of itself agrees, when nobody changes it."""
    graph._check()
    edges = graph.edges()
    place = {vertex: i for i, vertex in enumerate(graph.topological_sort())}
    require(place.keys() == set(graph) and len(place) == len(graph), "topological_sort has other vertices")
    require(all(place[u] < place[v] for u, v, _ in edges), "an edge against topological_sort")
    require(sum(map(len, graph.topological_generations())) == len(graph), "generations")
    offsets, targets = graph.to_csr()
    require(len(targets) == len(edges) == offsets[-1], "to_csr")


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.events = 0

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    async def start(self, era: Era) -> None:
        self.tasks = [asyncio.create_task(self.read(era)), asyncio.create_task(self.wait(era))]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with suppress(asyncio.CancelledError):
                await task
        self.tasks.clear()

    async def read(self, era: Era) -> None:
        last = 0
        async with era.manager.events(kinds="status") as stream:
            async for event in stream:
                require(event.sequence > last, ("out of order in a stream", event, last))
                last = event.sequence
                self.events += 1

    async def wait(self, era: Era) -> None:
        rng = random.Random(era.rng.random())
        while True:
            unit = rng.choice([*HUBS, *rng.choice(era.workers).units])
            with suppress(TimeoutError, DependencyFailedError):
                async with asyncio.timeout(0.003):
                    await era.manager.wait_ready_async(unit)
            with suppress(SameStatusError):
                era.manager.update_status(rng.choice(HUBS), rng.choice(STATUSES))
            await asyncio.sleep(0.001)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE)
        self.loop.close()


def child(era: Era) -> None:
    """In a process forked in the middle of a round: everything works, with what it had."""
    graph, manager = era.graph, era.manager
    check_whole(graph)
    for name in (*SHARED, *era.workers[0].names):
        with suppress(VertexNotFoundError):
            graph.remove_vertex(name)
    require(graph.add_edge("of", "the child"), "a new edge")
    check_whole(graph)
    heard: list[Event] = []
    with manager.subscribe(heard.append, unit=HUBS[0], kinds="status"):
        manager.update_status(HUBS[0], "in the child")
    require([event.new for event in heard] == ["in the child"], heard)
    manager.register("of the child")
    manager.add_dependency("of the child", HUBS[0], "told")
    ready = manager.when_ready("of the child")
    other = threading.Thread(target=manager.update_status, args=(HUBS[0], "told"), daemon=True)
    other.start()
    require(ready.result(20) == "of the child", "a waiter in the child")
    manager._core._check()


def run_round(era: Era, loop: Loop, seconds: float, fork: bool) -> int:
    """All work for so long; how many forks there were. All stand still when this returns."""
    over = threading.Event()
    errors: list[BaseException] = []
    barrier = threading.Barrier(WORKERS + 1)

    def work(worker: Worker) -> None:
        try:
            barrier.wait(DEADLINE)
            while not over.is_set():
                worker.work()
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)
            over.set()

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in era.workers]
    for thread in threads:
        thread.start()
    loop.run(loop.start(era))
    barrier.wait(DEADLINE)
    if fork:
        over.wait(seconds * era.rng.random())
        in_a_child(lambda: child(era))
    over.wait(seconds)
    over.set()
    for thread in threads:
        thread.join(DEADLINE)
        require(not thread.is_alive(), "a thread hangs")
    loop.run(loop.stop())
    if errors:
        raise errors[0]
    era.check()
    return int(fork)


class Memory(NamedTuple):
    """What the process has when an era is over: bytes resident, bytes allocated in C, blocks allocated by Python."""

    resident: int
    allocated: int
    blocks: int


class _Mallinfo(ctypes.Structure):
    _fields_ = [("before", ctypes.c_size_t * 4), ("mapped", ctypes.c_size_t), ("between", ctypes.c_size_t * 2),
                ("used", ctypes.c_size_t), ("after", ctypes.c_size_t * 2)]  # fmt: skip


def memory() -> Memory:
    gc.collect()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:  # not glibc, or an old one
        return Memory(resident, 0, sys.getallocatedblocks())
    mallinfo.restype = _Mallinfo
    info = mallinfo()
    return Memory(resident, info.used + info.mapped, sys.getallocatedblocks())


# Twice what was seen to come and go between eras; one `Manager` that stays breaks both.
SLACK = Memory(resident=8 << 20, allocated=256 << 10, blocks=2000)


def require_flat(samples: array[int], warm: int) -> None:
    """The least of the last third is no more than the most of the eras up to `warm`, and some slack."""
    width = len(SLACK)
    for column, (name, slack) in enumerate(SLACK._asdict().items()):
        seen = samples[column::width]
        before, after = max(seen[1 : warm + 1]), min(seen[-(len(seen) // 3) :])
        require(after <= before + slack, (f"memory grew: {name}", before, after, seen))


@contextmanager
def quiet() -> Iterator[None]:
    """Failures of subscribers are counted here, not logged."""
    log = logging.getLogger("fastdag")
    before = log.disabled
    log.disabled = True
    interval = sys.getswitchinterval()
    try:
        yield
    finally:
        log.disabled = before
        sys.setswitchinterval(interval)


def run(seconds: float, seed: int, length: float = 0.4, say: Callable[[str], object] = print) -> Counter[str]:
    """For so long, and at least nine eras; what there was of each. Raises AssertionError with the seed in it."""
    rng = random.Random(seed)
    done: Counter[str] = Counter()
    samples = array("q")  # a row an era; not objects, which would count themselves
    warm = 0
    loop = Loop()
    begun = said = time.monotonic()
    try:
        with quiet():
            while time.monotonic() < begun + seconds or done["eras"] < 9:
                era = Era(rng, exact=rng.random() < 0.7)
                for _ in range(ROUNDS):
                    sys.setswitchinterval(rng.choice([1e-5, 1e-4, 5e-3]))
                    done["forks"] += run_round(era, loop, length * rng.random(), fork=rng.random() < 0.25)
                    done["pauses"] += 1
                done["eras"] += 1
                done["operations"] += sum(worker.done for worker in era.workers)
                done["events"] += era.heard
                done["failing callbacks"] += era.raised
                done["events of streams"], loop.events = done["events of streams"] + loop.events, 0
                del era
                samples.extend(memory())
                if done["eras"] <= 3 or time.monotonic() < begun + min(60, seconds / 3):
                    warm = done["eras"]
                if time.monotonic() > said + 60:
                    said = time.monotonic()
                    say(f"{said - begun:.0f} s: {dict(done)}, {Memory(*samples[-3:])}")
            require_flat(samples, warm)
    except AssertionError as error:
        raise AssertionError(f"--seed {seed}, after {dict(done)}: {error}") from error
    finally:
        loop.close()
    say(f"after {warm} eras and at the end: {Memory(*samples[3 * warm - 3 : 3 * warm])}, {Memory(*samples[-3:])}")
    return done

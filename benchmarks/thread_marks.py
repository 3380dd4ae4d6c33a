"""The marks for threads: many of them, fine locks against a coarse one, two against one, and the slowest calls."""

import hashlib
import random
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from time import perf_counter, perf_counter_ns

from benchmarks import threads, workloads
from benchmarks.rows import Measure, Row, Settings, timed
from fastdag import CycleError, Event, Graph, Manager, Status
from profiles import graphs

MANY = 200
BULK_SECONDS = 60.0  # after which a lap of `bulk` gives up
PART = 50_000  # vertices of one of two disjoint parts
REACH = 60  # an edge goes to one of the next so many
BUFFER = bytes(20_000_000)
ASKED = 50_000  # additions of one edge that are timed


def _mixed(settings: Settings) -> Iterator[Row]:
    operations = workloads.mixed(MANY, 50)
    rounds, idle = [], []
    for _ in range(3 * settings.runs):
        graph: Graph[str] = Graph()
        work = [threads.mixed_work(graph, part) for part in operations]
        rounds.append(timed(partial(threads.run, work)))
        idle.append(timed(lambda: threads.run([lambda: 0] * MANY)))
    ours = statistics.median(rounds) * 1e3
    note = f"one round; starting and joining {MANY} threads that do nothing: {statistics.median(idle) * 1e3:.1f} ms"
    yield Row("mixed", "ms/round", ours, None, "under 25 ms", ours < 25, note)


def _coarse(settings: Settings) -> Iterator[Row]:
    lap = graphs.bulk(8, workloads.SEED)
    rates: dict[bool, list[float]] = {False: [], True: []}
    longest: dict[bool, list[int]] = {False: [], True: []}
    for _ in range(settings.runs):
        for coarse in (False, True):
            done = lap(coarse, perf_counter() + BULK_SECONDS)
            rates[coarse].append(done.rate)
            longest[coarse].append(done.latencies["read"].longest)
    fine, coarse_rate = statistics.median(rates[False]), statistics.median(rates[True])
    note = f"8 threads, bulk writers beside readers: {fine:,.0f} operations/s, with a coarse lock {coarse_rate:,.0f}"
    yield Row(
        "bulk: operation", "µs", 1e6 / fine, 1e6 / coarse_rate, "1.5× the operations", fine >= 1.5 * coarse_rate, note
    )
    ours, theirs = (statistics.median(longest[coarse]) / 1e6 for coarse in (False, True))
    yield Row("bulk: longest read", "ms", ours, theirs, "under a tenth", 10 * ours < theirs, "peer: one coarse lock")


def _part(tag: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Vertices in topological order, and edges among neighbours: a walk from the first to the last meets nearly all."""
    rng = random.Random(workloads.SEED)
    names = [f"{tag}{i}" for i in range(PART)]
    rng.shuffle(names)
    edges = [
        (names[i], names[min(i + 1 + step, PART - 1)])
        for i in range(PART - 1)
        for step in {0, *(rng.randrange(REACH) for _ in range(4))}
    ]
    rng.shuffle(edges)
    return names, edges


def _two_over_one(work: Callable[[int], None]) -> float:
    """How many times as fast two threads do both parts as one does."""

    def do(*parts: int) -> int:
        for part in parts:
            work(part)
        return len(parts)

    one = timed(lambda: threads.run([lambda: do(0, 1)]))
    return one / timed(lambda: threads.run([lambda: do(0), lambda: do(1)]))


def _disjoint(settings: Settings) -> Iterator[Row]:
    parts = [_part("left"), _part("right")]
    graph: Graph[str] = Graph()
    manager = Manager()
    for names, edges in parts:
        graph.add_edges_from(edges)
        manager.register_all(names)
        manager.add_dependencies(edges)

    def has_path(part: int) -> None:
        names, _ = parts[part]
        for _ in range(20):
            if not graph.has_path(names[0], names[-1]):
                raise RuntimeError("has_path: there is a path, and it was not found")

    def descendants(part: int) -> None:
        names, _ = parts[part]
        for _ in range(5):
            if len(graph.descendants(names[0])) != PART - 1:
                raise RuntimeError("descendants: some are missing")

    def update(part: int) -> None:
        names, _ = parts[part]
        for status in (Status.COMPLETED, Status.PENDING):
            manager.update_statuses(names, status)

    def digest(_: int) -> None:
        hashlib.sha256(BUFFER).digest()

    runs = 2 * settings.runs + 1
    rows: list[tuple[str, Callable[[int], None]]] = [
        ("has_path", has_path),
        ("descendants", descendants),
        ("statuses in bulk", update),
    ]
    for name, work in rows:
        taken = [(_two_over_one(work), _two_over_one(digest)) for _ in range(runs)]
        ours, control = (statistics.median(ratios) for ratios in zip(*taken, strict=True))
        note = f"on disjoint parts of one graph; sha256 of big buffers, the machine's own: {control:.2f}×"
        yield Row(f"two threads: {name}", "× of one", ours, None, "at least 1.7×", ours >= 1.7, note)


def _tail(settings: Settings) -> Iterator[Row]:
    steps = workloads.mutate(8, steps=10_000)
    asked = [arguments for method, arguments in steps[0] if method == "add_edge"]
    medians, tails, waits = [], [], []
    for _ in range(settings.runs):
        graph: Graph[str] = Graph()
        taken: list[int] = []
        over = threading.Event()
        others = [_until(over, graph, part) for part in steps[1:]]

        def measured(graph: Graph[str] = graph, taken: list[int] = taken, over: threading.Event = over) -> int:
            add_edge, clock, note = graph.add_edge, perf_counter_ns, taken.append
            try:
                for _, (source, target, label) in zip(range(ASKED), cycle(asked), strict=False):
                    start = clock()
                    try:  # noqa: SIM105 - `suppress` takes as long as what is timed
                        add_edge(source, target, label)  # type: ignore[arg-type]
                    except CycleError:
                        pass
                    note(clock() - start)
            finally:
                over.set()
            return ASKED

        threads.run([measured, *others])
        taken.sort()
        medians.append(taken[ASKED // 2])
        tails.append(taken[ASKED * 999 // 1000])
        waits.append(max(lock["longest_ns"] for lock in graph.lock_stats().values()))
    median, tail = statistics.median(medians) / 1e3, statistics.median(tails) / 1e3
    note = f"of {ASKED:,} beside 7 other writers on mutate; the median is {median:.2f} µs"
    yield Row("add_edge, 99.9 %", "µs", tail, None, "under 100× the median", tail < 100 * median, note)
    longest = max(waits) / 1e6
    note = "for a lock of the core, the worst of all runs"
    yield Row("longest wait", "ms", longest, None, "under 10 ms", longest < 10, note)


def _until(over: threading.Event, graph: Graph[str], steps: Sequence[workloads.Step]) -> threads.Work:
    """The steps again and again, in pieces, until the one who is measured is through."""
    pieces = [threads.mutate_work(graph, steps[i : i + 100]) for i in range(0, len(steps), 100)]

    def work() -> int:
        done = 0
        for piece in cycle(pieces):
            if over.is_set():
                return done
            done += piece()
        return done

    return work


def _update_status(settings: Settings) -> Iterator[Row]:
    workload = workloads.append(10_000)

    def ignore(_: Event) -> None:
        pass

    for name, mark in (("update_status", 1.0), ("… with a subscriber", 2.5)):
        taken = []
        for _ in range(2 * settings.runs + 1):
            manager = workloads.manager(workload)
            if mark > 1:
                manager.subscribe(ignore)

            def update(manager: Manager = manager) -> None:
                update_status = manager.update_status
                for unit in workload.vertices:
                    update_status(unit, Status.STARTED)

            taken.append(timed(update))
        ours = statistics.median(taken) / len(workload.vertices) * 1e6
        note = "10,000 units, each with 5 dependents on average"
        yield Row(name, "µs/update", ours, None, f"under {mark} µs", ours < mark, note)


ROWS: dict[str, Measure] = {
    "mixed": _mixed,
    "coarse": _coarse,
    "disjoint": _disjoint,
    "tail": _tail,
    "update_status": _update_status,
}

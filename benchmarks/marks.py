"""Print how fast this tree is, beside its peers: ``python -m benchmarks.marks [--quick] [--only NAME ...]``.

Public Python API, string vertices, a label on every edge, the garbage collector off while timed. Each
row is the median of some runs, taken in turn with the peer's. A vertex is made by its first edge, on both sides; the
peer for graphs is rustworkx with ``check_cycle=True, multigraph=False`` and a dict from names to indices. Where the
peer would take minutes, it gets the first part of the edges, as many as fit into a stated time: its cost an edge grows
from there, so that the ratio shown is too small, not too large. Ends with status 1 when a mark is missed.
"""

import argparse
import graphlib
import os
import platform
import statistics
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import fastdag
from benchmarks import memory, plan_marks, service_marks, task_marks, thread_marks, workloads
from benchmarks.environment import commit, version_of
from benchmarks.measure import chunks, feed, labelled
from benchmarks.peers import EDGE_BY_EDGE, Triple
from benchmarks.rows import FULL, QUICK, Measure, Row, Settings, timed
from fastdag import Graph, Manager, Status, TopologicalSorter


@dataclass(frozen=True)
class Timing:
    """What one run took, and how far it got."""

    seconds: float
    edges: int
    refused: int

    @property
    def microseconds(self) -> float:
        return self.seconds / self.edges * 1e6


def _add(implementation: str, pieces: Sequence[Sequence[Triple]], budget: float = float("inf")) -> Timing:
    peer = EDGE_BY_EDGE[implementation]()
    done = refused = 0

    def add_edges(piece: Sequence[Triple]) -> None:
        nonlocal refused
        refused += peer.add_edges(piece)

    def add() -> None:
        nonlocal done
        done = feed(pieces, add_edges, budget)

    return Timing(timed(add), done, refused)


def _edge_by_edge(
    make: Callable[[], workloads.Workload], mark: str, met: Callable[[float, float], bool]
) -> Measure:
    def measure(settings: Settings) -> Iterator[Row]:
        workload = make()
        pieces = list(chunks(labelled(workload)))
        ours: list[Timing] = []
        theirs: list[Timing] = []
        budget = settings.budget
        for _ in range(settings.runs):
            ours.append(_add("fastdag", pieces))
            if budget > 0:
                theirs.append(_add("rustworkx", pieces, budget))
                budget -= theirs[-1].seconds
        whole = [timing for timing in theirs if timing.edges == len(workload.edges)]
        notes = []
        if whole:
            theirs = whole
            if ours[0].refused != theirs[0].refused:
                raise RuntimeError(f"{workload.name}: {ours[0].refused} refused, the peer refused {theirs[0].refused}")
            if ours[0].refused:
                notes.append(f"{ours[0].refused:,} edges refused by both")
        else:
            share = theirs[0].edges / len(workload.edges)
            notes.append(f"peer: first {share:.1%} of the edges, in {theirs[0].seconds:.0f} s")
        our = statistics.median(timing.microseconds for timing in ours)
        their = statistics.median(timing.microseconds for timing in theirs)
        yield Row(workload.name, "µs/edge", our, their, mark, met(our, their), "; ".join(notes))

    return measure


def _bulk(settings: Settings) -> Iterator[Row]:
    """`add_edges` from buffers, while another Python thread counts to show that the interpreter lock is free."""
    n, m = 1_000_000, settings.bulk_edges
    sources, targets = workloads.buffers(n, m)
    rates: list[float] = []
    shares: list[float] = []
    for _ in range(settings.runs):
        graph = Graph.from_edges(array("i"), array("i"), n)
        counter = _Counter()
        with counter:
            alone = counter.rate_during(0.2)
            start = counter.count
            seconds = timed(lambda graph=graph: graph.add_edges(sources, targets))  # type: ignore[misc]
            shares.append((counter.count - start) / seconds / alone)
        rates.append(m / seconds / 1e6)
        if graph.number_of_edges() < 0.99 * m:  # a pair may come twice, but few do
            raise RuntimeError(f"add_edges: only {graph.number_of_edges():,} of {m:,} edges are there")
    rate, share = statistics.median(rates), statistics.median(shares)
    note = f"{m:,} edges; meanwhile another thread counted at {share:.0%} of its speed alone"
    yield Row("add_edges", "M edges/s", rate, None, "over 10, lock released", rate > 10 and share > 0.5, note)


class _Counter:
    """A thread that counts as fast as it can."""

    def __init__(self) -> None:
        self.count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        stopped = self._stop.is_set
        while not stopped():
            self.count += 1

    def rate_during(self, seconds: float) -> float:
        start, began = self.count, perf_counter()
        threading.Event().wait(seconds)
        return (self.count - start) / (perf_counter() - began)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _memory(settings: Settings) -> Iterator[Row]:
    ours, theirs = (memory.bytes_per_edge(name, settings.memory_edges) for name in ("fastdag", "rustworkx"))
    note = f"{settings.memory_edges:,} edges, {settings.memory_edges // 5:,} vertices"
    yield Row("memory", "B/edge", ours, theirs, "under 36 (aim 28)", ours < 36, note)


def _fan_out(settings: Settings) -> Iterator[Row]:
    workload = workloads.fan_out()
    manager = workloads.manager(workload)
    rounds = 20

    def there_and_back() -> None:
        for _ in range(rounds):
            manager.update_status("hub", Status.COMPLETED)
            manager.update_status("hub", Status.PENDING)

    taken = statistics.median(timed(there_and_back) for _ in range(settings.runs))
    ours = taken / (2 * rounds) / len(workload.edges) * 1e9
    yield Row("fan-out", "ns/dependent", ours, None, "under 20", ours < 20, f"{len(workload.edges):,} dependents")


def _fan_in(settings: Settings) -> Iterator[Row]:
    workload = workloads.fan_in()
    taken = []
    for _ in range(settings.runs):
        manager = workloads.manager(workload)

        def complete(manager: Manager = manager) -> None:
            update = manager.update_status
            for _, unit in workload.edges:
                update(unit, Status.COMPLETED)

        taken.append(timed(complete))
        if not manager.is_ready("hub"):
            raise RuntimeError("fan-in: every dependency is completed and the unit is not ready")
    ours = statistics.median(taken) / len(workload.edges) * 1e6
    yield Row("fan-in", "µs/update", ours, None, "under 2", ours < 2, f"{len(workload.edges):,} dependencies")


def _sorter_times(
    sorter: "TopologicalSorter[str] | graphlib.TopologicalSorter[str]", workload: workloads.Workload
) -> tuple[float, float, float]:
    """Seconds to add every edge, to prepare, and to drain."""

    def add() -> None:
        add = sorter.add
        for source, target in workload.edges:
            add(source, target)

    drained = 0

    def drain() -> None:
        nonlocal drained
        done = sorter.done
        while sorter.is_active():
            for vertex in sorter.get_ready():
                done(vertex)
                drained += 1

    times = timed(add), timed(sorter.prepare), timed(drain)
    vertices = {vertex for edge in workload.edges for vertex in edge}
    if drained != len(vertices):
        raise RuntimeError(f"drain: {drained:,} of {len(vertices):,} vertices came out of {type(sorter)}")
    return times


def _drain(settings: Settings) -> Iterator[Row]:
    workload = workloads.drain()
    ours, theirs = [], []
    for _ in range(settings.runs):
        ours.append(_sorter_times(TopologicalSorter(), workload))
        theirs.append(_sorter_times(graphlib.TopologicalSorter(), workload))
    vertices = len({vertex for edge in workload.edges for vertex in edge})
    our_add, our_prepare, our_drain = (statistics.median(times) for times in zip(*ours, strict=True))
    their_add, their_prepare, their_drain = (statistics.median(times) for times in zip(*theirs, strict=True))

    def row(part: str, unit: str, our: float, their: float, count: int, asked: bool) -> Row:
        mark, met = ("at least 2× faster", their >= 2 * our) if asked else ("", None)
        return Row(f"drain: {part}", unit, our / count * 1e6, their / count * 1e6, mark, met, "peer: graphlib")

    yield row("add", "µs/edge", our_add, their_add, len(workload.edges), True)
    yield row("prepare", "µs/vertex", our_prepare, their_prepare, vertices, False)
    yield row("drain", "µs/vertex", our_drain, their_drain, vertices, True)


def _growth(settings: Settings) -> Iterator[Row]:
    few, many = 1_000, settings.growth_edges
    small, large = (list(chunks(labelled(workloads.random(edges // 5, edges)))) for edges in (few, many))
    costs: dict[int, list[float]] = {few: [], many: []}
    for _ in range(settings.runs):
        costs[few].append(statistics.median(_add("fastdag", small).microseconds for _ in range(20)))
        costs[many].append(_add("fastdag", large).microseconds)
    at_few, at_many = (statistics.median(costs[edges]) for edges in (few, many))
    note = f"random: {at_few:.3f} µs/edge at {few:,} edges, {at_many:.3f} at {many:,}"
    yield Row("growth", "×", at_many / at_few, None, "under 6×", at_many < 6 * at_few, note)


def _no_slower(ours: float, theirs: float) -> bool:
    return ours <= theirs


def _twice(ours: float, theirs: float) -> bool:
    return 2 * ours <= theirs


def _fifty(ours: float, theirs: float) -> bool:
    return 50 * ours <= theirs and ours < 2


def _under_two(ours: float, _theirs: float) -> bool:
    return ours < 2


NO_SLOWER, TWICE, FIFTY, UNDER_TWO = "no slower", "at least 2× faster", "50× faster, under 2 µs", "under 2 µs"

ROWS: dict[str, Measure] = {
    "append": _edge_by_edge(workloads.append, NO_SLOWER, _no_slower),
    "history": _edge_by_edge(workloads.history, NO_SLOWER, _no_slower),
    "packages": _edge_by_edge(workloads.packages, NO_SLOWER, _no_slower),
    "random": _edge_by_edge(workloads.random, TWICE, _twice),
    "history-shuffled": _edge_by_edge(lambda: workloads.history(shuffled=True), TWICE, _twice),
    "packages-shuffled": _edge_by_edge(lambda: workloads.packages(shuffled=True), TWICE, _twice),
    "layered": _edge_by_edge(workloads.layered, FIFTY, _fifty),
    "dense": _edge_by_edge(workloads.dense, FIFTY, _fifty),
    "chain": _edge_by_edge(workloads.chain, UNDER_TWO, _under_two),
    "chain-shuffled": _edge_by_edge(lambda: workloads.chain(shuffled=True), UNDER_TWO, _under_two),
    "add_edges": _bulk,
    "memory": _memory,
    "fan-out": _fan_out,
    "fan-in": _fan_in,
    "drain": _drain,
    "growth": _growth,
    **thread_marks.ROWS,
    **service_marks.ROWS,
    **task_marks.ROWS,
    **plan_marks.ROWS,
}


def _print_row(row: Row) -> None:
    theirs = "" if row.theirs is None else f"{row.theirs:.3f}"
    ratio = "" if row.theirs is None else f"{row.theirs / row.ours:.1f}×"
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    line = f"{row.name:<29} {row.ours:>8.3f} {theirs:>9} {row.unit:<12} {ratio:>7}  {row.mark:<23} {verdict:<6}"
    print(f"{line} {row.note}".rstrip(), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.marks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one run a row, fewer edges in bulk, less time for peers")
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="NAME", help=f"some of: {', '.join(ROWS)}")
    arguments = parser.parse_args()
    settings = QUICK if arguments.quick else FULL

    print(
        f"fastdag {fastdag.__version__} ({commit()}), rustworkx {version_of('rustworkx')}, "
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} cores, seed {workloads.SEED}, median of {settings.runs}"
    )
    print(f"{'workload':<29} {'fastdag':>8} {'peer':>9} {'':<12} {'ratio':>7}  {'mark':<23}")
    missed = []
    for name in arguments.only or ROWS:
        for row in ROWS[name](settings):
            _print_row(row)
            if row.met is False:
                missed.append(row.name)
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

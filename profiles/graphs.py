"""The workloads `mixed`, `mutate` and `bulk`. Each makes its input once, and gives a function that runs one lap on it.

A lap begins with a new graph and ends with a check of what the graph has become.
"""

import random
from array import array
from collections.abc import Callable
from time import perf_counter, perf_counter_ns
from typing import Any, TypeVar, cast

from benchmarks import workloads
from fastdag import CycleError, Graph, Manager, Status
from profiles.coarse import Coarse
from profiles.laps import Lap, StressError, run_threads, timings

LapOf = Callable[[bool, float], Lap]  # whether under one coarse lock, and when to stop (by perf_counter): a lap

ROUND = 50  # operations of a thread in a round of `mixed`
ROUNDS = 60  # in a lap

STEPS = 1_000  # of a thread in a lap of `mutate`

BULK_VERTICES, BULK_EDGES, BATCH = 200_000, 2_000_000, 100_000
BULK_UNITS, BULK_DEGREE = 20_000, 5

_T = TypeVar("_T")


def _shared(inner: _T, coarse: bool) -> _T:
    """What the threads get to see of a graph or manager."""
    return cast(_T, Coarse(inner)) if coarse else inner


def mixed(threads: int, seed: int) -> LapOf:
    """60 % reads of both edge lists of a fresh name, 40 % edges of two fresh names: no two threads ever meet."""
    operations = workloads.mixed(threads, ROUND * ROUNDS, seed)
    added = [(step.source, step.target) for steps in operations for step in steps if step.target is not None]

    def lap(coarse: bool, _end: float) -> Lap:
        plain: Graph[str] = Graph()
        graph = _shared(plain, coarse)
        reads, writes = timings(threads), timings(threads)

        def work(number: int) -> None:
            read, write, clock = reads[number].append, writes[number].append, perf_counter_ns
            add_edge, out_edges, in_edges = graph.add_edge, graph.out_edges, graph.in_edges
            at = clock()
            for operation in operations[number]:
                if operation.target is None:
                    out_edges(operation.source)
                    in_edges(operation.source)
                    now = clock()
                    read(now - at)
                else:
                    add_edge(operation.source, operation.target, "completed")
                    now = clock()
                    write(now - at)
                at = now

        done = Lap(laps=1, edges=len(added))
        total = threads * ROUND * ROUNDS
        done.seconds = run_threads("mixed", work, threads, lambda: sum(map(len, reads + writes)) / total)
        done.took("read", reads)
        done.took("write", writes)
        done.rows["a round"] = f"{done.seconds / ROUNDS * 1e3:,.1f} ms"
        done.waited(plain.lock_stats())
        plain._check()
        if len(plain) != 2 * len(added) or {edge[:2] for edge in plain.edges()} != set(added):
            raise StressError(f"mixed: {len(added):,} edges were added, but the graph has other ones")
        return done

    return lap


def mutate(threads: int, seed: int) -> LapOf:
    """Every public operation of Graph, weighted: half of the threads change the graph, the others only read."""
    readers = threads // 2
    steps = workloads.mutate(threads - readers, readers, STEPS, seed=seed)

    def lap(coarse: bool, _end: float) -> Lap:
        plain: Graph[str] = Graph()
        graph = _shared(plain, coarse)
        reads, writes = timings(threads), timings(threads)
        refused = [0] * threads

        def work(number: int) -> None:
            read, write, clock = reads[number].append, writes[number].append, perf_counter_ns
            changes = workloads.WRITES
            methods = {name: getattr(graph, name) for name in {*workloads.WRITES, *workloads.READS}}
            at = clock()
            for name, arguments in steps[number]:
                try:
                    methods[name](*arguments)
                except (CycleError, LookupError):  # both are expected, see workloads.mutate
                    refused[number] += 1
                now = clock()
                (write if name in changes else read)(now - at)
                at = now

        done = Lap(laps=1)
        total = threads * STEPS
        done.seconds = run_threads("mutate", work, threads, lambda: sum(map(len, reads + writes)) / total)
        done.took("read", reads)
        done.took("write", writes)
        done.rows["refused or not found"] = f"{sum(refused):,}"
        done.waited(plain.lock_stats())
        plain._check()
        _check_order(plain)
        return done

    return lap


def _check_order(graph: Graph[Any]) -> None:
    place = {vertex: position for position, vertex in enumerate(graph.topological_sort())}
    if len(place) != len(graph):
        raise StressError(f"topological_sort gave {len(place):,} of {len(graph):,} vertices")
    for source, target, _ in graph.edges():
        if place[source] > place[target]:
            raise StressError(f"edge {source!r} -> {target!r} runs against topological_sort")


def bulk(threads: int, seed: int) -> LapOf:
    """Bulk writers beside readers: a quarter `add_edges`, a quarter `update_statuses`, the others read graph or units.

    An operation is one read, or one batch: of edges from integer buffers, or of the statuses of a writer's units.
    """
    writers = threads // 4
    if writers < 1:
        raise StressError(f"bulk needs at least 4 threads, two to write and two to read, not {threads}; see --threads")
    sources, targets = workloads.buffers(BULK_VERTICES, BULK_EDGES, seed)
    starts = range(0, BULK_EDGES, BATCH)
    rng = random.Random(seed)
    units = [f"unit-{i}" for i in range(BULK_UNITS)]
    needs = [(units[i], units[rng.randrange(i)]) for i in range(1, BULK_UNITS) for _ in range(BULK_DEGREE)]
    asked = [rng.randrange(BULK_VERTICES) for _ in range(1_000)]
    asked_units = rng.choices(units, k=1_000)

    def lap(coarse: bool, end: float) -> Lap:
        plain_graph = Graph.from_edges(array("i"), array("i"), BULK_VERTICES)
        plain_manager = Manager()
        plain_manager.register_all(units)
        plain_manager.add_dependencies(needs)
        graph, manager = _shared(plain_graph, coarse), _shared(plain_manager, coarse)
        reads, loads, updates = timings(threads), timings(threads), timings(threads)
        loaded = [0] * len(starts)  # how many edges of each batch were new
        last = [str(Status.PENDING)] * writers
        over = [False] * writers

        def load(number: int) -> None:
            try:
                for batch in range(number, len(starts), writers):
                    if perf_counter() > end:
                        return
                    cut = slice(starts[batch], starts[batch] + BATCH)
                    at = perf_counter_ns()
                    loaded[batch] = graph.add_edges(sources[cut], targets[cut])
                    loads[number].append(perf_counter_ns() - at)
            finally:
                over[number] = True

        def update(number: int) -> None:
            mine = units[number::writers]
            while True:
                status = Status.COMPLETED if last[number] == Status.PENDING else Status.PENDING
                at = perf_counter_ns()
                manager.update_statuses(mine, status)
                updates[number].append(perf_counter_ns() - at)
                last[number] = status
                if all(over):
                    return

        def read_edges(number: int) -> None:
            note, clock = reads[number].append, perf_counter_ns
            successors, predecessors = graph.successors, graph.predecessors
            while True:
                at = clock()
                for vertex in asked:
                    successors(vertex)
                    predecessors(vertex)
                    now = clock()
                    note(now - at)
                    at = now
                if all(over):
                    return

        def read_units(number: int) -> None:
            note, clock, unit = reads[number].append, perf_counter_ns, manager.unit
            while True:
                at = clock()
                for name in asked_units:
                    unit(name)
                    now = clock()
                    note(now - at)
                    at = now
                if all(over):
                    return

        def work(number: int) -> None:
            kind, place = divmod(number, writers)
            if kind == 0:
                load(place)
            elif kind == 1:
                update(place)
            elif number % 2:
                read_edges(number)
            else:
                read_units(number)

        done = Lap(laps=1)
        done.seconds = run_threads("bulk", work, threads, lambda: sum(map(len, loads)) / len(starts))
        done.took("read", reads)
        done.took("load", loads)
        done.took("update", updates)
        done.edges = sum(loaded)
        done.rows["reads per second"] = f"{done.latencies['read'].count / done.seconds:,.0f}"
        done.rows["edges per second"] = f"{done.edges / done.seconds:,.0f}"
        changed = done.latencies["update"].count * (BULK_UNITS // writers)
        done.rows["statuses per second"] = f"{changed / done.seconds:,.0f}"
        done.waited(plain_graph.lock_stats())
        done.waited(plain_manager.lock_stats())
        _check_loaded(plain_graph, loaded)
        _check_statuses(plain_manager, last)
        return done

    def _check_loaded(graph: Graph[int], loaded: list[int]) -> None:
        graph._check()
        alone = Graph.from_edges(array("i"), array("i"), BULK_VERTICES)
        for start, new in zip(starts, loaded, strict=True):
            if new:
                alone.add_edges(sources[start : start + BATCH], targets[start : start + BATCH])
        (offsets, ends), (offsets_alone, ends_alone) = graph.to_csr(), alone.to_csr()
        if sum(loaded) != len(ends) or offsets != offsets_alone or sum(ends) != sum(ends_alone):
            raise StressError(f"bulk: {sum(loaded):,} edges were added, but the graph has other ones")

    def _check_statuses(manager: Manager, last: list[str]) -> None:
        is_now = {unit.id: unit for unit in manager.units()}
        unmet = {unit for unit, depends_on in needs if is_now[depends_on].status != Status.COMPLETED}
        for number, unit in enumerate(units):
            expected = last[number % writers]
            if is_now[unit].status != expected or is_now[unit].ready == (unit in unmet):
                raise StressError(f"bulk: {is_now[unit]} should be {expected!r} and ready only if nothing is unmet")

    return lap

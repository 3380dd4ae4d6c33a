"""The workloads `history` and `packages`: a real graph through a Manager, from several threads at once.

The graph is loaded edge by edge, cycles and all, and then every unit is taken from pending to completed in dependency
order: a subscriber hears which units become ready and hands them to the workers. A second subscriber counts every
event. An error when a unit was not completed, ran too early, or an event came more or less than once.
"""

import random
from collections import Counter
from queue import Empty, SimpleQueue
from time import perf_counter_ns
from typing import cast

from benchmarks import workloads
from fastdag import CycleError, Event, Manager, Status
from profiles.coarse import Coarse
from profiles.laps import Lap, StressError, run_threads, timings

STALLED_AFTER = 30.0  # seconds without a ready unit, until a worker gives up


def _load(lap: Lap, manager: Manager, workload: workloads.Workload, threads: int, seed: int) -> list[list[str]]:
    """Register every unit and add its dependencies, all threads at once; the cycles refused.

    A thread deals with a share of the units, in random order: what they depend on may not be registered yet.
    """
    units = workload.vertices.copy()
    random.Random(seed).shuffle(units)
    needs: dict[str, list[str]] = {unit: [] for unit in units}
    for unit, depends_on in workload.edges:
        needs[unit].append(depends_on)
    registered = [0] * threads
    cycles: list[list[str]] = []
    taken = timings(threads)

    def work(number: int) -> None:
        note = taken[number].append
        for unit in units[number::threads]:
            manager.register(unit)
            at = perf_counter_ns()
            for depends_on in needs[unit]:
                try:
                    manager.add_dependency(unit, depends_on)
                except CycleError as error:
                    cycles.append(list(map(str, error.path)))
                now = perf_counter_ns()
                note(now - at)
                at = now
            registered[number] += 1

    seconds = run_threads(f"{workload.name}: loading", work, threads, lambda: sum(registered) / len(units))
    lap.seconds += seconds
    lap.edges = len(workload.edges) - len(cycles)
    lap.took("dependency", taken)
    lap.rows["edges refused"] = f"{len(cycles):,}"
    lap.rows["edges per second"] = f"{len(workload.edges) / seconds:,.0f}"
    return cycles


def _complete(lap: Lap, manager: Manager, workload: workloads.Workload, threads: int) -> list[str]:
    """Take every unit from pending to completed; each unit twice: where it was begun and where it was ended."""
    total = len(workload.vertices)
    ready: SimpleQueue[str | None] = SimpleQueue()
    steps: list[str] = []
    taken = timings(threads)

    def hand_out(event: Event) -> None:
        if event.new == "ready":
            ready.put(event.unit)

    def work(number: int) -> None:
        note = taken[number].append
        while True:
            done = len(steps)
            try:
                unit = ready.get(timeout=STALLED_AFTER)
            except Empty:
                if len(steps) == done:
                    return
                continue
            if unit is None:
                return
            steps.append(unit)
            at = perf_counter_ns()
            manager.update_status(unit, Status.STARTED)
            now = perf_counter_ns()
            note(now - at)
            steps.append(unit)
            at = perf_counter_ns()
            manager.update_status(unit, Status.COMPLETED)
            note(perf_counter_ns() - at)
            if len(steps) == 2 * total:
                for _ in range(threads):
                    ready.put(None)

    with manager.subscribe(hand_out, kinds="state"):
        for unit in workload.vertices:
            if manager.is_ready(unit):
                ready.put(unit)
        label = f"{workload.name}: completing"
        seconds = run_threads(label, work, threads, lambda: len(steps) / (2 * total))
    lap.seconds += seconds
    lap.took("status", taken)
    lap.rows["status updates per second"] = f"{len(steps) / seconds:,.0f}"
    return steps


def lap(workload: workloads.Workload, threads: int, seed: int, coarse: bool) -> Lap:
    """Take a graph through a Manager once.

    Raises
    ------
    StressError
        If something came out other than it must.
    """
    done = Lap(laps=1, rows={"vertices": f"{len(workload.vertices):,}", "edges": ""})
    plain = Manager()
    manager = cast(Manager, Coarse(plain)) if coarse else plain
    heard: Counter[str] = Counter()

    def count(event: Event) -> None:
        heard[event.kind] += 1

    with manager.subscribe(count):
        cycles = _load(done, manager, workload, threads, seed)
        steps = _complete(done, manager, workload, threads)

    _check_all_completed(plain)
    _check_order(plain, steps)
    expected = {"registered": len(workload.vertices), "dependency": done.edges, "status": len(steps)}
    for kind, number in expected.items():
        if heard[kind] != number:
            raise StressError(f"{workload.name}: {number:,} events {kind!r} were due, {heard[kind]:,} came")
    done.rows["edges"] = f"{done.edges:,}"
    done.rows["events delivered"] = f"{heard.total():,}"
    if cycles:
        shortest = min(cycles, key=len)
        done.notes.append(f"shortest cycle refused in {workload.name}: {' -> '.join(shortest)}")
    done.waited(plain.lock_stats())
    return done


def _check_all_completed(manager: Manager) -> None:
    left = [unit for unit in manager.units() if unit.status != Status.COMPLETED]
    if left:
        shown = ", ".join(f"{unit.id} ({unit.status}, {manager.state(unit.id)})" for unit in left[:5])
        raise StressError(f"{len(left):,} units were not completed: {shown}{' …' if len(left) > 5 else ''}")


def _check_order(manager: Manager, steps: list[str]) -> None:
    begun: dict[str, int] = {}
    ended: dict[str, int] = {}
    for position, unit in enumerate(steps):
        if unit in ended:
            raise StressError(f"{unit} was announced as ready more than once")
        (ended if unit in begun else begun)[unit] = position
    for unit, position in begun.items():
        for dependency in manager.dependencies(unit):
            if ended[dependency.depends_on] > position:
                raise StressError(f"{unit} ran before {dependency.depends_on}, on which it depends")

"""Threads on one graph: ``python -m benchmarks.threads`` prints, as JSON, how `mixed` and `mutate` scale.

Needs nothing but fastdag, so that it runs on an interpreter for which the peers have no wheels. The number of
operations is the same for every number of threads; a round includes starting and joining its threads.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import workloads
from benchmarks.environment import interpreter_lock
from fastdag import FastDAGError, Graph

COUNTS = (1, 2, 4, 8, 50, 200)
OPERATIONS = 10_000
ROUNDS = 5
FREE_THREADED = ("python3.14t", "python3.13t")
ROOT = Path(__file__).parents[1]

Work = Callable[[], int]  # what a thread does; how many operations it did


class ThreadsError(Exception):
    """A run on another interpreter gave nothing to show."""


def run(work: Sequence[Work]) -> int:
    """Let every thread do its part; how many operations they did. An exception of one is raised here."""
    done = [0] * len(work)
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            done[number] = work[number]()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(done)


def waited(stats: dict[str, dict[str, int]]) -> float:
    """Seconds that threads spent waiting for core locks, from `Graph.lock_stats()`."""
    return sum(lock["wait_ns"] for lock in stats.values()) / 1e9


def mixed(threads: int) -> list[list[workloads.Operation]]:
    return workloads.mixed(threads, OPERATIONS // threads)


def mutate(threads: int) -> list[list[workloads.Step]]:
    """One thread in four reads, the others do everything."""
    readers = threads // 4
    return workloads.mutate(threads - readers, readers, OPERATIONS // threads)


def mixed_work(graph: Graph[str], operations: Sequence[workloads.Operation]) -> Work:
    def work() -> int:
        add_edge, out_edges, in_edges = graph.add_edge, graph.out_edges, graph.in_edges
        for operation in operations:
            if operation.target is None:
                out_edges(operation.source)
                in_edges(operation.source)
            else:
                add_edge(operation.source, operation.target)
        return len(operations)

    return work


def mutate_work(graph: Graph[str], steps: Sequence[workloads.Step]) -> Work:
    calls = [(getattr(graph, method), arguments) for method, arguments in steps]

    def work() -> int:
        for call, arguments in calls:
            try:  # noqa: SIM105 - `suppress` takes longer than many an operation
                call(*arguments)
            except (FastDAGError, IndexError):  # refused, or not there: part of the workload
                pass
        return len(calls)

    return work


# of each workload: what every thread is to do, by their number; and that as something to run, on a graph
PLANS: dict[str, Callable[[int], Sequence[Sequence[Any]]]] = {"mixed": mixed, "mutate": mutate}
WORKS: dict[str, Callable[[Graph[str], Sequence[Any]], Work]] = {"mixed": mixed_work, "mutate": mutate_work}


@dataclass(frozen=True)
class Scaling:
    """How one workload did with so many threads."""

    workload: str
    threads: int
    operations: float  # a second, median of the rounds
    waiting: float  # share of the threads' time spent waiting for core locks, median of the rounds


def scaling(workload: str, threads: int) -> Scaling:
    plan = PLANS[workload](threads)
    rates, waits = [], []
    for _ in range(ROUNDS):
        graph: Graph[str] = Graph()
        work = [WORKS[workload](graph, part) for part in plan]
        start = perf_counter()
        done = run(work)
        seconds = perf_counter() - start
        rates.append(done / seconds)
        waits.append(waited(graph.lock_stats()) / (threads * seconds))
    return Scaling(workload, threads, statistics.median(rates), statistics.median(waits))


def without_interpreter_lock(candidates: Sequence[str] = FREE_THREADED) -> tuple[str, list[Scaling]]:
    """The same on the first of `candidates` that is on the PATH: its version, and what it did.

    Raises
    ------
    ThreadsError
        If none is there, it has no fastdag, or it runs with the lock after all.
    """
    found = next((path for path in map(shutil.which, candidates) if path), None)
    if found is None:
        raise ThreadsError(f"not measured without the interpreter lock: no {' or '.join(candidates)} on the PATH")
    ran = subprocess.run(
        [found, "-m", "benchmarks.threads"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise ThreadsError(
            f"not measured without the interpreter lock: {found} cannot run it ({last}); "
            f"build fastdag for it: {found} setup.py build_ext --inplace"
        )
    printed: dict[str, Any] = json.loads(ran.stdout)
    if printed["interpreter_lock"]:
        raise ThreadsError(f"not measured without the interpreter lock: {found} runs with it")
    return printed["python"], [Scaling(**row) for row in printed["scaling"]]


def main() -> int:
    rows = [vars(scaling(workload, threads)) for workload in PLANS for threads in COUNTS]
    json.dump({"python": sys.version.split()[0], "interpreter_lock": interpreter_lock(), "scaling": rows}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())

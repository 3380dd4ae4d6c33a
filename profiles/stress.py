"""Take real graphs through a Manager from several threads at once: ``python -m profiles.stress``.

Each graph is loaded edge by edge, cycles and all, and then every unit is taken from pending to completed in dependency
order: a subscriber hears which units become ready and hands them to the workers. A second subscriber counts every
event. Ends with status 1 when a unit was not completed, ran too early, or an event came more or less than once.
"""

import argparse
import platform
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import perf_counter

import fastdag
from benchmarks import workloads
from fastdag import CycleError, Event, Manager, Status

GRAPHS: dict[str, Callable[[], workloads.Workload]] = {
    "history": workloads.history,
    "packages": workloads.packages,
}
STALLED_AFTER = 30.0  # seconds without a ready unit, until a worker gives up


class StressError(Exception):
    """Something that was promised did not happen."""


@dataclass(frozen=True)
class Result:
    """What one graph came to."""

    vertices: int
    edges: int
    cycles: list[list[str]]  # of the refused edges
    load_seconds: float
    updates: int
    drain_seconds: float
    events: int
    contended: int
    longest_wait: float  # seconds

    def rows(self) -> dict[str, str]:
        asked = self.edges + len(self.cycles)
        return {
            "vertices": f"{self.vertices:,}",
            "edges": f"{self.edges:,}",
            "edges refused": f"{len(self.cycles):,}",
            "edges per second": f"{asked / self.load_seconds:,.0f}",
            "status updates per second": f"{self.updates / self.drain_seconds:,.0f}",
            "events delivered": f"{self.events:,}",
            "contended lock acquisitions": f"{self.contended:,}",
            "longest wait for a lock": f"{self.longest_wait * 1e6:,.1f} µs",
        }


def _run_threads(label: str, work: Callable[[int], None], threads: int, progress: Callable[[], float]) -> float:
    """Run `work(0)` … `work(threads - 1)` at once, with a progress bar; seconds from the common start to the end."""
    barrier = threading.Barrier(threads + 1)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            errors.append(error)

    workers = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = perf_counter()
    for worker in workers:
        while worker.is_alive():
            _draw(label, progress())
            worker.join(0.1)
    seconds = perf_counter() - start
    _draw(label, None)
    if errors:
        raise errors[0]
    return seconds


def _draw(label: str, share: float | None) -> None:
    """Draw the progress bar, or wipe it; on a terminal only."""
    if not sys.stderr.isatty():
        return
    bar = "" if share is None else f"{label:<20} {'█' * int(share * 40):░<40} {share:>4.0%}"
    sys.stderr.write(f"\r\x1b[K{bar}")
    sys.stderr.flush()


def _load(manager: Manager, workload: workloads.Workload, threads: int, seed: int) -> tuple[float, list[list[str]]]:
    """Register every unit and add its dependencies, all threads at once; seconds, and the cycles refused.

    A thread deals with a share of the units, in random order: what they depend on may not be registered yet.
    """
    units = workload.vertices.copy()
    random.Random(seed).shuffle(units)
    needs: dict[str, list[str]] = {unit: [] for unit in units}
    for unit, depends_on in workload.edges:
        needs[unit].append(depends_on)
    registered = [0] * threads
    cycles: list[list[str]] = []

    def work(number: int) -> None:
        for unit in units[number::threads]:
            manager.register(unit)
            for depends_on in needs[unit]:
                try:
                    manager.add_dependency(unit, depends_on)
                except CycleError as error:
                    cycles.append(list(map(str, error.path)))
            registered[number] += 1

    seconds = _run_threads(f"{workload.name}: loading", work, threads, lambda: sum(registered) / len(units))
    return seconds, cycles


def _complete(manager: Manager, workload: workloads.Workload, threads: int) -> tuple[float, list[str]]:
    """Take every unit from pending to completed; seconds, and each unit twice: where it was begun and where ended."""
    total = len(workload.vertices)
    ready: SimpleQueue[str | None] = SimpleQueue()
    steps: list[str] = []

    def hand_out(event: Event) -> None:
        if event.new == "ready":
            ready.put(event.unit)

    def work(_: int) -> None:
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
            manager.update_status(unit, Status.STARTED)
            steps.append(unit)
            manager.update_status(unit, Status.COMPLETED)
            if len(steps) == 2 * total:
                for _ in range(threads):
                    ready.put(None)

    with manager.subscribe(hand_out, kinds="state"):
        for unit in workload.vertices:
            if manager.is_ready(unit):
                ready.put(unit)
        label = f"{workload.name}: completing"
        seconds = _run_threads(label, work, threads, lambda: len(steps) / (2 * total))
    return seconds, steps


def stress(name: str, threads: int, seed: int) -> Result:
    """Take one of `GRAPHS` through a Manager.

    Raises
    ------
    StressError
        If something came out other than it must.
    """
    workload = GRAPHS[name]()
    manager = Manager()
    heard: Counter[str] = Counter()

    def count(event: Event) -> None:
        heard[event.kind] += 1

    with manager.subscribe(count):
        load_seconds, cycles = _load(manager, workload, threads, seed)
        drain_seconds, steps = _complete(manager, workload, threads)

    edges = len(workload.edges) - len(cycles)
    _check_all_completed(manager)
    _check_order(manager, steps)
    expected = {"registered": len(workload.vertices), "dependency": edges, "status": len(steps)}
    for kind, number in expected.items():
        if heard[kind] != number:
            raise StressError(f"{name}: {number:,} events of the kind {kind!r} were due, {heard[kind]:,} came")
    locks = manager.lock_stats().values()
    return Result(
        vertices=len(workload.vertices),
        edges=edges,
        cycles=cycles,
        load_seconds=load_seconds,
        updates=len(steps),
        drain_seconds=drain_seconds,
        events=heard.total(),
        contended=sum(lock["contended"] for lock in locks),
        longest_wait=max(lock["longest_ns"] for lock in locks) / 1e9,
    )


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


def _print_table(results: dict[str, Result]) -> None:
    columns = {name: result.rows() for name, result in results.items()}
    print(f"{'':<28}" + "".join(f"{name:>14}" for name in columns))
    for row in next(iter(columns.values())):
        print(f"{row:<28}" + "".join(f"{column[row]:>14}" for column in columns.values()))
    for name, result in results.items():
        if result.cycles:
            shortest = min(result.cycles, key=len)
            print(f"\nshortest cycle refused in {name}: {' -> '.join(shortest)}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m profiles.stress", description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=4, help="how many load and work at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=workloads.SEED, help="of the loading order (default: %(default)s)")
    parser.add_argument("--graph", choices=[*GRAPHS, "both"], default="both", help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.threads < 1:
        parser.error(f"--threads must be at least 1, not {arguments.threads}")

    print(
        f"fastdag {fastdag.__version__}, {platform.python_implementation()} {platform.python_version()}, "
        f"{arguments.threads} threads, seed {arguments.seed}\n",
        flush=True,
    )
    results = {}
    try:
        for name in GRAPHS if arguments.graph == "both" else [arguments.graph]:
            results[name] = stress(name, arguments.threads, arguments.seed)
    except StressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _print_table(results)
    print("\nEvery unit was completed, in dependency order, and every event came exactly once.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What every workload is made of: threads that start together, latencies, what a lap came to, errors."""

import math
import sys
import threading
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter

KEPT = 10  # every tenth latency is kept for the percentiles; the longest is exact

Locks = dict[str, dict[str, int]]


class StressError(Exception):
    """Something that was promised did not happen."""


@dataclass
class Latencies:
    """How long operations of one kind took, in ns."""

    count: int = 0
    longest: int = 0
    sample: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, taken: Iterable["array[int]"]) -> None:
        for one_thread in taken:
            self.count += len(one_thread)
            self.longest = max(self.longest, max(one_thread, default=0))
            self.sample.extend(one_thread[::KEPT])

    def percentiles(self, *percents: float) -> list[int]:
        """The latencies, in ns, that so many percent of the operations do not exceed."""
        ordered = sorted(self.sample)
        if not ordered:
            return [0] * len(percents)
        return [ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] for percent in percents]


@dataclass
class Lap:
    """What a workload came to, in one lap or in several."""

    laps: int = 0
    seconds: float = 0.0  # from the common start of the threads to their end
    latencies: dict[str, Latencies] = field(default_factory=dict)  # by kind of operation
    edges: int = 0  # edges added
    locks: Locks = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)  # what this workload alone tells, of the last lap
    notes: list[str] = field(default_factory=list)

    @property
    def operations(self) -> int:
        return sum(latencies.count for latencies in self.latencies.values())

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds

    def took(self, kind: str, taken: Iterable["array[int]"]) -> None:
        self.latencies.setdefault(kind, Latencies()).add(taken)

    def waited(self, locks: Locks) -> None:
        """Add the lock_stats() of a graph or manager."""
        for name, stats in locks.items():
            total = self.locks.setdefault(name, dict.fromkeys(stats, 0))
            for key, value in stats.items():
                total[key] = max(total[key], value) if key == "longest_ns" else total[key] + value

    def add(self, lap: "Lap") -> None:
        """Add another lap of the same workload."""
        self.laps += lap.laps
        self.seconds += lap.seconds
        self.edges += lap.edges
        for kind, latencies in lap.latencies.items():
            total = self.latencies.setdefault(kind, Latencies())
            total.count += latencies.count
            total.longest = max(total.longest, latencies.longest)
            total.sample.extend(latencies.sample)
        self.waited(lap.locks)
        self.rows, self.notes = lap.rows, lap.notes


def timings(threads: int) -> list["array[int]"]:
    """A list of latencies for each thread."""
    return [array("q") for _ in range(threads)]


def run_threads(label: str, work: Callable[[int], None], threads: int, progress: Callable[[], float]) -> float:
    """Run `work(0)` … `work(threads - 1)` at once, with a progress bar; seconds from the common start to the end.

    Raises
    ------
    StressError
        If so many threads cannot be started.
    Exception
        The first that came out of `work`.
    """
    barrier = threading.Barrier(threads + 1)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            return
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            errors.append(error)

    workers = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for started, worker in enumerate(workers):
        try:
            worker.start()
        except RuntimeError as error:
            barrier.abort()
            raise StressError(
                f"only {started:,} of {threads:,} threads could be started ({error}); ask for fewer with --threads"
            ) from error
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

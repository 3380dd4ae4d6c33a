"""Load fastdag from many threads, check what came out, and say how fast it was: ``python -m profiles.stress``.

`history` and `packages` take a real graph through a `Manager`; `mixed` adds fresh edges and reads fresh names; `mutate`
calls every operation of `Graph`; `bulk` sets bulk writers beside readers. Ends with status 1 when something came out
other than it must.
"""

import argparse
import json
import math
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import fastdag
from benchmarks import workloads
from profiles import graphs, managed
from profiles.graphs import LapOf
from profiles.laps import Lap, StressError

SECONDS = 5.0
REAL = ("history", "packages")


def _managed(make: Callable[[], workloads.Workload]) -> Callable[[int, int], LapOf]:
    def prepare(threads: int, seed: int) -> LapOf:
        workload = make()
        return lambda coarse, _end: managed.lap(workload, threads, seed, coarse)

    return prepare


@dataclass(frozen=True)
class Kind:
    """A workload as it can be asked for."""

    prepare: Callable[[int, int], LapOf]  # from the number of threads and the seed
    threads: int  # unless asked otherwise
    seconds: float  # unless asked otherwise; 0: one lap


KINDS = {
    "history": Kind(_managed(workloads.history), 4, 0),
    "packages": Kind(_managed(workloads.packages), 4, 0),
    "mixed": Kind(graphs.mixed, 200, SECONDS),
    "mutate": Kind(graphs.mutate, 8, SECONDS),
    "bulk": Kind(graphs.bulk, 8, SECONDS),
}


def stress(
    name: str,
    threads: int | None = None,
    seconds: float | None = None,
    seed: int = workloads.SEED,
    coarse: bool = False,
) -> Lap:
    """Run one of `KINDS`, lap after lap until the time is over; a lap that has begun is brought to its end.

    Parameters
    ----------
    name : str
    threads, seconds : optional
        Instead of those of the workload.
    seed : int
    coarse : bool
        Put one plain lock around everything.

    Raises
    ------
    StressError
        If something came out other than it must.
    """
    kind = KINDS[name]
    lap = kind.prepare(kind.threads if threads is None else threads, seed)
    limit = kind.seconds if seconds is None else seconds
    end = perf_counter() + limit
    total = lap(coarse, end if limit else math.inf)
    while perf_counter() < end:
        total.add(lap(coarse, end))
    return total


def _shown(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:,.1f} {unit}"
    return f"{ns:,.0f} ns"


def _rows(lap: Lap) -> dict[str, str]:
    rows = dict(lap.rows)
    rows["laps"] = f"{lap.laps:,}"
    rows["operations"] = f"{lap.operations:,}"
    rows["operations per second"] = f"{lap.rate:,.0f}"
    for kind, latencies in lap.latencies.items():
        for percent, ns in zip((50, 99, 99.9), latencies.percentiles(50, 99, 99.9), strict=True):
            rows[f"{kind}: {percent:g} % within"] = _shown(ns)
        rows[f"{kind}: longest"] = _shown(latencies.longest)
    for name, stats in lap.locks.items():
        if "acquired" in stats:
            rows[f"{name}: taken"] = f"{stats['acquired']:,}"
        rows[f"{name}: waits"] = f"{stats['contended']:,}"
        if stats["contended"]:
            rows[f"{name}: waited, longest"] = f"{_shown(stats['wait_ns'])}, {_shown(stats['longest_ns'])}"
    return rows


def _print_table(laps: dict[str, Lap]) -> None:
    columns = {name: _rows(lap) for name, lap in laps.items()}
    print(f"{'':<40}" + "".join(f"{name:>22}" for name in columns))
    for row in dict.fromkeys(row for column in columns.values() for row in column):
        print(f"{row:<40}" + "".join(f"{column.get(row, ''):>22}" for column in columns.values()))
    for lap in laps.values():
        for note in lap.notes:
            print(f"\n{note}")


def as_json(lap: Lap) -> dict[str, object]:
    latencies = {
        kind: {
            "count": latencies.count,
            **dict(zip(("p50", "p99", "p99.9"), latencies.percentiles(50, 99, 99.9), strict=True)),
            "longest": latencies.longest,
        }
        for kind, latencies in lap.latencies.items()
    }
    return asdict(lap) | {"latencies": latencies, "operations": lap.operations, "rate": lap.rate}


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return count


def duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, 0 for a single lap, not {text!r}")
    return seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m profiles.stress", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--workload", nargs="+", choices=KINDS, default=REAL, metavar="NAME",
        help=f"one or more of: {', '.join(KINDS)} (default: {' '.join(REAL)})",
    )
    defaults = ", ".join(f"{name} {kind.threads}" for name, kind in KINDS.items())
    parser.add_argument("--threads", type=_count, help=f"how many at once (default: {defaults})")
    parser.add_argument(
        "--seconds", type=duration,
        help=f"how long, to the end of a lap (default: {SECONDS:g}; one lap of {' and '.join(REAL)})",
    )
    parser.add_argument("--seed", type=int, default=workloads.SEED, help="of the input (default: %(default)s)")
    parser.add_argument("--coarse", action="store_true", help="one plain lock around everything, for comparison")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)

    print(
        f"fastdag {fastdag.__version__}, {platform.python_implementation()} {platform.python_version()}, "
        f"{options.threads or 'default'} threads, seed {options.seed}"
        f"{', one coarse lock' if options.coarse else ''}\n",
        flush=True,
    )
    laps = {}
    try:
        for name in options.workload:
            laps[name] = stress(name, options.threads, options.seconds, options.seed, options.coarse)
        if options.json:
            options.json.write_text(json.dumps({name: as_json(lap) for name, lap in laps.items()}, indent=1))
    except (StressError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _print_table(laps)
    if set(REAL) & set(laps):
        print("\nEvery unit was completed, in dependency order, and every event came exactly once.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The table after a run: fastdag's time over each peer's, where it is the slower one as plainly as where it is not."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import units
from benchmarks.extras import Extras

PEERS = ("rustworkx", "networkx", "igraph", "graphlib")
KINDS = {
    "operations": "Single operations",
    "workloads": "Whole workloads",
    "threads": "Threads",
    "scale": "Cost by size",
}


@dataclass(frozen=True)
class Result:
    """One benchmark: seconds for an item (operation, edge …) in each round."""

    kind: str
    workload: str
    implementation: str
    unit: str
    rounds: Sequence[float]
    done: int
    of: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def minimum(self) -> float:
        return min(self.rounds)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def share(self) -> float:
        """How much of the input fitted into the budget."""
        return min(1.0, self.done / self.of)


@dataclass(frozen=True)
class Ratio:
    """fastdag's time for an item over a peer's: below 1 fastdag takes less."""

    minimum: float
    median: float
    share: float

    @property
    def slower(self) -> bool:
        return self.median > 1


@dataclass(frozen=True)
class Row:
    kind: str
    workload: str
    ours: Result
    ratios: dict[str, Ratio]


def read(benchmarks: Iterable[Mapping[str, Any]]) -> list[Result]:
    """The results in what pytest-benchmark keeps of each benchmark; one without rounds is left out."""
    results = []
    for bench in benchmarks:
        extra, data = bench["extra_info"], bench["stats"].get("data")
        if not data or "done" not in extra:
            continue
        done = extra.get("done_by_round") or [extra["done"]] * len(data)
        results.append(
            Result(
                kind=extra["kind"],
                workload=bench["group"],
                implementation=extra["implementation"],
                unit=extra["unit"],
                rounds=[taken / count for taken, count in zip(data, done, strict=True)],
                done=extra["done"],
                of=extra["of"],
                extra=extra,
            )
        )
    return results


def rows(results: Iterable[Result]) -> list[Row]:
    """A row for every workload that fastdag was measured on, in the order of the run."""
    by_workload: dict[tuple[str, str], dict[str, Result]] = {}
    for result in results:
        by_workload.setdefault((result.kind, result.workload), {})[result.implementation] = result
    made = []
    for (kind, workload), found in by_workload.items():
        ours = found.get("fastdag")
        if ours is None:
            continue
        ratios = {
            peer: Ratio(ours.minimum / theirs.minimum, ours.median / theirs.median, theirs.share)
            for peer, theirs in found.items()
            if peer != "fastdag"
        }
        made.append(Row(kind, workload, ours, ratios))
    return made


def slower(made: Iterable[Row]) -> list[tuple[Row, str, Ratio]]:
    """Where fastdag takes longer than a peer, the worst first."""
    found = [(row, peer, ratio) for row in made for peer, ratio in row.ratios.items() if ratio.slower]
    return sorted(found, key=lambda entry: -entry[2].median)


def _cell(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    return f"{units.digits(ratio.minimum)} / {units.digits(ratio.median)}"


def remarks(row: Row) -> str:
    """Where fastdag is slower, and which peers had only a share of the input."""
    said = [f"SLOWER than {peer}, {units.ratio(ratio.median)}" for peer, ratio in row.ratios.items() if ratio.slower]
    said += [f"{peer}: first {units.share(ratio.share)}" for peer, ratio in row.ratios.items() if ratio.share < 1]
    if "threads" in row.ours.extra:
        said.append(f"{units.count(1 / row.ours.median)}/s, waiting for locks {units.share(row.ours.extra['waiting'])}")
    return "; ".join(said)


def table(results: Iterable[Result], extras: Extras) -> Iterator[str]:
    """The table, line by line."""
    made = rows(results)
    peers = [peer for peer in PEERS if any(peer in row.ratios for row in made)]
    yield "fastdag's time for one item, and that over each peer's on the same input (min / median; below 1 is less)."
    for kind, title in KINDS.items():
        part = [row for row in made if row.kind == kind]
        if not part:
            continue
        yield ""
        yield f"{title:<36} {'fastdag':>20}" + "".join(f"{peer:>17}" for peer in peers)
        for row in part:
            ours = f"{units.seconds(row.ours.median)}/{row.ours.unit}"
            cells = "".join(f"{_cell(row.ratios.get(peer)):>17}" for peer in peers)
            yield f"{row.workload:<36} {ours:>20}{cells}  {remarks(row)}".rstrip()
    yield from _thread_lines(extras)
    yield from _memory_lines(extras.memory)
    yield ""
    yield from summary(made)


def _thread_lines(extras: Extras) -> Iterator[str]:
    if extras.unlocked_note:
        yield ""
        yield extras.unlocked_note
    for entry in extras.unlocked:
        name = f"{entry.workload}, {entry.threads} thread{'s' if entry.threads > 1 else ''}"
        rate = f"{units.count(entry.operations)}/s"
        yield f"{name:<36} {rate:>20}  waiting for locks {units.share(entry.waiting)}"


def _memory_lines(memory: Mapping[str, float]) -> Iterator[str]:
    if not memory:
        return
    yield ""
    yield "Bytes per edge, 1,000,000 edges on 200,000 vertices with names and labels, each in a process of its own"
    ours = memory.get("fastdag")
    for name, size in memory.items():
        said = "" if ours is None or name == "fastdag" else f"  fastdag takes {units.ratio(ours / size)}"
        if ours is not None and ours > size:
            said += ", MORE"
        yield f"{name:<36} {size:>18.1f} B{said}"


def summary(made: Sequence[Row]) -> Iterator[str]:
    compared = sum(len(row.ratios) for row in made)
    behind = slower(made)
    yield f"fastdag takes less time in {compared - len(behind)} of {compared} comparisons, more in {len(behind)}."
    for row, peer, ratio in behind:
        yield f"  slower: {row.workload}, {units.ratio(ratio.median)} the time of {peer}"

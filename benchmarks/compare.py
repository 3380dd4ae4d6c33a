"""Tell a change from noise: ``python -m benchmarks.compare OLD.json NEW.json [--over 10%] [--all]``.

Both files are what ``pytest --benchmark --benchmark-json=FILE`` writes. Each benchmark is compared with itself: the
ratio of the medians of its rounds, with a 95 % interval from resampling the rounds of both files (Efron's bootstrap,
1979). It is *slower* when the whole interval lies above 1, *faster* when it lies below, and otherwise the two cannot be
told apart. The interval knows how much the rounds of a run differ, not how much the machine differs between two runs:
that is what ``--over`` is for. Ends with status 1 when the whole interval of one of fastdag's benchmarks, not a peer's,
lies beyond that share, and with status 2 when the files cannot be compared.
"""

import argparse
import json
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import units
from benchmarks.workloads import SEED

FEWEST = 3  # rounds, for an interval to mean anything
RESAMPLES = 1_000
MACHINE = ("node", "machine", "system", "release", "python_implementation", "python_version")


class BadFileError(Exception):
    """A file holds no results, or cannot be read."""


@dataclass(frozen=True)
class Results:
    """What one file holds: seconds for an item in each round of each benchmark."""

    path: Path
    machine: dict[str, Any]
    rounds: dict[str, list[float]]
    ours: set[str]  # those of fastdag, not of a peer


@dataclass(frozen=True)
class Change:
    name: str
    ratio: float  # new median over old
    low: float
    high: float

    @property
    def verdict(self) -> str:
        return "slower" if self.low > 1 else "faster" if self.high < 1 else "same"


def load(path: Path) -> Results:
    """Read a file of results.

    Raises
    ------
    BadFileError
        If it is not there, not JSON, or not a result of pytest-benchmark with the data of its rounds.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(f"{path}: cannot be read: {error}") from None
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadFileError(f"{path}: not JSON, or cut off: {error}") from None
    rounds: dict[str, list[float]] = {}
    ours = set()
    try:
        machine = document["machine_info"]
        for bench in document["benchmarks"]:
            name, extra = bench["fullname"], bench["extra_info"]
            data = bench["stats"]["data"]
            done = extra.get("done_by_round") or [extra.get("done", 1)] * len(data)
            rounds[name] = [seconds / count for seconds, count in zip(data, done, strict=True)]
            if extra.get("implementation", "fastdag") == "fastdag":
                ours.add(name)
        usable = all(seconds > 0 for taken in rounds.values() for seconds in taken) and all(rounds.values())
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise BadFileError(
            f"{path}: not what `pytest --benchmark --benchmark-json=FILE` writes: {type(error).__name__}: {error}"
        ) from None
    if not rounds or not usable or not isinstance(machine, dict):
        raise BadFileError(f"{path}: holds no benchmark with the times of its rounds")
    return Results(path, machine, rounds, ours)


def change(name: str, old: Sequence[float], new: Sequence[float]) -> Change:
    """The ratio of the medians, and the interval in which 95 % of its resamples lie.

    The same rounds give the same interval: the resampling is seeded with the name.
    """
    rng = random.Random(f"{SEED} {name}")
    resampled = sorted(
        statistics.median(rng.choices(new, k=len(new))) / statistics.median(rng.choices(old, k=len(old)))
        for _ in range(RESAMPLES)
    )
    low, high = resampled[int(0.025 * RESAMPLES)], resampled[int(0.975 * RESAMPLES) - 1]
    return Change(name, statistics.median(new) / statistics.median(old), low, high)


def differences(old: Results, new: Results) -> list[str]:
    """What makes the two files doubtful to compare, in words."""
    said = [
        f"different machines: {key} is {old.machine.get(key)!r} in {old.path}, {new.machine.get(key)!r} in {new.path}"
        for key in MACHINE
        if old.machine.get(key) != new.machine.get(key)
    ]
    for one, other in ((old, new), (new, old)):
        alone = sorted(one.rounds.keys() - other.rounds.keys())
        if alone:
            shown = ", ".join(alone[:3]) + (f" and {len(alone) - 3} more" if len(alone) > 3 else "")
            said.append(f"only in {one.path}: {shown}")
    return said


def share(text: str) -> float:
    """A share, as `10%` or `0.1`."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a share such as 10% or 0.1, not {text!r}")
    return value


def compare(old: Results, new: Results, over: float, everything: bool) -> int:
    """Print the comparison; how many regressions there are."""
    for line in differences(old, new):
        print(f"warning: {line}")
    both = [name for name in old.rounds if name in new.rounds]
    short = [name for name in both if min(len(old.rounds[name]), len(new.rounds[name])) < FEWEST]
    changes = [change(name, old.rounds[name], new.rounds[name]) for name in both if name not in set(short)]
    regressions = [entry for entry in changes if entry.low > 1 + over and entry.name in old.ours & new.ours]
    for entry in sorted(changes, key=lambda entry: -entry.ratio):
        if everything or entry.verdict != "same":
            mark = "REGRESSION" if entry in regressions else entry.verdict
            interval = f"{units.ratio(entry.low)} – {units.ratio(entry.high)}"
            print(f"{mark:<11} {units.ratio(entry.ratio):>8} [{interval}]  {entry.name}")
    counts = {verdict: sum(entry.verdict == verdict for entry in changes) for verdict in ("slower", "faster", "same")}
    print(
        f"{len(changes)} compared: {counts['slower']} slower, {counts['faster']} faster, {counts['same']} cannot be "
        f"told from noise; {len(regressions)} of fastdag slower by over {over:.0%}"
    )
    if short:
        print(f"{len(short)} not compared: fewer than {FEWEST} rounds")
    return len(regressions)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--over", type=share, default=0.1, metavar="SHARE", help="as 10%% or 0.1 (default: 10%%)")
    parser.add_argument("--all", action="store_true", help="show also what cannot be told from noise")
    asked = parser.parse_args(arguments)
    try:
        old, new = load(asked.old), load(asked.new)
        if not old.rounds.keys() & new.rounds.keys():
            raise BadFileError(f"{asked.old} and {asked.new} have no benchmark in common")
    except BadFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if compare(old, new, asked.over, asked.all) else 0


if __name__ == "__main__":
    sys.exit(main())

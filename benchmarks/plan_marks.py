"""The marks for plans: commands that do nothing beside make and ninja, a large plan, a recorded workflow."""

import json
import random
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import workloads
from benchmarks.rows import Measure, Row, Settings, command_seconds
from fastdag import Graph
from fastdag.edge import Edge

COMMAND = str(Path(sys.executable).with_name("fastdag"))
RUN = (COMMAND, "run", "plan.toml", "--log-dir", "logs")
NINJA = str(Path(sys.executable).with_name("ninja"))
LAYERS, WIDTH = 10, 500
LARGE = 100_000  # units
SLOTS = 8
SLEEP = 60.0  # seconds, of all tasks together
PER_TASK = 0.002  # seconds

After = Mapping[str, Sequence[str]]  # what each unit comes after


def _layers() -> After:
    """Each unit behind two of the layer before."""
    rng = random.Random(workloads.SEED)
    return {
        f"u{layer}-{number}": sorted({f"u{layer - 1}-{rng.randrange(WIDTH)}" for _ in range(2)}) if layer else []
        for layer in range(LAYERS)
        for number in range(WIDTH)
    }


def _random(count: int) -> After:
    """Each unit behind two earlier ones."""
    rng = random.Random(workloads.SEED)
    return {f"u{unit}": sorted({f"u{rng.randrange(unit)}" for _ in range(2)}) if unit else [] for unit in range(count)}


def _nothing(_: str) -> list[str]:
    return ["true"]


def _toml(after: After, command: Callable[[str], list[str]]) -> str:
    return "".join(
        f"[units.{unit}]\nrun = {json.dumps(command(unit))}\nafter = {json.dumps(others)}\n"
        for unit, others in after.items()
    )


def _makefile(after: After) -> str:
    rules = "".join(f"{unit}: {' '.join(others)}\n\t@true\n" for unit, others in after.items())
    return f".PHONY: all {' '.join(after)}\nall: {' '.join(after)}\n{rules}"


def _ninja_file(after: After) -> str:
    return "rule run\n  command = true\n" + "".join(
        f"build {unit}: run {' '.join(others)}\n" for unit, others in after.items()
    )


def _commands(settings: Settings) -> Iterator[Row]:
    """`true` by the thousand."""
    after = _layers()
    ours, make, ninja = [], [], []
    with tempfile.TemporaryDirectory(prefix="fastdag-marks-") as folder:
        Path(folder, "plan.toml").write_text(_toml(after, _nothing))
        Path(folder, "Makefile").write_text(_makefile(after))
        Path(folder, "build.ninja").write_text(_ninja_file(after))
        for _ in range(settings.runs):
            make.append(command_seconds("make", "-s", "-j2", "all", cwd=folder))
            ours.append(command_seconds(*RUN, "--jobs", "2", cwd=folder))
            ninja.append(command_seconds(NINJA, "--quiet", "-j2", cwd=folder))
    our, made, built = (statistics.median(times) / len(after) * 1e3 for times in (ours, make, ninja))
    note = f"{len(after):,} times `true` in {LAYERS} layers, two at a time"
    yield Row("run: a command", "ms", our, made, "under 1.5× make", our < 1.5 * made, f"{note}; peer: make")
    yield Row("run: a command", "ms", our, built, "faster than ninja", our < built, f"{note}; peer: ninja")


def _plan(settings: Settings) -> Iterator[Row]:
    after = _random(LARGE)
    with tempfile.TemporaryDirectory(prefix="fastdag-marks-") as folder:
        Path(folder, "plan.toml").write_text(_toml(after, _nothing))
        times = [command_seconds(COMMAND, "plan", "plan.toml", cwd=folder) for _ in range(settings.runs)]
    ours = statistics.median(times)
    note = f"fastdag plan of {LARGE:,} units, {sum(map(len, after.values())):,} dependencies, whole process"
    yield Row("plan", "s", ours, None, "under 3 s", ours < 3, note)


def _workflow(settings: Settings) -> Iterator[Row]:
    workflow = workloads.workflow(workloads.WORKFLOWS[-1])
    scale = SLEEP / sum(workflow.seconds.values())
    sleeps = {task: seconds * scale for task, seconds in workflow.seconds.items()}
    after: defaultdict[str, list[str]] = defaultdict(list, {task: [] for task in workflow.vertices})
    graph: Graph[str] = Graph()
    for task, parent in workflow.edges:
        after[task].append(parent)
        graph.add_edge(task, parent)
    graph.add_edges_from(("the end", task) for task in workflow.vertices)

    def weight(edge: Edge) -> float:
        return sleeps[edge.target]

    longest = sum(sleeps[task] for task in graph.longest_path(weight)[1:])
    least = max(longest, SLEEP / SLOTS)
    limit = 1.05 * least + PER_TASK * len(sleeps)
    with tempfile.TemporaryDirectory(prefix="fastdag-marks-") as folder:
        plan = _toml(after, lambda task: ["sleep", f"{sleeps[task]:.6f}"])
        Path(folder, "plan.toml").write_text(plan)
        times = [command_seconds(*RUN, "--jobs", str(SLOTS), cwd=folder) for _ in range(min(3, settings.runs))]
    ours = statistics.median(times)
    note = f"{workflow.name}, {len(sleeps):,} sleeps of {SLEEP:.0f} s in all, {SLOTS} slots; lower bound {least:.1f} s"
    yield Row("run: a workflow", "s", ours, None, f"under {limit:.1f} s", ours < limit, note)


ROWS: dict[str, Measure] = {"run-commands": _commands, "plan": _plan, "run-workflow": _workflow}

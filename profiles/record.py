"""Profile the stress and write a report: ``python -m profiles.record``, or ``make profile``, which sets everything up.

Each workload runs with fastdag's own locks and with one coarse lock: alone for its figures, under py-spy for where the
time goes, and once under memray for what it allocates. Where py-spy cannot attach, perf takes its place. What could
not be measured is said in the report, with the reason.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fastdag
from benchmarks import workloads
from profiles import report, samples, stress
from profiles.recording import Allocations, Recording, Run
from profiles.samples import Frame, in_core

OUT = Path(__file__).with_name("out")
WORKLOADS = ("mixed", "mutate", "bulk")
SECONDS = 10.0  # with 200 threads py-spy looks at them about ten times a second
RATE = 50  # samples a second, at most

INSTALL = {
    "py-spy": "python -m pip install py-spy",
    "memray": "python -m pip install memray",
    "perf": "apt-get install linux-perf",
}


class RecordError(Exception):
    """A tool did not do what it is for."""


def _tool(name: str) -> str:
    """The path of a program beside this interpreter or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise RecordError(f"{name} is not installed: {INSTALL[name]}")
    return found


def _run(command: Sequence[str]) -> str:
    """Run a command; its standard output. The last line it complained with comes out as the error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["it said nothing"]
        raise RecordError(f"{Path(command[0]).name} ended with status {done.returncode}: {lines[-1].strip()}")
    return done.stdout


def _stress(workload: str, coarse: bool, seconds: float) -> list[str]:
    command = ["-m", "profiles.stress", "--workload", workload, "--seconds", f"{seconds:g}"]
    return [*command, "--coarse"] if coarse else command


def _figures(run: Run, out: Path, seconds: float) -> dict[str, Any]:
    file = out / f"{run.name}.figures.json"
    _run([sys.executable, *_stress(run.workload, run.coarse, seconds), "--json", str(file)])
    figures: dict[str, Any] = json.loads(file.read_text())[run.workload]
    return figures


def _py_spy(run: Run, out: Path, seconds: float) -> None:
    """Time, by py-spy: once for the stacks, once for the flame graph, as it writes only one kind of file in a run."""
    tool = _tool("py-spy")
    for kind, suffix in (("speedscope", "speedscope.json"), ("flamegraph", "svg")):
        file = out / f"{run.name}.{suffix}"
        file.unlink(missing_ok=True)
        options = ["--native", "--idle", "--rate", str(RATE), "--format", kind, "--output", str(file)]
        _run([tool, "record", *options, "--", sys.executable, *_stress(run.workload, run.coarse, seconds)])
        if not file.exists():
            raise RecordError("py-spy took no samples")
        run.links[kind] = file.name
    run.samples = samples.from_speedscope(json.loads((out / run.links["speedscope"]).read_text()))


def _perf(run: Run, out: Path, seconds: float) -> None:
    """Time on the processor, by perf and its software clock."""
    tool = _tool("perf")
    file = out / f"{run.name}.perf.data"
    options = ["-e", "cpu-clock", "-F", "199", "--call-graph", "dwarf,16384", "-o", str(file)]
    _run([tool, "record", *options, "--", sys.executable, *_stress(run.workload, run.coarse, seconds)])
    text = _run([tool, "script", "-F", "pid,tid,ip,sym,dso", "-i", str(file)])
    run.samples = samples.from_perf(text.splitlines())
    run.links["perf"] = file.name


def _sample(recording: Recording, run: Run, out: Path, seconds: float) -> None:
    try:
        _py_spy(run, out, seconds)
        return
    except RecordError as error:
        recording.gap(f"py-spy: {error}. Instead of it perf was tried, which sees no thread that waits")
    try:
        _perf(run, out, seconds)
    except RecordError as error:
        recording.gap(f"perf: {error}. Nothing is known of where the time goes")


def _memray(run: Run, out: Path) -> None:
    """Allocation, by memray, in one lap; counted for the threads of the workload."""
    try:
        from memray import AllocatorType, FileReader  # noqa: PLC0415 - not there on every interpreter
    except ImportError:
        raise RecordError(f"memray is not installed: {INSTALL['memray']}") from None
    frees = {AllocatorType.FREE, AllocatorType.PYMALLOC_FREE, AllocatorType.MUNMAP}
    file, figures, html = (out / f"{run.name}.{suffix}" for suffix in ("memray.bin", "memray.json", "memray.html"))
    memray = [sys.executable, "-m", "memray"]
    _run([*memray, "run", "--native", "--force", "--quiet", "--output", str(file),
          *_stress(run.workload, run.coarse, 0), "--json", str(figures)])
    _run([*memray, "flamegraph", "--force", "--output", str(html), str(file)])
    run.links["memray"] = html.name
    lap = json.loads(figures.read_text())[run.workload]
    with FileReader(file) as reader:
        main_thread = reader.metadata.main_thread_id
        stacks = (
            (record.n_allocations, record.native_stack_trace())
            for record in reader.get_allocation_records()
            if record.tid != main_thread and AllocatorType(record.allocator) not in frees
        )
        run.allocations = count_allocations(stacks, lap["edges"], lap["operations"])


def count_allocations(
    stacks: Iterable[tuple[int, Sequence[tuple[str, str, int]]]], edges: int, operations: int
) -> Allocations:
    """Sort allocations by who made them; each stack is given from its leaf, with how many there were."""
    counts = {"core": 0, "for_core": 0, "around": 0}
    for count, stack in stacks:
        counts[_asked_by([Frame(*row) for row in stack])] += count
    return Allocations(edges, operations, **counts)


def _asked_by(stack: Sequence[Frame]) -> str:
    callers = itertools.dropwhile(lambda frame: samples.ALLOCATORS.fullmatch(frame.name), stack)
    own = next(callers, Frame(""))
    if in_core((own,)):
        return "core"
    for frame in callers:
        if in_core((frame,)):
            return "for_core"
        if frame.name.startswith("_PyEval_EvalFrame"):
            break
    return "around"


def interpreter_lock() -> bool:
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def _about() -> dict[str, str]:
    model = ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
    except OSError:
        pass
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "fastdag": f"{fastdag.__version__} ({git.stdout.strip() or 'commit not known'})",
        "interpreter": f"{platform.python_implementation()} {sys.version.split(' (')[0]}, "
        f"{'with' if interpreter_lock() else 'without'} the interpreter lock",
        "machine": f"{model or platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "seed": str(workloads.SEED),
    }


def record(out: Path, seconds: float) -> Recording:
    """Run everything; the files go to `out`."""
    recording = Recording(_about())
    if "acquired" not in fastdag.Graph().lock_stats()["vertex"]:
        recording.gap(
            "the core was built without symbols, so that its frames have no names or lines: "
            "`make profile` builds it with them (FASTDAG_PROFILE=1)"
        )
    if interpreter_lock():
        recording.gap(
            "waiting for core locks in single-edge operations: this interpreter has a lock of its own, so that two "
            "threads meet in the core only while one has let go of it, as bulk operations do. `mixed` says nothing "
            "about it here; `mutate` and `bulk` do"
        )
    for workload in WORKLOADS:
        for coarse in (False, True):
            print(f"{workload}, {'one coarse lock' if coarse else 'fine locks'}", flush=True)
            run = Run(workload, coarse)
            run.figures = _figures(run, out, seconds)
            _sample(recording, run, out, seconds)
            if not coarse:
                try:
                    _memray(run, out)
                except RecordError as error:
                    recording.gap(f"memray: {error}. Nothing is known of allocations")
            recording.runs.append(run)
    return recording


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m profiles.record", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--seconds", type=stress.duration, default=SECONDS, help="how long each run lasts (default: %(default)g)"
    )
    options = parser.parse_args(arguments)
    try:
        OUT.mkdir(parents=True, exist_ok=True)
        recording = record(OUT, options.seconds)
        file = OUT / "report.html"
        file.write_text(report.render(recording), encoding="utf-8")
    except (RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for mark in report.marks(recording):
        print(f"{mark.verdict:<13} {mark.name}: {mark.figure} ({mark.asked})")
    for gap in recording.gaps:
        print(f"not measured  {gap}")
    print(f"report: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

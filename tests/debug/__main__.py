"""Build the core for debugging, or with a sanitizer, and run what proves it: `python -m tests.debug debug thread`.

`python -m tests.debug states` goes through all interleavings of more operations, or threads, than the tests do.

Each build has a folder of its own under build/, so the normal one stays. The interpreter is the one that runs this; it
needs Cython, setuptools and pytest, and knows nothing of sanitizers: their library is loaded before it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

LIBRARIES = {"address": ["libasan.so", "libubsan.so"], "thread": ["libtsan.so"], "debug": [], "coverage": []}
LEAST = 95  # per cent of lines that have to be run, of Python and of the core

OPTIONS = {
    # CPython frees nothing of what it has at exit, so leaks are counted by the tests of failed allocations instead.
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:strict_init_order=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    # The report goes to a file: pytest keeps what is written to stderr to itself.
    "TSAN_OPTIONS": "exitcode=66:history_size=5",
}
if not sysconfig.get_config_var("Py_GIL_DISABLED"):  # without the interpreter lock CPython has one allocator
    OPTIONS["PYTHONMALLOC"] = "malloc"

TESTS = {
    "debug": [
        # pytest's own log would keep what a test is done with
        *("-s", "-p", "no:logging", "-o", "norecursedirs=.*"),
        *(f"tests/debug/{name}.py" for name in ("memory", "interpreter", "invariants", "schedules")),
    ],
    "thread": [f"tests/test_{name}.py" for name in ("graph_threads", "subscribers", "waiters", "interrupts")],
    "address": [
        *(f"tests/test_{name}.py" for name in ("graph", "graph_errors", "status_graph", "graphlib")),
        # They limit the address space, of which AddressSanitizer takes terabytes; memory.py lets every allocation fail.
        "--deselect=tests/test_status_graph.py::test_a_batch_that_finds_no_memory_changes_nothing",
    ],
}


def build(sanitize: str, *, verbose: bool) -> Path:
    """Compile into build/<sanitize>/lib; what changed only."""
    base = ROOT / "build" / sanitize
    environment = {**os.environ, "FASTDAG_DEBUG": "1", "FASTDAG_SANITIZE": sanitize}
    if sanitize == "debug":
        environment["FASTDAG_SANITIZE"] = ""
    elif sanitize == "coverage":  # by gcc: the tracing of Cython sees only what holds the interpreter
        environment |= {"FASTDAG_SANITIZE": "", "FASTDAG_COVERAGE": "1"}
    command = [sys.executable, "setup.py", "-q", "build", f"--build-base={base}", f"--build-lib={base / 'lib'}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=not verbose, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return base / "lib"


def library(name: str) -> str:
    return subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()


def run(sanitize: str, lib: Path, arguments: list[str]) -> bool:
    """Run Python under a build; whether it exited with 0 and no sanitizer has reported anything."""
    reports = ROOT / "build" / sanitize / "report"
    for old in reports.parent.glob("report.*"):
        old.unlink()
    variables = {
        **OPTIONS,
        "PYTHONPATH": str(lib),
        "LD_PRELOAD": ":".join(library(name) for name in LIBRARIES[sanitize]),
    }
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        variables[name] += f":log_path={reports}"
    # Preloaded into Python alone, not into what starts it. ThreadSanitizer cannot bear 32 random bits in addresses.
    command = ["setarch", "-R"] if sanitize == "thread" and shutil.which("setarch") else []
    command += ["env", *(f"{name}={value}" for name, value in variables.items()), sys.executable, *arguments]
    began = time.monotonic()
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    print(f"-- {sanitize}: {' '.join(arguments)}: exit {code}, {time.monotonic() - began:.0f} s", flush=True)
    found = sorted(reports.parent.glob("report.*"))
    for report in found:
        print(report.read_text(errors="replace"))
    return code == 0 and not found


def measure_coverage(lib: Path) -> bool:
    """Run the tests of the library, not those of what stands on it; lines and branches of Python and of the core."""
    base = lib.parent
    for old in base.rglob("*.gcda"):
        old.unlink()
    data = f"--data-file={base / 'python'}"
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # What stops coverage.py itself in the middle of something, by a trace function, a fork or for want of memory, runs
    # without it, for the core alone. Of all schedules those of random programs are enough.
    alone = [
        *("-p", "no:logging", "-p", "tests.debug.counts", "-o", "norecursedirs=.*", "-k", "not every_interleaving"),
        *("tests/test_fork.py", "tests/test_interrupts.py"),
        *(f"tests/debug/{name}.py" for name in ("memory", "interpreter", "invariants", "schedules")),
    ]
    names = ("fork", "interrupts", "packaging", "benchmarks", "profiles", "journal", "completion")
    left_out = [f"--ignore=tests/test_{name}.py" for name in names]
    # What stands on the library is not measured, as most of it works in processes of its own. Of its tests those that
    # do not are run: errors and durations are the library's.
    above = ("service", "client", "cli", "plan", "runner")
    left_out += [f"--ignore-glob=tests/test_{name}*" for name in ("service", "cli", "runner", "run_dask")]
    measured = [f"--source={lib / 'fastdag'}", f"--omit={','.join(f'{lib}/fastdag/{name}/*' for name in above)}"]
    under = ["-m", "coverage", "run", "--branch", *measured, data, *tests]
    good = run("coverage", lib, [*under, "tests", *left_out])
    good = run("coverage", lib, [*tests, *alone]) and good
    report = ["-m", "coverage", "report", data, f"--fail-under={LEAST}", "--show-missing"]
    good = run("coverage", lib, report) and good
    return core_coverage(base) and good


def lines_of_the_core(generated: Path) -> list[tuple[str, int] | None]:
    """For each line of the generated C++ the line of the core that it is made of, if any.

    Cython writes the source above what it has made of it. The end of a function, and what stands between functions, is
    of no line.
    """
    made_of: list[tuple[str, int] | None] = []
    source = None
    for line in generated.read_text().splitlines():
        if marker := re.match(r' */\* "(fastdag/_\w+\.p[yx][xd])":(\d+)$', line):
            source = marker[1], int(marker[2])
        elif line == "}" or line == "  /* function exit code */":
            source = None
        made_of.append(source)
    return made_of


def counted(base: Path, module: str) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    """What gcc has counted of a module: the line of the core that each line of C++ is made of, and its counts."""
    [counts] = base.rglob(f"{module}.gcda")
    command = ["gcov", "--json-format", "--branch-probabilities", "--stdout", str(counts)]
    answer = json.loads(subprocess.check_output(command, cwd=ROOT))
    [generated] = [file for file in answer["files"] if file["file"].endswith(f"/{module}.cpp")]
    made_of = lines_of_the_core(ROOT / generated["file"])
    for entry in generated["lines"]:
        if source := made_of[entry["line_number"] - 1]:
            yield source, entry


def core_coverage(base: Path) -> bool:
    """What gcc has counted, by lines of the core's .pyx and .pxd, each run if anything made of it was.

    The headers are compiled into the module of the schedules as well, and counted there, too. Branches are those that
    the core's own copy of the headers takes: what Cython makes of a line of the .pyx is mostly branches to errors of
    the interpreter.
    """
    runs: dict[tuple[str, int], int] = {}
    taken: list[bool] = []
    for module in ("_core", "_debug"):
        for source, entry in counted(base, module):
            if module == "_core" or source in runs:
                runs[source] = runs.get(source, 0) + entry["count"]
            if module == "_core" and source[0].endswith(".pxd"):
                taken += [branch["count"] > 0 for branch in entry["branches"] if not branch["throw"]]
    for name in sorted({name for name, _ in runs}):
        lines = {number: count for (file, number), count in sorted(runs.items()) if file == name}
        never = [str(number) for number, count in lines.items() if not count]
        print(f"{name:28}{len(lines):6}{100 - 100 * len(never) / len(lines):8.1f} %  {' '.join(never)}")
    run_once = sum(count > 0 for count in runs.values())
    print(f"{'branches of the headers':28}{len(taken):6}{100 * sum(taken) / len(taken):8.1f} %")
    print(f"{'lines of the core':28}{len(runs):6}{100 * run_once / len(runs):8.1f} %")
    return 100 * run_once >= LEAST * len(runs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.debug", description=__doc__)
    parser.add_argument("sanitize", nargs="+", choices=["address", "thread", "debug", "coverage", "states"])
    parser.add_argument("--operations", type=int, default=10_000, help="of each native thread, in each of 5 rounds")
    parser.add_argument("--threads", type=int, default=2, help="for states: 2 to 4 (default: %(default)s)")
    parser.add_argument("--each", type=int, default=3, help="for states: operations of a thread (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="for states: how many of them (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the native threads")
    parser.add_argument("--native", action="store_true", help="only the native threads, not the threaded tests")
    parser.add_argument("--verbose", action="store_true", help="show the compiler's output")
    options = parser.parse_args()
    good = True
    for sanitize in options.sanitize:
        if sanitize == "states":
            states = ["tests/debug/states.py", *map(str, (options.threads, options.each, options.seeds))]
            good = run("debug", build("debug", verbose=options.verbose), states) and good
            continue
        lib = build(sanitize, verbose=options.verbose)
        if sanitize == "coverage":
            good = measure_coverage(lib) and good
            continue
        if sanitize != "debug":
            native = ["tests/debug/native.py", str(options.operations), str(options.seed)]
            good = run(sanitize, lib, native) and good
        if not options.native:
            good = run(sanitize, lib, ["-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS[sanitize]]) and good
    sys.exit(0 if good else "a sanitizer or a test has something to say, see above")


if __name__ == "__main__":
    main()

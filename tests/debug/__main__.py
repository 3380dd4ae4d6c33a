"""Build the core with a sanitizer and run what proves it: `python -m tests.debug address thread`.

Each build has a folder of its own under build/, so the normal one stays. The interpreter is the one that runs this; it
needs Cython, setuptools and pytest, and knows nothing of sanitizers: their library is loaded before it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]

LIBRARIES = {"address": ["libasan.so", "libubsan.so"], "thread": ["libtsan.so"], "": []}

OPTIONS = {
    # CPython frees nothing of what it has at exit, so leaks are counted by the tests of failed allocations instead.
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:strict_init_order=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    # The report goes to a file: pytest keeps what is written to stderr to itself.
    "TSAN_OPTIONS": "exitcode=66:history_size=5",
    "PYTHONMALLOC": "malloc",
}

THREADED = [
    "tests/test_graph_threads.py",
    "tests/test_subscribers.py",
    "tests/test_waiters.py",
    "tests/test_interrupts.py",
]


def build(sanitize: str, *, verbose: bool) -> Path:
    """Compile into build/<sanitize or debug>/lib; what changed only."""
    base = ROOT / "build" / (sanitize or "debug")
    environment = {**os.environ, "FASTDAG_DEBUG": "1", "FASTDAG_SANITIZE": sanitize}
    command = [sys.executable, "setup.py", "-q", "build", f"--build-base={base}", f"--build-lib={base / 'lib'}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=not verbose, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return base / "lib"


def library(name: str) -> str:
    return subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()


def run(sanitize: str, lib: Path, arguments: list[str]) -> bool:
    """Run Python under a build; whether it exited with 0 and no sanitizer has reported anything."""
    reports = ROOT / "build" / (sanitize or "debug") / "report"
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
    print(f"-- {sanitize or 'debug'}: {' '.join(arguments)}: exit {code}, {time.monotonic() - began:.0f} s", flush=True)
    found = sorted(reports.parent.glob("report.*"))
    for report in found:
        print(report.read_text(errors="replace"))
    return code == 0 and not found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.debug", description=__doc__)
    parser.add_argument("sanitize", nargs="+", choices=["address", "thread"])
    parser.add_argument("--operations", type=int, default=20_000, help="of each native thread, in each of 5 rounds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--native", action="store_true", help="only the native threads, not the threaded tests")
    parser.add_argument("--verbose", action="store_true", help="show the compiler's output")
    options = parser.parse_args()
    good = True
    for sanitize in options.sanitize:
        lib = build(sanitize, verbose=options.verbose)
        native = ["tests/debug/native.py", str(options.operations), str(options.seed)]
        good = run(sanitize, lib, native) and good
        if not options.native:
            good = run(sanitize, lib, ["-m", "pytest", "-q", "-p", "no:cacheprovider", *THREADED]) and good
    sys.exit(0 if good else "a sanitizer or a test has something to say, see above")


if __name__ == "__main__":
    main()

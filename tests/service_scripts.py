"""The scripts of a workspace's start, in `sh`: clone, then install, then serve, and dotfiles beside them.

Each goes as an own process through the installed command, in three dialects: `exec` does the whole dance; `start` and
`complete` by hand, with a trap; and tied to the shell by `--owner`. They write down when they began and ended.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

from service_support import PATIENCE, clean_environment

AFTER = {"clone": [], "dotfiles": [], "install": ["clone"], "serve": ["install"]}
ORDERS = list(permutations(AFTER))

_WORK = 'echo "+$1" >> log; {work}; echo "-$1" >> log'

_EXEC = """\
set -e
exec fastdag sync exec {after} "$1" -- sh -ec '{work}' sh "$1"
"""

_TRAP = """\
set -e
{want}
fastdag sync start "$1"
trap 'status=$?; if [ $status = 0 ]; then fastdag sync complete "$1"; else fastdag sync fail "$1"; fi' EXIT
{work}
"""

_OWNER = """\
set -e
{want}
fastdag sync start --owner $$ "$1"
{work}
fastdag sync complete "$1"
"""

DIALECTS = {"exec": _EXEC, "trap": _TRAP, "owner": _OWNER}


def environment(socket: Path) -> dict[str, str]:
    """One in which `fastdag` is the command that pip has installed, and finds this service."""
    command = shutil.which("fastdag", path=str(Path(sys.executable).parent))
    assert command is not None, "fastdag is not installed beside the interpreter"
    there = clean_environment(FASTDAG_SOCKET=str(socket))
    there["PATH"] = f"{Path(command).parent}:{there['PATH']}"
    return there


def script(unit: str, dialect: str, work: str = "true") -> str:
    after = AFTER[unit]
    return DIALECTS[dialect].format(
        after=" ".join(f"--after {one}" for one in after),
        want=f'fastdag sync want "$1" {" ".join(after)}' if after else ":",
        work=_WORK.format(work=work),
    )


def begin(unit: str, text: str, folder: Path, socket: Path) -> subprocess.Popen[str]:
    """Start a script; what it says on standard error is kept."""
    return subprocess.Popen(
        ["sh", "-c", text, "sh", unit],
        cwd=folder,
        env=environment(socket),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a script; its exit status and what it said."""
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def start_up(
    order: Sequence[str], dialects: Mapping[str, str], folder: Path, socket: Path, **work: str
) -> dict[str, tuple[int, str]]:
    """Start the scripts in this order, all at once; how each ended."""
    folder.mkdir()
    texts = {unit: script(unit, dialects[unit], work.get(unit, "true")) for unit in order}
    running = {unit: begin(unit, texts[unit], folder, socket) for unit in order}
    return {unit: end(process) for unit, process in running.items()}


def check(folder: Path, ended: Mapping[str, tuple[int, str]]) -> None:
    """All went well, each once and behind what it needs."""
    assert {unit: code for unit, (code, _) in ended.items()} == dict.fromkeys(AFTER, 0), ended
    log = (folder / "log").read_text().split()
    assert sorted(log) == sorted(f"{sign}{unit}" for unit in AFTER for sign in "+-"), log
    for unit, after in AFTER.items():
        assert log.index(f"+{unit}") < log.index(f"-{unit}")
        assert all(log.index(f"-{one}") < log.index(f"+{unit}") for one in after), log

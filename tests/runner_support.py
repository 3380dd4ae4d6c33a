"""`fastdag run` as a user calls it, for tests with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from command_support import COMMAND

MARK = "FASTDAG_TEST_MARK"


class Done:
    """What a run said, as JSON, and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.events = [json.loads(line) for line in out.splitlines()]
        self.summary = self.events[-1]
        self.units = {unit["unit"]: unit for unit in self.summary["units"]}

    def status(self, unit: str) -> str:
        return self.units[unit]["status"]

    def reason(self, unit: str) -> str | None:
        return self.units[unit]["reason"]

    def log(self, unit: str) -> str:
        return Path(self.units[unit]["log"]).read_text()

    def order(self, event: str) -> list[str]:
        return [each["unit"] for each in self.events if each["event"] == event]


class Runner:
    """Runs plans in a folder of the test's own; at the end nothing may be left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = [COMMAND]
        self.mark = uuid.uuid4().hex
        (folder / "tmp").mkdir()
        # Where pytest's folder is too deep for a socket, the run has to find another place.
        self.environment = {**os.environ, MARK: self.mark, "TMPDIR": str(folder / "tmp")}

    def quicken(self, **seconds: float) -> None:
        """Have the runs from now on take other times than the usual ones."""
        changes = "; ".join(f"run.{name} = {value}" for name, value in seconds.items())
        script = f"from fastdag.runner import run; {changes}; from fastdag.cli import main; main()"
        self.command = [sys.executable, "-c", script]

    def plan(self, text: str) -> str:
        (self.folder / "plan.toml").write_text(text)
        return "plan.toml"

    def popen(self, text: str, *words: str, **options) -> subprocess.Popen[str]:
        command = [*self.command, "run", self.plan(text), *words]
        pipe = subprocess.PIPE
        options = {"cwd": self.folder, "env": self.environment, "stdout": pipe, "stderr": pipe, "text": True} | options
        return subprocess.Popen(command, **options)

    def text(self, text: str, *words: str, **options) -> tuple[int, str, str]:
        with self.popen(text, *words, **options) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def __call__(self, text: str, *words: str, **options) -> Done:
        return Done(*self.text(text, "-o", "json", *words, **options))

    def living(self) -> list[str]:
        """Give the commands of all processes that a run of this test has started and that live."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and f"{MARK}={self.mark}".encode() in Path(f"/proc/{entry}/environ").read_bytes():
                    found.append(Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                pass
        return found


@pytest.fixture
def runner(tmp_path):
    """Give a function that runs a plan, as text, and gives what it said."""
    pytest.importorskip("uvicorn", reason="NOT TESTED: the extra [run] is not installed")
    running = Runner(tmp_path)
    yield running
    assert running.living() == []
    assert [each.name for each in (tmp_path / "tmp").iterdir() if not each.name.startswith("fastdag-logs-")] == []

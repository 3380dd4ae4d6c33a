"""What a person at a terminal sees of a run."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
import time

import pytest
from runner_support import Runner

from fastdag import Status
from fastdag.plan import Need, PlannedUnit
from fastdag.runner.record import Record
from fastdag.status import Requirement

live = pytest.importorskip("fastdag.runner.live", reason="NOT TESTED: rich is not installed", exc_type=ImportError)

PLAN = """
[units.clone]
run = "sleep 1"
[units.install]
run = "sleep 1"
after = ["clone"]
[units.bad]
run = "echo it broke; exit 1"
after = ["clone"]
[units.app]
run = "true"
after = ["bad"]
"""


class Terminal:
    """A run on a terminal of 30 lines of 100 characters."""

    def __init__(self, runner: Runner, *words: str, **environment: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        runner.environment |= {"TERM": "xterm-256color", **environment}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            runner.environment.pop(name, None)
        streams = {"stdin": slave, "stdout": slave, "stderr": slave}
        # The terminal's keys send their signals to who has it.
        own = lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0))  # noqa: E731
        self.process = runner.popen(PLAN, *words, **streams, preexec_fn=own)
        os.close(slave)
        self.text = ""

    def read(self) -> bool:
        try:
            data = os.read(self.master, 65536)
        except OSError:  # nobody has the other end any more
            return False
        self.text += data.decode()
        return True

    def until(self, pattern: str) -> None:
        while not re.search(pattern, plain(self.text)):
            assert self.read(), self.text

    def end(self) -> tuple[int, str]:
        while self.read():
            pass
        os.close(self.master)
        return self.process.wait(60), self.text


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "")


def test_what_is_going_on_is_drawn_below_what_happened(runner):
    terminal = Terminal(runner, "-k", "-j", "2")
    terminal.until(r"0/4 +[0-9.ms]+ *\n1 running, 3 waiting *\n  clone")
    terminal.until(r"[123]/4 .* about [0-9.ms]+ left *\n")
    code, text = terminal.end()
    assert code == 1
    assert "\x1b[?25l" in text  # the cursor is hidden,
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and shown at the end
    last = text[text.rindex("\x1b[?25h") :]
    lines = [line.split() for line in plain(last).splitlines() if line.strip()]
    assert lines[:5] == [
        ["UNIT", "STATUS", "TIME", "ATTEMPTS"],
        ["clone", "completed", lines[1][2], "1"],
        ["install", "completed", lines[2][2], "1"],
        ["bad", "failed", lines[3][2], "1"],
        ["app", "skipped"],
    ]
    assert "  | it broke\n" in plain(text)
    assert "\x1b[31mfailed" in text


def test_the_interrupt_key(runner):
    terminal = Terminal(runner, "-j", "1")
    terminal.until("1 running")
    os.write(terminal.master, b"\x03")
    code, text = terminal.end()
    assert code == 130
    assert "stopping: SIGINT; again: at once" in plain(text)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_terminal_that_cannot_draw_gets_lines(runner):
    code, text = Terminal(runner, "-k", TERM="dumb").end()
    assert (code, "\x1b" in text) == (1, False)
    assert "\nskipped    app: needs success of 'bad', which is failed\r\n" in text


def test_a_terminal_that_goes_away_ends_the_run(runner):
    """By SIGHUP; there is nobody left to tell."""
    terminal = Terminal(runner, "-j", "1")
    terminal.until("1 running")
    os.close(terminal.master)
    assert terminal.process.wait(60) == 129


def planned(name, after=(), **more):
    needs = tuple(Need(unit, Requirement.SUCCESS) for unit in after)
    return PlannedUnit(name=name, title=name, run="true", needs=needs, **more)


@pytest.mark.parametrize(
    ("jobs", "left"),
    [(1, 3.0 + 4.0 + 2.0), (2, 3.0 + 4.0)],  # all the work; the longest path
)
def test_the_estimate_by_expected_times(runner, jobs, left):
    units = [planned("a", expected=5.0), planned("b", ["a"], expected=4.0), planned("c", expected=2.0), planned("d")]
    records = {unit.name: Record(unit.name, unit.name, runner.folder) for unit in units}
    now = time.monotonic()
    records["a"].began = now - 2.0
    estimate = live.Estimate(records, {unit.name: unit for unit in units}, jobs)
    assert estimate.seconds(now) == pytest.approx(left)
    records["a"].began = now - 100.0  # late: then what is behind it counts
    assert estimate.seconds(now) == pytest.approx(left - 3.0)


def test_the_estimate_by_what_others_took(runner):
    units = [planned("a"), planned("b", ["a"]), planned("c", ["b"])]
    records = {unit.name: Record(unit.name, unit.name, runner.folder) for unit in units}
    estimate = live.Estimate(records, {unit.name: unit for unit in units}, 4)
    assert estimate.seconds(time.monotonic()) is None
    records["a"].status, records["a"].attempts, records["a"].seconds = Status.COMPLETED, 1, 3.0
    assert estimate.seconds(time.monotonic()) == pytest.approx(6.0)

"""`fastdag run` that is interrupted: nothing new starts, and nothing is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from command_support import COMMAND
from runner_support import Done

PLAN = """
[units.a]
run = "echo $$ > a.pid; exec sleep 300"
[units.b]
run = "sleep 300 & setsid sleep 300 & echo $$ > b.pid; wait"
retries = 3
[units.next]
run = "true"
after = ["a"]
[units.report]
run = "true"
after = [{ unit = "a", requires = "completion" }]
[units.free]
run = "true"
priority = -1
"""
STUBBORN = """
[units.a]
run = "trap 'echo heard' TERM; echo $$ > a.pid; while :; do sleep 0.1; done"
[units.b]
run = "trap '' TERM; setsid sh -c 'echo $$ > b.pid; while :; do sleep 0.1; done' & while :; do sleep 0.1; done"
"""


def begun(runner, process, *files):
    deadline = time.monotonic() + 60
    while not all((runner.folder / name).exists() for name in files):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)


def ended(process):
    out, err = process.communicate(timeout=60)
    assert err == ""
    return Done(process.returncode, out, err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_what_runs_and_cancels_what_did_not(runner, number):
    process = runner.popen(PLAN, "-j", "2", "-k", "-o", "json")
    begun(runner, process, "a.pid", "b.pid")
    began = time.monotonic()
    process.send_signal(number)
    done = ended(process)
    assert time.monotonic() - began < 4  # nobody needed the grace
    assert done.code == 128 + number
    assert set(done.order("started")) == {"a", "b"}
    assert {each["status"] for each in done.units.values()} == {"canceled"}
    assert done.reason("a") == f"ended by {number.name} of the run"
    assert done.reason("free") == f"the run was ended by {number.name}"
    assert runner.living() == []


def test_after_the_grace_it_is_sigkill(runner):
    process = runner.popen(STUBBORN, "-j", "2", "-o", "json")
    begun(runner, process, "a.pid", "b.pid")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert time.monotonic() - began >= 5
    assert (done.code, done.status("a"), done.status("b")) == (130, "canceled", "canceled")
    assert "heard\n" in done.log("a")
    assert runner.living() == []


def test_the_second_signal_is_sigkill_at_once(runner):
    process = runner.popen(STUBBORN, "-j", "2", "-o", "json")
    begun(runner, process, "a.pid", "b.pid")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    for line in process.stdout:
        if json.loads(line)["event"] == "stopping":
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 4
    assert runner.living() == []


ENDED = """
import asyncio, os, pathlib
from fastdag.runner.logs import Log
from fastdag.runner.processes import Family, Process

async def main():
    family, ended = Family("run"), asyncio.get_running_loop().create_future()
    log = Log("log", 1000)
    process = Process(family, "a", ["/bin/sh", "-c", "exit 7"], {}, None, log, None, ended.set_result)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # and the loop has not heard of it
    process.stop("canceled", "too late")
    print((await ended)[:2])
    await family.close()

asyncio.run(main())
"""


def test_who_has_ended_already_keeps_its_status(tmp_path):
    command = [sys.executable, "-c", ENDED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "('failed', 'exit status 7')\n", done.stderr


def test_a_signal_that_was_ignored_stays_so(runner):
    plan = '[units.a]\nrun = "touch a.pid; sleep 1"\n'
    ignore = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731 - as a shell does for its background
    process = runner.popen(plan, "-o", "json", preexec_fn=ignore)
    begun(runner, process, "a.pid")
    process.send_signal(signal.SIGINT)
    assert ended(process).code == 0


def test_the_end_of_a_run_within_a_run_ends_both(runner):
    (runner.folder / "inner.toml").write_text(PLAN)
    process = runner.popen(f'[units.outer]\nrun = "{COMMAND} run inner.toml -j 2"\n', "-o", "json")
    begun(runner, process, "a.pid", "b.pid")
    process.send_signal(signal.SIGTERM)
    done = ended(process)
    assert (done.code, done.status("outer")) == (143, "canceled")
    assert "stopping: SIGTERM" in done.log("outer")
    assert runner.living() == []

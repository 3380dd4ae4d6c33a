"""`fastdag run --journal FILE --resume`: a run that was killed, or failed, is gone on with."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import sys

import pytest
from command_support import COMMAND, ServiceProcess

PLAN = """
[units.a]
run = "echo a >> order"
[units.b]
run = "echo b >> order; test -e pass || { echo $$ > b.pid; exec sleep 300; }"
after = ["a"]
[units.c]
run = "echo c >> order"
after = ["b"]
"""
WORDS = ("-j", "1", "--journal", "journal")


def order(runner):
    return (runner.folder / "order").read_text().split()


def kill(runner, process):
    """Kill it, and take away what it could not."""
    process.kill()
    process.communicate(timeout=60)
    for folder in (runner.folder / "tmp").glob("fastdag-run-*"):
        shutil.rmtree(folder)


def until(process, event, unit):
    for line in process.stdout:
        told = json.loads(line)
        if (told["event"], told.get("unit")) == (event, unit):
            return
    raise AssertionError(f"ended without {event} of {unit}")


def test_what_was_told_to_be_completed_is_not_run_again(runner):
    process = runner.popen(PLAN, *WORDS, "-o", "json")
    until(process, "settled", "a")
    kill(runner, process)
    (runner.folder / "pass").touch()
    done = runner(PLAN, *WORDS, "--resume")
    assert (done.code, done.summary["statuses"]) == (0, {"completed": 3})
    [begin] = [each for each in done.events if each["event"] == "begin"]  # b's process may have outlived the run
    assert begin["completed_before"] == 1
    assert done.order("started") == ["b", "c"]
    assert order(runner).count("a") == 1


SLOW = """
import time
from fastdag.cli import main
from fastdag.service.journal import Journal, UnitRow

def commit(journal, rows, commit=Journal._commit):
    time.sleep(0.3)
    commit(journal, rows)
    with open("commits", "a") as file:
        print(*(f"{row.unit}-{row.status} {time.time()}" for row in rows if type(row) is UnitRow), sep="\\n", file=file)

Journal._commit = commit
main()
"""


def test_nothing_is_told_before_it_is_in_the_journal(runner):
    (runner.folder / "pass").touch()
    runner.command = [sys.executable, "-c", SLOW]
    done = runner(PLAN, *WORDS)
    commits = dict(line.split() for line in (runner.folder / "commits").read_text().splitlines() if line)
    told = {each["unit"]: each["time"] for each in done.events if each["event"] == "settled"}
    assert set(told) == {"a", "b", "c"}
    assert all(float(commits[f"{unit}-completed"]) <= moment for unit, moment in told.items())


def test_what_still_runs_of_a_killed_run_is_ended_first(runner):
    process = runner.popen(PLAN.replace("exec sleep", "setsid sleep"), *WORDS, "-o", "json")
    until(process, "started", "b")
    while not (runner.folder / "b.pid").exists():
        pass
    kill(runner, process)
    assert any("sleep 300" in command for command in runner.living())
    (runner.folder / "pass").touch()
    done = runner(PLAN, *WORDS, "--resume")
    assert done.events[0]["event"] == "survivors"
    assert "sleep" in done.events[0]["processes"]
    assert (done.code, runner.living()) == (0, [])


def test_what_failed_and_what_was_skipped_runs_again(runner):
    plan = PLAN.replace("echo $$ > b.pid; exec sleep 300", "exit 1")
    done = runner(plan, *WORDS, "--log-dir", "logs")
    assert [done.status(unit) for unit in "abc"] == ["completed", "failed", "skipped"]
    done = runner(plan, *WORDS, "--log-dir", "logs", "--resume")
    assert [done.status(unit) for unit in "abc"] == ["completed", "failed", "skipped"]
    assert done.log("b") == "fastdag: failed: exit status 1\n" * 2
    (runner.folder / "pass").touch()
    done = runner(plan, *WORDS, "--resume")
    assert [done.status(unit) for unit in "abc"] == ["completed", "completed", "completed"]
    assert order(runner) == ["a", "b", "b", "b", "c"]
    code, out, _ = runner.text(plan, *WORDS, "--resume")
    assert (code, out.splitlines()[0]) == (0, "3 units of 3 completed before")
    assert order(runner) == ["a", "b", "b", "b", "c"]


def test_what_was_interrupted_runs_again(runner):
    process = runner.popen(PLAN, *WORDS, "-o", "json")
    until(process, "started", "b")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    (runner.folder / "pass").touch()
    done = runner(PLAN, *WORDS, "--resume")
    assert (done.code, done.order("started")) == (0, ["b", "c"])


def test_units_of_scripts_are_taken_up_too(runner):
    plan = f"""
    [units.a]
    run = "{COMMAND} sync start extra && {COMMAND} sync complete extra"
    [units.b]
    run = "test -e pass && {COMMAND} sync list"
    after = ["a"]
    """
    assert runner(plan, *WORDS).status("b") == "failed"
    (runner.folder / "pass").touch()
    done = runner(plan, *WORDS, "--resume")
    assert done.order("started") == ["b"]
    assert "extra  completed" in done.log("b")


@pytest.mark.parametrize(
    ("now", "difference"),
    [
        (PLAN.replace("units.c", "units.d"), "unit 'c' is gone\n  unit 'd' is new"),
        (PLAN.replace('after = ["b"]', ""), "unit 'c' is not after 'b' any more"),
        (PLAN.replace('after = ["b"]', 'after = ["b", "a"]'), "unit 'c' is after 'a' now"),
        (
            PLAN.replace('after = ["b"]', 'after = [{ unit = "b", requires = "completion" }]'),
            "unit 'c' is after 'b' with requires = \"completion\" now, \"success\" before",
        ),
    ],
)
def test_another_plan_is_refused(runner, now, difference):
    (runner.folder / "pass").touch()
    assert runner(PLAN, *WORDS).code == 0
    code, out, err = runner.text(now, *WORDS, "--resume")
    journal = str(runner.folder / "journal")
    head = f"error: the run in journal {journal!r} had other units; name another file, or run the same ones:"
    assert (code, out, err) == (2, "", f"{head}\n  {difference}\n")
    assert order(runner) == ["a", "b", "c"]


def test_commands_may_change(runner):
    (runner.folder / "pass").touch()
    plan = PLAN.replace("echo c >> order", "exit 1")
    assert runner(plan, *WORDS).code == 1
    assert runner(PLAN, *WORDS, "--resume").code == 0
    assert order(runner) == ["a", "b", "c"]


def test_a_journal_is_not_used_by_accident(runner):
    (runner.folder / "pass").touch()
    assert runner.text(PLAN, "--resume")[::2] == (2, "error: --resume goes with --journal FILE\n")
    assert runner(PLAN, *WORDS, "--resume").code == 0  # a new one
    code, _, err = runner.text(PLAN, *WORDS)
    where = repr(str(runner.folder / "journal"))
    assert (code, err) == (
        2,
        f"error: journal {where} has a run in it; pass --resume to go on with that, or name another file\n",
    )


def test_the_journal_of_a_service_is_refused(runner):
    service = ServiceProcess(runner.folder, "--journal", str(runner.folder / "journal"))
    service.run("sync", "start", "x")
    service.stop()
    code, _, err = runner.text(PLAN, *WORDS, "--resume")
    where = repr(str(runner.folder / "journal"))
    assert (code, err) == (2, f"error: journal {where} is that of a service; name another file\n")


def test_a_journal_that_fails_ends_the_run(runner):
    """It is replaced in the middle, which it notices with the next change."""
    process = runner.popen(PLAN, *WORDS)
    while not (runner.folder / "b.pid").exists():
        pass
    (runner.folder / "journal").rename(runner.folder / "moved")
    sqlite3.connect(runner.folder / "journal").close()
    (runner.folder / "pass").touch()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "could not be written: " in err
    assert runner.living() == []

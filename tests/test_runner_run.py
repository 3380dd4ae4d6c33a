"""`fastdag run`: who runs when, what is skipped, and what is said of it."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from command_support import COMMAND, run

CHAIN = """
[units.clone]
run = "echo cloning; echo clone >> order"
[units.install]
run = "echo install >> order"
after = ["clone"]
[units.app]
run = "echo app >> order"
after = ["install"]
[units.bye]
run = "echo bye >> order"
phase = "stop"
"""


def order(runner):
    return (runner.folder / "order").read_text().split()


def test_units_run_in_order_each_once_and_only_those_of_the_phase(runner):
    done = runner(CHAIN)
    assert (done.code, done.err, order(runner)) == (0, "", ["clone", "install", "app"])
    assert done.summary["statuses"] == {"completed": 3}
    assert [(each["event"], each.get("unit")) for each in done.events] == [
        ("begin", None),
        *((event, unit) for unit in ("clone", "install", "app") for event in ("started", "settled")),
        ("summary", None),
    ]
    assert done.log("clone") == "cloning\n"
    assert done.units["clone"]["log"].startswith(str(runner.folder / "tmp" / "fastdag-logs-"))


def test_what_a_person_reads(runner):
    code, out, err = runner.text(
        CHAIN + "[units.broken]\nrun = 'for i in $(seq 20); do echo line $i; done; printf \"\\033[31mred\"; exit 1'\n"
        "[units.after]\nrun = 'true'\nafter = ['broken']\n",
        "-k",
        "-j",
        "1",
        "--log-dir",
        "logs",
    )
    lines = out.splitlines()
    assert (code, err) == (1, "")
    assert lines[0] == "started    clone"
    assert lines[1].startswith("completed  clone  (")
    at = next(number for number, line in enumerate(lines) if line.startswith("failed     broken  ("))
    assert lines[at].endswith("): exit status 1")
    assert lines[at + 1 : at + 12] == [
        *(f"  | line {number}" for number in range(12, 21)),
        "  | [31mred",
        "skipped    after: needs success of 'broken', which is failed",
    ]
    table = out.partition("\n\n")[2].splitlines()
    assert table[0].split() == ["UNIT", "STATUS", "TIME", "ATTEMPTS"]
    assert [line.split()[:2] for line in table[1:6]] == [
        ["clone", "completed"],
        ["install", "completed"],
        ["app", "completed"],
        ["broken", "failed"],
        ["after", "skipped"],
    ]
    assert table[7].startswith("5 units: 3 completed, 1 failed, 1 skipped; ")
    assert table[8] == f"logs: {runner.folder / 'logs'}"
    log = runner.folder / "logs"
    assert (log / "after.log").read_text() == "fastdag: skipped: needs success of 'broken', which is failed\n"
    assert (log / "broken.log").read_text().endswith("\033[31mredfastdag: failed: exit status 1\n")


def test_many_units_are_counted_and_only_the_others_listed(runner):
    units = "".join(f"[units.u{number}]\nrun = 'true'\n" for number in range(50))
    _, out, _ = runner.text(f"{units}[units.bad]\nrun = 'false'\n", "-k")
    table = out.partition("\n\n")[2].splitlines()
    assert [line.split()[0] for line in table if line] == ["UNIT", "bad", "51", "logs:"]


REQUIREMENTS = """
[units.bad]
run = "exit 1"
[units.slow]
run = "sleep 300"
timeout = "100ms"
[units.skipped]
run = "true"
after = ["bad"]
[units.deeper]
run = "true"
after = ["skipped"]
[units.report]
run = "true"
after = [{ unit = "bad", requires = "completion" }, { unit = "deeper", requires = "completion" },
         { unit = "slow", requires = "completion" }]
[units.both]
run = "true"
after = ["report", { unit = "slow", requires = "success" }]
"""


def test_success_skips_down_the_line_and_completion_runs_when_all_is_over(runner):
    done = runner(REQUIREMENTS, "-k", "-j", "4")
    assert {unit: each["status"] for unit, each in done.units.items()} == {
        "bad": "failed",
        "slow": "timed_out",
        "skipped": "skipped",
        "deeper": "skipped",
        "report": "completed",
        "both": "skipped",
    }
    assert done.reason("deeper") == "needs success of 'skipped', which is skipped"
    assert done.order("settled").index("report") > done.order("settled").index("slow")


def test_without_keep_going_nothing_starts_after_a_failure(runner):
    done = runner(
        """
        [units.bad]
        run = "sleep 0.2; exit 1"
        [units.long]
        run = "sleep 0.6; echo long"
        [units.next]
        run = "true"
        after = ["long"]
        [units.skipped]
        run = "true"
        after = ["bad"]
        [units.report]
        run = "true"
        after = [{ unit = "bad", requires = "completion" }]
        """,
        "-j",
        "2",
    )
    assert {unit: (each["status"], each["reason"]) for unit, each in done.units.items()} == {
        "bad": ("failed", "exit status 1"),
        "long": ("completed", None),
        "next": ("canceled", "'bad' failed"),
        "skipped": ("skipped", "needs success of 'bad', which is failed"),
        "report": ("canceled", "'bad' failed"),
    }
    assert [each["reason"] for each in done.events if each["event"] == "stopping"] == [
        "'bad' failed; nothing new starts"
    ]


def test_only_takes_what_it_comes_after(runner):
    plan = CHAIN + '[units.other]\nrun = "echo other >> order"\n'
    assert runner(plan, "--only", "install").code == 0
    assert order(runner) == ["clone", "install"]
    runner(plan, "--phase", "stop")
    assert order(runner)[2:] == ["bye"]


LONE = "[units.a]\nrun='true'\n"
STOP = f"{LONE}phase='stop'\n"
PROBLEM = "error: a problem in the plan; nothing of it runs\n"
SEE = "see: fastdag run --help\n"


@pytest.mark.parametrize(
    ("plan", "words", "message"),
    [
        (CHAIN, ["--only", "instal"], "error: there is no unit 'instal'; did you mean 'install'?\n"),
        (CHAIN, ["--only", "bye"], "error: unit 'bye' is of the phase stop; pass --phase stop\n"),
        (STOP, [], "error: the plan has no units of the phase start; pass --phase stop\n"),
        (LONE, ["--phase", "stop"], "error: the plan has no units of the phase stop\n"),
        (CHAIN, ["--log-dir", "plan.toml/x"], "error: cannot have logs in plan.toml/x: Not a directory\n"),
        (CHAIN, ["-j", "0"], f"error: argument -j/--jobs: '0' is no number of units; write 1 or more\n{SEE}"),
        (
            CHAIN,
            ["--log-limit", "x"],
            f"error: argument --log-limit: 'x' is no size; write bytes, or a number with K, M or G\n{SEE}",
        ),
        (
            f"{LONE}after=['b']\n",
            [],
            f"plan.toml:3: unit 'a': after: there is no unit 'b'; there is 'a'\n{PROBLEM}",
        ),
    ],
)
def test_what_makes_no_sense_runs_nothing(runner, plan, words, message):
    code, out, err = runner.text(plan, *words)
    assert (code, out, err) == (2, "", message)
    assert not (runner.folder / "order").exists()
    assert os.listdir(runner.folder / "tmp") == []


def test_a_plan_that_is_not_there(tmp_path):
    done = run("run", "nothing.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: nothing.toml: No such file or directory\n")


def test_jobs_slots_and_exclusive_units(runner):
    """Each unit writes when it begins and ends; nothing overlaps that may not."""
    unit = "[units.{0}]\nrun = 'echo {0} >> order; sleep 0.3; echo -{0} >> order'\n{1}\n"
    plan = "".join(
        unit.format(name, more)
        for name, more in [
            ("a", "exclusive = 'x'"),
            ("b", "exclusive = 'x'"),
            ("c", ""),
            ("wide", "slots = 9"),
            ("d", ""),
        ]
    )
    assert runner(plan, "-j", "2").code == 0
    found = order(runner)
    assert set(found[:2]) == {"a", "c"}  # b may not run beside a, and c need not wait for it
    at = found.index("wide")
    assert found[at + 1] == "-wide"  # takes both slots
    assert found.index("d") > at  # does not overtake
    assert found.index("b") > found.index("-a")


def test_the_higher_priority_first_then_the_longer_path(runner):
    done = runner(
        """
        [defaults]
        run = "true"
        [units.a]
        [units.long]
        [units.last]
        after = ["long"]
        [units.urgent]
        priority = 1
        """,
        "-j",
        "1",
    )
    assert done.order("started") == ["urgent", "long", "a", "last"]


def test_output_that_nobody_reads_does_not_stop_the_run(runner):
    command = f"{COMMAND} run {runner.plan(CHAIN)} | true; sleep 2; cat order"
    options = {"cwd": runner.folder, "env": runner.environment, "capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run(["sh", "-c", command], check=False, **options)
    assert (done.stdout, done.stderr) == ("clone\ninstall\napp\n", "")


def test_output_that_cannot_be_written_is_an_error_at_the_end(runner):
    with open("/dev/full", "w") as full:
        code, _, err = runner.text(CHAIN, stdout=full)
    assert (code, err, order(runner)) == (
        1,
        "error: cannot write the output: No space left on device\n",
        ["clone", "install", "app"],
    )


# --- the socket -----------------------------------------------------------------------------------------------------


def test_scripts_declare_units_and_wait_for_others(runner):
    done = runner(
        f"""
        [units.db]
        run = "{COMMAND} sync exec migrations -- sh -c 'sleep 0.3; echo migrated >> order'; sleep 0.3; echo db >> order"
        [units.app]
        run = "{COMMAND} sync wait migrations --for completed && echo app >> order && {COMMAND} sync status db -o json"
        [units.last]
        run = "{COMMAND} sync list"
        after = ["app", "db"]
        """,
        "-j",
        "2",
    )
    assert (done.code, sorted(done.units)) == (0, ["app", "db", "last"])
    assert order(runner) == ["migrated", "app", "db"]
    said, brace, status = done.log("app").partition("{")  # maybe first that nobody has registered it yet
    assert said.endswith("Success\n")
    assert json.loads(brace + status)["status"] == "started"
    assert {line.split()[0] for line in done.log("last").splitlines()[1:]} == {"db", "app", "last", "migrations"}


def test_a_unit_that_a_script_lets_wait_for_another_one_waits(runner):
    done = runner(
        f'''
        [units.a]
        run = """{COMMAND} sync want b extra && sleep 2 && echo a >> order
                 {COMMAND} sync start extra && {COMMAND} sync complete extra"""
        [units.gate]
        run = "sleep 1"
        [units.b]
        run = "echo b >> order"
        after = ["gate"]
        ''',
        "-j",
        "2",
    )
    assert (done.code, order(runner)) == (0, ["a", "b"])


def test_what_waits_for_nobody_is_canceled_and_told_why(runner):
    done = runner(
        f"""
        [units.a]
        run = "{COMMAND} sync want b extra"
        [units.b]
        run = "true"
        after = ["a"]
        [units.c]
        run = "true"
        after = ["b"]
        """,
    )
    assert (done.status("a"), done.status("b"), done.status("c"), done.code) == ("completed", "canceled", "canceled", 1)
    why = "nothing that runs can release it: needs success of 'extra', which is not registered"
    assert done.reason("b") == why


@pytest.mark.parametrize(("word", "status"), [("complete", "completed"), ("fail", "failed")])
def test_a_planned_unit_that_a_script_settles_is_not_run(runner, word, status):
    done = runner(
        f"""
        [units.a]
        run = "{COMMAND} sync {word} b; {COMMAND} sync {word} a; exit 0"
        [units.b]
        run = "echo b >> order"
        after = ["gate"]
        [units.gate]
        run = "sleep 1"
        """,
        "-j",
        "2",
    )
    assert (done.status("a"), done.status("b"), done.reason("b")) == ("completed", status, "set by a script")
    assert not (runner.folder / "order").exists()


def test_the_log_of_a_waiting_unit_says_what_it_waits_for(runner):
    """Every 30 s; here more often."""
    runner.quicken(NOTICE=0.3)
    done = runner(
        """
        [units.a]
        run = "sleep 1"
        [units.b]
        run = "echo b"
        after = ["a"]
        [units.c]
        run = "echo c"
        exclusive = "x"
        priority = -1
        [units.d]
        run = "sleep 1"
        exclusive = "x"
        [units.e]
        run = "true"
        priority = -2
        """,
        "-j",
        "2",
    )
    assert done.log("b").splitlines()[0] == "fastdag: waits: needs success of 'a', which is started"
    assert 1 <= done.log("b").count("waits: ") <= 4
    assert done.log("b").endswith("\nb\n")
    assert done.log("c").startswith("fastdag: waits: for the end of another unit that is exclusive in 'x'\n")
    assert done.log("e").startswith("fastdag: waits: for a slot of 2\n")

"""`fastdag run --executor dask` on a real cluster: two worker processes, some of them killed, nothing left of a run."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_support import COMMAND
from runner_support import Done
from test_runner_workflows import check, plan_of

from benchmarks import workloads

distributed = pytest.importorskip("distributed", reason="NOT TESTED: the extra [dask] is not installed")

remote = pytest.importorskip("fastdag.runner.remote")
dask_config = pytest.importorskip("dask").config.set
by_value = pytest.importorskip("cloudpickle").register_pickle_by_value
CLUSTER_MARK = "FASTDAG_TEST_CLUSTER"
WORKER = "$(ps -o ppid= -p $PPID)"  # the process of the worker, for a unit: its parent is its supervisor


@pytest.fixture(scope="module")
def cluster():
    """Give a cluster whose processes, and all that they start, have a mark in their environment."""
    by_value(sys.modules[__name__])
    mark = uuid.uuid4().hex
    with (
        pytest.MonkeyPatch.context() as patch,
        dask_config({"distributed.deploy.lost-worker-timeout": "1h"}),  # or one that is being started again is given up
    ):
        patch.setenv(CLUSTER_MARK, mark)
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
            cluster.mark = mark
            yield cluster


@pytest.fixture
def dask(runner, cluster):
    """Give a function that runs a plan on the cluster; at the end no worker may have anything of it."""
    runner.dask = ("--executor", "dask", "--scheduler", cluster.scheduler_address)
    yield lambda text, *words, **options: runner(text, *runner.dask, *words, **options)
    cluster.scheduler.validate_state()
    assert living(cluster) == []


def living(cluster):
    """Give the commands of all supervisors and of what they started."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            environment = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"{CLUSTER_MARK}={cluster.mark}".encode() in environment and (
            "fastdag.runner.supervisor" in command or any(word.startswith(b"FASTDAG_RUN_UNIT=") for word in environment)
        ):
            found.append(command)
    return found


def until(condition, process=None):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


def ended(process):
    out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err)


def test_units_run_in_order_on_workers_as_they_would_here(runner, dask, cluster):
    (runner.folder / "sub").mkdir()
    done = dask(
        f"""
        [units.first]
        run = "echo first >> order; echo one; echo two >&2; ps -o comm= -p $PPID"
        [units.second]
        run = 'echo second >> ../order; echo "$PWD|$X|$FASTDAG_TEST_MARK|${CLUSTER_MARK}"'
        cwd = "sub"
        env = {{ X = "a b" }}
        after = ["first"]
        [units.third]
        run = "{COMMAND} sync exec own -- echo third >> order; {COMMAND} sync list"
        after = ["second"]
        """
    )
    assert (done.code, done.err, done.summary["statuses"]) == (0, "", {"completed": 3})
    assert (runner.folder / "order").read_text().split() == ["first", "second", "third"]
    worker, *lines = done.log("first").splitlines()
    assert worker.removeprefix("fastdag: runs on ") in {each.address for each in cluster.scheduler.workers.values()}
    assert lines[:2] == ["one", "two"]
    assert done.log("second").splitlines()[1] == f"{runner.folder / 'sub'}|a b||{cluster.mark}"  # the worker's own
    assert [line.split()[:2] for line in done.log("third").splitlines()[2:]] == [
        ["first", "completed"],
        ["second", "completed"],
        ["third", "started"],
        ["own", "completed"],
    ]
    groups = {str(group) for group in cluster.scheduler.task_prefixes}
    assert "fastdag-run" in groups  # what Dask's pages show


ENDS = r"""
[units.bad]
run = 'for i in $(seq 12); do echo line $i; done; exit 3'
retries = 1
[units.skipped]
run = "true"
after = ["bad"]
[units.report]
run = "true"
after = [{ unit = "bad", requires = "completion" }]
[units.killed]
run = "kill -USR1 $$"
[units.slow]
run = "sleep 300 & sleep 300"
timeout = "200ms"
[units.closed]
run = "exec >&- 2>&-; sleep 0.1; exit 4"
[units.leaves]
run = "setsid sleep 300 & echo done"
[units.escapes]
run = "env -i setsid sleep 300 & sleep 0.1"
[units.missing]
run = ["fastdag-nothing"]
retries = 2
[units.nowhere]
run = "true"
cwd = "nowhere"
[units.floods]
run = "yes"
[units.prints]
run = "head -c 102400 /dev/zero"
"""


def test_units_end_as_they_would_here(runner, dask):
    done = dask(ENDS, "-k", "--log-limit", "100K")
    reasons = {unit: (each["status"], each["reason"]) for unit, each in done.units.items()}
    left = reasons.pop("leaves")
    assert reasons == {
        "bad": ("failed", "exit status 3"),
        "skipped": ("skipped", "needs success of 'bad', which is failed"),
        "report": ("completed", None),
        "killed": ("failed", "killed by SIGUSR1"),
        "slow": ("timed_out", "it ran longer than 0.2 s"),
        "closed": ("failed", "exit status 4"),
        "escapes": ("failed", "left a process behind: sleep"),
        "missing": ("failed", "fastdag-nothing: there is no such command"),
        "nowhere": ("failed", f"cannot run in '{runner.folder}/nowhere': No such file or directory"),
        "floods": ("failed", "it printed more than 100 KiB, the limit of its log"),
        "prints": ("completed", None),
    }
    assert left[0] == "failed"
    assert left[1].startswith("left a process behind: sleep (")
    attempts = {unit: each["attempts"] for unit, each in done.units.items()}
    assert (attempts["bad"], attempts["missing"], attempts["nowhere"]) == (2, 0, 0)
    [told] = [each for each in done.events if each["event"] == "settled" and each["unit"] == "bad"]
    assert told["last_lines"] == [f"line {number}" for number in range(3, 13)]
    line, _, flood = done.log("floods").partition("\n")
    assert line.startswith("fastdag: runs on ")
    assert flood == "y\n" * 51200 + "\nfastdag: it printed more than 100 KiB, the limit of its log\n"
    assert done.log("prints").partition("\n")[2] == "\0" * 102400


def test_output_comes_while_the_unit_runs(runner, dask):
    plan = "[units.a]\nrun = 'echo begun; until test -e go; do sleep 0.05; done; echo gone on'\n"
    process = runner.popen(plan, *runner.dask, "--log-dir", "logs", "-o", "json")
    log = runner.folder / "logs" / "a.log"
    until(lambda: log.exists() and log.read_text().endswith("\nbegun\n"), process)
    (runner.folder / "go").touch()
    done = ended(process)
    assert (done.code, done.log("a").splitlines()[1:]) == (0, ["begun", "gone on"])


def test_a_log_that_cannot_be_written_ends_the_unit(runner, dask):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # noqa: E731
    done = dask("[units.a]\nrun = 'yes'\n", preexec_fn=limit)
    assert (done.status("a"), done.reason("a")) == ("failed", "its log cannot be written: File too large")


STUBBORN = """
[units.a]
run = "setsid sleep 300 & trap '' TERM; echo > a.begun; while :; do sleep 300; done"
[units.b]
run = "echo > b.begun; exec sleep 300"
retries = 1
[units.queued]
run = "echo > queued.begun"
priority = -1
[units.next]
run = "true"
after = ["b"]
"""


@pytest.mark.parametrize("times", [1, 2], ids=["after-the-grace", "at-once"])
def test_a_signal_ends_what_runs_and_cancels_what_did_not(runner, dask, times):
    """With more jobs than the cluster has threads, so that one unit waits on Dask's side."""
    process = runner.popen(STUBBORN, *runner.dask, "-j", "3", "-o", "json")
    until(lambda: all((runner.folder / f"{unit}.begun").exists() for unit in "ab"), process)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    if times == 2:
        for line in process.stdout:
            if '"stopping"' in line:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert time.monotonic() - began < 4
        return
    done = ended(process)
    assert time.monotonic() - began >= 5
    assert (done.code, done.err) == (130, "")
    assert {each["status"] for each in done.units.values()} == {"canceled"}
    assert {done.reason(unit) for unit in ("a", "b", "queued")} == {"ended by SIGINT of the run"}
    assert done.reason("next") == "the run was ended by SIGINT"
    assert not (runner.folder / "queued.begun").exists()


def test_a_run_does_not_end_before_its_units_have_on_all_workers(runner, dask):
    """One that it has not heard of, as it was stopped when it just began."""
    deaf = "from fastdag.runner import cluster; cluster._Unit.begin = lambda *_: None"
    runner.command = [sys.executable, "-c", f"{deaf}; from fastdag.cli import main; main()"]
    plan = "[units.a]\nrun = '''trap \"sleep 1; touch late; exit\" TERM; touch begun; while :; do sleep 0.1; done'''\n"
    process = runner.popen(plan, *runner.dask, "-o", "json")
    until((runner.folder / "begun").exists, process)
    process.send_signal(signal.SIGTERM)
    assert ended(process).status("a") == "canceled"
    assert (runner.folder / "late").exists()


def test_nothing_of_a_run_that_is_over_begins(runner, dask, cluster):
    asked = {"run": "r", "unit": "a", "command": ["touch", str(runner.folder / "ran")], "env": {}, "cwd": "/"}
    asked |= {"timeout": None, "left": 1, "limit": 1, "socket": ""}
    with distributed.Client(cluster) as client:
        begin = lambda topic: client.submit(  # noqa: E731
            remote.run_unit, topic, 1, topic, json.dumps(asked).encode(), key=topic, pure=False
        )
        client.run(remote.close, "over")
        begin("over").result()
        assert not (runner.folder / "ran").exists()
        begin("another").result()
        assert (runner.folder / "ran").exists()


KILLS = f"""
[units.before]
run = "echo before >> order"
[units.a]
run = "echo a >> order; test $(grep -c ^a order) = 2 || {{ kill -9 {WORKER}; sleep 300; }}"
after = ["before"]
[units.b]
run = "echo b >> order; sleep 1"
after = ["before"]
"""


def test_a_worker_that_is_killed_costs_only_what_it_ran(runner, dask, cluster):
    done = dask(KILLS)
    assert (done.code, done.err) == (0, "")
    assert sorted((runner.folder / "order").read_text().split()) == ["a", "a", "b", "before"]
    assert (done.units["a"]["attempts"], done.units["b"]["attempts"]) == (1, 1)
    first, lost, second = done.log("a").splitlines()
    assert lost == "fastdag: its worker was lost"
    assert first != second
    until(lambda: living(cluster) == [])  # the lost worker's supervisor ends its unit, of which nobody hears
    until(lambda: len(cluster.scheduler.workers) == 2)


def test_a_unit_that_kills_every_worker_fails(runner, dask, cluster, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 1)
    done = dask(f"[units.a]\nrun = 'kill -9 {WORKER}; sleep 300'\n")
    assert done.status("a") == "failed"
    assert done.reason("a").startswith("2 workers were lost while it ran; the last one was tcp://")
    until(lambda: living(cluster) == [])
    until(lambda: len(cluster.scheduler.workers) == 2)


def test_a_worker_that_closes_hands_its_unit_on(runner, dask, cluster):
    process = runner.popen(
        "[units.a]\nrun = 'echo a >> order; test $(grep -c ^a order) = 2 || exec sleep 300'\n",
        *runner.dask,
        "-o",
        "json",
    )
    until((runner.folder / "order").exists, process)
    with distributed.Client(cluster) as client:
        [busy] = [each.address for each in cluster.scheduler.workers.values() if each.processing]

        async def close(dask_worker):
            class Slow(distributed.WorkerPlugin):  # so that the end of the unit could still be told
                async def teardown(self, worker):
                    await asyncio.sleep(0.5)

            await dask_worker.plugin_add(Slow(), name="slow")
            dask_worker.loop.add_callback(dask_worker.close, nanny=False)  # its nanny starts another one

        client.run(close, workers=[busy])
    done = ended(process)
    assert (done.code, done.units["a"]["attempts"]) == (0, 1)
    until(lambda: len(cluster.scheduler.workers) == 2)


def test_a_worker_that_closes_begins_nothing(runner, dask, cluster):
    """Not even what it was about to, and would not end any more, while it runs elsewhere."""
    asked = {"run": "r", "unit": "a", "command": ["sh", "-c", "echo a >> order"], "env": {}, "cwd": str(runner.folder)}
    asked |= {"timeout": None, "left": 1, "limit": 1, "socket": ""}

    def close_late(dask_worker):
        unit = remote._Unit

        def made(topic):
            dask_worker.loop.add_callback(dask_worker.close, nanny=False)
            while remote._NAME in dask_worker.plugins:
                time.sleep(0.01)
            return unit(topic)

        remote._Unit = made

    with distributed.Client(cluster) as client:
        late = next(iter(cluster.scheduler.workers))
        client.run(close_late, workers=[late])
        place = {"workers": [late], "allow_other_workers": True}
        asked = json.dumps(asked).encode()
        client.submit(remote.run_unit, "t", 1, "late", asked, key="late", pure=False, **place).result(timeout=60)
    until(lambda: living(cluster) == [])
    assert (runner.folder / "order").read_text() == "a\n"
    until(lambda: len(cluster.scheduler.workers) == 2)


def test_a_supervisor_that_is_killed_is_a_failure_and_leaves_nothing(runner, dask):
    done = dask("[units.a]\nrun = 'setsid sleep 300 & kill -9 $PPID; sleep 300'\n")
    assert (done.status("a"), done.reason("a")) == ("failed", "its supervisor ended without a word: killed by signal 9")


def kill(runner, process):
    process.kill()
    process.communicate(timeout=60)
    for folder in (runner.folder / "tmp").glob("fastdag-run-*"):
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()


def test_when_the_run_is_killed_its_units_end(runner, dask, cluster):
    process = runner.popen("[units.a]\nrun = 'setsid sleep 300 & touch begun; exec sleep 300'\n", *runner.dask)
    until((runner.folder / "begun").exists, process)
    until(lambda: len(living(cluster)) >= 3, process)
    kill(runner, process)
    until(lambda: living(cluster) == [])


def test_a_run_that_was_killed_is_gone_on_with(runner, dask):
    plan = """
    [units.a]
    run = "echo a >> order"
    [units.b]
    run = '''trap "touch told; sleep 3; echo late >> order; exit" TERM
    echo b >> order; until test -e pass; do sleep 0.05; done'''
    after = ["a"]
    """
    order = runner.folder / "order"
    process = runner.popen(plan, *runner.dask, "--journal", "journal")
    until(lambda: order.exists() and "b" in order.read_text(), process)
    kill(runner, process)
    until((runner.folder / "told").exists)
    (runner.folder / "pass").touch()
    done = dask(plan, "--journal", "journal", "--resume")
    assert (done.code, done.summary["statuses"]) == (0, {"completed": 2})
    assert order.read_text().split() == ["a", "b", "late", "b"]


def test_a_workflow_on_the_scheduler_of_dasks_settings(runner, dask, cluster):
    runner.environment["DASK_SCHEDULER_ADDRESS"] = cluster.scheduler_address
    workflow = workloads.workflow(workloads.WORKFLOWS[0])
    plan = plan_of(workflow, lambda task: f"echo begin {task} >> order; echo end {task} >> order")
    check(runner, workflow, runner(plan, "--executor", "dask"))


# --- no cluster, or none that is fit --------------------------------------------------------------------------------

LONE = "[units.a]\nrun = 'touch ran'\n"


def refused(runner, *words):
    code, out, err = runner.text(LONE, *words)
    assert (code, out, (runner.folder / "ran").exists()) == (2, "", False)
    return err


@contextmanager
def silent():
    """Give the address of a listener that never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def quick(runner):
    """Have the runs from now on wait for a scheduler or a worker for half a second."""
    script = "from fastdag.runner import cluster; cluster._ANSWER = 0.5; from fastdag.cli import main; main()"
    runner.command = [sys.executable, "-c", script]


def test_a_scheduler_that_is_not_there(runner):
    with silent() as address:
        pass
    quick(runner)
    error = refused(runner, "--executor", "dask", "--scheduler", address)
    why = f"Timed out trying to connect to {address} after 0.5 s"
    assert error == f"error: no scheduler of Dask answers at {address}: {why}\n"
    error = refused(runner, "--executor", "dask", "--scheduler", "nonsense")
    assert error == "error: no scheduler of Dask answers at nonsense: missing port number in address 'nonsense'\n"


def test_what_is_no_scheduler(runner):
    quick(runner)
    with silent() as address:
        error = refused(runner, "--executor", "dask", "--scheduler", address)
    assert error.startswith("error: ")
    assert address in error
    assert "Traceback" not in error


def test_no_scheduler_is_named(runner):
    error = refused(runner, "--executor", "dask")
    assert error.startswith("error: --executor dask needs a scheduler: pass --scheduler ADDRESS or set DASK_SCHEDULER_")
    assert "`dask scheduler`, and on each machine `dask worker ADDRESS`" in error
    assert refused(runner, "--scheduler", "tcp://x:1") == "error: --scheduler goes with --executor dask\n"


def test_a_cluster_without_workers(runner):
    quick(runner)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        address = empty.scheduler_address
        error = refused(runner, "--executor", "dask", "--scheduler", address)
    assert error == (
        f"waiting for a worker of the cluster at {address}\n"
        f"error: the cluster has no workers; start one on each machine: dask worker {address}\n"
    )


def test_a_cluster_that_goes_away(runner):
    quick(runner)
    plan = "[units.a]\nrun = 'touch a.begun; exec sleep 300'\n[units.b]\nrun = 'true'\n"
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        words = ("--executor", "dask", "--scheduler", cluster.scheduler_address, "-k", "-o", "json")
        process = runner.popen(plan, *words)
        until((runner.folder / "a.begun").exists, process)
    out, err = process.communicate(timeout=60)
    done = Done(process.returncode, out, err)
    assert (done.code, {each["status"] for each in done.units.values()}) == (1, {"failed"})
    assert {each["reason"] for each in done.units.values()} == {"the connection to the scheduler was lost"}
    assert "warning: the cluster does not answer; what it runs may go on for a while\n" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("change_to", "flaw"),
    [
        (("0.0", True), "has fastdag 0.0; here it is {0}"),
        (
            ("0.0", False),
            "has no fastdag that it could use: import of fastdag.runner.remote halted; None in sys.modules",
        ),
    ],
    ids=["another", "none"],
)
def test_workers_without_fastdag_or_with_another_one(runner, dask, cluster, change_to, flaw):
    def change(version, there):
        import fastdag  # noqa: PLC0415
        from fastdag.runner import remote  # noqa: PLC0415

        was, fastdag.__version__ = fastdag.__version__, version
        sys.modules["fastdag.runner.remote"] = remote if there else None
        return was

    def mend(version):
        import fastdag  # noqa: PLC0415

        fastdag.__version__ = version
        del sys.modules["fastdag.runner.remote"]

    with distributed.Client(cluster) as client:
        [worker, _] = client.nthreads()
        [version] = client.run(change, *change_to, workers=[worker]).values()
        try:
            error = refused(runner, *runner.dask)
        finally:
            client.run(mend, version, workers=[worker])
    assert error == f"error: workers of the cluster cannot run units:\n  {worker}: {flaw.format(version)}\n"


def test_without_distributed(runner):
    script = "import sys; sys.modules['distributed'] = None; from fastdag.cli import main; main()"
    runner.command = [sys.executable, "-c", script]
    code, _, err = runner.text(LONE, "--executor", "dask", "--scheduler", "tcp://x:1")
    message = "needs the package distributed; install it with: pip install 'fastdag[dask]'\n"
    assert (code, err) == (1, f"error: fastdag run --executor dask {message}")


def test_what_is_said_to_a_unit_that_has_ended_reaches_nobody(tmp_path):
    """Its pipe is closed, and the number of that may be another file's by now."""
    asked = {"run": "r", "unit": "a", "command": ["true"], "env": {}, "cwd": None, "timeout": None}
    asked |= {"left": 1, "limit": 1, "socket": ""}
    unit = remote._Unit("run")
    with unit.start(json.dumps(asked).encode()) as supervisor:
        outcome = remote._follow(supervisor, lambda **_: None)
    assert outcome[0] == "completed"
    others = [(tmp_path / str(number)).open("wb", buffering=0) for number in range(8)]
    unit.say(remote.STOP)
    assert all(other.tell() == 0 for other in others)
    for other in others:
        other.close()

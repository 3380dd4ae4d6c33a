"""Units as processes: however they end, and whatever they leave behind."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time

import pytest
from command_support import COMMAND


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        ("exit 0", "completed", None),
        ("exit 3", "failed", "exit status 3"),
        ("kill -USR1 $$", "failed", "killed by SIGUSR1"),
        ("kill -40 $$", "failed", "killed by signal 40"),
        ("exec >&- 2>&-; sleep 0.2; exit 4", "failed", "exit status 4"),  # the end of the output is not its end
    ],
)
def test_a_unit_ends_as_its_command_does(runner, script, status, reason):
    done = runner(f"[units.a]\nrun = '{script}'\n")
    assert (done.status("a"), done.reason("a"), done.code) == (status, reason, int(status != "completed"))


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        ('run = ["fastdag-nothing"]', "fastdag-nothing: there is no such command"),
        ('run = ["./nothing"]', "./nothing: there is no such command"),
        ('run = ["./plain"]', "./plain: Permission denied"),
        ('run = ["./blank"]', "./blank: Exec format error; a script begins with #! and the program that reads it"),
        ('run = ["./lost"]', "./lost: the program that its first line names is not there"),
        ('run = "true"\nshell = "./nothing"', "./nothing: there is no such command"),
        ('run = "true"\ncwd = "nowhere"', "cannot run in 'nowhere': No such file or directory"),
        (f'run = ["true", "{"x" * (1 << 18)}"]', "true: Argument list too long"),
    ],
)
def test_what_cannot_be_executed_fails_and_is_not_tried_again(runner, unit, reason):
    for name, text, mode in [("plain", "#!/bin/sh\n", 0o644), ("blank", "\n", 0o755), ("lost", "#!/no/sh\n", 0o755)]:
        (runner.folder / name).write_text(text)
        (runner.folder / name).chmod(mode)
    done = runner(f'[units.a]\n{unit}\nretries = 2\n[units.b]\nrun = "true"\n', "-k", "-j", "1")
    assert (done.status("a"), done.reason("a"), done.units["a"]["attempts"]) == ("failed", reason, 0)
    assert (done.status("b"), done.code) == ("completed", 1)


def test_folder_environment_and_open_files(runner):
    (runner.folder / "sub").mkdir()
    (runner.folder / "sub" / "tool").write_text("#!/bin/sh\necho tool of $PWD\n")
    (runner.folder / "sub" / "tool").chmod(0o755)
    done = runner(
        """
        [units.a]
        run = ["./tool"]
        cwd = "sub"
        [units.b]
        run = ["tool"]
        cwd = "sub"
        env = { PATH = ".:/usr/bin:/bin" }
        [units.c]
        run = 'echo "$X|$FASTDAG_TEST_MARK"; ls /proc/self/fd; readlink /proc/self/fd/0'
        env = { X = "a b" }
        """
    )
    place = f"tool of {runner.folder / 'sub'}\n"
    assert (done.log("a"), done.log("b")) == (place, place)
    assert done.log("c") == f"a b|{runner.mark}\n0\n1\n2\n3\n/dev/null\n"  # 3 is the folder that ls looks at


def test_signals_have_their_defaults_in_units(runner):
    done = runner("[units.a]\nrun = \"yes | head -1; grep -E '^Sig(Ign|Blk)' /proc/self/status\"\n")
    first, blocked, ignored = done.log("a").splitlines()
    assert (first, int(blocked.split()[1], 16)) == ("y", 0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
        assert not int(ignored.split()[1], 16) & 1 << (number - 1)


@pytest.mark.parametrize(
    "leave",
    [
        "sleep 300 &",
        "setsid sleep 300 &",
        "(setsid setsid sleep 300 &) &",
        "env -i sleep 300 &",
        "sleep 300 >/dev/null 2>&1 &",
        "(trap '' HUP; exec sleep 300) &",
    ],
)
def test_what_is_left_behind_is_ended_and_a_failure(runner, leave):
    done = runner(
        f"""
        [units.a]
        run = '''{leave} sleep 0.1; echo done'''
        [units.b]
        run = "sleep 0.1"
        after = ["a"]
        """
    )
    assert (done.status("a"), done.status("b"), done.code) == ("failed", "skipped", 1)
    assert done.reason("a").startswith("left a process behind: sleep (")
    assert not alive(int(done.reason("a").rpartition("(")[2].rstrip(")")))
    assert done.log("a").startswith("done\n")
    assert done.units["a"]["seconds"] < 0.9  # its own run, not the time in which the others could have ended


def test_all_that_is_left_behind_is_named_and_a_status_too(runner):
    done = runner("[units.a]\nrun = 'for i in 1 2 3 4 5 6 7; do sleep 300 & done; exit 2'\n")
    assert done.reason("a").startswith("exit status 2; left 7 processes behind: sleep (")
    assert done.reason("a").endswith(") and 2 more")


def test_who_ends_soon_behind_the_unit_is_not_left_behind(runner):
    done = runner("[units.a]\nrun = '(sleep 0.2; echo late) & echo early'\n")
    assert (done.status("a"), done.log("a")) == ("completed", "early\nlate\n")


def test_what_other_units_have_in_the_background_is_left_alone(runner):
    """Also when it is an orphan already, of a session of its own."""
    done = runner(
        """
        [units.a]
        run = "(setsid sh -c 'echo $$ > pid; exec sleep 300' &); sleep 1; kill $(cat pid) && echo was there"
        [units.b]
        run = "sleep 0.5"
        """,
        "-j",
        "2",
    )
    assert (done.status("a"), done.log("a"), done.status("b")) == ("completed", "was there\n", "completed")


def test_a_daemon_without_session_and_environment_does_not_outlive_the_run(runner):
    script = "(env -i setsid sh -c 'echo $$ > pid; exec sleep 300' &) ; sleep 0.2"
    code, out, _ = runner.text(f'[units.a]\nrun = "{script}"\n')
    assert "\nleft behind, unknown by which unit, and ended: sleep\n" in out
    assert (code, alive(int((runner.folder / "pid").read_text()))) == (1, False)


def test_orphans_that_ended_are_let_go_of(runner):
    """A unit counts the zombies that the run, which inherits its orphans, has."""
    done = runner(
        """
        [units.orphans]
        run = "for i in 1 2 3; do (setsid true &) ; done; sleep 0.2"
        [units.count]
        run = "ps -o stat= --ppid $(ps -o ppid= $$) | grep -c Z"
        after = ["orphans"]
        """
    )
    assert done.log("count").startswith("0\n")


def test_a_run_within_a_run(runner):
    """The inner one is killed, and its units become the outer one's to end."""
    seconds = 1_000_000 + os.getpid()  # which names these processes among all others
    inner = f"[units.x]\nrun = 'exec sleep {seconds}'\n[units.y]\nrun = 'exec setsid sleep {seconds}'\n"
    (runner.folder / "inner.toml").write_text(inner)
    done = runner(
        f"""
        [units.a]
        run = '''
        {COMMAND} run inner.toml -j 2 &
        until [ "$(pgrep -fc ^sleep.{seconds}$)" = 2 ]; do sleep 0.05; done
        kill -9 $!
        wait
        '''
        """
    )
    assert done.status("a") == "failed"
    assert "left 2 processes behind: sleep (" in done.reason("a")
    [socket] = (runner.folder / "tmp").glob("fastdag-run-*/s")  # nobody could remove it
    shutil.rmtree(socket.parent)


def test_the_limit_of_a_log(runner):
    done = runner('[units.a]\nrun = "yes"\n[units.b]\nrun = "true"\nafter = ["a"]\n', "--log-limit", "10K")
    assert done.reason("a") == "it printed more than 10 KiB, the limit of its log"
    assert (done.status("b"), done.code) == ("skipped", 1)
    log = done.log("a")
    assert log == "y\n" * 5120 + "\nfastdag: it printed more than 10 KiB, the limit of its log\n"


def test_output_up_to_the_limit_is_taken(runner):
    done = runner('[units.a]\nrun = "head -c 10240 /dev/zero"\n', "--log-limit", "10K")
    assert (done.status("a"), done.log("a")) == ("completed", "\0" * 10240)


def test_a_log_that_cannot_be_written(runner):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # noqa: E731
    done = runner('[units.a]\nrun = "yes"\n[units.b]\nrun = "true"\n', "-k", "-j", "1", preexec_fn=limit)
    assert (done.status("a"), done.reason("a")) == ("failed", "its log cannot be written: File too large")
    assert (done.status("b"), done.code) == ("completed", 1)


def test_a_full_disk(runner):
    """A file system of 64 KiB, in a namespace of its own, for the logs."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("NOT TESTED: there are no namespaces for users")
    (runner.folder / "logs").mkdir()
    plan = runner.plan('[units.a]\nrun = "yes"\n[units.b]\nrun = "true"\n')
    mount = "mount -t tmpfs -o size=64k none logs"
    command = f"{mount} && {COMMAND} run {plan} -k -j 1 --log-dir logs; code=$?; tail -c 4 logs/a.log; exit $code"
    options = {"cwd": runner.folder, "env": runner.environment, "capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], check=False, **options)
    assert "its log cannot be written: No space left on device" in done.stdout, done
    assert "\ncompleted  b  (" in done.stdout
    assert done.stdout.endswith("\ny\ny\n")  # what was printed before is there
    assert done.returncode == 1


def test_a_log_is_there_once_something_was_printed_and_has_nothing_of_an_earlier_run(runner):
    logs = runner.folder / "logs"
    silent = runner('[units.a]\nrun = "true"\n', "--log-dir", "logs")
    assert (silent.code, silent.units["a"]["log"], list(logs.iterdir())) == (0, None, [])
    loud = runner('[units.a]\nrun = "echo hello"\n', "--log-dir", "logs")
    assert (loud.units["a"]["log"], loud.log("a")) == (str(logs / "a.log"), "hello\n")
    again = runner('[units.a]\nrun = "true"\n', "--log-dir", "logs")
    assert (again.code, again.log("a")) == (0, "")


def test_a_place_for_a_log_that_somebody_made_a_link(runner):
    (runner.folder / "logs").mkdir()
    (runner.folder / "logs" / "a.log").symlink_to(runner.folder / "other")
    done = runner('[units.a]\nrun = "echo"\n', "--log-dir", "logs")
    assert done.reason("a") == "cannot have a log: Too many levels of symbolic links"
    assert not (runner.folder / "other").exists()


def test_names_of_logs(runner):
    plan = f"[units.'../x/é']\nrun = 'echo 1'\n[units.'{'ü' * 200}']\nrun = 'echo 2'\n"
    done = runner(plan, "--log-dir", "logs")
    names = sorted(os.listdir(runner.folder / "logs"))
    assert names[0].startswith("%2E.%2Fx%2F%C3%A9")
    assert all(len(name) <= 255 for name in names)
    assert sorted(done.log(unit) for unit in done.units) == ["1\n", "2\n"]


def test_a_time_limit_is_of_the_units_own_run_and_of_each_attempt(runner):
    done = runner(
        """
        [units.wait]
        run = "sleep 1"
        [units.a]
        run = "echo attempt; test -e there || { touch there; sleep 300; }"
        timeout = "800ms"
        retries = 1
        after = ["wait"]
        [units.b]
        run = "sleep 300 & sleep 300"
        timeout = "200ms"
        """,
        "-k",
        "-j",
        "2",
    )
    assert (done.status("a"), done.units["a"]["attempts"]) == ("completed", 2)
    assert done.log("a") == "attempt\nfastdag: it ran longer than 0.8 s; attempt 2 of 2\nattempt\n"
    assert (done.status("b"), done.reason("b")) == ("timed_out", "it ran longer than 0.2 s")


def test_who_does_not_hear_is_killed_after_the_grace(runner):
    began = time.monotonic()
    done = runner(
        """
        [units.a]
        run = "trap '' TERM; setsid sleep 300 & while :; do sleep 300; done"
        timeout = "100ms"
        [units.stopped]
        run = "trap 'echo heard; exit' TERM; kill -STOP $$; while :; do sleep 0.1; done"
        timeout = "1s"
        """,
        "-k",
        "-j",
        "2",
    )
    assert (done.status("a"), done.status("stopped")) == ("timed_out", "timed_out")
    assert time.monotonic() - began > 5
    assert done.log("stopped").startswith("heard\n")


def test_retries(runner):
    done = runner(
        """
        [units.a]
        run = "echo >> tries; test $(wc -l < tries) = 3"
        retries = 3
        [units.b]
        run = "exit 7"
        retries = 1
        """,
        "-k",
    )
    assert (done.status("a"), done.units["a"]["attempts"]) == ("completed", 3)
    assert (done.reason("b"), done.units["b"]["attempts"]) == ("exit status 7", 2)
    assert done.order("retried").count("a") == 2

"""`fastdag sync exec`: a command as a unit, however it, or exec itself, ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from command_support import COMMAND

from fastdag.client import Client


def status(service, unit):
    view = json.loads(service.run("sync", "status", unit, "-o", "json").stdout)
    return view["status"], view.get("reason")


def gone(process):
    """Tell whether a process has ended, or will as soon as its parent looks."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(
    ("script", "code", "ended"),
    [
        ("echo out; echo err >&2", 0, ("completed", None)),
        ("echo out; echo err >&2; exit 3", 3, ("failed", "exit status 3")),
        ("echo out; echo err >&2; kill -USR1 $$", 128 + signal.SIGUSR1, ("failed", "killed by SIGUSR1")),
        ("echo out; echo err >&2; kill -40 $$", 128 + 40, ("failed", "killed by signal 40")),
    ],
)
def test_the_unit_ends_as_the_command_does(service, script, code, ended):
    done = service.run("sync", "exec", "app", "--", "sh", "-c", script)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", code)
    assert status(service, "app") == ended


def test_it_waits_and_starts_first(service):
    running = service.popen("sync", "exec", "app", "--after", "db", "--after", "disk", "--", "echo", "hello")
    assert running.stderr.readline() == "Waiting for dependencies of unit 'app' to be satisfied...\n"
    for unit in ("db", "disk"):
        show = f"{COMMAND} sync status {unit} -c 'depends on'"
        done = service.run("sync", "exec", unit, "--", "sh", "-c", show)
        assert done.stdout.startswith(f"Unit: {unit}\nStatus: started\nReady: true\nOwner: ")
    assert running.communicate(timeout=60) == ("hello\n", "")
    assert (running.returncode, status(service, "app")) == (0, ("completed", None))


def test_what_hinders_it(service):
    done = service.run("sync", "exec", "app", "--after", "db", "--timeout", "50ms", "--", "echo", "no")
    assert (done.stdout, done.returncode) == ("", 124)
    assert "timeout waiting for dependencies of unit app\n" in done.stderr
    service.run("sync", "exec", "db", "--", "false")
    done = service.run("sync", "exec", "app", "--after", "db", "--", "echo", "no")
    assert (done.stdout, done.returncode) == ("", 3)
    assert done.stderr == "error: unit 'app' cannot become ready: 'db' is failed (exit status 1)\n"
    service.run("sync", "start", "busy")
    done = service.run("sync", "exec", "busy", "--", "echo", "no")
    assert (done.stdout, done.stderr, done.returncode) == ("", "error: unit 'busy' is started already\n", 1)
    assert status(service, "busy") == ("started", None)


def test_a_command_that_cannot_be_run(service, tmp_path):
    done = service.run("sync", "exec", "app", "--", "no-such-command-1")
    assert (done.stderr, done.returncode) == ("error: no-such-command-1: there is no such command\n", 127)
    assert status(service, "app") == ("failed", "no-such-command-1: there is no such command")
    text = tmp_path / "text"
    text.write_text("")
    done = service.run("sync", "exec", "app", "--", str(text))
    assert (done.stderr, done.returncode) == (f"error: {text}: Permission denied\n", 126)
    assert status(service, "app") == ("failed", f"{text}: Permission denied")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_passed_on(service, number):
    script = f"trap 'echo heard; exit 7' {number.value}; echo ready; while :; do sleep 0.05; done"
    running = service.popen("sync", "exec", "app", "--", "sh", "-c", script)
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    assert running.communicate(timeout=60) == ("heard\n", "")
    assert (running.returncode, status(service, "app")) == (7, ("failed", "exit status 7"))
    running = service.popen("sync", "exec", "app", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    running.communicate(timeout=60)
    assert (running.returncode, status(service, "app")) == (128 + number, ("failed", f"killed by {number.name}"))


def test_signals_that_were_ignored_stay_so(service):
    ignore = f"trap '' HUP INT; exec {COMMAND} sync exec app -- sh -c 'kill -HUP $$; kill -INT $$; echo alive'"
    done = subprocess.run(["sh", "-c", ignore], capture_output=True, text=True, env=service.environment(), check=False)
    assert (done.stdout, done.returncode) == ("alive\n", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_it_waits_leaves_nothing_started(service, number):
    running = service.popen("sync", "exec", "app", "--after", "db", "--", "echo", "no")
    running.stderr.readline()
    running.send_signal(number)
    running.send_signal(signal.SIGTERM)
    assert running.communicate(timeout=60) == ("", "")
    assert running.returncode in {128 + number, 128 + signal.SIGTERM}
    service.run("sync", "exec", "db", "--", "true")
    assert status(service, "app") == ("pending", None)


# Starts exec's own program with the service's answer to `start` in hand, and a signal before the command runs.
STOPPED_IN_BETWEEN = """
import os, signal, sys
from fastdag.cli import run, verbs
begin = verbs.begin
def begin_and_stop(*arguments):
    begin(*arguments)
    os.kill(os.getpid(), signal.SIGTERM)
verbs.begin = begin_and_stop
sys.exit(run(sys.argv[1:]))
"""


def test_a_signal_between_start_and_command(service):
    command = [sys.executable, "-c", STOPPED_IN_BETWEEN, "sync", "exec", "app", "--", "echo", "no"]
    done = subprocess.run(command, capture_output=True, text=True, env=service.environment(), check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 128 + signal.SIGTERM)
    assert status(service, "app") == ("failed", "ended by SIGTERM before its command ran")


def test_neither_the_unit_nor_the_command_outlives_a_killed_exec(service):
    service.run("sync", "want", "late", "app")
    running = service.popen("sync", "exec", "app", "--", "sh", "-c", "echo $$; exec sleep 600")
    child = int(running.stdout.readline())
    running.kill()
    with Client(service.socket) as client:
        assert client.wait("app", "failed", 30).reason == f"its process {running.pid} ended without a word"
        assert client.unit("late").status == "skipped"
    deadline = time.monotonic() + 30
    while not gone(child):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            pytest.fail("the command goes on")
    running.communicate(timeout=60)


# Says which signals come, and whether the terminal (128) or a process (0) sent them.
LISTENING = """
import signal
numbers = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
came = signal.sigwaitinfo(numbers)
while came.si_signo == signal.SIGINT:
    print("interrupted by", came.si_code, flush=True)
    came = signal.sigwaitinfo(numbers)
print("ended by", came.si_code, flush=True)
"""


def test_the_terminals_interrupt_reaches_the_command_once(service):
    # The key's signal goes to all that run in the terminal's foreground: exec and its command.
    pid, terminal = pty.fork()
    if not pid:
        command = [COMMAND, "sync", "exec", "app", "--", sys.executable, "-c", LISTENING]
        os.execve(COMMAND, command, service.environment())
    text = b""

    def until(word):
        nonlocal text
        while word not in text:
            text += os.read(terminal, 1000)

    until(b"ready")
    os.kill(pid, signal.SIGSTOP)  # what exec might add comes when the command has heard the first, and is not merged
    os.write(terminal, b"\x03")
    until(b"interrupted by 128")
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGTERM)  # the kernel hands out the lower number first: exec has seen the interrupt by then
    until(b"ended by 0")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert text.count(b"interrupted by") == 1, text


@pytest.mark.parametrize(
    ("script", "code", "told"), [("exit 0", 0, "completed"), ("exit 5", 5, "failed (exit status 5)")]
)
def test_a_service_that_is_gone_in_the_end(service, script, code, told):
    running = service.popen(
        "sync", "exec", "app", "--", "sh", "-c", f"echo ready; read line; {script}", stdin=subprocess.PIPE
    )
    running.stdout.readline()
    service.stop(signal.SIGKILL)
    _, said = running.communicate("\n", timeout=60)
    assert said.startswith(
        f"error: the command has ended, but the unit 'app' could not be set to {told}:\nerror: no fastdag"
    )
    assert running.returncode == code


def test_a_unit_that_somebody_else_ended(service):
    done = service.run("sync", "exec", "app", "--", COMMAND, "sync", "complete", "app")
    assert done.returncode == 0
    assert done.stderr.endswith("could not be set to completed:\nerror: unit 'app' is completed already\n")

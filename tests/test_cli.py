"""`fastdag` as scripts call it: words, output and exit codes, which scripts written for the original expect."""

from __future__ import annotations

import inspect
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_support import COMMAND, run
from hypothesis import given
from hypothesis import strategies as st

import fastdag
from fastdag.cli import parsed, shortcut, verbs
from fastdag.cli.failures import explained
from fastdag.cli.parser import _BUILT_IN, make_parser, near_built_in
from fastdag.client import Client

WORD = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VERB = st.sampled_from(["ping", "want", "start", "complete", "fail", "status", "list", "sync", "x"])


def said(done):
    return done.stdout, done.stderr, done.returncode


# --- the grammar ------------------------------------------------------------------------------------------------------


@given(st.lists(WORD | VERB, max_size=1), VERB, st.lists(WORD | st.sampled_from(["a", "-h", "--", "-", "--reason"])))
def test_the_short_cut_calls_what_argparse_would(before, verb, units):
    words = [*(before or ["sync"]), verb, *units]
    short = shortcut(words)
    if short is None:
        return
    name, arguments = parsed(words)

    def bound(name, arguments):
        function = inspect.signature(getattr(verbs, name)).bind(**arguments)
        function.apply_defaults()
        return name, function.arguments

    assert bound(*short) == bound(name, arguments)


@pytest.mark.parametrize(
    "words",
    [["ping"], ["want", "a", "b"], ["want", "a", "b", "", "c"], ["start", "a"], ["complete", ""], ["fail", "a"]],
)
def test_plain_calls_take_the_short_cut(words):
    assert shortcut(["sync", *words]) is not None


def commands():
    """Give the words of every command, and the function that it calls, if it does anything alone."""
    found = []

    def walk(parser, words):
        found.append((words, parser.get_default("verb")))
        for action in parser._actions:
            if action.__class__.__name__ == "_SubParsersAction":
                for name, inner in action.choices.items():
                    walk(inner, [*words, name])

    walk(make_parser(), [])
    return found


def test_every_command_has_help_and_a_function():
    assert [function for _, function in commands()].count(None) == 2  # fastdag, fastdag sync
    assert {"serve", "completion", "sync ping", "sync exec"} <= {" ".join(words) for words, _ in commands()}
    for words, function in commands():
        assert function is None or callable(getattr(verbs, function))
        done = run(*words, "--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"usage: {' '.join(['fastdag', *words])} ")
        assert max(map(len, done.stdout.splitlines())) <= 120
        if words not in (["serve"], ["completion"]):
            assert "\nexit codes:\n  0 " in done.stdout
            timed = "143 by SIGTERM" if words == ["run"] else "  124  the time limit is over\n"
            assert timed in done.stdout


VERBS = "ping, want, start, complete, fail, exec, status, list, why, wait, events, graph"
UNITS_OF_TIME = "write numbers with units, as in 30s, 5m, 1h30m or 100ms, or 0"
NO_COMMAND = "which command? It stands at the end, behind --"


@pytest.mark.parametrize(
    ("line", "message", "see"),
    [
        ("", "the following arguments are required: COMMAND", ""),
        ("snyc ping", "COMMAND: there is no 'snyc'; did you mean 'sync'?", ""),
        ("sync", "the following arguments are required: VERB", "sync"),
        ("sync strat a", "VERB: there is no 'strat'; did you mean 'start'?", "sync"),
        ("sync qqq", f"VERB: there is no 'qqq'; choose from {VERBS}", "sync"),
        ("sync want a", "the following arguments are required: DEP", "sync want"),
        ("sync want a b --requires sucess", "--requires: there is no 'sucess'; did you mean 'success'?", "sync want"),
        ("sync start", "the following arguments are required: UNIT", "sync start"),
        ("sync complete a b", "these words are too many, or no options here: b", "sync complete"),
        ("sync start a --timeout 5", f"argument --timeout: '5' is no duration; {UNITS_OF_TIME}", "sync start"),
        (
            "sync wait a --timeout 277778h",
            "argument --timeout: '277778h' is more than 277777h; 0 stands for no limit",
            "sync wait",
        ),
        ("sync wait a --for=", "argument --for: a status is not empty", "sync wait"),
        ("sync start a --owner x", "argument --owner: 'x' is no number of a process", "sync start"),
        ("sync start a --time 5s", "these words are too many, or no options here: --time 5s", "sync start"),
        (
            "sync list -c a",
            "argument -c/--column: there is no column 'a'; choose from unit, status, ready",
            "sync list",
        ),
        ("sync exec a echo", "these words are too many, or no options here: echo", "sync exec"),
        ("sync exec a", NO_COMMAND, "sync exec"),
        ("sync exec a --", NO_COMMAND, "sync exec"),
        ("sync exec -- echo", "the following arguments are required: UNIT", "sync exec"),
        ("--socket /s completion bash", "--socket goes with sync and serve, not with completion", ""),
        ("completion tcsh", "SHELL: there is no 'tcsh'; choose from bash, zsh, fish", "completion"),
    ],
)
def test_usage_errors_name_the_command_to_look_at(line, message, see):
    command = " ".join(["fastdag", *see.split()])
    assert said(run(*line.split())) == ("", f"error: {message}\nsee: {command} --help\n", 2)


def test_options_may_stand_anywhere():
    expected = parsed(["sync", "--socket", "/s", "want", "--requires", "completion", "a", "b", "c"])
    assert expected == (
        "want",
        {"socket": "/s", "unit": "a", "depends_on": ["b", "c"], "requires": "completion"},
    )
    for line in (
        "sync want a --socket-path /s b --requires completion c",
        "sync want a b c --requires=completion --socket=/s",
        "--socket /s sync want --requires completion a b c",
        "--socket /t sync --socket /u want --socket /s a b --requires completion c",
        "sync --socket /t want --socket /s a b --requires completion c",
        "sync --socket-path /s want --requires completion -- a b c",
    ):
        assert parsed(line.split()) == expected
    assert parsed(["sync", "complete", "--", "-odd"]) == ("complete", {"unit": "-odd"})
    assert parsed(["--socket", "/s", "serve"])[1]["socket"] == "/s"
    words = ["exec", "a", "--after", "b", "--timeout", "0", "--after", "c", "--", "cmd", "--after", "--", "d"]
    name, arguments = parsed(["sync", *words])
    assert (name, arguments["command"]) == ("execute", ["cmd", "--after", "--", "d"])
    assert (arguments["unit"], arguments["after"], arguments["timeout"]) == ("a", ["b", "c"], None)


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        *[(word, "completed") for word in ("complete", "complted", "completted", "conpleted", "Completed")],
        *[(word, "completed") for word in ("COMPLETE", "ompleted", "completde", "ocmpleted", "compelted")],
        *[("start", "started"), ("skip", "skipped"), ("cancelled", "canceled"), ("pend", "pending")],
        *[("timed-out", "timed_out"), ("timedout", "timed_out"), ("fail", "failed"), ("faled", "failed")],
    ],
)
def test_a_built_in_status_misspelt_is_recognized(status, meant):
    assert near_built_in(status) == meant


@pytest.mark.parametrize("status", ["warming up", "mounted", "ok", "f", *_BUILT_IN])
def test_a_status_of_ones_own_is_no_misspelt_one(status):
    assert near_built_in(status) is None


# --- what it costs ----------------------------------------------------------------------------------------------------


# Runs the command, and writes on standard error what it loaded before it left.
WATCHED = """
import os, sys
def leave(code):
    os.write(2, "\\n".join(sorted(set(sys.modules) - before)).encode())
    end(code)
end, os._exit = os._exit, leave
before = set(sys.modules)
from fastdag.cli import main
main()
"""


@pytest.mark.parametrize("words", [["ping"], ["start", "a"], ["complete", "a"], ["fail", "b"], ["want", "b", "a"]])
def test_plain_calls_load_next_to_nothing(service, words):
    with Client(service.socket) as client:
        client.register_all(["a", "b"])
    # Without site, which itself loads much of what should not be loaded where packages ask it to.
    command = [sys.executable, "-S", "-c", WATCHED, "sync", *words]
    environment = service.environment() | {"PYTHONPATH": str(Path(fastdag.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.returncode) == ("Success\n", 0)
    assert done.stderr.split() == [
        "_json",
        "_socket",
        "fastdag",
        "fastdag.cli",
        "fastdag.cli.verbs",
        "fastdag.client",
        "fastdag.client.transport",
        "fastdag.client.wire",
    ]


# --- output -----------------------------------------------------------------------------------------------------------


def test_what_the_original_prints(service):
    sync = lambda *words: said(service.run("sync", *words))  # noqa: E731
    success = ("Success\n", "", 0)
    assert sync("ping") == success
    assert sync("list") == ("No units registered\n", "", 0)
    assert sync("list", "--output", "json") == ("[]\n", "", 0)
    unknown = "Unit: test-unit\nStatus: not registered\nReady: false\n\nDependencies:\nNo dependencies found\n"
    assert sync("status", "test-unit") == (unknown, "", 0)
    assert sync("want", "test-unit", "dep-1", "dep-2") == success
    assert sync("start", "dep-1") == success
    assert sync("complete", "dep-1") == success
    assert sync("status", "test-unit") == (
        """\
Unit: test-unit
Status: pending
Ready: false

Dependencies:
DEPENDS ON  REQUIRED STATUS  CURRENT STATUS  SATISFIED
dep-1       completed        completed       true
dep-2       completed        not registered  false
""",
        "",
        0,
    )
    assert sync("status", "test-unit", "-c", "satisfied,depends on")[0].splitlines()[5:] == [
        "SATISFIED  DEPENDS ON",
        "true       dep-1",
        "false      dep-2",
    ]
    assert sync("status", "test-unit", "--output", "json")[0] == (
        """\
{
  "unit_name": "test-unit",
  "status": "pending",
  "is_ready": false,
  "dependencies": [
    {
      "depends_on": "dep-1",
      "required_status": "completed",
      "current_status": "completed",
      "is_satisfied": true
    },
    {
      "depends_on": "dep-2",
      "required_status": "completed",
      "current_status": "",
      "is_satisfied": false
    }
  ]
}
"""
    )
    assert sync("list")[0] == "UNIT       STATUS     READY\ntest-unit  pending    false\ndep-1      completed  true\n"
    assert sync("list", "-c", "unit", "-c", "STATUS")[0] == (
        "UNIT       STATUS\ntest-unit  pending\ndep-1      completed\n"
    )
    assert json.loads(sync("list", "-o", "json")[0]) == [
        {"unit_name": "test-unit", "status": "pending", "is_ready": False},
        {"unit_name": "dep-1", "status": "completed", "is_ready": True},
    ]


def test_a_start_that_waits_says_so(service):
    service.run("sync", "want", "app", "db")
    starting = service.popen("sync", "start", "app", "--timeout", "0")
    assert starting.stdout.readline() == "Waiting for dependencies of unit 'app' to be satisfied...\n"
    service.run("sync", "start", "db")
    service.run("sync", "complete", "db")
    assert starting.communicate(timeout=60) == ("Success\n", "")
    assert starting.returncode == 0


def test_a_time_out(service):
    service.run("sync", "want", "app", "db")
    service.run("sync", "want", "app", "disk", "--requires", "completed")
    done = service.run("sync", "start", "app", "--timeout", "50ms")
    assert done.stdout == "Waiting for dependencies of unit 'app' to be satisfied...\n"
    assert done.returncode == 124
    assert done.stderr == (
        "timeout waiting for dependencies of unit app\n"
        "  'app' needs success of 'db', which is not registered: unmet\n"
        "  'app' needs exactly completed of 'disk', which is not registered: unmet\n"
    )
    service.run("sync", "start", "web")
    assert said(service.run("sync", "wait", "web", "--timeout", "50ms", "--for", "completed")) == (
        "",
        "timeout waiting for unit web to be completed\n",
        124,
    )
    assert service.run("sync", "wait", "app", "--timeout", "50ms").stderr == done.stderr


@pytest.mark.parametrize("form", [[], ["--for", "started"]])
def test_a_wait_for_what_nobody_has_registered_says_so(service, form):
    waiting = service.popen("sync", "wait", "app", *form)
    assert waiting.stderr.readline() == "Waiting for unit 'app', which nobody has registered yet...\n"
    service.run("sync", "start", "app")
    assert waiting.communicate(timeout=60) == ("Success\n", "")
    assert waiting.returncode == 0


def test_a_wait_for_a_status_that_may_be_misspelt_says_so_and_waits(service):
    service.run("sync", "start", "app")
    waiting = service.popen("sync", "wait", "app", "--for", "shipped")
    assert waiting.stderr.readline() == "Waiting for the status 'shipped', which is not the built-in 'skipped'...\n"
    with Client(service.socket) as client:
        client.update_status("app", "shipped")
    assert waiting.communicate(timeout=60) == ("Success\n", "")


def test_the_longest_time_limit_is_taken(service):
    service.run("sync", "want", "app", "db")
    starting = service.popen("sync", "start", "app", "--timeout", "277777h")
    assert starting.stdout.readline() == "Waiting for dependencies of unit 'app' to be satisfied...\n"
    service.run("sync", "start", "db")
    service.run("sync", "complete", "db")
    assert starting.communicate(timeout=60) == ("Success\n", "")


def test_a_dependency_that_failed(service):
    service.run("sync", "want", "serve", "install", "docs")
    service.run("sync", "want", "install", "clone")
    service.run("sync", "start", "clone")
    waiting = service.popen("sync", "start", "serve")
    waiting.stdout.readline()
    assert said(service.run("sync", "fail", "clone", "--reason", "exit status 3")) == ("Success\n", "", 0)
    assert waiting.communicate(timeout=60)[1] == (
        "error: unit 'serve' cannot become ready: 'install' is skipped\n  because 'clone' is failed (exit status 3)\n"
    )
    assert waiting.returncode == 3
    assert said(service.run("sync", "start", "install")) == (
        "",
        "error: unit 'install' cannot become ready: 'clone' is failed (exit status 3)\n",
        3,
    )
    assert said(service.run("sync", "wait", "clone", "--for", "completed")) == (
        "",
        "error: unit 'clone' is failed (exit status 3)\n",
        3,
    )
    assert service.run("sync", "status", "clone").stdout.splitlines()[3] == "Reason: exit status 3"
    assert json.loads(service.run("sync", "status", "clone", "-o", "json").stdout)["reason"] == "exit status 3"
    why = re.sub(r"\d+\.\d s", "N s", service.run("sync", "why", "serve").stdout)
    assert why == (
        """\
'serve' is blocked: skipped for N s
  needs success of 'install': skipped for N s, impossible, because it
    needs success of 'clone': failed for N s, impossible
  needs success of 'docs': not registered
'clone' is failed: exit status 3
stalled: nothing that runs or is ready can ever release 'serve', as it needs
  success of 'install', which is skipped
  success of 'docs', which is not registered
"""
    )


def test_a_unit_that_others_end_while_it_waits_to_start(service):
    service.run("sync", "want", "app", "db")
    starting = service.popen("sync", "start", "app")
    executing = service.popen("sync", "exec", "app", "--", "echo", "no")
    until_waiting(service, 2)
    with Client(service.socket) as client:
        client.cancel("app", "not today")
    says = "Waiting for dependencies of unit 'app' to be satisfied...\n"
    error = "error: unit 'app' is canceled (not today)\n"
    assert (*starting.communicate(timeout=60), starting.returncode) == (says, error, 3)
    assert (*executing.communicate(timeout=60), executing.returncode) == ("", says + error, 3)
    assert service.run("sync", "status", "app").stdout.splitlines()[1] == "Status: canceled"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["complete", "nobody"], "unit 'nobody' is not registered; `fastdag sync want` and `start` register it"),
        (["start", "db"], "unit 'db' is started already"),
        (["want", "db", "app"], "unit 'db' cannot depend on 'app', as that would close a cycle: 'db' -> 'app' -> 'db'"),
        (
            ["want", "app", "db", "--requires", "completion"],
            "unit 'app' already depends on 'db' with the requirement success, not completion; that one stands",
        ),
        (["start", "x", "--owner", "2147483647"], "there is no process 2147483647 that a unit could be tied to"),
        (["ping", "--socket", ""], "the path of the service's socket is empty"),
        (["complete", b"\xff"], "'\\udcff' is not text in UTF-8, which the service's names are"),
        (["status", b"\xff"], "'\\udcff' is not text in UTF-8, which the service's names are"),
    ],
)
def test_errors(service, words, message):
    service.run("sync", "want", "app", "db")
    service.run("sync", "start", "db")
    before = service.run("sync", "graph", "--format", "mermaid").stdout
    assert said(service.run("sync", *words)) == ("", f"error: {message}\n", 1)
    assert service.run("sync", "graph", "--format", "mermaid").stdout == before


def test_nobody_listens(tmp_path):
    path = str(tmp_path / "no ne")
    message = f"error: no fastdag service at {path}; start one with: fastdag serve --background"
    for words in (["ping"], ["complete", "a"], ["status", "a"], ["events"], ["exec", "a", "--", "true"]):
        assert said(run("sync", *words, env={**os.environ, "FASTDAG_SOCKET": path})) == ("", f"{message}\n", 69)
    assert said(run("sync", "ping", "--socket", path)) == ("", f"{message} --socket '{path}'\n", 69)


def test_a_service_that_stops_sends_its_waiters_home(service):
    service.run("sync", "want", "app", "db")
    waiting = service.popen("sync", "start", "app")
    until(service, "\nfastdag_waiters 1.0\n")
    service.stop()
    assert "stopping" in waiting.communicate(timeout=60)[1]
    assert waiting.returncode == 69


def test_owner(service):
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert service.run("sync", "start", "app", "--owner", str(owner.pid)).returncode == 0
    assert f"Owner: {owner.pid}" in service.run("sync", "status", "app").stdout
    owner.communicate(b"\n")
    assert service.run("sync", "wait", "app", "--for", "failed").stdout == "Success\n"


def test_requirements_in_words(service):
    for word, shown in [
        ("success", "completed"),
        ("completion", "completion"),
        ("started", "started"),
        ("completed", "exactly completed"),
    ]:
        service.run("sync", "want", "app", word, "--requires", word)
        assert service.run("sync", "status", "app", "-c", "required status").stdout.splitlines()[-1] == shown


def test_graph(service):
    service.run("sync", "want", "app", "db")
    assert service.run("sync", "graph").stdout.startswith('digraph "G" {\n  "app" [label="app\\npending"];\n')
    assert service.run("sync", "graph", "--format", "mermaid").stdout.startswith("flowchart LR\n")
    view = json.loads(service.run("sync", "graph", "--format", "json").stdout)
    assert [unit["unit"] for unit in view["units"]] == ["app", "db"]
    assert [(each["unit"], each["depends_on"]) for each in view["dependencies"]] == [("app", "db")]


@pytest.mark.parametrize("form", ["table", "json"])
def test_events_until_interrupted(service, form):
    listening = service.popen("sync", "events", "--unit", "app", "-o", form)
    until(service, '"events",code="200"}')
    service.run("sync", "want", "app", "db")
    service.run("sync", "start", "db")
    lines = [listening.stdout.readline() for _ in range(4)]
    listening.send_signal(signal.SIGINT)
    assert listening.communicate(timeout=60)[1] == ""  # those of db may have come as well by now
    assert listening.returncode == 130
    if form == "table":
        assert [re.sub(r"^\d\d:\d\d:\d\d\.\d\d\d", "T", line) for line in lines] == [
            "T  app  registered  pending\n",
            "T  app  state  waiting -> ready\n",
            "T  app  dependency  on db, which is not registered\n",
            "T  app  state  ready -> waiting, by db\n",
        ]
    else:
        first = json.loads(lines[0])
        assert list(first) == ["id", "kind", "unit", "dependency", "old", "new", "time"]
        assert [json.loads(line)["kind"] for line in lines] == ["registered", "state", "dependency", "state"]


def test_events_end_with_the_service(service):
    listening = service.popen("sync", "events")
    until(service, '"events",code="200"}')
    service.stop(signal.SIGKILL)
    assert "ended the connection" in listening.communicate(timeout=60)[1]
    assert listening.returncode == 69


def until_waiting(service, number):
    """Return when so many wait at the service."""
    with Client(service.socket) as client:
        while f"fastdag_waiters {number}.0" not in client._transport.call("GET", "/metrics").decode():
            time.sleep(0.01)


def until(service, figure):
    """Return when the service's metrics have something."""
    with Client(service.socket) as client:
        while figure not in client._transport.call("GET", "/metrics").decode():
            pass


# --- where it is called from ------------------------------------------------------------------------------------------


def on_a_terminal(service, *words, **environment):
    """Run with standard output on a terminal; gives what it printed there."""
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [COMMAND, *words], stdout=theirs, env=service.environment() | {"TERM": "xterm"} | environment
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        text += piece
    os.close(ours)
    assert done.wait(60) == 0
    return text.decode().replace("\r\n", "\n")


def test_colours_for_a_person_only(service):
    service.run("sync", "want", "app", "db")
    plain = service.run("sync", "list").stdout
    assert on_a_terminal(service, "sync", "list", NO_COLOR="1") == plain
    shown = on_a_terminal(service, "sync", "list")
    assert "\x1b[" in shown
    bare = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert [line.rstrip() for line in bare.splitlines()] == plain.splitlines()


def test_a_reader_that_goes_away(service):
    with Client(service.socket) as client:
        client.register_all([f"unit-{number}" for number in range(10_000)])
    listing = service.popen("sync", "list")
    listing.stdout.readline()
    listing.stdout.close()
    assert listing.stderr.read() == ""
    assert listing.wait(60) == 141
    listing.stderr.close()


def test_output_that_cannot_be_written(service):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [COMMAND, "sync", "ping"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=service.environment() | {"PYTHONUNBUFFERED": ""},  # or it would be written as it comes
            check=False,
        )
    assert (done.stderr, done.returncode) == ("error: cannot write the output: No space left on device\n", 1)


def test_without_an_output(service):
    done = subprocess.run(f"{COMMAND} sync ping >&- 2>&-", shell=True, env=service.environment(), check=False)
    assert done.returncode == 0


def test_python_m_and_version(service):
    done = subprocess.run([sys.executable, "-m", "fastdag", "--version"], capture_output=True, text=True, check=False)
    assert said(done) == (f"fastdag {fastdag.__version__}\n", "", 0)


def test_an_error_that_nobody_foresaw_is_raised():
    with pytest.raises(ZeroDivisionError):
        explained(ZeroDivisionError())


def test_scripts_start_in_any_order(service):
    # As in a script: with errexit, and the verb's output thrown away.
    script = "set -e; fastdag sync want serve clone > /dev/null; fastdag sync start serve > /dev/null; echo serving"
    environment = service.environment() | {"PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}"}
    serving = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    clone = "set -e; fastdag sync start clone > /dev/null; fastdag sync complete clone"
    assert subprocess.run(["sh", "-c", clone], env=environment, check=True, capture_output=True).stdout == b"Success\n"
    began = time.monotonic()
    assert serving.communicate(timeout=60)[0] == "serving\n"
    assert time.monotonic() - began < 60

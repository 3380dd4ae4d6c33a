"""`fastdag plan`: what it prints, in each form."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from command_support import run

from fastdag.durations import format_duration
from fastdag.plan import Need, Plan, PlannedUnit, load
from fastdag.plan.show import FORMS, as_dot, as_json, as_mermaid, as_text, outlines
from fastdag.status import Requirement

PLANS = Path(__file__).parent / "plans"


def unit(name, *after, **values):
    needs = tuple(Need(other, Requirement.SUCCESS) for other in after)
    return PlannedUnit(**{"title": name} | values, name=name, run="true", needs=needs)


def plan(*units):
    return Plan({each.name: each for each in units}, lambda name: ("plan.toml", 1))


def test_the_text():
    assert (
        as_text(load(PLANS / "workspace.toml"))
        == """\
start: 11 units, 17 dependencies
  1  home
  2  clone, dotfiles, node, python
  3  install, database
  4  migrate, code_server, jetbrains
  5  report
  at once: 3 units of one generation
  longest path: 5 units, 4m43s expected: home -> python -> install -> jetbrains -> report
stop: 2 units, 1 dependency
  1  dump
  2  shut_down
  at once: 1 unit of one generation
  longest path: 2 units, 35s expected: dump -> shut_down
"""
    )


def test_each_agent_has_a_part_and_titles_are_shown():
    made = plan(unit("a", agent="gpu", title="A\x1b[31m"), unit("b", "c", agent="main"), unit("c", agent="main"))
    assert (
        as_text(made)
        == """\
start, gpu: 1 unit, 0 dependencies
  1  a (A\\x1b[31m)
  at once: 1 unit of one generation
  longest path: 1 unit: a
start, main: 2 units, 1 dependency
  1  c
  2  b
  at once: 1 unit of one generation
  longest path: 2 units: c -> b
"""
    )


def test_a_large_plan_is_not_spelled_out():
    names = [f"u{number}" for number in range(1500)]
    chain = [unit(name, *before) for name, before in zip(names, [[], *([name] for name in names)], strict=False)]
    text = as_text(plan(*chain, *(unit(f"free-{number}") for number in range(20))))
    assert text.startswith("start: 1,520 units, 1,499 dependencies\n     1  u0, free-0, ")
    assert text.splitlines()[1].endswith(", free-10, … 9 more")
    assert text.splitlines()[1500] == "  1500  u1499"
    assert text.splitlines()[-1] == (
        "  longest path: 1,500 units: u0 -> u1 -> u2 -> u3 -> u4 -> u5 -> … 1,488 more … -> u1494 -> u1495 -> u1496 -> "
        "u1497 -> u1498 -> u1499"
    )


def test_dot_and_mermaid():
    made = plan(unit("a"), unit("b", "a", title='B "b"'))
    assert (
        as_dot(made)
        == """\
digraph "plan" {
  "a";
  "b" [label="B \\"b\\"\\nb"];
  "b" -> "a" [label="success"];
}
"""
    )
    assert (
        as_mermaid(made)
        == """\
flowchart LR
  v0["a"]
  v1["B #quot;b#quot;<br>b"]
  v1 -->|"success"| v0
"""
    )


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not here")
def test_graphviz_reads_it():
    subprocess.run(["dot", "-Tplain"], input=as_dot(load(PLANS / "workspace.json")), text=True, check=True)


def test_json():
    document = json.loads(as_json(load(PLANS / "workspace.toml")))
    assert document["units"]["report"] == {
        "title": "report",
        "run": "./scripts/report",
        "shell": "/bin/sh",
        "cwd": "app",
        "env": {},
        "timeout": 600.0,
        "retries": 0,
        "priority": 0,
        "slots": 1,
        "exclusive": None,
        "phase": "start",
        "agent": None,
        "expected": 2.0,
        "file": str(PLANS / "workspace.toml"),
        "line": 73,
        "after": [{"unit": name, "requires": "completion"} for name in ("code_server", "jetbrains", "migrate")],
    }
    assert document["outlines"][1] == {
        "phase": "stop",
        "agent": None,
        "units": 2,
        "dependencies": 1,
        "generations": [["dump"], ["shut_down"]],
        "longest_path": ["dump", "shut_down"],
        "expected": 35.0,
        "at_once": 1,
    }


@pytest.mark.parametrize("seed", range(100))
def test_generations_and_the_longest_path_against_an_oracle(seed):
    choose = random.Random(seed)
    names = [f"u{number}" for number in range(choose.randint(1, 9))]
    after = {name: [] for name in names}
    for earlier, later in combinations(names, 2):
        if choose.random() < 0.3:
            after[later].append(earlier)
    times = {name: choose.choice([None, 0.0, 1.5, 2.0, 7.0]) for name in names} if seed % 4 else dict.fromkeys(names)
    words = {name: choose.choice([None, None, "x", "y"]) for name in names}
    shuffled = choose.sample(names, len(names))
    made = plan(*(unit(name, *after[name], expected=times[name], exclusive=words[name]) for name in shuffled))
    (outline,) = outlines(made)

    generation, longest = {}, {}
    timed = any(time is not None for time in times.values())
    for name in names:  # in an order in which they may run
        generation[name] = max((generation[other] + 1 for other in after[name]), default=0)
        own = (times[name] or 0.0) if timed else 1.0
        longest[name] = own + max((longest[other] for other in after[name]), default=0.0)
    assert outline.generations == [
        [name for name in shuffled if generation[name] == number] for number in range(max(generation.values()) + 1)
    ]
    path = outline.longest_path
    assert all(earlier in after[later] for earlier, later in pairwise(path))
    if timed:
        assert outline.expected == max(longest.values()) == sum(times[name] or 0.0 for name in path)
    else:
        assert outline.expected is None
        assert len(path) == max(longest.values())
    assert outline.dependencies == sum(map(len, after.values()))
    assert outline.at_once == max(
        sum(words[name] is None for name in each) + len({words[name] for name in each} - {None})
        for each in outline.generations
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_command_prints_each_form(form):
    file = str(PLANS / "workspace.json")
    done = run("plan", file, "--format", form)
    assert (done.stdout, done.stderr, done.returncode) == (FORMS[form](load(file)), "", 0)


def test_the_command_prints_one_phase(tmp_path):
    done = run("plan", "--phase=stop", str(PLANS / "workspace.toml"))
    assert done.stdout.startswith("stop: 2 units")
    (tmp_path / "plan.toml").write_text('[units.a]\nrun = "x"\n')
    assert run("plan", "--phase=stop", str(tmp_path / "plan.toml")).stdout == "no units\n"


def test_the_command_says_warnings_beside_what_it_prints(tmp_path):
    state = {"format_version": "1.0", "values": {"root_module": {}}}
    script = {"mode": "managed", "type": "coder_script"}
    module = [
        {**script, "name": name, "address": f"module.m.coder_script.{name}", "values": {"agent_id": "1", **when}}
        for name, when in {"up": {"run_on_start": True}, "down": {"run_on_stop": True}}.items()
    ]
    for each in module:
        each["values"]["script"] = "x"
    order = {"mode": "data", "type": "coder_script_order", "name": "o", "address": "data.coder_script_order.o"}
    rule = {"run": ["coder_script.a"], "after": ["module.m"]}
    own = {"agent_id": "1", "script": "x", "run_on_start": True}
    state["values"]["root_module"] = {
        "resources": [
            {**script, "name": "a", "address": "coder_script.a", "values": own},
            {**order, "values": {"rule": [rule]}},
        ],
        "child_modules": [{"address": "module.m", "resources": module}],
    }
    file = tmp_path / "state.json"
    file.write_text(json.dumps(state))
    done = run("plan", str(file))
    assert done.stdout.startswith("start, 1: 2 units, 1 dependency\n")
    assert done.returncode == 0
    assert done.stderr == (
        f"{file}:1: data.coder_script_order.o, rule 0: of module.m only the scripts of phase start are meant; "
        'say so with phase = "start"\n'
    )


def test_a_plan_that_is_not_there():
    done = run("plan", "/nowhere/plan.toml")
    assert (done.stderr, done.returncode) == ("error: /nowhere/plan.toml: No such file or directory\n", 1)


def test_durations_for_people():
    shown = [0, 0.0004, 0.9994, 0.9995, 1, 59.94, 59.96, 60, 3599.6, 3661, 90000]
    assert [format_duration(each) for each in shown] == [
        *("0s", "0.4ms", "999ms", "1s", "1s", "59.9s", "1m", "1m", "1h", "1h1m1s", "25h"),
    ]

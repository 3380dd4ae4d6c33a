"""Recorded workflows, and the example, as runs of processes."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from command_support import COMMAND

from benchmarks import workloads

ROOT = Path(__file__).resolve().parents[1]
WORK = 4.0  # seconds of sleep in all


def plan_of(workflow, command):
    parents = defaultdict(list)
    for task, parent in workflow.edges:
        parents[task].append(parent)
    return "".join(
        f"[units.{json.dumps(task)}]\nrun = {json.dumps(command(task))}\nafter = {json.dumps(parents[task])}\n"
        f'expected = "{workflow.seconds[task] * 1000:.0f}ms"\n'
        for task in workflow.vertices
    )


def check(runner, workflow, done):
    """Every task once, and behind all of its parents."""
    assert (done.code, done.summary["statuses"]) == (0, {"completed": len(workflow.vertices)})
    told = [line.split() for line in (runner.folder / "order").read_text().splitlines()]
    place = {tuple(line): number for number, line in enumerate(told)}
    assert len(told) == len(place) == 2 * len(workflow.vertices)
    assert all(place["end", parent] < place["begin", task] for task, parent in workflow.edges)


@pytest.mark.parametrize("name", workloads.WORKFLOWS)
def test_tasks_that_do_nothing(runner, name):
    workflow = workloads.workflow(name)
    done = runner(plan_of(workflow, lambda task: f"echo begin {task} >> order; echo end {task} >> order"), "-j", "4")
    check(runner, workflow, done)


@pytest.mark.parametrize("name", workloads.WORKFLOWS[:2])
def test_tasks_that_sleep_as_long_as_recorded_to_scale(runner, name):
    workflow = workloads.workflow(name)
    scale = WORK / sum(workflow.seconds.values())

    def command(task):
        return f"echo begin {task} >> order; sleep {workflow.seconds[task] * scale:.4f}; echo end {task} >> order"

    done = runner(plan_of(workflow, command), "-j", "8")
    check(runner, workflow, done)
    assert done.summary["seconds"] >= max(workflow.seconds.values()) * scale


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_the_example(runner, jobs):
    runner.environment["PATH"] = f"{os.path.dirname(COMMAND)}:{os.environ['PATH']}"
    plan = (ROOT / "examples" / "workspace.toml").read_text()
    done = runner(plan, "-j", jobs)
    assert (done.code, set(done.summary["statuses"])) == (0, {"completed"})
    assert {"app", "tables", ".profile"} <= set(done.log("report").split())
    assert (runner.folder / "build" / "workspace").is_dir()
    assert runner(plan, "--phase", "stop").code == 0
    assert not (runner.folder / "build" / "workspace").exists()

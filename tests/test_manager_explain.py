"""Why a unit waits, and which can never become ready."""

from __future__ import annotations

import random
import re
import time
from itertools import pairwise

import pytest

from fastdag import Dependency, Manager, Requirement, Status


@pytest.fixture
def manager():
    return Manager()


def text(explanation):
    return re.sub(r"\d+\.\d s", "… s", str(explanation)).splitlines()


def test_a_unit_that_waits_for_nobody(manager):
    assert text(manager.explain("A")) == ["'A' is not registered"]
    manager.register("A")
    assert text(manager.explain("A")) == ["'A' is ready: pending for … s"]
    assert manager.explain("A").held_up_by == []


def test_chains_down_to_the_units_that_hold_it_up(manager):
    manager.register_all(["app", "db", "disk", "cache", "net"])
    manager.add_dependencies(
        [
            ("app", "db"),
            ("app", "cache", Status.STARTED),
            ("app", "net"),
            ("db", "disk"),
            ("db", "key", "found"),
            ("cache", "disk", Requirement.STARTED),
        ]
    )
    manager.update_status("net", Status.COMPLETED)
    explanation = manager.explain("app")
    assert sorted(text(explanation)[1:]) == sorted(
        [
            "  needs success of 'db': pending for … s, because it",
            "    needs success of 'disk': pending for … s, ready",
            "    needs exactly found of 'key': not registered",
            "  needs exactly started of 'cache': pending for … s, because it",
            "    needs started of 'disk': pending for … s, ready",
        ]
    )
    assert text(explanation)[0] == "'app' is waiting: pending for … s"
    assert {held.unit for held in explanation.held_up_by} == {"disk", "key"}
    assert set(explanation.units) == {"app", "db", "disk", "cache", "key"}
    assert explanation.units["key"].seconds is None
    assert explanation.units["cache"].unmet == [Dependency("cache", "disk", Requirement.STARTED, "pending", False)]


def test_one_that_runs_or_has_ended_holds_up_by_itself(manager):
    manager.register_all([*"ABCDE"])
    manager.add_dependencies([("A", "B"), ("B", "C"), ("A", "D"), ("D", "C"), ("D", "E")])
    manager.update_status("B", Status.STARTED)  # although C is not done
    manager.update_status("E", Status.FAILED)
    manager.update_status("D", Status.SKIPPED)
    explanation = manager.explain("A")
    assert explanation.units["B"].unmet == []
    assert set(explanation.units) == set("ABCDE")
    assert {held.unit for held in explanation.held_up_by} == {"B", "C", "E"}
    assert text(explanation)[0] == "'A' is blocked: pending for … s"
    assert "    needs success of 'E': failed for … s, impossible" in text(explanation)
    assert "  needs success of 'D': skipped for … s, impossible, because it" in text(explanation)


def test_for_how_long(manager):
    manager.register("A")
    manager.add_dependency("A", "B")
    manager.register("B")
    time.sleep(0.05)
    manager.update_status("A", "own")
    explanation = manager.explain("A")
    assert 0.05 <= explanation.units["B"].seconds < 30
    assert 0 <= explanation.units["A"].seconds < explanation.units["B"].seconds


def test_shared_chains_are_spelled_out_once(manager):
    layers = [[f"{layer}.{i}" for i in range(3)] for layer in range(40)]  # 3 ** 40 paths
    manager.register_all(unit for layer in layers for unit in layer)
    manager.add_dependencies((unit, below) for upper, lower in pairwise(layers) for unit in upper for below in lower)
    explanation = manager.explain("0.0")
    assert len(explanation.units) == 1 + 39 * 3
    lines = text(explanation)
    assert len(lines) == 1 + 3 + 38 * 9
    assert sum(line.endswith(", see above") for line in lines) == 37 * 6
    assert {held.unit for held in explanation.held_up_by} == set(layers[-1])


def test_a_long_chain_needs_no_recursion(manager):
    units = [str(i) for i in range(20_000)]
    manager.register_all(units)
    manager.add_dependencies(pairwise(units))
    explanation = manager.explain("0")
    assert [held.unit for held in explanation.held_up_by] == ["19999"]
    lines = str(explanation).splitlines()
    assert len(lines) == 20_000
    assert lines[20].startswith(" " * 40 + "needs success of '20': pending for ")
    assert lines[-1].startswith(" " * 40 + "(19999) needs success of '19999': pending for ")
    assert manager.stalled() == []
    manager.update_status("19999", Status.FAILED)
    assert [stall.unit for stall in manager.stalled()] == units[:-1]


# stalled


def stalled(manager):
    return {stall.unit: {why.depends_on for why in stall.because} for stall in manager.stalled()}


def test_nothing_is_stalled_that_can_go_on(manager):
    manager.register_all([*"ABCD"])
    manager.add_dependencies([("A", "B"), ("B", "C"), ("C", "D")])
    assert stalled(manager) == {}
    for status in (Status.STARTED, "own", Status.COMPLETED):
        manager.update_status("D", status)
        assert stalled(manager) == {}


def test_a_failed_dependency_stalls_all_that_hangs_on_it(manager):
    manager.register_all([*"ABCDE"])
    manager.add_dependencies([("A", "B"), ("B", "C"), ("C", "D"), ("C", "E")])
    manager.update_status("D", Status.FAILED)
    assert stalled(manager) == {"A": {"B"}, "B": {"C"}, "C": {"D"}}
    assert [str(stall) for stall in manager.stalled() if stall.unit == "C"] == [
        "'C' (pending) can never become ready: it needs success of 'D' (failed)"
    ]
    manager.update_status("C", Status.STARTED)  # somebody runs it all the same: B may still get what it needs
    assert stalled(manager) == {"C": {"D"}}
    manager.update_status("D", Status.PENDING)
    assert stalled(manager) == {}


def test_ended_in_another_status_than_required(manager):
    manager.register_all([*"AB"])
    manager.add_dependency("A", "B", Status.STARTED)
    manager.update_status("B", Status.COMPLETED)
    assert manager.state("A") == "waiting"
    assert stalled(manager) == {"A": {"B"}}


def test_nobody_registers_what_is_not_registered(manager):
    manager.register_all([*"AB"])
    manager.add_dependencies([("A", "B"), ("B", "X")])
    assert stalled(manager) == {"A": {"B"}, "B": {"X"}}
    assert "it needs success of 'X' (not registered)" in str(manager.stalled()[1])
    manager.register("X")
    assert stalled(manager) == {}


def test_stalled_against_its_definition(manager):
    rng = random.Random(7)
    gone = Requirement("completed", impossible={"own", "started"})  # impossible while it runs
    for _ in range(60):
        manager = Manager()
        units = [f"u{i}" for i in range(12)]
        known = rng.sample(units, 10)
        manager.register_all(known)
        choices = [Requirement.SUCCESS, Requirement.COMPLETION, Requirement.STARTED, "pending", "own", "started", gone]
        for i, unit in enumerate(units):
            for depends_on in units[i + 1 :]:
                if unit in known and rng.random() < 0.3:
                    manager.add_dependency(unit, depends_on, rng.choice(choices))
        for unit in known:
            status = rng.choice(["pending", "pending", "started", "completed", "failed", "skipped", "own", "canceled"])
            if status != "pending":
                manager.update_status(unit, status)

        def can_be_satisfied(dependency, manager=manager):
            unit = manager.unit(dependency.depends_on)
            if not unit.status or unit.status in Status.TERMINAL:
                return False
            return unit.status != "pending" or unit.ready or not is_stalled(unit.id)

        def is_stalled(unit, manager=manager, can_be_satisfied=can_be_satisfied):
            if manager.is_ready(unit):
                return False
            unmet = manager.unmet_dependencies(unit)
            return manager.state(unit) == "blocked" or not all(map(can_be_satisfied, unmet))

        expected = {
            unit: {
                why.depends_on
                for why in manager.unmet_dependencies(unit)
                if why.impossible or not can_be_satisfied(why)
            }
            for unit in known
            if is_stalled(unit)
        }
        assert stalled(manager) == expected
        for unit in units:  # told by what is behind a unit alone
            assert {why.depends_on for why in manager.explain(unit).stalled_because} == expected.get(unit, set())

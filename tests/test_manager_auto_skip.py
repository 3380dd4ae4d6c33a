"""Blocked units that are skipped, and so on down."""

from __future__ import annotations

import random

import pytest
from manager_support import at_once, unchanged

from fastdag import CycleError, DependencyFailedError, Manager, Requirement, Status

CHAIN = 100_000


@pytest.fixture
def manager():
    return Manager(auto_skip=True)


def statuses(manager):
    return {unit.id: unit.status for unit in manager.units()}


def test_without_it_a_blocked_unit_is_left_alone():
    manager = Manager()
    manager.register_all(["A", "B"])
    manager.add_dependency("A", "B")
    manager.update_status("B", Status.FAILED)
    assert manager.unit("A") == ("A", "pending", False)


def test_skipping_goes_down_and_stops_where_nothing_is_impossible(manager):
    manager.register_all([*"ABCDEF"])
    manager.add_dependencies(
        [("B", "A"), ("C", "B"), ("D", "C", Requirement.COMPLETION), ("E", "D"), ("F", "A", "failed")]
    )
    manager.update_status("A", Status.FAILED)
    assert statuses(manager) == {
        "A": "failed",
        "B": "skipped",
        "C": "skipped",
        "D": "pending",
        "E": "pending",
        "F": "pending",
    }
    assert manager.is_ready("D")
    assert manager.is_ready("F")


def test_only_what_is_pending_is_skipped(manager):
    manager.register_all([*"ABC"])
    manager.add_dependencies([("B", "A"), ("C", "B")])
    manager.update_status("B", Status.STARTED)
    manager.update_status("A", Status.FAILED)
    assert statuses(manager) == {"A": "failed", "B": "started", "C": "pending"}
    manager.update_status("B", Status.TIMED_OUT)
    assert statuses(manager)["C"] == "skipped"


def test_a_failed_chain_is_repaired_in_any_order():
    for seed in range(10):
        manager = Manager(auto_skip=True)
        manager.register_all([*"ABCD"])
        manager.add_dependencies([("B", "A"), ("C", "B"), ("D", "C")])
        manager.update_status("A", Status.FAILED)
        units = list("ABCD")
        random.Random(seed).shuffle(units)
        for unit in units:
            manager.update_status(unit, Status.PENDING)
        assert set(statuses(manager).values()) == {"pending"}, seed
        assert manager.is_ready("A")
        assert manager.stalled() == []


def test_a_dependency_that_blocks_from_the_start(manager):
    manager.register_all([*"ABC"])
    manager.add_dependency("C", "B")
    manager.update_status("A", Status.CANCELED)
    manager.add_dependency("B", "A")
    assert statuses(manager) == {"A": "canceled", "B": "skipped", "C": "skipped"}


def test_a_replaced_requirement_that_blocks(manager):
    manager.register_all([*"AB"])
    manager.add_dependency("B", "A", Requirement.COMPLETION)
    manager.update_status("A", Status.FAILED)
    assert manager.is_ready("B")
    manager.add_dependency("B", "A", Requirement.SUCCESS, replace=True)
    assert statuses(manager)["B"] == "skipped"


def test_registration_that_blocks(manager):
    unusual = Requirement("up", impossible={"pending"})
    manager.register("A")
    manager.add_dependency("A", "B", unusual)
    manager.register("B")
    assert statuses(manager)["A"] == "skipped"
    manager.register("C")
    manager.add_dependency("C", "D", unusual)
    manager.register_all(["D", "E"])
    assert statuses(manager)["C"] == "skipped"


def test_in_bulk(manager):
    manager.register_all([*"ABCDEF"])
    manager.add_dependencies([("C", "A"), ("D", "C"), ("E", "B")])
    manager.update_statuses(["A", "B"], Status.FAILED)
    assert statuses(manager) == dict(zip("ABCDEF", ["failed"] * 2 + ["skipped"] * 3 + ["pending"], strict=True))
    manager.register_all(["G", "H"])
    manager.add_dependencies([("G", "F"), ("H", "G"), ("G", "E")])
    assert statuses(manager)["G"] == statuses(manager)["H"] == "skipped"


def test_a_refused_dependency_skips_nobody(manager):
    manager.register_all([*"ABC"])
    manager.add_dependency("A", "B")
    manager.update_status("C", Status.FAILED)
    with unchanged(manager), pytest.raises(CycleError):
        manager.add_dependencies([("B", "C"), ("B", "A")])


def test_the_events_tell_the_story_in_order(manager):
    manager.register_all([*"ABC"])
    manager.add_dependencies([("B", "A"), ("C", "B")])
    heard = []
    with manager.subscribe(heard.append):
        manager.update_status("A", Status.FAILED)
    assert [(e.kind, e.unit, e.dependency, e.old, e.new) for e in heard] == [
        ("status", "A", None, "pending", "failed"),
        ("state", "B", "A", "waiting", "blocked"),
        ("status", "B", None, "pending", "skipped"),
        ("state", "C", "B", "waiting", "blocked"),
        ("status", "C", None, "pending", "skipped"),
    ]


def test_a_waiter_learns_what_failed(manager):
    manager.register_all([*"ABC"])
    manager.add_dependencies([("B", "A"), ("C", "B")])
    future = manager.when_ready("C")
    skipped = manager.when("C", Status.SKIPPED)
    manager.update_status("A", Status.FAILED)
    with pytest.raises(DependencyFailedError) as caught:
        future.result(0)
    assert caught.value.failed == [("B", "skipped")]
    assert skipped.result(0) == "C"


def test_a_long_chain_is_skipped_in_one_pass(manager):
    units = [str(i) for i in range(CHAIN)]
    manager.register_all(units)
    manager.add_dependencies(zip(units[1:], units, strict=False))
    manager.update_status("0", Status.FAILED)
    assert all(unit.status == "skipped" for unit in manager.units()[1:])
    manager._core._check()


def test_a_unit_that_starts_at_that_moment_is_not_skipped_afterwards(manager):
    units = [str(i) for i in range(2_000)]
    manager.register_all([*units, *("d" + unit for unit in units)])
    manager.add_dependencies([(unit, "d" + unit) for unit in units])
    heard = []

    def fail():
        for unit in units:
            manager.update_status("d" + unit, Status.FAILED)

    def start():
        for unit in units:
            manager.update_status(unit, Status.STARTED)

    with manager.subscribe(heard.append, kinds="status"):
        at_once(fail, start)
    assert {event.new for event in heard if event.old == "started"} == set()
    assert set(statuses(manager).values()) <= {"failed", "started"}  # skipped ones were started all the same

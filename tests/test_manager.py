"""How units behave: registration, dependencies, statuses, and what each of them makes ready."""

from __future__ import annotations

import re
from enum import StrEnum

import pytest
from manager_support import picture, unchanged

from fastdag import (
    CapacityError,
    ConflictingRequirementError,
    CycleError,
    Dependency,
    FastDAGError,
    Graph,
    Manager,
    Requirement,
    SameStatusError,
    Status,
    StatusRequiredError,
    Unit,
    UnitAlreadyRegisteredError,
    UnitIdRequiredError,
    UnitNotFoundError,
)


@pytest.fixture
def manager():
    return Manager()


@pytest.fixture
def four(manager):
    manager.register_all("ABCD"[i] for i in range(4))
    return manager


def ready(manager):
    return {unit.id for unit in manager.units() if unit.ready}


# registering


def test_register(manager):
    manager.register("A")
    assert manager.unit("A") == Unit("A", "pending", True)
    assert manager.is_ready("A")
    assert manager.state("A") == "ready"
    assert manager.dependencies("A") == []


def test_registering_twice_keeps_the_status(manager):
    manager.register("A")
    manager.update_status("A", Status.STARTED)
    with unchanged(manager), pytest.raises(UnitAlreadyRegisteredError) as caught:
        manager.register("A")
    assert str(caught.value) == "unit 'A' is already registered; change its status with update_status()"
    assert caught.value.unit == "A"
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, FastDAGError)
    assert manager.unit("A") == Unit("A", "started", True)


def test_units_come_in_the_order_of_registration(manager):
    for unit in ("C", "A", "B"):
        manager.register(unit)
    assert manager.units() == [Unit(unit, "pending", True) for unit in ("C", "A", "B")]


def test_an_unknown_unit(manager):
    assert manager.unit("A") == Unit("A", Status.NOT_REGISTERED, False)
    assert not manager.is_ready("A")
    assert manager.state("A") == "waiting"
    assert manager.dependents("A") == []
    assert manager.units() == []
    assert len(manager.graph) == 0


# dependencies


def test_a_dependency_between_registered_units(four):
    four.add_dependency("A", "B", Status.STARTED)
    assert four.unit("A") == Unit("A", "pending", False)
    assert four.is_ready("B")
    four.update_status("B", Status.STARTED)
    assert four.is_ready("A")


def test_going_back_to_pending_unreadies_the_dependent(four):
    four.add_dependency("A", "B", Status.STARTED)
    four.update_status("B", Status.STARTED)
    four.update_status("B", Status.PENDING)
    assert four.state("A") == "waiting"
    four.update_status("B", Status.STARTED)
    assert four.state("A") == "ready"


def test_a_dependency_on_a_unit_that_is_not_registered_yet(manager):
    manager.register("A")
    manager.add_dependency("A", "B", Status.STARTED)
    assert manager.unit("B").status == Status.NOT_REGISTERED
    assert manager.state("A") == "waiting"
    assert [unit.id for unit in manager.units()] == ["A"]
    manager.register("B")
    assert not manager.is_ready("A")
    manager.update_status("B", Status.STARTED)
    assert manager.is_ready("A")


def test_registration_itself_satisfies_who_requires_pending(manager):
    manager.register("A")
    manager.add_dependency("A", "B", Status.PENDING)
    assert not manager.is_ready("A")
    manager.register("B")
    assert manager.is_ready("A")


def test_a_dependency_of_a_unit_that_is_not_registered(manager):
    manager.register("B")
    for unit, requires in (("A", Requirement.SUCCESS), ("A", "never heard of"), ("B2", Requirement.SUCCESS)):
        with unchanged(manager), pytest.raises(UnitNotFoundError) as caught:
            manager.add_dependency(unit, "B", requires)
        assert str(caught.value) == f"unit {unit!r} is not registered; call register({unit!r}) first"
        assert caught.value.unit == unit
        assert isinstance(caught.value, KeyError)
    with unchanged(manager), pytest.raises(UnitNotFoundError):
        manager.add_dependency("A", "nobody")
    assert "never heard of" not in manager._codes


def test_a_cycle_of_four_units_is_refused(four):
    for unit, depends_on in ("AB", "BC", "CD"):
        four.add_dependency(unit, depends_on)
    with unchanged(four), pytest.raises(CycleError) as caught:
        four.add_dependency("D", "A")
    assert caught.value.path == ["D", "A", "B", "C", "D"]
    assert "'D' -> 'A' -> 'B' -> 'C' -> 'D'" in str(caught.value)
    with unchanged(four), pytest.raises(CycleError):
        four.add_dependency("D", "A", "a status of its own")


def test_a_unit_that_depends_on_itself_is_refused(manager):
    manager.register("A")
    for requires in (Requirement.SUCCESS, "odd"):
        with unchanged(manager), pytest.raises(CycleError) as caught:
            manager.add_dependency("A", "A", requires)
        assert caught.value.path == ["A", "A"]
    with unchanged(manager), pytest.raises(FastDAGError):
        manager.add_dependency("nobody", "nobody")
    assert list(manager.graph) == ["A"]


def test_a_linear_chain(four):
    four.add_dependency("A", "B", Status.STARTED)
    four.add_dependency("B", "C", Status.COMPLETED)
    assert ready(four) == {"C", "D"}
    four.update_status("C", Status.COMPLETED)
    assert ready(four) == {"B", "C", "D"}
    four.update_status("B", Status.STARTED)
    assert ready(four) == {"A", "B", "C", "D"}


def test_a_diamond(four):
    for unit, depends_on in ("AB", "AC", "BD", "CD"):
        four.add_dependency(unit, depends_on)
    assert ready(four) == {"D"}
    four.update_status("D", Status.COMPLETED)
    assert ready(four) == {"B", "C", "D"}
    four.update_status("B", Status.COMPLETED)
    assert ready(four) == {"B", "C", "D"}
    four.update_status("C", Status.COMPLETED)
    assert ready(four) == {"A", "B", "C", "D"}


def test_mixed_required_statuses(four):
    four.add_dependency("A", "B", Status.STARTED)
    four.add_dependency("A", "C", Status.COMPLETED)
    four.add_dependency("A", "D", "warm")
    four.update_status("B", Status.STARTED)
    four.update_status("C", Status.STARTED)
    assert not four.is_ready("A")
    four.update_status("C", Status.COMPLETED)
    assert not four.is_ready("A")
    four.update_status("D", "warm")
    assert four.is_ready("A")
    four.update_status("B", Status.COMPLETED)  # exactly started is what was asked
    assert not four.is_ready("A")


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        (
            Requirement.SUCCESS,
            {
                "pending": 0,
                "started": 0,
                "completed": 1,
                "failed": 2,
                "timed_out": 2,
                "skipped": 2,
                "canceled": 2,
                "own": 0,
            },
        ),
        (
            Requirement.COMPLETION,
            {
                "pending": 0,
                "started": 0,
                "completed": 1,
                "failed": 1,
                "timed_out": 1,
                "skipped": 1,
                "canceled": 0,
                "own": 0,
            },
        ),
        (
            Requirement.STARTED,
            {
                "pending": 0,
                "started": 1,
                "completed": 1,
                "failed": 2,
                "timed_out": 2,
                "skipped": 2,
                "canceled": 2,
                "own": 0,
            },
        ),
        ("own", {"pending": 0, "started": 0, "completed": 0, "failed": 0, "own": 1}),
        (Requirement({"a", "b"}, {"own"}), {"pending": 0, "a": 1, "b": 1, "own": 2, "completed": 0}),
    ],
)
def test_every_requirement_with_every_status(four, requires, expected):
    four.add_dependency("A", "B", requires)
    for status, state in expected.items():
        if status != "pending":
            four.update_status("B", status)
        assert four.state("A") == ("waiting", "ready", "blocked")[state], status
        [dependency] = four.dependencies("A")
        assert dependency.satisfied == (state == 1)
        assert dependency.impossible == (state == 2)


def test_one_impossible_dependency_blocks_until_it_is_repaired(four):
    for depends_on in "BCD":
        four.add_dependency("A", depends_on)
    four.update_statuses(["B", "C"], Status.FAILED)
    assert four.state("A") == "blocked"
    four.update_status("B", Status.COMPLETED)
    assert four.state("A") == "blocked"
    four.update_status("C", Status.PENDING)
    assert four.state("A") == "waiting"
    four.update_statuses(["C", "D"], Status.COMPLETED)
    assert four.state("A") == "ready"


def test_a_dependency_added_late_unreadies_and_blocks(four):
    assert four.is_ready("A")
    four.add_dependency("A", "B")
    assert four.state("A") == "waiting"
    four.update_status("C", Status.FAILED)
    four.add_dependency("A", "C")
    assert four.state("A") == "blocked"


def test_the_same_dependency_again_is_no_error_and_no_news(four):
    four.add_dependency("A", "B", Status.STARTED)
    with unchanged(four):
        four.add_dependency("A", "B", Status.STARTED)
        four.add_dependency("A", "B", Requirement("started"))


def test_a_conflicting_requirement_is_refused_unless_it_is_to_replace(four):
    four.add_dependency("A", "B", Status.STARTED)
    for requested in (Requirement.SUCCESS, Requirement("brand new")):
        with unchanged(four), pytest.raises(ConflictingRequirementError) as caught:
            four.add_dependency("A", "B", requested)
        assert str(caught.value) == (
            "unit 'A' already depends on 'B' with the requirement exactly started, "
            f"not {requested}; pass replace=True to change it"
        )
        assert (caught.value.unit, caught.value.depends_on) == ("A", "B")
        assert (caught.value.existing, caught.value.requested) == (Requirement("started"), requested)
    four.update_status("B", Status.STARTED)
    assert four.is_ready("A")
    four.add_dependency("A", "B", Requirement.SUCCESS, replace=True)
    assert not four.is_ready("A")
    assert four.dependencies("A") == [Dependency("A", "B", Requirement.SUCCESS, "started", False)]
    four.update_status("B", Status.FAILED)
    assert four.state("A") == "blocked"
    four.add_dependency("A", "B", Requirement.COMPLETION, replace=True)
    assert four.state("A") == "ready"


# statuses


def test_updating_an_unregistered_unit(manager):
    manager.register("B")
    manager.add_dependency("B", "A")
    for unit in ("A", "nobody"):
        for status in (Status.STARTED, "never heard of"):
            with unchanged(manager), pytest.raises(UnitNotFoundError) as caught:
                manager.update_status(unit, status)
            assert str(caught.value) == f"unit {unit!r} is not registered; call register({unit!r}) first"
    assert "never heard of" not in manager._codes


def test_the_same_status_again(manager):
    manager.register("A")
    with unchanged(manager), pytest.raises(SameStatusError) as caught:
        manager.update_status("A", Status.PENDING)
    assert str(caught.value) == "unit 'A' already has the status 'pending'; update it only when the status changes"
    assert (caught.value.unit, caught.value.status) == ("A", "pending")
    assert isinstance(caught.value, ValueError)


def test_a_status_from_an_enum(manager):
    class Mine(StrEnum):
        UP = "up"

    manager.register("A")
    manager.update_status("A", Mine.UP)
    assert type(manager.unit("A").status) is str
    assert manager.unit("A").status == "up"


@pytest.mark.parametrize("status", ["", None, 3, ["started"], b"started"])
def test_a_status_must_be_a_non_empty_string(four, status):
    message = re.escape(f"a status must be a non-empty string, not {status!r}")
    with unchanged(four), pytest.raises(StatusRequiredError, match=message) as caught:
        four.update_status("A", status)
    assert isinstance(caught.value, ValueError)
    with unchanged(four), pytest.raises(StatusRequiredError, match=message):
        four.update_statuses(["A", "B"], status)
    with unchanged(four), pytest.raises(StatusRequiredError, match=message):
        four.when("A", status)
    message = re.escape(f"a requirement must be a Requirement or a status, a non-empty string, not {status!r}")
    with unchanged(four), pytest.raises(StatusRequiredError, match=message):
        four.add_dependency("A", "B", status)
    with unchanged(four), pytest.raises(StatusRequiredError, match=message):
        four.add_dependencies([("A", "B"), ("B", "C", status)])


@pytest.mark.parametrize("unit", ["", None, 3, b"A", ["A"], ("A",)])
def test_a_unit_must_be_a_non_empty_string(four, unit):
    calls = [
        lambda: four.register(unit),
        lambda: four.register_all(["E", unit]),
        lambda: four.add_dependency(unit, "B"),
        lambda: four.add_dependency("A", unit),
        lambda: four.add_dependency("A", unit, "new status"),
        lambda: four.add_dependencies([("A", "B"), (unit, "B")]),
        lambda: four.add_dependencies([("A", "B"), ("A", unit)]),
        lambda: four.update_status(unit, Status.STARTED),
        lambda: four.update_status(unit, "new status"),
        lambda: four.update_statuses(["A", unit], Status.STARTED),
        lambda: four.unit(unit),
        lambda: four.is_ready(unit),
        lambda: four.state(unit),
        lambda: four.dependencies(unit),
        lambda: four.unmet_dependencies(unit),
        lambda: four.dependents(unit),
        lambda: four.explain(unit),
        lambda: four.when_ready(unit),
        lambda: four.when(unit, "started"),
        lambda: four.wait_ready(unit, 0),
    ]
    if unit is not None:
        calls.append(lambda: four.subscribe(print, unit=unit))
    message = re.escape(f"a unit's name must be a non-empty string, not {unit!r}")
    for call in calls:
        with unchanged(four), pytest.raises(UnitIdRequiredError, match=message) as caught:
            call()
        assert isinstance(caught.value, ValueError)


def test_sixty_four_statuses_and_no_more(manager):
    manager.register_all(["A", "B"])
    for i in range(63):  # and pending
        manager.update_status("A", f"status {i}")
    message = "status 'another' would be one more than the 64 distinct statuses that a manager holds"
    for attempt in (
        lambda: manager.update_status("A", "another"),
        lambda: manager.update_statuses(["A", "B"], "another"),
        lambda: manager.add_dependency("A", "B", "another"),
        lambda: manager.add_dependency("A", "B", Requirement("status 3", impossible={"another"})),
        lambda: manager.add_dependencies([("A", "C", "status 3"), ("A", "B", "another")]),
    ):
        with unchanged(manager), pytest.raises(CapacityError, match=message) as caught:
            attempt()
        assert isinstance(caught.value, OverflowError)
    manager.update_status("A", "status 3")
    manager.update_status("B", "status 62")
    manager.add_dependency("A", "B", "status 62")
    assert manager.is_ready("A")


def test_statuses_that_are_reserved_have_room():
    manager = Manager()
    manager.register_all(["A", "B"])
    manager.reserve(["last", "pending"])
    for i in range(62):  # and pending, and last
        manager.update_status("A", f"status {i}")
    for too_many in (["another"], ["status 3", "another"]):
        with unchanged(manager), pytest.raises(CapacityError, match="status 'another' would be one more"):
            manager.reserve(too_many)
    for none in ("", 7):
        with unchanged(manager), pytest.raises(StatusRequiredError):
            manager.reserve(["last", none])
    manager.update_status("B", "last")


# reading


def test_unmet_dependencies(four):
    assert four.unmet_dependencies("A") == []
    four.add_dependency("A", "B", Status.STARTED)
    four.add_dependency("A", "C")
    four.add_dependency("A", "E")
    four.update_status("C", Status.COMPLETED)
    assert set(four.unmet_dependencies("A")) == {
        Dependency("A", "B", Requirement("started"), "pending", False),
        Dependency("A", "E", Requirement.SUCCESS, Status.NOT_REGISTERED, False),
    }
    assert set(four.dependencies("A")) - set(four.unmet_dependencies("A")) == {
        Dependency("A", "C", Requirement.SUCCESS, "completed", True)
    }


def test_dependencies_of_an_unregistered_unit(four):
    four.add_dependency("A", "E")
    for unit in ("E", "nobody"):
        for read in (four.dependencies, four.unmet_dependencies):
            with unchanged(four), pytest.raises(UnitNotFoundError) as caught:
                read(unit)
            assert str(caught.value) == f"unit {unit!r} is not registered; call register({unit!r}) first"


def test_dependents(four):
    four.add_dependency("A", "C", Status.STARTED)
    four.add_dependency("B", "C")
    four.add_dependency("A", "E")
    four.update_status("C", Status.STARTED)
    assert set(four.dependents("C")) == {
        Dependency("A", "C", Requirement("started"), "started", True),
        Dependency("B", "C", Requirement.SUCCESS, "started", False),
    }
    assert four.dependents("E") == [Dependency("A", "E", Requirement.SUCCESS, Status.NOT_REGISTERED, False)]
    assert four.dependents("A") == []


def test_a_dependency_says_what_it_is():
    dependency = Dependency("app", "db", Requirement.SUCCESS, "failed", False)
    assert str(dependency) == "'app' needs success of 'db', which is failed: impossible"
    assert str(dependency._replace(status="")) == "'app' needs success of 'db', which is not registered: unmet"
    assert "completed: satisfied" in str(dependency._replace(status="completed", satisfied=True))


def test_the_graph_is_a_copy_with_requirements_as_labels(four):
    four.add_dependency("A", "B", Status.STARTED)
    four.add_dependency("A", "E")
    graph = four.graph
    assert type(graph) is Graph
    assert list(graph) == ["A", "B", "C", "D", "E"]
    assert graph.edge_label("A", "B") is Requirement("started")
    assert graph.edge_label("A", "E") is Requirement.SUCCESS
    graph.add_edge("B", "A2")
    graph.remove_edge("A", "B")
    assert four.graph.has_edge("A", "B")
    assert "A2" not in four.graph


def test_lock_stats(four):
    assert four.lock_stats().keys() == Graph().lock_stats().keys()
    for counters in four.lock_stats().values():
        assert all(isinstance(count, int) for count in counters.values())


# many at once


def test_register_all(manager):
    manager.register("A")
    manager.register_all(unit for unit in ("B", "C"))
    assert [unit.id for unit in manager.units()] == ["A", "B", "C"]
    for units, guilty in ((["D", "A", "E"], "A"), (["D", "E", "D"], "D")):
        with unchanged(manager), pytest.raises(UnitAlreadyRegisteredError) as caught:
            manager.register_all(units)
        assert caught.value.unit == guilty
    with unchanged(manager), pytest.raises(UnitIdRequiredError, match="not the single name 'xyz'; pass \\['xyz'\\]"):
        manager.register_all("xyz")
    with unchanged(manager):
        manager.register_all([])


def test_add_dependencies(four):
    assert four.add_dependencies([("A", "B"), ("B", "C", "up"), ["A", "E", Requirement.COMPLETION]]) == 3
    assert four.graph.edge_label("A", "B") is Requirement.SUCCESS
    assert four.graph.edge_label("B", "C") is Requirement("up")
    assert four.graph.edge_label("A", "E") is Requirement.COMPLETION
    assert four.add_dependencies(iter([("A", "B"), ("C", "D"), ("C", "D")])) == 1
    assert ready(four) == {"D"}
    with unchanged(four):
        assert four.add_dependencies([]) == 0


def test_add_dependencies_refuses_all_when_one_closes_a_cycle(four):
    four.add_dependency("A", "B")
    with unchanged(four), pytest.raises(CycleError) as caught:
        four.add_dependencies([("B", "X"), ("B", "C"), ("C", "D"), ("D", "A", "odd")])
    path = caught.value.path
    assert path[0] == path[-1]
    assert set(path) == {"A", "B", "C", "D"}
    with unchanged(four), pytest.raises(CycleError):
        four.add_dependencies([("B", "Y"), ("C", "C")])


def test_add_dependencies_refuses_all_when_one_is_wrong(four):
    four.add_dependency("A", "B")
    with unchanged(four), pytest.raises(ConflictingRequirementError) as conflict:
        four.add_dependencies([("C", "X"), ("A", "B", "up"), ("C", "D")])
    assert (conflict.value.existing, conflict.value.requested) == (Requirement.SUCCESS, Requirement("up"))
    with unchanged(four), pytest.raises(ConflictingRequirementError) as conflict:
        four.add_dependencies([("C", "D", "up"), ("C", "D", "down")])
    assert (conflict.value.existing, conflict.value.requested) == (Requirement("up"), Requirement("down"))
    with unchanged(four), pytest.raises(UnitNotFoundError, match="unit 'X' is not registered"):
        four.add_dependencies([("C", "D"), ("X", "D"), ("B", "C")])
    for wrong in ("AB", ("A",), ("A", "B", "up", "up"), 7):
        message = re.escape(f"a dependency must be (unit, depends_on) or (unit, depends_on, requires), not {wrong!r}")
        with unchanged(four), pytest.raises(ValueError, match=message):
            four.add_dependencies([("C", "D"), wrong])


def test_add_dependencies_replaces(four):
    four.add_dependencies([("A", "B"), ("A", "C")])
    four.update_status("B", Status.STARTED)
    assert (
        four.add_dependencies([("A", "B", "started"), ("A", "D", "pending"), ("A", "C", "pending")], replace=True) == 1
    )
    assert four.is_ready("A")


def test_update_statuses(four):
    four.add_dependencies([("A", "B"), ("A", "C")])
    four.update_status("B", Status.COMPLETED)
    assert four.update_statuses(["B", "C"], Status.COMPLETED) == 1
    assert four.is_ready("A")
    assert four.update_statuses((unit for unit in ("B", "D")), "new") == 2
    assert four.update_statuses([], "newer") == 0
    for status in ("new", "never heard of"):
        with unchanged(four), pytest.raises(UnitNotFoundError, match="unit 'X' is not registered; call register"):
            four.update_statuses(["A", "X", "C"], status)
    with unchanged(four), pytest.raises(UnitIdRequiredError, match="not the single name 'AB'"):
        four.update_statuses("AB", "new")


def test_managers_share_nothing(four):
    other = Manager()
    assert picture(other) == ([], set(), {})

"""Who starts next, without processes."""

from __future__ import annotations

from fastdag import Manager, Status
from fastdag.plan import Need, PlannedUnit
from fastdag.runner.schedule import Schedule
from fastdag.status import Requirement


def planned(name, after=(), **more):
    needs = tuple(Need(unit, Requirement.SUCCESS) for unit in after)
    return PlannedUnit(name=name, title=name, run="true", needs=needs, **more)


class Rehearsal:
    """A schedule whose units take no time."""

    def __init__(self, jobs, *units):
        self.units = {unit.name: unit for unit in units}
        self.manager = Manager(auto_skip=True)
        self.manager.register_all(self.units)
        self.manager.add_dependencies((unit.name, need.unit) for unit in units for need in unit.needs)
        self.schedule = Schedule(self.manager, self.units, jobs)
        self.manager.subscribe(self.schedule.hear)
        self.schedule.fill()

    def take(self):
        taken = []
        while unit := self.schedule.take():
            self.manager.update_status(unit.name, Status.STARTED)
            taken.append(unit.name)
        return taken

    def end(self, name, status=Status.COMPLETED):
        self.schedule.release(self.units[name])
        self.manager.update_status(name, status)


def test_the_longest_path_by_expected_time_goes_first():
    rehearsal = Rehearsal(
        2,
        planned("short", expected=1.0),
        planned("a", expected=1.0),
        planned("b", ["a"], expected=9.0),
        planned("middle", expected=5.0),
        planned("unknown"),
    )
    assert rehearsal.take() == ["a", "middle"]
    rehearsal.end("a")
    assert rehearsal.take() == ["b"]
    rehearsal.end("middle")
    assert rehearsal.take() == ["short"]


def test_priority_counts_before_the_path():
    rehearsal = Rehearsal(1, planned("a"), planned("b", ["a"]), planned("c", priority=1), planned("d", priority=-1))
    order = []
    while taken := rehearsal.take():
        order += taken
        rehearsal.end(*taken)
    assert order == ["c", "a", "b", "d"]


def test_who_needs_many_slots_is_not_overtaken():
    rehearsal = Rehearsal(
        3, planned("one", priority=2), planned("three", slots=3, priority=1), planned("late"), planned("later")
    )
    assert rehearsal.take() == ["one"]
    assert rehearsal.schedule.held_by(rehearsal.units["three"]) == "3 slots of 3"
    rehearsal.end("one")
    assert rehearsal.take() == ["three"]
    rehearsal.end("three")
    assert rehearsal.take() == ["late", "later"]
    assert rehearsal.schedule.free == 1


def test_more_slots_than_there_are_are_all():
    rehearsal = Rehearsal(2, planned("huge", slots=100), planned("b"))
    assert rehearsal.take() == ["huge"]
    rehearsal.end("huge")
    assert (rehearsal.take(), rehearsal.schedule.free) == (["b"], 1)


def test_who_waits_for_a_word_is_overtaken_and_keeps_its_place():
    rehearsal = Rehearsal(
        2,
        planned("a", exclusive="x"),
        planned("low", exclusive="x"),
        planned("high", exclusive="x", priority=-1),
        planned("other", priority=-2),
    )
    assert rehearsal.take() == ["a", "other"]
    rehearsal.end("other")
    assert rehearsal.take() == []
    rehearsal.end("a", Status.FAILED)
    assert rehearsal.take() == ["low"]
    rehearsal.end("low")
    assert rehearsal.take() == ["high"]


def test_who_is_ready_no_longer_does_not_start():
    rehearsal = Rehearsal(1, planned("a"), planned("b"), planned("c"))
    assert rehearsal.take() == ["a"]
    rehearsal.manager.add_dependency("b", "extra")
    rehearsal.manager.update_status("c", Status.COMPLETED)
    rehearsal.end("a")
    assert rehearsal.take() == []
    rehearsal.manager.register("extra")
    rehearsal.manager.update_status("extra", Status.COMPLETED)
    assert rehearsal.take() == ["b"]


def test_who_is_set_back_starts_again():
    rehearsal = Rehearsal(1, planned("a"))
    assert rehearsal.take() == ["a"]
    rehearsal.end("a", Status.FAILED)
    rehearsal.manager.update_status("a", Status.PENDING)
    assert rehearsal.take() == ["a"]

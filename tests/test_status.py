"""Statuses and requirements."""

from __future__ import annotations

import copy
import pickle
import re
from enum import StrEnum

import pytest

from fastdag import CapacityError, FastDAGError, Requirement, Status, StatusRequiredError
from fastdag._core import StatusGraph
from fastdag.status import StatusCodes, check_status


def test_the_built_in_statuses_are_plain_strings():
    assert Status.NOT_REGISTERED == ""
    names = ["pending", "started", "completed", "failed", "timed_out", "skipped", "canceled"]
    assert [getattr(Status, name.upper()) for name in names] == names
    assert {"completed", "failed", "timed_out", "skipped", "canceled"} == Status.TERMINAL


@pytest.mark.parametrize(
    ("requirement", "satisfied", "impossible", "text"),
    [
        (Requirement.SUCCESS, {"completed"}, {"failed", "timed_out", "skipped", "canceled"}, "success"),
        (Requirement.COMPLETION, {"completed", "failed", "timed_out", "skipped"}, set(), "completion"),
        (
            Requirement.STARTED,
            {"started", "completed"},
            {"failed", "timed_out", "skipped", "canceled"},
            "started",
        ),
        (Requirement("started"), {"started"}, set(), "exactly started"),
        (Requirement(["b", "a"]), {"a", "b"}, set(), "a or b"),
        (Requirement("up", impossible=["z", "y"]), {"up"}, {"y", "z"}, "exactly up (impossible: y, z)"),
    ],
)
def test_a_requirement_has_its_sets_and_reads_well(requirement, satisfied, impossible, text):
    assert requirement.satisfied == satisfied
    assert requirement.impossible == impossible
    assert str(requirement) == text
    assert eval(repr(requirement)) is requirement


def test_equal_requirements_are_one_object():
    assert Requirement("up") is Requirement({"up"})
    assert Requirement({"completed"}, Requirement.SUCCESS.impossible) is Requirement.SUCCESS
    assert Requirement("up") != Requirement("up", impossible={"down"})
    assert hash(Requirement("up")) == hash(Requirement("up"))
    requirement = Requirement({"a", "b"}, {"c"})
    assert pickle.loads(pickle.dumps(requirement)) is requirement
    assert copy.deepcopy(requirement) is requirement
    assert pickle.loads(pickle.dumps(Requirement.SUCCESS)) is Requirement.SUCCESS


def test_a_requirement_cannot_be_changed():
    with pytest.raises(AttributeError, match="a Requirement cannot be changed"):
        Requirement.SUCCESS.satisfied = frozenset()
    with pytest.raises(AttributeError, match="a Requirement cannot be changed"):
        del Requirement.SUCCESS.satisfied
    with pytest.raises(AttributeError, match="a Requirement cannot be changed"):
        Requirement.SUCCESS.extra = 1
    assert Requirement.SUCCESS.satisfied == {"completed"}


def test_requirements_that_nothing_could_mean():
    with pytest.raises(ValueError, match="at least one status that satisfies it"):
        Requirement([])
    with pytest.raises(ValueError, match=re.escape("{'a'} would both satisfy the requirement and make it impossible")):
        Requirement({"a", "b"}, impossible={"a"})
    with pytest.raises(StatusRequiredError, match="a status must be a non-empty string, not ''"):
        Requirement({""})
    with pytest.raises(StatusRequiredError, match="a status must be a non-empty string, not 7"):
        Requirement({"up"}, impossible={7})


def test_a_status_stands_for_exactly_that_status():
    assert Requirement.of("started") is Requirement("started")
    assert Requirement.of(Requirement.STARTED) is Requirement.STARTED
    for wrong in ("", None, 3):
        with pytest.raises(StatusRequiredError, match=f"a Requirement or a status, a non-empty string, not {wrong!r}"):
            Requirement.of(wrong)


def test_a_member_of_a_string_enum_is_a_status():
    class Mine(StrEnum):
        UP = "up"

    assert type(check_status(Mine.UP)) is str
    assert Requirement(Mine.UP) is Requirement("up")


def test_codes_are_given_to_all_or_none():
    codes = StatusCodes(StatusGraph())
    codes.add(f"s{i}" for i in range(63))
    with pytest.raises(CapacityError, match="status 'two' would be one more than the 64 distinct statuses") as caught:
        codes.add(["one", "two"])
    assert isinstance(caught.value, FastDAGError)
    assert isinstance(caught.value, OverflowError)
    assert "one" not in codes.code
    codes.add(["one", "s3"])
    assert sorted(codes.code.values()) == list(range(64))
    assert all(codes.name[code] == status for status, code in codes.code.items())
    assert codes.name[-1] == Status.NOT_REGISTERED
    assert codes.mask({"s0", "one"}) == 1 | 1 << 63

"""A change made at any instruction of another call, as by a finalizer or a signal handler: no callback under a lock."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest

from fastdag import CapacityError, Manager, Status, status, subscribers, waiters
from fastdag._core import StatusGraph
from fastdag.status import StatusCodes

FILES = {status.__file__, subscribers.__file__, waiters.__file__}
MOST = 10_000  # more instructions than one call takes


class ChangeAt:
    """A trace function that makes a change before the n-th instruction executed in one of the files."""

    def __init__(self, n, change):
        self.left = n
        self.change = change

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and self.left:
            self.left -= 1
            if not self.left:
                self.change()
        return self


def cancelled_wait(manager):
    manager.when_ready("app").cancel()


def ended_subscription(manager):
    manager.subscribe(print, unit="other").cancel()


def followed_dependency(manager):
    with manager.subscribe(lambda event: None, unit="app"):
        manager.add_dependency("app", "new")


def blocked_wait(manager):
    manager.update_status("db", Status.FAILED)
    manager.when_ready("app")
    manager.update_status("db", Status.PENDING)


def changed_at(n, call):
    """Whether a change came before the n-th instruction of a call; it was heard by then, and not under the lock."""
    manager = Manager()
    manager.register_all(["app", "db", "other", "late"])
    manager.add_dependency("app", "db")
    lock = manager._delivery._table
    held = []
    manager.when("late", "go").add_done_callback(lambda future: held.append(lock.is_owned()))
    manager.subscribe(lambda event: held.append(lock.is_owned()) if event.unit == "late" else None)
    trace = ChangeAt(n, lambda: manager.update_status("late", "go"))
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call(manager)
    finally:
        sys.settrace(before)
    if trace.left:
        return False
    assert held == [False, False]
    assert not manager._core.has_events()
    return True


@pytest.mark.parametrize("call", [cancelled_wait, ended_subscription, followed_dependency, blocked_wait])
def test_a_change_at_any_instruction_is_heard_without_the_lock(call):
    for n in range(1, MOST):
        if not changed_at(n, call):
            assert n > 50  # else nothing was traced
            return
    pytest.fail(f"the call takes more than {MOST} instructions")


def named_at(n):
    """Whether statuses were named before the n-th instruction of naming others: each has one code, and all fit."""
    codes = StatusCodes(StatusGraph())
    codes.add(f"s{i}" for i in range(62))

    def add(*statuses):
        with suppress(CapacityError):
            codes.add(statuses)

    trace = ChangeAt(n, lambda: add("two", "three"))
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        add("one", "two")
    finally:
        sys.settrace(before)
    assert sorted(codes.code.values()) == list(range(64))
    assert codes.name == {-1: Status.NOT_REGISTERED} | {code: name for name, code in codes.code.items()}
    return not trace.left


def test_statuses_named_at_any_instruction_of_naming_others_have_one_code_each():
    for n in range(1, MOST):
        if not named_at(n):
            assert n > 5  # else nothing was traced
            return
    pytest.fail(f"naming takes more than {MOST} instructions")

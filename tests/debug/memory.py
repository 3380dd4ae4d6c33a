"""Every allocation of the core fails once, in every operation: MemoryError, and nothing has changed, and nothing leaks.

Under the debug build, whose allocations are counted (memory.h): `python -m tests.debug debug`.
"""

import ctypes
import gc

import pytest
from fastdag._debug import relabel_in_a_full_log
from scenarios import cases, core_of, statuses

import fastdag._core

CORE = ctypes.CDLL(fastdag._core.__file__)
LIVE = ctypes.c_long.in_dll(CORE, "fastdag_live")
FAIL = ctypes.c_long.in_dll(CORE, "fastdag_fail")

injected = []

pytestmark = pytest.mark.usefixtures("own_heap")


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases()])
def test_a_failed_allocation_changes_nothing(case):
    subject = case.made()
    case.operation(subject)  # what is made once, such as modules that are imported, is no leak
    after = case.state(subject)
    del subject
    gc.collect()
    before_all = LIVE.value
    n = 0
    while True:
        subject = case.made()
        before = case.state(subject)
        FAIL.value = n
        failed = False
        try:
            case.operation(subject)
        except MemoryError:
            failed = True
        finally:
            reached = FAIL.value < 0
            FAIL.value = -1
        core_of(subject)._check()
        if not failed:
            assert not reached, f"allocation {n} failed, and no error told"
        elif case.state is statuses:  # skipping may end half way
            assert all(code in (before.get(unit), after[unit]) for unit, code in case.state(subject).items()), n
        else:
            assert case.state(subject) == before, n
        del subject, before
        gc.collect()
        assert LIVE.value == before_all, f"{LIVE.value - before_all} blocks are left after allocation {n} failed"
        if not reached:
            break
        injected.append(n)
        n += 1


def test_a_batch_relabels_in_the_room_it_keeps_in_the_log():
    """It can fail for want of memory before it begins, and not in the middle, whatever others have logged meanwhile."""
    before, after, kept, relabelled = relabel_in_a_full_log(50)
    assert after == before
    assert kept == 0
    assert relabelled == 50


def test_how_many():
    print(f"{len(injected)} allocations of the core failed")
    assert len(injected) > 500

"""Every allocation of the interpreter fails once, in every operation: MemoryError, nothing has changed, nothing leaks.

Under the debug build, which refuses them (_starve.pyx): `python -m tests.debug debug`.
"""

import pickle
import sys
from array import array

import pytest
from fastdag._starve import blocks, requester, starve
from scenarios import cases, core_of, shown, statuses

# What CPython raises where memory runs out and it does not say so: 3.11 loses the exception where it makes the frame
# for a traceback; a lock that cannot be made is a RuntimeError; pickle takes whatever importing a module raises for a
# module that is not there.
NOT_SAID = {
    SystemError: "error return without exception set",
    RuntimeError: "can't allocate lock",
    pickle.PicklingError: "failed",
}
REPEATS = 4

refused_in_all = []


@pytest.fixture(autouse=True)
def nothing_unraisable(own_heap, monkeypatch):
    """What would be printed of exceptions that go nowhere fails the test."""
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    yield
    assert [(entry.exc_type, entry.err_msg, entry.object) for entry in unraisable] == []


def seen(case, subject):
    return case.told(subject), case.state(subject)


def agrees(case, subject, before, after):
    """Whether a subject is as it may be after an operation that ended in MemoryError."""
    got = seen(case, subject)
    if got == before:
        return True
    if not case.stands:
        return False
    if case.state is not statuses:
        return got == after
    # Skipping may end half way.
    return all(status in (before[1].get(unit), after[1].get(unit)) for unit, status in got[1].items())


def attempt(case, n, before, after, answered):
    """The operation with the n-th request refused; whether there was one. All that it has made is gone afterwards."""
    subject = case.made()
    answer, error, refused = starve(case.operation, subject, n)
    core_of(subject)._check()
    if error is None:
        assert (seen(case, subject), shown(answer)) == (after, answered), n
    else:
        assert isinstance(error, MemoryError) or NOT_SAID.get(type(error), "not") in str(error), (n, error)
        assert refused, (n, error)
        assert agrees(case, subject, before, after), (n, error, requester())
    return refused


def interpreters_own(where):
    """Whether CPython, not fastdag, may lose a reference where a request is refused.

    `pickle` does when it ends early, and before 3.13 a cell that is made of a variable, and a list that is made of
    another one. There, what bytecode asks for by itself is told apart from what the core asks for, in which only lists
    are excepted.
    """
    if any("/_pickle." in place for place in where):
        return True  # copies go through the same functions of ours, without pickle
    if sys.version_info >= (3, 13):
        return False
    for place in where:
        if place in ("_PyEval_EvalFrameDefault", "PySequence_List"):
            return True
        if "/_core." in place:
            return False
    return False


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases()])
def test_a_refused_request_changes_nothing(case):
    for _ in range(10):  # what is made once is no leak, and the interpreter specializes what runs often
        case.operation(case.made())
    subject = case.made()
    before = seen(case, subject)
    subject = case.made()
    answered = shown(case.operation(subject))
    after = seen(case, subject)
    del subject
    left = array("q", [0] * REPEATS)
    n = 0
    while attempt(case, n, before, after, answered):
        for i in range(REPEATS):  # again and again: the first time makes code objects for the traceback
            attempt(case, n, before, after, answered)
            left[i] = blocks()
            if i and left[i] <= left[i - 1]:
                break
        else:
            where = requester()
            assert interpreters_own(where), (n, list(left), where)
        n += 1
    refused_in_all.append(n)


def test_how_many():
    print(f"{sum(refused_in_all)} requests of {len(refused_in_all)} operations were refused")
    assert sum(refused_in_all) > 5_000

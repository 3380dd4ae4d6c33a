"""The histories of `tests.linearizability`, ten thousand of them, and proof that the search rejects what is wrong."""

from __future__ import annotations

import random
import time

import pytest
from linearizability.graph_specification import graph_steps
from linearizability.manager_specification import manager_steps
from linearizability.run import Run, smallest
from linearizability.search import Op, linearization
from linearizability.subjects import GraphSubject, ManagerSubject

from fastdag import Graph, Manager


def history(*calls):
    """Calls as (start, end, name, args, answer), each in a thread of its own."""
    return [Op(i, name, args, start, end, answer) for i, (start, end, name, args, answer) in enumerate(calls)]


@pytest.mark.parametrize(
    ("calls", "right"),
    [
        # A read after the end of a change does not see it; one that overlaps may or may not.
        ([(0, 1, "add_edge", ("a", "b", None), True), (2, 3, "has_edge", ("a", "b"), False)], False),
        ([(0, 5, "add_edge", ("a", "b", None), True), (2, 3, "has_edge", ("a", "b"), False)], True),
        ([(0, 5, "add_edge", ("a", "b", None), True), (2, 3, "has_edge", ("a", "b"), True)], True),
        # Seen, and then not any more.
        (
            [
                (0, 9, "add_edge", ("a", "b", None), True),
                (1, 2, "has_edge", ("a", "b"), True),
                (3, 4, "has_edge", ("a", "b"), False),
            ],
            False,
        ),
        # A vertex is seen without the edge that brings it.
        (
            [
                (0, 9, "add_edge", ("a", "b", None), True),
                (1, 2, "contains", ("a",), True),
                (3, 4, "has_edge", ("a", "b"), False),
            ],
            False,
        ),
        # Two edges of a cycle: one has to be refused, and only while the other is there.
        (
            [
                (0, 5, "add_edge", ("a", "b", None), True),
                (1, 6, "add_edge", ("b", "a", None), ("CycleError", ("b", "a", "b"))),
            ],
            True,
        ),
        ([(0, 5, "add_edge", ("a", "b", None), True), (1, 6, "add_edge", ("b", "a", None), True)], False),
        (
            [
                (0, 1, "add_edge", ("b", "a", None), ("CycleError", ("b", "a", "b"))),
                (2, 3, "add_edge", ("a", "b", None), True),
            ],
            False,
        ),
        # A path that is no cycle of that moment.
        (
            [
                (0, 1, "add_edge", ("a", "b", None), True),
                (2, 3, "add_edge", ("b", "a", None), ("CycleError", ("b", "a", "c", "b"))),
            ],
            False,
        ),
        # One vertex removed twice; two who both made the same edge.
        (
            [
                (0, 1, "add_vertex", ("a",), None),
                (2, 5, "remove_vertex", ("a",), None),
                (2, 5, "remove_vertex", ("a",), None),
            ],
            False,
        ),
        ([(0, 5, "add_edge", ("a", "b", None), True), (0, 5, "add_edge", ("a", "b", None), True)], False),
        # A bulk load may be seen edge by edge, not one edge of it now and then no more.
        (
            [
                (0, 9, "add_edges_from", ((("a", "b", None), ("c", "d", None)),), 2),
                (1, 2, "has_edge", ("a", "b"), True),
                (3, 4, "has_edge", ("c", "d"), False),
            ],
            True,
        ),
        (
            [
                (0, 9, "add_edges_from", ((("a", "b", None), ("b", "a", None)),), ("CycleError", ...)),
                (1, 2, "has_edge", ("a", "b"), True),
            ],
            False,
        ),
        # A walk beside a -> b that goes and b -> c that comes after it: a path of which no moment had both edges.
        (
            [
                (0, 1, "add_edge", ("a", "b", None), True),
                (2, 3, "add_vertex", ("c",), None),
                (4, 9, "has_path", ("a", "c"), True),
                (5, 6, "remove_edge", ("a", "b"), None),
                (7, 8, "add_edge", ("b", "c", None), True),
            ],
            True,
        ),
        # The same with b -> c after the walk; and with a path that is there all the time, but is not found.
        (
            [
                (0, 1, "add_edge", ("a", "b", None), True),
                (2, 3, "add_vertex", ("c",), None),
                (4, 7, "has_path", ("a", "c"), True),
                (5, 6, "remove_edge", ("a", "b"), None),
                (8, 9, "add_edge", ("b", "c", None), True),
            ],
            False,
        ),
        (
            [
                (0, 1, "add_edges_from", ((("a", "b", None), ("b", "c", None), ("a", "d", None)),), 3),
                (4, 9, "descendants", ("a",), frozenset("b")),
                (5, 6, "remove_edge", ("a", "d"), None),
                (7, 8, "add_edge", ("a", "d", None), True),
            ],
            False,
        ),
    ],
)
def test_the_search_on_graphs(calls, right):
    found = linearization(history(*calls), graph_steps)
    assert (found is not None) == right
    if right:
        assert sorted(found) == sorted(history(*calls))


@pytest.mark.parametrize(
    ("calls", "right"),
    [
        ([(0, 5, "register", ("a",), None), (1, 4, "register", ("a",), None)], False),
        (
            [
                (0, 5, "register", ("a",), None),
                (1, 2, "state", ("a",), "ready"),
                (3, 4, "state", ("a",), "waiting"),
            ],
            False,
        ),
        ([(0, 5, "register", ("a",), None), (1, 2, "unit", ("a",), ("pending", False))], False),
        ([(0, 5, "register", ("a",), None), (1, 2, "unit", ("a",), ("pending", True))], True),
        # A batch of statuses is seen unit by unit: the second one does not count if somebody has changed it before its
        # turn, and counts if nobody has.
        (
            [
                (0, 1, "register_all", (("a", "b"),), None),
                (2, 9, "update_statuses", (("a", "b"), "started"), 1),
                (3, 4, "unit", ("a",), ("started", True)),
                (5, 6, "update_status", ("b", "started"), None),
            ],
            True,
        ),
        (
            [
                (0, 1, "register_all", (("a", "b"),), None),
                (2, 9, "update_statuses", (("a", "b"), "started"), 1),
                (3, 4, "unit", ("a",), ("started", True)),
                (5, 6, "unit", ("b",), ("pending", True)),
            ],
            False,
        ),
        # Two dependencies of a cycle: one has to be refused.
        (
            [
                (0, 1, "register_all", (("a", "b"),), None),
                (2, 5, "add_dependency", ("a", "b", "success", False), None),
                (3, 6, "add_dependency", ("b", "a", "success", False), ("CycleError", ("b", "a", "b"))),
            ],
            True,
        ),
        (
            [
                (0, 1, "register_all", (("a", "b"),), None),
                (2, 5, "add_dependency", ("a", "b", "success", False), None),
                (3, 6, "add_dependency", ("b", "a", "success", False), None),
            ],
            False,
        ),
    ],
)
def test_the_search_on_managers(calls, right):
    assert (linearization(history(*calls), manager_steps) is not None) == right


def test_what_is_told_of_a_wrong_history():
    calls = history(
        (0, 1, "add_edge", ("a", "b", None), True),
        (2, 3, "contains", ("a",), True),
        (4, 7, "has_edge", ("a", "b"), False),
        (5, 9, "remove_edge", ("c", "d"), ("VertexNotFoundError", "c")),
        (8, 9, "add_vertex", ("e",), None),
    )
    assert smallest(calls, graph_steps) == [calls[0], calls[2], calls[3]]


def test_what_explains_the_answer_of_a_call_may_come_after_what_is_wrong():
    calls = history(
        (0, 1, "add_edge", ("a", "b", None), True),
        (2, 9, "add_edge", ("d", "c", None), ("CycleError", ("d", "c", "d"))),
        (3, 4, "has_edge", ("a", "b"), False),
        (5, 6, "add_edge", ("c", "d", None), True),
    )
    assert smallest(calls, graph_steps) == [calls[0], calls[1], calls[2]]


@pytest.mark.parametrize("subject", [GraphSubject, ManagerSubject])
def test_five_thousand_histories(subject):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    run = Run(subject, seed)
    run.run(5000)
    print(run)
    assert run.histories == 5000
    assert run.met > 1000  # else the threads went one after the other, and nothing was shown
    assert run.reordered > 20


class Split(Graph):
    """Adds an edge in two steps, and looks whether it is there in a third one before."""

    def add_edge(self, source, target, label=None):
        new = not self.has_edge(source, target)
        time.sleep(0)
        super().add_edge(source, target, label)
        return new


class Forgetful(Manager):
    """Takes the old status back for a moment before it changes it."""

    def update_status(self, unit, status):
        if self.unit(unit).status not in ("", "pending", status):
            super().update_status(unit, "pending")
            time.sleep(0)
        super().update_status(unit, status)


@pytest.mark.parametrize(("subject", "broken"), [(GraphSubject, Split), (ManagerSubject, Forgetful)])
def test_an_operation_in_two_steps_is_caught(subject, broken):
    with pytest.raises(AssertionError, match="no order of these calls explains"):
        Run(lambda: subject(broken), 1).run(5000)


@pytest.mark.parametrize("operation", ["has_edge", "to_csr"])  # of the programs, and of the thread beside them
def test_an_error_that_is_no_answer_is_raised(operation):
    def fail(*_):
        raise RuntimeError(operation)

    broken = type("Broken", (Graph,), {operation: fail})
    with pytest.raises(RuntimeError, match=operation):
        Run(lambda: GraphSubject(broken), 1).run(200)

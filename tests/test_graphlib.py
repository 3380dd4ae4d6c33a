"""`fastdag.TopologicalSorter` beside the standard library's, in the same process."""

from __future__ import annotations

import copy
import doctest
import gc
import graphlib
import importlib
import pickle
import random
import sys
import threading
import time
import weakref
from types import GenericAlias
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import fastdag.graphlib
from fastdag import TopologicalSorter, errors
from fastdag.graphlib import CycleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


try:
    stdlib_tests: Any = importlib.import_module("test.test_graphlib")
except ImportError:  # not every Python comes with it
    stdlib_tests = None

DEADLINE = 60.0  # seconds that a test with threads may take


def outcome(call: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """What a call returns or raises, in a form that can be compared."""
    try:
        return ("returned", call(*args))
    except graphlib.CycleError as error:
        return ("cycle", error.args)
    except Exception as error:  # noqa: BLE001
        return (type(error), error.args, str(error))


def drained(sorter: Any) -> list[tuple[Any, ...]]:
    """The rounds of a sorter that is prepared."""
    rounds = []
    while sorter.is_active():
        ready = sorter.get_ready()
        assert ready, "some node is still out"
        rounds.append(ready)
        sorter.done(*ready)
    return rounds


def state(sorter: TopologicalSorter[Any]) -> Any:
    return sorter.__reduce__()[2]


# The standard library's own tests.


@pytest.mark.skipif(stdlib_tests is None, reason="this Python comes without its own tests")
@pytest.mark.parametrize(
    "name", [name for name in dir(getattr(stdlib_tests, "TestTopologicalSort", None)) if name.startswith("test_")]
)
def test_of_the_standard_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "test_prepare_multiple_times" and sys.version_info < (3, 14):
        pytest.skip("it tests the rule of before CPython 3.14; see test_prepare_again")
    run = stdlib_tests.assert_python_ok
    texts = []

    def run_with_fastdag(option: str, code: str, **env: Any) -> Any:
        assert "import graphlib\n" in code
        result = run(option, code.replace("import graphlib\n", "from fastdag import graphlib\n"), **env)
        texts.append(result.out)
        return result.out

    monkeypatch.setattr(stdlib_tests, "graphlib", fastdag.graphlib)
    monkeypatch.setattr(stdlib_tests, "assert_python_ok", run_with_fastdag)
    getattr(stdlib_tests.TestTopologicalSort(name), name)()
    assert bool(texts) == ("hash_seed" in name)


# Behaviour.


def test_error_is_both_libraries_error() -> None:
    sorter = TopologicalSorter({"a": ["b"], "b": ["c"], "c": ["a"], "d": []})
    theirs = graphlib.TopologicalSorter({"a": ["b"], "b": ["c"], "c": ["a"], "d": []})
    with pytest.raises(CycleError) as caught:
        sorter.prepare()
    with pytest.raises(graphlib.CycleError) as expected:
        theirs.prepare()
    error = caught.value
    assert isinstance(error, (graphlib.CycleError, errors.CycleError))
    assert issubclass(CycleError, graphlib.CycleError)
    assert issubclass(CycleError, errors.CycleError)
    assert issubclass(CycleError, errors.FastDAGError)
    assert issubclass(CycleError, ValueError)
    assert error.args == expected.value.args == ("nodes are in a cycle", error.path)
    assert str(error) == str(expected.value)
    assert type(error.args[1]) is list
    assert error.path[0] == error.path[-1]
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args, again.path) == (CycleError, error.args, error.path)


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([("get_ready",)], id="get_ready before prepare"),
        pytest.param([("done", 1)], id="done before prepare"),
        pytest.param([("done",)], id="done without nodes before prepare"),
        pytest.param([("is_active",)], id="is_active before prepare"),
        pytest.param([("__bool__",)], id="truth before prepare"),
        pytest.param([("prepare",), ("add", 9)], id="add after prepare"),
        pytest.param([("prepare",), ("add", [])], id="unhashable add after prepare"),
        pytest.param([("prepare",), ("done", 1)], id="not ready"),
        pytest.param([("prepare",), ("done", 3)], id="ready but not handed out"),
        pytest.param([("prepare",), ("done", "x")], id="unknown"),
        pytest.param([("prepare",), ("done", [])], id="unhashable done"),
        pytest.param([("prepare",), ("get_ready",), ("done", 3), ("done", 3)], id="done already"),
        pytest.param([("prepare",), ("get_ready",), ("done", 3, 3)], id="done twice at once"),
        pytest.param([("prepare",), ("get_ready",), ("done", 3, 2, "x")], id="first of two errors"),
        pytest.param([("prepare",), ("get_ready",), ("done", 3, "x", 2)], id="first of two errors, unknown"),
        pytest.param([("prepare",), ("get_ready",), ("done", 3, 3, "x")], id="twice and unknown"),
        pytest.param([("prepare",), ("get_ready",), ("done", 2, [])], id="not ready and unhashable"),
        pytest.param([("prepare",), ("get_ready",), ("done", *[3] * 100)], id="very often at once"),
        pytest.param([("add", [])], id="unhashable node"),
        pytest.param([("add", 7, 8, {})], id="unhashable predecessor"),
        pytest.param([("add",)], id="no node"),
    ],
)
def test_errors_are_the_same_and_change_nothing(calls: list[tuple[Any, ...]]) -> None:
    ours: TopologicalSorter[Any] = TopologicalSorter({1: [2, 3], 2: [3]})
    theirs: graphlib.TopologicalSorter[Any] = graphlib.TopologicalSorter({1: [2, 3], 2: [3]})
    for name, *args in calls[:-1]:
        assert outcome(getattr(ours, name), *args) == outcome(getattr(theirs, name), *args)
    before = state(ours)
    name, *args = calls[-1]
    got, expected = outcome(getattr(ours, name), *args), outcome(getattr(theirs, name), *args)
    assert got[0] not in ("returned", "cycle")
    if calls[-1] == ("add",):
        assert got[0] is expected[0] is TypeError
    else:
        assert got == expected
    assert state(ours) == before
    ours._check()


def test_prepare_again() -> None:
    """The rule of CPython 3.14, on every version."""
    sorter = TopologicalSorter({"a": "bc"})
    sorter.prepare()
    sorter.prepare()
    assert sorter.get_ready() == ("b", "c")
    for method in (sorter.prepare, lambda: next(iter(sorter.static_order()))):
        with pytest.raises(ValueError, match=r"^cannot prepare\(\) after starting sort$"):
            method()
    sorter.done("b", "c")
    assert drained(sorter) == [("a",)]
    with pytest.raises(ValueError, match=r"^cannot prepare\(\) after starting sort$"):
        sorter.prepare()


def test_prepare_again_before_static_order() -> None:
    sorter = TopologicalSorter({"a": "bc"})
    sorter.prepare()
    assert list(sorter.static_order()) == ["b", "c", "a"]


def test_prepare_reports_a_cycle_each_time() -> None:
    sorter = TopologicalSorter({"a": "b", "b": "a"})
    for _ in range(3):
        with pytest.raises(CycleError) as caught:
            sorter.prepare()
        assert caught.value.path == ["a", "b", "a"]
        assert sorter.get_ready() == ()  # nothing was handed out
        with pytest.raises(ValueError, match="cannot be added"):
            sorter.add("c")


def test_a_cycle_leaves_the_rest_to_be_drained() -> None:
    sorter = TopologicalSorter({1: [0], 2: [1], 3: [2, 4], 4: [3], 5: [4], 6: [0]})
    with pytest.raises(CycleError) as caught:
        sorter.prepare()
    assert set(caught.value.path) == {3, 4}
    assert drained(sorter) == [(0,), (1, 6), (2,)]
    assert not sorter.is_active()
    assert sorter.get_ready() == ()
    with pytest.raises(ValueError, match=r"^node 3 was not passed out \(still not ready\)$"):
        sorter.done(3)


def test_static_order_is_lazy_and_reports_a_cycle_at_the_first_node() -> None:
    sorter = TopologicalSorter({1: [2], 2: [1]})
    order = sorter.static_order()
    with pytest.raises(CycleError):
        next(order)


def test_empty_and_truth() -> None:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    sorter.prepare()
    assert not sorter
    assert sorter.get_ready() == ()
    sorter.done()
    sorter = TopologicalSorter({"a": ()})
    sorter.prepare()
    assert sorter
    sorter.get_ready()
    assert sorter
    sorter.done("a")
    assert not sorter


def test_long_and_deep() -> None:
    """More vertices than one call looks up without asking for memory, and deeper than any recursion."""
    sorter: TopologicalSorter[int] = TopologicalSorter()
    sorter.add(0, *range(1, 1000))
    sorter.add(0, *range(1, 1000))
    for i in range(1000, 200_000):
        sorter.add(i, i - 1 if i > 1000 else 0)
    sorter.prepare()
    assert sorter.get_ready() == tuple(range(1, 1000))
    sorter.done(*range(999, 0, -1))
    for node in (0, *range(1000, 200_000)):
        assert sorter.get_ready() == (node,)
        sorter.done(node)
    assert not sorter.is_active()
    cyclic: TopologicalSorter[int] = TopologicalSorter()
    for i in range(200_000):
        cyclic.add(i, (i + 1) % 200_000)
    with pytest.raises(CycleError) as caught:
        cyclic.prepare()
    assert len(caught.value.path) == 200_001


def test_nodes_are_told_apart_by_equality_alone() -> None:
    """Objects equal to a node come and go, and others take their addresses."""
    rng = random.Random(3)
    ours: TopologicalSorter[str] = TopologicalSorter()
    theirs: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for _ in range(20_000):
        low, high = sorted(rng.sample(range(3000), 2))
        ours.add(f"node {high}", f"node {low}")
        theirs.add(f"node {high}", f"node {low}")
    ours._check()
    ours.prepare()
    theirs.prepare()
    while theirs.is_active():
        ready = theirs.get_ready()
        assert ours.get_ready() == ready
        for node in ready:
            ours.done(node[:5] + node[5:])
        theirs.done(*ready)
    assert not ours.is_active()
    ours._check()


def test_keywords_subclasses_generics_and_attributes() -> None:
    class Logged(TopologicalSorter[str]):
        def __init__(self, graph: dict[str, list[str]], name: str) -> None:
            self.name = name
            self.log: list[str] = []
            super().__init__(graph)

        def add(self, node: str, *predecessors: str) -> None:
            self.log.append(node)
            super().add(node, *predecessors)

        def is_active(self) -> bool:
            self.log.append("?")
            return super().is_active()

    logged = Logged({"a": ["b"], "c": []}, name="x")
    assert logged.log == ["a", "c"]
    logged.prepare()
    assert bool(logged)
    assert logged.log.pop() == "?"
    assert list(copy.copy(logged).static_order()) == ["b", "c", "a"]
    sorter: TopologicalSorter[str] = TopologicalSorter(graph={"a": ["b"]})
    sorter.add(node="c")
    assert list(sorter.static_order()) == ["b", "c", "a"]
    alias: Any = TopologicalSorter[int]
    assert type(alias) is GenericAlias
    assert (alias.__origin__, alias.__args__) == (TopologicalSorter, (int,))
    sorter.note = "as in the standard library's"  # type: ignore[attr-defined]
    assert weakref.ref(sorter)() is sorter
    assert set(dir(graphlib.TopologicalSorter)) - set(dir(TopologicalSorter)) <= {"_find_cycle", "_get_nodeinfo"}
    assert set(graphlib.__all__) == set(fastdag.graphlib.__all__)


def test_nodes_are_freed() -> None:
    class Node:
        sorter: Any

    node, other = Node(), Node()
    died = [weakref.ref(node), weakref.ref(other)]
    sorter: TopologicalSorter[Node] = TopologicalSorter({node: [other]})
    assert list(sorter.static_order()) == [other, node]
    node.sorter = sorter  # a cycle of references
    del node, other, sorter
    gc.collect()
    assert [ref() for ref in died] == [None, None]


def test_examples() -> None:
    result = doctest.testmod(fastdag.graphlib)
    assert result.attempted > 0
    assert result.failed == 0


# Copies and pickles.


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda sorter: pickle.loads(pickle.dumps(sorter))])
@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("cyclic", [False, True])
def test_a_copy_goes_on_by_itself(duplicate: Callable[[Any], Any], steps: int, cyclic: bool) -> None:
    sorter: TopologicalSorter[Any] = TopologicalSorter()
    with pytest.raises(TypeError):
        sorter.add("never", "there", [])
    sorter.add("a", "b", "c")
    sorter.add("c", "d")
    sorter.add("b", "d", "d")
    sorter.add("e", "b")
    if cyclic:
        sorter.add("f", "a", "g")
        sorter.add("g", "f")
    calls: list[Callable[[], object]] = [
        lambda: outcome(sorter.prepare),
        sorter.get_ready,
        lambda: sorter.done("d"),
        sorter.get_ready,
        lambda: sorter.done("b"),
        sorter.get_ready,
        lambda: sorter.done("c"),
    ]
    for call in calls[:steps]:
        call()
    vars(sorter)["note"] = steps
    before = state(sorter)
    twin = duplicate(sorter)
    assert type(twin) is TopologicalSorter
    assert vars(twin) == {"note": steps}
    twin._check()
    assert state(twin) == before
    rounds = finished(twin)
    assert state(sorter) == before
    assert finished(sorter) == rounds


def finished(sorter: TopologicalSorter[Any]) -> Any:
    """What happens to a sorter from here on: error of prepare, rounds, and what is left over."""
    prepared = None if state(sorter)[2] else outcome(sorter.prepare)
    sorter.done(*state(sorter)[4])
    return prepared, [set(ready) for ready in drained(sorter)], sorter.is_active()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (([1, 2], [2, 1], True, [], [1], None), ValueError),  # out before its predecessor is done
        (([1, 2], [2, 1], True, [2, 2], [], None), ValueError),  # done twice
        (([1, 2], [2, 1], True, [7], [], None), ValueError),  # done, never added
        (([1, 2], [2, 1], False, [2], [], None), ValueError),  # done, not prepared
        (([[]], [], False, [], [], None), TypeError),
        (([1], [[], 1], False, [], [], None), TypeError),
        (([1], 5, False, [], [], None), TypeError),
        ((), ValueError),
        (None, TypeError),
    ],
)
def test_a_broken_pickle_is_refused(wrong: Any, error: type[Exception]) -> None:
    sorter: TopologicalSorter[Any] = TopologicalSorter.__new__(TopologicalSorter)
    with pytest.raises(error):
        sorter.__setstate__(wrong)
    sorter._check()
    used = TopologicalSorter({1: [2]})
    before = state(used)
    with pytest.raises(ValueError, match="in use"):
        used.__setstate__(before)
    assert state(used) == before


# Random graphs, with the standard library as the oracle.

nodes = st.one_of(st.integers(0, 12), st.sampled_from([1.0, 2.0, 3.0, "a", "b", (), None, float("inf")]))
graphs = st.lists(st.tuples(nodes, st.lists(nodes, max_size=4)), max_size=25)


def both(graph: list[tuple[Any, list[Any]]]) -> tuple[TopologicalSorter[Any], graphlib.TopologicalSorter[Any]]:
    ours: TopologicalSorter[Any] = TopologicalSorter()
    theirs: graphlib.TopologicalSorter[Any] = graphlib.TopologicalSorter()
    for node, predecessors in graph:
        ours.add(node, *predecessors)
        theirs.add(node, *predecessors)
    return ours, theirs


@settings(max_examples=500, deadline=None)
@given(graphs)
def test_rounds_and_cycles_are_the_same(graph: list[tuple[Any, list[Any]]]) -> None:
    ours, theirs = both(graph)
    assert outcome(ours.prepare) == outcome(theirs.prepare)
    assert drained(ours) == drained(theirs)
    assert ours.is_active() is theirs.is_active() is False
    ours._check()
    ours, theirs = both(graph)
    assert outcome(list, ours.static_order()) == outcome(list, theirs.static_order())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.lists(st.integers(0, 60), max_size=3)), max_size=60), st.booleans())
def test_larger_graphs_are_the_same(graph: list[tuple[int, list[int]]], acyclic: bool) -> None:
    if acyclic:
        graph = [(node, [other for other in predecessors if other < node]) for node, predecessors in graph]
    ours, theirs = both(graph)
    first, second = outcome(ours.prepare), outcome(theirs.prepare)
    assert first == second
    assert not acyclic or first == ("returned", None)
    assert drained(ours) == drained(theirs)
    as_mapping = dict(graph)
    assert outcome(list, TopologicalSorter(as_mapping).static_order()) == outcome(
        list, graphlib.TopologicalSorter(as_mapping).static_order()
    )


class Together(RuleBasedStateMachine):
    """Any calls in any order. What raises in the standard library half-way is asked of a copy of its sorter."""

    def __init__(self) -> None:
        super().__init__()
        self.ours: TopologicalSorter[Any] = TopologicalSorter()
        self.theirs: graphlib.TopologicalSorter[Any] = graphlib.TopologicalSorter()
        self.fresh: graphlib.TopologicalSorter[Any] = graphlib.TopologicalSorter()  # never prepared
        self.prepared = False
        self.out: list[Any] = []
        self.handed_out = 0
        self.same_order = True  # as long as no add failed: that may leave nodes behind that keep their place

    def comparable(self, got: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.same_order:
            return got
        if got[0] == "cycle":
            return got[:1]
        return (got[0], set(got[1])) if type(got[1]) is tuple else got

    def compare(self, method: str, *args: Any) -> Any:
        trial = copy.deepcopy(self.theirs)
        before = state(self.ours)
        expected = outcome(getattr(trial, method), *args)
        got = outcome(getattr(self.ours, method), *args)
        assert self.comparable(got) == self.comparable(expected)
        if expected[0] in ("returned", "cycle"):
            self.theirs = trial
        else:
            assert state(self.ours) == before
        return got

    @initialize(graph=graphs)
    def start(self, graph: list[tuple[Any, list[Any]]]) -> None:
        for node, predecessors in graph[:8]:
            self.add(node, predecessors)

    @rule(node=nodes, predecessors=st.lists(nodes, max_size=4))
    def add(self, node: Any, predecessors: list[Any]) -> None:
        if self.compare("add", node, *predecessors)[0] == "returned":
            self.fresh.add(node, *predecessors)

    @rule(node=nodes, predecessors=st.lists(nodes, max_size=4))
    def add_unhashable(self, node: Any, predecessors: list[Any]) -> None:
        self.compare("add", node, *predecessors, [])
        self.same_order = False

    @rule()
    def prepare(self) -> None:
        if not self.prepared:
            self.compare("prepare")
            self.prepared = True
        elif self.handed_out:
            message = "cannot prepare() after starting sort"
            assert outcome(self.ours.prepare) == (ValueError, (message,), message)
        else:
            expected = outcome(copy.deepcopy(self.fresh).prepare)
            assert self.comparable(outcome(self.ours.prepare)) == self.comparable(expected)

    @rule()
    def get_ready(self) -> None:
        got = self.compare("get_ready")
        if got[0] == "returned":
            self.out += got[1]
            self.handed_out += len(got[1])

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.sampled_from(self.out), unique=True))
        assert self.compare("done", *some)[0] == "returned"
        self.out = [node for node in self.out if node not in some]

    @rule(some=st.lists(nodes, min_size=1, max_size=4))
    def done_any(self, some: list[Any]) -> None:
        if self.compare("done", *some)[0] == "returned":
            self.out = [node for node in self.out if node not in some]

    @rule()
    def is_active(self) -> None:
        self.compare("is_active")
        self.compare("__bool__")

    @rule()
    def go_on_with_a_copy(self) -> None:
        self.ours = copy.deepcopy(self.ours)
        if self.prepared:  # the order of what waits is not kept
            out = self.theirs.get_ready()
            got = self.ours.get_ready()
            assert set(got) == set(out)
            self.out += out
            self.handed_out += len(out)

    @invariant()
    def check(self) -> None:
        self.ours._check()


TestTogether = Together.TestCase
TestTogether.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


# Nodes whose look-up runs code, and that code this sorter.


class Colliding:
    """All of them have the same hash; comparing two runs `act` once."""

    act: Callable[[], object] | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        act, Colliding.act = Colliding.act, None
        if act is not None:
            act()
        return isinstance(other, Colliding) and self.name == other.name

    def __repr__(self) -> str:
        return self.name


@pytest.fixture
def colliding() -> Iterator[None]:
    Colliding.act = None
    yield
    Colliding.act = None


def fail() -> None:
    raise RuntimeError("no comparison today")


@pytest.mark.usefixtures("colliding")
def test_a_comparison_that_raises_changes_nothing() -> None:
    a, b, c, d = (Colliding(name) for name in "abcd")
    sorter = TopologicalSorter({a: [b]})
    before = state(sorter)
    for node, *predecessors in ([Colliding("a")], [c, Colliding("b")], [a, d], [a, b, b, c]):
        Colliding.act = fail
        with pytest.raises(RuntimeError, match="no comparison"):
            sorter.add(node, *predecessors)
        assert state(sorter) == before
        sorter._check()
    sorter.add(a, Colliding("b"), c)
    sorter.prepare()
    assert set(sorter.get_ready()) == {b, c}
    before = state(sorter)
    Colliding.act = fail
    with pytest.raises(RuntimeError, match="no comparison"):
        sorter.done(c, Colliding("b"))
    assert state(sorter) == before
    sorter.done(c, Colliding("b"))
    assert drained(sorter) == [(a,)]
    sorter._check()


@pytest.mark.usefixtures("colliding")
@pytest.mark.parametrize("nodes", ["cdb", "ab", "bc", "b"])
def test_a_comparison_that_prepares_closes_the_graph_for_the_add_that_made_it(nodes: str) -> None:
    a, b = Colliding("a"), Colliding("b")
    sorter = TopologicalSorter({a: [b]})
    Colliding.act = sorter.prepare
    with pytest.raises(ValueError, match=r"^Nodes cannot be added after a call to prepare\(\)$"):
        sorter.add(*(Colliding(name) for name in nodes))
    sorter._check()
    with pytest.raises(ValueError, match="d was not added"):
        sorter.done(Colliding("d"))
    assert drained(sorter) == [(b,), (a,)]


@pytest.mark.usefixtures("colliding")
@pytest.mark.parametrize("comparison", range(2))
def test_a_comparison_that_adds_the_same_node(comparison: int) -> None:
    a, b, c = (Colliding(name) for name in "abc")
    sorter = TopologicalSorter({a: []})

    def act() -> None:
        nonlocal comparison
        if comparison:
            comparison -= 1
            Colliding.act = act
        else:
            sorter.add(Colliding("b"), c)

    Colliding.act = act
    sorter.add(b, a)
    assert Colliding.act is None
    sorter._check()
    sorter.prepare()
    assert [{node.name for node in ready} for ready in drained(sorter)] == [{"a", "c"}, {"b"}]


@pytest.mark.usefixtures("colliding")
def test_a_comparison_that_finishes_the_same_node() -> None:
    a, b, c = (Colliding(name) for name in "abc")
    sorter = TopologicalSorter({a: [], b: [a], c: []})
    sorter.prepare()
    assert sorter.get_ready() == (a, c)

    def finish() -> None:
        sorter.done(a)
        assert sorter.get_ready() == (b,)

    Colliding.act = finish
    with pytest.raises(ValueError, match=r"^node a was already marked done$"):
        sorter.done(c, Colliding("a"))
    sorter._check()
    assert state(sorter)[3:5] == ([a], [c, b])
    sorter.done(b, c)
    assert not sorter


@pytest.mark.usefixtures("colliding")
@pytest.mark.parametrize("seed", range(30))
def test_comparisons_that_do_anything(seed: int) -> None:
    rng = random.Random(seed)
    sorter: TopologicalSorter[Any] = TopologicalSorter()
    out: list[Any] = []

    def anything() -> None:
        if rng.random() < 0.7:
            Colliding.act = anything
        weights = {"add": 40, "done": 10, "get_ready": 10, "copy": 10, "is_active": 10, "prepare": 1}
        [call] = rng.choices(list(weights), list(weights.values()))
        some = [Colliding(str(rng.randrange(15))) for _ in range(rng.choice([1, 2, 3, 40]))]
        if call == "copy":
            outcome(copy.deepcopy, sorter)
        elif call == "done":
            outcome(sorter.done, *rng.sample(out, min(len(out), 2)))
        elif call == "get_ready":
            got = outcome(sorter.get_ready)
            out.extend(got[1] if got[0] == "returned" else ())
        else:
            outcome(getattr(sorter, call), *(some if call == "add" else ()))
        sorter._check()

    for _ in range(60):
        outcome(anything)
    Colliding.act = None
    outcome(sorter.prepare)
    for _ in range(60):
        outcome(anything)
    Colliding.act = None
    sorter._check()
    for _ in range(100):
        out.extend(sorter.get_ready())
        for node in out:
            outcome(sorter.done, node)
    assert not sorter
    names = [node.name for node in out]
    assert len(names) == len(set(names))


# Threads.


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run work(0) … work(count - 1) at once, switching as often as possible; the first error of any is raised."""
    barrier = threading.Barrier(count)
    problems: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait(DEADLINE)
            work(number)
        except BaseException as problem:  # noqa: BLE001
            problems.append(problem)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    deadline = time.monotonic() + DEADLINE
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not [thread for thread in threads if thread.is_alive()], "threads hang"
    finally:
        sys.setswitchinterval(interval)
    if problems:
        raise problems[0]


class Slow:
    """A node whose look-up makes threads switch in the middle of a call."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        if self.number % 3 == 0:
            time.sleep(0)  # lets another thread run
        return self.number // 4

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slow) and self.number == other.number


@pytest.mark.parametrize("kind", [str, Slow])
def test_threads_drain_one_sorter(kind: Callable[[int], Any]) -> None:
    rng = random.Random(5)
    size = 3000 if kind is str else 400
    predecessors = {kind(i): [kind(rng.randrange(i)) for _ in range(min(i, 3))] for i in range(size)}
    sorter = TopologicalSorter(predecessors)
    sorter.prepare()
    handed_out: list[Any] = []
    finished_nodes: set[Any] = set()

    def work(number: int) -> None:
        deadline = time.monotonic() + DEADLINE
        while sorter.is_active():
            assert time.monotonic() < deadline
            ready = sorter.get_ready()
            if not ready:
                time.sleep(0)
            for node in ready:
                assert finished_nodes.issuperset(predecessors[node])
                handed_out.append(node)
            finished_nodes.update(ready)
            if number % 2:
                sorter.done(*ready)
            else:
                for node in ready:
                    sorter.done(node)

    in_threads(6, work)
    assert len(handed_out) == size
    assert set(handed_out) == set(predecessors)
    sorter._check()


def test_threads_finish_the_same_nodes() -> None:
    size = 2000
    sorter = TopologicalSorter({i: [] for i in range(size)} | {(i, "later"): [i] for i in range(size)})
    sorter.prepare()
    assert len(sorter.get_ready()) == size
    succeeded: list[int] = []
    refused: list[str] = []

    def work(number: int) -> None:
        for i in range(size):
            try:
                sorter.done(i)
            except ValueError as error:
                refused.append(str(error))
            else:
                succeeded.append(i)

    in_threads(4, work)
    assert sorted(succeeded) == list(range(size))
    assert sorted(refused) == sorted(f"node {i} was already marked done" for i in range(size) for _ in range(3))
    assert sorted(sorter.get_ready()) == [(i, "later") for i in range(size)]
    sorter._check()


@pytest.mark.parametrize("kind", [str, Slow])
def test_threads_add_to_one_sorter(kind: Callable[[int], Any]) -> None:
    size, count = 300, 6
    sorter: TopologicalSorter[Any] = TopologicalSorter()
    oracle: graphlib.TopologicalSorter[Any] = graphlib.TopologicalSorter()
    order = random.Random(1).sample(range(size), size)
    calls = [
        [(kind(i), *(kind(rng.randrange(i)) for _ in range(min(i, 3)))) for i in order]
        for rng in map(random.Random, range(count))
    ]
    step = threading.Barrier(count)

    def work(number: int) -> None:
        for call in calls[number]:
            step.wait(DEADLINE)  # all add the same node at the same time
            sorter.add(*call)

    in_threads(count, work)
    sorter._check()
    for some in calls:
        for call in some:
            oracle.add(*call)
    sorter.prepare()
    oracle.prepare()
    assert [set(ready) for ready in drained(sorter)] == [set(ready) for ready in drained(oracle)]


def test_threads_add_while_another_prepares() -> None:
    for repeat in range(20):
        sorter: TopologicalSorter[Any] = TopologicalSorter({i: [i - 1] for i in range(1, 2000)})
        added: list[Any] = []

        def work(number: int) -> None:
            if number == 0:
                time.sleep(0.0005 * repeat)  # noqa: B023
                sorter.prepare()  # noqa: B023
                return
            for i in range(number * 100_000, number * 100_000 + 90_000):
                try:
                    sorter.add(Slow(i), Slow(i - 1), i % 2000)  # noqa: B023
                except ValueError:
                    return
                added.append(Slow(i))  # noqa: B023

        in_threads(3, work)
        sorter._check()
        order = [node for node in sorter.static_order() if isinstance(node, Slow)]
        assert {node for node in order if node.number % 100_000 < 90_000} == set(added)

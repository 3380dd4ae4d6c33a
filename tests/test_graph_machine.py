"""Random operations on `Graph` against plain dicts, with every invariant of the core checked after each."""

from __future__ import annotations

import pytest
import stress
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

NAMES = [None, (1, "x"), 0, "a", "b", "c", "d", "e", "f", b"f"]
VERTEX = st.sampled_from(NAMES)
LABEL = st.sampled_from(stress.LABELS)
ROWS = st.lists(st.tuples(VERTEX, VERTEX, LABEL), max_size=12)
# Along one order, so that many a batch is taken.
ASCENDING = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), LABEL)
    .filter(lambda row: row[0] != row[1])
    .map(lambda row: (NAMES[min(row[:2])], NAMES[max(row[:2])], row[2])),
    max_size=30,
)


class GraphMachine(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.pair = stress.Pair(NAMES)

    @rule(vertex=VERTEX)
    def add_vertex(self, vertex):
        self.pair.add_vertex(vertex)

    @rule(row=st.tuples(VERTEX, VERTEX, LABEL))
    def add_edge(self, row):
        self.pair.both("add_edge", *row)

    @rule(edge=st.tuples(VERTEX, VERTEX))
    def remove_edge(self, edge):
        self.pair.both("remove_edge", *edge)

    @rule(data=st.data())
    def remove_an_edge_that_is_there(self, data):
        if edges := self.pair.oracle.edges():
            self.pair.both("remove_edge", *data.draw(st.sampled_from(edges))[:2])

    @rule(vertex=VERTEX)
    def remove_vertex(self, vertex):
        self.pair.both("remove_vertex", vertex)

    @rule(vertex=VERTEX, edges=ASCENDING)
    def remove_and_add_again(self, vertex, edges):
        self.pair.both("remove_vertex", vertex)
        self.pair.add_vertex(vertex)
        self.pair.add_edges_from([edge for edge in edges if vertex in edge[:2]])

    @rule(rows=st.one_of(ROWS, ASCENDING))
    def add_edges_from(self, rows):
        self.pair.add_edges_from(rows)

    @rule(rows=ASCENDING, after=st.integers(0, 30))
    def an_iterable_that_raises(self, rows, after):
        def broken():
            yield from rows[:after]
            raise LookupError

        with pytest.raises(LookupError):
            self.pair.graph.add_edges_from(broken())

    @rule(kind=st.sampled_from("iIlLqQ"), rows=st.one_of(ROWS, ASCENDING), labelled=st.booleans())
    def add_edges(self, kind, rows, labelled):
        self.pair.add_edges(kind, rows, labelled)

    @rule(edge=st.tuples(VERTEX, VERTEX))
    def ask(self, edge):
        source, target = edge
        for name in ("has_edge", "edge_label"):
            self.pair.both(name, source, target)
        for name in ("degree", "in_degree", "out_degree"):
            self.pair.both(name, source)
        self.pair.walks(source, target)

    @rule()
    def whole(self):
        self.pair.whole()

    @rule(how=st.integers(0, 2))
    def go_on_with_a_copy(self, how):
        self.pair.go_on_with_a_copy(how)

    @invariant()
    def agree(self):
        if hasattr(self, "pair"):
            self.pair.agree()


TestGraphMachine = GraphMachine.TestCase
TestGraphMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("seed", range(4))
def test_random_operations(seed):
    done = stress.run(1500, seed)
    assert sum(done.values()) == 1500
    assert len(done) == 10


def test_the_oracle_notices():
    pair = stress.Pair(["a", "b"])
    pair.both("add_edge", "a", "b", "x")
    pair.agree()
    pair.graph.add_edge("a", "b", "y")
    with pytest.raises(stress.DisagreementError):
        pair.agree()
    with pytest.raises(stress.DisagreementError):
        pair.both("edge_label", "a", "b")
    with pytest.raises(stress.DisagreementError):
        stress.require_cycle(["a", "b", "a"], [("a", "b")], pair.oracle)

"""What happens between two moments of one call: other calls made just then see all of it or nothing.

Looking a name up compares it with others of the same hash, and comparing may run any code: here, those other calls.
"""

from __future__ import annotations

import threading

import pytest

from fastdag import CycleError, EdgeNotFoundError, Graph, UnitAlreadyRegisteredError, VertexNotFoundError
from fastdag._core import StatusGraph

DEADLINE = 60.0


class Key:
    """A name that runs something when it is compared, or hashed, for the n-th time from now on."""

    def __init__(self, text, comparing=None, hashing=None, nth=1):
        self.text = text
        self.comparing = comparing
        self.hashing = hashing
        self.left = nth

    def due(self, what):
        if what is not None:
            self.left -= 1
            if self.left == 0:
                what()

    def __hash__(self):
        self.due(self.hashing)
        return 1

    def __eq__(self, other):
        for key in (self, other):
            key.due(key.comparing)
        return isinstance(other, Key) and self.text == other.text

    def __repr__(self):
        return self.text


A, B, C = map(Key, "ABC")


def unseen(graph, vertex):
    """Nothing tells that somebody is about to add this vertex."""
    assert vertex not in graph
    assert len(graph) == 1
    assert graph
    assert list(graph) == graph.topological_sort() == list(graph.copy()) == [B]
    assert graph.topological_generations() == [[B]]
    assert graph.to_csr()[1].tolist() == []
    for ask in (graph.index, graph.degree, graph.descendants, graph.remove_vertex):
        with pytest.raises(VertexNotFoundError):
            ask(vertex)
    with pytest.raises(VertexNotFoundError):
        graph.remove_edge(vertex, B)
    with pytest.raises(IndexError):
        graph.vertex_at(1)
    graph._check()


def test_a_vertex_comes_with_its_edge():
    graph = Graph()
    graph.add_vertex(B)
    seen = []
    target = Key("B", comparing=lambda: seen.append(unseen(graph, A)))
    assert graph.add_edge(A, target)
    assert seen == [None]
    assert list(graph) == [B, A]
    assert len(graph) == 2
    graph._check()


def test_a_vertex_of_a_refused_edge_is_never_seen():
    graph = Graph()
    graph.add_vertex(B)
    seen = []
    with pytest.raises(CycleError):
        graph.add_edge(A, Key("A", comparing=lambda: seen.append(unseen(graph, A))))
    assert seen == [None]
    unseen(graph, A)


def test_a_vertex_of_a_refused_load_is_never_seen():
    graph = Graph()
    graph.add_vertex(B)
    seen = []
    with pytest.raises(CycleError):
        graph.add_edges_from([(A, B), (B, Key("A", comparing=lambda: seen.append(unseen(graph, A))))])
    assert seen == [None]
    unseen(graph, A)


def test_a_vertex_that_others_used_meanwhile_stays():
    graph = Graph()
    graph.add_vertex(B)
    with pytest.raises(CycleError):
        graph.add_edge(A, Key("A", comparing=lambda: graph.add_vertex(A)))
    assert list(graph) == [B, A]
    assert len(graph) == 2
    graph._check()


def test_both_vertices_come_between_two_look_ups():
    graph = Graph()
    graph.add_edge(B, C)
    # Not found, A is looked up once more to say which vertex is missing: in the middle of that it comes, with the edge.
    source = Key("A", comparing=lambda: graph.add_edge(A, B, "label"), nth=3)
    graph.remove_edge(source, B)
    assert source.left <= 0
    assert graph.edges() == [(B, C, None)]
    graph._check()


def test_the_label_of_an_edge_whose_source_went_and_came_back():
    graph = Graph()
    graph.add_edge(A, B, "old")

    def gone_and_back():
        graph.remove_vertex(A)
        graph.add_edge(A, B, "new")

    target = Key("B", comparing=gone_and_back)
    assert graph.edge_label(A, target) == "new"
    assert target.left <= 0
    graph.remove_edge(A, B)
    with pytest.raises(EdgeNotFoundError):
        graph.edge_label(A, B)


def test_a_cycle_through_a_vertex_that_went_and_came_back():
    graph = Graph()
    graph.add_edge(A, B)

    def gone_and_back():
        graph.remove_vertex(B)
        graph.add_edge(A, B)

    target = Key("A", comparing=gone_and_back)
    assert graph.find_cycle(B, target) == [B, A, B]
    assert target.left <= 0


def test_no_cycle_through_a_vertex_that_is_gone():
    graph = Graph()
    graph.add_edge(C, A)
    graph.add_edge(C, B)
    target = Key("B", comparing=lambda: graph.remove_vertex(A), nth=3)
    with pytest.raises(VertexNotFoundError):
        graph.find_cycle(A, target)
    assert target.left <= 0


def test_register_all_tells_a_vertex_from_the_next_one_with_its_index():
    graph = StatusGraph()
    graph.register(C, 0)
    mine_is_made, other_is_gone = threading.Event(), threading.Event()
    errors = []

    def refused():
        def wait():
            mine_is_made.set()
            assert other_is_gone.wait(DEADLINE)

        # A is made, the other thread finds it; C is registered already, so A goes again.
        try:
            with pytest.raises(UnitAlreadyRegisteredError):
                graph.register_all([A, Key("C", comparing=wait)], 0)
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)

    first = threading.Thread(target=refused, daemon=True)
    first.start()
    assert mine_is_made.wait(DEADLINE)

    def use_its_index_again():
        other_is_gone.set()
        first.join(DEADLINE)
        assert not first.is_alive()
        graph.register(newcomer, 0)
        assert graph.index(newcomer) == 1

    class Other(Key):
        def __hash__(self):
            self.due(self.hashing)
            return 2

    newcomer = Other("D")
    # Hashed once to be looked up, then to see whether it comes twice: between these, its index goes to the newcomer.
    graph.register_all([Key("A", hashing=use_its_index_again, nth=2)], 0)
    assert not errors
    assert graph.registered() == [C, newcomer, A]
    graph._check()

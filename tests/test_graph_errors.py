"""What `Graph` refuses, what it says then, and that the graph is as it was."""

from __future__ import annotations

import itertools
import pickle
import random
import re
import subprocess
import sys
import threading
from array import array
from contextlib import contextmanager, suppress

import pytest

from fastdag import CapacityError, CycleError, EdgeNotFoundError, FastDAGError, Graph, VertexNotFoundError


def picture(graph):
    """All that a graph shows, except the order it keeps, which may be another one as long as it is right."""
    place = {vertex: i for i, vertex in enumerate(graph.topological_sort())}
    assert len(place) == len(graph)
    assert all(place[u] < place[v] for u, v, _ in graph.edges())
    return (
        list(graph),
        len(graph),
        graph.edges(),
        graph.number_of_edges(),
        [(graph.index(v), graph.out_edges(v), graph.in_edges(v), graph.degree(v)) for v in graph],
        [list(column) for column in graph.to_csr()],
    )


@contextmanager
def unchanged(graph):
    before = picture(graph)
    yield
    graph._check()
    assert picture(graph)[:-1] == before[:-1]
    new = graph.copy()
    new.add_vertex(object())
    assert len(new) == before[1] + 1


@contextmanager
def refused(graph, error, message):
    with unchanged(graph), pytest.raises(error) as caught:
        yield caught
    assert re.fullmatch(message, str(caught.value)), str(caught.value)


def assert_real(path, graph, more=()):
    """A cycle of the graph's edges and of others, each vertex in it once."""
    assert len(path) >= 2
    assert path[0] == path[-1]
    assert len(set(path)) == len(path) - 1
    wanted = {tuple(row[:2]) for row in more}
    for step in itertools.pairwise(path):
        assert graph.has_edge(*step) or step in wanted
    assert any(step in wanted for step in itertools.pairwise(path))


class RaisingHash:
    """Can be hashed so many times, then no more."""

    def __init__(self, times=0):
        self.times = times

    def __hash__(self):
        self.times -= 1
        if self.times < 0:
            raise RuntimeError("no hash today")
        return 5


class RaisingEq:
    def __hash__(self):
        return hash("a")

    def __eq__(self, other):
        raise RuntimeError("no comparison today")


@pytest.fixture
def graph():
    graph = Graph()
    graph.add_edges_from([("gone", "a"), ("a", "b", 1), ("b", "c", "x"), ("a", "c"), ("c", "d")])
    graph.add_vertex("alone")
    graph.remove_vertex("gone")
    return graph


NOBODY = r"vertex 'nobody' is not in the graph; add it with add_vertex\(\) or by an edge"
UNHASHABLE = (
    r"vertex \[1\] cannot be hashed \(unhashable type: 'list'\); use something hashable, such as a string or a tuple"
)
UNHASHABLE_LABEL = (
    r"label \{\} cannot be hashed \(unhashable type: 'dict'\); use something hashable, such as a string or a tuple"
)

# what is not there


@pytest.mark.parametrize(
    "name", ["index", "remove_vertex", "out_degree", "in_degree", "degree", "ancestors", "descendants"]
)
def test_a_vertex_that_is_not_there(graph, name):
    with refused(graph, VertexNotFoundError, NOBODY) as caught:
        getattr(graph, name)("nobody")
    assert caught.value.vertex == "nobody"
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, FastDAGError)


@pytest.mark.parametrize("name", ["remove_edge", "edge_label", "find_cycle"])
@pytest.mark.parametrize("edge", [("nobody", "a"), ("a", "nobody"), ("nobody", "nobody")])
def test_an_edge_between_vertices_that_are_not_there(graph, name, edge):
    with refused(graph, VertexNotFoundError, NOBODY):
        getattr(graph, name)(*edge)


@pytest.mark.parametrize("name", ["remove_edge", "edge_label"])
@pytest.mark.parametrize("edge", [("b", "a"), ("a", "d"), ("a", "a"), ("alone", "a")])
def test_an_edge_that_is_not_there(graph, name, edge):
    message = rf"edge '{edge[0]}' -> '{edge[1]}' is not in the graph; add it with add_edge\(\)"
    with refused(graph, EdgeNotFoundError, message) as caught:
        getattr(graph, name)(*edge)
    assert (caught.value.source, caught.value.target) == edge
    assert isinstance(caught.value, KeyError)


def test_removing_twice(graph):
    graph.remove_edge("a", "b")
    with refused(graph, EdgeNotFoundError, "edge 'a' -> 'b' is not in the graph; .*"):
        graph.remove_edge("a", "b")
    graph.remove_vertex("a")
    with refused(graph, VertexNotFoundError, "vertex 'a' is not in the graph; .*"):
        graph.remove_vertex("a")


# cycles


def test_a_cycle(graph):
    message = (
        "edge 'd' -> 'a' would close a cycle: 'd' -> 'a' -> 'c' -> 'd'; "
        "remove one of these edges first, or leave this one out"
    )
    graph.remove_edge("a", "b")
    with refused(graph, CycleError, message) as caught:
        graph.add_edge("d", "a")
    assert caught.value.path == ["d", "a", "c", "d"]
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, FastDAGError)


def test_the_edge_of_a_cycle_may_be_added_once_the_cycle_is_cut(graph):
    with pytest.raises(CycleError):
        graph.add_edge("c", "b")
    graph.remove_edge("b", "c")
    assert graph.add_edge("c", "b")
    graph._check()


def test_a_long_cycle_is_whole_in_path_and_short_in_the_message():
    graph = Graph()
    graph.add_edges_from(itertools.pairwise(range(1000)))
    message = "edge 999 -> 0 would close a cycle: 999 -> 0 -> .* -> … 982 more … -> .*"
    with refused(graph, CycleError, message) as caught:
        graph.add_edge(999, 0)
    assert caught.value.path == [999, *range(1000)]
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("v", ["a", "new", None, (1, 2)])
def test_a_self_loop_leaves_no_vertex(graph, v):
    vertex = re.escape(repr(v))
    message = f"edge {vertex} -> {vertex} would close a cycle: {vertex} -> {vertex}; .*"
    with refused(graph, CycleError, message) as caught:
        graph.add_edge(v, v)
    assert caught.value.path == [v, v]
    with refused(graph, CycleError, f"edge {vertex} -> {vertex} would close .*"):
        graph.add_edges_from([("n1", "n2"), (v, v), ("n3", "n4")])
    assert (v in graph) == (v == "a")


@pytest.mark.parametrize("seed", range(4))
def test_refused_cycles_are_real(seed):
    rng = random.Random(seed)
    graph = Graph()
    refusals = 0
    for _ in range(600):
        u, v = rng.sample(range(50), 2)
        expected = u in graph and v in graph and graph.has_path(v, u)
        if expected:
            assert_real(graph.find_cycle(u, v), graph, [(u, v)])
        if expected:
            with pytest.raises(CycleError) as caught:
                graph.add_edge(u, v)
            refusals += 1
            assert caught.value.path[:2] == [u, v]
            assert_real(caught.value.path, graph, [(u, v)])
        else:
            graph.add_edge(u, v)
    assert refusals
    graph._check()


ROWS_WITH_CYCLES = [
    [("x", "y"), ("y", "z"), ("z", "x")],
    [("n", "m"), ("d", "a")],
    [("d", "n"), ("n", "m"), ("m", "b")],
    [("n", "m"), ("m", "n")],
    [("b", "n"), ("n", "a")],
    [("a", "b", "another label"), ("c", "b", "x"), ("n", "m")],
]


@pytest.mark.parametrize("rows", ROWS_WITH_CYCLES)
@pytest.mark.parametrize("padding", [0, 3000])
def test_cycles_in_a_batch_and_with_the_graph(graph, rows, padding):
    rows = [*(("p", i) for i in range(padding)), *rows, *((i, "q") for i in range(padding))]
    with refused(graph, CycleError, "edge .* would close a cycle: .*") as caught:
        graph.add_edges_from(rows)
    assert_real(caught.value.path, graph, rows)
    assert "n" not in graph
    assert graph.edge_label("a", "b") == 1


@pytest.mark.parametrize("size", [3, 40, 3000])
def test_cycles_in_buffers(size):
    graph = Graph.from_edges(array("i", range(size - 1)), array("i", range(1, size)), size)
    sources, targets = [*range(size - 2), size - 1], [*range(2, size), 0]
    with refused(graph, CycleError, "edge .* would close a cycle: .*") as caught:
        graph.add_edges(array("i", sources), array("q", targets), itertools.chain(sources))
    assert_real(caught.value.path, graph, zip(sources, targets, strict=True))
    with refused(graph, CycleError, "edge 1 -> 1 would close a cycle: 1 -> 1; .*") as caught:
        graph.add_edges(array("i", [0, 1]), array("i", [2, 1]))
    assert caught.value.path == [1, 1]
    with pytest.raises(CycleError):
        Graph.from_edges(array("i", [0, 1]), array("i", [1, 0]), 2)


# what cannot be hashed or compared


@pytest.mark.parametrize(
    "name",
    ["add_vertex", "remove_vertex", "index", "degree", "in_degree", "out_degree", "ancestors", "descendants",
     "successors", "predecessors", "out_edges", "in_edges", "__contains__"],
)
def test_a_vertex_that_cannot_be_hashed(graph, name):
    with refused(graph, TypeError, UNHASHABLE):
        getattr(graph, name)([1])
    with refused(graph, RuntimeError, "no hash today"):
        getattr(graph, name)(RaisingHash())
    with refused(graph, RuntimeError, "no comparison today"):
        getattr(graph, name)(RaisingEq())


@pytest.mark.parametrize("name", ["add_edge", "remove_edge", "has_edge", "has_path", "find_cycle", "edge_label"])
def test_an_edge_of_a_vertex_that_cannot_be_hashed(graph, name):
    for known in ("a", "new") if name == "add_edge" else ("a",):
        for edge in (([1], known), (known, [1])):
            with refused(graph, TypeError, UNHASHABLE):
                getattr(graph, name)(*edge)
        for bad in (RaisingEq, RaisingHash):
            for edge in ((bad(), known), (known, bad())):
                with refused(graph, RuntimeError, "no (hash|comparison) today"):
                    getattr(graph, name)(*edge)


class RaisingOnce:
    """Its first hash raises, as a signal handler may in the middle of it."""

    def __init__(self, error):
        self.errors = [error]

    def __hash__(self):
        if self.errors:
            raise self.errors.pop()
        return 5


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TypeError])
def test_a_hash_that_raises_once(graph, kind):
    for ask in (graph.add_vertex, graph.successors, graph.__contains__):
        error = kind("not now")
        with refused(graph, kind, "not now") as caught:
            ask(RaisingOnce(error))
        assert caught.value is error
    with refused(graph, TypeError, r"vertex <.*> cannot be hashed \(unhashable for now\); use something hashable, .*"):
        graph.add_vertex(RaisingOnce(TypeError("unhashable for now")))


@pytest.mark.parametrize("times", range(4))
def test_a_hash_that_works_for_a_while(graph, times):
    vertex = RaisingHash(times)
    before = picture(graph)[:-1]
    with pytest.raises((RuntimeError, TypeError)):
        graph.add_edge(vertex, [1])
    with pytest.raises((RuntimeError, CycleError)):
        graph.add_edge(vertex, vertex)
    graph._check()
    assert picture(graph)[:-1] == before


@pytest.mark.parametrize("times", range(4))
def test_a_hash_that_works_for_a_while_in_a_batch(graph, times):
    vertex = RaisingHash(times)
    before = picture(graph)[:-1]
    with pytest.raises((RuntimeError, TypeError)):
        graph.add_edges_from([("n1", vertex), (vertex, "n2"), ("n3", [1])])
    graph._check()
    assert picture(graph)[:-1] == before


@pytest.mark.parametrize("times", range(1, 4))
def test_removing_a_vertex_whose_hash_works_for_a_while(graph, times):
    vertex = RaisingHash(times)
    graph.add_edge("a", vertex)
    with suppress(RuntimeError):
        graph.remove_vertex(vertex)
    vertex.times = 100
    graph._check()
    assert len(graph) == len(list(graph)) == 5 + (vertex in graph)


@pytest.mark.parametrize("label", [{}, [1], {1}])
def test_a_label_that_cannot_be_hashed(graph, label):
    with unchanged(graph):
        for edge in (("a", "b"), ("a", "d"), ("n", "m"), ("d", "a")):
            with pytest.raises(TypeError, match=r"label .* cannot be hashed \(unhashable type: .*\); use some"):
                graph.add_edge(*edge, label)
            with pytest.raises(TypeError, match=r"label .* cannot be hashed"):
                graph.add_edges_from([("n", "a"), (*edge, label)])
        with pytest.raises(TypeError, match=r"label .* cannot be hashed"):
            graph.add_edges(array("i", [1]), array("i", [4]), [label])
    with refused(graph, TypeError, UNHASHABLE_LABEL):
        graph.add_edge("a", "b", {})


def test_a_label_whose_hash_or_comparison_raises(graph):
    graph.add_edge("a", "d", "a")
    with refused(graph, RuntimeError, "no hash today"):
        graph.add_edge("n", "m", RaisingHash())
    graph.add_edge("a", "d", first := RaisingEq())
    with refused(graph, RuntimeError, "no comparison today"):
        graph.add_edge("n", "m", RaisingEq())
    assert graph.edge_label("a", "d") is first


# bulk forms


@pytest.mark.parametrize("row", [(), ("n",), ("n", "m", "l", "more"), None, 5, "", "abcd"])
@pytest.mark.parametrize("place", range(3))
def test_rows_that_are_no_edges(graph, row, place):
    rows = [("n1", "n2"), ("a", "d")]
    rows.insert(place, row)
    message = (
        rf"edge {place} is {re.escape(repr(row))}; an edge is a tuple \(source, target\) or \(source, target, label\)"
    )
    with refused(graph, ValueError, message):
        graph.add_edges_from(rows)


def test_a_row_with_a_vertex_that_cannot_be_hashed(graph):
    for row in (([1], "n"), ("n", [1])):
        with refused(graph, TypeError, UNHASHABLE):
            graph.add_edges_from([("n1", "n2"), ("a", "b", "other"), row])


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_iterable_that_raises(graph, after):
    def rows():
        yield from [("n1", "n2"), ("a", "b", "other"), ("b", "d")][:after]
        raise LookupError("lost")

    with refused(graph, LookupError, "lost"):
        graph.add_edges_from(rows())
    with refused(graph, LookupError, "lost"):
        graph.add_edges(array("i", [1, 1, 1, 1]), array("i", [4, 5, 4, 5]), (row[0] for row in rows()))


@pytest.mark.parametrize("edges", [None, 5])
def test_no_iterable(graph, edges):
    with unchanged(graph), pytest.raises(TypeError):
        graph.add_edges_from(edges)
    if edges is not None:
        with unchanged(graph), pytest.raises(TypeError):
            graph.add_edges(array("i"), array("i"), edges)


@pytest.mark.parametrize(
    ("kind", "index"),
    [("i", -1), ("i", -(2**31)), ("i", 6), ("i", 2**31 - 1), ("I", 6), ("I", 2**31), ("I", 2**32 - 1)]
    + [(kind, index) for kind in "lq" for index in (-1, 6, 2**31, 2**32, 2**32 + 1, 2**63 - 1, -(2**63))]
    + [(kind, index) for kind in "LQ" for index in (6, 2**31, 2**32 + 1, 2**63 - 1)],
)
def test_an_index_that_no_vertex_has(graph, kind, index):
    assert len(graph.to_csr()[0]) == 7
    good = array("i", [2, 1, 1])
    bad = array(kind, [3, 3, index])
    message = (
        rf"{{}}\[2\] is {index}, which is no vertex of the graph: its indices run from 0 to 5; add the vertices first"
    )
    with refused(graph, IndexError, message.format("targets")):
        graph.add_edges(good, bad)
    with refused(graph, IndexError, message.format("sources")):
        graph.add_edges(bad, good, [1, 2, 3])


@pytest.mark.parametrize("index", [2**63, 2**64 - 1])
def test_an_index_that_fits_no_signed_integer(graph, index):
    with refused(graph, IndexError, r"sources\[0\] is -?\d+, which is no vertex of the graph: .*"):
        graph.add_edges(array("Q", [index]), array("i", [2]))


def test_the_index_of_a_removed_vertex(graph):
    index = graph.index("b")
    graph.remove_vertex("b")
    for sources, targets, what in (([1, index], [4, 4], "sources"), ([1, 1], [4, index], "targets")):
        with refused(graph, IndexError, rf"{what}\[1\] is {index}, which is no vertex of the graph: .*"):
            graph.add_edges(array("i", sources), array("i", targets))


@pytest.mark.parametrize("buffer", [[1], (1,), "1", None, 1, iter([1]), range(1)])
def test_no_buffer(graph, buffer):
    message = (
        r"{} must be a contiguous buffer of 32- or 64-bit integers, such as array.array\('i'\) or a NumPy array, not "
        + type(buffer).__name__
    )
    with refused(graph, TypeError, message.format("sources")):
        graph.add_edges(buffer, array("i", [4]))
    with refused(graph, TypeError, message.format("targets")):
        graph.add_edges(array("i", [1]), buffer)


@pytest.mark.parametrize("kind", "bBhHfd")
def test_a_buffer_of_something_else(graph, kind):
    message = f"{{}} must have one dimension of 32- or 64-bit integers, not 1 of format '{kind}'"
    with refused(graph, TypeError, message.format("sources")):
        graph.add_edges(array(kind, [1]), array("i", [4]))
    with refused(graph, TypeError, message.format("targets")):
        graph.add_edges(array("i", [1]), array(kind, [4]))


def test_bytes_are_no_buffer_of_such_integers(graph):
    with refused(graph, TypeError, "sources must have one dimension of 32- or 64-bit integers, not 1 of format 'B'"):
        graph.add_edges(b"\1\0\0\0", array("i", [4]))


def test_a_buffer_of_two_dimensions(graph):
    flat = memoryview(array("i", [1, 1, 1, 1])).cast("B")
    with refused(graph, TypeError, "sources must have one dimension of 32- or 64-bit integers, not 2 of format 'i'"):
        graph.add_edges(flat.cast("i", [2, 2]), array("i", [4, 4]))


def test_a_buffer_with_gaps(graph):
    gaps = memoryview(array("i", [1, 2, 1, 2]))[::2]
    with refused(graph, TypeError, "targets must be a contiguous buffer of .*, not memoryview"):
        graph.add_edges(array("i", [1, 1]), gaps)


def test_a_numpy_array_of_the_wrong_kind(graph):
    numpy = pytest.importorskip("numpy", reason="NumPy is not installed")
    good = numpy.array([1, 1])
    gaps = numpy.array([4, 4, 4, 4])[::2]
    for bad in (numpy.array([4.0, 4.0]), numpy.array([[4, 4]]), numpy.array([4, 4], ">i4"), gaps):
        with refused(graph, TypeError, "targets must (be|have) .* of 32- or 64-bit integers, .*"):
            graph.add_edges(good, bad)


@pytest.mark.parametrize(("n", "m"), [(0, 1), (1, 0), (2, 3), (3, 2)])
def test_buffers_of_different_lengths(graph, n, m):
    message = f"sources has {n} entries and targets {m}; each edge needs one of both"
    with refused(graph, ValueError, message):
        graph.add_edges(array("i", [1] * n), array("q", [4] * m))
    with refused(graph, ValueError, message):
        graph.add_edges(array("i", [1] * n), array("q", [4] * m), ["x"] * n)


@pytest.mark.parametrize("labels", [0, 1, 3, 1000])
def test_labels_of_another_length(graph, labels):
    message = r"labels has (more than )?\d+ entries for 2 edges; give each edge one, or none at all"
    with refused(graph, ValueError, message):
        graph.add_edges(array("i", [1, 1]), array("i", [4, 5]), ["x"] * labels)


@pytest.mark.parametrize("n", [2**31, 2**40, 2**100])
def test_from_edges_of_too_many_vertices(n):
    with pytest.raises(CapacityError) as caught:
        Graph.from_edges(array("i"), array("i"), n)
    assert str(caught.value) == f"n is {n}; a graph holds at most 2147483647 vertices"
    assert isinstance(caught.value, OverflowError)
    assert isinstance(caught.value, FastDAGError)


@pytest.mark.parametrize("n", [-1, -(2**70)])
def test_from_edges_of_fewer_than_none(n):
    with pytest.raises(ValueError, match=rf"^n is {n}; a graph has no fewer than 0 vertices$"):
        Graph.from_edges(array("i"), array("i"), n)


@pytest.mark.parametrize("n", [1.5, "3", None])
def test_from_edges_of_no_number_of_vertices(n):
    with pytest.raises(TypeError):
        Graph.from_edges(array("i"), array("i"), n)


def test_from_edges_checks_the_edges():
    with pytest.raises(IndexError, match=r"^targets\[0\] is 3, which is no vertex of the graph: .* from 0 to 2"):
        Graph.from_edges(array("i", [0]), array("i", [3]), 3)
    with pytest.raises(ValueError, match=r"^sources has 0 entries and targets 1;"):
        Graph.from_edges(array("i"), array("i", [3]), 3)
    with pytest.raises(TypeError, match=r"^sources must be"):
        Graph.from_edges([0], [1], 2)


# other errors


def test_a_weight_that_fails(graph):
    def weight(edge):
        raise LookupError("no weight")

    with refused(graph, LookupError, "no weight"):
        graph.longest_path(weight)
    with refused(graph, TypeError, ".*"):
        graph.longest_path(lambda edge: "heavy")
    with refused(graph, TypeError, ".*not callable.*"):
        graph.longest_path(5)
    graph.remove_vertex("b")
    assert graph.add_vertex("new") == 2  # no index is kept back


@pytest.mark.parametrize("index", ["0", None, ()])
def test_an_index_of_the_wrong_type(graph, index):
    with unchanged(graph), pytest.raises(TypeError):
        graph.vertex_at(index)


def test_a_name_that_is_no_string_shows_as_one(graph):
    assert graph.to_dot(5).startswith('digraph "5" {')


def test_an_unpicklable_vertex(graph):
    graph.add_vertex(lambda: None)
    with unchanged(graph), pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(graph)


def test_wrong_calls(graph):
    for call in (
        lambda: Graph(1),
        graph.add_vertex,
        lambda: graph.add_edge("n"),
        lambda: graph.add_edge("n", "m", "l", "x"),
        lambda: graph.add_edges(array("i")),
        Graph.from_edges,
    ):
        with unchanged(graph), pytest.raises(TypeError):
            call()


def test_what_an_earlier_round_made_goes_when_a_later_one_fails():
    """The source goes while the target is looked up, and looking it up again fails."""

    class Name:
        def __init__(self, number, compared=lambda: None):
            self.number = number
            self.compared = compared

        def __hash__(self):
            return self.number

        def __eq__(self, other):
            self.compared()
            return self is other

    class Gate:
        def __hash__(self):
            made.set()
            go_on.wait()
            raise RuntimeError

    made, go_on = threading.Event(), threading.Event()
    graph = Graph()
    first, second = Name(1), Name(2)
    graph.add_vertex(first)
    graph.add_vertex(second)
    source, target = Name(1), Name(2)

    def refuse():
        with pytest.raises(RuntimeError):
            graph.add_edges_from([(source, Gate())])

    def fail():
        raise LookupError

    def source_goes():
        go_on.set()
        refusing.join()
        first.compared = fail

    refusing = threading.Thread(target=refuse)
    refusing.start()
    made.wait()
    second.compared = source_goes
    with pytest.raises(LookupError):
        graph.add_edge(source, target)
    assert list(map(id, graph)) == [id(first), id(second)]
    graph._check()


def test_no_allocation_that_fails_leaves_a_vertex():
    testcapi = pytest.importorskip("_testcapi")
    edges = [(f"{i}", f"{i + 1}") for i in range(40)]
    failures = 0
    for n in range(10_000):
        graph = Graph()
        try:
            testcapi.set_nomemory(n, n + 1)
            graph.add_edges_from(edges)
        except MemoryError:
            failures += 1
        else:
            if n > failures + 10:
                break
        finally:
            testcapi.remove_mem_hooks()
        if graph.number_of_edges() == 0:
            assert list(graph) == []
        graph._check()
    assert failures > 10


@pytest.mark.parametrize("purged", ["fastdag", "fastdag.errors"])
def test_errors_are_not_imported_twice(purged):
    """The core would raise the first classes, and nobody could catch them by the second."""
    program = f"""if True:
        import sys
        from fastdag import Graph
        for name in [name for name in sys.modules if name.startswith({purged!r})]:
            del sys.modules[name]
        for _ in range(2):
            try:
                import fastdag.errors
            except ImportError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    refusal = r"fastdag\.errors was imported before in this process, .*; leave fastdag and its submodules in .*"
    assert re.fullmatch(f"({refusal}\n){{2}}", done.stdout), done.stdout

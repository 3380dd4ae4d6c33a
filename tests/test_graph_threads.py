"""One `Graph` under many threads: nothing is lost, nothing is seen by halves, nothing waits for ever."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from array import array
from contextlib import suppress
from functools import partial

import pytest

from fastdag import CycleError, EdgeNotFoundError, Graph, VertexNotFoundError

DEADLINE = 60.0


@pytest.fixture(autouse=True)
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def together(*bodies, deadline=DEADLINE):
    """Run bodies in a thread each, started at once; raise what the first of them raises, fail when one hangs."""
    barrier = threading.Barrier(len(bodies))
    errors = []

    def run(body):
        try:
            barrier.wait(deadline)
            body()
        except BaseException as error:  # noqa: BLE001  # raised again by the caller
            errors.append(error)

    threads = [threading.Thread(target=run, args=(body,), daemon=True) for body in bodies]
    end = time.monotonic() + deadline
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"


def beside(writers, readers):
    """Readers are called again and again, at least once, until all writers are done."""
    running = [len(writers)]
    lock = threading.Lock()

    def counted(writer):
        def run():
            try:
                writer()
            finally:
                with lock:
                    running[0] -= 1

        return run

    def again(reader):
        def run():
            reader()
            while running[0]:
                reader()

        return run

    together(*map(counted, writers), *map(again, readers))


def is_topological(graph):
    place = {v: i for i, v in enumerate(graph.topological_sort())}
    return len(place) == len(graph) and all(place[u] < place[v] for u, v, _ in graph.edges())


def test_fifty_writers_beside_a_hundred_readers():
    sys.setswitchinterval(0.005)  # with as many threads, switching more often takes more time than it finds
    graph = Graph()
    names = 400
    cycles = []

    def writer(seed):
        def run():
            rng = random.Random(seed)
            mine = set()
            for i in range(1000):
                u, v = rng.sample(range(names), 2)
                what = rng.random()
                try:
                    if what < 0.6:
                        u, v = sorted((u, v))
                        graph.add_edge(u, v, seed)
                    elif what < 0.7:
                        graph.add_edge(u, v, seed)  # either way round: may close a cycle
                    elif what < 0.8:
                        graph.add_edge((seed, i), u, seed)
                        mine.add((seed, i))
                    elif what < 0.9:
                        graph.remove_edge(u, v)
                    elif mine:
                        graph.remove_vertex(mine.pop())
                except CycleError as error:
                    cycles.append((error.path, u, v))
                except (EdgeNotFoundError, VertexNotFoundError):
                    assert 0.8 <= what < 0.9
            for vertex in mine:
                assert vertex in graph

        return run

    def reader(seed):
        def run():
            rng = random.Random(seed)
            for _ in range(2000):
                v = rng.randrange(names)
                what = rng.randrange(6)
                if what == 0:
                    assert v not in graph.successors(v)
                elif what == 1:
                    assert v not in graph.predecessors(v)
                elif what == 2:
                    assert all(edge.source == v for edge in graph.out_edges(v))
                elif what == 3:
                    assert all(edge.target == v and edge.label in range(50) for edge in graph.in_edges(v)[:20])
                elif what == 4:
                    graph.has_edge(v, rng.randrange(names))
                elif v in graph:
                    assert graph.degree(v) >= 0

        return run

    together(*map(writer, range(50)), *map(reader, range(1000, 1100)))
    graph._check()
    assert cycles
    for path, u, v in cycles:
        assert path[:2] == [u, v]
        assert path[-1] == u
        assert len(set(path)) == len(path) - 1
    assert is_topological(graph)


@pytest.mark.parametrize("length", [2, 50, 2000])
def test_fifty_threads_close_the_same_cycle(length):
    graph = Graph()
    graph.add_edges_from(itertools.pairwise(range(length)))
    before = graph.edges()
    refused = []

    def close():
        with pytest.raises(CycleError) as caught:
            graph.add_edge(length - 1, 0)
        refused.append(caught.value.path)

    together(*[close] * 50)
    assert refused == [[length - 1, *range(length)]] * 50
    assert graph.edges() == before
    assert graph.topological_sort() == list(range(length))
    graph._check()


def test_a_cycle_is_named_as_it_was_while_indices_are_used_again():
    chain = [f"link {i}" for i in range(50)]
    paths = []
    graph = Graph()
    graph.add_edges_from(itertools.pairwise([*chain, "a", "b", "c"]))

    def remover():
        end = time.monotonic() + 0.5
        for i in itertools.count():
            if time.monotonic() > end:
                return
            graph.remove_vertex("b")
            graph.add_vertex(i)  # has the index of "b"
            graph.remove_vertex(i)
            with suppress(CycleError):
                graph.add_edge("a", "b")
                graph.add_edge("b", "c")

    def closer():
        for _ in range(100):
            try:
                graph.add_edge("c", chain[0])
                graph.remove_edge("c", chain[0])
            except CycleError as error:
                paths.append(error.path)

    beside([remover], [closer])
    assert all(path == ["c", *chain, "a", "b", "c"] for path in paths)


def test_of_the_edges_of_a_cycle_one_is_refused():
    n = 20
    for turn in range(50):
        graph = Graph()
        refused = []

        def add(i, graph=graph, refused=refused):
            try:
                graph.add_edge(i, (i + 1) % n)
            except CycleError as error:
                refused.append((i, error.path))

        together(*((lambda i=i: add(i)) for i in range(n)))
        assert len(refused) == 1, turn
        ((last, path),) = refused
        assert path == [(last + i) % n for i in range(n + 1)]
        assert graph.number_of_edges() == n - 1
        graph._check()


def test_a_hundred_pictures_beside_twenty_writers():
    graph = Graph()
    graph.add_edge("first", "second", "kept")

    def writer(seed):
        def run():
            rng = random.Random(seed)
            for i in range(200):
                u, v = sorted(rng.sample(range(100), 2))
                graph.add_edge(u, v, "x")
                if i % 10 == 0:
                    graph.remove_vertex(v)

        return run

    def draw():
        lines = graph.to_dot("now").splitlines()
        assert (lines[0], lines[-1]) == ('digraph "now" {', "}")
        drawn = {line for line in lines[1:-1] if "->" not in line}
        assert '  "first" -> "second" [label="kept"];' in lines
        for line in lines[1:-1]:
            if "->" in line:
                u, v = line.removesuffix(";").split(" [")[0].split(" -> ")
                assert {f"{u};", f"  {v};"} <= drawn  # a picture of one moment: every edge has its ends

    def remover_safe(run):
        def go():
            while True:
                try:
                    return run()
                except VertexNotFoundError:  # somebody else was faster
                    continue

        return go

    together(*(remover_safe(writer(seed)) for seed in range(20)), *[draw] * 100)
    graph._check()


def test_no_half_edges():
    graph = Graph()
    n = 300

    def writer(seed):
        def run():
            rng = random.Random(seed)
            hidden = random.Random(0).sample(range(n), n)
            for i in range(1500):
                u, v = sorted(rng.sample(range(n), 2))
                graph.add_edge(hidden[u], hidden[v], (hidden[u], hidden[v]))
                if i % 300 == 0:
                    rows = [tuple(hidden[x] for x in sorted(rng.sample(range(n), 2))) for _ in range(100)]
                    graph.add_edges_from((u, v, (u, v)) for u, v in rows)

        return run

    rng = random.Random(99)

    def reader():
        u = rng.randrange(n)
        after = graph.successors(u)
        assert len(set(after)) == len(after)
        for v in after[-10:]:
            assert u in graph.predecessors(v)
            assert graph.has_edge(u, v)
            assert graph.edge_label(u, v) == (u, v)
            assert graph.has_path(u, v)
        before = graph.predecessors(u)
        for v in before[-10:]:
            # Not `u in graph.successors(v)`: a bulk load publishes in-lists first. A walk waits until it is through.
            assert graph.has_path(v, u)
        for edge in [*graph.out_edges(u)[-5:], *graph.in_edges(u)[-5:]]:
            assert edge.label == (edge.source, edge.target)
        if before:
            assert before[-1] in graph.ancestors(u)
            assert graph.find_cycle(u, before[-1]) is not None

    beside([writer(seed) for seed in range(4)], [reader] * 4)
    graph._check()
    assert is_topological(graph)


def test_snapshots_are_of_one_moment():
    """Edges of a chain are added in order: whoever sees one sees all that came before."""
    graph = Graph()
    n = 4000

    def writer():
        for i in range(n):
            graph.add_edge(i, i + 1)

    def reader():
        edges = sorted(graph.edges())
        assert [edge[:2] for edge in edges] == [(i, i + 1) for i in range(len(edges))]
        path = graph.copy().longest_path()
        assert path == list(range(len(path)))
        offsets, targets = graph.to_csr()
        assert offsets[-1] == len(targets)
        seen = [v for generation in graph.topological_generations() for v in generation]
        assert sorted(seen) == list(range(len(seen)))

    beside([writer], [reader] * 3)
    graph._check()
    assert graph.number_of_edges() == n


def test_vertices_are_listed_as_of_one_moment():
    graph = Graph()
    graph.add_vertex("low")
    for i in range(2000):
        graph.add_vertex(i)
    graph.add_vertex("high")
    graph.remove_vertex("low")  # its id and that of "high" are used again: far apart for who looks at one after another
    graph.remove_vertex("high")
    rounds = itertools.count()

    def writer():
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            source, target = ("source", "target") if next(rounds) % 2 else ("target", "source")
            graph.add_edge(source, target)
            graph.remove_vertex("source")
            graph.remove_vertex("target")

    def reader():
        assert list(graph)[2000:] in ([], ["target"], ["source", "target"], ["target", "source"])

    beside([writer], [reader])


def test_an_index_leads_to_its_vertex_while_a_large_load_is_being_published():
    """All that a load brings is seen in one moment, by name and by index, though it is added up vertex by vertex."""
    last = 100_000
    load = [(i, i + 1) for i in range(last)]

    def reader(graph):
        index = None
        while index is None:
            with suppress(VertexNotFoundError):
                index = graph.index(last)
        assert graph.vertex_at(index) == last

    for _ in range(10):
        graph = Graph()
        together(partial(graph.add_edges_from, load), partial(reader, graph))


def test_names_stay_apart_while_indices_are_used_again():
    """Each writer's vertices touch its own alone, whatever index they get."""
    graph = Graph()
    writers, keep = 4, 12

    def writer(who):
        def run():
            rng = random.Random(who)
            for i in range(1500):
                k = rng.randrange(keep)
                vertex = (who, k)
                if vertex in graph and rng.random() < 0.5:
                    graph.remove_vertex(vertex)
                    assert vertex not in graph
                    assert graph.successors(vertex) == []
                else:
                    u, v = sorted(rng.sample(range(keep), 2))
                    graph.add_edge((who, u), (who, v), who)
                    assert graph.edge_label((who, u), (who, v)) == who
                if i % 50 == 0:
                    with pytest.raises(CycleError) as caught:
                        graph.add_edges_from([((who, "a"), (who, "b")), ((who, "b"), (who, "a"))])
                    assert {v[0] for v in caught.value.path} == {who}

        return run

    turn = itertools.count()

    def reader():
        who, k = next(turn) % writers, next(turn) % keep
        vertex = (who, k)
        for found in (graph.successors(vertex), graph.predecessors(vertex)):
            assert all(other[0] == who for other in found)
            assert len(set(found)) == len(found)
        for edge in [*graph.out_edges(vertex), *graph.in_edges(vertex)]:
            assert edge.source[0] == edge.target[0] == edge.label == who
            assert edge.source[1] < edge.target[1]
        if next(turn) % 30:
            return
        for walk in (graph.ancestors, graph.descendants):
            with suppress(VertexNotFoundError):  # it may be there or not
                assert all(other[0] == who for other in walk(vertex))
        assert not graph.has_path(vertex, ((who + 1) % writers, k))
        for edge in graph.edges():
            assert edge.source[0] == edge.target[0] == edge.label
        assert {v[0] for v in graph} <= set(range(writers))
        assert None not in graph.topological_sort()

    beside([writer(who) for who in range(writers)], [reader] * 4)
    graph._check()
    assert is_topological(graph)
    assert len(graph.to_csr()[0]) - 1 < writers * 1500, "no index was used again"


def test_one_vertex_is_added_and_removed_by_many():
    graph = Graph()
    removed, added = [], []

    def add():
        for _ in range(1000):
            added.append(graph.add_edge("x", "y"))

    def remove():
        for _ in range(1000):
            try:
                graph.remove_vertex("x")
                removed.append(True)
            except VertexNotFoundError:
                pass

    together(*[add] * 4, *[remove] * 4)
    graph._check()
    assert sum(added) - len(removed) == graph.number_of_edges() == ("x" in graph)
    assert set(graph) - {"x"} == {"y"}


def test_refused_bulk_loads_are_never_seen():
    graph = Graph.from_edges(array("i", range(99)), array("i", range(1, 100)), 100)
    expected = {v: graph.successors(v) for v in range(100)}

    def by_name(size):
        rows = [*((i, ("fresh", i % 100)) for i in range(size)), *((i, i + 2) for i in range(98)), (99, 0)]

        def run():
            for _ in range(20):
                with pytest.raises(CycleError):
                    graph.add_edges_from(rows)

        return run

    def by_index():
        for _ in range(200):
            with pytest.raises(CycleError):
                graph.add_edges(array("i", [*range(98), 99]), array("i", [*range(2, 100), 0]), ["seen"] * 99)
            with pytest.raises(IndexError):
                graph.add_edges(array("i", [0, 5]), array("i", [2, 2**31 - 1]))

    rng = random.Random(3)

    def reader():
        v = rng.randrange(100)
        assert graph.successors(v) == expected[v]
        assert graph.predecessors(v) == ([v - 1] if v else [])
        assert graph.out_degree(v) == len(expected[v])
        assert not graph.has_edge(99, 0)
        assert [edge.label for edge in graph.in_edges(v)] == [None] * bool(v)
        if rng.random() < 0.1:
            assert len(graph.edges()) == graph.number_of_edges() == 99
            assert len(graph.descendants(0)) == 99

    beside([by_name(50), by_name(3000), by_index], [reader] * 4)
    graph._check()
    assert list(graph) == list(range(100))


def test_bulk_loads_beside_single_edges():
    graph = Graph()
    per, size = 20, 300

    def bulk(who):
        def run():
            rng = random.Random(who)
            for _ in range(per):
                pairs = [sorted(rng.sample(range(size), 2)) for _ in range(200)]
                graph.add_edges_from((u, v) for u, v in pairs)
                assert all(graph.has_edge(u, v) for u, v in pairs)

        return run

    def single(who):
        def run():
            rng = random.Random(who)
            for _ in range(1000):
                u, v = sorted(rng.sample(range(size), 2))
                graph.add_edge(u, v)
                assert graph.has_edge(u, v)

        return run

    together(*map(bulk, range(4)), *map(single, range(10, 14)))
    graph._check()
    expected = set()
    for who, count in [*((who, per * 200) for who in range(4)), *((who, 1000) for who in range(10, 14))]:
        rng = random.Random(who)
        expected |= {tuple(sorted(rng.sample(range(size), 2))) for _ in range(count)}
    assert {edge[:2] for edge in graph.edges()} == expected


def test_copies_beside_writers():
    graph = Graph()

    def writer(who):
        def run():
            for i in range(1000):
                graph.add_edge((who, i), (who, i + 1), "label")
                if i % 7 == 0:
                    graph.remove_vertex((who, i))

        return run

    def reader():
        twin = graph.copy()
        twin._check()
        assert {edge.label for edge in twin.edges()} <= {"label"}
        twin.transitive_reduction()._check()

    beside([writer(who) for who in range(3)], [reader] * 2)
    graph._check()


def test_a_chain_grown_at_both_ends_by_many():
    """Half of the edges go against the order that the graph keeps."""
    graph = Graph()
    n, parts = 4000, 8
    edges = list(itertools.pairwise(random.Random(5).sample(range(n), n)))
    random.Random(6).shuffle(edges)

    def add(part):
        return lambda: [graph.add_edge(*edge) for edge in edges[part::parts]]

    together(*map(add, range(parts)))
    graph._check()
    assert graph.number_of_edges() == n - 1
    assert len(graph.longest_path()) == n
    order = graph.topological_sort()
    with pytest.raises(CycleError) as caught:
        graph.add_edge(order[-1], order[0])
    assert len(caught.value.path) == n + 1


def test_indices_are_used_again_beside_readers_of_the_whole_graph():
    # At every moment somebody reads the whole graph: each reader begins before the one before it ends.
    graph = Graph()
    graph.add_edge("a", "b")
    ends: list[threading.Event] = []
    threads: list[threading.Thread] = []
    for turn in range(50):
        began, end = threading.Event(), threading.Event()

        def weight(_, began=began, end=end):
            began.set()
            end.wait(DEADLINE)
            return 1.0

        threads.append(threading.Thread(target=graph.longest_path, args=(weight,), daemon=True))
        ends.append(end)
        threads[turn].start()
        assert began.wait(DEADLINE)
        if turn:
            ends[turn - 1].set()
            threads[turn - 1].join(DEADLINE)
        graph.add_vertex("x")
        graph.remove_vertex("x")
    ends[-1].set()
    threads[-1].join(DEADLINE)
    assert not any(thread.is_alive() for thread in threads)
    graph._check()
    assert len(graph.to_csr()[0]) - 1 < 2 + 10, "memory grows for as long as somebody reads"


def test_no_thread_waits_for_the_interpreter_with_a_vertex_locked():
    # Long walks hold vertices without the interpreter, short ones with it, and degrees wait for vertices: were one of
    # them to want the interpreter back with a vertex in its hands, all would stand still within a second.
    n = 3000
    graph = Graph()
    graph.add_edges_from([(0, i + 1) for i in range(n)] + [(i, i + 1) for i in range(1, n)])
    end = time.monotonic() + 3.0

    def until_the_end(step):
        def body():
            rounds = 0
            while time.monotonic() < end:
                step(rounds)
                rounds += 1

        return body

    sys.setswitchinterval(1e-5)
    together(
        *[until_the_end(lambda _: graph.descendants(0))] * 2,
        *[until_the_end(lambda i: graph.out_degree(i % 128))] * 2,
        *[until_the_end(lambda _: graph.descendants(n - 60))] * 2,
        deadline=20.0,
    )
    graph._check()

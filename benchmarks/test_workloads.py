"""Whole workloads: graphs built edge by edge and in bulk, changes of status, and sorting."""

import graphlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import igraph
import pytest
import rustworkx

from benchmarks import workloads
from benchmarks.measure import labelled, measure, measure_whole
from benchmarks.peers import EDGE_BY_EDGE, IMPLEMENTATIONS, Triple
from fastdag import Event, Graph, Manager, Status, TopologicalSorter

ROUNDS = 5
GRAPHS: dict[str, Callable[[], workloads.Workload]] = {
    "append": workloads.append,
    "random": workloads.random,
    "layered": workloads.layered,
    "dense": workloads.dense,
    "chain": workloads.chain,
    "chain, shuffled": lambda: workloads.chain(shuffled=True),
    "history": workloads.history,
    "history, shuffled": lambda: workloads.history(shuffled=True),
    "packages": workloads.packages,
    "packages, shuffled": lambda: workloads.packages(shuffled=True),
}


@lru_cache(1)  # the implementations of one workload follow each other
def _triples(name: str) -> list[Triple]:
    return labelled(GRAPHS[name]())


@pytest.mark.parametrize(("workload", "implementation"), [(w, i) for w in GRAPHS for i in EDGE_BY_EDGE])
def test_edge_by_edge(
    benchmark: Any, budget: Callable[[str], float | None], workload: str, implementation: str
) -> None:
    benchmark.group = workload
    triples = _triples(workload)
    refused = 0

    def step(peer: Any, edges: Sequence[Triple]) -> None:
        nonlocal refused
        refused += peer.add_edges(edges)

    def setup() -> Any:
        nonlocal refused
        refused = 0
        return EDGE_BY_EDGE[implementation]()

    measure(benchmark, triples, step, setup, rounds=ROUNDS, budget=budget(implementation), unit="edge")
    benchmark.extra_info["refused"] = refused


@pytest.mark.parametrize(
    ("workload", "implementation"), [(w, i) for w in ("random", "layered", "history") for i in IMPLEMENTATIONS]
)
def test_bulk(benchmark: Any, workload: str, implementation: str) -> None:
    benchmark.group = f"{workload}, in one call"
    triples = _triples(workload)

    def load() -> None:
        peer = IMPLEMENTATIONS[implementation]()
        peer.load(triples)
        if peer.number_of_edges() != len(triples):
            raise RuntimeError(f"{implementation}: {peer.number_of_edges():,} of {len(triples):,} edges are there")

    measure_whole(benchmark, load, len(triples), rounds=ROUNDS if implementation == "fastdag" else 2, unit="edge")


def _fastdag_buffers(n: int, sources: Sequence[int], targets: Sequence[int]) -> None:
    Graph.from_edges(sources, targets, n)  # type: ignore[arg-type]  # arrays, which are buffers


def _rustworkx_buffers(n: int, sources: Sequence[int], targets: Sequence[int]) -> None:
    graph = rustworkx.PyDiGraph(multigraph=False)
    graph.add_nodes_from(range(n))
    graph.add_edges_from_no_data(list(zip(sources, targets, strict=True)))
    if not rustworkx.is_directed_acyclic_graph(graph):
        raise ValueError("the edges close a cycle")


def _igraph_buffers(n: int, sources: Sequence[int], targets: Sequence[int]) -> None:
    if not igraph.Graph(n=n, edges=zip(sources, targets, strict=True), directed=True).is_dag():
        raise ValueError("the edges close a cycle")


BUFFERS = {"fastdag": _fastdag_buffers, "rustworkx": _rustworkx_buffers, "igraph": _igraph_buffers}


@pytest.mark.parametrize("implementation", BUFFERS)
def test_buffers(benchmark: Any, implementation: str) -> None:
    benchmark.group = "integer buffers, in one call"
    n, m = 200_000, 1_000_000
    sources, targets = workloads.buffers(n, m)
    load = BUFFERS[implementation]
    measure_whole(benchmark, lambda: load(n, sources, targets), m, rounds=ROUNDS, unit="edge")


def test_fan_out(benchmark: Any) -> None:
    benchmark.group = "fan-out"
    manager = workloads.manager(workloads.fan_out())

    def there_and_back() -> None:
        manager.update_status("hub", Status.COMPLETED)
        manager.update_status("hub", Status.PENDING)

    dependents = len(manager.dependents("hub"))
    measure_whole(benchmark, there_and_back, 2 * dependents, rounds=50, unit="dependent")


def test_fan_in(benchmark: Any) -> None:
    benchmark.group = "fan-in"
    workload = workloads.fan_in()

    def update(manager: Manager, units: Sequence[str]) -> None:
        for unit in units:
            manager.update_status(unit, Status.COMPLETED)

    units = [unit for _, unit in workload.edges]
    manager = measure(benchmark, units, update, lambda: workloads.manager(workload), rounds=7, unit="update")
    if not manager.is_ready("hub"):
        raise RuntimeError("fan-in: every dependency is completed and the unit is not ready")


class _RustworkxSorter:
    """rustworkx's sorter with the face of graphlib's: it takes a graph that is complete, and indices."""

    def __init__(self) -> None:
        self._edges: list[tuple[str, str]] = []

    def add(self, node: str, dependency: str) -> None:
        self._edges.append((node, dependency))

    def prepare(self) -> None:
        names = list(dict.fromkeys(name for edge in self._edges for name in edge))
        graph = rustworkx.PyDiGraph()
        self._index = index = dict(zip(names, graph.add_nodes_from(names), strict=True))
        graph.add_edges_from_no_data([(index[dependency], index[node]) for node, dependency in self._edges])
        self._names = names
        sorter = rustworkx.TopologicalSorter(graph, check_cycle=True)
        self.is_active = sorter.is_active
        self._get_ready, self._done = sorter.get_ready, sorter.done

    def get_ready(self) -> list[str]:
        return [self._names[a] for a in self._get_ready()]

    def done(self, node: str) -> None:
        self._done(self._index[node])


SORTERS: dict[str, Callable[[], Any]] = {
    "fastdag": TopologicalSorter,
    "rustworkx": _RustworkxSorter,
    "graphlib": graphlib.TopologicalSorter,
}


def _sorter(make: Callable[[], Any], edges: Sequence[tuple[str, str]]) -> Any:
    sorter = make()
    add = sorter.add
    for source, target in edges:
        add(source, target)
    sorter.prepare()
    return sorter


@pytest.mark.parametrize("implementation", SORTERS)
def test_sorter_prepare(benchmark: Any, implementation: str) -> None:
    benchmark.group = "drain: add and prepare"
    edges = workloads.drain().edges
    rounds = ROUNDS if implementation == "fastdag" else 2
    measure_whole(benchmark, lambda: _sorter(SORTERS[implementation], edges), len(edges), rounds=rounds, unit="edge")


@pytest.mark.parametrize("implementation", SORTERS)
def test_sorter_drain(benchmark: Any, implementation: str) -> None:
    benchmark.group = "drain: take out"
    workload = workloads.drain()
    drained = 0

    def drain(sorter: Any) -> None:
        nonlocal drained
        drained = 0
        done = sorter.done
        while sorter.is_active():
            for vertex in sorter.get_ready():
                done(vertex)
                drained += 1

    benchmark.pedantic(drain, setup=lambda: ((_sorter(SORTERS[implementation], workload.edges),), {}), rounds=3)
    if drained != len({vertex for edge in workload.edges for vertex in edge}):
        raise RuntimeError(f"drain: {drained:,} vertices came out of {implementation}")
    benchmark.extra_info |= {"done": drained, "of": drained, "unit": "vertex"}


def test_manager_drain(benchmark: Any) -> None:
    """Every unit from pending to completed, always what is ready next, as a subscriber hears of it."""
    benchmark.group = "drain: through Manager"
    workload = workloads.drain()

    def drain(manager: Manager) -> None:
        ready = deque(unit for unit in workload.vertices if manager.is_ready(unit))

        def heard(event: Event) -> None:
            if event.new == "ready":
                ready.append(event.unit)

        with manager.subscribe(heard, kinds="state"):
            while ready:
                manager.update_status(ready.popleft(), Status.COMPLETED)
        if manager.stalled() or any(unit.status != Status.COMPLETED for unit in manager.units()):
            raise RuntimeError("drain: not every unit was completed")

    benchmark.pedantic(drain, setup=lambda: ((workloads.manager(workload),), {}), rounds=3)
    benchmark.extra_info |= {"done": len(workload.vertices), "of": len(workload.vertices), "unit": "unit"}

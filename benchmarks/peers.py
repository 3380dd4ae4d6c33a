"""fastdag and its peers behind the same few names, so that one benchmark runs them all on the same input.

A peer that knows only numbers gets a dict from names to its indices, as whoever uses it must keep one. networkx, plain
dicts and a search before each edge, is also the naive baseline. None of the peers keeps statuses, and none is safe
with several threads: there it gets a lock (`benchmarks.threads`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import igraph
import networkx as nx
import rustworkx as rx

from fastdag import CycleError, EdgeNotFoundError, Graph, VertexNotFoundError

Triple = tuple[str, str, str]
Arguments = tuple[Any, ...]


class Fastdag:
    name = "fastdag"
    errors: tuple[type[Exception], ...] = (CycleError, EdgeNotFoundError, VertexNotFoundError)

    def __init__(self) -> None:
        self.graph: Graph[str] = Graph()

    def add_edges(self, triples: Sequence[Triple]) -> int:
        """Add edge by edge; how many were refused."""
        add_edge, refused = self.graph.add_edge, 0
        for source, target, label in triples:
            try:
                add_edge(source, target, label)
            except CycleError:
                refused += 1
        return refused

    def load(self, triples: Sequence[Triple]) -> None:
        """Add all of them in one call."""
        self.graph.add_edges_from(triples)

    def number_of_edges(self) -> int:
        return self.graph.number_of_edges()


class Rustworkx:
    name = "rustworkx"
    errors: tuple[type[Exception], ...] = (rx.DAGWouldCycle, rx.NoEdgeBetweenNodes, LookupError)

    def __init__(self) -> None:
        self.graph = rx.PyDiGraph(check_cycle=True, multigraph=False)
        self.index: dict[str, int] = {}

    def add_edges(self, triples: Sequence[Triple]) -> int:
        add_node, add_edge, would_cycle = self.graph.add_node, self.graph.add_edge, rx.DAGWouldCycle
        index = self.index
        find, refused = index.get, 0
        for source, target, label in triples:
            a = find(source)
            if a is None:
                a = index[source] = add_node(source)
            b = find(target)
            if b is None:
                b = index[target] = add_node(target)
            try:
                add_edge(a, b, label)
            except would_cycle:
                refused += 1
        return refused

    def load(self, triples: Sequence[Triple]) -> None:
        """Add all of them and check once, as `check_cycle` would search before each."""
        names = list(dict.fromkeys(name for source, target, _ in triples for name in (source, target)))
        self.graph = rx.PyDiGraph(multigraph=False)
        self.index = index = dict(zip(names, self.graph.add_nodes_from(names), strict=True))
        self.graph.add_edges_from([(index[source], index[target], label) for source, target, label in triples])
        if not rx.is_directed_acyclic_graph(self.graph):
            raise ValueError("the edges close a cycle")
        self.graph.check_cycle = True

    def number_of_edges(self) -> int:
        return int(self.graph.num_edges())


class Networkx:
    name = "networkx"
    errors: tuple[type[Exception], ...] = (nx.NetworkXException, LookupError)

    def __init__(self) -> None:
        self.graph = nx.DiGraph()

    def add_edges(self, triples: Sequence[Triple]) -> int:
        graph, has_path, refused = self.graph, nx.has_path, 0
        has_edge, add_edge = graph.has_edge, graph.add_edge
        for source, target, label in triples:
            if source in graph and target in graph and not has_edge(source, target) and has_path(graph, target, source):
                refused += 1
            else:
                add_edge(source, target, label=label)
        return refused

    def load(self, triples: Sequence[Triple]) -> None:
        self.graph.add_edges_from((source, target, {"label": label}) for source, target, label in triples)
        if not nx.is_directed_acyclic_graph(self.graph):
            raise ValueError("the edges close a cycle")

    def number_of_edges(self) -> int:
        return int(self.graph.number_of_edges())


class Igraph:
    """Changes rebuild its whole index, so that it takes part in bulk loads and reads only."""

    name = "igraph"
    errors: tuple[type[Exception], ...] = (igraph.InternalError, LookupError)

    def __init__(self) -> None:
        self.graph = igraph.Graph(directed=True)
        self.index: dict[str, int] = {}
        self.names: list[str] = []

    def load(self, triples: Sequence[Triple]) -> None:
        self.names = list(dict.fromkeys(name for source, target, _ in triples for name in (source, target)))
        self.index = index = {name: i for i, name in enumerate(self.names)}
        self.graph = igraph.Graph(
            n=len(index), edges=[(index[source], index[target]) for source, target, _ in triples], directed=True
        )
        self.graph.es["label"] = [label for _, _, label in triples]
        if not self.graph.is_dag():
            raise ValueError("the edges close a cycle")

    def number_of_edges(self) -> int:
        return int(self.graph.ecount())


Implementation = Fastdag | Rustworkx | Networkx | Igraph
IMPLEMENTATIONS: dict[str, Callable[[], Implementation]] = {
    "fastdag": Fastdag,
    "rustworkx": Rustworkx,
    "networkx": Networkx,
    "igraph": Igraph,
}
EDGE_BY_EDGE: dict[str, Callable[[], Fastdag | Rustworkx | Networkx]] = {
    "fastdag": Fastdag,
    "rustworkx": Rustworkx,
    "networkx": Networkx,
}

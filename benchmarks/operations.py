"""Single operations of fastdag and the peers: a function for each that does it for many arguments in a plain loop.

The names are those of `fastdag.Graph`. A peer has a function only where it can do the same job; what it answers is made
the same too (names rather than indices), because whoever asks needs them.
"""

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import networkx as nx
import rustworkx as rx

from benchmarks.peers import Arguments, Fastdag, Igraph, Networkx, Rustworkx

Operation = Callable[[Any, Sequence[Arguments]], object]


def _fastdag(name: str, arity: int) -> Operation:
    def none(peer: Fastdag, batch: Sequence[Arguments]) -> None:
        call = getattr(peer.graph, name)
        for _ in batch:
            call()

    def one(peer: Fastdag, batch: Sequence[Arguments]) -> None:
        call = getattr(peer.graph, name)
        for (vertex,) in batch:
            call(vertex)

    def two(peer: Fastdag, batch: Sequence[Arguments]) -> None:
        call = getattr(peer.graph, name)
        for source, target in batch:
            call(source, target)

    return (none, one, two)[arity]


def _contains(peer: Fastdag | Networkx, batch: Sequence[Arguments]) -> None:
    graph = peer.graph
    for (vertex,) in batch:
        vertex in graph  # noqa: B015 - the question is what is measured


def _pickle(peer: Fastdag | Rustworkx | Networkx | Igraph, batch: Sequence[Arguments]) -> None:
    for _ in batch:
        pickle.loads(pickle.dumps(peer.graph, protocol=5))


def _add_edges(peer: Fastdag | Rustworkx | Networkx, batch: Sequence[Arguments]) -> int:
    return peer.add_edges(batch)


# rustworkx


def _rx_add_vertex(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
    index, add_node = peer.index, peer.graph.add_node
    for (vertex,) in batch:
        if vertex not in index:
            index[vertex] = add_node(vertex)


def _rx_remove_edge(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
    index, remove_edge = peer.index, peer.graph.remove_edge
    for source, target in batch:
        remove_edge(index[source], index[target])


def _rx_remove_vertex(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
    index, remove_node = peer.index, peer.graph.remove_node
    for (vertex,) in batch:
        remove_node(index.pop(vertex))


def _rx_pair(name: str) -> Operation:
    def run(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
        index, call = peer.index, getattr(peer.graph, name)
        for source, target in batch:
            call(index[source], index[target])

    return run


def _rx_vertex(name: str) -> Operation:
    def run(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
        index, call = peer.index, getattr(peer.graph, name)
        for (vertex,) in batch:
            call(index[vertex])

    return run


def _rx_has_path(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
    index, graph, has_path = peer.index, peer.graph, rx.has_path
    for source, target in batch:
        has_path(graph, index[source], index[target])


def _rx_edges_of(name: str) -> Operation:
    def run(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
        index, graph = peer.index, peer.graph
        call = getattr(graph, name)
        for (vertex,) in batch:
            [(graph[a], graph[b], label) for a, b, label in call(index[vertex])]

    return run


def _rx_degree(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
    index, out_degree, in_degree = peer.index, peer.graph.out_degree, peer.graph.in_degree
    for (vertex,) in batch:
        a = index[vertex]
        out_degree(a) + in_degree(a)


def _rx_reach(walk: Callable[[Any, int], set[int]]) -> Operation:
    def run(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
        index, graph = peer.index, peer.graph
        for (vertex,) in batch:
            {graph[a] for a in walk(graph, index[vertex])}

    return run


def _rx_index(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
    index = peer.index
    for (vertex,) in batch:
        index[vertex]


def _rx_vertex_at(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
    graph = peer.graph
    for (a,) in batch:
        graph[a]


def _rx_contains(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
    index = peer.index
    for (vertex,) in batch:
        vertex in index  # noqa: B015 - the question is what is measured


def _rx_whole(call: Callable[[Any], object]) -> Operation:
    def run(peer: Rustworkx, batch: Sequence[Arguments]) -> None:
        for _ in batch:
            call(peer.graph)

    return run


# networkx


def _nx_add_vertex(peer: Networkx, batch: Sequence[Arguments]) -> None:
    add_node = peer.graph.add_node
    for (vertex,) in batch:
        add_node(vertex)


def _nx_pair(name: str) -> Operation:
    def run(peer: Networkx, batch: Sequence[Arguments]) -> None:
        call = getattr(peer.graph, name)
        for source, target in batch:
            call(source, target)

    return run


def _nx_vertex(call_of: Callable[[Any], Callable[[str], object]]) -> Operation:
    def run(peer: Networkx, batch: Sequence[Arguments]) -> None:
        call = call_of(peer.graph)
        for (vertex,) in batch:
            call(vertex)

    return run


def _nx_has_path(peer: Networkx, batch: Sequence[Arguments]) -> None:
    graph, has_path = peer.graph, nx.has_path
    for source, target in batch:
        has_path(graph, source, target)


def _nx_find_cycle(peer: Networkx, batch: Sequence[Arguments]) -> None:
    graph = peer.graph
    for source, target in batch:
        if nx.has_path(graph, target, source):
            [source, *nx.shortest_path(graph, target, source)]


def _nx_edge_label(peer: Networkx, batch: Sequence[Arguments]) -> None:
    edges = peer.graph.edges
    for source, target in batch:
        edges[source, target]["label"]


def _nx_whole(call: Callable[[Any], object]) -> Operation:
    def run(peer: Networkx, batch: Sequence[Arguments]) -> None:
        for _ in batch:
            call(peer.graph)

    return run


# igraph


def _ig_pair(call_of: Callable[[Any], Callable[[int, int], object]]) -> Operation:
    def run(peer: Igraph, batch: Sequence[Arguments]) -> None:
        index, call = peer.index, call_of(peer.graph)
        for source, target in batch:
            call(index[source], index[target])

    return run


def _ig_vertices(call_of: Callable[[Any], Callable[[int], list[int]]]) -> Operation:
    def run(peer: Igraph, batch: Sequence[Arguments]) -> None:
        index, names, call = peer.index, peer.names, call_of(peer.graph)
        for (vertex,) in batch:
            [names[a] for a in call(index[vertex])]

    return run


def _ig_degree(name: str) -> Operation:
    def run(peer: Igraph, batch: Sequence[Arguments]) -> None:
        index, call = peer.index, getattr(peer.graph, name)
        for (vertex,) in batch:
            call(index[vertex])

    return run


def _ig_topological_sort(peer: Igraph, batch: Sequence[Arguments]) -> None:
    names = peer.names
    for _ in batch:
        [names[a] for a in peer.graph.topological_sorting()]


def _ig_copy(peer: Igraph, batch: Sequence[Arguments]) -> None:
    for _ in batch:
        peer.graph.copy()


_FASTDAG_ARITY = {
    **dict.fromkeys(("add_vertex", "remove_vertex", "successors", "predecessors", "out_edges", "in_edges"), 1),
    **dict.fromkeys(("out_degree", "in_degree", "degree", "index", "vertex_at", "ancestors", "descendants"), 1),
    **dict.fromkeys(("remove_edge", "has_edge", "edge_label", "has_path", "find_cycle"), 2),
    **dict.fromkeys(("edges", "topological_sort", "topological_generations", "longest_path", "copy", "to_csr"), 0),
    **dict.fromkeys(("transitive_reduction", "number_of_edges"), 0),
}

OPERATIONS: dict[str, dict[str, Operation]] = {
    "fastdag": {name: _fastdag(name, arity) for name, arity in _FASTDAG_ARITY.items()}
    | {"add_edge": _add_edges, "in": _contains, "pickle": _pickle},
    "rustworkx": {
        "add_vertex": _rx_add_vertex,
        "add_edge": _add_edges,
        "remove_edge": _rx_remove_edge,
        "remove_vertex": _rx_remove_vertex,
        "has_edge": _rx_pair("has_edge"),
        "edge_label": _rx_pair("get_edge_data"),
        "has_path": _rx_has_path,
        "successors": _rx_vertex("successors"),
        "predecessors": _rx_vertex("predecessors"),
        "out_edges": _rx_edges_of("out_edges"),
        "in_edges": _rx_edges_of("in_edges"),
        "out_degree": _rx_vertex("out_degree"),
        "in_degree": _rx_vertex("in_degree"),
        "degree": _rx_degree,
        "index": _rx_index,
        "vertex_at": _rx_vertex_at,
        "in": _rx_contains,
        "ancestors": _rx_reach(rx.ancestors),
        "descendants": _rx_reach(rx.descendants),
        "number_of_edges": _rx_whole(lambda graph: graph.num_edges()),
        "edges": _rx_whole(lambda graph: [(graph[a], graph[b], label) for a, b, label in graph.weighted_edge_list()]),
        "topological_sort": _rx_whole(lambda graph: [graph[a] for a in rx.topological_sort(graph)]),
        "topological_generations": _rx_whole(
            lambda graph: [[graph[a] for a in generation] for generation in rx.topological_generations(graph)]
        ),
        "longest_path": _rx_whole(lambda graph: [graph[a] for a in rx.dag_longest_path(graph)]),
        "transitive_reduction": _rx_whole(rx.transitive_reduction),
        "copy": _rx_whole(lambda graph: graph.copy()),
        "pickle": _pickle,
    },
    "networkx": {
        "add_vertex": _nx_add_vertex,
        "add_edge": _add_edges,
        "remove_edge": _nx_pair("remove_edge"),
        "remove_vertex": _nx_vertex(lambda graph: graph.remove_node),
        "has_edge": _nx_pair("has_edge"),
        "edge_label": _nx_edge_label,
        "has_path": _nx_has_path,
        "find_cycle": _nx_find_cycle,
        "successors": _nx_vertex(lambda graph: lambda vertex: list(graph.successors(vertex))),
        "predecessors": _nx_vertex(lambda graph: lambda vertex: list(graph.predecessors(vertex))),
        "out_edges": _nx_vertex(lambda graph: lambda vertex: list(graph.out_edges(vertex, data="label"))),
        "in_edges": _nx_vertex(lambda graph: lambda vertex: list(graph.in_edges(vertex, data="label"))),
        "out_degree": _nx_vertex(lambda graph: graph.out_degree),
        "in_degree": _nx_vertex(lambda graph: graph.in_degree),
        "degree": _nx_vertex(lambda graph: graph.degree),
        "in": _contains,
        "ancestors": _nx_vertex(lambda graph: lambda vertex: nx.ancestors(graph, vertex)),
        "descendants": _nx_vertex(lambda graph: lambda vertex: nx.descendants(graph, vertex)),
        "number_of_edges": _nx_whole(lambda graph: graph.number_of_edges()),
        "edges": _nx_whole(lambda graph: list(graph.edges(data="label"))),
        "topological_sort": _nx_whole(lambda graph: list(nx.topological_sort(graph))),
        "topological_generations": _nx_whole(lambda graph: list(nx.topological_generations(graph))),
        "longest_path": _nx_whole(nx.dag_longest_path),
        "transitive_reduction": _nx_whole(nx.transitive_reduction),
        "copy": _nx_whole(lambda graph: graph.copy()),
        "pickle": _pickle,
    },
    "igraph": {
        "has_edge": _ig_pair(lambda graph: graph.are_adjacent),
        "has_path": _ig_pair(lambda graph: lambda a, b: graph.distances(a, b)[0][0] < float("inf")),
        "successors": _ig_vertices(lambda graph: graph.successors),
        "predecessors": _ig_vertices(lambda graph: graph.predecessors),
        "out_degree": _ig_degree("outdegree"),
        "in_degree": _ig_degree("indegree"),
        "degree": _ig_degree("degree"),
        "ancestors": _ig_vertices(lambda graph: lambda a: graph.subcomponent(a, mode="in")),
        "descendants": _ig_vertices(lambda graph: lambda a: graph.subcomponent(a, mode="out")),
        "topological_sort": _ig_topological_sort,
        "copy": _ig_copy,
        "pickle": _pickle,
    },
}

"""The types that the public API reveals, held by mypy (`make types`); that it runs as well is what pytest adds."""

from array import array
from collections.abc import Hashable
from concurrent.futures import Future
from typing import Any, assert_type

import pytest

import fastdag
from fastdag import (
    CycleError,
    Dependency,
    DependencyFailedError,
    Edge,
    Event,
    EventStream,
    Explanation,
    Graph,
    Manager,
    Requirement,
    RunResult,
    Stall,
    Status,
    Subscription,
    TopologicalSorter,
    Unit,
)


def test_a_graph_knows_the_type_of_its_vertices() -> None:
    graph: Graph[str] = Graph()
    assert_type(graph.add_vertex("a"), int)
    assert_type(graph.add_edge("a", "b", "label"), bool)
    assert_type(graph.add_edges_from([("b", "c"), ("c", "d", 1)]), int)
    assert_type(graph.add_edges(array("i", [0]), array("q", [3]), ["x"]), int)
    assert_type("a" in graph, bool)
    assert_type(len(graph), int)
    assert_type(list(graph), list[str])
    assert_type(graph.index("a"), int)
    assert_type(graph.vertex_at(0), str)
    assert_type(graph.has_edge("a", 1), bool)
    assert_type(graph.has_path("a", "d"), bool)
    assert_type(graph.find_cycle("d", "a"), list[str] | None)
    assert_type(graph.edge_label("a", "b"), Any)
    assert_type(graph.successors("a"), list[str])
    assert_type(graph.predecessors("a"), list[str])
    assert_type(graph.out_edges("a"), list[Edge])
    assert_type(graph.in_edges("a"), list[Edge])
    assert_type(graph.edges(), list[Edge])
    assert_type(graph.degree("a"), int)
    assert_type(graph.number_of_edges(), int)


def test_walks_and_whole_graphs_keep_the_type_of_the_vertices() -> None:
    graph: Graph[tuple[int, int]] = Graph()
    graph.add_edge((0, 0), (0, 1))
    assert_type(graph.ancestors((0, 1)), set[tuple[int, int]])
    assert_type(graph.descendants((0, 0)), set[tuple[int, int]])
    assert_type(graph.topological_sort(), list[tuple[int, int]])
    assert_type(graph.topological_generations(), list[list[tuple[int, int]]])
    assert_type(graph.longest_path(), list[tuple[int, int]])
    assert_type(graph.longest_path(lambda edge: 0.5), list[tuple[int, int]])
    assert_type(graph.transitive_reduction(), Graph[tuple[int, int]])
    assert_type(graph.copy(), Graph[tuple[int, int]])
    offsets, targets = graph.to_csr()
    assert_type(offsets[0] + targets[0], int)
    assert_type(graph.to_dot(), str)
    assert_type(graph.lock_stats(), dict[str, dict[str, int]])


def test_a_graph_from_buffers_has_integers_as_vertices() -> None:
    graph = Graph.from_edges(array("i", [0, 1]), array("i", [1, 2]), 3)
    assert_type(graph, Graph[int])
    assert_type(graph.successors(0), list[int])


def test_a_vertex_of_another_type_is_no_vertex_of_this_graph() -> None:
    graph: Graph[str] = Graph()
    graph.add_vertex(1)  # type: ignore[arg-type]
    graph.add_edge("a", 1)  # type: ignore[arg-type]


def test_a_graph_takes_no_arguments() -> None:
    with pytest.raises(TypeError):
        Graph([("a", "b")])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Graph(edges=[("a", "b")])  # type: ignore[arg-type]


def test_a_manager_speaks_of_units() -> None:
    manager = Manager(auto_skip=True, on_error=lambda error, event, callback: None)
    manager.register("app")
    manager.register_all(["db", "disk"])
    manager.add_dependency("app", "db", Requirement.STARTED)
    assert_type(manager.add_dependencies([("db", "disk"), ("app", "disk", "mounted")]), int)
    assert_type(manager.unit("app"), Unit)
    assert_type(manager.units(), list[Unit])
    assert_type(manager.unit("app").status, str)
    assert_type(manager.is_ready("app"), bool)
    assert_type(manager.state("app"), str)
    assert_type(manager.dependencies("app"), list[Dependency])
    assert_type(manager.unmet_dependencies("app"), list[Dependency])
    assert_type(manager.dependents("db"), list[Dependency])
    assert_type(manager.dependents("db")[0].requires, Requirement)
    assert_type(manager.explain("app"), Explanation)
    assert_type(manager.stalled(), list[Stall])
    assert_type(manager.graph, Graph[str])
    assert_type(manager.to_dot(), str)
    manager.update_status("disk", Status.COMPLETED)
    assert_type(manager.update_statuses(["db"], "started"), int)


def test_listeners_get_events_and_futures() -> None:
    manager = Manager()
    manager.register("app")
    heard: list[Event] = []
    with manager.subscribe(heard.append, unit="app", kinds=["status"]) as subscription:
        assert_type(subscription, Subscription)
        manager.update_status("app", Status.STARTED)
    assert_type(heard[0].dependency, str | None)
    assert_type(heard[0].sequence, int)
    assert_type(manager.when_ready("app"), Future[str])
    assert_type(manager.when("app", Status.STARTED).result(timeout=10), str)


async def waits(manager: Manager) -> None:
    await manager.wait_ready_async("app")
    assert_type(manager.events(), EventStream)
    async for event in manager.events(kinds="state"):
        assert_type(event, Event)


def test_errors_carry_what_they_are_about() -> None:
    cycle = CycleError(["a", "b", "a"])
    assert_type(cycle.path, list[Hashable])
    builtin: ValueError = cycle
    assert_type(DependencyFailedError("app", [("db", "failed")]).failed, list[tuple[str, str]])
    assert isinstance(builtin, fastdag.FastDAGError)


def test_a_sorter_knows_the_type_of_its_nodes() -> None:
    sorter = TopologicalSorter({"a": ["b"]})
    assert_type(sorter, TopologicalSorter[str])
    sorter.prepare()
    assert_type(sorter.get_ready(), tuple[str, ...])
    assert_type(list(TopologicalSorter({1: [2]}).static_order()), list[int])


def test_a_run_knows_the_types_of_vertices_and_results() -> None:
    graph: Graph[str] = Graph()
    graph.add_edge("app", "db")
    result = fastdag.run(len, graph)
    assert_type(result, RunResult[str, int])
    assert_type(result["app"], int)
    assert_type(result.raise_for_failures().results(), dict[str, int])
    assert_type(result.statuses, dict[str, str])
    assert_type(result.exceptions, dict[str, BaseException])
    assert_type(result.causes, dict[str, str])

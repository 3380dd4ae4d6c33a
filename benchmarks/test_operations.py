"""Single operations, on a graph of 10,000 vertices and 50,000 edges with labels, and on a Manager of the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import pytest

from benchmarks import workloads
from benchmarks.measure import labelled, measure
from benchmarks.operations import OPERATIONS
from benchmarks.peers import IMPLEMENTATIONS, Arguments, Implementation
from fastdag import Event, Manager, Status

VERTICES, EDGES = 10_000, 50_000
BATCH = 1_000
ROUNDS = 20


@cache
def graph_edges() -> list[tuple[str, str, str]]:
    return labelled(workloads.random(VERTICES, EDGES + BATCH))


def _loaded(make: Callable[[], Implementation]) -> Implementation:
    peer = make()
    peer.load(graph_edges()[:EDGES])
    return peer


def _vertices(count: int) -> list[Arguments]:
    names = sorted({source for source, _, _ in graph_edges()[:EDGES]})
    return [(name,) for name in Random(workloads.SEED).sample(names, count)]


def _pairs(count: int) -> list[Arguments]:
    return [(source, target) for source, target, _ in Random(workloads.SEED).sample(graph_edges()[:EDGES], count)]


def _strangers() -> list[Arguments]:
    """Pairs of vertices at random: half of them have no path."""
    rng, names = Random(workloads.SEED), [name for (name,) in _vertices(2_000)]
    return [tuple(rng.sample(names, 2)) for _ in range(BATCH)]


def _fresh_edges() -> list[Arguments]:
    known = {name for source, target, _ in graph_edges()[:EDGES] for name in (source, target)}
    return [edge for edge in graph_edges()[EDGES:] if edge[0] in known and edge[1] in known]


def _edges_of_removed() -> list[Arguments]:
    gone = {name for (name,) in _vertices(100)}
    return [edge for edge in graph_edges()[:EDGES] if gone & {edge[0], edge[1]}]


@dataclass(frozen=True)
class Case:
    """An operation, what it is called with, and (where it changes the graph) what takes that back."""

    operation: str
    arguments: Callable[[], Sequence[Arguments]]
    undo: str = ""
    undo_arguments: Callable[[], Sequence[Arguments]] | None = None


def _each_vertex() -> list[Arguments]:
    return _vertices(BATCH)


def _few_vertices() -> list[Arguments]:
    return _vertices(20)


def _edges() -> list[Arguments]:
    return _pairs(BATCH)


def _new_vertices() -> list[Arguments]:
    return [(f"new-{i}",) for i in range(BATCH)]


CASES: dict[str, Case] = {
    "add_vertex": Case("add_vertex", _new_vertices, "remove_vertex", _new_vertices),
    "add_edge": Case(
        "add_edge", _fresh_edges, "remove_edge", lambda: [(source, target) for source, target, _ in _fresh_edges()]
    ),
    "add_edge, another label": Case("add_edge", lambda: [(*pair, "other") for pair in _edges()]),
    "add_edge, refused": Case("add_edge", lambda: [(target, source, "back") for source, target in _edges()]),
    "remove_edge": Case("remove_edge", _edges, "add_edge", lambda: [(*pair, "again") for pair in _edges()]),
    "remove_vertex": Case("remove_vertex", lambda: _vertices(100), "add_edge", _edges_of_removed),
    **{name: Case(name, _edges) for name in ("has_edge", "edge_label")},
    **{name: Case(name, _strangers) for name in ("has_path", "find_cycle")},
    **{
        name: Case(name, _each_vertex)
        for name in (
            "in",
            "index",
            "successors",
            "predecessors",
            "out_edges",
            "in_edges",
            "out_degree",
            "in_degree",
            "degree",
        )
    },
    "vertex_at": Case("vertex_at", lambda: [(i,) for i in range(BATCH)]),
    **{name: Case(name, _few_vertices) for name in ("ancestors", "descendants")},
    "number_of_edges": Case("number_of_edges", lambda: [()] * BATCH),
    **{
        name: Case(name, lambda: [()])
        for name in (
            "edges",
            "topological_sort",
            "topological_generations",
            "longest_path",
            "transitive_reduction",
            "copy",
            "to_csr",
            "pickle",
        )
    },
}


@pytest.mark.parametrize(
    ("case", "implementation"),
    [(case, name) for case in CASES for name in IMPLEMENTATIONS if CASES[case].operation in OPERATIONS[name]],
)
def test_operation(benchmark: Any, budget: Callable[[str], float | None], case: str, implementation: str) -> None:
    benchmark.group = case
    what = CASES[case]
    functions = OPERATIONS[implementation]
    peer = _loaded(IMPLEMENTATIONS[implementation])
    items = what.arguments()
    back = what.undo_arguments() if what.undo_arguments else ()
    done = 0

    def step(peer: Implementation, batch: Sequence[Arguments]) -> None:
        nonlocal done
        functions[what.operation](peer, batch)
        done += len(batch)

    def setup() -> Implementation:
        nonlocal done
        if what.undo and done:
            functions[what.undo](peer, back if done == len(items) else back[:done])
        done = 0
        return peer

    before = peer.number_of_edges()
    measure(benchmark, items, step, setup, rounds=ROUNDS, budget=budget(implementation))
    setup()
    if peer.number_of_edges() != before:
        raise RuntimeError(f"{case}: {before:,} edges before and {peer.number_of_edges():,} after")


def _manager() -> Manager:
    edges = graph_edges()[:EDGES]
    manager = Manager()
    manager.register_all(dict.fromkeys(name for source, target, _ in edges for name in (source, target)))
    manager.add_dependencies((source, target) for source, target, _ in edges)
    return manager


def _ignore(_: Event) -> None:
    pass


def _update(manager: Manager, units: Sequence[str]) -> None:
    update = manager.update_status
    for unit in units:
        update(unit, Status.STARTED)


def _register(manager: Manager, units: Sequence[str]) -> None:
    register = manager.register
    for unit in units:
        register(f"new-{unit}")


def _depend(manager: Manager, units: Sequence[str]) -> None:
    add_dependency = manager.add_dependency
    for unit in units:
        add_dependency(unit, "what all need")


def _ask(method: str) -> Callable[[Manager, Sequence[str]], None]:
    def run(manager: Manager, units: Sequence[str]) -> None:
        ask = getattr(manager, method)
        for unit in units:
            ask(unit)

    return run


MANAGER: dict[
    str, tuple[Callable[[Manager, Sequence[str]], object], bool]
] = {  # and whether it needs a new one a round
    "register": (_register, True),
    "add_dependency": (_depend, True),
    "update_status": (_update, True),
    "update_status, a subscriber": (_update, True),
    "update_statuses": (lambda manager, units: manager.update_statuses(units, Status.STARTED), True),
    "when_ready": (_ask("when_ready"), True),
    **{
        name: (_ask(name), False)
        for name in ("is_ready", "state", "unit", "dependencies", "unmet_dependencies", "dependents")
    },
}


@pytest.mark.parametrize("operation", MANAGER)
def test_manager(benchmark: Any, operation: str) -> None:
    benchmark.group = f"Manager.{operation}"
    run, fresh = MANAGER[operation]
    units = [name for (name,) in _vertices(BATCH)]
    kept = None if fresh else _manager()

    def setup() -> Manager:
        manager = kept or _manager()
        if operation == "update_status, a subscriber":
            manager.subscribe(_ignore)
        return manager

    measure(benchmark, units, run, setup, rounds=ROUNDS if kept else 7)

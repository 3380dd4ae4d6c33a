"""Random operations on `Graph` against plain dicts, every invariant checked after each: `python -m tests.stress`.

With `--minutes`, those of many threads on a graph and a manager instead: see `stress_threads.py`.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import pickle
import random
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from reference import ReferenceGraph

from fastdag import CycleError, Edge, Graph

NAMES: list[Any] = [None, (), (1, "x"), "a", b"a", 0, 1, -1, 2.5, frozenset({1}), 2**70, int, *"bcdefghijklm"]
LABELS: list[Any] = [None, None, "x", "y", 1, 1.0, True, (None,)]


class DisagreementError(AssertionError):
    """The graph and the oracle answer differently."""


def require(holds: bool, what: object) -> None:
    if not holds:
        raise DisagreementError(what)


def require_cycle(path: list[Any], rows: list[tuple[Any, ...]], oracle: ReferenceGraph) -> None:
    """A path that a cycle was refused with is one of the graph's edges and the refused ones."""
    wanted = {row[:2] for row in rows}
    steps = list(itertools.pairwise(path))
    require(len(path) >= 2 and path[0] == path[-1] and len(set(path)) == len(path) - 1, ("no simple cycle", path))
    require(all(step in wanted or oracle.has_edge(*step) for step in steps), ("no such edges", path))
    require(any(step in wanted for step in steps), ("a cycle that was there", path))


def by_source(edges: list[Edge]) -> dict[Any, Edge]:
    """A bulk load chooses the order of the edges into a vertex."""
    found = {edge.source: edge for edge in edges}
    require(len(found) == len(edges), ("an edge twice", edges))
    return found


def require_agreement(graph: Graph[Any], oracle: ReferenceGraph, names: list[Any]) -> None:
    """Everything that both show; where the graph may choose, that it chose one of the right answers."""
    graph._check()
    require(list(graph) == list(oracle), ("order of insertion", list(graph), list(oracle)))
    require(len(graph) == len(oracle) and bool(graph) == (len(oracle) > 0), "length")
    require(graph.number_of_edges() == oracle.number_of_edges() == len(graph.edges()), "number of edges")
    require({edge[:2]: edge for edge in graph.edges()} == {edge[:2]: edge for edge in oracle.edges()}, "edges")
    for name in names:
        require((name in graph) == (name in oracle), ("membership", name))
        require(graph.out_edges(name) == oracle.out_edges(name), ("out", name))
        require(by_source(graph.in_edges(name)) == by_source(oracle.in_edges(name)), ("in", name))
        require(graph.successors(name) == oracle.successors(name), ("successors", name))
        require([edge.source for edge in graph.in_edges(name)] == graph.predecessors(name), ("predecessors", name))
    place = {vertex: i for i, vertex in enumerate(graph.topological_sort())}
    require(set(place) == set(oracle), "topological_sort has other vertices")
    require(all(place[u] < place[v] for u, v, _ in oracle.edges()), "topological_sort has an edge backwards")
    offsets, targets = graph.to_csr()
    for vertex in oracle:
        index = graph.index(vertex)
        require(graph.vertex_at(index) == vertex, ("index", vertex))
        row = targets[offsets[index] : offsets[index + 1]]
        require([graph.vertex_at(target) for target in row] == oracle.successors(vertex), ("row of to_csr", vertex))


def outcome_of(do: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return do(), None
    except Exception as error:  # noqa: BLE001  # compared with the oracle's
        return None, error


class Pair:
    """A graph and its oracle, which get the same operations."""

    def __init__(self, names: list[Any]) -> None:
        self.names = names
        self.graph: Graph[Any] = Graph()
        self.oracle = ReferenceGraph()

    def both(self, name: str, *args: Any, rows: list[tuple[Any, ...]] | None = None) -> Any:
        """Call a method of both and compare; the answer, or None when both refuse."""
        return self.compared(
            lambda: getattr(self.graph, name)(*args),
            lambda: getattr(self.oracle, name)(*args),
            [args[:2]] if rows is None else rows,
        )

    def compared(self, ask: Callable[[], Any], know: Callable[[], Any], rows: list[tuple[Any, ...]]) -> Any:
        answer, error = outcome_of(ask)
        expected, expected_error = outcome_of(know)
        require(type(error) is type(expected_error), (answer, error, expected, expected_error))
        if isinstance(error, CycleError):
            require_cycle(error.path, rows, self.oracle)
        elif isinstance(error, KeyError):
            require(error.args == expected_error.args, (error, expected_error))  # type: ignore[union-attr]
        require(answer == expected and type(answer) is type(expected), (answer, expected))
        return answer

    def agree(self) -> None:
        require_agreement(self.graph, self.oracle, self.names)

    def add_vertex(self, name: Any) -> None:
        index = self.graph.add_vertex(name)
        self.oracle.add_vertex(name)
        require(index == self.graph.index(name), ("index", name))

    def add_edges_from(self, rows: list[tuple[Any, ...]]) -> None:
        self.both("add_edges_from", rows, rows=rows)

    def add_edges(self, kind: str, rows: list[tuple[Any, Any, Any]], labelled: bool) -> None:
        """By index; ends that are not there are left out."""
        rows = [row for row in rows if row[0] in self.oracle and row[1] in self.oracle]
        sides = [array(kind, [self.graph.index(row[side]) for row in rows]) for side in (0, 1)]
        known = [[self.oracle.index(row[side]) for row in rows] for side in (0, 1)]
        labels = [row[2] for row in rows] if labelled else None
        self.compared(
            lambda: self.graph.add_edges(*sides, labels), lambda: self.oracle.add_edges(*known, labels), rows
        )

    def find_cycle(self, source: Any, target: Any) -> None:
        path, error = outcome_of(lambda: self.graph.find_cycle(source, target))
        expected, expected_error = outcome_of(lambda: self.oracle.find_cycle(source, target))
        require(type(error) is type(expected_error) and (path is None) == (expected is None), (path, expected))
        if path is not None:
            require(path[:2] == [source, target], path)
            require_cycle(path, [(source, target)], self.oracle)

    def walks(self, name: Any, other: Any) -> None:
        self.both("ancestors", name)
        self.both("descendants", name)
        self.both("has_path", name, other)
        self.find_cycle(name, other)

    def whole(self) -> None:
        generations = [set(generation) for generation in self.graph.topological_generations()]
        require(generations == [set(g) for g in self.oracle.topological_generations()], "generations")
        require(len(self.graph.longest_path()) == len(self.oracle.longest_path()), "longest_path")
        reduced = self.graph.transitive_reduction()
        require_agreement(reduced, self.oracle.transitive_reduction(), self.names)

    def go_on_with_a_copy(self, how: int) -> None:
        duplicate = [Graph.copy, copy.copy, lambda graph: pickle.loads(pickle.dumps(graph))][how % 3]
        old = self.graph
        self.graph = duplicate(old)
        require_agreement(old, self.oracle, self.names)
        old.add_edge("only", "there")
        require("only" not in self.graph, "a copy shares something")


def random_rows(rng: random.Random, names: list[Any], most: int) -> list[tuple[Any, Any, Any]]:
    """Mostly along one order, so that many a batch is taken."""
    rows = []
    for _ in range(rng.randint(0, most)):
        i, j = sorted(rng.choices(range(len(names)), k=2), reverse=rng.random() < 0.03)
        if i != j or rng.random() < 0.05:
            rows.append((names[i], names[j], rng.choice(LABELS)))
    return rows


def step(pair: Pair, rng: random.Random) -> str:
    """One random operation on both; its name."""
    names = pair.names
    u, v = rng.choice(names), rng.choice(names)
    name = rng.choices(
        ["edge", "remove_edge", "remove_vertex", "vertex", "rows", "many rows", "indices", "ask", "whole", "copy"],
        [40, 12, 6, 4, 6, 1, 6, 15, 2, 1],
    )[0]
    if name == "edge":
        pair.both("add_edge", u, v, rng.choice(LABELS))
    elif name == "remove_edge":
        edges = pair.oracle.edges()
        pair.both("remove_edge", *(rng.choice(edges)[:2] if edges and rng.random() < 0.8 else (u, v)))
    elif name == "remove_vertex":
        pair.both("remove_vertex", u)
    elif name == "vertex":
        pair.add_vertex(u)
    elif name in ("rows", "many rows"):
        pair.add_edges_from(random_rows(rng, names, 6 if name == "rows" else 100))
    elif name == "indices":
        pair.add_edges(rng.choice("iIlq"), random_rows(rng, names, 12), rng.random() < 0.5)
    elif name == "ask":
        for ask in ("has_edge", "edge_label"):
            pair.both(ask, u, v)
        for ask in ("degree", "in_degree", "out_degree"):
            pair.both(ask, u)
        pair.walks(u, v)
    elif name == "whole":
        pair.whole()
    else:
        pair.go_on_with_a_copy(rng.randrange(3))
    return name


def run(count: int, seed: int) -> dict[str, int]:
    """So many random operations; how many of each kind there were. Raises AssertionError with the seed in it."""
    rng = random.Random(seed)
    done: dict[str, int] = {}
    pair = Pair(NAMES)
    for i in range(count):
        if i % 500 == 0:
            names = rng.sample(NAMES, rng.randint(2, len(NAMES)))
            if rng.random() < 0.2:
                names += [("more", k) for k in range(60)]
            pair = Pair(names)
        try:
            name = step(pair, rng)
            pair.agree()
        except AssertionError as error:
            raise AssertionError(f"operation {i} of --seed {seed}: {error}") from error
        done[name] = done.get(name, 0) + 1
    return done


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="operations (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="many threads for so long, instead of --count")
    parser.add_argument("--seed", type=int, default=None, help="default: another one every time")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    start = time.monotonic()
    if options.minutes is None:
        print(f"{options.count} operations with seed {seed}", flush=True)
        done = run(options.count, seed)
    else:
        import stress_threads  # noqa: PLC0415  # it is made of what is here

        print(f"{options.minutes} minutes with seed {seed}", flush=True)
        done = stress_threads.run(options.minutes * 60, seed)
    print(f"{time.monotonic() - start:.1f} s: {', '.join(f'{count} {name}' for name, count in sorted(done.items()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

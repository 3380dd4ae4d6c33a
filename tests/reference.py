"""The compiled core's behaviour in plain dicts under one lock: the oracle of the tests, and a stand-in for the core.

Slow on purpose and obvious by intent: nothing is kept up to date, everything is recomputed from the edges. Where the
core may choose (which of several cycles is reported, which topological order, which index a new vertex gets), the
oracle's answer is one of the right ones, so compare its validity and not its value.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from threading import RLock
from typing import Any

from fastdag.edge import Edge
from fastdag.errors import (
    CycleError,
    EdgeNotFoundError,
    UnitAlreadyRegisteredError,
    UnitNotFoundError,
    VertexNotFoundError,
)

WAITING, READY, BLOCKED = 0, 1, 2
REGISTERED, STATUS, STATE, DEPENDENCY = 0, 1, 2, 3

Event = tuple[int, Any, Any, int, int, int, int]
Flips = list[tuple[Any, int]]


class ReferenceGraph:
    """`Graph` by two dicts of dicts, one in each direction."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._out: dict[Hashable, dict[Hashable, Any]] = {}
        self._in: dict[Hashable, dict[Hashable, Any]] = {}
        self._ids: dict[Hashable, int] = {}
        self._free: list[int] = []

    @classmethod
    def from_edges(cls, sources: Any, targets: Any, n: int) -> ReferenceGraph:
        graph = cls()
        for vertex in range(n):
            graph.add_vertex(vertex)
        graph.add_edges(sources, targets)
        return graph

    # one vertex, one edge

    def add_vertex(self, vertex: Hashable) -> int:
        with self._lock:
            if vertex not in self._ids:
                self._ids[vertex] = self._free.pop() if self._free else len(self._ids)
                self._out[vertex] = {}
                self._in[vertex] = {}
            return self._ids[vertex]

    def add_edge(self, source: Hashable, target: Hashable, label: object = None) -> bool:
        with self._lock:
            hash(source), hash(target)
            if (path := self._cycle(source, target)) is not None:
                raise CycleError(path)
            self.add_vertex(source)
            self.add_vertex(target)
            new = target not in self._out[source]
            self._out[source][target] = label
            self._in[target][source] = label
            return new

    def remove_edge(self, source: Hashable, target: Hashable) -> None:
        with self._lock:
            self._known(source)
            self._known(target)
            if target not in self._out[source]:
                raise EdgeNotFoundError(source, target)
            del self._out[source][target]
            del self._in[target][source]

    def remove_vertex(self, vertex: Hashable) -> None:
        with self._lock:
            self._known(vertex)
            for target in self._out.pop(vertex):
                del self._in[target][vertex]
            for source in self._in.pop(vertex):
                del self._out[source][vertex]
            self._free.append(self._ids.pop(vertex))

    def has_edge(self, source: Hashable, target: Hashable) -> bool:
        with self._lock:
            return target in self._out.get(source, ())

    def has_path(self, source: Hashable, target: Hashable) -> bool:
        with self._lock:
            return source in self._ids and target in self._ids and self._path(source, target) is not None

    def find_cycle(self, source: Hashable, target: Hashable) -> list[Any] | None:
        with self._lock:
            self._known(source)
            self._known(target)
            return self._cycle(source, target)

    def edge_label(self, source: Hashable, target: Hashable) -> Any:
        with self._lock:
            self._known(source)
            self._known(target)
            if target not in self._out[source]:
                raise EdgeNotFoundError(source, target)
            return self._out[source][target]

    def successors(self, vertex: Hashable) -> list[Any]:
        with self._lock:
            return list(self._out.get(vertex, ()))

    def predecessors(self, vertex: Hashable) -> list[Any]:
        with self._lock:
            return list(self._in.get(vertex, ()))

    def out_edges(self, vertex: Hashable) -> list[Edge]:
        with self._lock:
            return [Edge(vertex, target, label) for target, label in self._out.get(vertex, {}).items()]

    def in_edges(self, vertex: Hashable) -> list[Edge]:
        with self._lock:
            return [Edge(source, vertex, label) for source, label in self._in.get(vertex, {}).items()]

    def out_degree(self, vertex: Hashable) -> int:
        with self._lock:
            self._known(vertex)
            return len(self._out[vertex])

    def in_degree(self, vertex: Hashable) -> int:
        with self._lock:
            self._known(vertex)
            return len(self._in[vertex])

    def degree(self, vertex: Hashable) -> int:
        with self._lock:
            return self.out_degree(vertex) + self.in_degree(vertex)

    def index(self, vertex: Hashable) -> int:
        with self._lock:
            self._known(vertex)
            return self._ids[vertex]

    def vertex_at(self, index: int) -> Any:
        with self._lock:
            for vertex, known in self._ids.items():
                if known == index:
                    return vertex
            raise IndexError(index)

    # many

    def add_edges_from(self, edges: Iterable[tuple[Any, ...]]) -> int:
        rows = [(row[0], row[1], row[2] if len(row) > 2 else None) for row in edges]
        with self._lock:
            before = self._saved()
            try:
                return sum(self.add_edge(*row) for row in rows)
            except BaseException:
                self._out, self._in, self._ids, self._free = before
                raise

    def add_edges(self, sources: Any, targets: Any, labels: Iterable[object] | None = None) -> int:
        labelled = [None] * len(sources) if labels is None else list(labels)
        if not len(sources) == len(targets) == len(labelled):
            raise ValueError("sources, targets and labels must be of one length")
        with self._lock:
            rows = zip(sources, targets, labelled, strict=True)
            return self.add_edges_from([(self.vertex_at(s), self.vertex_at(t), label) for s, t, label in rows])

    def edges(self) -> list[Edge]:
        with self._lock:
            return [edge for vertex in self._ids for edge in self.out_edges(vertex)]

    def number_of_edges(self) -> int:
        with self._lock:
            return sum(map(len, self._out.values()))

    # whole graph

    def ancestors(self, vertex: Hashable) -> set[Any]:
        with self._lock:
            self._known(vertex)
            return self._reached(vertex, self._in)

    def descendants(self, vertex: Hashable) -> set[Any]:
        with self._lock:
            self._known(vertex)
            return self._reached(vertex, self._out)

    def topological_sort(self) -> list[Any]:
        with self._lock:
            return [vertex for generation in self.topological_generations() for vertex in generation]

    def topological_generations(self) -> list[list[Any]]:
        with self._lock:
            missing = {vertex: len(sources) for vertex, sources in self._in.items()}
            generation = [vertex for vertex in self._ids if not missing[vertex]]
            generations = []
            while generation:
                generations.append(generation)
                coming = []
                for vertex in generation:
                    for target in self._out[vertex]:
                        missing[target] -= 1
                        if not missing[target]:
                            coming.append(target)
                generation = coming
            return generations

    def longest_path(self, weight: Callable[[Edge], float] | None = None) -> list[Any]:
        with self._lock:
            best: dict[Hashable, tuple[float, Edge | None]] = {}
            for vertex in reversed(self.topological_sort()):
                best[vertex] = (0.0, None)
                for edge in self.out_edges(vertex):
                    length = (1.0 if weight is None else weight(edge)) + best[edge.target][0]
                    if length > best[vertex][0]:
                        best[vertex] = (length, edge)
            path = [max(best, key=lambda vertex: best[vertex][0])] if best else []
            while path and (following := best[path[-1]][1]) is not None:
                path.append(following.target)
            return path

    def transitive_reduction(self) -> ReferenceGraph:
        with self._lock:
            reduced = ReferenceGraph()
            for vertex in self._ids:
                reduced.add_vertex(vertex)
            for source, target, label in self.edges():
                others = (other for other in self._out[source] if other != target)
                if not any(self.has_path(other, target) for other in others):
                    reduced.add_edge(source, target, label)
            return reduced

    def copy(self) -> ReferenceGraph:
        with self._lock:
            graph = ReferenceGraph()
            graph._out, graph._in, graph._ids, graph._free = self._saved()
            return graph

    __copy__ = copy

    def to_csr(self) -> tuple[array[int], array[int]]:
        with self._lock:
            offsets, targets = array("q", [0]), array("i")
            at = {index: vertex for vertex, index in self._ids.items()}
            for index in range(max(at, default=-1) + 1):
                targets.extend(self._ids[target] for target in self._out.get(at.get(index), ()))
                offsets.append(len(targets))
            return offsets, targets

    def lock_stats(self) -> dict[str, dict[str, int]]:
        return {}

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Any]:
        with self._lock:
            return iter(list(self._ids))

    def __contains__(self, vertex: Hashable) -> bool:
        return vertex in self._ids

    def _check(self) -> None:
        with self._lock:
            assert set(self._ids) == set(self._out) == set(self._in)
            assert len(set(self._ids.values())) == len(self._ids)
            for source, target, label in self.edges():
                assert self._in[target][source] is label
            assert self.number_of_edges() == sum(map(len, self._in.values()))
            assert len(self.topological_sort()) == len(self), "a cycle"

    def _known(self, vertex: Hashable) -> None:
        if vertex not in self._ids:
            raise VertexNotFoundError(vertex)

    def _saved(self) -> tuple[Any, ...]:
        copied = ({vertex: dict(edges) for vertex, edges in side.items()} for side in (self._out, self._in))
        return (*copied, dict(self._ids), list(self._free))

    def _cycle(self, source: Hashable, target: Hashable) -> list[Any] | None:
        """The cycle that the edge would close."""
        if source == target:
            return [source, source]
        path = self._path(target, source)
        return None if path is None else [source, *path]

    def _path(self, source: Hashable, target: Hashable) -> list[Any] | None:
        if source not in self._out:
            return None
        came_from: dict[Hashable, Any] = {source: None}
        queue = deque([source])
        while queue:
            vertex = queue.popleft()
            if vertex == target:
                path = [vertex]
                while path[-1] != source:
                    path.append(came_from[path[-1]])
                return path[::-1]
            for following in self._out[vertex]:
                if following not in came_from:
                    came_from[following] = vertex
                    queue.append(following)
        return None

    @staticmethod
    def _reached(vertex: Hashable, side: dict[Hashable, dict[Hashable, Any]]) -> set[Any]:
        reached: set[Any] = set()
        open_ = [vertex]
        while open_:
            for following in side[open_.pop()]:
                if following not in reached:
                    reached.add(following)
                    open_.append(following)
        return reached


class ReferenceStatusGraph(ReferenceGraph):
    """`StatusGraph`: the states are recomputed from the edges whenever somebody asks."""

    def __init__(self) -> None:
        super().__init__()
        self._masks: dict[object, tuple[int, int]] = {}
        self._status: dict[Hashable, tuple[int, int]] = {}  # code, since when; in the order of registration
        self._log: deque[Event] = deque()
        self._sequence = 0
        self._all = False
        self._watched: set[Hashable] = set()

    def define_requirement(self, label: object, satisfied: int, impossible: int) -> None:
        with self._lock:
            if self._masks.setdefault(label, (satisfied, impossible)) != (satisfied, impossible):
                raise ValueError(f"{label!r} is defined with other masks already")

    def register(self, vertex: Hashable, status: int) -> bool:
        with self._lock:
            if vertex in self._status:
                return False
            self.add_vertex(vertex)
            before = self._states_of_dependents(vertex)
            now = time.monotonic_ns()
            self._status[vertex] = (status, now)
            self._note(REGISTERED, vertex, None, -1, status, now)
            self._note(STATE, vertex, vertex, WAITING, self.state(vertex), now)
            self._flipped(before, vertex, now, None)
            return True

    def register_all(self, vertices: Iterable[Any], status: int) -> None:
        wanted = list(vertices)
        with self._lock:
            for i, vertex in enumerate(wanted):
                if vertex in self._status or vertex in wanted[:i]:
                    raise UnitAlreadyRegisteredError(vertex)
            for vertex in wanted:
                self.register(vertex, status)

    def set_status(self, vertex: Hashable, status: int, expected: int = -1, flips: Flips | None = None) -> int:
        with self._lock:
            old = self.status(vertex)
            if old in (-1, status) or expected not in (-1, old):
                return old
            before = self._states_of_dependents(vertex)
            now = time.monotonic_ns()
            self._status[vertex] = (status, now)
            self._note(STATUS, vertex, None, old, status, now)
            self._flipped(before, vertex, now, flips)
            return old

    def set_statuses(self, vertices: Iterable[Any], status: int, flips: Flips | None = None) -> int:
        wanted = list(vertices)
        with self._lock:
            for vertex in wanted:
                if vertex not in self._status:
                    raise UnitNotFoundError(vertex)
            return sum(self.set_status(vertex, status, -1, flips) != status for vertex in wanted)

    def add_dependency(
        self, vertex: Any, target: Any, requirement: object, replace: bool = False, flips: Flips | None = None
    ) -> int:
        with self._lock:
            code = self._judged(vertex, target, requirement, replace)
            if code not in (0, 4):
                return code
            before = {vertex: self.state(vertex)}
            self.add_edge(vertex, target, requirement)
            now = time.monotonic_ns()
            self._note(DEPENDENCY, vertex, target, -1, self.status(target), now)
            self._flipped(before, target, now, flips)
            return code

    def add_dependencies(
        self, dependencies: Iterable[tuple[Any, Any, object]], replace: bool = False, flips: Flips | None = None
    ) -> tuple[int, int]:
        rows = list(dependencies)
        with self._lock:
            trial = ReferenceStatusGraph()
            trial._out, trial._in, trial._ids, trial._free = self._saved()
            trial._masks, trial._status = self._masks, self._status
            for position, row in enumerate(rows):
                code = trial.add_dependency(*row, replace=replace)
                if code in (2, 3, 5):
                    return code, position
            return 0, sum(self.add_dependency(*row, replace=replace, flips=flips) == 0 for row in rows)

    def status(self, vertex: Hashable) -> int:
        with self._lock:
            return self._status.get(vertex, (-1, 0))[0]

    def state(self, vertex: Hashable) -> int:
        with self._lock:
            edges = self._out.get(vertex, {}).items()
            statuses = [(self._masks[requirement], self.status(target)) for target, requirement in edges]
            if any(status >= 0 and impossible >> status & 1 for (_, impossible), status in statuses):
                return BLOCKED
            met = all(status >= 0 and satisfied >> status & 1 for (satisfied, _), status in statuses)
            return READY if met and vertex in self._status else WAITING

    def snapshot(self, vertex: Hashable) -> tuple[int, int, int]:
        with self._lock:
            code, since = self._status.get(vertex, (-1, 0))
            return code, self.state(vertex), since

    def registered(self) -> list[Any]:
        with self._lock:
            return list(self._status)

    def dependencies(self, vertex: Hashable) -> list[tuple[Any, Any, int, bool]]:
        with self._lock:
            return [
                (target, requirement, self.status(target), self._satisfied(requirement, target))
                for target, requirement in self._out.get(vertex, {}).items()
            ]

    def dependents(self, vertex: Hashable) -> list[tuple[Any, Any, bool]]:
        with self._lock:
            edges = self._in.get(vertex, {}).items()
            return [(source, requirement, self._satisfied(requirement, vertex)) for source, requirement in edges]

    def log_all(self, on: bool) -> int:
        with self._lock:
            self._all = on
            return self._sequence

    def watch(self, vertex: Hashable) -> tuple[int, int, int]:
        with self._lock:
            self.add_vertex(vertex)
            self._watched.add(vertex)
            return self.status(vertex), self.state(vertex), self._sequence

    def unwatch(self, vertex: Hashable) -> None:
        with self._lock:
            self._watched.discard(vertex)

    def has_events(self) -> bool:
        return bool(self._log)

    def take_events(self, most: int = 1024) -> list[Event]:
        with self._lock:
            return [self._log.popleft() for _ in range(min(most, len(self._log)))]

    def _judged(self, vertex: Any, target: Any, requirement: object, replace: bool) -> int:
        if vertex not in self._status:
            return 3
        if requirement not in self._masks:
            return 5
        if (path := self._cycle(vertex, target)) is not None:
            raise CycleError(path)
        if target not in self._out[vertex]:
            return 0
        if self._out[vertex][target] == requirement:
            return 1
        return 4 if replace else 2

    def _satisfied(self, requirement: object, target: Hashable) -> bool:
        status = self.status(target)
        return status >= 0 and bool(self._masks[requirement][0] >> status & 1)

    def _states_of_dependents(self, vertex: Hashable) -> dict[Any, int]:
        return {source: self.state(source) for source in self._in.get(vertex, ())}

    def _flipped(self, before: dict[Any, int], cause: Any, now: int, flips: Flips | None) -> None:
        for vertex, old in before.items():
            new = self.state(vertex)
            if new != old:
                self._note(STATE, vertex, cause, old, new, now)
                if flips is not None:
                    flips.append((vertex, new))

    def _note(self, kind: int, vertex: Any, cause: Any, old: int, new: int, now: int) -> None:
        if self._all or vertex in self._watched:
            self._sequence += 1
            self._log.append((kind, vertex, cause, old, new, self._sequence, now))

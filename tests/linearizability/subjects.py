"""Objects for threads to make calls on, and random programs of such calls."""

from __future__ import annotations

import itertools
import random
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from fastdag import Graph, Manager, VertexNotFoundError

from .answers import plain
from .graph_specification import graph_steps
from .manager_specification import REQUIREMENTS, manager_steps
from .names import Name
from .search import Specification

LABELS = [None, "x", "y"]
Call = tuple[str, tuple[Any, ...]]  # what is called, with which arguments
Program = list[Call]


class Subject(ABC):
    """An object with much else in it, and random programs for it. Each history has names of its own."""

    steps: Specification
    weights: ClassVar[dict[str, int]]  # how often what is called

    def program(self, rng: random.Random, names: list[str], length: int) -> Program:
        program = []
        for _ in range(length):
            [what] = rng.choices(list(self.weights), list(self.weights.values()))
            program.append((what, self.arguments(what, rng, names)))
        return program

    @abstractmethod
    def arguments(self, what: str, rng: random.Random, names: list[str]) -> tuple[Any, ...]:
        """Random ones."""

    @abstractmethod
    def call(self, what: str, args: tuple[Any, ...]) -> Any:
        """Its answer; it may raise."""

    @abstractmethod
    def spoken(self, what: str, answer: Any, names: list[str]) -> Any:
        """An answer as the specification gives it; of all that is there, what concerns these names."""

    @abstractmethod
    def clear(self, names: list[str]) -> None:
        """Take these names away, where that can be done."""

    @abstractmethod
    def beside(self, rng: random.Random) -> None:
        """Something without the interpreter that holds the locks which the calls of a history need."""


class GraphSubject(Subject):
    steps = staticmethod(graph_steps)
    weights: ClassVar = {
        "add_edge": 30, "remove_edge": 10, "remove_vertex": 8, "add_vertex": 4, "add_edges_from": 3,
        "has_edge": 8, "edge_label": 5, "successors": 5, "out_edges": 3, "predecessors": 5, "degree": 4, "contains": 6,
        "has_path": 5, "find_cycle": 4, "descendants": 2, "ancestors": 2, "edges": 1, "vertices": 1,
    }  # fmt: skip

    def __init__(self, make: Callable[[], Any] = Graph) -> None:
        self.graph = make()
        # Indices 0 to 15 are for the names of the histories; hubs whose indices differ from these by a multiple of the
        # number of locks share their locks.
        for i in range(400):
            self.graph.add_vertex(i)
        hubs = [self.graph.index(128 + i) for i in range(12)]
        leaves = [self.graph.index(i) for i in range(200, 400)]
        self.rows = array("i", sorted(hubs * len(leaves))), array("i", leaves * len(hubs))
        self.graph.add_edges(*self.rows)
        self.graph.add_edges_from([("root", self.graph.vertex_at(hub)) for hub in hubs])
        for i in range(16):
            self.graph.remove_vertex(i)

    def arguments(self, what: str, rng: random.Random, names: list[str]) -> tuple[Any, ...]:
        match what:
            case "add_edge":
                return Name.of(rng, names), Name.of(rng, names), rng.choice(LABELS)
            case "add_edges_from":
                rows = []
                for _ in range(rng.randint(1, 3)):
                    u, v = sorted(rng.sample(names, 2))
                    rows.append((Name(u), Name(v), rng.choice(LABELS)))
                return (rows,)
            case "remove_edge" | "has_edge" | "edge_label" | "has_path" | "find_cycle":
                return Name.of(rng, names), Name.of(rng, names)
            case "edges" | "vertices":
                return ()
        return (Name.of(rng, names),)

    def call(self, what: str, args: tuple[Any, ...]) -> Any:
        if what == "contains":
            return args[0] in self.graph
        if what == "vertices":
            return list(self.graph)
        answer = getattr(self.graph, what)(*args)
        return None if what == "add_vertex" else answer

    def spoken(self, what: str, answer: Any, names: list[str]) -> Any:
        match what:
            case "vertices":
                return frozenset(plain(vertex) for vertex in answer if vertex in names)
            case "edges":
                return frozenset(plain(tuple(edge)) for edge in answer if edge.source in names)
            case "out_edges":
                return tuple((plain(edge.target), edge.label) for edge in answer)
            case "predecessors":
                return frozenset(map(plain, answer))
        return plain(answer)

    def clear(self, names: list[str]) -> None:
        for name in names:
            with suppress(VertexNotFoundError):
                self.graph.remove_vertex(name)

    def beside(self, rng: random.Random) -> None:
        what = rng.randrange(4)
        if what == 0:
            self.graph.to_csr()  # the order lock, exclusively
        elif what == 1:
            self.graph.add_edges(*self.rows)  # the same, longer
        else:
            self.graph.descendants("root")  # the order lock, shared, and the vertices one by one


class ManagerSubject(Subject):
    steps = staticmethod(manager_steps)
    weights: ClassVar = {
        "register": 14, "register_all": 2, "add_dependency": 26, "update_status": 26, "update_statuses": 3,
        "unit": 12, "state": 14, "graph": 1,
    }  # fmt: skip

    def __init__(self, make: Callable[[], Any] = Manager) -> None:
        self.manager = make()
        self.manager.register_all(f"other {i}" for i in range(300))
        self.manager.add_dependencies((f"other {i}", "other 0", "up") for i in range(1, 300))
        self.manager.subscribe(lambda event: None, unit="nobody")  # else nothing is logged
        self.statuses = itertools.cycle(["up", "down"])

    def arguments(self, what: str, rng: random.Random, names: list[str]) -> tuple[Any, ...]:
        status = rng.choice(["started", "completed", "failed"])
        match what:
            case "add_dependency":
                u, v = Name.of(rng, names), Name.of(rng, names)
                return u, v, REQUIREMENTS[rng.choice(list(REQUIREMENTS))], rng.random() < 0.3
            case "update_status":
                return Name.of(rng, names), status
            case "register_all":
                return (list(map(Name, rng.sample(names, 2))),)
            case "update_statuses":
                return list(map(Name, rng.sample(names, 2))), status
            case "graph":
                return ()
        return (Name.of(rng, names),)

    def call(self, what: str, args: tuple[Any, ...]) -> Any:
        return self.manager.graph if what == "graph" else getattr(self.manager, what)(*args)

    def spoken(self, what: str, answer: Any, names: list[str]) -> Any:
        if what == "unit":
            return answer.status, answer.ready
        if what == "graph":
            return frozenset(plain(tuple(edge)) for edge in answer.edges() if edge.source in names)
        return plain(answer)

    def clear(self, names: list[str]) -> None:
        pass  # units stay

    def beside(self, rng: random.Random) -> None:
        if rng.randrange(4) == 0:
            self.manager.graph  # noqa: B018  # a copy
        else:
            self.manager.update_status("other 0", next(self.statuses))  # the log, for all its dependents

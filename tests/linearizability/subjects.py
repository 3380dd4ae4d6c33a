"""Objects for threads to make calls on, and random programs of such calls."""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from fastdag import Graph, Manager, VertexNotFoundError

from .answers import plain
from .graph_specification import graph_steps
from .manager_specification import REQUIREMENTS, units_steps
from .names import LETTERS, Name
from .search import State

LABELS = [None, "x", "y"]
Call = tuple[str, tuple[Any, ...]]
Program = list[Call]


class GraphSubject:
    """A graph with much else in it, and random programs for it."""

    initial: State = ()
    steps = staticmethod(graph_steps)

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
        self.prefix = ""

    def clear(self) -> None:
        for letter in LETTERS:
            with suppress(VertexNotFoundError):
                self.graph.remove_vertex(self.prefix + letter)

    def program(self, rng: random.Random, letters: str, length: int) -> Program:
        def name() -> Name:
            return Name(self.prefix + rng.choice(letters))

        program: Program = []
        for _ in range(length):
            what = rng.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))[0]
            args: tuple[Any, ...]
            if what == "add_edge":
                args = (name(), name(), rng.choice(LABELS))
            elif what == "add_edges_from":
                rows = []
                for _ in range(rng.randint(1, 3)):
                    u, v = sorted(rng.sample(letters, 2))
                    rows.append((Name(self.prefix + u), Name(self.prefix + v), rng.choice(LABELS)))
                args = (rows,)
            elif what in ("remove_edge", "has_edge", "edge_label", "has_path", "find_cycle"):
                args = (name(), name())
            elif what in ("edges", "vertices"):
                args = ()
            else:
                args = (name(),)
            program.append((what, args))
        return program

    WEIGHTS: ClassVar = {
        "add_edge": 30, "remove_edge": 10, "remove_vertex": 8, "add_vertex": 4, "add_edges_from": 3,
        "has_edge": 8, "edge_label": 5, "successors": 5, "out_edges": 3, "predecessors": 5, "degree": 4, "contains": 6,
        "has_path": 5, "find_cycle": 4, "descendants": 2, "ancestors": 2, "edges": 1, "vertices": 1,
    }  # fmt: skip

    def call(self, name: str, args: tuple[Any, ...]) -> Any:
        if name == "contains":
            return args[0] in self.graph
        if name == "vertices":
            return list(self.graph)
        answer = getattr(self.graph, name)(*args)
        return None if name == "add_vertex" else answer

    def spoken(self, name: str, answer: Any) -> Any:
        """An answer as the specification gives it."""
        mine = self.prefix
        if name in ("vertices", "edges"):
            ours = [x for x in answer if str(x[0] if name == "edges" else x).startswith(mine)]
            return frozenset(map(plain, map(tuple, ours) if name == "edges" else ours))
        if name == "out_edges":
            return tuple((plain(edge.target), edge.label) for edge in answer)
        if name == "predecessors":
            return frozenset(map(plain, answer))
        return plain(answer)

    def beside(self, rng: random.Random) -> None:
        """Something without the interpreter that holds the locks which the calls of a history need."""
        what = rng.randrange(4)
        if what == 0:
            self.graph.to_csr()  # the order lock, exclusively
        elif what == 1:
            self.graph.add_edges(*self.rows)  # the same, longer
        else:
            self.graph.descendants("root")  # the order lock, shared, and the vertices one by one


class UnitsSubject:
    """A manager with much else in it, and random programs for it."""

    initial: State = ()
    steps = staticmethod(units_steps)

    def __init__(self, make: Callable[[], Any] = Manager) -> None:
        self.manager = make()
        self.manager.register_all(f"other {i}" for i in range(300))
        self.manager.add_dependencies((f"other {i}", "other 0", "up") for i in range(1, 300))
        self.manager.subscribe(lambda event: None, unit="nobody")
        self.statuses = itertools.cycle(["up", "down"])
        self.prefix = ""

    def clear(self) -> None:
        pass

    WEIGHTS: ClassVar = {
        "register": 14, "register_all": 2, "add_dependency": 26, "update_status": 26, "update_statuses": 3,
        "unit": 12, "state": 14, "graph": 1,
    }  # fmt: skip

    def program(self, rng: random.Random, letters: str, length: int) -> Program:
        def name() -> Name:
            return Name(self.prefix + rng.choice(letters))

        program: Program = []
        for _ in range(length):
            what = rng.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))[0]
            args: tuple[Any, ...]
            status = rng.choice(["started", "completed", "failed"])
            if what == "add_dependency":
                args = (name(), name(), REQUIREMENTS[rng.choice(list(REQUIREMENTS))], rng.random() < 0.3)
            elif what == "update_status":
                args = (name(), status)
            elif what in ("register_all", "update_statuses"):
                names = [Name(self.prefix + letter) for letter in rng.sample(letters, 2)]
                args = (names,) if what == "register_all" else (names, status)
            elif what == "graph":
                args = ()
            else:
                args = (name(),)
            program.append((what, args))
        return program

    def call(self, name: str, args: tuple[Any, ...]) -> Any:
        return self.manager.graph if name == "graph" else getattr(self.manager, name)(*args)

    def spoken(self, name: str, answer: Any) -> Any:
        if name == "unit":
            return answer.status, answer.ready
        if name == "graph":
            return frozenset(plain(tuple(edge)) for edge in answer.edges() if edge.source.startswith(self.prefix))
        return plain(answer)

    def beside(self, rng: random.Random) -> None:
        what = rng.randrange(4)
        if what == 0:
            self.manager.graph  # noqa: B018  # a copy
        else:
            self.manager.update_status("other 0", next(self.statuses))  # the log, for all its dependents

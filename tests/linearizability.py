"""Concurrent histories of real threads against the sequential specification: `python -m tests.linearizability`.

Threads run short random programs on one object and note when each call began, when it ended and what it answered. A
history is *linearizable* when every call can be given one moment between its beginning and its end such that the calls,
made one by one at these moments, would have answered the same (Herlihy and Wing 1990). The search for such moments is
that of Wing and Gong (1993), which remembers the sets of calls and the states it has been at (Lowe 2017). Refusals are
answers: an edge may only be refused if at some moment inside the call it would have closed a cycle, which is the one in
`CycleError.path`.

How calls are made to meet on a build with the interpreter lock, where they take less than a thread's turn: the names
are strings whose hash and comparison let go of the interpreter now and then, so that other calls run in the middle of
this one; a thread beside them works on other vertices of the same object without the interpreter, and holds the locks
that the calls need. `Run` counts what came of it.

What is documented as weaker is asked for no more than that: bulk operations are seen unit by unit or edge by edge, in
this order, once they cannot be refused any more; which of several units a bulk operation names is open; a walk sees
what was there all through its call, and nothing that was never there during it; in-edges with labels are left out.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from fastdag import (
    ConflictingRequirementError,
    CycleError,
    EdgeNotFoundError,
    Graph,
    Manager,
    Requirement,
    SameStatusError,
    UnitAlreadyRegisteredError,
    UnitNotFoundError,
    VertexNotFoundError,
)

DEADLINE = 60.0


class Op(NamedTuple):
    """A call and what came of it: `answer`, or the class of the exception and what it says."""

    thread: int
    name: str
    args: tuple[Any, ...]
    start: int
    end: int
    answer: Any

    def __str__(self) -> str:
        return f"{self.start:>12} … {self.end:>12}  thread {self.thread}: {self.name}{self.args} -> {self.answer}"


State = Any
Phase = Any  # how far an operation of several steps has come; None before the first one
Step = tuple[State, Phase, bool]  # the state behind a step, how far the operation has come, whether that is its end
Specification = Callable[[State, Op, Phase], Iterator[Step]]


def linearization(history: list[Op], initial: State, steps: Specification) -> list[Op] | None:
    """The calls in an order that explains the answers, or None when there is none.

    `steps` gives what one moment of a call may do: most calls have one, documented exceptions several.
    """
    ops = sorted(history, key=lambda op: (op.start, op.end))
    everybody = (1 << len(ops)) - 1
    seen = set()
    # Depth first; an entry is a position in the search and how it was come to.
    stack: list[tuple[int, State, tuple[tuple[int, Phase], ...], Any]] = [(0, initial, (), None)]
    while stack:
        done, state, under_way, path = stack.pop()
        if done == everybody:
            order = []
            while path is not None:
                order.append(path[0])
                path = path[1]
            return order[::-1]
        phases = dict(under_way)
        first_end = None
        choices = []
        for i, op in enumerate(ops):  # whatever began before the first of those not done yet ended may come next
            if done >> i & 1:
                continue
            if first_end is not None and op.start > first_end:
                break
            choices.append(i)
            if first_end is None or op.end < first_end:
                first_end = op.end
        for i in reversed(choices):
            op = ops[i]
            if op.start > first_end:  # type: ignore[operator]
                continue
            for following, phase, ends in steps(state, op, phases.get(i)):
                if ends:
                    position = (done | 1 << i, following, tuple(pair for pair in under_way if pair[0] != i))
                else:
                    position = (done, following, tuple(sorted({**phases, i: phase}.items())))
                if position not in seen:
                    seen.add(position)
                    stack.append((*position, (op, path) if ends else path))
    return None


def explained(history: list[Op], initial: State, steps: Specification) -> bool:
    """Whether the calls one after the other as they stand explain the answers."""
    state = initial
    for op in history:
        phase: Phase = None
        ends = False
        while not ends:
            found = list(steps(state, op, phase))
            if not found:
                return False
            state, phase, ends = found[-1]  # of several the last one is the plainest
    return True


# --- the graph ---------------------------------------------------------------------------------------------------

# A state is a tuple of (name, edges out of it in the order in which they came: (target, label) …), sorted by name.


def outs_of(state: State, vertex: Any) -> Any:
    for name, outs in state:
        if name == vertex:
            return outs
    return None


def with_outs(state: State, *changed: tuple[Any, Any]) -> State:
    new = dict(state)
    for name, outs in changed:
        if outs is None:
            del new[name]
        else:
            new[name] = outs
    return tuple(sorted(new.items()))


def reached(state: State, start: Any, backward: bool = False) -> set[Any]:
    """All that can be reached, the start included."""
    known = dict(state)
    found = {start}
    todo = [start]
    while todo:
        vertex = todo.pop()
        if backward:
            ends = [name for name, outs in state if any(target == vertex for target, _ in outs)]
        else:
            ends = [target for target, _ in known.get(vertex, ())]
        for end in ends:
            if end not in found:
                found.add(end)
                todo.append(end)
    return found


def is_cycle(state: State, path: tuple[Any, ...], source: Any, target: Any) -> bool:
    """Whether the path is source, target, … source along edges that are there, but for the first one."""
    return path[:2] == (source, target) and path[-1] == source and all(
        any(end == v for end, _ in outs_of(state, u) or ()) for u, v in itertools.pairwise(path[1:])
    )


def missing(state: State, *vertices: Any) -> Any:
    return next((("VertexNotFoundError", v) for v in vertices if outs_of(state, v) is None), None)


def graph_answer(state: State, op: Op) -> tuple[State, Any]:
    """What a call made alone does and answers."""
    match op.name, op.args:
        case "add_vertex", (u,):
            return (state if outs_of(state, u) is not None else with_outs(state, (u, ()))), None
        case "add_edge", (u, v, label):
            if u == v or u in reached(state, v):
                refused = isinstance(op.answer, tuple) and op.answer[0] == "CycleError"
                return state, op.answer if refused and is_cycle(state, op.answer[1], u, v) else ("CycleError", "a path")
            outs = outs_of(state, u) or ()
            there = any(target == v for target, _ in outs)
            if there:
                outs = tuple((target, label if target == v else old) for target, old in outs)
            else:
                outs += ((v, label),)
            return with_outs(state, (v, outs_of(state, v) or ()), (u, outs)), not there
        case "add_edges_from", (rows,):
            new = 0
            trial = state
            for row in rows:
                trial, answer = graph_answer(trial, op._replace(name="add_edge", args=row, answer=None))
                if not isinstance(answer, bool):
                    return state, op.answer if op.answer == ("CycleError", ...) else ("CycleError", ...)
                new += answer
            return trial, new
        case "remove_edge", (u, v):
            if error := missing(state, u, v):
                return state, error
            outs = outs_of(state, u)
            left = tuple(edge for edge in outs if edge[0] != v)
            if len(left) == len(outs):
                return state, ("EdgeNotFoundError", u, v)
            return with_outs(state, (u, left)), None
        case "remove_vertex", (u,):
            if error := missing(state, u):
                return state, error
            rest = [
                (name, tuple(edge for edge in outs if edge[0] != u))
                for name, outs in state
                if name != u and any(edge[0] == u for edge in outs)
            ]
            return with_outs(state, *rest, (u, None)), None
        case "has_edge", (u, v):
            return state, any(target == v for target, _ in outs_of(state, u) or ())
        case "edge_label", (u, v):
            if error := missing(state, u, v):
                return state, error
            return state, next((lab for end, lab in outs_of(state, u) if end == v), ("EdgeNotFoundError", u, v))
        case "successors", (u,):
            return state, tuple(target for target, _ in outs_of(state, u) or ())
        case "out_edges", (u,):
            return state, outs_of(state, u) or ()
        case "predecessors", (v,):
            return state, frozenset(name for name, outs in state if any(target == v for target, _ in outs))
        case "degree", (u,):
            if error := missing(state, u):
                return state, error
            return state, len(outs_of(state, u)) + sum(target == u for _, outs in state for target, _ in outs)
        case "contains", (u,):
            return state, outs_of(state, u) is not None
        case "has_path", (u, v):
            return state, not missing(state, u, v) and v in reached(state, u)
        case "find_cycle", (u, v):
            if error := missing(state, u, v):
                return state, error
            if u == v or u in reached(state, v):
                return state, op.answer if op.answer is not None and is_cycle(state, op.answer, u, v) else "a path"
            return state, None
        case ("descendants" | "ancestors") as which, (u,):
            if error := missing(state, u):
                return state, error
            return state, frozenset(reached(state, u, which == "ancestors") - {u})
        case "edges", ():
            return state, frozenset((u, v, label) for u, outs in state for v, label in outs)
        case "vertices", ():
            return state, frozenset(name for name, _ in state)
    raise AssertionError(op)


WALKS = ("has_path", "find_cycle", "descendants", "ancestors")


def edges_of(state: State) -> frozenset[tuple[Any, Any]]:
    return frozenset((u, v) for u, outs in state for v, _ in outs)


def walk_fits(op: Op, ever: State, always: State) -> bool:
    """Whether a walk may answer so while some edges were there at some moments and others at all of them."""
    if op.name == "has_path":
        u, v = op.args
        return v in reached(ever, u) if op.answer else v not in reached(always, u)
    if op.name == "find_cycle":
        u, v = op.args
        return is_cycle(ever, op.answer, u, v) if op.answer is not None else u not in reached(always, v)
    (u,) = op.args
    backward = op.name == "ancestors"
    return reached(always, u, backward) <= op.answer | {u} <= reached(ever, u, backward)


def as_state(edges: frozenset[tuple[Any, Any]]) -> State:
    outs: dict[Any, Any] = {}
    for u, v in sorted(edges):
        outs[u] = (*outs.get(u, ()), (v, None))
    return tuple(outs.items())


def walk_steps(state: State, op: Op, phase: Phase) -> Iterator[Step]:
    """A walk looks at the graph at as many moments as it likes: (edges there at any of them, at all of them)."""
    now = edges_of(state)
    if phase is None:
        refused = isinstance(op.answer, tuple) and op.answer[0] == "VertexNotFoundError"
        if not refused and missing(state, *op.args) is None:
            yield state, (now, now), False
        return
    ever, always = phase[0] | now, phase[1] & now
    if (ever, always) != phase:
        yield state, (ever, always), False
        if walk_fits(op, as_state(ever), as_state(always)):
            yield state, None, True


def graph_steps(state: State, op: Op, phase: Phase) -> Iterator[Step]:
    if op.name in WALKS:
        yield from walk_steps(state, op, phase)
        if phase is not None:
            return
    if op.name == "add_edges_from":
        # Taken or refused at one moment; then seen edge by edge, while no other edge comes or goes.
        rows = op.args[0]
        if phase is None:
            following, answer = graph_answer(state, op)
            if answer == op.answer:
                refused = isinstance(answer, tuple)
                yield state, None if refused else 0, refused
            return
        following, answer = graph_answer(state, op._replace(name="add_edge", args=rows[phase], answer=None))
        if isinstance(answer, bool):
            yield following, phase + 1, phase + 1 == len(rows)
        return
    following, answer = graph_answer(state, op)
    if answer == op.answer:
        yield following, None, True


# --- units -------------------------------------------------------------------------------------------------------

REQUIREMENTS = {"success": Requirement.SUCCESS, "started": Requirement.STARTED, "completion": Requirement.COMPLETION}
SPOKEN = {requirement: name for name, requirement in REQUIREMENTS.items()}

# A state is a tuple of (unit, status, dependencies in the order in which they came: (depends_on, requirement) …).


def unit_of(state: State, unit: Any) -> tuple[str, Any]:
    return next((row[1:] for row in state if row[0] == unit), ("", ()))


def with_unit(state: State, unit: Any, status: str, dependencies: Any) -> State:
    return tuple(sorted([*(row for row in state if row[0] != unit), (unit, status, dependencies)]))


def satisfied(state: State, depends_on: Any, requirement: str) -> bool:
    return unit_of(state, depends_on)[0] in REQUIREMENTS[requirement].satisfied


def state_of(state: State, unit: Any) -> str:
    status, dependencies = unit_of(state, unit)
    if any(unit_of(state, end)[0] in REQUIREMENTS[requirement].impossible for end, requirement in dependencies):
        return "blocked"
    return "ready" if status and all(satisfied(state, *dependency) for dependency in dependencies) else "waiting"


def depends(state: State, unit: Any, on: Any) -> bool:
    todo, seen = [unit], set()
    while todo:
        at = todo.pop()
        if at == on:
            return True
        if at not in seen:
            seen.add(at)
            todo.extend(end for end, _ in unit_of(state, at)[1])
    return False


def units_answer(state: State, op: Op) -> tuple[State, Any]:
    """What a call of `Manager` made alone does and answers."""
    match op.name, op.args:
        case "register", (u,):
            status, dependencies = unit_of(state, u)
            if status:
                return state, ("UnitAlreadyRegisteredError", u)
            return with_unit(state, u, "pending", dependencies), None
        case "register_all", (units,):
            known = [("UnitAlreadyRegisteredError", u) for u in units if unit_of(state, u)[0]]
            if known:  # which of them is named is not said
                return state, op.answer if op.answer in known else known[0]
            for u in units:
                state = with_unit(state, u, "pending", unit_of(state, u)[1])
            return state, None
        case "add_dependency", (u, v, requirement, replace):
            status, dependencies = unit_of(state, u)
            if not status:
                return state, ("UnitNotFoundError", u)
            if u == v or depends(state, v, u):
                path = op.answer[1] if isinstance(op.answer, tuple) and op.answer[0] == "CycleError" else ()
                edges = [(a, b) for a, b in itertools.pairwise(path)]
                right = path[:2] == (u, v) and path[-1:] == (u,) and all(
                    b in dict(unit_of(state, a)[1]) for a, b in edges[1:]
                )
                return state, op.answer if right else ("CycleError", "a path")
            there = dict(dependencies).get(v)
            if there == requirement:
                return state, None
            if there is not None and not replace:
                return state, ("ConflictingRequirementError", u, v)
            if there is not None:
                new = tuple((end, requirement if end == v else old) for end, old in dependencies)
            else:
                new = (*dependencies, (v, requirement))
            return with_unit(state, u, status, new), None
        case "update_status", (u, status):
            old, dependencies = unit_of(state, u)
            if not old:
                return state, ("UnitNotFoundError", u)
            if old == status:
                return state, ("SameStatusError", u)
            return with_unit(state, u, status, dependencies), None
        case "update_statuses", (units, status):
            olds = [unit_of(state, u)[0] for u in units]
            unknown = [("UnitNotFoundError", u) for u, old in zip(units, olds, strict=True) if not old]
            if unknown:
                return state, op.answer if op.answer in unknown else unknown[0]
            for u in units:
                state = with_unit(state, u, status, unit_of(state, u)[1])
            return state, len(olds) - olds.count(status)
        case "unit", (u,):
            return state, (unit_of(state, u)[0], state_of(state, u) == "ready")
        case "state", (u,):
            return state, state_of(state, u)
        case "graph", ():
            return state, frozenset((u, v, requirement) for u, _, row in state for v, requirement in row)
    raise AssertionError(op)


def units_steps(state: State, op: Op, phase: Phase) -> Iterator[Step]:
    if op.name in ("register_all", "update_statuses"):
        # Taken or refused at one moment; then seen unit by unit.
        units = op.args[0]
        if phase is None:
            _, answer = units_answer(state, op)
            # How many statuses an update changes depends on each unit's moment: between none and all.
            if answer == op.answer or (isinstance(answer, int) and op.answer in range(len(units) + 1)):
                refused = isinstance(answer, tuple)
                yield state, None if refused else (0, 0), refused
            return
        at, changed = phase
        old, dependencies = unit_of(state, units[at])
        if op.name == "register_all":
            if not old:
                yield with_unit(state, units[at], "pending", dependencies), (at + 1, 0), at + 1 == len(units)
            return
        changed += old != op.args[1]
        if at + 1 < len(units) or changed == op.answer:
            yield with_unit(state, units[at], op.args[1], dependencies), (at + 1, changed), at + 1 == len(units)
        return
    following, answer = units_answer(state, op)
    if answer == op.answer:
        yield following, None, True


# --- recording ---------------------------------------------------------------------------------------------------


class Name(str):
    """A name that now and then lets another thread go on while it is being looked up."""

    __slots__ = ()
    turn = itertools.count()
    every = 0  # 0: never

    def pause(self) -> None:
        every = self.every  # read once: another thread sets it
        if every and next(self.turn) % every == 0:
            time.sleep(0)

    def __hash__(self) -> int:
        self.pause()
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        self.pause()
        return str.__eq__(self, other)  # type: ignore[arg-type]

    def __ne__(self, other: object) -> bool:
        return not self == other


LETTERS = "abcdef"
LABELS = [None, "x", "y"]
Call = tuple[str, tuple[Any, ...]]
Program = list[Call]

ERRORS = (
    ConflictingRequirementError,
    CycleError,
    EdgeNotFoundError,
    SameStatusError,
    UnitAlreadyRegisteredError,
    UnitNotFoundError,
    VertexNotFoundError,
)


def plain(value: Any) -> Any:
    """Names as their last letter, what has no order as a frozenset, lists as tuples."""
    if isinstance(value, str):
        return str(value)[-1] if ":" in value else str(value)
    if isinstance(value, Requirement):
        return SPOKEN[value]
    if isinstance(value, (list, tuple)):
        return tuple(map(plain, value))
    if isinstance(value, (set, frozenset)):
        return frozenset(map(plain, value))
    return value


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


class Run:
    """Histories of one kind, recorded by long-lived threads and checked one by one.

    Attributes
    ----------
    histories, calls : int
        How many were recorded and explained.
    met : int
        Histories in which at least two calls of two threads overlapped in time.
    reordered : int
        Histories that neither the order in which the calls began nor that in which they ended explains: here calls took
        effect in the middle of one another, not only beside one another.
    """

    def __init__(self, subject: Callable[[], Any], seed: int) -> None:
        self.make = subject
        self.rng = random.Random(seed)
        self.histories = self.calls = self.met = self.reordered = 0
        self.spent = {"recording": 0.0, "checking": 0.0}

    def run(self, count: int, per_subject: int = 200) -> None:
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            while count > 0:
                some = min(count, per_subject)
                begun = time.monotonic()
                recorded = self.record(some)
                recorded_at = time.monotonic()
                for initial, steps, history in recorded:
                    self.judge(history, initial, steps)
                self.spent["recording"] += recorded_at - begun
                self.spent["checking"] += time.monotonic() - recorded_at
                count -= some
        finally:
            Name.every = 0
            sys.setswitchinterval(before)

    def record(self, count: int) -> list[tuple[State, Specification, list[Op]]]:
        subject = self.make()
        rng = self.rng
        width = rng.randint(2, 4)
        plans: list[tuple[str, list[Program]]] = []
        for _ in range(count):
            subject.prefix = f"{len(plans)}:"
            letters = LETTERS[: rng.randint(4, 6)]
            programs = [subject.program(rng, letters, rng.randint(2, 40 // width)) for _ in range(width)]
            plans.append((subject.prefix, programs))
        logs: list[list[list[tuple[int, int, Any]]]] = [[[] for _ in range(width)] for _ in plans]
        errors: list[BaseException] = []
        over = threading.Event()
        at = itertools.count()
        begun: list[int] = []
        every = [rng.choice([0, 1, 2, 3, 5, 7]) for _ in plans]

        def next_history() -> None:
            """By one of the threads while all the others wait."""
            if begun:
                subject.prefix = plans[begun[-1]][0]
                Name.every = 0
                subject.clear()
            begun.append(next(at))
            if begun[-1] < count:
                Name.every = every[begun[-1]]

        barrier = threading.Barrier(width, action=next_history)

        def work(thread: int) -> None:
            clock = time.monotonic_ns
            try:
                for (_, programs), log in zip(plans, logs, strict=True):
                    note = log[thread].append
                    program = programs[thread]
                    barrier.wait(DEADLINE)
                    for name, args in program:
                        start = clock()
                        try:
                            answer = subject.call(name, args)
                        except ERRORS as error:
                            answer = error
                        end = clock()
                        note((start, end, answer))
                barrier.wait(DEADLINE)
            except BaseException as error:  # noqa: BLE001  # raised again below
                errors.append(error)
                barrier.abort()

        seed = rng.randrange(2**32)

        def beside() -> None:
            mine = random.Random(seed)
            try:
                while not over.is_set():
                    subject.beside(mine)
                    if mine.random() < 0.5:
                        time.sleep(mine.uniform(0, 1e-4))
            except BaseException as error:  # noqa: BLE001  # raised again below
                errors.append(error)
                barrier.abort()

        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(width)]
        other = threading.Thread(target=beside, daemon=True)
        for thread in (*threads, other):
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        other.join(DEADLINE)
        for error in errors:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error
        if errors:
            raise errors[0]
        assert not other.is_alive(), "the thread beside hangs"
        recorded = []
        for (prefix, programs), log in zip(plans, logs, strict=True):
            subject.prefix = prefix
            history = []
            for thread, (program, notes) in enumerate(zip(programs, log, strict=True)):
                for (name, args), (start, end, answer) in zip(program, notes, strict=True):
                    if isinstance(answer, BaseException):
                        said = self.said(name, answer)
                    else:
                        said = subject.spoken(name, answer)
                    history.append(Op(thread, name, plain(args), start, end, said))
            recorded.append((subject.initial, subject.steps, history))
        return recorded

    @staticmethod
    def said(name: str, error: Any) -> Any:
        kind = type(error).__name__
        if isinstance(error, CycleError):
            return kind, ... if name == "add_edges_from" else plain(error.path)
        if isinstance(error, ConflictingRequirementError):
            return kind, plain(error.unit), plain(error.depends_on)
        if isinstance(error, (UnitNotFoundError, UnitAlreadyRegisteredError, SameStatusError)):
            return kind, plain(error.unit)
        return (kind, *plain(error.args))

    def judge(self, history: list[Op], initial: State, steps: Specification) -> None:
        by_start = sorted(history, key=lambda op: (op.start, op.end))
        self.histories += 1
        self.calls += len(history)
        if any(b.start <= a.end and a.thread != b.thread for a, b in itertools.pairwise(by_start)):
            self.met += 1
            if explained(by_start, initial, steps):
                return
            if explained(sorted(history, key=lambda op: (op.end, op.start)), initial, steps):
                return
            self.reordered += 1
        if linearization(history, initial, steps) is None:
            history = smallest(history, initial, steps)
            first = min(op.start for op in history)
            told = "\n".join(
                str(op._replace(start=op.start - first, end=op.end - first))
                for op in sorted(history, key=lambda op: op.start)
            )
            raise AssertionError(f"no order of these calls explains what they answered (times in ns):\n{told}")

    def __str__(self) -> str:
        return (
            f"{self.histories} histories of {self.calls} calls; calls overlapped in {self.met} of them, and in "
            f"{self.reordered} neither the order of the beginnings nor that of the ends explains the answers"
        )


def smallest(history: list[Op], initial: State, steps: Specification) -> list[Op]:
    """The shortest beginning of a history that cannot be explained, calls after it left out; then no read too many."""
    for end in sorted(op.end for op in history):
        part = [op for op in history if op.end <= end]
        part += [op for op in history if op.start < end < op.end]
        if linearization(part, initial, steps) is None:
            history = part
            break
    for op in list(history):  # a read that was left out can only make a history easier to explain
        less = [other for other in history if other is not op]
        if op.name in READS and linearization(less, initial, steps) is None:
            history = less
    return history


READS = {
    "has_edge", "edge_label", "successors", "out_edges", "predecessors", "degree", "contains", "has_path", "find_cycle",
    "descendants", "ancestors", "edges", "vertices", "unit", "state", "graph",
}  # fmt: skip

SUBJECTS: dict[str, Callable[[], Any]] = {"graph": GraphSubject, "units": UnitsSubject}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.linearizability", description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="histories (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="default: another one every time")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    begun = time.monotonic()
    for kind, subject in SUBJECTS.items():
        run = Run(subject, seed)
        try:
            run.run(options.count // len(SUBJECTS))
        except BaseException:
            print(f"failed after {run}; --seed {seed}", file=sys.stderr)
            raise
        print(f"{kind}: {run}; seed {seed}, {time.monotonic() - begun:.1f} s")
        print({what: round(seconds, 1) for what, seconds in run.spent.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())

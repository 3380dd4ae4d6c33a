"""The sequential specification of `Graph`: what calls mean that are made one by one.

A refusal is an answer: an edge may only be refused at a moment at which it would close a cycle, the one that is in
`CycleError.path`.

What is documented as weaker is asked for no more than that: a bulk load is seen edge by edge, in this order, once it
cannot be refused any more; a walk sees what was there all through its call, and nothing that was never there during it.
In-edges with labels are left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from .search import Op, Phase, State, Step

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


def has_edge(state: State, source: Any, target: Any) -> bool:
    return any(end == target for end, _ in outs_of(state, source) or ())


def is_cycle(state: State, path: tuple[Any, ...], source: Any, target: Any) -> bool:
    """Whether the path is source, target, … source along edges that are there, but for the first one."""
    return path[:2] == (source, target) and path[-1] == source and all(
        has_edge(state, u, v) for u, v in itertools.pairwise(path[1:])
    )


def cycle_error(state: State, op: Op, source: Any, target: Any) -> Any:
    """The refusal of an edge, or None: the one that was answered where its path is a cycle now."""
    if source not in reached(state, target):
        return None
    refused = isinstance(op.answer, tuple) and op.answer[0] == "CycleError"
    return op.answer if refused and is_cycle(state, op.answer[1], source, target) else ("CycleError", "a path")


def missing(state: State, *vertices: Any) -> Any:
    return next((("VertexNotFoundError", v) for v in vertices if outs_of(state, v) is None), None)


def graph_answer(state: State, op: Op) -> tuple[State, Any]:
    """What a call made alone does and answers."""
    match op.name, op.args:
        case "add_vertex", (u,):
            return (state if outs_of(state, u) is not None else with_outs(state, (u, ()))), None
        case "add_edge", (u, v, label):
            if error := cycle_error(state, op, u, v):
                return state, error
            outs = outs_of(state, u) or ()
            there = has_edge(state, u, v)
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
                    return state, ("CycleError", ...)
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
            return state, has_edge(state, u, v)
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
            if u in reached(state, v):
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
            _, answer = graph_answer(state, op)
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

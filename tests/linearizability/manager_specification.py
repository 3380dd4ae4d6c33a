"""The sequential specification of `Manager`: what calls mean that are made one by one.

What is documented as weaker is asked for no more than that: bulk operations are seen unit by unit, in this order, once
they cannot be refused any more; which of several units a refused one names is open.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastdag import Requirement

from .graph_specification import cycle_error
from .search import Op, Phase, State, Step

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


def manager_answer(state: State, op: Op) -> tuple[State, Any]:
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
            graph = tuple((unit, edges) for unit, _, edges in state)
            if error := cycle_error(graph, op, u, v):
                return state, error
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


def manager_steps(state: State, op: Op, phase: Phase) -> Iterator[Step]:
    if op.name in ("register_all", "update_statuses"):
        # Taken or refused at one moment; then seen unit by unit.
        units = op.args[0]
        if phase is None:
            _, answer = manager_answer(state, op)
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
    following, answer = manager_answer(state, op)
    if answer == op.answer:
        yield following, None, True

"""A plan as `fastdag plan` prints it: what runs when, at best, and how long that takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from fastdag.durations import format_duration
from fastdag.export import to_dot, to_mermaid
from fastdag.graphlib import TopologicalSorter
from fastdag.plan.model import REQUIREMENTS, Need, Phase, Plan, PlannedUnit
from fastdag.plan.problems import printable

_NAMED: Final = 12  # units of a generation, or of the longest path, that the text spells out
_WORDS: Final = {requirement: word for word, requirement in REQUIREMENTS.items()}


class Outline(NamedTuple):
    """What can be said of one phase without running it.

    Attributes
    ----------
    phase : {"start", "stop"}
    agent : str or None
        Whose units these are; None where none has one.
    units, dependencies : int
    generations : list of list of str
        Units whose dependencies are all in earlier generations; as early as possible.
    longest_path : list of str
        The units that take longest one after the other, by expected time, the first one to run first; by their number
        where no unit has an expected time.
    expected : float or None
        Seconds that this takes; None where no unit has an expected time.
    at_once : int
        The most units of one generation that may run at the same time, as those of an exclusive name may not.
    """

    phase: Phase
    agent: str | None
    units: int
    dependencies: int
    generations: list[list[str]]
    longest_path: list[str]
    expected: float | None
    at_once: int


def outlines(plan: Plan) -> list[Outline]:
    """Give the outlines of all phases, and within them of all agents. O(n + m)."""
    found = []
    for phase in plan.phases:
        units = plan.of_phase(phase).units
        agents = list(dict.fromkeys(unit.agent for unit in units.values()))
        for agent in agents:
            own = units if len(agents) == 1 else {name: unit for name, unit in units.items() if unit.agent == agent}
            found.append(_outline(phase, agent, own))
    return found


def _outline(phase: Phase, agent: str | None, units: Mapping[str, PlannedUnit]) -> Outline:
    after = {name: [need.unit for need in unit.needs] for name, unit in units.items()}
    generations = _generations(after)
    path, expected = _longest(units, after, generations)
    exclusive = {name: unit.exclusive for name, unit in units.items() if unit.exclusive is not None}
    return Outline(
        phase=phase,
        agent=agent,
        units=len(units),
        dependencies=sum(map(len, after.values())),
        generations=generations,
        longest_path=path,
        expected=expected,
        at_once=max(_at_once(names, exclusive) for names in generations),
    )


def _generations(after: Mapping[str, list[str]]) -> list[list[str]]:
    place = {name: number for number, name in enumerate(after)}
    sorter = TopologicalSorter(after)
    sorter.prepare()
    generations = []
    while names := sorter.get_ready():
        generations.append(sorted(names, key=place.__getitem__))
        sorter.done(*names)
    return generations


def _longest(
    units: Mapping[str, PlannedUnit], after: Mapping[str, list[str]], generations: list[list[str]]
) -> tuple[list[str], float | None]:
    """Find the units that take longest, one after the other."""
    times = {name: unit.expected for name, unit in units.items() if unit.expected is not None}
    least = 0.0 if times else 1.0  # without any times each unit counts the same
    taken: dict[str, float] = {}  # until the unit has ended
    latest: dict[str, str] = {}  # what it waits for to the last
    for names in generations:
        for name in names:
            before = 0.0
            for other in after[name]:
                if taken[other] > before or name not in latest:
                    before = taken[other]
                    latest[name] = other
            taken[name] = before + times.get(name, least)
    path = [max(taken, key=taken.__getitem__)]
    while path[-1] in latest:
        path.append(latest[path[-1]])
    return path[::-1], taken[path[0]] if times else None


def _at_once(names: Sequence[str], exclusive: Mapping[str, str]) -> int:
    words = [exclusive[name] for name in names if name in exclusive]
    return len(names) - len(words) + len(set(words))


def as_text(plan: Plan) -> str:
    """Describe a plan to a person."""
    return "".join(f"{line}\n" for each in outlines(plan) for line in _described(plan, each)) or "no units\n"


def _described(plan: Plan, outline: Outline) -> Iterator[str]:
    where = f"{outline.phase}, {outline.agent}" if outline.agent else outline.phase
    yield f"{where}: {_count(outline.units, 'unit')}, {_count(outline.dependencies, 'dependency', 'dependencies')}"
    width = len(str(len(outline.generations)))
    for number, names in enumerate(outline.generations, 1):
        shown = [_titled(plan.units[name]) for name in names[:_NAMED]]
        if len(names) > _NAMED:
            shown.append(f"… {len(names) - _NAMED:,} more")
        yield f"  {number:{width}}  {', '.join(shown)}"
    yield f"  at once: {_count(outline.at_once, 'unit')} of one generation"
    path = outline.longest_path
    # Of a long one both ends are shown: what it begins with, and what everybody waits for.
    half = _NAMED // 2
    ends = path if len(path) <= _NAMED else [*path[:half], f"… {len(path) - 2 * half:,} more …", *path[-half:]]
    time = "" if outline.expected is None else f", {format_duration(outline.expected)} expected"
    yield f"  longest path: {_count(len(path), 'unit')}{time}: {' -> '.join(ends)}"


def _count(number: int, one: str, more: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def _titled(unit: PlannedUnit) -> str:
    return unit.name if unit.title == unit.name else f"{unit.name} ({printable(unit.title)})"


def as_dot(plan: Plan) -> str:
    """Draw a plan in Graphviz's language."""
    return to_dot(
        "plan",
        [(unit.name, {} if unit.title == unit.name else {"label": _label(unit)}) for unit in plan.units.values()],
        [(name, need.unit, {"label": _WORDS[need.requires]}) for name, need in _needs(plan)],
    )


def as_mermaid(plan: Plan) -> str:
    """Draw a plan in Mermaid's language."""
    return to_mermaid(
        [(unit.name, _label(unit)) for unit in plan.units.values()],
        [(name, need.unit, _WORDS[need.requires]) for name, need in _needs(plan)],
    )


def as_json(plan: Plan) -> str:
    """Write a plan and its outlines as JSON: `units` by name, with what each comes `after`, and `outlines`."""
    units = {}
    for name, unit in plan.units.items():
        file, line = plan.place(name)
        units[name] = {
            **{key: getattr(unit, key) for key in _FIELDS},
            "env": dict(unit.env),
            "file": file,
            "line": line,
            "after": [{"unit": need.unit, "requires": _WORDS[need.requires]} for need in unit.needs],
        }
    document = {"units": units, "outlines": [each._asdict() for each in outlines(plan)]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _label(unit: PlannedUnit) -> str:
    return unit.name if unit.title == unit.name else f"{unit.title}\n{unit.name}"


def _needs(plan: Plan) -> Iterator[tuple[str, Need]]:
    return ((name, need) for name, unit in plan.units.items() for need in unit.needs)


_FIELDS: Final = tuple(key for key in PlannedUnit._fields if key not in ("name", "env", "needs"))
FORMS: Final[dict[str, Callable[[Plan], str]]] = {
    "text": as_text,
    "dot": as_dot,
    "mermaid": as_mermaid,
    "json": as_json,
}

"""What has to hold between the units of a plan, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from fastdag._core import Graph
from fastdag.errors import CycleError
from fastdag.plan.model import Need
from fastdag.plan.problems import Problems
from fastdag.status import Requirement

Place = Callable[[Any], tuple[str, int]]
"""Gives file and line; called for what is wrong only, as finding the line may take its time."""


class Wish(NamedTuple):
    """That one unit comes after another, and where somebody said so, as a `Place` understands it."""

    unit: str
    after: str
    requires: Requirement
    at: object
    by: object = ""

    @property
    def prefix(self) -> str:
        """What a message begins with: who asks for it, where the place does not tell."""
        return f"{self.by}: " if self.by else ""


def link(
    units: Iterable[str], wishes: Iterable[Wish], place: Place, problems: Problems
) -> Mapping[str, tuple[Need, ...]]:
    """Give what each unit comes after.

    A unit after itself, one wish with two requirements and cycles are problems; what is left out for them is missing in
    the answer. O(n + m) for a plan without cycles.

    Parameters
    ----------
    units : iterable of str
    wishes : iterable of Wish
        Between these units.
    place : callable
        Gives file and line of what a wish has as `at`.
    problems : Problems
        What is wrong is added.
    """
    needs: dict[str, dict[str, Wish]] = {unit: {} for unit in units}
    for wish in wishes:
        unit, after, requires, at, _ = wish
        if unit == after:
            problems.add(*place(at), f"{wish.prefix}unit {unit!r} cannot be after itself")
            continue
        known = needs[unit].setdefault(after, wish)
        if known is not wish and known.requires is not requires:
            file, line = place(known.at)
            problems.add(
                *place(at),
                f'{wish.prefix}unit {unit!r} is after {after!r} with requires = "{requires}" here, but with '
                f'"{known.requires}" at {file}:{line}' + (f" ({known.by})" if known.by else ""),
            )
    linked = {unit: tuple([Need(after, wish.requires) for after, wish in each.items()]) for unit, each in needs.items()}
    if not is_acyclic(linked):
        _name_cycles(needs, place, problems)
    return linked


def is_acyclic(needs: Mapping[str, tuple[Need, ...]]) -> bool:
    """Whether the units can run one behind the other. O(n + m)."""
    try:
        Graph[str]().add_edges_from((unit, need.unit) for unit, each in needs.items() for need in each)
    except CycleError:
        return False
    return True


def _name_cycles(needs: Mapping[str, Mapping[str, Wish]], place: Place, problems: Problems) -> None:
    """Name all that come up edge by edge."""
    graph: Graph[str] = Graph()
    for unit, each in needs.items():
        for after, wish in each.items():
            try:
                graph.add_edge(unit, after)
            except CycleError as error:
                path = " after ".join(repr(name) for name in error.path)
                problems.add(*place(wish.at), f"{wish.prefix}cycle: {path}")

"""What a plan is made of once it is read and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from fastdag._core import Graph
from fastdag.status import Requirement

Phase = Literal["start", "stop"]
PHASES: Final[tuple[Phase, ...]] = ("start", "stop")
REQUIREMENTS: Final = {"success": Requirement.SUCCESS, "completion": Requirement.COMPLETION}
SHELL: Final = "/bin/sh"


class Problem(NamedTuple):
    """One thing that is wrong with a plan, and where.

    Attributes
    ----------
    file : str
    line : int
        From 1.
    message : str

    Examples
    --------
    >>> print(Problem("plan.toml", 3, "unit 'a' cannot be after itself"))
    plan.toml:3: unit 'a' cannot be after itself
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class Need(NamedTuple):
    """What a unit comes after.

    Attributes
    ----------
    unit : str
        The name of the other unit.
    requires : Requirement
        `Requirement.SUCCESS` or `Requirement.COMPLETION`.
    """

    unit: str
    requires: Requirement


class PlannedUnit(NamedTuple):
    """A command and what it comes after.

    Attributes
    ----------
    name : str
    title : str
        What a person calls it: Terraform's `display_name`; the name where there is none.
    run : str or list of str
        A text for the shell, or a program and its arguments.
    shell : str
        The program that gets a text, behind `-c`.
    cwd : str or None
        The folder to run in; None for the one of whoever runs the plan.
    env : dict of str to str
        What is added to the environment.
    needs : tuple of Need
        Each unit once.
    timeout : float or None
        Seconds that its own run may take; None for no limit.
    retries : int
        How often it is tried again once it failed.
    priority : int
        The higher one starts first of those that are ready.
    slots : int
        Its weight against the number of jobs.
    exclusive : str or None
        Units with the same word never run at the same time.
    phase : {"start", "stop"}
    agent : str or None
        The Terraform resource that runs it.
    expected : float or None
        Seconds that it is thought to take.
    """

    name: str
    title: str
    run: str | list[str]
    shell: str = SHELL
    cwd: str | None = None
    env: Mapping[str, str] = MappingProxyType({})
    needs: tuple[Need, ...] = ()
    timeout: float | None = None
    retries: int = 0
    priority: int = 0
    slots: int = 1
    exclusive: str | None = None
    phase: Phase = "start"
    agent: str | None = None
    expected: float | None = None

    @property
    def command(self) -> list[str]:
        """The program to execute and its arguments.

        A text that begins with `#!` goes to the program that it names, again behind `-c`, unless there is a `shell` of
        its own.

        Examples
        --------
        >>> unit = PlannedUnit(name="a", title="a", run="make all")
        >>> unit.command
        ['/bin/sh', '-c', 'make all']
        """
        if not isinstance(self.run, str):
            return list(self.run)
        first = self.run.lstrip().partition("\n")[0]
        interpreter = first[2:].split() if first.startswith("#!") and self.shell == SHELL else []
        return [*(interpreter or [self.shell]), "-c", self.run]


@dataclass(frozen=True, slots=True)
class Plan:
    """Units in the order of the file, all checked: every need is there, and nothing comes after itself.

    Attributes
    ----------
    units : dict of str to PlannedUnit
    place : callable
        Gives file and line at which the unit of a name is declared. It may have to look for the line first.
    warnings : tuple of Problem
        What is no error, but may not be meant.
    """

    units: Mapping[str, PlannedUnit]
    place: Callable[[str], tuple[str, int]] = field(compare=False)
    warnings: Sequence[Problem] = ()

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases that have units."""
        used = {unit.phase for unit in self.units.values()}
        return tuple(phase for phase in PHASES if phase in used)

    @property
    def agents(self) -> tuple[str, ...]:
        """The Terraform resources that run units, in order."""
        return tuple(dict.fromkeys(unit.agent for unit in self.units.values() if unit.agent is not None))

    def of_phase(self, phase: Phase) -> Plan:
        """Give the part that runs in one phase.

        A unit that stops may come after the end of one that starts. That one has ended once the phase `stop` begins, so
        there it is no need any more.
        """
        if self.phases == (phase,):
            return self
        units = {
            name: unit._replace(needs=needs) if (needs := self._within(unit)) != unit.needs else unit
            for name, unit in self.units.items()
            if unit.phase == phase
        }
        return Plan(units, self.place, self.warnings)

    def graph(self) -> Graph[str]:
        """Make the graph: an edge from each unit to each that it comes after, labelled with the requirement."""
        graph: Graph[str] = Graph()
        for name in self.units:
            graph.add_vertex(name)
        graph.add_edges_from(self._edges())
        return graph

    def _edges(self) -> Iterator[tuple[str, str, Requirement]]:
        for name, unit in self.units.items():
            for need in unit.needs:
                yield name, need.unit, need.requires

    def _within(self, unit: PlannedUnit) -> tuple[Need, ...]:
        return tuple(need for need in unit.needs if self.units[need.unit].phase == unit.phase)

"""What a manager tells about its units and their dependencies: snapshots, true at the moment they were taken."""

from __future__ import annotations

from typing import NamedTuple

from fastdag.status import Requirement


class Unit(NamedTuple):
    """A unit at one moment.

    Attributes
    ----------
    id : str
    status : str
        `Status.NOT_REGISTERED` for a unit that nobody registered.
    ready : bool
        Registered, and every dependency satisfied.
    """

    id: str
    status: str
    ready: bool


class Dependency(NamedTuple):
    """A dependency at one moment.

    Attributes
    ----------
    unit, depends_on : str
    requires : Requirement
    status : str
        What `depends_on` is; `Status.NOT_REGISTERED` for a unit that nobody registered.
    satisfied : bool

    Examples
    --------
    >>> print(Dependency("app", "db", Requirement.SUCCESS, "failed", False))
    'app' needs success of 'db', which is failed: impossible
    """

    unit: str
    depends_on: str
    requires: Requirement
    status: str
    satisfied: bool

    @property
    def impossible(self) -> bool:
        """Whether the dependency blocks the unit."""
        return self.status in self.requires.impossible

    def __str__(self) -> str:
        verdict = "satisfied" if self.satisfied else "impossible" if self.impossible else "unmet"
        return f"{self.unit!r} needs {self.requires} of {self.depends_on!r}, which is {shown(self.status)}: {verdict}"


def shown(status: str) -> str:
    """Give the status as a person reads it."""
    return status or "not registered"

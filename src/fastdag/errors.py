"""The exceptions of fastdag.

Every error is a `FastDAGError` and also the builtin that fits it, so that code which knows nothing of fastdag
can catch it. What an error is about is in its attributes; the message says what was asked, what is wrong and
what to do.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastdag.plan.model import Problem
    from fastdag.units import Dependency

if hasattr(sys.modules.get("_fastdag_core"), "CycleError"):
    # A process has one compiled core; it would go on raising the first classes, which nobody could catch by these. It
    # is known by another name, too, as whoever takes fastdag out of sys.modules takes out what is called fastdag._core.
    raise ImportError(
        "fastdag.errors was imported before in this process, and the compiled core keeps the classes of that time; "
        "leave fastdag and its submodules in sys.modules, or start another process (importlib.reload(fastdag) works)"
    )


class FastDAGError(Exception):
    """Base class of all errors that fastdag raises on purpose."""


class _MissingError(FastDAGError, KeyError):
    """Something asked for by name is not there; `KeyError` would show the message in quotes."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class CycleError(FastDAGError, ValueError):
    """An edge was refused because it would close a cycle.

    Parameters
    ----------
    path : sequence of vertices
        The cycle, in the direction of its edges, the first vertex repeated at the end. The refused edge is the
        first step of it.

    Attributes
    ----------
    path : list of vertices
    """

    path: list[Hashable]

    def __init__(self, path: Sequence[Hashable]) -> None:
        self.path = list(path)
        super().__init__(self.path)

    def __str__(self) -> str:
        path = self.path
        shown = [repr(vertex) for vertex in path]
        if len(shown) > _SHOWN:
            left_out = len(shown) - _SHOWN + 1
            half = _SHOWN // 2
            shown = [*shown[:half], f"… {left_out} more …", *shown[-half + 1 :]]
        return (
            f"edge {path[0]!r} -> {path[1]!r} would close a cycle: {' -> '.join(shown)}; "
            "remove one of these edges first, or leave this one out"
        )


_SHOWN = 20  # vertices of a cycle that a message spells out; `path` always has them all


class VertexNotFoundError(_MissingError):
    """A vertex that was asked about is not in the graph.

    Attributes
    ----------
    vertex : hashable
    """

    vertex: Hashable

    def __init__(self, vertex: Hashable) -> None:
        self.vertex = vertex
        super().__init__(vertex)

    def __str__(self) -> str:
        return f"vertex {self.vertex!r} is not in the graph; add it with add_vertex() or by an edge"


class EdgeNotFoundError(_MissingError):
    """An edge that was asked about is not in the graph.

    Attributes
    ----------
    source, target : hashable
    """

    source: Hashable
    target: Hashable

    def __init__(self, source: Hashable, target: Hashable) -> None:
        self.source = source
        self.target = target
        super().__init__(source, target)

    def __str__(self) -> str:
        return f"edge {self.source!r} -> {self.target!r} is not in the graph; add it with add_edge()"


class CapacityError(FastDAGError, OverflowError):
    """A graph or manager was asked to hold more than it can: vertices, edges of one vertex, labels or statuses."""


class UnitIdRequiredError(FastDAGError, ValueError):
    """A unit's name was empty or not a string."""


class UnitNotFoundError(_MissingError):
    """A unit has to be registered for what was asked, and is not.

    Attributes
    ----------
    unit : str
    """

    unit: str

    def __init__(self, unit: str) -> None:
        self.unit = unit
        super().__init__(unit)

    def __str__(self) -> str:
        return f"unit {self.unit!r} is not registered; call register({self.unit!r}) first"


class UnitAlreadyRegisteredError(FastDAGError, ValueError):
    """A unit was registered twice; the first registration and its status stand.

    Attributes
    ----------
    unit : str
    """

    unit: str

    def __init__(self, unit: str) -> None:
        self.unit = unit
        super().__init__(unit)

    def __str__(self) -> str:
        return f"unit {self.unit!r} is already registered; change its status with update_status()"


class SameStatusError(FastDAGError, ValueError):
    """A unit was set to the status that it already has.

    Attributes
    ----------
    unit, status : str
    """

    unit: str
    status: str

    def __init__(self, unit: str, status: str) -> None:
        self.unit = unit
        self.status = status
        super().__init__(unit, status)

    def __str__(self) -> str:
        return f"unit {self.unit!r} already has the status {self.status!r}; update it only when the status changes"


class StatusRequiredError(FastDAGError, ValueError):
    """A status was empty or not a string."""


class ConflictingRequirementError(FastDAGError, ValueError):
    """A dependency was declared again with another requirement.

    Attributes
    ----------
    unit, depends_on : str
    existing, requested : object
        The requirement that stands, and the one that was refused.
    """

    unit: str
    depends_on: str
    existing: object
    requested: object

    def __init__(self, unit: str, depends_on: str, existing: object, requested: object) -> None:
        self.unit = unit
        self.depends_on = depends_on
        self.existing = existing
        self.requested = requested
        super().__init__(unit, depends_on, existing, requested)

    def __str__(self) -> str:
        return (
            f"unit {self.unit!r} already depends on {self.depends_on!r} with the requirement {self.existing}, "
            f"not {self.requested}; pass replace=True to change it"
        )


class DependencyFailedError(FastDAGError, RuntimeError):
    """A unit was waited for that can no longer become ready, or at a service: that has ended otherwise.

    Attributes
    ----------
    unit : str
        The unit that was waited for.
    failed : list of (str, str)
        What made it impossible: the names of its dependencies with their statuses; or its own name, with the one in
        which it ended.
    causes : list of (str, str, str or None)
        What failed first, where a service says so: names, statuses and reasons of the units at which the chains of
        skipped units begin. A `Manager`, which keeps no reasons, leaves it empty.
    """

    unit: str
    failed: list[tuple[str, str]]
    causes: list[tuple[str, str, str | None]]

    def __init__(
        self, unit: str, failed: Sequence[tuple[str, str]], causes: Sequence[tuple[str, str, str | None]] = ()
    ) -> None:
        self.unit = unit
        self.failed = list(failed)
        self.causes = list(causes)
        super().__init__(unit, self.failed)

    def __str__(self) -> str:
        named = ", ".join(f"{name!r} is {status}" for name, status in self.failed)
        if [name for name, _ in self.failed] == [self.unit]:
            return f"unit {named}, which ends the wait for it; wait again once its status is another one"
        return f"unit {self.unit!r} cannot become ready: {named}; repair that and set its status again"


class TaskNotRunError(FastDAGError, LookupError):
    """The result of a task was asked for that did not run.

    Attributes
    ----------
    vertex : hashable
    status : str
        ``skipped`` or ``canceled``.
    cause : hashable or None
        For a task that was skipped the vertex whose failure was the reason.
    """

    vertex: Hashable
    status: str
    cause: Hashable | None

    def __init__(self, vertex: Hashable, status: str, cause: Hashable | None = None) -> None:
        self.vertex = vertex
        self.status = status
        self.cause = cause
        super().__init__(vertex, status, cause)

    def __str__(self) -> str:
        if self.status == "skipped":
            why = f"skipped, as that of {self.cause!r} failed"
            return f"the task of {self.vertex!r} was {why}; repair that and run again"
        return f"the task of {self.vertex!r} did not run: it was {self.status}; run again"


class JournalError(FastDAGError, OSError):
    """The journal of a service cannot be used, or no longer be written.

    Attributes
    ----------
    path : str
    problem : str
        What is wrong with the file and what to do.
    """

    path: str
    problem: str

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"journal {path!r} {problem}")

    def __reduce__(self) -> tuple[type[JournalError], tuple[str, str]]:
        return type(self), (self.path, self.problem)  # the message alone would not make another one


class PlanError(FastDAGError, ValueError):
    """A plan cannot be run as it is; nothing of it was.

    Attributes
    ----------
    problems : list of Problem
        All that is wrong with it, by file and line; the message has a line for each.
    """

    problems: list[Problem]

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class WaitTimeoutError(FastDAGError, TimeoutError):
    """The time limit of a wait at a service is over; the unit goes on waiting for what it depends on.

    Attributes
    ----------
    unit : str
    unmet : list of Dependency
        What it still waits for.
    """

    unit: str
    unmet: list[Dependency]

    def __init__(self, message: str, unit: str, unmet: Sequence[Dependency]) -> None:
        self.unit = unit
        self.unmet = list(unmet)
        super().__init__(message)

    def __reduce__(self) -> tuple[type[WaitTimeoutError], tuple[str, str, list[Dependency]]]:
        return type(self), (str(self), self.unit, self.unmet)


class ServiceError(FastDAGError, RuntimeError):
    """A service refused a call for a reason that has no class of its own, or did not answer as it should.

    Attributes
    ----------
    code : int or None
        The HTTP status; `None` when there was no answer.
    """

    code: int | None

    def __init__(self, message: str, code: int | None = None) -> None:
        self.code = code
        super().__init__(message)


class ServiceNotFoundError(FastDAGError, ConnectionError):
    """Nobody listens where a service should be, or it went away in the middle of a call."""


class EventGapError(FastDAGError, LookupError):
    """Events were lost between two that a service sent: too many since the one that was asked for, or it was restarted.

    Take a `snapshot` and go on from its `event_id`.
    """

"""What goes in and out of the service: the types of its API, from which its OpenAPI document is made."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from fastdag.client.wire import LONGEST
from fastdag.status import Requirement
from fastdag.units import Dependency

NAME_LENGTH = 256  # characters of a unit's name or of a status
REASON_LENGTH = 4096
BATCH = 10_000  # elements of a list in one call

# No control characters: names are printed on terminals, a line each. The end is one in Python as in JavaScript, whose
# patterns OpenAPI has; `$` in Python also stands before a line end, `\Z` in JavaScript for a letter.
NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]+(?![\s\S])"
Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH, pattern=NAME_PATTERN)]
Reason = Annotated[str, Meta(max_length=REASON_LENGTH)]
Seconds = Annotated[float, Meta(ge=0, le=LONGEST)]


class _In(Struct, forbid_unknown_fields=True, frozen=True): ...


class _Out(Struct, frozen=True, gc=False): ...  # none refers to itself; an answer may be made of 100,000


# --- requirements ---------------------------------------------------------------------------------------------------


class Statuses(_In, frozen=True):
    """A requirement by the statuses that satisfy it and those that make it impossible."""

    satisfied: Annotated[list[Name], Meta(min_length=1, max_length=64)]
    impossible: Annotated[list[Name], Meta(max_length=64)] = []


Requires = Name | Statuses

NAMED = {
    "success": Requirement.SUCCESS,
    "completion": Requirement.COMPLETION,
    "started": Requirement.STARTED,
}
_WORDS = {requirement: word for word, requirement in NAMED.items()}


def requirement_of(requires: Requires) -> Requirement:
    """Give the requirement for what stands in a message: one of the three words, a status, or sets of statuses."""
    if isinstance(requires, Statuses):
        return Requirement(requires.satisfied, requires.impossible)
    return NAMED.get(requires) or Requirement.of(requires)


def requires_of(requirement: Requirement) -> Requires:
    """Give what stands in a message for a requirement; `requirement_of` gives it back."""
    word = _WORDS.get(requirement)
    if word is not None:
        return word
    if len(requirement.satisfied) == 1 and not requirement.impossible:
        [status] = requirement.satisfied
        if status not in NAMED:
            return status
    return Statuses(sorted(requirement.satisfied), sorted(requirement.impossible))


# --- in -------------------------------------------------------------------------------------------------------------


class Register(_In, frozen=True):
    """Units to register, all or none."""

    units: Annotated[list[Name], Meta(max_length=BATCH)]


class Want(_In, frozen=True):
    """What a unit depends on, all or none; the unit is registered when nobody has done so."""

    unit: Name
    depends_on: Annotated[list[Name], Meta(min_length=1, max_length=BATCH)]
    requires: Requires = "success"
    replace: bool = False


class Wish(_In, frozen=True):
    """One dependency of many."""

    unit: Name
    depends_on: Name
    requires: Requires = "success"


class Dependencies(_In, frozen=True):
    """Dependencies of units that are registered, all or none."""

    dependencies: Annotated[list[Wish], Meta(max_length=BATCH)]
    replace: bool = False


class Owner(_In, frozen=True):
    """The process that a started unit is tied to.

    Attributes
    ----------
    pid : int
    started : int, optional
        When the process was started, in clock ticks since boot (the 22nd field of /proc/PID/stat): then another
        process that was given the same number meanwhile is not taken for it.
    """

    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    started: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class Start(_In, frozen=True):
    """`timeout` in seconds; 0: do not wait; null: as long as it takes."""

    unit: Name
    timeout: Seconds | None = None
    owner: Owner | None = None


class Wait(_In, frozen=True):
    """Without `status`: until the unit is ready."""

    unit: Name
    status: Name | None = None
    timeout: Seconds | None = None


class End(_In, frozen=True):
    """A unit that ended, and why."""

    unit: Name
    reason: Reason | None = None


class Update(_In, frozen=True):
    """A new status for a unit, and why."""

    unit: Name
    status: Name
    reason: Reason | None = None


class UnitQuery(_In, frozen=True):
    """A question about one unit."""

    unit: Name


class GraphQuery(_In, frozen=True):
    """In which form to draw the graph."""

    format: Literal["json", "dot", "mermaid"] = "json"


class EventsQuery(_In, frozen=True):
    """Which events: a unit's own and those of what it depends on; kinds, with commas between."""

    unit: Name | None = None
    kinds: Annotated[str, Meta(max_length=100)] | None = None


# --- out ------------------------------------------------------------------------------------------------------------


class Ping(_Out, frozen=True):
    """Who answers. `instance` is another one after every start; `journal`: whether changes outlive the service."""

    service: str
    version: str
    pid: int
    instance: str
    journal: bool


class UnitView(_Out, frozen=True):
    """A unit. `status` is empty when nobody registered it; `seconds`: for how long it has had the status."""

    unit: str
    status: str
    state: str
    ready: bool
    seconds: float | None
    reason: str | None
    owner: int | None


class DependencyView(_Out, frozen=True):
    """A dependency: what `unit` asks of `depends_on`, which has `status`."""

    unit: str
    depends_on: str
    requires: Requires
    status: str
    satisfied: bool
    impossible: bool


class StatusView(UnitView, frozen=True):
    """A unit and what it depends on."""

    dependencies: list[DependencyView]


class Units(_Out, frozen=True):
    """Units, in the order of their registration."""

    units: list[UnitView]


class Added(_Out, frozen=True):
    """How many dependencies were not there before."""

    added: int


class Ready(_Out, frozen=True):
    """The pending units that could start now."""

    units: list[str]


class HeldView(_Out, frozen=True):
    """A unit that is waited for; `unmet` is empty at the end of a chain."""

    unit: str
    status: str
    state: str
    seconds: float | None
    reason: str | None
    unmet: list[DependencyView]


class ExplanationView(_Out, frozen=True):
    """Why a unit waits. `units`: itself, and all that it waits for; `because`: set when it is stalled."""

    unit: str
    units: list[HeldView]
    held_up_by: list[str]
    stalled: bool
    because: list[DependencyView]
    text: str


class Snapshot(_Out, frozen=True):
    """All units at one moment; `event_id` as Last-Event-ID gives the events since."""

    event_id: str
    units: list[StatusView]


class GraphView(_Out, frozen=True):
    """All units and dependencies."""

    units: list[UnitView]
    dependencies: list[DependencyView]


class EventView(_Out, frozen=True):
    """`time` in seconds since the epoch; for `old` and `new` see fastdag.Event."""

    kind: str
    unit: str
    dependency: str | None
    old: str
    new: str
    time: float


class Cause(_Out, frozen=True):
    """A unit that failed, or was canceled, at the end of a chain of skipped ones."""

    unit: str
    status: str
    reason: str | None


class ErrorView(_Out, frozen=True, kw_only=True, omit_defaults=True):
    """`error` is the class in fastdag.errors; the other fields are that class's attributes, of `causes` a hundred."""

    error: str
    message: str
    unit: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    depends_on: str | UnsetType = UNSET
    path: list[str] | UnsetType = UNSET
    failed: list[tuple[str, str]] | UnsetType = UNSET
    causes: list[Cause] | UnsetType = UNSET
    unmet: list[DependencyView] | UnsetType = UNSET
    existing: Requires | UnsetType = UNSET
    requested: Requires | UnsetType = UNSET


def dependency_view(dependency: Dependency) -> DependencyView:
    """Give a dependency as it stands in a message."""
    return DependencyView(
        dependency.unit,
        dependency.depends_on,
        requires_of(dependency.requires),
        dependency.status,
        dependency.satisfied,
        dependency.impossible,
    )

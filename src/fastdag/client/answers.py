"""What a service answers, as objects of fastdag: units, dependencies, explanations, events and errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastdag.errors import (
    CapacityError,
    ConflictingRequirementError,
    CycleError,
    DependencyFailedError,
    FastDAGError,
    SameStatusError,
    ServiceError,
    StatusRequiredError,
    UnitAlreadyRegisteredError,
    UnitIdRequiredError,
    UnitNotFoundError,
    WaitTimeoutError,
)
from fastdag.events import Event
from fastdag.explain import Explanation, Held
from fastdag.status import Requirement
from fastdag.units import Dependency, Unit


@dataclass(frozen=True, slots=True)
class Ping:
    """Who answers.

    Attributes
    ----------
    version : str
        Of fastdag, as the service has it.
    pid : int
    instance : str
        Another one after every start of the service.
    journal : bool
        Whether changes outlive the service.
    """

    version: str
    pid: int
    instance: str
    journal: bool


@dataclass(frozen=True, slots=True)
class ServiceUnit:
    """A unit at one moment, with what a service knows of it beyond what a `Manager` does.

    Attributes
    ----------
    id, status : str
        As for `fastdag.Unit`.
    ready : bool
    state : str
        `waiting`, `ready` or `blocked`.
    seconds : float or None
        For how long it has had the status; `None` when it is not registered.
    reason : str or None
        Why it has the status, where somebody said so.
    owner : int or None
        The process that it is tied to.
    """

    id: str
    status: str
    ready: bool
    state: str
    seconds: float | None
    reason: str | None
    owner: int | None


@dataclass(frozen=True, slots=True)
class UnitStatus(ServiceUnit):
    """A unit and what it depends on, at one moment.

    Attributes
    ----------
    dependencies : list of Dependency
    """

    dependencies: list[Dependency]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All units at one moment.

    Attributes
    ----------
    event_id : str
        Passed to `events` as `last_event_id` it gives what happens from this moment on.
    units : list of UnitStatus
        In the order of registration.
    """

    event_id: str
    units: list[UnitStatus]


_WORDS = {
    "success": Requirement.SUCCESS,
    "completion": Requirement.COMPLETION,
    "started": Requirement.STARTED,
}
_NAMES = {requirement: word for word, requirement in _WORDS.items()}


def requirement_of(requires: Any) -> Requirement:
    """Give the requirement that stands in a message: one of three words, a status, or sets of statuses."""
    if isinstance(requires, str):
        return _WORDS.get(requires) or Requirement(requires)
    return Requirement(requires["satisfied"], requires["impossible"])


def requires_of(requires: Requirement | str) -> object:
    """Give what stands in a message for a requirement, or for a plain status, which asks for exactly that status."""
    requirement = Requirement.of(requires)
    word = _NAMES.get(requirement)
    if word is not None:
        return word
    if len(requirement.satisfied) == 1 and not requirement.impossible:
        [status] = requirement.satisfied
        if status not in _WORDS:
            return status
    return {"satisfied": sorted(requirement.satisfied), "impossible": sorted(requirement.impossible)}


def dependency(view: Any) -> Dependency:
    """Give a dependency."""
    return Dependency(
        view["unit"], view["depends_on"], requirement_of(view["requires"]), view["status"], view["satisfied"]
    )


def unit(view: Any) -> Unit:
    """Give a unit as a Manager does."""
    return Unit(view["unit"], view["status"], view["ready"])


def service_unit(view: Any) -> ServiceUnit:
    """Give a unit with all that the service knows of it."""
    return ServiceUnit(*_known(view))


def unit_status(view: Any) -> UnitStatus:
    """Give a unit with what it depends on."""
    return UnitStatus(*_known(view), [dependency(each) for each in view["dependencies"]])


def _known(view: Any) -> tuple[str, str, bool, str, float | None, str | None, int | None]:
    return view["unit"], view["status"], view["ready"], view["state"], view["seconds"], view["reason"], view["owner"]


def explanation(view: Any) -> Explanation:
    """Give why a unit waits."""
    return Explanation(
        view["unit"],
        {
            held["unit"]: Held(
                held["unit"],
                held["status"],
                held["state"],
                held["seconds"],
                [dependency(unmet) for unmet in held["unmet"]],
            )
            for held in view["units"]
        },
    )


def event(number: str, data: str) -> Event:
    """Give an event of the stream; `number` is its id there, which ends in the event's sequence."""
    view = json.loads(data)
    sequence = int(number.rpartition("-")[2])
    return Event(view["kind"], view["unit"], view["dependency"], view["old"], view["new"], sequence, view["time"])


def error_of(code: int, body: bytes, where: str) -> FastDAGError:
    """Give the error that a service answered with, by its class in fastdag.errors where it has one there.

    Parameters
    ----------
    code : int
        The HTTP status.
    body : bytes
    where : str
        Names the service in a message about an answer that makes no sense.
    """
    try:
        view = json.loads(body)
        return _error(view["error"], view["message"], view, code)
    except (ValueError, KeyError, TypeError):
        return ServiceError(
            f"the service at {where} answered with HTTP status {code} and no reason that it knows", code
        )


def _error(name: str, message: str, view: Any, code: int) -> FastDAGError:
    match name:
        case "UnitNotFoundError":
            return UnitNotFoundError(view["unit"])
        case "UnitAlreadyRegisteredError":
            return UnitAlreadyRegisteredError(view["unit"])
        case "SameStatusError":
            return SameStatusError(view["unit"], view["status"])
        case "CycleError":
            return CycleError(view["path"])
        case "ConflictingRequirementError":
            existing, requested = requirement_of(view["existing"]), requirement_of(view["requested"])
            return ConflictingRequirementError(view["unit"], view["depends_on"], existing, requested)
        case "DependencyFailedError":
            causes: Sequence[Any] = view.get("causes", ())
            return DependencyFailedError(
                view["unit"],
                [(unit, status) for unit, status in view["failed"]],
                [(cause["unit"], cause["status"], cause["reason"]) for cause in causes],
            )
        case _ if code == 504:
            unmet: Sequence[Any] = view.get("unmet", ())
            return WaitTimeoutError(message, view.get("unit", ""), [dependency(each) for each in unmet])
        case "UnitIdRequiredError":
            return UnitIdRequiredError(message)
        case "StatusRequiredError":
            return StatusRequiredError(message)
        case "CapacityError":
            return CapacityError(message)
        case _:
            return ServiceError(str(message), code)

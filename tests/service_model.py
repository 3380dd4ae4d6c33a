"""What a service has to answer, by definition: units and dependencies in plain dicts, looked through each time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastdag import (
    ConflictingRequirementError,
    CycleError,
    DependencyFailedError,
    Requirement,
    SameStatusError,
    UnitAlreadyRegisteredError,
    UnitNotFoundError,
)
from fastdag.errors import WaitTimeoutError
from fastdag.service.messages import Requires, Statuses, requirement_of

ENDED = {"completed", "failed", "timed_out", "skipped", "canceled"}

STATUSES = ["pending", "pending", "started", "completed", "completed", "failed", "skipped", "canceled", "own", "other"]
REQUIRES: list[Requires] = [
    *["success"] * 4,
    "completion",
    "started",
    "own",
    "pending",
    Statuses(["own", "other"], ["failed", "started"]),
    Statuses(["started"], ["pending"]),
    Statuses(["success"]),  # a status that is called like a requirement
]

Row = tuple[str, str, Requirement]
Fields = dict[str, Any]


def random_call(rng: random.Random, units: Sequence[str]) -> tuple[str, Fields]:
    """A call that changes something or is refused: its path, and what goes in, as in JSON."""
    name = rng.choice(["want"] * 4 + ["start"] * 3 + ["end"] * 6 + ["register", "dependencies", "status", "wait"])
    unit, reason, replace = rng.choice(units), rng.choice([None, "a reason"]), rng.random() < 0.2
    fields: Fields
    if name == "register":
        fields = {"units": rng.sample(units, rng.randint(0, 2)) + rng.choices(units, k=rng.randint(0, 1))}
    elif name == "want":
        below = rng.choices(units, k=rng.randint(1, 3))
        if rng.random() < 0.8:  # mostly along one order, so that many are taken
            below = [other for other in below if other > unit] or [f"below {unit}"]
        fields = {"unit": unit, "depends_on": below, "requires": rng.choice(REQUIRES), "replace": replace}
    elif name == "dependencies":
        pairs = [sorted(rng.choices(units, k=2)) for _ in range(rng.randint(0, 3))]
        wishes = [{"unit": one, "depends_on": other, "requires": rng.choice(REQUIRES)} for one, other in pairs]
        fields = {"dependencies": wishes, "replace": replace}
    elif name == "start":
        fields = {"unit": unit, "timeout": 0}
    elif name == "wait":
        fields = {"unit": unit, "status": rng.choice([None, *STATUSES]), "timeout": 0}
    elif name == "status":
        fields = {"unit": unit, "status": rng.choice(STATUSES), "reason": reason}
    else:
        name = rng.choice(["complete"] * 3 + ["fail", "skip", "cancel"])
        fields = {"unit": unit, "reason": reason}
    return f"/v1/{name}", fields


class ServiceModel:
    """A call gives the errors of which the service has to raise one; where it gives none, it is carried out."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.reason: dict[str, str | None] = {}
        self.requires: dict[tuple[str, str], Requirement] = {}  # (unit, depends_on)

    # --- questions ------------------------------------------------------------------------------------------------

    def below(self, unit: str) -> Iterator[tuple[str, Requirement, str]]:
        for (source, target), requires in self.requires.items():
            if source == unit:
                yield target, requires, self.status.get(target, "")

    def state(self, unit: str) -> str:
        below = list(self.below(unit))
        if any(status in requires.impossible for _, requires, status in below):
            return "blocked"
        met = all(status in requires.satisfied for _, requires, status in below)
        return "ready" if met and unit in self.status else "waiting"

    def unmet(self, unit: str) -> list[str]:
        return [target for target, requires, status in self.below(unit) if status not in requires.satisfied]

    def ready(self) -> list[str]:
        return [unit for unit, status in self.status.items() if status == "pending" and self.state(unit) == "ready"]

    def held_up_by(self, unit: str) -> set[str]:
        """The ends of the chains of what is not there yet, below a unit that waits."""
        ends, seen, open_ = set(), {unit}, self.unmet(unit) if self.state(unit) != "ready" else []
        while open_:
            name = open_.pop()
            if name in seen:
                continue
            seen.add(name)
            waits = self.status.get(name) in ("pending", "skipped") and self.state(name) != "ready"
            below = self.unmet(name) if waits else []
            if not below:
                ends.add(name)
            open_.extend(below)
        return ends

    def dead(self, unit: str) -> list[str]:
        """What it depends on that nothing can satisfy any more."""
        return [
            target
            for target, requires, status in self.below(unit)
            if status not in requires.satisfied
            and (status == "" or status in ENDED | requires.impossible or (status == "pending" and self.dead(target)))
        ]

    def stalled(self, unit: str) -> bool:
        return self.status.get(unit, "completed") not in ENDED - {"skipped"} | {"started"} and bool(self.dead(unit))

    def causes(self, failed: Iterable[str]) -> dict[str, tuple[str, str | None]]:
        """The ends of the chains of units that were skipped for the failure of another, with status and reason."""
        ends = {}
        open_ = list(failed)
        while open_:
            unit = open_.pop()
            status, reason = self.status[unit], self.reason[unit]
            below = [target for target, requires, found in self.below(unit) if found in requires.impossible]
            if status == "skipped" and reason is None and below:
                open_.extend(below)
            else:
                ends[unit] = (status, reason)
        return ends

    def impossible(self, unit: str) -> list[tuple[str, str]]:
        return [(target, status) for target, requires, status in self.below(unit) if status in requires.impossible]

    # --- calls ----------------------------------------------------------------------------------------------------

    def call(self, path: str, fields: Fields) -> set[type[Exception]]:
        """What `random_call` gives."""
        name = path.removeprefix("/v1/")
        if name == "register":
            return self.register(fields["units"])
        if name == "want":
            requires = requirement_of(fields["requires"])
            rows = [(fields["unit"], depends_on, requires) for depends_on in fields["depends_on"]]
            return self.want(fields["unit"], rows, fields["replace"])
        if name == "dependencies":
            wishes = fields["dependencies"]
            rows = [(one["unit"], one["depends_on"], requirement_of(one["requires"])) for one in wishes]
            return self.dependencies(rows, fields["replace"])
        if name == "start":
            return self.start(fields["unit"])
        if name == "wait":
            return self.wait(fields["unit"], fields["status"])
        ends = {"complete": "completed", "fail": "failed", "skip": "skipped", "cancel": "canceled"}
        return self.end(fields["unit"], fields.get("status") or ends[name], fields["reason"])

    def copy(self) -> ServiceModel:
        other = ServiceModel()
        other.status, other.reason, other.requires = dict(self.status), dict(self.reason), dict(self.requires)
        return other

    def register(self, units: list[str]) -> set[type[Exception]]:
        if len(set(units)) < len(units) or not self.status.keys().isdisjoint(units):
            return {UnitAlreadyRegisteredError}
        self._change(dict.fromkeys(units, "pending"))
        return set()

    def want(self, unit: str, rows: list[Row], replace: bool) -> set[type[Exception]]:
        if errors := self._refusals(rows, replace) - {UnitNotFoundError}:
            return errors
        if unit not in self.status:
            self._change({unit: "pending"})
        self._change({}, rows)
        return set()

    def dependencies(self, rows: list[Row], replace: bool) -> set[type[Exception]]:
        errors = self._refusals(rows, replace)
        if not errors:
            self._change({}, rows)
        return errors

    def end(self, unit: str, status: str, reason: str | None) -> set[type[Exception]]:
        if unit not in self.status:
            return {UnitNotFoundError}
        if self.status[unit] == status:
            return {SameStatusError}
        self._change({unit: status}, reason=reason)
        return set()

    def start(self, unit: str) -> set[type[Exception]]:
        """Without waiting."""
        if unit not in self.status:
            self._change({unit: "pending"})
        if self.status[unit] == "started":
            return {SameStatusError}
        if errors := self.wait(unit, None):
            return errors
        self._change({unit: "started"})
        return set()

    def wait(self, unit: str, status: str | None) -> set[type[Exception]]:
        """Without waiting."""
        if status is None:
            errors = {"ready": set(), "blocked": {DependencyFailedError}, "waiting": {WaitTimeoutError}}
            return errors[self.state(unit)]
        now = self.status.get(unit, "")
        return set() if now == status else {DependencyFailedError} if now in ENDED else {WaitTimeoutError}

    def _refusals(self, rows: list[Row], replace: bool) -> set[type[Exception]]:
        errors: set[type[Exception]] = {UnitNotFoundError for unit, _, _ in rows if unit not in self.status}
        trial = dict(self.requires)
        for unit, depends_on, requires in rows:
            if _reaches(trial, depends_on, unit):
                errors.add(CycleError)
            elif trial.get((unit, depends_on), requires) is not requires and not replace:
                errors.add(ConflictingRequirementError)
            trial[unit, depends_on] = requires
        return errors

    def _change(self, statuses: dict[str, str], rows: Iterable[Row] = (), reason: str | None = None) -> None:
        """Apply, then skip what was pending and has become blocked by that, and so on."""
        while True:
            before = {unit: self.state(unit) for unit in self.status}
            self.status.update(statuses)
            self.reason.update(dict.fromkeys(statuses, reason))
            self.requires.update({(unit, depends_on): requires for unit, depends_on, requires in rows})
            statuses, rows, reason = (
                {
                    unit: "skipped"
                    for unit, status in self.status.items()
                    if status == "pending" and self.state(unit) == "blocked" != before.get(unit)
                },
                (),
                None,
            )
            if not statuses:
                return


def _reaches(requires: dict[tuple[str, str], Requirement], source: str, target: str) -> bool:
    reached, open_ = {source}, [source]
    while open_:
        unit = open_.pop()
        new = {below for above, below in requires if above == unit} - reached
        reached |= new
        open_.extend(new)
    return target in reached

"""Who starts next: of the units that are ready, by priority, as far as slots and exclusive words allow."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from fastdag.status import Status

if TYPE_CHECKING:
    from fastdag.events import Event
    from fastdag.manager import Manager
    from fastdag.plan.model import PlannedUnit

_Rank = tuple[int, float, int]  # the smallest is first


class Schedule:
    """The units that are ready, in the order in which they start.

    First come those of higher priority; among equals, those with the longest path behind them, by expected time where
    any unit has one and else by number, so that the path on which the whole run waits is not put off; then by their
    place in the plan. One that finds too few slots free lets nobody overtake, or it could wait for ever; one whose
    exclusive word is taken does, as it waits for one unit only. A unit with more slots than there are takes all.

    Parameters
    ----------
    manager : Manager
        That has the units, registered, and hands its events to `hear`.
    units : mapping of str to PlannedUnit
    jobs : int
        Slots.

    Attributes
    ----------
    free : int
        Slots that nobody has.
    """

    def __init__(self, manager: Manager, units: Mapping[str, PlannedUnit], jobs: int) -> None:
        self.free = jobs
        self._jobs = jobs
        self._manager = manager
        self._units = units
        behind = longest_behind(units)
        self._ranks: dict[str, _Rank] = {
            name: (-unit.priority, -behind[name], place) for place, (name, unit) in enumerate(units.items())
        }
        self._ready: list[tuple[_Rank, str]] = []  # a heap; may hold units that are ready no longer, or twice
        self._taken: dict[str, list[tuple[_Rank, str]]] = {}  # exclusive words, and who waits for them, as heaps

    def fill(self) -> None:
        """Look at all units, where no events were heard of them."""
        for name in self._units:
            self._enter(name)

    def hear(self, event: Event) -> None:
        """Take note of a unit that became ready, or was set back."""
        if event.unit in self._units and (event.kind, event.new) in (("state", "ready"), ("status", Status.PENDING)):
            self._enter(event.unit)

    def _enter(self, name: str) -> None:
        if self._is_ready(name):
            heappush(self._ready, (self._ranks[name], name))

    def _is_ready(self, name: str) -> bool:
        _, status, ready = self._manager.unit(name)
        return ready and status == Status.PENDING

    def take(self) -> PlannedUnit | None:
        """Give the next unit that may start now, and its slots and its word to it; None if there is none. O(log n).

        Whoever takes it sets its status to another one before asking again.
        """
        while self._ready:
            _, name = self._ready[0]
            unit = self._units[name]
            if not self._is_ready(name):
                heappop(self._ready)
            elif unit.exclusive is not None and unit.exclusive in self._taken:
                heappush(self._taken[unit.exclusive], heappop(self._ready))
            elif self._slots(unit) > self.free:
                return None
            else:
                heappop(self._ready)
                self.free -= self._slots(unit)
                if unit.exclusive is not None:
                    self._taken[unit.exclusive] = []
                return unit
        return None

    def release(self, unit: PlannedUnit) -> None:
        """Take back the slots and the word of a unit that has ended."""
        self.free += self._slots(unit)
        if unit.exclusive is not None:
            for entry in self._taken.pop(unit.exclusive):
                heappush(self._ready, entry)

    def held_by(self, unit: PlannedUnit) -> str:
        """Say what a unit that is ready waits for."""
        if unit.exclusive is not None and unit.exclusive in self._taken:
            return f"the end of another unit that is exclusive in {unit.exclusive!r}"
        slots = self._slots(unit)
        return f"{'a slot' if slots == 1 else f'{slots} slots'} of {self._jobs}"

    def _slots(self, unit: PlannedUnit) -> int:
        return min(unit.slots, self._jobs)


def longest_behind(units: Mapping[str, PlannedUnit]) -> dict[str, float]:
    """Give how long the longest path takes that begins with each unit. O(n + m).

    In expected seconds where any unit has them; else in units.
    """
    timed = any(unit.expected is not None for unit in units.values())
    own = {name: (unit.expected or 0.0) if timed else 1.0 for name, unit in units.items()}
    dependents = dict.fromkeys(units, 0)
    for unit in units.values():
        for need in unit.needs:
            dependents[need.unit] += 1
    behind = dict(own)
    last = [name for name, count in dependents.items() if not count]
    for name in last:  # which grows on the way
        for other, _ in units[name].needs:
            behind[other] = max(behind[other], own[other] + behind[name])
            dependents[other] -= 1
            if not dependents[other]:
                last.append(other)
    return behind

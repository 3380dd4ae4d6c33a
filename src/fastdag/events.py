"""What happens to units: `Event`, and the numbers that the core writes for it into its log."""

from __future__ import annotations

from typing import Final, NamedTuple

STATES: Final = ("waiting", "ready", "blocked")  # by the core's number for them
WAITING, READY, BLOCKED = range(3)

KINDS: Final = ("registered", "status", "state", "dependency")  # by the core's number for them
REGISTERED, STATUS, STATE, DEPENDENCY = range(4)


class Event(NamedTuple):
    """Something that happened to a unit.

    Attributes
    ----------
    kind : str
        `registered`, `status` (another status), `state` (another state) or `dependency` (another dependency, or
        another requirement for one).
    unit : str
        The unit that it happened to.
    dependency : str or None
        For `dependency` the unit depended on. For `state` the dependency whose change was the reason; `None` for the
        unit's own registration. For the other kinds `None`.
    old, new : str
        Statuses before and after. For `state` the states: `waiting`, `ready` or `blocked`. For `dependency`, `new` is
        the status of the unit depended on, and `old` is empty: there was no such dependency.
    sequence : int
        Grows from event to event of one manager.
    time : float
        When it happened, seconds of the clock that `time.monotonic` reads.
    """

    kind: str
    unit: str
    dependency: str | None
    old: str
    new: str
    sequence: int
    time: float

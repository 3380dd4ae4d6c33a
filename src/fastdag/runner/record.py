"""What is known of each unit of a run, and of all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fastdag.status import Status

SETTLED: Final = (Status.COMPLETED, Status.FAILED, Status.TIMED_OUT, Status.SKIPPED, Status.CANCELED)
FAILURES: Final = frozenset({Status.FAILED, Status.TIMED_OUT})


@dataclass(slots=True)
class Record:
    """A unit of a run.

    Attributes
    ----------
    unit, title : str
    log : str
        The file for its output, which is there once it printed anything.
    status : str
    reason : str or None
        Why it has not completed.
    attempts : int
        How often its command was started.
    seconds : float
        What all attempts took.
    began : float or None
        When the attempt under way was started, by the monotonic clock.
    earlier : bool
        Whether it completed in a run that this one goes on with.
    """

    unit: str
    title: str
    log: str
    status: str = Status.PENDING
    reason: str | None = None
    attempts: int = 0
    seconds: float = 0.0
    began: float | None = None
    earlier: bool = False

    @property
    def settled(self) -> bool:
        """Whether it has ended, or will not begin."""
        return self.status in SETTLED


def counted(records: Iterable[Record]) -> dict[str, int]:
    """Give how many units have each status, those that ended first."""
    count = Counter(record.status for record in records)
    return {status: count[status] for status in (*SETTLED, *sorted(count.keys() - set(SETTLED))) if count[status]}

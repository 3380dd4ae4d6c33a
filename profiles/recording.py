"""What a profile consists of, whichever tools it came from: all that a report is made of."""

from dataclasses import dataclass, field
from typing import Any

from profiles.samples import Samples


@dataclass(frozen=True)
class Allocations:
    """C allocations of the threads of one lap, the interpreter's small objects not counted."""

    edges: int  # added meanwhile
    operations: int
    core: int  # made by the core
    for_core: int  # made by the interpreter while in the core: lists of names that grow, for one
    around: int  # made by the workload's own Python


@dataclass
class Run:
    """One workload with one kind of lock."""

    workload: str
    coarse: bool
    figures: dict[str, Any] = field(default_factory=dict)  # what `profiles.stress --json` wrote
    samples: Samples | None = None
    allocations: Allocations | None = None
    links: dict[str, str] = field(default_factory=dict)  # what is shown: the file, relative to the report

    @property
    def name(self) -> str:
        return f"{self.workload}-{'coarse' if self.coarse else 'fine'}"


@dataclass
class Recording:
    """All that a report is made from."""

    about: dict[str, str]
    runs: list[Run] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)  # what could not be measured, and why

    def run(self, workload: str, coarse: bool) -> Run | None:
        return next((run for run in self.runs if (run.workload, run.coarse) == (workload, coarse)), None)

    def gap(self, text: str) -> None:
        if text not in self.gaps:
            self.gaps.append(text)

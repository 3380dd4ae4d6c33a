"""What a person at a terminal sees of a run: what happened and, below it, what is going on as time goes by."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fastdag.durations import format_duration
from fastdag.runner.progress import Report
from fastdag.runner.record import FAILURES, SETTLED, Record, counted
from fastdag.runner.schedule import longest_behind
from fastdag.status import Status

if TYPE_CHECKING:
    from fastdag.plan.model import PlannedUnit

_SHOWN: Final = 8  # units that run, those that run longest
_COLOURS: Final = {
    Status.COMPLETED: "green",
    Status.STARTED: "cyan",
    "retried": "yellow",
    Status.FAILED: "red",
    Status.TIMED_OUT: "red",
    Status.SKIPPED: "yellow",
    Status.CANCELED: "yellow",
}


class LiveReport(Report):
    """Tells what happens in lines, and shows what runs below them.

    Parameters
    ----------
    records : mapping of str to Record
    units : mapping of str to PlannedUnit
    jobs : int
    """

    def __init__(self, records: Mapping[str, Record], units: Mapping[str, PlannedUnit], jobs: int) -> None:
        super().__init__(records)
        self._estimate = Estimate(records, units, jobs)
        self._console = Console(highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    def begin(self) -> None:
        """Tell that the run begins."""
        super().begin()
        self._draw(self._live.start)
        self.tick()

    def tick(self) -> None:
        """Draw anew what is going on."""
        if self._live.is_started:
            self._draw(lambda: self._live.update(self._picture(), refresh=True))

    def print(self, line: str) -> None:
        """Print a line above what is going on."""
        word = line.partition(" ")[0]
        self._draw(lambda: self._console.print(Text(line, _COLOURS.get(word, ""))))

    def table(self, table: Sequence[Sequence[str]]) -> None:
        """Print rows, the head first."""
        head, *rows = table
        drawn = Table(*head, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for row in rows:
            drawn.add_row(*(Text(cell, _COLOURS.get(cell, "")) for cell in row))
        self._draw(lambda: self._console.print(drawn))

    def close(self) -> None:
        """Let go of the terminal: what is printed from now on stands there as it is."""
        self._draw(self._live.stop)

    def _draw(self, draw: Callable[[], object]) -> None:
        if self.flaw is None:
            try:
                draw()
            except OSError as error:
                self.flaw = error

    def _picture(self) -> Group:
        now = time.monotonic()
        counts = counted(self.records.values())
        done = sum(count for status, count in counts.items() if status in SETTLED)
        bar = Table.grid(padding=(0, 1))
        left = self._estimate.seconds(now)
        took = format_duration(now - self.began)
        bar.add_row(
            ProgressBar(total=len(self.records), completed=done, width=24),
            Text(f"{done:,}/{len(self.records):,}"),
            Text(f"{took}, about {format_duration(left)} left" if left is not None else took, "dim"),
        )
        words = Text(", ").join(
            Text(f"{count:,} {word}", style)
            for count, word, style in [
                (counts.get(Status.STARTED, 0), "running", "cyan"),
                (counts.get(Status.PENDING, 0), "waiting", ""),
                (counts.get(Status.COMPLETED, 0), "done", "green"),
                (sum(counts.get(status, 0) for status in FAILURES), "failed", "red"),
                (counts.get(Status.SKIPPED, 0), "skipped", "yellow"),
                (counts.get(Status.CANCELED, 0), "canceled", "yellow"),
            ]
            if count or word == "running"
        )
        running = [(record.began, record) for record in self.records.values() if record.began is not None]
        running.sort(key=lambda each: each[0])
        lines = [
            Text(f"  {record.title} {format_duration(round(now - began))}", overflow="ellipsis", no_wrap=True)
            for began, record in running[:_SHOWN]
        ]
        if len(running) > _SHOWN:
            lines.append(Text(f"  … {len(running) - _SHOWN:,} more", "dim"))
        return Group(bar, words, *lines)


class Estimate:
    """How long a run will still take, at best.

    That is the longest path that is left, or all the work that is left spread over the slots, whichever takes longer.
    Units are taken for as long as the plan expects; where it expects nothing of any, all for as long as those took on
    average that have ended.
    """

    def __init__(self, records: Mapping[str, Record], units: Mapping[str, PlannedUnit], jobs: int) -> None:
        self._records = records
        self._jobs = jobs
        self._timed = any(unit.expected is not None for unit in units.values())
        self._behind = longest_behind(units)
        self._slots = {name: min(unit.slots, jobs) for name, unit in units.items()}
        self._expected = {name: unit.expected or 0.0 for name, unit in units.items()}

    def seconds(self, now: float) -> float | None:
        """Give the estimate; None while nothing is known. O(units)."""
        average = 1.0
        if not self._timed:
            took = [record.seconds for record in self._records.values() if record.attempts and record.settled]
            if not took:
                return None
            average = sum(took) / len(took)
        work = path = 0.0
        for name, record in self._records.items():
            if record.settled:
                continue
            own = self._expected[name] if self._timed else average
            ran = 0.0 if record.began is None else min(own, now - record.began)
            work += (own - ran) * self._slots[name]
            path = max(path, self._behind[name] * average - ran)
        return max(path, work / self._jobs)

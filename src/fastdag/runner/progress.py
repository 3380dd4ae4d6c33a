"""What a run tells while it runs and at its end: lines, or JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from fastdag.durations import format_duration
from fastdag.plan.problems import printable
from fastdag.runner.logs import Log
from fastdag.runner.record import FAILURES, Record, counted
from fastdag.status import Status

_LAST: Final = 10  # lines of a failed unit's output that are shown
_ROWS: Final = 40  # of the table at the end


class Summary(NamedTuple):
    """The end of a run.

    Attributes
    ----------
    records : mapping of str to Record
    seconds : float
    log_dir : Path
    code : int
        The exit code.
    """

    records: Mapping[str, Record]
    seconds: float
    log_dir: Path
    code: int


class Report:
    """Tells what happens, a line each.

    Parameters
    ----------
    records : mapping of str to Record
    out : file, optional
        Standard output by default. Once it cannot be written, nothing more is; the run goes on.

    Attributes
    ----------
    flaw : OSError or None
        Why it cannot be written.
    began : float
        When the run began, by the monotonic clock.
    """

    def __init__(self, records: Mapping[str, Record], out: TextIO | None = None) -> None:
        self.records = records
        self.flaw: OSError | None = None
        self._out = sys.stdout if out is None else out
        self.began = time.monotonic()

    def begin(self) -> None:
        """Tell that the run begins."""
        if earlier := sum(record.earlier for record in self.records.values()):
            self.print(f"{_count(earlier)} of {len(self.records):,} completed before")

    def survivors(self, names: Sequence[str]) -> None:
        """Tell of processes that outlived the run before."""
        self.print(f"ended what still ran of the run before: {printable(', '.join(names))}")

    def started(self, record: Record) -> None:
        """Tell that a unit was started, for the first time or again."""
        again = f"  (attempt {record.attempts})" if record.attempts > 1 else ""
        self.print(f"{'started':<9}  {_name(record)}{again}")

    def retried(self, record: Record, reason: str, seconds: float) -> None:
        """Tell that an attempt failed and another one follows."""
        self.print(f"{'retried':<9}  {_name(record)}  ({format_duration(seconds)}): {printable(reason)}")
        self.last_lines(record)

    def settled(self, record: Record) -> None:
        """Tell that a unit has ended, or will not begin."""
        took = f"  ({format_duration(record.seconds)})" if record.attempts else ""
        why = f": {printable(record.reason)}" if record.reason else ""
        self.print(f"{record.status:<9}  {_name(record)}{took}{why}")
        if record.status in FAILURES:
            self.last_lines(record)

    def stopping(self, why: str) -> None:
        """Tell that nothing new starts."""
        self.print(f"stopping: {why}")

    def strays(self, names: Sequence[str]) -> None:
        """Tell of processes that had to be ended, and that no unit is known for."""
        self.print(f"left behind, unknown by which unit, and ended: {printable(', '.join(names))}")

    def end(self, summary: Summary) -> None:
        """Tell how the run ended."""
        rows = list(summary.records.values())
        if len(rows) > _ROWS:
            rows = [record for record in rows if record.status != Status.COMPLETED]
        left_out = rows[_ROWS:]
        table = [("UNIT", "STATUS", "TIME", "ATTEMPTS")]
        for record in rows[:_ROWS]:
            took = format_duration(record.seconds) if record.attempts else "earlier" if record.earlier else ""
            table.append((_name(record), record.status, took, str(record.attempts or "")))
        if len(table) > 1:
            self.print("")
            self.table(table)
        if left_out:
            self.print(f"… {_count(len(left_out))} more")
        parts = ", ".join(f"{count:,} {status}" for status, count in counted(summary.records.values()).items())
        self.print(f"\n{_count(len(summary.records))}: {parts}; {format_duration(summary.seconds)}")
        self.print(f"logs: {summary.log_dir}")

    def tick(self) -> None:
        """Show how time goes by, where that can be shown."""

    def close(self) -> None:
        """Let go of the terminal: what is printed from now on stands there as it is."""

    def table(self, table: Sequence[Sequence[str]]) -> None:
        """Print rows, the head first."""
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            self.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def last_lines(self, record: Record) -> None:
        """Show the end of a unit's output."""
        for line in Log(record.log, 0).tail(_LAST):
            self.print(f"  | {line}")

    def print(self, line: str) -> None:
        """Print a line."""
        if self.flaw is None:
            try:
                self._out.write(line + "\n")
                self._out.flush()
            except OSError as error:
                self.flaw = error


class JsonReport(Report):
    """Tells what happens, an object a line, and all of it in the last one."""

    def begin(self) -> None:
        """Tell that the run begins."""
        earlier = sum(record.earlier for record in self.records.values())
        self._say("begin", units=len(self.records), completed_before=earlier)

    def survivors(self, names: Sequence[str]) -> None:
        """Tell of processes that outlived the run before."""
        self._say("survivors", processes=names)

    def started(self, record: Record) -> None:
        """Tell that a unit was started, for the first time or again."""
        self._say("started", unit=record.unit, attempt=record.attempts)

    def retried(self, record: Record, reason: str, seconds: float) -> None:
        """Tell that an attempt failed and another one follows."""
        self._say("retried", unit=record.unit, attempt=record.attempts, reason=reason, seconds=seconds)

    def settled(self, record: Record) -> None:
        """Tell that a unit has ended, or will not begin."""
        last = Log(record.log, 0).tail(_LAST) if record.status in FAILURES else None
        self._say(**_fields(record), **({} if last is None else {"last_lines": last}), event="settled")

    def stopping(self, why: str) -> None:
        """Tell that nothing new starts."""
        self._say("stopping", reason=why)

    def strays(self, names: Sequence[str]) -> None:
        """Tell of processes that had to be ended, and that no unit is known for."""
        self._say("strays", processes=names)

    def end(self, summary: Summary) -> None:
        """Tell how the run ended."""
        self._say(
            "summary",
            units=[_fields(record) for record in summary.records.values()],
            statuses=counted(summary.records.values()),
            seconds=summary.seconds,
            log_dir=str(summary.log_dir),
            exit_code=summary.code,
        )

    def _say(self, event: str, **fields: Any) -> None:
        self.print(json.dumps({"event": event, "time": time.time(), **fields}, ensure_ascii=False))


def _fields(record: Record) -> dict[str, Any]:
    ran = record.attempts > 0
    return {
        "unit": record.unit,
        "status": record.status,
        "reason": record.reason,
        "attempts": record.attempts,
        "seconds": record.seconds if ran else None,
        "log": record.log if ran and os.path.exists(record.log) else None,
    }


def _name(record: Record) -> str:
    return record.unit if record.title == record.unit else f"{record.unit} ({printable(record.title)})"


def _count(number: int) -> str:
    return f"{number:,} unit{'' if number == 1 else 's'}"

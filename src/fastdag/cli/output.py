"""What the commands print: tables as the original aligns them, in colour where a person looks; and JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from fastdag.client.answers import requirement_of
from fastdag.events import Event
from fastdag.status import Requirement
from fastdag.units import shown

DEPENDENCY_COLUMNS = ("depends on", "required status", "current status", "satisfied")
UNIT_COLUMNS = ("unit", "status", "ready")

_COLOURS = {
    "completed": "green",
    "true": "green",
    "started": "cyan",
    "failed": "red",
    "timed_out": "red",
    "skipped": "yellow",
    "canceled": "yellow",
    "not registered": "dim",
}


def print_status(view: Any, output: str, columns: Sequence[str] | None) -> None:
    """Print a unit and what it depends on."""
    if output == "json":
        known = {"unit_name": view["unit"], "status": view["status"], "is_ready": view["ready"]}
        known |= {name: view[name] for name in ("reason", "owner") if view[name] is not None}
        known["dependencies"] = [
            {
                "depends_on": each["depends_on"],
                "required_status": _required(each["requires"]),
                "current_status": each["status"],
                "is_satisfied": each["satisfied"],
            }
            for each in view["dependencies"]
        ]
        _print_json(known)
        return
    lines = [f"Unit: {view['unit']}", f"Status: {shown(view['status'])}", f"Ready: {_word(view['ready'])}"]
    if view["reason"] is not None:
        lines.append(f"Reason: {view['reason']}")
    if view["owner"] is not None:
        lines.append(f"Owner: {view['owner']}")
    print(*lines, "", "Dependencies:", sep="\n")
    if not view["dependencies"]:
        print("No dependencies found")
        return
    rows = [
        (each["depends_on"], _required(each["requires"]), shown(each["status"]), _word(each["satisfied"]))
        for each in view["dependencies"]
    ]
    _print_table(DEPENDENCY_COLUMNS, rows, columns)


def print_units(views: Sequence[Any], output: str, columns: Sequence[str] | None) -> None:
    """Print units, a line each."""
    if output == "json":
        _print_json(
            [{"unit_name": view["unit"], "status": view["status"], "is_ready": view["ready"]} for view in views]
        )
    elif not views:
        print("No units registered")
    else:
        rows = [(view["unit"], shown(view["status"]), _word(view["ready"])) for view in views]
        _print_table(UNIT_COLUMNS, rows, columns)


def print_explanation(view: Any) -> None:
    """Print why a unit waits, and whether it waits in vain."""
    print(view["text"])
    for held in view["units"]:
        if held["reason"] is not None:
            print(f"{held['unit']!r} is {held['status']}: {held['reason']}")
    if view["stalled"]:
        print(f"stalled: nothing that runs or is ready can ever release {view['unit']!r}, as it needs")
        for why in view["because"]:
            print(f"  {requirement_of(why['requires'])} of {why['depends_on']!r}, which is {shown(why['status'])}")


def print_event(event: Event, event_id: str | None, output: str) -> None:
    """Print an event on a line of its own, for whoever reads them one by one."""
    if output == "json":
        fields = {"id": event_id, **event._asdict()}
        del fields["sequence"]
        print(json.dumps(fields, ensure_ascii=False), flush=True)
        return
    moment = time.strftime("%H:%M:%S", time.localtime(event.time)) + f".{int(event.time * 1000) % 1000:03}"
    match event.kind:
        case "status":
            what = f"{shown(event.old)} -> {event.new}"
        case "state":
            what = f"{event.old} -> {event.new}" + (f", by {event.dependency}" if event.dependency else "")
        case "dependency":
            what = f"on {event.dependency}, which is {shown(event.new)}"
        case _:
            what = event.new
    print(f"{moment}  {event.unit}  {event.kind}  {what}", flush=True)


def _required(requires: Any) -> str:
    """Give a requirement in words; that of success as the original has it, by the status that it asks for."""
    requirement = requirement_of(requires)
    return "completed" if requirement is Requirement.SUCCESS else str(requirement)


def _word(value: bool) -> str:
    return "true" if value else "false"


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[str] | None) -> None:
    chosen = [names.index(name) for name in columns or names]
    table = [[names[column].upper() for column in chosen], *([row[column] for column in chosen] for row in rows)]
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ and _print_in_colour(table):
        return
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_in_colour(table: Sequence[Sequence[str]]) -> bool:
    """Print with rich, if it is installed."""
    try:
        from rich.console import Console  # noqa: PLC0415 - for a person at a terminal only
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415
    except ImportError:
        return False
    head, *rows = table
    drawn = Table(*head, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        drawn.add_row(*(Text(cell, _COLOURS.get(cell, "")) for cell in row))
    Console().print(drawn)
    return True

"""What a journal says of the plan that was run with it, so that the run can be gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Final

from fastdag.errors import FastDAGError
from fastdag.plan import PlannedUnit
from fastdag.plan.model import REQUIREMENTS
from fastdag.service.journal import Journal

_NOTE: Final = "run"
_SHOWN: Final = 10  # differences that a message names
_WORDS: Final = {requirement: word for word, requirement in REQUIREMENTS.items()}

_Order = dict[str, dict[str, str]]  # units, what each comes after, and the word for what it requires


class ResumeError(FastDAGError, ValueError):
    """A journal does not go with what is to be run."""


def take_up(journal: Journal, units: Mapping[str, PlannedUnit], resume: bool) -> None:
    """See that a journal is that of these units, or make it so if it is new.

    Raises
    ------
    ResumeError
        If it is another one's, or has a run in it that nobody asked to go on with.
    """
    order = {name: {need.unit: _WORDS[need.requires] for need in unit.needs} for name, unit in units.items()}
    noted = journal.note(_NOTE)
    if noted is None:
        if any(journal.load()):
            raise ResumeError(f"journal {journal.path!r} is that of a service; name another file")
        journal.set_note(_NOTE, json.dumps(order))
        return
    if not resume:
        raise ResumeError(
            f"journal {journal.path!r} has a run in it; pass --resume to go on with that, or name another file"
        )
    differences = list(_differences(json.loads(noted), order))
    if differences:
        more = [f"… {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
        raise ResumeError(
            "\n  ".join(
                [
                    f"the run in journal {journal.path!r} had other units; name another file, or run the same ones:",
                    *differences[:_SHOWN],
                    *more,
                ]
            )
        )


def run_name(journal: Journal) -> str:
    """Give the name that all runs with a journal have, by which the processes of one that was killed are found."""
    found = os.stat(journal.path)
    return f"{found.st_dev:x}-{found.st_ino:x}"


def _differences(before: _Order, now: _Order) -> Iterator[str]:
    for unit in before.keys() - now.keys():
        yield f"unit {unit!r} is gone"
    for unit, after in now.items():
        if unit not in before:
            yield f"unit {unit!r} is new"
            continue
        was = before[unit]
        for other in was.keys() - after.keys():
            yield f"unit {unit!r} is not after {other!r} any more"
        for other, requires in after.items():
            if other not in was:
                yield f"unit {unit!r} is after {other!r} now"
            elif was[other] != requires:
                yield f'unit {unit!r} is after {other!r} with requires = "{requires}" now, "{was[other]}" before'

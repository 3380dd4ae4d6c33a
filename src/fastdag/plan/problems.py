"""What is wrong with a plan, collected until all of it is known."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from fastdag.errors import PlanError
from fastdag.plan.model import Problem

_HINTED = 20  # misspelled names that get a hint: finding what is near takes its time in a large plan
_LISTED = 8
_LENGTH = 256  # of a name, as a service takes it; every run has one
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # and halves of characters, which no terminal takes


class Problems:
    """The problems found so far."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}  # a set that keeps the order
        self._hints = 0

    def __len__(self) -> int:
        return len(self._found)

    def add(self, file: str, line: int, message: str) -> None:
        """Note a problem; the same one again is the same one."""
        self._found[Problem(file, line, printable(message))] = None

    def near(self, name: str, known: Collection[str]) -> str:
        """Give what to say behind a name that is not known: the nearest ones, or all if they are few."""
        self._hints += 1
        if not known or self._hints > _HINTED:
            return ""
        if close := difflib.get_close_matches(name, known, 3):
            return f"; did you mean {_either(close)}?"
        if len(known) <= _LISTED:
            return f"; there {'is' if len(known) == 1 else 'are'} {', '.join(map(repr, known))}"
        return ""

    def check(self) -> None:
        """Go no further if there are problems.

        Raises
        ------
        PlanError
            With all of them, by file and line.
        """
        if self._found:
            raise self.error()

    def error(self) -> PlanError:
        """Make the error that has all problems so far."""
        return PlanError(sorted(self._found, key=lambda problem: problem[:2]))


def printable(text: str) -> str:
    """Write control characters, of which a terminal makes something else, as Python does in a literal."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def name_flaw(name: str) -> str | None:
    """Say what is wrong with the name of a unit, behind `a name`; None if nothing is."""
    if not name:
        return "cannot be empty"
    if _CONTROL.search(name):
        return "cannot hold control characters"
    return f"cannot be longer than {_LENGTH} characters" if len(name) > _LENGTH else None


def _either(names: list[str]) -> str:
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last

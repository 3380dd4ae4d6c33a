"""What a run finds out beside times: bytes per edge, and threads on an interpreter without the lock."""

from dataclasses import dataclass, field

import pytest

from benchmarks.threads import Scaling


@dataclass
class Extras:
    memory: dict[str, float] = field(default_factory=dict)  # bytes per edge of each implementation
    unlocked: list[Scaling] = field(default_factory=list)  # threads without the interpreter lock
    unlocked_note: str = ""  # which interpreter, or why it was not measured


_KEY = pytest.StashKey[Extras]()


def of(config: pytest.Config) -> Extras:
    """Those of this run."""
    return config.stash.setdefault(_KEY, Extras())

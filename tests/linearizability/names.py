"""Names that make calls meet, also where a call takes less than a thread's turn (on builds with the interpreter lock).

Their hash and comparison let go of the interpreter now and then, so that other calls run in the middle of this one.
"""

from __future__ import annotations

import itertools
import random
import time


class Name(str):
    """A name that now and then lets another thread go on while it is being looked up."""

    __slots__ = ()
    turn = itertools.count()
    every = 0  # 0: never

    @classmethod
    def of(cls, rng: random.Random, names: list[str]) -> Name:
        """One of them, each time another object: a dict compares no object with itself."""
        return cls(rng.choice(names))

    def pause(self) -> None:
        every = self.every  # read once: another thread sets it
        if every and next(self.turn) % every == 0:
            time.sleep(0)

    def __hash__(self) -> int:
        self.pause()
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        self.pause()
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

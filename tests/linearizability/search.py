"""The search for an order of overlapping calls that explains what they answered.

It is that of Wing and Gong (1993), which remembers the sets of calls and the states it has been at (Lowe 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Op(NamedTuple):
    """A call and what came of it: `answer`, or the class of the exception and what it says."""

    thread: int
    name: str
    args: tuple[Any, ...]
    start: int
    end: int
    answer: Any

    def __str__(self) -> str:
        return f"{self.start:>12} … {self.end:>12}  thread {self.thread}: {self.name}{self.args} -> {self.answer}"


State = tuple[Any, ...]  # () before the first call
Phase = Any  # how far an operation of several steps has come; None before the first one
Step = tuple[State, Phase, bool]  # the state behind a step, how far the operation has come, whether that is its end
Specification = Callable[[State, Op, Phase], Iterator[Step]]


def linearization(history: list[Op], steps: Specification, until: float = math.inf) -> list[Op] | None:
    """The calls in an order that explains the answers, or None when there is none.

    `steps` gives what one moment of a call may do: most calls have one, documented exceptions several. Calls that have
    not ended at `until` need not have happened: their answers may depend on calls that begin after it.
    """
    ops = sorted(history, key=lambda op: (op.start, op.end))
    ended = sum(1 << i for i, op in enumerate(ops) if op.end <= until)
    seen = set()
    # Depth first; an entry is a position in the search and how it was come to.
    stack: list[tuple[int, State, tuple[tuple[int, Phase], ...], Any]] = [(0, (), (), None)]
    while stack:
        done, state, under_way, path = stack.pop()
        if done & ended == ended:
            order = []
            while path is not None:
                order.append(path[0])
                path = path[1]
            return order[::-1]
        phases = dict(under_way)
        first_end: float = math.inf
        choices = []
        for i, op in enumerate(ops):  # whatever began before the first of those not done yet ended may come next
            if done >> i & 1:
                continue
            if op.start > first_end:
                break
            choices.append(i)
            first_end = min(first_end, op.end)
        for i in reversed(choices):
            op = ops[i]
            for following, phase, ends in steps(state, op, phases.get(i)):
                if ends:
                    position = (done | 1 << i, following, tuple(pair for pair in under_way if pair[0] != i))
                else:
                    position = (done, following, tuple(sorted({**phases, i: phase}.items())))
                if position not in seen:
                    seen.add(position)
                    stack.append((*position, (op, path) if ends else path))
    return None


def explained(history: list[Op], steps: Specification) -> bool:
    """Whether the calls one after the other as they stand explain the answers."""
    state: State = ()
    for op in history:
        phase: Phase = None
        ends = False
        while not ends:
            found = list(steps(state, op, phase))
            if not found:
                return False
            state, phase, ends = found[-1]  # of several the last one is the plainest
    return True

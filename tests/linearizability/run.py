"""Histories recorded and checked one by one, and what came of it."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable

from .recording import record
from .search import Op, Specification, explained, linearization
from .subjects import Subject

PER_SUBJECT = 200  # histories on one object
READS = {
    "has_edge", "edge_label", "successors", "out_edges", "predecessors", "degree", "contains", "has_path", "find_cycle",
    "descendants", "ancestors", "edges", "vertices", "unit", "state", "graph",
}  # fmt: skip


class Run:
    """Histories of one kind, recorded by long-lived threads and checked one by one.

    Attributes
    ----------
    histories, calls : int
        How many were recorded and explained.
    met : int
        Histories in which at least two calls of two threads overlapped in time.
    reordered : int
        Histories that neither the order in which the calls began nor that in which they ended explains: here calls took
        effect in the middle of one another, not only beside one another.
    """

    def __init__(self, subject: Callable[[], Subject], seed: int) -> None:
        self.make = subject
        self.rng = random.Random(seed)
        self.histories = self.calls = self.met = self.reordered = 0
        self.spent = {"recording": 0.0, "checking": 0.0}

    def run(self, count: int) -> None:
        for first in range(0, count, PER_SUBJECT):
            begun = time.monotonic()
            subject = self.make()
            recorded = record(subject, self.rng, min(PER_SUBJECT, count - first))
            recorded_at = time.monotonic()
            for history in recorded:
                self.judge(history, subject.steps)
            self.spent["recording"] += recorded_at - begun
            self.spent["checking"] += time.monotonic() - recorded_at

    def judge(self, history: list[Op], steps: Specification) -> None:
        by_start = sorted(history, key=lambda op: (op.start, op.end))
        self.histories += 1
        self.calls += len(history)
        if any(b.start <= a.end and a.thread != b.thread for a, b in itertools.pairwise(by_start)):
            self.met += 1
            if explained(by_start, steps):
                return
            if explained(sorted(history, key=lambda op: (op.end, op.start)), steps):
                return
            self.reordered += 1
        if linearization(history, steps) is None:
            history = smallest(history, steps)
            first = min(op.start for op in history)
            told = "\n".join(
                str(op._replace(start=op.start - first, end=op.end - first))
                for op in sorted(history, key=lambda op: op.start)
            )
            raise AssertionError(f"no order of these calls explains what they answered (times in ns):\n{told}")

    def __str__(self) -> str:
        return (
            f"{self.histories} histories of {self.calls} calls; calls overlapped in {self.met} of them, and in "
            f"{self.reordered} neither the order of the beginnings nor that of the ends explains the answers"
        )


def smallest(history: list[Op], steps: Specification) -> list[Op]:
    """The shortest beginning of a history that cannot be explained, calls after it left out; then no read too many."""
    end = next(end for end in sorted(op.end for op in history) if linearization(history, steps, end) is None)
    history = [op for op in history if op.start <= end]
    for op in list(history):  # a read that was left out can only make a history easier to explain
        less = [other for other in history if other is not op]
        if op.name in READS and linearization(less, steps, end) is None:
            history = less
    return history

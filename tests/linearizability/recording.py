"""Threads that run random programs on one object, and the histories that come of it.

A thread beside them works on other vertices of the same object without the interpreter, and holds the locks that the
calls need.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .answers import ERRORS, plain, refusal
from .names import Name
from .search import Op
from .subjects import Program, Subject

DEADLINE = 60.0  # seconds until threads that wait for each other count as stuck


@dataclass
class Plan:
    """A history to come: a program for each thread, and what the threads note."""

    names: list[str]  # nobody else's on this object
    programs: list[Program]
    every: int  # which of the looks at a name let another thread go on: `Name.every`
    notes: list[list[tuple[int, int, Any]]]  # of each thread's calls: begin and end in ns, answer or exception


def record(subject: Subject, rng: random.Random, count: int) -> list[list[Op]]:
    """Histories of random programs, one after the other on the same object."""
    plans = draw(subject, rng, count)
    seed = rng.randrange(2**32)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        perform(subject, plans, seed)
    finally:
        Name.every = 0
        sys.setswitchinterval(before)
    return [history(subject, plan) for plan in plans]


def draw(subject: Subject, rng: random.Random, count: int) -> list[Plan]:
    width = rng.randint(2, 4)
    drawn = []
    for number in range(count):
        names = [f"{number}:{letter}" for letter in "abcdef"[: rng.randint(4, 6)]]
        drawn.append((names, [subject.program(rng, names, rng.randint(2, 40 // width)) for _ in range(width)]))
    return [
        Plan(names, programs, rng.choice([0, 1, 2, 3, 5, 7]), [[] for _ in programs]) for names, programs in drawn
    ]


def perform(subject: Subject, plans: list[Plan], seed: int) -> None:
    """Run the programs of one plan after the other, each program in the thread of its number."""
    width = len(plans[0].programs)
    coming = iter(plans)
    current: Plan | None = None

    def next_history() -> None:
        """By one of the threads while all the others wait."""
        nonlocal current
        if current is not None:
            Name.every = 0
            subject.clear(current.names)
        current = next(coming, None)
        if current is not None:
            Name.every = current.every

    barrier = threading.Barrier(width, action=next_history)
    over = threading.Event()
    errors: list[BaseException] = []

    def work(thread: int) -> None:
        clock = time.monotonic_ns
        for plan in plans:
            note = plan.notes[thread].append
            program = plan.programs[thread]
            barrier.wait(DEADLINE)
            for name, args in program:
                start = clock()
                try:
                    answer = subject.call(name, args)
                except ERRORS as error:
                    answer = error
                end = clock()
                note((start, end, answer))
        barrier.wait(DEADLINE)

    def beside() -> None:
        rng = random.Random(seed)
        while not over.is_set():
            subject.beside(rng)
            if rng.random() < 0.5:
                time.sleep(rng.uniform(0, 1e-4))

    def guarded(action: Callable[..., None], *args: Any) -> None:
        try:
            action(*args)
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=guarded, args=(work, i), daemon=True) for i in range(width)]
    other = threading.Thread(target=guarded, args=(beside,), daemon=True)
    for thread in (*threads, other):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    other.join(DEADLINE)
    if errors:
        raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
    assert not other.is_alive(), "the thread beside hangs"


def history(subject: Subject, plan: Plan) -> list[Op]:
    """What the threads have noted, in the words of the specification."""
    ops = []
    for thread, (program, notes) in enumerate(zip(plan.programs, plan.notes, strict=True)):
        for (name, args), (start, end, answer) in zip(program, notes, strict=True):
            said = refusal(name, answer) if isinstance(answer, ERRORS) else subject.spoken(name, answer, plan.names)
            ops.append(Op(thread, name, plain(args), start, end, said))
    return ops

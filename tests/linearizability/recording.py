"""Threads that run random programs on one object, and the histories that come of it.

A thread beside them works on other vertices of the same object without the interpreter, and holds the locks that the
calls need.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import Any

from .answers import ERRORS, plain, refusal
from .names import LETTERS, Name
from .search import Op
from .subjects import Program

DEADLINE = 60.0  # seconds until threads that should long have met still count as stuck


def record(subject: Any, rng: random.Random, count: int) -> list[list[Op]]:
    """Histories of random programs, one after the other on the same object."""
    width = rng.randint(2, 4)
    plans: list[tuple[str, list[Program]]] = []
    for _ in range(count):
        subject.prefix = f"{len(plans)}:"
        letters = LETTERS[: rng.randint(4, 6)]
        programs = [subject.program(rng, letters, rng.randint(2, 40 // width)) for _ in range(width)]
        plans.append((subject.prefix, programs))
    logs: list[list[list[tuple[int, int, Any]]]] = [[[] for _ in range(width)] for _ in plans]
    errors: list[BaseException] = []
    over = threading.Event()
    at = itertools.count()
    begun: list[int] = []
    every = [rng.choice([0, 1, 2, 3, 5, 7]) for _ in plans]

    def next_history() -> None:
        """By one of the threads while all the others wait."""
        if begun:
            subject.prefix = plans[begun[-1]][0]
            Name.every = 0
            subject.clear()
        begun.append(next(at))
        if begun[-1] < count:
            Name.every = every[begun[-1]]

    barrier = threading.Barrier(width, action=next_history)

    def work(thread: int) -> None:
        clock = time.monotonic_ns
        try:
            for (_, programs), log in zip(plans, logs, strict=True):
                note = log[thread].append
                program = programs[thread]
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
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)
            barrier.abort()

    seed = rng.randrange(2**32)

    def beside() -> None:
        mine = random.Random(seed)
        try:
            while not over.is_set():
                subject.beside(mine)
                if mine.random() < 0.5:
                    time.sleep(mine.uniform(0, 1e-4))
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(width)]
    other = threading.Thread(target=beside, daemon=True)
    for thread in (*threads, other):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    other.join(DEADLINE)
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    if errors:
        raise errors[0]
    assert not other.is_alive(), "the thread beside hangs"
    recorded = []
    for (prefix, programs), log in zip(plans, logs, strict=True):
        subject.prefix = prefix
        history = []
        for thread, (program, notes) in enumerate(zip(programs, log, strict=True)):
            for (name, args), (start, end, answer) in zip(program, notes, strict=True):
                said = refusal(name, answer) if isinstance(answer, BaseException) else subject.spoken(name, answer)
                history.append(Op(thread, name, plain(args), start, end, said))
        recorded.append(history)
    return recorded

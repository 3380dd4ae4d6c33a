"""What the tests share: threads that start at once, a forked child, and the proof that nothing changed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastdag import Manager

DEADLINE = 60.0  # seconds until threads that should long have ended count as stuck


def at_once(*functions: Callable[[], object], deadline: float = DEADLINE) -> None:
    """Run each function in a thread of its own, all let go by one barrier; raise what the first of them raised."""
    barrier = threading.Barrier(len(functions))
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            barrier.wait(deadline)
            function()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    end = time.monotonic() + deadline
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
        assert not thread.is_alive(), f"a thread is stuck after {deadline} s"
    if errors:
        raise errors[0]


def in_a_child(body: Callable[[], object]) -> None:
    """Run in a forked child; fail when it raises, hangs or dies."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)  # else a child that hangs would outlive the tests
            body()
            status = 0
        except BaseException:  # noqa: BLE001  # nothing may come back to the tests' own code
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status != -signal.SIGALRM, "the child hangs"
    assert status == 0, f"the child ended with {status}, see its traceback"


def picture(manager: Manager) -> Any:
    """Everything that a manager says about its units."""
    graph = manager.graph
    return (
        [(unit, manager.state(unit.id), set(manager.dependencies(unit.id))) for unit in manager.units()],
        set(graph),
        {(source, target): label for source, target, label in graph.edges()},
    )


@contextmanager
def unchanged(manager: Manager) -> Iterator[None]:
    """Check that the block neither changes anything nor makes anybody hear of something."""
    before = picture(manager)
    heard: list[Any] = []
    with manager.subscribe(heard.append):
        yield
    assert picture(manager) == before
    assert heard == []
    manager._core._check()

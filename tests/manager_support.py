"""What the tests of the manager share: threads that start at once, and the proof that nothing changed."""

from __future__ import annotations

import threading
import time
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

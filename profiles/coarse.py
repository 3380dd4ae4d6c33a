"""One plain lock around everything, for comparison: as a unit manager with a single mutex has it."""

import threading
from collections.abc import Callable
from typing import Any


class Coarse:
    """A graph or manager each of whose methods takes the one lock for as long as it runs.

    Subscribers are called with the lock held, so that a callback may not call the manager. The lock is a plain one: a
    thread that waits for it lets go of the interpreter, as it does for the locks of the core.
    """

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method, lock = getattr(self._inner, name), self._lock

        def locked(*args: Any, **kwargs: Any) -> Any:
            with lock:
                return method(*args, **kwargs)

        setattr(self, name, locked)  # so that the next call finds it at once
        return locked

"""A row of the marks, and what measures one."""

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Settings:
    runs: int
    budget: float  # seconds that a peer gets for one row's workload
    bulk_edges: int
    memory_edges: int
    growth_edges: int


FULL = Settings(runs=5, budget=30.0, bulk_edges=10_000_000, memory_edges=1_000_000, growth_edges=1_000_000)
QUICK = Settings(runs=1, budget=2.0, bulk_edges=1_000_000, memory_edges=1_000_000, growth_edges=100_000)


@dataclass(frozen=True)
class Row:
    """One line of the table; `ours` and `theirs` are in `unit`."""

    name: str
    unit: str
    ours: float
    theirs: float | None
    mark: str
    met: bool | None  # None: nothing is asked
    note: str = ""


Measure = Callable[[Settings], Iterator[Row]]


def timed(action: Callable[[], object]) -> float:
    """Seconds, with the garbage collector off."""
    gc.collect()
    gc.disable()
    try:
        start = perf_counter()
        action()
        return perf_counter() - start
    finally:
        gc.enable()


def command_seconds(*command: str, cwd: str | None = None) -> float:
    """Seconds that a command takes, from its start to its end."""
    environment = os.environ.copy()
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as for a user
    began = perf_counter()
    subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.DEVNULL, env=environment)
    return perf_counter() - began

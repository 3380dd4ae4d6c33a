"""Completions that race edge additions, each unit reported ready once, none lost: `python -m tests.exactly_once`.

Rounds of a few thousand units. Some threads complete dependencies, one by one and many at once, while others add the
dependencies on them, one by one and many at once, so that an edge comes before, while or after what it waits for is
done. Then every unit that depends on anything has gone from ready to waiting and back, or stayed ready: whichever way,
its changes of state alternate, the last one is to ready, and a subscriber and a waiter heard of it.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from manager_support import at_once

from fastdag import Event, Manager

DEPENDENCIES = 500  # of one round
PER = 4  # units that depend on each


def one_round(rng: random.Random, deadline: float, make: Callable[[], Manager] = Manager) -> int:
    """One manager; how many completions there were."""
    manager = make()
    heard: list[Event] = []
    manager.subscribe(heard.append, kinds="state")
    done = [f"d{i}" for i in range(DEPENDENCIES)]
    units = [f"u{i}" for i in range(DEPENDENCIES * PER)]
    manager.register_all([*done, *units])
    edges = [(unit, done[i % DEPENDENCIES]) for i, unit in enumerate(units)]
    edges += [(unit, rng.choice(done)) for unit in units]
    rng.shuffle(edges)
    futures: list[Future[str]] = []
    completions = list(done)
    rng.shuffle(completions)
    half_edges, half_done = len(edges) // 2, len(completions) // 2

    def add_single() -> None:
        for unit, depends_on in edges[:half_edges]:
            manager.add_dependency(unit, depends_on)

    def add_many() -> None:
        for at in range(half_edges, len(edges), 50):
            manager.add_dependencies(edges[at : at + 50])

    def complete_single() -> None:
        for unit in completions[:half_done]:
            manager.update_status(unit, "completed")

    def complete_many() -> None:
        for at in range(half_done, len(completions), 10):
            manager.update_statuses(completions[at : at + 10], "completed")

    def wait() -> None:
        for unit in units[:: len(units) // 50]:
            futures.append(manager.when_ready(unit))

    at_once(add_single, add_many, complete_single, complete_many, wait, deadline=deadline)
    states = dict.fromkeys([*done, *units], "waiting")
    for event in heard:  # alternating: no change of state is told twice, or left out
        assert event.old == states[event.unit] != event.new, event
        states[event.unit] = event.new
    assert set(states.values()) == {"ready"}
    assert all(manager.is_ready(unit) for unit in units)
    assert [event.sequence for event in heard] == sorted({event.sequence for event in heard})
    assert len(futures) >= 50
    assert all(future.result(deadline) for future in futures)
    manager._core._check()
    return len(completions)


def run(count: int, seed: int, deadline: float = 60.0) -> int:
    """At least so many completions; how many there were."""
    rng = random.Random(seed)
    completions = 0
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        while completions < count:
            completions += one_round(rng, deadline)
    finally:
        sys.setswitchinterval(before)
    assert threading.active_count() < 20
    return completions


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exactly_once", description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="completions (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="default: another one every time")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    begun = time.monotonic()
    try:
        completions = run(options.count, seed)
    except BaseException:
        print(f"failed; --seed {seed}", file=sys.stderr)
        raise
    print(f"{completions} completions with seed {seed} in {time.monotonic() - begun:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One benchmark: rounds of the same work, and the share of it for a peer that would take minutes."""

import gc
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, TypeVar

from benchmarks import workloads

LABELS = ("completed", "started", "success", "completion")
LONGEST_CHUNK = 1_000  # items between two looks at the clock

_Item = TypeVar("_Item")


def labelled(workload: workloads.Workload) -> list[tuple[str, str, str]]:
    """The edges, each with one of four labels."""
    return [(source, target, LABELS[i % len(LABELS)]) for i, (source, target) in enumerate(workload.edges)]


def chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """The items in pieces that grow: a slow one is noticed early, and a fast one does not notice the pieces."""
    start, size = 0, 1
    while start < len(items):
        yield items[start : start + size]
        start, size = start + size, min(2 * size, LONGEST_CHUNK)


def feed(pieces: Sequence[Sequence[_Item]], step: Callable[[Sequence[_Item]], object], budget: float) -> int:
    """Hand over piece by piece until `budget` seconds have passed; how many items were done."""
    done = 0
    end = perf_counter() + budget
    for piece in pieces:
        step(piece)
        done += len(piece)
        if perf_counter() > end:
            break
    return done


def measure(
    benchmark: Any,
    items: Sequence[_Item],
    step: Callable[[Any, Sequence[_Item]], object],
    setup: Callable[[], Any],
    *,
    rounds: int,
    budget: float | None = None,
    unit: str = "operation",
) -> Any:
    """Measure `step` over `items` with pytest-benchmark; what the last round worked on.

    Parameters
    ----------
    benchmark : BenchmarkFixture
    items : sequence
        The input; the table shows the time of a round divided by how many of them were done.
    step : callable
        Gets what `setup` made and a piece of `items`.
    setup : callable
        Makes what a round works on; not timed.
    rounds : int
        At most so many.
    budget : float, optional
        Seconds for all rounds. Where one round does not fit, there is one, and it ends when they have passed.
    unit : str
        What an item is.
    """
    pieces = list(chunks(items))
    state: Any = None
    done = len(items)
    limit = float("inf") if budget is None else budget
    gc.collect()
    if budget is not None and benchmark.enabled:
        state = setup()
        start = perf_counter()
        whole = feed(pieces, lambda piece: step(state, piece), budget / 10) == len(items)
        rounds = min(rounds, max(1, int(budget / (perf_counter() - start)))) if whole else 1
        if whole:
            limit = float("inf")

    def prepare() -> None:
        nonlocal state
        state = None  # its predecessor goes before it comes
        state = setup()

    def work() -> None:
        nonlocal done
        done = feed(pieces, lambda piece: step(state, piece), limit)

    benchmark.pedantic(work, setup=prepare, rounds=rounds)
    benchmark.extra_info |= {"done": done, "of": len(items), "unit": unit}
    return state


def measure_whole(benchmark: Any, action: Callable[[], object], items: int, *, rounds: int, unit: str) -> None:
    """Measure `action`, which deals with `items` in one go."""
    gc.collect()
    benchmark.pedantic(action, rounds=rounds)
    benchmark.extra_info |= {"done": items, "of": items, "unit": unit}

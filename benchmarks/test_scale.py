"""Cost by size: the same work on 1,000 to 1,000,000 edges."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import pytest

from benchmarks import workloads
from benchmarks.measure import labelled, measure, measure_whole
from benchmarks.operations import OPERATIONS
from benchmarks.peers import EDGE_BY_EDGE, IMPLEMENTATIONS, Triple

SIZES = (1_000, 10_000, 100_000, 1_000_000)
GRAPHS: dict[str, Callable[[int], workloads.Workload]] = {
    "append": lambda edges: workloads.append(edges // 5),
    "random": lambda edges: workloads.random(edges // 5, edges),
}


def _rounds(size: int) -> int:
    return 3 if size > 100_000 else 7


@lru_cache(1)
def _triples(graph: str, size: int) -> list[Triple]:
    return labelled(GRAPHS[graph](size))


@pytest.mark.parametrize(
    ("graph", "size", "implementation"), [(g, s, i) for g in GRAPHS for s in SIZES for i in EDGE_BY_EDGE]
)
def test_edge_by_edge(
    benchmark: Any, budget: Callable[[str], float | None], graph: str, size: int, implementation: str
) -> None:
    benchmark.group = f"{graph}, {size:,} edges"
    benchmark.extra_info |= {"curve": graph, "size": size}

    def step(peer: Any, edges: Sequence[Triple]) -> None:
        peer.add_edges(edges)

    measure(
        benchmark,
        _triples(graph, size),
        step,
        EDGE_BY_EDGE[implementation],
        rounds=_rounds(size),
        budget=budget(implementation),
        unit="edge",
    )


@pytest.mark.parametrize(
    ("operation", "size", "implementation"),
    [(o, s, i) for s in SIZES[:-1] for o in ("one call", "topological_sort", "copy") for i in IMPLEMENTATIONS],
)
def test_whole_graph(benchmark: Any, operation: str, size: int, implementation: str) -> None:
    benchmark.group = f"{operation}, {size:,} edges"
    benchmark.extra_info |= {"curve": operation, "size": size}
    triples = _triples("random", size)
    peer = IMPLEMENTATIONS[implementation]()
    if operation == "one call":
        measure_whole(
            benchmark, lambda: IMPLEMENTATIONS[implementation]().load(triples), size, rounds=_rounds(size), unit="edge"
        )
        return
    peer.load(triples)
    run = OPERATIONS[implementation][operation]
    measure_whole(benchmark, lambda: run(peer, [()]), size, rounds=_rounds(size), unit="edge")

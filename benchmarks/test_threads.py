"""Several threads on one graph; a peer works behind one `threading.Lock`, without which it would not be safe."""

import threading
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import pytest

from benchmarks import extras, threads, workloads
from benchmarks.operations import OPERATIONS
from benchmarks.peers import EDGE_BY_EDGE, Networkx, Rustworkx
from fastdag import Graph

PEER_ROUNDS = 3


def _locked_mixed(peer: Any, lock: threading.Lock, operations: list[workloads.Operation], end: float) -> threads.Work:
    known = peer.index if isinstance(peer, Rustworkx) else peer.graph
    out_edges, in_edges = OPERATIONS[peer.name]["out_edges"], OPERATIONS[peer.name]["in_edges"]

    def work() -> int:
        for number, operation in enumerate(operations):
            with lock:
                if operation.target is not None:
                    peer.add_edges(((operation.source, operation.target, ""),))
                elif operation.source in known:
                    out_edges(peer, ((operation.source,),))
                    in_edges(peer, ((operation.source,),))
            if perf_counter() > end:
                return number + 1
        return len(operations)

    return work


def _for_peer(name: str, steps: Iterable[workloads.Step]) -> list[workloads.Step]:
    """The steps as a peer can do them: many edges one by one, and without those for which it has nothing."""
    done: list[workloads.Step] = []
    for method, arguments in steps:
        pairs: Any = ()
        if method == "add_edges_from":
            (pairs,) = arguments
        elif method == "add_edges":
            sources, targets = arguments
            pairs = [(f"vertex-{a}", f"vertex-{b}") for a, b in zip(sources, targets, strict=True)]  # type: ignore[call-overload]
        if pairs:
            done += [("add_edge", (source, target, None)) for source, target in pairs]
        elif method in OPERATIONS[name]:
            done.append((method, arguments))
    return done


def _locked_mutate(
    peer: Rustworkx | Networkx, lock: threading.Lock, steps: list[workloads.Step], end: float
) -> threads.Work:
    calls = [(OPERATIONS[peer.name][method], (arguments,)) for method, arguments in steps]

    def work() -> int:
        for number, (call, batch) in enumerate(calls):
            with lock:
                try:  # noqa: SIM105 - as in benchmarks.threads
                    call(peer, batch)
                except peer.errors:  # refused, or not there: part of the workload
                    pass
            if perf_counter() > end:
                return number + 1
        return len(calls)

    return work


@pytest.mark.parametrize(
    ("workload", "count", "implementation"),
    [(w, n, i) for w in threads.PLANS for n in threads.COUNTS for i in EDGE_BY_EDGE],
)
def test_threads(
    benchmark: Any, budget: Callable[[str], float | None], workload: str, count: int, implementation: str
) -> None:
    benchmark.group = f"{workload}, {count} thread{'s' if count > 1 else ''}"
    work: list[threads.Work] = []
    graphs: list[Graph[str]] = []
    done: list[int] = []
    limit = budget(implementation)
    planned: Any = threads.PLANS[workload](count)
    if limit is not None and workload == "mutate":
        planned = [_for_peer(implementation, steps) for steps in planned]

    def setup() -> None:
        if limit is None:
            graph: Graph[str] = Graph()
            graphs.append(graph)
            work[:] = [threads.WORKS[workload](graph, part) for part in planned]
            return
        peer: Any = EDGE_BY_EDGE[implementation]()
        lock = threading.Lock()
        end = perf_counter() + limit / PEER_ROUNDS
        if workload == "mixed":
            work[:] = [_locked_mixed(peer, lock, operations, end) for operations in planned]
        else:
            work[:] = [_locked_mutate(peer, lock, steps, end) for steps in planned]

    def round_() -> None:
        done.append(threads.run(work))

    benchmark.pedantic(round_, setup=setup, rounds=threads.ROUNDS if limit is None else PEER_ROUNDS)
    benchmark.extra_info |= {
        "done": min(done),
        "done_by_round": done,
        "of": sum(map(len, planned)),
        "unit": "operation",
        "curve": workload,
        "threads": count,
    }
    if benchmark.enabled and limit is None:
        seconds = sum(benchmark.stats.stats.data)
        waiting = sum(threads.waited(graph.lock_stats()) for graph in graphs)
        benchmark.extra_info["waiting"] = waiting / (count * seconds)


def test_without_interpreter_lock(pytestconfig: pytest.Config) -> None:
    found = extras.of(pytestconfig)
    try:
        python, found.unlocked = threads.without_interpreter_lock()
        found.unlocked_note = f"CPython {python} without the interpreter lock"
    except threads.ThreadsError as error:  # said in the table
        found.unlocked_note = str(error)

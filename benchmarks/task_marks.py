"""The mark for `fastdag.run`: what it adds to a task, beside a loop over graphlib with the same executor."""

import graphlib
import statistics
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from benchmarks import workloads
from benchmarks.rows import Measure, Row, Settings, timed
from fastdag import Graph, run

VERTICES = 100_000


def _nothing(_: str) -> None:
    pass


def _by_graphlib(graph: Graph[str], executor: ThreadPoolExecutor) -> None:
    """Run what is ready, as the documentation of graphlib does."""
    sorter = graphlib.TopologicalSorter({vertex: graph.successors(vertex) for vertex in graph})
    sorter.prepare()
    done: SimpleQueue[Future[None]] = SimpleQueue()
    out = {}
    while sorter.is_active():
        for vertex in sorter.get_ready():
            future = executor.submit(_nothing, vertex)
            out[future] = vertex
            future.add_done_callback(done.put)
        future = done.get()
        future.result()
        sorter.done(out.pop(future))


def _run(settings: Settings) -> Iterator[Row]:
    workload = workloads.random(VERTICES, 2 * VERTICES)
    graph: Graph[str] = Graph()
    graph.add_edges_from(workload.edges)
    ours, theirs = [], []
    with ThreadPoolExecutor(2) as executor:
        for _ in range(settings.runs):
            ours.append(timed(lambda: run(_nothing, graph, executor).raise_for_failures()))
            theirs.append(timed(lambda: _by_graphlib(graph, executor)))
    our, their = (statistics.median(times) / len(graph) * 1e6 for times in (ours, theirs))
    note = f"{len(graph):,} tasks that do nothing, two threads; peer: graphlib with the same executor"
    yield Row("run: a task", "µs/vertex", our, their, "under 30 µs", our < 30, note)


ROWS: dict[str, Measure] = {"run": _run}

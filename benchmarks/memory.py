"""Bytes per edge of a graph with names and labels, each implementation measured in a process of its own."""

import ctypes
import gc
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import igraph

from benchmarks import workloads
from benchmarks.measure import LABELS
from benchmarks.peers import IMPLEMENTATIONS, Fastdag, Igraph, Networkx

EDGES = 1_000_000


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def _measure(implementation: str, m: int) -> float:
    """Growth of the resident set by a graph of `m` edges on `m / 5` vertices, added in pieces of 1,000.

    The input is two integer arrays and the list of names, made without garbage and alive to the end; what the
    allocator holds free is given back before, so that the graph cannot grow into it unseen. The peers add without
    their search for a cycle, which takes its time but leaves nothing behind.
    """
    n = m // 5
    names = [f"vertex-{i}" for i in range(n)]
    sources, targets = workloads.buffers(n, m)
    label = LABELS.__getitem__
    peer = IMPLEMENTATIONS[implementation]()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _resident()
    if isinstance(peer, Igraph):
        peer.names = names
        peer.index = {name: i for i, name in enumerate(names)}
        peer.graph = igraph.Graph(n=n, edges=zip(sources, targets, strict=True), directed=True)
        peer.graph.es["label"] = [label(k % len(LABELS)) for k in range(m)]
    elif isinstance(peer, Fastdag):
        for k in range(m):
            peer.graph.add_edge(names[sources[k]], names[targets[k]], label(k % len(LABELS)))
    elif isinstance(peer, Networkx):
        for k in range(m):
            peer.graph.add_edge(names[sources[k]], names[targets[k]], label=label(k % len(LABELS)))
    else:
        peer.graph.check_cycle = False
        for k in range(m):
            peer.add_edges([(names[sources[k]], names[targets[k]], label(k % len(LABELS)))])
    gc.collect()
    return (_resident() - before) / peer.number_of_edges()


def bytes_per_edge(implementation: str, edges: int = EDGES) -> float:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure, implementation, edges).result()

"""What the tests of `fastdag.run` share: a record of beginnings and ends that other processes can write, too."""

from __future__ import annotations

import os
import time
from collections import Counter

import fastdag


def graph_of(edges, vertices=()):
    graph = fastdag.Graph()
    for vertex in vertices:
        graph.add_vertex(vertex)
    graph.add_edges_from(edges)
    return graph


def append(path, line):
    """One write to the end of a file, which nobody's other write can come into the middle of."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def recorded(path, seconds=None):
    """A task that writes when it begins and ends, and sleeps in between if a dict says so; it holds nothing else."""

    def task(vertex):
        append(path, f"begin {vertex}")
        if seconds is not None:
            time.sleep(seconds[vertex])
        append(path, f"end {vertex}")
        return vertex

    return task



def check_order(path, workflow):
    """Every task once, and none before all of its parents had ended."""
    lines = [line.split(" ", 1) for line in path.read_text().splitlines()]
    assert Counter(vertex for kind, vertex in lines if kind == "begin") == Counter(workflow.vertices)
    parents = {vertex: set() for vertex in workflow.vertices}
    for vertex, parent in workflow.edges:
        parents[vertex].add(parent)
    ended = set()
    for kind, vertex in lines:
        if kind == "end":
            ended.add(vertex)
        else:
            assert parents[vertex] <= ended, f"{vertex} began before {parents[vertex] - ended}"
    assert len(ended) == len(workflow.vertices)

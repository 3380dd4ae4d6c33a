"""One edge of a graph, as the lists of edges hold it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Edge(NamedTuple):
    """An edge `source → target` (source depends on target) and its label, `None` where it has none."""

    source: Any
    target: Any
    label: Any = None

"""Graphs in other forms: Graphviz's DOT, Mermaid, networkx."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastdag._core import Graph


def _quoted(text: object) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    return f'"{escaped}"'


def _attributes(attributes: Mapping[str, object]) -> str:
    listed = ", ".join(f"{key}={_quoted(value)}" for key, value in attributes.items() if value is not None)
    return f" [{listed}]" if listed else ""


def to_dot(
    name: str,
    vertices: Iterable[tuple[Hashable, Mapping[str, object]]],
    edges: Iterable[tuple[Hashable, Hashable, Mapping[str, object]]],
) -> str:
    """Write a directed graph in Graphviz's DOT language.

    Parameters
    ----------
    name : str
        Name of the graph.
    vertices : iterable of (vertex, attributes)
        Attributes that are None are left out.
    edges : iterable of (source, target, attributes)

    Returns
    -------
    str
        Ends with a line feed. Two vertices that print alike stay two: the later one's id gets a number.
    """
    ids: dict[Hashable, str] = {}
    taken: set[str] = set()
    lines = [f"digraph {_quoted(name)} {{"]
    for vertex, attributes in vertices:
        shown = str(vertex)
        unique, number = shown, 1
        while unique in taken:
            number += 1
            unique = f"{shown} #{number}"
        taken.add(unique)
        ids[vertex] = _quoted(unique)
        lines.append(f"  {ids[vertex]}{_attributes(attributes)};")
    lines.extend(f"  {ids[source]} -> {ids[target]}{_attributes(attributes)};" for source, target, attributes in edges)
    lines.append("}")
    return "\n".join(lines) + "\n"


def to_mermaid(vertices: Iterable[tuple[Hashable, str]], edges: Iterable[tuple[Hashable, Hashable, str]]) -> str:
    """Write a directed graph as a flowchart in Mermaid's language.

    Parameters
    ----------
    vertices : iterable of (vertex, text)
    edges : iterable of (source, target, text)

    Returns
    -------
    str
        Ends with a line feed.
    """
    ids: dict[Hashable, str] = {}
    lines = ["flowchart LR"]
    for vertex, text in vertices:
        ids[vertex] = f"v{len(ids)}"
        lines.append(f"  {ids[vertex]}[{_mermaid_text(text)}]")
    lines.extend(f"  {ids[source]} -->|{_mermaid_text(text)}| {ids[target]}" for source, target, text in edges)
    return "\n".join(lines) + "\n"


_MERMAID = str.maketrans({'"': "#quot;", "#": "#35;", "<": "#lt;", ">": "#gt;", "\n": "<br>", "\r": " "})


def _mermaid_text(text: str) -> str:
    return '"' + text.translate(_MERMAID) + '"'


def graph_to_dot(graph: Graph[Any], name: str) -> str:
    """Write a `Graph` in DOT, from one moment; labels become edge labels."""
    still = graph.copy()
    return to_dot(
        name,
        ((vertex, {}) for vertex in still),
        ((edge.source, edge.target, {"label": edge.label}) for edge in still.edges()),
    )


def to_networkx(graph: Graph[Any]) -> Any:
    """Make a `networkx.DiGraph` of a `Graph`; labels become the edge attribute `label`."""
    import networkx as nx  # noqa: PLC0415 - needed here only, and perhaps not installed

    still = graph.copy()
    answer: Any = nx.DiGraph()
    answer.add_nodes_from(still)
    for source, target, label in still.edges():
        answer.add_edge(source, target, **({} if label is None else {"label": label}))
    return answer


def from_networkx(cls: type[Graph[Any]], graph: Any) -> Graph[Any]:
    """Make a `Graph` of a `networkx.DiGraph`."""
    if not graph.is_directed() or graph.is_multigraph():
        raise TypeError(f"from_networkx takes a networkx.DiGraph, not {type(graph).__name__}; convert it to one first")
    answer = cls()
    for vertex in graph:
        answer.add_vertex(vertex)
    answer.add_edges_from((source, target, data.get("label")) for source, target, data in graph.edges(data=True))
    return answer

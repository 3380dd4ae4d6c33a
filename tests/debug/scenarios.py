"""What failing allocations are tried on: subjects, every operation of theirs, and what there is to see of them."""

from __future__ import annotations

import copy
import pickle
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

from fastdag import CycleError, Graph, Manager, Requirement, Status
from fastdag._core import StatusGraph
from fastdag.graphlib import CycleError as SorterCycleError
from fastdag.graphlib import TopologicalSorter
from fastdag.subscribers import Subscription


class Case(NamedTuple):
    name: str
    made: Callable[[], Any]
    state: Callable[[Any], Any]
    told: Callable[[Any], Any]  # what was told of changes; asked for once, before the state, as it may make one more
    operation: Callable[[Any], Any]
    stands: bool  # whether a change may stand although memory runs out behind it


# --- subjects ---------------------------------------------------------------------------------------------------------


def wide():
    """Lists in the record, in pooled blocks and on the heap; ids used before; labels; 64 records, all in use."""
    graph = Graph()
    for i in range(40):
        graph.add_edge("hub", f"leaf {i}", i % 3)
    graph.add_edges_from([(f"leaf {i}", f"leaf {i + 1}") for i in range(20)])
    graph.remove_vertex("leaf 30")
    graph.remove_vertex("leaf 31")
    while len(graph) < 64:
        graph.add_vertex(f"lone {len(graph)}")
    return graph


def against():
    """A chain of which every edge added from its end to its start goes against the order."""
    graph = Graph()
    for i in range(70):
        graph.add_edge(f"a{i}", f"a{i + 1}")
        graph.add_edge(f"b{i}", f"b{i + 1}")
    return graph


def few():
    graph = Graph()
    graph.add_edges_from([("a", "b", "label"), ("a", "c"), ("b", 'c"')])
    return graph


def many():
    """Indices and counts above 256: the interpreter asks for memory for such an integer."""
    return Graph.from_edges(array("i", range(298)), array("i", range(1, 299)), 300)


def with_statuses():
    graph = StatusGraph()
    graph.define_requirement("needs", 0b10, 0b100)
    graph.define_requirement("needs more", 0b100, 0b10)
    for i in range(20):
        graph.register(f"unit {i}", 0)
    for i in range(1, 20):
        graph.add_dependency("unit 0", f"unit {i}", "needs")
        graph.add_dependency(f"unit {i}", "last", "needs")
    return graph


def logged():
    graph = with_statuses()
    graph.log_all(True)
    for i in range(6):  # the ring holds 256 entries: the next change makes it grow
        for unit in range(1, 20):
            graph.set_status(f"unit {unit}", i % 2 + 1)
            graph.set_status(f"unit {unit}", 0)
    graph.set_status("unit 1", 1)
    graph.set_status("unit 1", 0)
    graph.take_events(1000)
    for _ in range(2):
        for unit in range(2, 20):
            for status in (3, 4, 5, 0):
                graph.set_status(f"unit {unit}", status)
    graph.take_events(256 % 7)
    return graph


def manager(**options):
    made = Manager(**options)
    made.register_all([f"unit {i}" for i in range(20)])
    for i in range(1, 20):
        made.add_dependency("unit 0", f"unit {i}")
        made.add_dependency(f"unit {i}", "last", Requirement.COMPLETION)
    made.register("free")
    return made


def few_units():
    made = Manager()
    made.register_all(["a", "b", "c"])
    made.add_dependencies([("a", "b"), ("b", "c"), ("c", "d", "up")])
    return made


def watched():
    """A manager with a subscriber to all, one to a unit, and waiters: the log is on."""
    reported = []
    made = manager(on_error=lambda error, event, callback: reported.append((error, event, callback)))
    made.reported, made.heard, made.heard_of_one = reported, [], []
    made.subscriptions = [made.subscribe(made.heard.append), made.subscribe(made.heard_of_one.append, unit="unit 3")]
    made.futures = [made.when_ready("unit 0"), made.when("last", Status.COMPLETED), made.when("unit 3", "completed")]
    made.register("last")
    return made


def skipping():
    made = Manager(auto_skip=True)
    made.register_all([f"unit {i}" for i in range(6)])
    for i in range(5):
        made.add_dependency(f"unit {i}", f"unit {i + 1}")
    made.register("failed")
    made.update_status("failed", Status.FAILED)
    made.add_dependency("unit 5", "late", Requirement("started", impossible=["pending"]))
    return made


READY = [f"node {i}" for i in range(40)]


def sorter():
    return TopologicalSorter({f"node {i}": [f"node {j}" for j in range(i + 1, i + 5)] for i in range(0, 40, 2)})


def cyclic():
    made = sorter()
    made.add("node 39", "node 0")
    return made


def prepared():
    made = sorter()
    made.prepare()
    made.done(*made.get_ready())
    return made


def handed_out():
    """More nodes than one call looks up without asking for memory are out."""
    made = TopologicalSorter({"last": READY})
    made.prepare()
    made.get_ready()
    return made


# --- what there is to see ---------------------------------------------------------------------------------------------


def graph_state(graph):
    return (
        list(graph), len(graph), graph.number_of_edges(), sorted(map(repr, graph.edges())),
        [graph.index(vertex) for vertex in graph], {v: set(map(repr, graph.in_edges(v))) for v in graph},
    )


def sizes(graph):
    return len(graph), graph.number_of_edges(), graph.out_degree(299)


def status_state(graph):
    return (
        list(graph), graph.registered(), [(graph.status(v), graph.state(v), graph.snapshot(v)[:2]) for v in graph],
        {v: sorted(map(repr, graph.dependencies(v))) for v in graph}, {v: len(graph.dependents(v)) for v in graph},
        graph.has_events(),
    )


def manager_state(made):
    return (
        made.units(), [made.state(u.id) for u in made.units()], sorted(made._core),
        [made.dependencies(u.id) for u in made.units()], [len(made.dependents(u.id)) for u in made.units()],
        len(made._delivery._subscriptions), {i: len(there) for i, there in made._delivery._routes.items()},
        {i: len(there) for i, there in made._waiters.dispatch.waiting.items()},
    )


def statuses(made):
    return {unit.id: unit.status for unit in made.units()}


def sorter_state(made):
    return made.__reduce__()[2]


def core_of(subject):
    return subject._core if isinstance(subject, Manager) else subject


def nothing(subject):
    """Nobody is told anything."""


def events_of_graph(graph):
    return [event[:5] for event in graph.take_events(10_000)]


def events_of_manager(made):
    """What subscribers and waiters have heard once a change more has been made."""
    made.register("the last change")
    for error, event, callback in made.reported:  # memory ran out in a callback: that call is over
        assert isinstance(error, MemoryError)
        heard = callback.__self__
        heard.append(event)
        heard.sort(key=lambda event: event.sequence)
    sequences = [event.sequence for event in made.heard]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    return (
        [event[:5] for event in made.heard], [event[:5] for event in made.heard_of_one],
        [(future.done(), str(future.exception(0)) if future.done() else None) for future in made.futures],
    )


def cancelled(made):
    """What there is once all have been cancelled, again where they were."""
    for each in (*made.subscriptions, *made.futures):
        each.cancel()
    assert all(future.cancelled() for future in made.futures)
    assert not any(subscription.active for subscription in made.subscriptions)


# --- operations -------------------------------------------------------------------------------------------------------


def shown(answer):
    """An answer as something to compare."""
    if isinstance(answer, StatusGraph):
        return status_state(answer)
    if isinstance(answer, Graph):
        return graph_state(answer)
    if isinstance(answer, Manager):
        return manager_state(answer)
    if isinstance(answer, TopologicalSorter):
        return sorter_state(answer)
    if isinstance(answer, Future | Subscription):
        return type(answer)
    return answer


def refused(call, error=CycleError):
    """The operation, which is refused unless memory fails before."""

    def run(subject):
        try:
            call(subject)
        except error:
            return

    return run


# Made beforehand, as CPython loses a reference where there is no memory for an array.
HUBS, LONE = memoryview(array("i", [0, 0])), memoryview(array("q", [50, 51]))
SOURCES, TARGETS = memoryview(array("i", [55] * 30)), memoryview(array("i", range(1, 31)))
BACK = memoryview(array("i", [3]))


def weight(edge):
    return 2


EDGES_FEW = [("new", "hub", 1), ("lone 60", "new", 2), ("hub", "leaf 1", 9)]
EDGES_MANY = [(f"new {i}", "hub", 1) for i in range(30)] + [("hub", "leaf 1", 9), ("hub", "leaf 1", 8)]
EDGES_REFUSED = [*[(f"new {i}", "hub") for i in range(30)], ("leaf 20", "new 1")]

GRAPH = {
    "add_vertex": lambda g: g.add_vertex("new"),
    "add_vertex unhashable": refused(lambda g: g.add_vertex([]), TypeError),
    "add_edge of new vertices": lambda g: g.add_edge("new", "newer", "label"),
    "add_edge": lambda g: g.add_edge("hub", "lone 60", "label"),
    "add_edge with a new label": lambda g: g.add_edge("new", "newer", 7),
    "add_edge into": lambda g: g.add_edge("lone 60", "leaf 5"),
    "add_edge again": lambda g: g.add_edge("hub", "leaf 1", "another"),
    "add_edge against": lambda g: g.add_edge("leaf 15", "lone 61"),
    "add_edge refused": refused(lambda g: g.add_edge("leaf 20", "hub")),
    "add_edge to itself": refused(lambda g: g.add_edge("new", "new")),
    "remove_edge": lambda g: g.remove_edge("hub", "leaf 1"),
    "remove_vertex": lambda g: g.remove_vertex("leaf 2"),
    "remove_vertex hub": lambda g: g.remove_vertex("hub"),
    "has_path": lambda g: g.has_path("hub", "leaf 20"),
    "has_edge": lambda g: g.has_edge("hub", "leaf 20"),
    "find_cycle": lambda g: g.find_cycle("leaf 20", "hub"),
    "edge_label": lambda g: g.edge_label("hub", "leaf 2"),
    "ancestors": lambda g: g.ancestors("leaf 20"),
    "descendants": lambda g: g.descendants("hub"),
    "successors": lambda g: g.successors("hub"),
    "predecessors": lambda g: g.predecessors("leaf 3"),
    "in_edges": lambda g: g.in_edges("leaf 3"),
    "out_edges": lambda g: g.out_edges("hub"),
    "degrees": lambda g: (g.degree("hub"), g.in_degree("hub"), g.out_degree("hub")),
    "index": lambda g: g.vertex_at(g.index("hub")),
    "in, len": lambda g: ("hub" in g, "nowhere" in g, len(g), bool(g), g.number_of_edges()),
    "iteration": list,
    "repr": repr,
    "lock_stats": lambda g: g.lock_stats(),
    "topological_sort": lambda g: g.topological_sort(),
    "topological_generations": lambda g: g.topological_generations(),
    "longest_path": lambda g: g.longest_path(),
    "longest_path weighed": lambda g: g.longest_path(weight),
    "transitive_reduction": lambda g: g.transitive_reduction(),
    "copy": copy.copy,
    "pickle": lambda g: pickle.loads(pickle.dumps(g)),
    "edges": lambda g: g.edges(),
    "to_csr": lambda g: g.to_csr(),
    "from_edges": lambda g: Graph.from_edges(TARGETS, SOURCES, 200),
    "a new graph": lambda g: Graph(),
    "add_edges_from few": lambda g: g.add_edges_from(EDGES_FEW),
    "add_edges_from many": lambda g: g.add_edges_from(EDGES_MANY),
    "add_edges_from refused": refused(lambda g: g.add_edges_from([("new", "hub"), ("leaf 20", "new")])),
    "add_edges_from refused, many": refused(lambda g: g.add_edges_from(EDGES_REFUSED)),
    "add_edges": lambda g: g.add_edges(HUBS, LONE, ["x", "y"]),
    "add_edges many": lambda g: g.add_edges(SOURCES[:20], TARGETS[:20]),
    "add_edges refused": refused(lambda g: g.add_edges(BACK, HUBS[:1])),
}

FEW = {"to_dot": lambda g: g.to_dot()}

OUT = [(299, i) for i in range(290)]
LAST, FIRST = memoryview(array("i", [299] * 290)), memoryview(array("i", range(290)))

INTEGERS = {
    "add_vertex": lambda g: g.add_vertex("new"),
    "index": lambda g: (g.index(299), g.number_of_edges(), len(g)),
    "degree": lambda g: g.degree(299),
    "add_edges_from": lambda g: g.add_edges_from(OUT),
    "add_edges": lambda g: g.add_edges(LAST, FIRST),
}

STATUS = {
    "define_requirement": lambda g: g.define_requirement("another", 1, 2),
    "register": lambda g: g.register("new", 0),
    "register what is depended on": lambda g: g.register("last", 1),
    "register_all": lambda g: g.register_all(["new", "last", "newer"], 0),
    "set_status": lambda g: g.set_status("unit 3", 1),
    "set_statuses": lambda g: g.set_statuses(["unit 3", "unit 4", "unit 3"], 1),
    "add_dependency": lambda g: g.add_dependency("unit 3", "unit 4", "needs"),
    "add_dependency of a new vertex": lambda g: g.add_dependency("unit 0", "new", "needs"),
    "add_dependency refused": refused(lambda g: g.add_dependency("unit 3", "unit 0", "needs")),
    "add_dependencies": lambda g: g.add_dependencies(
        [("unit 3", "unit 4", "needs"), ("unit 0", "new", "needs")]
    ),
    "add_dependencies refused": refused(
        lambda g: g.add_dependencies([("unit 3", "new", "needs"), ("unit 4", "unit 0", "needs")])
    ),
    "dependencies": lambda g: g.dependencies("unit 0"),
    "dependents": lambda g: g.dependents("last"),
    "status": lambda g: (g.status("unit 3"), g.state("unit 3"), g.snapshot("unit 3")[:2]),
    "registered": lambda g: g.registered(),
    "log_all": lambda g: g.log_all(True),
    "watch": lambda g: g.watch(g.index("unit 3"))[:2],
    "unwatch": lambda g: g.unwatch(g.index("unit 3")),
    "take_events": lambda g: len(g.take_events(3)),
    "has_events": lambda g: g.has_events(),
    "number": lambda g: g.number({}, {}, ["pending"], 64),
    "lock_stats": lambda g: g.lock_stats(),
    "copy": copy.copy,
    "a new graph": lambda g: StatusGraph(),
}

REPLACED = [("unit 0", f"unit {i}", "needs more") for i in range(1, 20)]

FLIPS = {
    "set_status": lambda g: g.set_status("unit 3", 2, flips=[]),
    "set_statuses": lambda g: g.set_statuses(["unit 3", "unit 4"], 2, []),
    "add_dependency": lambda g: g.add_dependency("unit 3", "unit 4", "needs", flips=[]),
    "add_dependencies": lambda g: g.add_dependencies([("unit 3", "unit 4", "needs")], flips=[]),
    "add_dependencies replacing": lambda g: g.add_dependencies(REPLACED, replace=True, flips=[]),
}

IGNORE = {}.get  # what a subscriber does that takes no memory

UNITS = [f"unit {i}" for i in range(1, 20)]

MANAGER = {
    "register": lambda m: m.register("new"),
    "register_all": lambda m: m.register_all(["new", "newer"]),
    "register again": refused(lambda m: m.register("unit 3"), ValueError),
    "add_dependency": lambda m: m.add_dependency("unit 3", "unit 4"),
    "add_dependency of a new unit": lambda m: m.add_dependency("unit 3", "new"),
    "add_dependency refused": refused(lambda m: m.add_dependency("unit 3", "unit 0")),
    "add_dependency with a new requirement": lambda m: m.add_dependency("unit 3", "unit 4", "up"),
    "add_dependency replaced": lambda m: m.add_dependency("unit 0", "unit 4", "up", replace=True),
    "add_dependency in conflict": refused(lambda m: m.add_dependency("unit 0", "unit 4", "up"), ValueError),
    "add_dependencies": lambda m: m.add_dependencies([("unit 3", "new"), ("unit 5", "unit 6", Requirement.STARTED)]),
    "add_dependencies refused": refused(lambda m: m.add_dependencies([("unit 3", "new"), ("unit 5", "unit 0")])),
    "update_status": lambda m: m.update_status("unit 3", Status.COMPLETED),
    "update_status to a new one": lambda m: m.update_status("unit 3", "warming up"),
    "update_status to the same": refused(lambda m: m.update_status("unit 3", Status.PENDING), ValueError),
    "update_status blocks": lambda m: m.update_status("unit 3", Status.FAILED),
    "update_statuses": lambda m: m.update_statuses(UNITS, Status.COMPLETED),
    "unit": lambda m: (m.unit("unit 3"), m.is_ready("unit 3"), m.state("unit 3")),
    "units": lambda m: m.units(),
    "dependencies": lambda m: m.dependencies("unit 0"),
    "unmet_dependencies": lambda m: m.unmet_dependencies("unit 0"),
    "dependents": lambda m: m.dependents("last"),
    "graph": lambda m: m.graph,
    "when_ready": lambda m: m.when_ready("unit 3"),
    "when": lambda m: m.when("last", "up"),
    "wait_ready": lambda m: m.wait_ready("free"),
    "subscribe": lambda m: m.subscribe(IGNORE),
    "subscribe to a unit": lambda m: m.subscribe(IGNORE, "unit 0"),
    "subscribe, refused": refused(lambda m: m.subscribe(IGNORE, kinds="none"), ValueError),
    "a new manager": lambda m: Manager(),
}

FEW_UNITS = {"to_dot": lambda m: m.to_dot(), "stalled": lambda m: m.stalled(), "explain": lambda m: str(m.explain("a"))}

CANCEL = {
    "a subscription": lambda m: m.subscriptions[0].cancel(),
    "a subscription to a unit": lambda m: m.subscriptions[1].cancel(),
    "a waiter": lambda m: m.futures[0].cancel(),
}

SKIPPING = {
    "update_status": lambda m: m.update_status("unit 5", Status.FAILED),
    "update_statuses": lambda m: m.update_statuses(["unit 5", "unit 2"], Status.FAILED),
    "add_dependency": lambda m: m.add_dependency("unit 5", "failed"),
    "add_dependencies": lambda m: m.add_dependencies([("unit 5", "failed"), ("unit 2", "failed")]),
    "register": lambda m: m.register("late"),
    "register_all": lambda m: m.register_all(["late", "later"]),
}

SORTER = {
    "add": lambda s: s.add("new", "newer", "node 3"),
    "add many": lambda s: s.add("new", *UNITS, *UNITS),
    "prepare": lambda s: s.prepare(),
    "copy": copy.copy,
    "pickle": lambda s: pickle.loads(pickle.dumps(s)),
    "a new sorter": lambda s: TopologicalSorter({1: [2, 3], 2: [3]}),
}

ORDER = {"static_order": lambda s: list(s.static_order())}

CYCLIC = {"prepare": refused(lambda s: s.prepare(), SorterCycleError)}

HANDED_OUT = {"done": lambda s: s.done(*READY), "done refused": refused(lambda s: s.done("last"), ValueError)}

PREPARED = {
    "get_ready": lambda s: s.get_ready(),
    "is_active": lambda s: (s.is_active(), bool(s)),
    "copy": copy.copy,
    "pickle": lambda s: pickle.loads(pickle.dumps(s)),
}


def cases() -> Iterator[Case]:
    for made, state, told, operations, stands in (
        (wide, graph_state, nothing, GRAPH, False),
        (few, graph_state, nothing, FEW, False),
        (many, sizes, nothing, INTEGERS, False),
        (with_statuses, status_state, nothing, STATUS, False),
        (with_statuses, status_state, nothing, FLIPS, True),
        (logged, status_state, events_of_graph, STATUS, False),
        (logged, status_state, events_of_graph, FLIPS, True),
        (manager, manager_state, nothing, MANAGER, False),
        (few_units, manager_state, nothing, FEW_UNITS, False),
        (watched, manager_state, events_of_manager, MANAGER, True),
        (watched, manager_state, cancelled, CANCEL, True),
        (skipping, statuses, nothing, SKIPPING, True),
        (sorter, sorter_state, nothing, SORTER, False),
        (sorter, nothing, nothing, ORDER, True),  # call upon call: what one of them has done, stands
        (cyclic, sorter_state, nothing, CYCLIC, True),
        (prepared, sorter_state, nothing, PREPARED, False),
        (handed_out, sorter_state, nothing, HANDED_OUT, False),
    ):
        for name, operation in operations.items():
            yield Case(f"{made.__name__}: {name}", made, state, told, operation, stands)
    for i in (0, 35, 69):
        for name, call in {
            "against the order": lambda g, i=i: g.add_edge(f"a{70 - i}", f"b{i}"),
            "many against the order": lambda g, i=i: g.add_edges_from(
                [(f"a{70 - i}", f"b{i}"), ("c", "a0"), ("b70", "c2")]
            ),
            "refused": refused(lambda g, i=i: g.add_edge(f"a{70 - i}", "a0")),
        }.items():
            yield Case(f"against: {name} {i}", against, graph_state, nothing, call, False)

"""Every allocation of the core fails once, in every operation: MemoryError, and nothing has changed, and nothing leaks.

Under the debug build, whose allocations are counted (memory.h): `python -m tests.debug debug`.
"""

import copy
import ctypes
import gc
import pickle
from array import array

import pytest
from fastdag._debug import relabel_in_a_full_log

import fastdag._core
from fastdag import CycleError, Graph, Manager, Requirement, Status
from fastdag._core import StatusGraph

CORE = ctypes.CDLL(fastdag._core.__file__)
LIVE = ctypes.c_long.in_dll(CORE, "fastdag_live")
FAIL = ctypes.c_long.in_dll(CORE, "fastdag_fail")


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


def graph_state(graph):
    return (
        list(graph), len(graph), graph.number_of_edges(), sorted(map(repr, graph.edges())),
        [graph.index(vertex) for vertex in graph], {v: set(map(repr, graph.in_edges(v))) for v in graph},
    )


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


def status_state(graph):
    return (
        list(graph), graph.registered(), [(graph.status(v), graph.state(v), graph.snapshot(v)) for v in graph],
        {v: sorted(map(repr, graph.dependencies(v))) for v in graph}, {v: len(graph.dependents(v)) for v in graph},
        graph.has_events(),
    )


def manager():
    made = Manager()
    made.register_all([f"unit {i}" for i in range(20)])
    for i in range(1, 20):
        made.add_dependency("unit 0", f"unit {i}")
        made.add_dependency(f"unit {i}", "last", Requirement.COMPLETION)
    return made


def watched():
    """A manager with a subscriber and waiters: the log is on."""
    made = manager()
    heard = []
    made.heard = heard  # type: ignore[attr-defined]
    made.subscribe(heard.append)
    made.futures = [made.when_ready("unit 0"), made.when("last", Status.COMPLETED)]  # type: ignore[attr-defined]
    made.register("last")
    return made


def manager_state(made):
    return (
        made.units(), [made.state(u.id) for u in made.units()],
        [made.dependencies(u.id) for u in made.units()], [len(made.dependents(u.id)) for u in made.units()],
    )


def cycle_refused(call):
    """The operation, which ends in CycleError unless memory fails before."""
    def run(subject):
        try:
            call(subject)
        except CycleError:
            return

    return run


GRAPH = {
    "add_vertex": lambda g: g.add_vertex("new"),
    "add_edge of new vertices": lambda g: g.add_edge("new", "newer", "label"),
    "add_edge": lambda g: g.add_edge("hub", "lone 60", "label"),
    "add_edge into": lambda g: g.add_edge("lone 60", "leaf 5"),
    "add_edge again": lambda g: g.add_edge("hub", "leaf 1", "another"),
    "add_edge against": lambda g: g.add_edge("leaf 15", "lone 61"),
    "add_edge refused": cycle_refused(lambda g: g.add_edge("leaf 20", "hub")),
    "remove_edge": lambda g: g.remove_edge("hub", "leaf 1"),
    "remove_vertex": lambda g: g.remove_vertex("leaf 2"),
    "remove_vertex hub": lambda g: g.remove_vertex("hub"),
    "has_path": lambda g: g.has_path("hub", "leaf 20"),
    "find_cycle": lambda g: g.find_cycle("leaf 20", "hub"),
    "ancestors": lambda g: g.ancestors("leaf 20"),
    "descendants": lambda g: g.descendants("hub"),
    "successors": lambda g: g.successors("hub"),
    "in_edges": lambda g: g.in_edges("leaf 3"),
    "out_edges": lambda g: g.out_edges("hub"),
    "topological_sort": lambda g: g.topological_sort(),
    "topological_generations": lambda g: g.topological_generations(),
    "longest_path": lambda g: g.longest_path(),
    "longest_path weighed": lambda g: g.longest_path(lambda edge: 2),
    "transitive_reduction": lambda g: g.transitive_reduction(),
    "copy": copy.copy,
    "pickle": lambda g: pickle.loads(pickle.dumps(g)),
    "edges": lambda g: g.edges(),
    "to_csr": lambda g: g.to_csr(),
    "to_dot": lambda g: g.to_dot(),
    "from_edges": lambda g: Graph.from_edges(array("i", [0, 1]), array("i", [1, 2]), 200),
    "a new graph": lambda g: Graph(),
    "add_edges_from few": lambda g: g.add_edges_from([("new", "hub", 1), ("lone 60", "new", 2), ("hub", "leaf 1", 9)]),
    "add_edges_from many": lambda g: g.add_edges_from(
        [(f"new {i}", "hub", 1) for i in range(30)] + [("hub", "leaf 1", 9), ("hub", "leaf 1", 8)]
    ),
    "add_edges_from refused": cycle_refused(lambda g: g.add_edges_from([("new", "hub"), ("leaf 20", "new")])),
    "add_edges_from refused, many": cycle_refused(
        lambda g: g.add_edges_from([*[(f"new {i}", "hub") for i in range(30)], ("leaf 20", "new 1")])
    ),
    "add_edges": lambda g: g.add_edges(array("i", [0, 0]), array("q", [50, 51]), ["x", "y"]),
    "add_edges many": lambda g: g.add_edges(array("i", [55] * 20), array("i", range(1, 21))),
}

STATUS = {
    "define_requirement": lambda g: g.define_requirement("another", 1, 2),
    "register": lambda g: g.register("new", 0),
    "register what is depended on": lambda g: g.register("last", 1),
    "register_all": lambda g: g.register_all(["new", "last", "newer"], 0),
    "set_status": lambda g: g.set_status("unit 3", 1),
    "set_status with flips": lambda g: g.set_status("unit 3", 2, flips=[]),
    "set_statuses": lambda g: g.set_statuses(["unit 3", "unit 4", "unit 3"], 1),
    "set_statuses with flips": lambda g: g.set_statuses(["unit 3", "unit 4"], 2, []),
    "add_dependency": lambda g: g.add_dependency("unit 3", "unit 4", "needs", flips=[]),
    "add_dependency of a new vertex": lambda g: g.add_dependency("unit 0", "new", "needs"),
    "add_dependency refused": cycle_refused(lambda g: g.add_dependency("unit 3", "unit 0", "needs")),
    "add_dependencies": lambda g: g.add_dependencies(
        [("unit 3", "unit 4", "needs"), ("unit 0", "new", "needs")], flips=[]
    ),
    "add_dependencies replacing": lambda g: g.add_dependencies(
        [("unit 0", f"unit {i}", "needs more") for i in range(1, 20)], replace=True, flips=[]
    ),
    "add_dependencies refused": cycle_refused(
        lambda g: g.add_dependencies([("unit 3", "new", "needs"), ("unit 4", "unit 0", "needs")])
    ),
    "dependencies": lambda g: g.dependencies("unit 0"),
    "dependents": lambda g: g.dependents("last"),
    "registered": lambda g: g.registered(),
    "log_all": lambda g: g.log_all(True),
    "watch": lambda g: g.watch(g.index("unit 3")),
    "a new graph": lambda g: StatusGraph(),
}

MANAGER = {
    "register": lambda m: m.register("new"),
    "register_all": lambda m: m.register_all(["new", "newer"]),
    "add_dependency": lambda m: m.add_dependency("unit 3", "unit 4"),
    "add_dependency refused": cycle_refused(lambda m: m.add_dependency("unit 3", "unit 0")),
    "add_dependencies": lambda m: m.add_dependencies([("unit 3", "new"), ("unit 5", "unit 6", Requirement.STARTED)]),
    "update_status": lambda m: m.update_status("unit 3", Status.COMPLETED),
    "update_statuses": lambda m: m.update_statuses([f"unit {i}" for i in range(1, 20)], Status.COMPLETED),
    "units": lambda m: m.units(),
    "dependencies": lambda m: m.dependencies("unit 0"),
    "unmet_dependencies": lambda m: m.unmet_dependencies("unit 0"),
    "dependents": lambda m: m.dependents("last"),
    "explain": lambda m: m.explain("unit 0"),
    "stalled": lambda m: m.stalled(),
    "graph": lambda m: m.graph,
    "to_dot": lambda m: m.to_dot(),
    "when_ready": lambda m: m.when_ready("unit 3").cancel(),
    "subscribe": lambda m: m.subscribe(print).cancel(),
}


def cases():
    for made, state, operations in (
        (wide, graph_state, GRAPH), (with_statuses, status_state, STATUS), (logged, status_state, STATUS),
        (manager, manager_state, MANAGER), (watched, manager_state, MANAGER),
    ):
        for name, operation in operations.items():
            yield pytest.param(made, state, operation, id=f"{made.__name__}: {name}")
    for i in (0, 35, 69):
        for name, call in {
            "against the order": lambda g, i=i: g.add_edge(f"a{70 - i}", f"b{i}"),
            "many against the order": lambda g, i=i: g.add_edges_from(
                [(f"a{70 - i}", f"b{i}"), ("c", "a0"), ("b70", "c2")]
            ),
            "refused": cycle_refused(lambda g, i=i: g.add_edge(f"a{70 - i}", "a0")),
        }.items():
            yield pytest.param(against, graph_state, call, id=f"against: {name} {i}")


def core_of(subject):
    return subject._core if isinstance(subject, Manager) else subject


injected = []


@pytest.mark.parametrize(("made", "state", "operation"), list(cases()))
def test_a_failed_allocation_changes_nothing(made, state, operation):
    subject = made()
    operation(subject)  # what is made once, such as modules that are imported, is no leak
    del subject
    gc.collect()
    before_all = LIVE.value
    n = 0
    while True:
        subject = made()
        before = state(subject)
        FAIL.value = n
        failed = False
        try:
            operation(subject)
        except MemoryError:
            failed = True
        finally:
            reached = FAIL.value < 0
            FAIL.value = -1
        core_of(subject)._check()
        if failed:
            assert state(subject) == before, n
        else:
            assert not reached, f"allocation {n} failed, and no error told"
        del subject, before
        gc.collect()
        assert LIVE.value == before_all, f"{LIVE.value - before_all} blocks are left after allocation {n} failed"
        if not reached:
            break
        injected.append(n)
        n += 1


def test_a_batch_relabels_in_the_room_it_keeps_in_the_log():
    """It can fail for want of memory before it begins, and not in the middle, whatever others have logged meanwhile."""
    before, after, kept, relabelled = relabel_in_a_full_log(50)
    assert after == before
    assert kept == 0
    assert relabelled == 50


def test_how_many():
    print(f"{len(injected)} allocations of the core failed")
    assert len(injected) > 500

"""The inputs of benchmarks and profiles: seeded, made once, the same for fastdag and its peers.

An edge `source -> target` reads *source depends on target*. A hidden order is a random permutation of the vertices
that only the generator knows: edges run along it, so that they close no cycle, and nothing else tells of it.
"""

import json
import lzma
import random as _random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fastdag import Manager

SEED = 20020  # any fixed number will do
DATA = Path(__file__).with_name("data")

Pair = tuple[str, str]
Step = tuple[str, tuple[object, ...]]  # a method of Graph, and what it is called with


@dataclass(frozen=True)
class Workload:
    """A graph to be built edge by edge, in the order given."""

    name: str
    vertices: list[str]
    edges: list[Pair]


@dataclass(frozen=True)
class Workflow(Workload):
    """A recorded run of tasks; an edge is a task and one of its parents, which had to be over before it began."""

    seconds: dict[str, float]  # what each task took


@dataclass(frozen=True)
class Operation:
    """One step of the `mixed` workload: an edge to add, or (with no target) a vertex whose edges are read."""

    source: str
    target: str | None


def _names(count: int) -> list[str]:
    return [f"vertex-{i}" for i in range(count)]


def _hidden_order(vertices: list[str], rng: _random.Random) -> list[str]:
    order = vertices.copy()
    rng.shuffle(order)
    return order


def _shuffled(workload: Workload, seed: int) -> Workload:
    edges = workload.edges.copy()
    _random.Random(seed).shuffle(edges)
    return Workload(f"{workload.name} shuffled", workload.vertices, edges)


def append(n: int = 100_000, degree: int = 5, seed: int = SEED) -> Workload:
    """Each new vertex depends on `degree` random earlier ones (fewer where repeats coincide or few are there)."""
    rng = _random.Random(seed)
    vertices = _names(n)
    edges = [
        (vertices[i], vertices[j]) for i in range(1, n) for j in dict.fromkeys(rng.randrange(i) for _ in range(degree))
    ]
    return Workload("append", vertices, edges)


def random(n: int = 100_000, m: int = 500_000, seed: int = SEED) -> Workload:
    """`m` different random edges that agree with a hidden order, in random order."""
    rng = _random.Random(seed)
    vertices = _names(n)
    order = _hidden_order(vertices, rng)
    edges: dict[Pair, None] = {}
    while len(edges) < m:
        a, b = rng.randrange(n), rng.randrange(n)
        if a != b:
            edges[order[min(a, b)], order[max(a, b)]] = None
    return Workload("random", vertices, list(edges))


def layered(layers: int = 100, width: int = 1_000, degree: int = 5, seed: int = SEED) -> Workload:
    """Layers of `width` vertices with random names, each vertex with `degree` edges into the next layer, shuffled."""
    rng = _random.Random(seed)
    vertices = _names(layers * width)
    order = _hidden_order(vertices, rng)
    edges = [
        (order[layer * width + i], order[(layer + 1) * width + j])
        for layer in range(layers - 1)
        for i in range(width)
        for j in rng.sample(range(width), degree)
    ]
    rng.shuffle(edges)
    return Workload("layered", vertices, edges)


def dense(n: int = 2_000, reach: int = 100, seed: int = SEED) -> Workload:
    """Each vertex depends on the next `reach` in a hidden order, shuffled."""
    rng = _random.Random(seed)
    vertices = _names(n)
    order = _hidden_order(vertices, rng)
    edges = [(order[i], order[j]) for i in range(n) for j in range(i + 1, min(i + 1 + reach, n))]
    rng.shuffle(edges)
    return Workload("dense", vertices, edges)


def chain(n: int = 100_000, *, shuffled: bool = False, seed: int = SEED) -> Workload:
    """All vertices in a line, with random names; the edges in line order or shuffled."""
    vertices = _names(n)
    order = _hidden_order(vertices, _random.Random(seed))
    line = Workload("chain", vertices, list(pairwise(order)))
    return _shuffled(line, seed) if shuffled else line


def _lines(name: str) -> Iterator[list[str]]:
    with lzma.open(DATA / name, "rt", encoding="ascii") as lines:
        for line in lines:
            yield line.split()


def history(*, shuffled: bool = False, seed: int = SEED) -> Workload:
    """CPython's commits, each depending on its parents; in file order (parents first) or shuffled."""
    lines = list(_lines("cpython-history.txt.xz"))
    commits = {commit: commit for commit, *_ in lines}
    edges = [(commits[commit], commits[parent]) for commit, *parents in lines for parent in parents]
    workload = Workload("history", list(commits), edges)
    return _shuffled(workload, seed) if shuffled else workload


def packages(*, shuffled: bool = False, seed: int = SEED) -> Workload:
    """Debian's packages and what they depend on, in file order or shuffled. Has cycles, which must be refused."""
    names: dict[str, str] = {}
    edges = [(names.setdefault(a, a), names.setdefault(b, b)) for a, b in _lines("debian-bookworm-depends.txt.xz")]
    workload = Workload("packages", list(names), edges)
    return _shuffled(workload, seed) if shuffled else workload


WORKFLOWS = ("helloworld-forkjoin-10-chameleon", "sarek-dirt02-001", "montage-chameleon-2mass-05d-001")


def workflow(name: str) -> Workflow:
    """One of `WORKFLOWS`, with its tasks in file order."""
    with lzma.open(DATA / f"{name}.json.xz", "rt", encoding="utf-8") as file:
        recorded = json.load(file)["workflow"]
    tasks = recorded["specification"]["tasks"]
    edges = [(task["id"], parent) for task in tasks for parent in task["parents"]]
    seconds = {task["id"]: task["runtimeInSeconds"] for task in recorded["execution"]["tasks"]}
    return Workflow(name, [task["id"] for task in tasks], edges, seconds)


def mixed(threads: int = 200, operations: int = 50, seed: int = SEED) -> list[list[Operation]]:
    """One list of operations a thread: 60 % reads of both edge lists of a fresh name, 40 % edges of two fresh names."""
    rng = _random.Random(seed)
    return [
        [
            Operation(f"t{t}-{i}", None) if rng.random() < 0.6 else Operation(f"t{t}-{i}-source", f"t{t}-{i}-target")
            for i in range(operations)
        ]
        for t in range(threads)
    ]


WRITES: dict[str, float] = {  # public methods of Graph that change it: how often in a thousand steps of `mutate`
    "add_edge": 300,
    "remove_edge": 120,
    "add_vertex": 30,
    "remove_vertex": 10,
    "add_edges_from": 4,
    "add_edges": 1,
}
READS: dict[str, float] = {  # those that read it
    "has_edge": 120,
    "successors": 90,
    "predecessors": 90,
    "edge_label": 50,
    "out_edges": 30,
    "in_edges": 30,
    "out_degree": 15,
    "in_degree": 15,
    "degree": 15,
    "index": 15,
    "vertex_at": 15,
    "has_path": 20,
    "find_cycle": 15,
    "ancestors": 4,
    "descendants": 4,
    "number_of_edges": 2,
    "edges": 0.5,
    "topological_sort": 0.5,
    "topological_generations": 0.5,
    "longest_path": 0.5,
    "transitive_reduction": 0.25,
    "copy": 0.5,
    "to_csr": 0.5,
}

WHOLE = set(list(READS)[list(READS).index("number_of_edges") :])  # without an argument: of the whole graph


def mutate(
    writers: int, readers: int = 0, steps: int = 1_000, n: int = 1_000, seed: int = SEED
) -> list[list[Step]]:
    """One list of steps a thread, (method of Graph, arguments): every public operation, weighted; readers only read.

    Nine edges in ten agree with a hidden order. Some are refused (`CycleError`) or find nothing (`LookupError`).
    """
    rng = _random.Random(seed)
    order = _hidden_order(_names(n), rng)

    def pair() -> Pair:
        a, b = rng.sample(range(n), 2)
        return (order[a], order[b]) if (a < b) == (rng.random() < 0.9) else (order[b], order[a])

    def arguments(method: str) -> tuple[object, ...]:
        if method == "add_edges_from":
            return ([pair() for _ in range(20)],)
        if method == "add_edges":
            pairs = [sorted(rng.sample(range(n // 2), 2)) for _ in range(20)]
            return array("i", [a for a, _ in pairs]), array("i", [b for _, b in pairs])
        if method == "vertex_at":
            return (rng.randrange(n // 2),)
        if method == "add_edge":
            return (*pair(), rng.choice("abcd"))
        if method in ("remove_edge", "has_edge", "edge_label", "has_path", "find_cycle"):
            return pair()
        if method in WHOLE:
            return ()
        return (rng.choice(order),)

    def list_of(weights: dict[str, float]) -> list[Step]:
        methods = rng.choices(list(weights), list(weights.values()), k=steps)
        return [(method, arguments(method)) for method in methods]

    return [list_of(WRITES | READS) for _ in range(writers)] + [list_of(READS) for _ in range(readers)]


def fan_out(dependents: int = 20_000) -> Workload:
    """One unit, `hub`, on which all others depend."""
    vertices = _names(dependents)
    return Workload("fan-out", ["hub", *vertices], [(vertex, "hub") for vertex in vertices])


def fan_in(dependencies: int = 2_000) -> Workload:
    """One unit, `hub`, that depends on all others."""
    vertices = _names(dependencies)
    return Workload("fan-in", ["hub", *vertices], [("hub", vertex) for vertex in vertices])


def manager(workload: Workload) -> Manager:
    """A manager of these units and dependencies."""
    made = Manager()
    made.register_all(workload.vertices)
    made.add_dependencies(workload.edges)
    return made


def drain(seed: int = SEED) -> Workload:
    """The `random` graph, to be taken from all pending to all completed."""
    workload = random(seed=seed)
    return Workload("drain", workload.vertices, workload.edges)


def buffers(n: int = 1_000_000, m: int = 10_000_000, seed: int = SEED) -> tuple["array[int]", "array[int]"]:
    """Sources and targets, by index, of `m` random edges that agree with a hidden order; a pair may come twice."""
    rng = _random.Random(seed)
    order = array("i", range(n))
    rng.shuffle(order)
    sources, targets = array("i", bytes(4 * m)), array("i", bytes(4 * m))
    pick = rng.random
    for k in range(m):
        a, b = int(pick() * n), int(pick() * n)
        if a == b:
            b = a + 1 if a + 1 < n else a - 1
        if a > b:
            a, b = b, a
        sources[k], targets[k] = order[a], order[b]
    return sources, targets

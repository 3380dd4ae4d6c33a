"""The countdown that `TopologicalSorter` stands on: a graph, cyclic or not, that is drained vertex by vertex.

It is filled first (one growing array of edges), prepared once (the dependents of each vertex side by side), then
drained. Unlike the adjacency of Graph it lets cycles in, has no labels and never shrinks.

**Guarantees.** A function that fails for want of memory has changed nothing. No vertex is ever taken out: a number
that was valid once stays valid.
**Assumes.** One caller at a time: whoever owns the struct lets callers in one by one (see `Sorter`), so that it needs
no lock of its own.

Memory is Python's "raw" one: it needs no interpreter lock either, tracemalloc sees it, and tests can make it run out.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.stdint cimport int32_t
from libc.string cimport memset

cdef enum:
    DRAIN_MOST = 2147483646  # vertices, and edges: one more than either still fits an int32

cdef enum:                   # what `unmet` holds where it does not count
    DRAIN_OUT = -1           # handed out, not done yet
    DRAIN_DONE = -2
    DRAIN_ABSENT = -3        # has a number but was never added to the graph

cdef struct DrainEdge:
    int32_t predecessor
    int32_t dependent

cdef struct Drain:
    bint prepared            # from then on only `unmet`, `ready` and the three counts of the queue change
    int32_t n_vertices       # vertices are 0 … n_vertices - 1
    int32_t n_edges          # the same edge added twice counts twice
    int32_t vertex_room      # length of `unmet`
    int32_t edge_room        # length of `edges`
    int32_t *unmet           # by vertex: edges from predecessors that are not done, or one of the codes above
    DrainEdge *edges         # in the order in which they were added; NULL once prepared
    int32_t *first           # by vertex, and one more: where its dependents begin; NULL until prepared
    int32_t *dependents      # n_edges of them, each vertex's in the order in which they were added; NULL until prepared
    int32_t *ready           # n_vertices long: vertices in the order in which they became ready; NULL until prepared
    int32_t n_ready          # how many ever became ready
    int32_t n_out            # ready[:n_out] were handed out, ready[n_out:n_ready] wait for it
    int32_t n_done           # how many of ready[:n_out] are done


cdef inline void drain_free(Drain *d) noexcept nogil:
    PyMem_RawFree(d.unmet)
    PyMem_RawFree(d.edges)
    PyMem_RawFree(d.first)
    PyMem_RawFree(d.dependents)
    PyMem_RawFree(d.ready)
    memset(d, 0, sizeof(Drain))


cdef inline int32_t drain_room(int32_t room, int32_t needed) noexcept nogil:
    """The next length of an array that has to hold `needed`: at least doubled, so that adding is O(1) amortised."""
    return max(DRAIN_MOST if room > DRAIN_MOST // 2 else 2 * room, needed, 16)


cdef inline bint drain_grow(Drain *d) noexcept nogil:
    """One more vertex, absent as yet; False when memory is out. There are fewer than DRAIN_MOST."""
    cdef int32_t room
    cdef int32_t *unmet
    if d.n_vertices == d.vertex_room:
        room = drain_room(d.vertex_room, d.n_vertices + 1)
        unmet = <int32_t *>PyMem_RawRealloc(d.unmet, <size_t>room * sizeof(int32_t))
        if unmet == NULL:
            return False
        d.unmet = unmet
        d.vertex_room = room
    d.unmet[d.n_vertices] = DRAIN_ABSENT
    d.n_vertices += 1
    return True


cdef inline bint drain_add(Drain *d, int32_t vertex, const int32_t *predecessors, int32_t n) noexcept nogil:
    """Put a vertex and its predecessors into a graph that is not prepared; False when memory is out. Amortised O(n).

    No more than DRAIN_MOST edges come of it.
    """
    cdef int32_t i, room
    cdef DrainEdge *edges
    if n > d.edge_room - d.n_edges:
        room = drain_room(d.edge_room, d.n_edges + n)
        edges = <DrainEdge *>PyMem_RawRealloc(d.edges, <size_t>room * sizeof(DrainEdge))
        if edges == NULL:
            return False
        d.edges = edges
        d.edge_room = room
    d.unmet[vertex] = max(d.unmet[vertex], 0) + n
    for i in range(n):
        d.unmet[predecessors[i]] = max(d.unmet[predecessors[i]], 0)
        d.edges[d.n_edges + i].predecessor = predecessors[i]
        d.edges[d.n_edges + i].dependent = vertex
    d.n_edges += n
    return True


cdef inline bint drain_find_cycle(const Drain *d, int32_t **path, int32_t *start, int32_t *stop) noexcept nogil:
    """Depth-first search for a cycle, without recursion, over sorted edges; False when memory is out. O(n + m).

    The cycle is path[start:stop], each vertex a predecessor of the next and the last one of the first; there is none
    when start == stop. The caller frees path. Vertices and edges are tried in the order in which they were added, as the
    standard library does it: of several cycles both report the same.
    """
    cdef int32_t root, vertex, other, depth = 0
    # By vertex: 0 not seen; -1 left behind, no cycle passes through it; else on the path: 1 + the next edge to try.
    cdef int32_t *cursor = <int32_t *>PyMem_RawCalloc(<size_t>d.n_vertices + 1, sizeof(int32_t))
    path[0] = <int32_t *>PyMem_RawMalloc((<size_t>d.n_vertices + 1) * sizeof(int32_t))
    start[0] = stop[0] = 0
    if cursor == NULL or path[0] == NULL:
        PyMem_RawFree(cursor)
        PyMem_RawFree(path[0])
        path[0] = NULL
        return False
    for root in range(d.n_vertices):
        other = root
        while True:
            if cursor[other] == 0:
                cursor[other] = 1 + d.first[other]
                path[0][depth] = other
                depth += 1
            elif cursor[other] > 0:      # the path has come back to itself
                start[0] = depth - 1
                while path[0][start[0]] != other:
                    start[0] -= 1
                stop[0] = depth
                PyMem_RawFree(cursor)
                return True
            while depth > 0 and cursor[path[0][depth - 1]] > d.first[path[0][depth - 1] + 1]:
                depth -= 1
                cursor[path[0][depth]] = -1
            if depth == 0:
                break
            vertex = path[0][depth - 1]
            other = d.dependents[cursor[vertex] - 1]
            cursor[vertex] += 1
    PyMem_RawFree(cursor)
    return True


cdef inline void drain_queue(Drain *d) noexcept nogil:
    """Queue, behind those that were handed out, all vertices that are ready."""
    cdef int32_t vertex
    d.n_ready = d.n_out
    for vertex in range(d.n_vertices):
        if d.unmet[vertex] == 0:
            d.ready[d.n_ready] = vertex
            d.n_ready += 1


cdef inline bint drain_prepare(Drain *d, int32_t **path, int32_t *start, int32_t *stop) noexcept nogil:
    """Sort the edges by predecessor (counting sort, stable), find a cycle and queue what is ready. O(n + m).

    False when memory is out. The cycle is as drain_find_cycle gives it.
    """
    cdef int32_t i, vertex
    cdef int32_t *first = <int32_t *>PyMem_RawCalloc(<size_t>d.n_vertices + 2, sizeof(int32_t))
    d.first = first
    d.dependents = <int32_t *>PyMem_RawMalloc((<size_t>d.n_edges + 1) * sizeof(int32_t))
    d.ready = <int32_t *>PyMem_RawMalloc((<size_t>d.n_vertices + 1) * sizeof(int32_t))
    if first != NULL and d.dependents != NULL and d.ready != NULL:
        # Counted two places on, summed up one place on: filling moves first[v + 1] from where v's dependents begin to
        # where they end, which is where those of v + 1 begin.
        for i in range(d.n_edges):
            first[d.edges[i].predecessor + 2] += 1
        for vertex in range(d.n_vertices):
            first[vertex + 2] += first[vertex + 1]
        for i in range(d.n_edges):
            vertex = d.edges[i].predecessor
            d.dependents[first[vertex + 1]] = d.edges[i].dependent
            first[vertex + 1] += 1
        d.prepared = drain_find_cycle(d, path, start, stop)
    if not d.prepared:
        PyMem_RawFree(d.first)
        PyMem_RawFree(d.dependents)
        PyMem_RawFree(d.ready)
        d.first = d.dependents = d.ready = NULL
        return False
    PyMem_RawFree(d.edges)
    d.edges = NULL
    d.edge_room = 0
    drain_queue(d)
    return True


cdef inline Py_ssize_t drain_finish(Drain *d, const int32_t *vertices, Py_ssize_t n) noexcept nogil:
    """Take vertices that are out as done and queue what becomes ready. O(n + their dependents).

    Returns n or, when one of them is not out (negative: no vertex) or stands there twice, its place; then nothing has
    changed.
    """
    cdef Py_ssize_t i, k
    cdef int32_t place, dependent
    for i in range(n):
        if vertices[i] < 0 or d.unmet[vertices[i]] != DRAIN_OUT:
            for k in range(i):
                d.unmet[vertices[k]] = DRAIN_OUT
            return i
        d.unmet[vertices[i]] = DRAIN_DONE
    for i in range(n):
        for place in range(d.first[vertices[i]], d.first[vertices[i] + 1]):
            dependent = d.dependents[place]
            d.unmet[dependent] -= 1
            if d.unmet[dependent] == 0:
                d.ready[d.n_ready] = dependent
                d.n_ready += 1
    d.n_done += <int32_t>n
    return n

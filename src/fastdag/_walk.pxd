"""Walks along edges: reachable vertices, a path, and snapshots of the whole graph.

Guarantees
- A walk holds the order lock shared, and one vertex lock at a time: it never holds up work on a vertex it has left.
- A walk that finds more than its budget answers OVER_BUDGET, so that the caller can let go of the interpreter first.
- A snapshot is one moment of the whole graph.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from fastdag._atomics cimport acquire, prefetch
from fastdag._edges cimport Core
from fastdag._locks cimport (
    order_lock_exclusive, order_lock_shared, order_unlock_exclusive, order_unlock_shared,
)
from fastdag._order cimport rank_of
from fastdag._storage cimport (
    EdgeList, Store, Vertex, alive, list_labels, list_words, seen_at, vertex_at, vertex_lock, vertex_unlock,
)
from fastdag._types cimport BUSY, DONE, MISSING, NO_MEMORY, OVER_BUDGET, STALE, Outcome, Ref

cdef enum:
    AHEAD = 8                # so many turns before it is visited, a vertex's record is asked for

cdef struct Walk:
    int32_t *ids             # vertices in the order in which they were reached, the start first
    int32_t *parents         # index in ids from which each was reached, -1 at the start
    int64_t count
    int64_t room
    uint8_t *seen            # a bit a vertex
    int64_t seen_vertices    # how many vertices have a bit

cdef struct Snapshot:
    int32_t vertices         # ids below this have a row
    uint64_t *born           # by id: which life; 0 where no vertex is
    int64_t *first           # vertices + 1: where the edges of an id start
    int32_t *targets
    int32_t *labels
    int32_t *order           # ids of the vertices in topological order, `alive` of them
    int64_t alive


cdef inline void walk_free(Walk *w) noexcept nogil:
    free(w.ids)
    free(w.parents)
    free(w.seen)
    memset(w, 0, sizeof(Walk))


cdef inline bint walk_grow(Walk *w, int64_t room) noexcept nogil:
    cdef void *ids
    cdef void *parents
    if room <= w.room:
        return True
    room = max(room, 2 * w.room)
    ids = realloc(w.ids, <size_t>room * sizeof(int32_t))
    if ids == NULL:
        return False
    w.ids = <int32_t *>ids
    parents = realloc(w.parents, <size_t>room * sizeof(int32_t))
    if parents == NULL:
        return False
    w.parents = <int32_t *>parents
    w.room = room
    return True


cdef inline Outcome walk_shared(
    Core *c, Walk *w, Ref start, bint backward, int32_t goal, int64_t budget, bint wait
) noexcept nogil:
    """Breadth first from a vertex; with a goal >= 0, until it is reached. Order lock held shared. O(n + m)."""
    cdef Store *s = &c.store
    cdef int64_t at = 0, looked = 0
    cdef int32_t i, id, end
    cdef uint64_t limit = 0
    cdef Vertex *vertex
    cdef EdgeList *list
    if not alive(s, start):
        return STALE
    w.seen_vertices = s.used.load(acquire)
    w.seen = <uint8_t *>calloc(<size_t>(w.seen_vertices >> 3) + 1, 1)
    if w.seen == NULL or not walk_grow(w, 64):
        return NO_MEMORY
    if goal >= 0:
        limit = rank_of(s, goal)
    w.ids[0] = start.id
    w.parents[0] = -1
    w.count = 1
    w.seen[start.id >> 3] |= <uint8_t>(1 << (start.id & 7))
    while at < w.count:
        id = w.ids[at]
        if at + AHEAD < w.count:
            prefetch(vertex_at(s, w.ids[at + AHEAD]))
        vertex = vertex_at(s, id)
        if not vertex_lock(s, id, wait):
            return BUSY
        list = &vertex.ins if backward else &vertex.outs
        looked += list.count             # those that are skipped take their time as well
        if looked > 16 * budget:
            vertex_unlock(s, id)
            return OVER_BUDGET
        if not walk_grow(w, w.count + list.count):
            vertex_unlock(s, id)
            return NO_MEMORY
        for i in range(list.count):
            end = list_words(list)[i]
            if end >= w.seen_vertices or w.seen[end >> 3] >> (end & 7) & 1:
                continue  # a vertex younger than the walk is none of its business
            if goal >= 0 and end != goal and rank_of(s, end) > limit:
                continue  # behind the goal in the order: no path leads back
            w.seen[end >> 3] |= <uint8_t>(1 << (end & 7))
            w.ids[w.count] = end
            w.parents[w.count] = <int32_t>at
            w.count += 1
            if end == goal:
                vertex_unlock(s, id)
                return DONE
        vertex_unlock(s, id)
        at += 1
        if w.count > budget:
            return OVER_BUDGET
    return DONE if goal < 0 else MISSING


cdef inline Outcome walk_reach(
    Core *c, Walk *w, Ref start, bint backward, Ref goal, int64_t budget, bint wait
) noexcept nogil:
    """All vertices reachable from `start`, itself first; or, where goal.id >= 0, a way there: DONE or MISSING.

    After DONE with a goal, the goal is the last of w.ids and the parents lead back to the start.
    """
    cdef Outcome outcome
    cdef int slot = order_lock_shared(&c.lock, wait)
    if slot < 0:
        return BUSY
    if goal.id >= 0 and not alive(&c.store, goal):
        outcome = STALE
    else:
        outcome = walk_shared(c, w, start, backward, goal.id, budget, wait)
    order_unlock_shared(&c.lock, slot)
    return outcome


cdef inline void snapshot_free(Snapshot *t) noexcept nogil:
    free(t.born)
    free(t.first)
    free(t.targets)
    free(t.labels)
    free(t.order)


cdef inline Outcome snapshot_take_vertices(Core *c, Snapshot *t, bint wait) noexcept nogil:
    """The vertices of one moment, without their edges: takes the order lock exclusively. O(n)."""
    cdef int32_t id
    memset(t, 0, sizeof(Snapshot))
    if not order_lock_exclusive(&c.lock, wait):
        return BUSY
    t.vertices = c.store.used.load(acquire)
    t.born = <uint64_t *>malloc((<size_t>t.vertices + 1) * sizeof(uint64_t))
    if t.born != NULL:
        for id in range(t.vertices):
            t.born[id] = seen_at(&c.store, id)
    order_unlock_exclusive(&c.lock)
    return DONE if t.born != NULL else NO_MEMORY


cdef inline Outcome snapshot_take(Core *c, Snapshot *t, bint wait) noexcept nogil:
    """Copy the whole graph in one moment: takes the order lock exclusively. O(n + m)."""
    cdef Store *s = &c.store
    cdef int32_t id, n
    cdef int64_t edges = 0
    cdef Vertex *vertex
    cdef Outcome outcome = DONE
    memset(t, 0, sizeof(Snapshot))
    if not order_lock_exclusive(&c.lock, wait):
        return BUSY
    n = s.used.load(acquire)
    t.vertices = n
    t.born = <uint64_t *>malloc((<size_t>n + 1) * sizeof(uint64_t))
    t.first = <int64_t *>malloc((<size_t>n + 1) * sizeof(int64_t))
    t.order = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
    if t.born != NULL and t.first != NULL and t.order != NULL:
        for id in range(n):
            vertex = vertex_at(s, id)
            t.born[id] = seen_at(s, id)
            t.first[id] = edges
            if t.born[id]:
                edges += vertex.outs.count
        t.first[n] = edges
        t.targets = <int32_t *>malloc((<size_t>edges + 1) * sizeof(int32_t))
        t.labels = <int32_t *>malloc((<size_t>edges + 1) * sizeof(int32_t))
    if t.targets == NULL or t.labels == NULL:
        outcome = NO_MEMORY
    else:
        for id in range(n):
            vertex = vertex_at(s, id)
            edges = t.first[id + 1] - t.first[id]
            memcpy(t.targets + t.first[id], list_words(&vertex.outs), <size_t>edges * sizeof(int32_t))
            memcpy(t.labels + t.first[id], list_labels(&vertex.outs), <size_t>edges * sizeof(int32_t))
            if t.born[id] and not rank_of(s, id):
                t.order[t.alive] = id
                t.alive += 1
        id = c.order.head
        while id >= 0:
            if t.born[id]:  # a tentative vertex may have its place already
                t.order[t.alive] = id
                t.alive += 1
            id = vertex_at(s, id).after
    order_unlock_exclusive(&c.lock)
    if outcome != DONE:
        snapshot_free(t)
    return outcome


cdef inline Outcome snapshot_reduce(Snapshot *t, uint8_t *keep) noexcept nogil:
    """Mark the edges of the transitive reduction: those that no longer way replaces. O(n (n + m)) at worst.

    Source: Aho, Garey, Ullman 1972, "The transitive reduction of a directed graph". What the targets
    of a vertex reach, up to the furthest of them in the order, needs no edge of its own.
    """
    cdef int32_t n = t.vertices
    cdef int32_t *place = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
    cdef int32_t *stamp = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
    cdef int32_t *stack = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
    cdef int64_t i, j, k, depth, furthest
    cdef int32_t u, v, w
    cdef Outcome outcome = DONE
    if place == NULL or stamp == NULL or stack == NULL:
        outcome = NO_MEMORY
    else:
        for i in range(t.alive):
            place[t.order[i]] = <int32_t>i
        memset(stamp, 0xFF, <size_t>n * sizeof(int32_t))
        for u in range(n):
            furthest = -1
            for i in range(t.first[u], t.first[u + 1]):
                furthest = max(furthest, <int64_t>place[t.targets[i]])
            for i in range(t.first[u], t.first[u + 1]):
                v = t.targets[i]
                if stamp[v] == u:
                    continue  # reached from another target: all behind it is marked already
                stack[0] = v
                depth = 1
                while depth:
                    depth -= 1
                    w = stack[depth]
                    for j in range(t.first[w], t.first[w + 1]):
                        k = t.targets[j]
                        if stamp[k] != u and place[k] <= furthest:
                            stamp[k] = u
                            stack[depth] = <int32_t>k
                            depth += 1
            for i in range(t.first[u], t.first[u + 1]):
                keep[i] = stamp[t.targets[i]] != u
    free(place)
    free(stamp)
    free(stack)
    return outcome

"""Reads of one vertex: a copy of an edge list, degrees, status. Each is one moment, under the vertex lock."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastdag._atomics cimport acquire
from fastdag._edges cimport Core
from fastdag._readiness cimport Readiness, readiness_at, state_of, status_of
from fastdag._storage cimport (
    EdgeList, Vertex, alive, list_labels, list_seen_locked, list_words, shown_locked, vertex_at, vertex_lock, vertex_unlock,
)
from fastdag._types cimport BUSY, DONE, NO_MEMORY, STALE, Outcome, Ref

cdef enum:
    FEW = 64                 # so many neighbours are copied without asking for memory

cdef struct Ends:            # a copy of one edge list
    int32_t[FEW] few_ids
    int32_t[FEW] few_labels
    int32_t *ids
    int32_t *labels
    int32_t room
    int32_t count


cdef inline void ends_start(Ends *e) noexcept nogil:
    e.ids = e.few_ids
    e.labels = e.few_labels
    e.room = FEW
    e.count = 0


cdef inline void ends_free(Ends *e) noexcept nogil:
    if e.ids != e.few_ids:
        free(e.ids)
        free(e.labels)
    ends_start(e)


cdef inline bint ends_grow(Ends *e) noexcept nogil:
    """Room for e.count entries; False when memory is out."""
    cdef int32_t room = e.count
    ends_free(e)
    e.ids = <int32_t *>malloc(<size_t>room * sizeof(int32_t))
    e.labels = <int32_t *>malloc(<size_t>room * sizeof(int32_t))
    if e.ids == NULL or e.labels == NULL:
        free(e.ids)
        free(e.labels)
        ends_start(e)
        return False
    e.room = room
    return True


cdef inline Outcome ends_copy(Core *c, Ref ref, bint backward, Ends *e, bint wait) noexcept nogil:
    """Copy an edge list; NO_MEMORY with e.count set when there is too little room. O(entries)."""
    cdef Vertex *v = vertex_at(&c.store, ref.id)
    cdef EdgeList *list = &v.ins if backward else &v.outs
    cdef Outcome outcome = DONE
    if not vertex_lock(&c.store, ref.id, wait):
        return BUSY
    if not alive(&c.store, ref):
        outcome = STALE
    else:
        e.count = list_seen_locked(&c.store, ref.id, list, shown_locked(&c.store, ref.id))
        if e.count > e.room:
            outcome = NO_MEMORY
        else:
            memcpy(e.ids, list_words(list), <size_t>e.count * sizeof(int32_t))
            if not backward or c.store.in_words == 2:
                memcpy(e.labels, list_labels(list), <size_t>e.count * sizeof(int32_t))
    vertex_unlock(&c.store, ref.id)
    return outcome


cdef inline Outcome vertex_degrees(Core *c, Ref ref, int64_t *outs, int64_t *ins, bint wait) noexcept nogil:
    """Lengths of both edge lists at one moment: DONE, STALE or BUSY. O(1)."""
    cdef Vertex *v = vertex_at(&c.store, ref.id)
    cdef Outcome outcome = STALE
    cdef bint shown
    if not vertex_lock(&c.store, ref.id, wait):
        return BUSY
    if alive(&c.store, ref):
        shown = shown_locked(&c.store, ref.id)
        outs[0] = list_seen_locked(&c.store, ref.id, &v.outs, shown)
        ins[0] = list_seen_locked(&c.store, ref.id, &v.ins, shown)
        outcome = DONE
    vertex_unlock(&c.store, ref.id)
    return outcome


cdef inline Outcome status_read(Core *c, Ref ref, int32_t *status, int *state, int64_t *since, bint wait) noexcept nogil:
    """Status, state and time of a vertex at one moment: DONE, STALE or BUSY. O(1)."""
    cdef Readiness *r = readiness_at(&c.board, ref.id)
    cdef Outcome outcome = STALE
    if not vertex_lock(&c.store, ref.id, wait):
        return BUSY
    if alive(&c.store, ref):
        status[0] = status_of(&c.board, ref.id)
        since[0] = r.since.load(acquire)
        state[0] = <int>state_of(r.word.load(acquire))
        outcome = DONE
    vertex_unlock(&c.store, ref.id)
    return outcome

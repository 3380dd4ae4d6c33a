"""Walk everything and name the first invariant that does not hold."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from fastdag._adjacency cimport list_find_locked
from fastdag._atomics cimport acquire
from fastdag._batch cimport edges_in
from fastdag._edges cimport Core
from fastdag._locks cimport order_lock_exclusive, order_unlock_exclusive
from fastdag._order cimport rank_of
from fastdag._readiness cimport masks_at, readiness_at, share_of, status_of, watched_bit
from fastdag._storage cimport Store, Vertex, class_words, list_labels, list_words, seen_at, vertex_at


cdef inline const char *check_vertex(Core *c, int32_t id, int64_t *edges) noexcept nogil:
    cdef Store *s = &c.store
    cdef Vertex *v = vertex_at(s, id)
    cdef Vertex *other
    cdef int32_t i, end, at
    cdef uint64_t counted = 0
    if v.born.load(acquire) == 0:
        if v.outs.count or v.ins.count or rank_of(s, id):
            return b"no vertex lives here, but it has edges or a place in the order"
        return NULL
    if <int64_t>v.outs.count * 2 > class_words(v.outs.size_class):
        return b"more out-edges than its block has room for"
    if <int64_t>v.ins.count * s.in_words > class_words(v.ins.size_class):
        return b"more in-edges than its block has room for"
    if (v.outs.count or v.ins.count) and not rank_of(s, id):
        return b"it has edges but no place in the order"
    edges[0] += v.outs.count
    for i in range(v.outs.count):
        end = list_words(&v.outs)[i]
        if end < 0 or end >= s.used.load(acquire) or vertex_at(s, end).born.load(acquire) == 0:
            return b"an out-edge leads to no vertex"
        other = vertex_at(s, end)
        at = list_find_locked(&other.ins, id)
        if at < 0:
            return b"an out-edge is not among the in-edges of its target"
        if list_find_locked(&v.outs, end) != i:
            return b"an out-edge is there twice"
        if s.in_words == 2 and list_labels(&other.ins)[at] != list_labels(&v.outs)[i]:
            return b"the two lists of an edge disagree about its label"
        if rank_of(s, id) >= rank_of(s, end):
            return b"an out-edge goes against the order"
        if c.board.on:
            counted += share_of(masks_at(&c.board, list_labels(&v.outs)[i]), status_of(&c.board, end))
    for i in range(v.ins.count):
        end = list_words(&v.ins)[i]
        if end < 0 or end >= s.used.load(acquire) or list_find_locked(&vertex_at(s, end).outs, id) < 0:
            return b"an in-edge is not among the out-edges of its source"
    if c.board.on and counted != (readiness_at(&c.board, id).word.load(acquire) & ((<uint64_t>1 << 62) - 1)):
        return b"its counters of unmet and impossible dependencies do not agree with its edges"
    return NULL


cdef inline const char *core_check(Core *c, int32_t *id) noexcept nogil:
    """The first broken invariant, with the vertex in `id`, or NULL. Everything stands still meanwhile. O(sum of squared degrees)."""
    cdef Store *s = &c.store
    cdef const char *broken = NULL
    cdef int32_t at, before = -1
    cdef int64_t edges = 0, placed = 0, settled = 0, watched = 0
    order_lock_exclusive(&c.lock, True)
    order_lock_exclusive(&c.board.log.control, True)
    order_lock_exclusive(&c.board.log.under_way, True)
    for at in range(s.used.load(acquire)):
        broken = check_vertex(c, at, &edges)
        if broken != NULL:
            id[0] = at
            break
        settled += seen_at(s, at) != 0
        watched += c.board.on and (readiness_at(&c.board, at).word.load(acquire) & watched_bit()) != 0
    if broken == NULL and settled != s.settled.load(acquire):
        broken = b"the number of vertices is miscounted"
    if broken == NULL and edges != edges_in(s):
        broken = b"the number of edges is miscounted"
    at = c.order.head
    while broken == NULL and at >= 0:
        id[0] = at
        if vertex_at(s, at).before != before:
            broken = b"the order's links disagree"
        elif before >= 0 and rank_of(s, before) >= rank_of(s, at):
            broken = b"ranks do not rise along the order"
        elif not rank_of(s, at):
            broken = b"it is linked into the order but has no rank"
        before = at
        placed += 1
        at = vertex_at(s, at).after
    if broken == NULL and (before != c.order.tail or placed != c.order.count):
        broken = b"the order's end or count is wrong"
    if broken == NULL and watched != c.board.log.watched.load(acquire):
        broken = b"the number of watched vertices is miscounted"
    if broken == NULL and (c.board.log.batches or c.board.log.promised):  # no batch is under way now
        broken = b"the log still keeps room for a batch that is over"
    order_unlock_exclusive(&c.board.log.under_way)
    order_unlock_exclusive(&c.board.log.control)
    order_unlock_exclusive(&c.lock)
    return broken

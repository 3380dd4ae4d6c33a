"""Vertices come and go: a record begins a life; a vertex is taken out with all its edges, in one moment for every reader."""

from libc.stdint cimport int32_t

from fastdag._adjacency cimport list_find_locked, list_remove_locked
from fastdag._atomics cimport relaxed, release, seq_cst
from fastdag._edges cimport Core, isolated
from fastdag._locks cimport order_lock_exclusive, order_lock_shared, order_unlock_exclusive, order_unlock_shared
from fastdag._order cimport order_unlink, rank_of
from fastdag._readiness cimport Readiness
from fastdag._storage cimport (
    EdgeList, Store, Vertex, alive, block_give, list_words, seen_at, shown_locked, stripe_of, tentative_bit, vertex_at,
    vertex_lock, vertex_settle_locked, vertex_unlock,
)
from fastdag._types cimport BUSY, DONE, EXISTED, STALE, Outcome, Ref, segments_reserve


cdef inline bint vertex_room(Core *c, int32_t id) noexcept nogil:
    """Room for the record of a vertex; False when memory is out. Under the lock of the names."""
    return segments_reserve(&c.store.vertices, id, sizeof(Vertex)) and (
        not c.board.on or segments_reserve(&c.board.readiness, id, sizeof(Readiness)))


cdef inline void vertex_make(Core *c, int32_t id, Ref *ref) noexcept nogil:
    """Begin a life in a record that is free: a tentative vertex without edges. Under the lock of the names. O(1).

    No core lock is held, so nothing may be written here that anyone else writes, or reads before `born` is set.
    """
    cdef Vertex *v = vertex_at(&c.store, id)
    ref.id = id
    ref.born = c.store.lives.fetch_add(1, seq_cst) + 1
    v.born.store(ref.born | tentative_bit(), release)


cdef inline Outcome vertex_keep(Core *c, Ref ref, bint wait) noexcept nogil:
    """Let a vertex stay whatever becomes of the edge it was made for: DONE, STALE or BUSY. O(1).

    A new one comes under the order lock, shared: whoever has that exclusively finds the vertices of one moment.
    """
    cdef Outcome outcome = STALE
    cdef int slot
    if seen_at(&c.store, ref.id) == ref.born:
        return DONE
    slot = order_lock_shared(&c.lock, wait)
    if slot < 0:
        return BUSY
    if not vertex_lock(&c.store, ref.id, wait):
        outcome = BUSY
    else:
        if alive(&c.store, ref):
            vertex_settle_locked(&c.store, ref.id)
            outcome = DONE
        vertex_unlock(&c.store, ref.id)
    order_unlock_shared(&c.lock, slot)
    return outcome


cdef inline Outcome vertex_look(Core *c, Ref ref, bint wait) noexcept nogil:
    """Whether a vertex that was tentative a moment ago is seen now: DONE, STALE or BUSY. O(1).

    Under its lock: an edge that is being written may have let its other end be seen already. So may edges of a bulk load that are
    seen and not yet added up.
    """
    cdef Outcome outcome = STALE
    if not vertex_lock(&c.store, ref.id, wait):
        return BUSY
    if seen_at(&c.store, ref.id) == ref.born:
        outcome = DONE
    elif alive(&c.store, ref) and shown_locked(&c.store, ref.id):
        outcome = DONE
    vertex_unlock(&c.store, ref.id)
    return outcome


cdef inline void neighbours_unlock(Store *s, EdgeList *list, int32_t n) noexcept nogil:
    """Unlock the first `n` vertices of an edge list."""
    cdef int32_t i
    for i in range(n):
        vertex_unlock(s, list_words(list)[i])


cdef inline bint neighbours_lock(Store *s, EdgeList *list, bint wait) noexcept nogil:
    """Lock all vertices of an edge list; False, with none held, when one is not free and `wait` is False.

    In any order: under the exclusive order lock nobody else waits for a vertex while holding another.
    """
    cdef int32_t i
    for i in range(list.count):
        if not vertex_lock(s, list_words(list)[i], wait):
            neighbours_unlock(s, list, i)
            return False
    return True


cdef inline Outcome vertex_remove(Core *c, Ref ref, bint only_tentative, bint wait) noexcept nogil:
    """Take a vertex out with all its edges, in one moment for every reader. O(entries of its and its neighbours' lists).

    With `only_tentative`, only one that nobody has used since it was made for an edge that was refused (else EXISTED).
    It and all its neighbours are locked at once, so that no reader sees some of its edges gone and others not.
    """
    cdef Store *s = &c.store
    cdef Vertex *v = vertex_at(s, ref.id)
    cdef Vertex *other
    cdef int32_t i, end
    cdef EdgeList outs, ins
    cdef Outcome outcome = DONE
    if not order_lock_exclusive(&c.lock, wait):
        return BUSY
    if not vertex_lock(s, ref.id, wait):
        order_unlock_exclusive(&c.lock)
        return BUSY
    if not alive(s, ref):
        outcome = STALE
    elif only_tentative and (seen_at(s, ref.id) or not isolated(v)):
        outcome = EXISTED
    elif not neighbours_lock(s, &v.outs, wait):
        outcome = BUSY
    elif not neighbours_lock(s, &v.ins, wait):
        neighbours_unlock(s, &v.outs, v.outs.count)
        outcome = BUSY
    else:
        outs = v.outs
        ins = v.ins
        for i in range(outs.count):
            end = list_words(&outs)[i]
            other = vertex_at(s, end)
            list_remove_locked(s, end, &other.ins, list_find_locked(&other.ins, ref.id), s.in_words)
        for i in range(ins.count):
            end = list_words(&ins)[i]
            other = vertex_at(s, end)
            list_remove_locked(s, end, &other.outs, list_find_locked(&other.outs, ref.id), 2)
            stripe_of(s, end).edges.fetch_sub(1, relaxed)
        stripe_of(s, ref.id).edges.fetch_sub(outs.count, relaxed)
        v.outs.count = v.ins.count = 0
        v.outs.size_class = v.ins.size_class = 0
        if rank_of(s, ref.id) != 0:
            order_unlink(s, &c.order, ref.id)
        if seen_at(s, ref.id):
            s.settled.fetch_sub(1, relaxed)
        v.born.store(0, release)
        neighbours_unlock(s, &outs, outs.count)
        neighbours_unlock(s, &ins, ins.count)
        if outs.size_class:
            block_give(s, ref.id, outs.words.block, outs.size_class)
        if ins.size_class:
            block_give(s, ref.id, ins.words.block, ins.size_class)
    vertex_unlock(s, ref.id)
    order_unlock_exclusive(&c.lock)
    return outcome

"""Taking a vertex out with all its edges, in one moment for every reader."""

from libc.stdint cimport int32_t, uint64_t

from fastdag._adjacency cimport list_find_locked, list_remove_locked
from fastdag._atomics cimport release
from fastdag._edges cimport Core, isolated
from fastdag._locks cimport order_lock_exclusive, order_unlock_exclusive
from fastdag._order cimport order_unlink
from fastdag._storage cimport (
    STRIPES, Store, Vertex, alive, list_words, pool_give_locked, stripe_of, vertex_at, vertex_lock, vertex_unlock,
)
from fastdag._types cimport BUSY, DONE, EXISTED, STALE, Outcome, Ref


cdef inline bint stripes_lock(Store *s, uint64_t *chosen, bint wait) noexcept nogil:
    """Lock a set of stripes, two words of bits, in stripe order; False, with none held, when one is not free."""
    cdef int32_t stripe, back
    for stripe in range(STRIPES):
        if chosen[stripe >> 6] >> (stripe & 63) & 1 and not vertex_lock(s, stripe, wait):
            for back in range(stripe):
                if chosen[back >> 6] >> (back & 63) & 1:
                    vertex_unlock(s, back)
            return False
    return True


cdef inline void stripes_unlock(Store *s, uint64_t *chosen) noexcept nogil:
    cdef int32_t stripe
    for stripe in range(STRIPES):
        if chosen[stripe >> 6] >> (stripe & 63) & 1:
            vertex_unlock(s, stripe)


cdef inline Outcome vertex_remove(Core *c, Ref ref, bint only_tentative, bint wait) noexcept nogil:
    """Take a vertex out with all its edges, in one moment for every reader. O(entries of its and its neighbours' lists).

    With `only_tentative`, only one that nobody has used since it was made for an edge that was refused (else EXISTED).
    All stripes concerned are locked at once, so that no reader sees some of its edges gone and others not.
    """
    cdef Store *s = &c.store
    cdef Vertex *v = vertex_at(s, ref.id)
    cdef Vertex *other
    cdef int32_t i, end
    cdef uint64_t[2] chosen
    cdef Outcome outcome = DONE
    if not order_lock_exclusive(&c.lock, wait):
        return BUSY
    chosen[0] = 0
    chosen[1] = 0
    chosen[(ref.id & (STRIPES - 1)) >> 6] |= <uint64_t>1 << (ref.id & 63)
    if alive(s, ref):
        for i in range(v.outs.count):
            end = list_words(&v.outs)[i] & (STRIPES - 1)
            chosen[end >> 6] |= <uint64_t>1 << (end & 63)
        for i in range(v.ins.count):
            end = list_words(&v.ins)[i] & (STRIPES - 1)
            chosen[end >> 6] |= <uint64_t>1 << (end & 63)
    if not stripes_lock(s, chosen, wait):
        order_unlock_exclusive(&c.lock)
        return BUSY
    if not alive(s, ref):
        outcome = STALE
    elif only_tentative and (not v.tentative or not isolated(v)):
        outcome = EXISTED
    else:
        for i in range(v.outs.count):
            end = list_words(&v.outs)[i]
            other = vertex_at(s, end)
            list_remove_locked(&stripe_of(s, end).pool, &other.ins, list_find_locked(&other.ins, ref.id), s.in_words)
        for i in range(v.ins.count):
            end = list_words(&v.ins)[i]
            other = vertex_at(s, end)
            list_remove_locked(&stripe_of(s, end).pool, &other.outs, list_find_locked(&other.outs, ref.id), 2)
            stripe_of(s, end).edges -= 1
        stripe_of(s, ref.id).edges -= v.outs.count
        if v.outs.size_class:
            pool_give_locked(&stripe_of(s, ref.id).pool, v.outs.words.block, v.outs.size_class)
        if v.ins.size_class:
            pool_give_locked(&stripe_of(s, ref.id).pool, v.ins.words.block, v.ins.size_class)
        v.outs.count = v.ins.count = 0
        v.outs.size_class = v.ins.size_class = 0
        if v.placed:
            order_unlink(s, &c.order, ref.id)
        v.tentative = False
        v.born.store(0, release)
    stripes_unlock(s, chosen)
    order_unlock_exclusive(&c.lock)
    return outcome

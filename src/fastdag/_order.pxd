"""The topological order: an order-maintenance list of 64-bit ranks.

Every vertex that has had an edge stands in a doubly linked list, with ranks that rise along it, so that two vertices
compare in O(1). A vertex put between two others gets a rank between theirs; where there is none, the ranks of the
smallest surrounding range that is not too dense are spread out again: O(log n) amortised per insertion (Bender, Cole,
Demaine, Farach-Colton, Zito 2002, "Two simplified algorithms for maintaining order in a list").

Guarantees
- Ranks of vertices with edges change only under the exclusive order lock.
- A vertex without edges is moved to either end under the shared lock: O(1), holding its vertex lock and the ends lock.

Assumes
- Ranks are compared under the order lock; a vertex that may have no edges, under its vertex lock as well.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

from fastdag._atomics cimport mutex, relaxed
from fastdag._locks cimport LockStats, mutex_take
from fastdag._storage cimport Store, Vertex, vertex_at
from fastdag._types cimport BUSY, DONE, REORDER, Outcome

cdef enum:
    END_GAP_BITS = 32        # distance between neighbours put at an end: 2**32, room for 2**31 of them at each end

cdef struct Order:
    mutex ends               # leaf lock: head, tail, count, and the links beside a vertex put at an end
    int32_t head, tail       # first and last vertex, -1 when there is none
    int64_t count            # vertices that are placed
    LockStats ends_stats


cdef inline uint64_t rank_of(Store *s, int32_t id) noexcept nogil:
    return vertex_at(s, id).rank.load(relaxed)


cdef inline bint order_agrees(Store *s, int32_t u, int32_t v) noexcept nogil:
    """Whether both vertices have a place, u's before v's. Order lock held."""
    cdef uint64_t rank = rank_of(s, u)
    return rank != 0 and rank < rank_of(s, v)


cdef inline void order_unlink(Store *s, Order *o, int32_t id) noexcept nogil:
    """Take a vertex out. Ends lock held, or the order lock exclusively. O(1)."""
    cdef Vertex *v = vertex_at(s, id)
    if v.before < 0:
        o.head = v.after
    else:
        vertex_at(s, v.before).after = v.after
    if v.after < 0:
        o.tail = v.before
    else:
        vertex_at(s, v.after).before = v.before
    v.rank.store(0, relaxed)
    o.count -= 1


cdef inline void order_link(Store *s, Order *o, int32_t id, int32_t before, int32_t after) noexcept nogil:
    """Put a vertex between two neighbours (-1: the end of the list). Ends lock held, or the order lock exclusively."""
    cdef Vertex *v = vertex_at(s, id)
    v.before = before
    v.after = after
    if before < 0:
        o.head = id
    else:
        vertex_at(s, before).after = id
    if after < 0:
        o.tail = id
    else:
        vertex_at(s, after).before = id
    o.count += 1


cdef inline Outcome order_take_end(Store *s, Order *o, int32_t id, bint front, bint wait) noexcept nogil:
    """Put a vertex without edges at the front or the back; REORDER when the ranks at that end are used up. O(1).

    Holding its vertex lock, and the order lock shared or exclusively; takes the ends lock, which is held for O(1) only.
    """
    cdef Vertex *v = vertex_at(s, id)
    cdef uint64_t gap = <uint64_t>1 << END_GAP_BITS
    cdef uint64_t rank
    cdef int32_t end
    cdef bint room = True
    if not mutex_take(&o.ends, &o.ends_stats, wait):
        return BUSY
    end = o.head if front else o.tail
    if end == id:
        o.ends.unlock()
        return DONE
    if end < 0:
        rank = <uint64_t>1 << 63
    else:
        rank = rank_of(s, end)
        room = rank > gap if front else rank < ~gap
        rank = rank - gap if front else rank + gap
    if room:
        if rank_of(s, id) != 0:
            order_unlink(s, o, id)
        if front:
            order_link(s, o, id, -1, o.head)
        else:
            order_link(s, o, id, o.tail, -1)
        v.rank.store(rank, relaxed)
    o.ends.unlock()
    return DONE if room else REORDER


cdef inline void order_spread_all(Store *s, Order *o) noexcept nogil:
    """Give the whole list even ranks around the middle. O(n). Order lock held exclusively."""
    cdef uint64_t gap = <uint64_t>1 << END_GAP_BITS
    cdef uint64_t rank = (<uint64_t>1 << 63) - (<uint64_t>o.count >> 1) * gap
    cdef int32_t at = o.head
    cdef Vertex *v
    while at >= 0:
        v = vertex_at(s, at)
        v.rank.store(rank, relaxed)
        rank += gap
        at = v.after


cdef inline void order_make_room(Store *s, Order *o, int32_t id) noexcept nogil:
    """Make room behind a vertex: spread the smallest range around it that is under its share. Order lock exclusive.

    The range of 2**i ranks around the vertex may hold (2/T)**i vertices, T = 1.5. O(log n) amortised.
    """
    cdef uint64_t rank = rank_of(s, id)
    cdef uint64_t low, high, mask, gap
    cdef int32_t first = id, last = id, at
    cdef int64_t count = 1
    cdef double limit = 1.0
    cdef int i
    cdef Vertex *v
    for i in range(1, 63):
        limit *= 2.0 / 1.5
        mask = (<uint64_t>1 << i) - 1
        low = rank & ~mask
        high = low | mask
        while vertex_at(s, first).before >= 0 and rank_of(s, vertex_at(s, first).before) >= low:
            first = vertex_at(s, first).before
            count += 1
        while vertex_at(s, last).after >= 0 and rank_of(s, vertex_at(s, last).after) <= high:
            last = vertex_at(s, last).after
            count += 1
        gap = (mask + 1) // <uint64_t>(count + 1)
        if <double>count < limit and gap >= 2:
            at = first
            rank = low + gap
            while True:
                v = vertex_at(s, at)
                v.rank.store(rank, relaxed)
                if at == last:
                    return
                rank += gap
                at = v.after
    order_spread_all(s, o)


cdef inline void order_put(Store *s, Order *o, int32_t *ids, int64_t n, int32_t anchor, bint behind) noexcept nogil:
    """Put vertices, taken out before, in this order directly behind or before an anchor. Order lock held exclusively.

    Their ranks are spread evenly over the gap, so that a long run does not use it up at one side. O(n), or O(n log n)
    amortised where the gap is too small for the run.
    """
    cdef int32_t before = anchor if behind else vertex_at(s, anchor).before
    cdef int32_t after = vertex_at(s, anchor).after if behind else anchor
    cdef uint64_t low = 0, high = 0, gap = 0
    cdef int64_t i
    for i in range(n):
        if low + gap >= high or gap == 0:
            # At the start, and again for each vertex while the gap is too small for all that are left.
            low = rank_of(s, before) if before >= 0 else 0
            high = rank_of(s, after) if after >= 0 else ~<uint64_t>0
            # At an end of the list take the customary distance, not half of all the ranks that are left.
            if before < 0:
                low = high - min(high, <uint64_t>(n - i + 1) << END_GAP_BITS)
            elif after < 0:
                high = low + min(~low, <uint64_t>(n - i + 1) << END_GAP_BITS)
            gap = (high - low) // <uint64_t>(n - i + 1)
            if gap == 0:
                if before < 0 or after < 0:
                    order_spread_all(s, o)
                else:
                    order_make_room(s, o, before)
                low = rank_of(s, before) if before >= 0 else rank_of(s, after) - (<uint64_t>2 << END_GAP_BITS)
                high = rank_of(s, after) if after >= 0 else low + (<uint64_t>2 << END_GAP_BITS)
                gap = max((high - low) // <uint64_t>(n - i + 1), <uint64_t>1)
        low += gap
        vertex_at(s, ids[i]).rank.store(low, relaxed)
        order_link(s, o, ids[i], before, after)
        before = ids[i]

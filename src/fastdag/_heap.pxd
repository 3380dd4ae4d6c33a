"""Items by rank: a binary min-heap, and a sort made for few."""

from libc.stdint cimport int32_t, int64_t, uint64_t

cdef extern from "<algorithm>" namespace "std" nogil:
    void sort_ranked "std::sort"(Ranked *, Ranked *, bint (*)(const Ranked &, const Ranked &) noexcept)

cdef enum:
    FEW = 24                 # so many are sorted by insertion

cdef struct Ranked:
    uint64_t rank            # the vertex's rank; complemented in the backward heap, so that both are min-heaps
    int32_t item             # index of its visit; when sorted for moving, its id

cdef struct Heap:
    Ranked *items
    int64_t count


cdef inline void heap_push(Heap *h, uint64_t rank, int32_t item) noexcept nogil:
    cdef int64_t i = h.count
    h.count += 1
    while i > 0 and h.items[(i - 1) >> 1].rank > rank:
        h.items[i] = h.items[(i - 1) >> 1]
        i = (i - 1) >> 1
    h.items[i].rank = rank
    h.items[i].item = item


cdef inline void heap_pop(Heap *h) noexcept nogil:
    cdef Ranked last
    cdef int64_t i = 0, child = 1
    h.count -= 1
    last = h.items[h.count]
    while child < h.count:
        if child + 1 < h.count and h.items[child + 1].rank < h.items[child].rank:
            child += 1
        if h.items[child].rank >= last.rank:
            break
        h.items[i] = h.items[child]
        i = child
        child = 2 * i + 1
    h.items[i] = last


cdef inline bint by_rank(const Ranked &a, const Ranked &b) noexcept nogil:
    return a.rank < b.rank


cdef inline void ranked_sort(Ranked *items, int64_t n) noexcept nogil:
    """Sort by rank. O(n log n)."""
    cdef int64_t i, at
    cdef Ranked last
    if n > FEW:
        sort_ranked(items, items + n, by_rank)
        return
    for i in range(1, n):                # most calls are for a few: no calls from here, no comparison by pointer
        last = items[i]
        at = i
        while at > 0 and items[at - 1].rank > last.rank:
            items[at] = items[at - 1]
            at -= 1
        items[at] = last

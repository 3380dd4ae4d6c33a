"""A cache in front of a dict from objects to vertices, which knows objects by their address.

A dict answers from three places far apart (index, entry, number) and may run `__eq__`; this answers from one cache line
and runs nothing. It need not know every object: where it is out of room or of memory, the dict is asked.

**Guarantees.** It answers with what was put in or not at all.
**Assumes.** What was put in lives as long as the cache and keeps its vertex: keys of a dict that loses none. One caller
at a time, as for the dict.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t

cdef enum:
    IDENTITY_WAYS = 4        # places in which an object may be, side by side
    IDENTITY_LINE = 64       # bytes they take: one cache line
    IDENTITY_MOST = 1 << 28  # lines

cdef struct IdentityPlace:
    const void *object       # borrowed, compared and never followed; NULL: nothing is here
    int32_t vertex

cdef struct IdentityCache:
    IdentityPlace *places    # IDENTITY_WAYS for each line, at a line's boundary; NULL as long as the cache is empty
    void *raw                # what to free
    int32_t lines            # 0 or a power of two
    int shift                # 64 - log2(lines)
    int64_t used             # places that hold something


cdef inline IdentityPlace *identity_line(const IdentityCache *c, const void *object) noexcept nogil:
    """The places for an object, by the high bits of its address times the golden ratio (Knuth, TAOCP 3, 6.4).

    Objects lie at regular distances. The high bits spread those evenly, others do not.
    """
    return c.places + ((<uint64_t><uintptr_t>object >> 4) * <uint64_t>0x9E3779B97F4A7C15 >> c.shift) * IDENTITY_WAYS


cdef inline int32_t identity_find(const IdentityCache *c, const void *object) noexcept nogil:
    """The vertex of an object, -1 if the cache does not know it. O(1)."""
    cdef IdentityPlace *line
    cdef int way
    if c.places != NULL:
        line = identity_line(c, object)
        for way in range(IDENTITY_WAYS):
            if line[way].object == object:
                return line[way].vertex
    return -1


cdef inline void identity_place(IdentityCache *c, const void *object, int32_t vertex) noexcept nogil:
    cdef IdentityPlace *line = identity_line(c, object)
    cdef int way
    for way in range(IDENTITY_WAYS):
        if line[way].object == NULL:
            line[way].object = object
            line[way].vertex = vertex
            c.used += 1
            return


cdef inline void identity_grow(IdentityCache *c) noexcept nogil:
    """Twice as many lines, if there is memory for them."""
    cdef IdentityCache grown
    cdef int64_t i
    grown.lines = 2 * c.lines if c.lines > 0 else 4
    grown.shift = c.shift - 1 if c.lines > 0 else 62
    grown.used = 0
    grown.raw = PyMem_RawCalloc(<size_t>grown.lines + 1, IDENTITY_LINE)
    if grown.raw == NULL:
        return
    grown.places = <IdentityPlace *>((<uintptr_t>grown.raw + IDENTITY_LINE) & ~<uintptr_t>(IDENTITY_LINE - 1))
    for i in range(<int64_t>c.lines * IDENTITY_WAYS):
        if c.places[i].object != NULL:
            identity_place(&grown, c.places[i].object, c.places[i].vertex)
    PyMem_RawFree(c.raw)
    c[0] = grown


cdef inline void identity_put(IdentityCache *c, const void *object, int32_t vertex) noexcept nogil:
    """Remember the vertex of an object that was not put in before. Amortised O(1).

    At most half of the places are used, so that of 100 objects at most one or two find theirs taken.
    """
    if 2 * c.used >= <int64_t>c.lines * IDENTITY_WAYS and c.lines < IDENTITY_MOST:
        identity_grow(c)
    if c.places != NULL:
        identity_place(c, object, vertex)


cdef inline void identity_free(IdentityCache *c) noexcept nogil:
    PyMem_RawFree(c.raw)
    c.raw = NULL
    c.places = NULL
    c.lines = 0
    c.used = 0

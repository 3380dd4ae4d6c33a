"""Vocabulary of the core: what operations answer, references to vertices, segments that never move."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libcpp.bit cimport bit_width

cdef enum Outcome:
    DONE              # it happened
    EXISTED           # it was so already; nothing changed
    REPLACED          # the edge was there: its label was replaced
    BUSY              # a lock was not free at once; nothing changed: call again, allowed to wait
    STALE             # the vertex was removed since its name was looked up; nothing changed
    MISSING           # what was asked for is not there
    CYCLE             # the edge would close a cycle; nothing changed
    CONFLICT          # the edge is there with another label; nothing changed
    UNREGISTERED      # the vertex has no status yet; nothing changed
    NO_MEMORY         # nothing changed
    OVER_BUDGET       # the walk is longer than may be made with the interpreter held; nothing changed
    REORDER           # the edge disagrees with the order: settle it under the exclusive lock

cdef enum:
    SEGMENTS = 26            # 64 << 25 is 2**31: as many vertices as an int32 can count
    FIRST_SEGMENT = 64       # items in the first segment; each next one is twice as long
    MOST_VERTICES = 2147483647

cdef struct Ref:
    int32_t id               # index of the vertex record
    uint64_t born            # which life of that record: ids are used again, `born` never is

cdef struct Flip:
    int32_t id               # vertex whose state changed
    int32_t state            # its new state

cdef struct Answer:
    # What an operation tells beside its outcome.
    Flip *flips              # room for changes of state, given by the caller; NULL: not wanted
    int64_t room             # how many fit
    int64_t flipped          # how many there were; after NO_MEMORY: how much room is needed, 0 if that is not the reason
    int32_t *path            # after CYCLE: the cycle, first vertex not repeated; the caller frees it
    int64_t path_length
    int64_t position         # of the edge of a bulk load that is to blame
    int64_t added            # edges that a bulk load added

cdef struct Segments:
    # An array that grows without moving, so that a reader may index it without a lock. Guarded by: whoever grows it
    # (the lock of the names, see _names.pxd); a reader has its index from a place written after the growth.
    char *items[SEGMENTS]    # start of segment k at a 64-byte boundary, or NULL
    void *raw[SEGMENTS]      # what to free


cdef inline int segment_of(int32_t i) noexcept nogil:
    return <int>bit_width[uint32_t](<uint32_t>i + FIRST_SEGMENT) - 7


cdef inline uint32_t segment_offset(int32_t i, int k) noexcept nogil:
    return <uint32_t>i + FIRST_SEGMENT - (<uint32_t>FIRST_SEGMENT << k)


cdef inline bint segments_reserve(Segments *s, int32_t i, size_t size) noexcept nogil:
    """Make room for item i of `size` bytes, zeroed; False when memory is out. O(1), amortised O(size) per item."""
    cdef int k = segment_of(i)
    cdef void *raw
    if s.items[k] == NULL:
        raw = calloc((<size_t>FIRST_SEGMENT << k) * size + 64, 1)
        if raw == NULL:
            return False
        s.raw[k] = raw
        s.items[k] = <char *>((<uint64_t>raw + 63) & ~<uint64_t>63)
    return True


cdef inline void segments_free(Segments *s) noexcept nogil:
    cdef int k
    for k in range(SEGMENTS):
        free(s.raw[k])
        s.raw[k] = NULL
        s.items[k] = NULL

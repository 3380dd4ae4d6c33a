"""Where vertices and edge lists live: vertex records that never move, and pools of small blocks.

An edge list is an array of int32 words: the other ends, then (where the list keeps labels) their label ids. Up to two words
lie in the record itself; longer lists in a block of one of the sizes 4, 6, 8, 12, 16, 24, 32 … words, so a list of k
words wastes at most a third. Blocks of up to 64 words are cut from the chunks of 128 pools and used again; larger ones
come from malloc.

The lock of a vertex lies in its record, in the cache line that whoever takes it is about to read: two threads on
different vertices share no line, as they would with an array of locks.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from libcpp.vector cimport vector

from fastdag._atomics cimport acquire, atomic, debug_assert, mutex, relaxed, release
from fastdag._locks cimport LockStats, mutex_take
from fastdag._types cimport (
    Ref, Segments, segment_of, segment_offset, segments_free,
)

cdef extern from *:
    """
    #ifdef FASTDAG_SCHEDULE
    enum { FASTDAG_STRIPES = 2 };  // so that a few vertices meet there
    #else
    enum { FASTDAG_STRIPES = 128 };
    #endif
    """
    const int STRIPES "FASTDAG_STRIPES"  # pools and counters of edges; a power of two

cdef enum:
    POOLED = 9               # size classes 1 … 9 (4 … 64 words) come from the pool
    SMALLEST_CHUNK = 1024    # bytes
    LARGEST_CHUNK = 65536
    INLINE_WORDS = 2

cdef union Words:
    int32_t *block           # size class > 0
    int32_t few[INLINE_WORDS]  # size class 0

cdef struct EdgeList:        # all fields guarded by the vertex lock of its vertex
    Words words
    int32_t count            # entries
    uint8_t size_class       # 0: in the record
    uint8_t pending          # behind them stand entries of a bulk load that is being published, see `shown_locked`

cdef struct Vertex:          # 64 bytes: one cache line
    atomic[uint64_t] rank    # place in the order, 0: none yet. Written under the order lock exclusively, or shared
                             # with the ends lock and the vertex lock while the vertex has no edges
    int32_t before, after    # neighbours in the order, -1 at its ends; order lock exclusive, or the ends lock. Where no vertex
                             # lives, `before` is the next id to be used again, -1: none; lock of the names
    atomic[uint64_t] born    # number of this life; 0: no vertex lives here. Set by whoever makes the vertex, cleared under
                             # the exclusive order lock and the vertex lock. The highest bit marks a tentative vertex: made
                             # for an edge that is not there yet, to be seen by no reader, and to go again when the edge is
                             # refused. Cleared under the vertex lock
    EdgeList outs            # targets and label ids
    EdgeList ins             # sources, and label ids in a graph with statuses
    int32_t mark             # where a search has noted this vertex; order lock exclusive, never cleared (_search.pxd)
    mutex guard              # the vertex lock

cdef struct Chunk:
    Chunk *next

cdef struct Pool:
    mutex lock               # guards what follows; leaf, held for O(1)
    char *at                 # first free byte of the newest chunk
    char *end
    size_t total             # bytes in all chunks
    Chunk *chunks
    void *spare[POOLED + 1]  # blocks given back, by size class; the first word of each points to the next

cdef struct Stripe:
    atomic[int64_t] edges    # edges whose source lies on this stripe
    Pool pool

cdef struct Store:
    Segments vertices        # of Vertex
    vector[Stripe] *stripes  # STRIPES of them
    atomic[int32_t] used     # ids below this have a record; grows under the lock of the names
    atomic[uint64_t] lives   # vertices ever made
    atomic[int64_t] settled  # vertices that live and are not tentative
    atomic[uint64_t] recycled  # ids ever given back to be used again
    int in_words             # words of an entry of an in-list: 1, or 2 in a graph with statuses
    const int32_t *more_out  # by id: entries that a bulk load has written behind those of an out-list that is `pending`
    const int32_t *more_in   # the same for in-lists; both written before any list is pending, order lock exclusive
    atomic[int32_t] shown    # 1: they are seen; goes to 1 once all are written, back when none is pending
    LockStats vertex_stats


cdef inline Vertex *vertex_at(Store *s, int32_t id) noexcept nogil:
    cdef int k = segment_of(id)
    return (<Vertex *>s.vertices.items[k]) + segment_offset(id, k)


cdef inline Stripe *stripe_of(Store *s, int32_t id) noexcept nogil:
    return &s.stripes[0][id & (STRIPES - 1)]


cdef inline uint64_t tentative_bit() noexcept nogil:
    return <uint64_t>1 << 63


cdef inline uint64_t life_at(Store *s, int32_t id) noexcept nogil:
    """The number of the life in a record, tentative or not; 0: none."""
    return vertex_at(s, id).born.load(acquire) & ~tentative_bit()


cdef inline uint64_t seen_at(Store *s, int32_t id) noexcept nogil:
    """The number of the life in a record, as readers see it; 0: none, or a tentative one."""
    cdef uint64_t born = vertex_at(s, id).born.load(acquire)
    return 0 if born & tentative_bit() else born


cdef inline bint alive(Store *s, Ref ref) noexcept nogil:
    return life_at(s, ref.id) == ref.born


cdef inline void vertex_settle_locked(Store *s, int32_t id) noexcept nogil:
    """Let a vertex be seen, and stay, if it was tentative. Its lock held. O(1)."""
    cdef Vertex *v = vertex_at(s, id)
    cdef uint64_t born = v.born.load(relaxed)
    debug_assert(v.guard.held())
    if born & tentative_bit():
        s.settled.fetch_add(1, relaxed)
        v.born.store(born & ~tentative_bit(), release)


cdef inline bint vertex_lock(Store *s, int32_t id, bint wait) noexcept nogil:
    return mutex_take(&vertex_at(s, id).guard, &s.vertex_stats, wait)


cdef inline void vertex_unlock(Store *s, int32_t id) noexcept nogil:
    vertex_at(s, id).guard.unlock()


cdef inline bint vertex_lock_pair(Store *s, int32_t a, int32_t b, bint wait) noexcept nogil:
    """Lock two vertices, the lower id first; False, with neither held, when one is not free and `wait` is False."""
    if not vertex_lock(s, min(a, b), wait):
        return False
    if not vertex_lock(s, max(a, b), wait):
        vertex_unlock(s, min(a, b))
        return False
    return True


cdef inline void vertex_unlock_pair(Store *s, int32_t a, int32_t b) noexcept nogil:
    vertex_unlock(s, a)
    vertex_unlock(s, b)


cdef inline int64_t class_words(int size_class) noexcept nogil:
    """Words in a block: 4, 6, 8, 12, 16, 24 … for the classes 1, 2, 3 …"""
    if size_class == 0:
        return INLINE_WORDS
    if size_class & 1:
        return <int64_t>4 << ((size_class - 1) >> 1)
    return <int64_t>6 << ((size_class - 2) >> 1)


cdef inline int class_for(int64_t words) noexcept nogil:
    cdef int size_class = 0
    while class_words(size_class) < words:
        size_class += 1
    return size_class


cdef inline int32_t *pool_cut_locked(Pool *p, int size_class) noexcept nogil:
    """A block of this class, or NULL. O(1); at most one malloc per eighth of the pool."""
    cdef size_t size = <size_t>class_words(size_class) * sizeof(int32_t)
    cdef size_t chunk_size
    cdef void *block
    cdef Chunk *chunk
    block = p.spare[size_class]
    if block != NULL:
        p.spare[size_class] = (<void **>block)[0]
        return <int32_t *>block
    if <size_t>(p.end - p.at) < size:
        chunk_size = min(max(p.total >> 3, <size_t>SMALLEST_CHUNK), <size_t>LARGEST_CHUNK)
        chunk = <Chunk *>malloc(chunk_size)
        if chunk == NULL:
            return NULL
        chunk.next = p.chunks
        p.chunks = chunk
        p.at = <char *>chunk + sizeof(Chunk)
        p.end = <char *>chunk + chunk_size
        p.total += chunk_size
    block = p.at
    p.at += size
    return <int32_t *>block


cdef inline Pool *pool_lock(Store *s, int32_t id) noexcept nogil:
    """The pool of a vertex, locked; where that is busy, the next that is free: any will do. O(1)."""
    cdef int32_t i
    for i in range(STRIPES):
        if stripe_of(s, (id & (STRIPES - 1)) + i).pool.lock.try_lock():
            return &stripe_of(s, (id & (STRIPES - 1)) + i).pool
    stripe_of(s, id).pool.lock.lock()    # as many threads as pools: whoever holds one waits for nothing
    return &stripe_of(s, id).pool


cdef inline int32_t *block_take(Store *s, int32_t id, int size_class) noexcept nogil:
    """A block of this class for a list of this vertex, or NULL. O(1)."""
    cdef Pool *pool
    cdef int32_t *block
    if size_class > POOLED:
        return <int32_t *>malloc(<size_t>class_words(size_class) * sizeof(int32_t))
    pool = pool_lock(s, id)
    block = pool_cut_locked(pool, size_class)
    pool.lock.unlock()
    return block


cdef inline void block_give(Store *s, int32_t id, int32_t *block, int size_class) noexcept nogil:
    cdef Pool *pool
    if size_class > POOLED:
        free(block)
    else:
        pool = pool_lock(s, id)
        (<void **>block)[0] = pool.spare[size_class]
        pool.spare[size_class] = block
        pool.lock.unlock()


cdef inline int32_t *list_words(EdgeList *list) noexcept nogil:
    return &list.words.few[0] if list.size_class == 0 else list.words.block


cdef inline int32_t *list_labels(EdgeList *list) noexcept nogil:
    """Where the label ids start in a list that keeps them: behind as many ends as there is room for."""
    return list_words(list) + (class_words(list.size_class) >> 1)


cdef inline bint shown_locked(Store *s, int32_t id) noexcept nogil:
    """Whether readers see what a large bulk load has written behind the lists of a vertex, its lock held. O(1).

    All that such a load brings is seen from one moment on, when `shown` is set. Until it is added up vertex by vertex, whoever
    holds the vertex lock finds it behind the lists; and who publishes needs that lock before the counts in `more_…` go. Who reads
    both lists asks once for both: `shown` is set without the vertex lock.
    """
    cdef Vertex *v = vertex_at(s, id)
    return (v.outs.pending or v.ins.pending) and s.shown.load(acquire)


cdef inline int32_t list_seen_locked(Store *s, int32_t id, EdgeList *list, bint shown) noexcept nogil:
    """How many entries readers see in a list of a vertex, its lock held, with the answer of `shown_locked`. O(1)."""
    if shown and list.pending:
        return list.count + (s.more_out if list == &vertex_at(s, id).outs else s.more_in)[id]
    return list.count


cdef inline bint list_resize_locked(Store *s, int32_t id, EdgeList *list, int words, int size_class) noexcept nogil:
    """Move a list of a vertex to a block of another class; False, and unchanged, when memory is out. O(entries)."""
    cdef Words to
    cdef int32_t *target
    cdef int32_t *source = list_words(list)
    if size_class == 0:
        target = to.few
    else:
        to.block = block_take(s, id, size_class)
        if to.block == NULL:
            return False
        target = to.block
    memcpy(target, source, <size_t>list.count * sizeof(int32_t))
    if words == 2:
        memcpy(target + (class_words(size_class) >> 1), list_labels(list), <size_t>list.count * sizeof(int32_t))
    if list.size_class != 0:
        block_give(s, id, list.words.block, list.size_class)
    list.words = to
    list.size_class = <uint8_t>size_class
    return True


cdef inline bint list_reserve_locked(Store *s, int32_t id, EdgeList *list, int words, int64_t more) noexcept nogil:
    """Make room in a list of a vertex for `more` entries of `words` words each; False, and unchanged, when memory is out."""
    cdef int64_t needed = (list.count + more) * words
    if needed <= class_words(list.size_class):
        return True
    return list_resize_locked(s, id, list, words, class_for(needed))


cdef inline void store_free(Store *s) noexcept nogil:
    """Give all memory back; nobody uses the store any more."""
    cdef int32_t id, stripe
    cdef Vertex *v
    cdef Chunk *chunk
    for id in range(s.used.load(acquire)):
        v = vertex_at(s, id)
        if v.outs.size_class > POOLED:
            free(v.outs.words.block)
        if v.ins.size_class > POOLED:
            free(v.ins.words.block)
    if s.stripes != NULL:
        for stripe in range(STRIPES):
            while s.stripes[0][stripe].pool.chunks != NULL:
                chunk = s.stripes[0][stripe].pool.chunks
                s.stripes[0][stripe].pool.chunks = chunk.next
                free(chunk)
        del s.stripes
        s.stripes = NULL
    segments_free(&s.vertices)

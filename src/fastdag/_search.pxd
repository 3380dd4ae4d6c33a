"""Where a new edge disagrees with the order: look for a cycle, and mend the order.

The two-way ordered search of Haeupler, Kavitha, Mathew, Sen and Tarjan (2012, "Incremental cycle detection,
topological ordering, and strong component maintenance", sections 2 and 3): forward from the target in rising order, backward
from the source in falling order, one edge each in turn, until the two meet (a cycle), pass each other, or one side
has no edge left. Then only the visited vertices move. O(sqrt(m)) amortised edges visited per edge added, times
log n for the heaps.

A small bulk load is settled by the same search edge by edge before any of it can be seen: its edges lie in an overlay
that the search reads behind the real lists.

Assumes the order lock is held exclusively throughout: edge lists and ranks stand still.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, realloc

from fastdag._atomics cimport prefetch
from fastdag._heap cimport Heap, Ranked, heap_pop, heap_push, ranked_sort
from fastdag._order cimport Order, order_put, order_unlink, rank_of
from fastdag._storage cimport EdgeList, Store, list_words, vertex_at
from fastdag._types cimport CYCLE, DONE, NO_MEMORY, Outcome

cdef struct Visit:
    int32_t id               # the vertex
    int32_t parent           # visit from which it was reached, -1 at the start
    int32_t next             # edges of it traversed so far
    int32_t chain            # next edge of it in the overlay, -1 at the end
    bint backward            # reached from the source, against the edges

cdef struct Overlay:
    # Edges of a bulk load that are settled in the order but not yet in the lists. Both arrays have one entry a vertex.
    int32_t *first_out       # first overlay edge with this source, -1: none; NULL: no overlay
    int32_t *first_in
    int32_t *next_out        # per overlay edge: the next one with the same source
    int32_t *next_in
    const int32_t *sources
    const int32_t *targets

cdef struct Search:
    Visit *visits            # every vertex reached. A vertex's `mark` is its index here; it holds when the visit there names the
    int64_t count            # vertex, so marks need no clearing (sparse set: Briggs and Torczon 1993)
    int64_t room             # for how many visits there is memory, in both heaps and `moved` as well
    Heap forward             # visits with edges left, smallest rank first
    Heap backward            # the same against the edges, largest rank first
    Ranked *moved            # vertices about to move
    int32_t *path            # after CYCLE: the cycle, the first vertex not repeated
    int64_t path_length


cdef inline bint search_grow(Search *f) noexcept nogil:
    cdef int64_t room = 2 * f.room if f.room else 64
    cdef void *visits = realloc(f.visits, <size_t>room * sizeof(Visit))
    cdef void *forward
    cdef void *backward
    cdef void *moved
    if visits == NULL:
        return False
    f.visits = <Visit *>visits
    forward = realloc(f.forward.items, <size_t>room * sizeof(Ranked))
    if forward == NULL:
        return False
    f.forward.items = <Ranked *>forward
    backward = realloc(f.backward.items, <size_t>room * sizeof(Ranked))
    if backward == NULL:
        return False
    f.backward.items = <Ranked *>backward
    moved = realloc(f.moved, <size_t>room * sizeof(Ranked))
    if moved == NULL:
        return False
    f.moved = <Ranked *>moved
    f.room = room
    return True


cdef inline void search_free(Search *f) noexcept nogil:
    free(f.visits)
    free(f.forward.items)
    free(f.backward.items)
    free(f.moved)
    free(f.path)


cdef inline int64_t search_find(Store *s, Search *f, int32_t id) noexcept nogil:
    """Index of the visit of a vertex, or -1. O(1)."""
    cdef int64_t mark = vertex_at(s, id).mark
    return mark if 0 <= mark < f.count and f.visits[mark].id == id else -1


cdef inline bint search_visit(
    Store *s, Search *f, Overlay *overlay, int32_t id, int32_t parent, bint backward
) noexcept nogil:
    """Note a vertex as reached; False when memory is out."""
    cdef EdgeList *list = &vertex_at(s, id).ins if backward else &vertex_at(s, id).outs
    cdef int32_t chain = -1
    cdef uint64_t rank
    if f.count == f.room and not search_grow(f):
        return False
    if overlay.first_out != NULL:
        chain = overlay.first_in[id] if backward else overlay.first_out[id]
    f.visits[f.count] = Visit(id, parent, 0, chain, backward)
    vertex_at(s, id).mark = <int32_t>f.count
    if list.count != 0 or chain >= 0:
        if list.count != 0:
            prefetch(vertex_at(s, list_words(list)[0]))  # it is read when this side has its next turn
        rank = rank_of(s, id)
        if backward:
            heap_push(&f.backward, ~rank, <int32_t>f.count)
        else:
            heap_push(&f.forward, rank, <int32_t>f.count)
    f.count += 1
    return True


cdef inline int32_t search_next(Store *s, Search *f, Overlay *overlay, Heap *heap) noexcept nogil:
    """The other end of the next edge of the heap's first vertex, which leaves the heap with its last edge."""
    cdef Visit *visit = &f.visits[heap.items[0].item]
    cdef EdgeList *list = &vertex_at(s, visit.id).ins if visit.backward else &vertex_at(s, visit.id).outs
    cdef int32_t end, edge
    if visit.next < list.count:
        end = list_words(list)[visit.next]
        visit.next += 1
    else:
        edge = visit.chain
        end = overlay.sources[edge] if visit.backward else overlay.targets[edge]
        visit.chain = overlay.next_in[edge] if visit.backward else overlay.next_out[edge]
    if visit.next == list.count and visit.chain < 0:
        heap_pop(heap)
    elif visit.next < list.count:
        prefetch(vertex_at(s, list_words(list)[visit.next]))
    return end


cdef inline Outcome search_path(Search *f, int64_t ahead, int64_t back) noexcept nogil:
    """Write the cycle into f.path: the source, the forward visits from the target to `ahead`, then the backward visits
    from `back` on, whose parents lead along the edges home to the source."""
    cdef int64_t forward = 0, n, i, at = ahead
    cdef void *path
    while at >= 0:
        forward += 1
        at = f.visits[at].parent
    n = forward
    at = back
    while at >= 0:
        n += 1
        at = f.visits[at].parent
    path = realloc(f.path, <size_t>n * sizeof(int32_t))
    if path == NULL:
        return NO_MEMORY
    f.path = <int32_t *>path
    f.path_length = n
    at = ahead
    for i in range(forward, 0, -1):
        f.path[i] = f.visits[at].id
        at = f.visits[at].parent
    at = back
    for i in range(forward + 1, n):
        f.path[i] = f.visits[at].id
        at = f.visits[at].parent
    f.path[0] = f.visits[at].id
    return CYCLE


cdef inline int64_t search_pick(
    Store *s, Search *f, bint backward, uint64_t limit, Ranked *moved
) noexcept nogil:
    """Write those visits of one side that stand on the wrong side of `limit` to `moved`, in their order; how many."""
    cdef int64_t i, n = 0
    cdef uint64_t rank
    for i in range(f.count):
        if f.visits[i].backward == backward:
            rank = rank_of(s, f.visits[i].id)
            if (rank > limit) if backward else (rank < limit):
                moved[n].rank = rank
                moved[n].item = f.visits[i].id
                n += 1
    ranked_sort(moved, n)
    return n


cdef inline int32_t search_move(
    Store *s, Order *o, Ranked *moved, int64_t n, int32_t anchor, bint behind
) noexcept nogil:
    """Move vertices next to the anchor, in the order given; the first of them, or the anchor when there are none."""
    cdef int64_t i
    cdef int32_t *ids = <int32_t *>moved  # packed in place: entry i is read before word i is written
    if n == 0:
        return anchor
    for i in range(n):
        ids[i] = moved[i].item
        order_unlink(s, o, ids[i])
    order_put(s, o, ids, n, anchor, behind)
    return ids[0]


cdef inline Outcome search_settle(
    Store *s, Order *o, Search *f, Overlay *overlay, int32_t source, int32_t target
) noexcept nogil:
    """Make the order agree with the edge source -> target, two vertices that are placed: DONE, CYCLE (f.path) or NO_MEMORY.

    CYCLE and NO_MEMORY leave the order as it was.
    """
    cdef uint64_t source_rank = rank_of(s, source), limit
    cdef int32_t ahead, back, end, anchor
    cdef int64_t met, n_ahead, n_back
    f.count = 0
    f.forward.count = 0
    f.backward.count = 0
    if source_rank < rank_of(s, target):
        return DONE
    if not search_visit(s, f, overlay, target, -1, False):
        return NO_MEMORY
    if not search_visit(s, f, overlay, source, -1, True):
        return NO_MEMORY
    while f.forward.count and f.backward.count and f.forward.items[0].rank < ~f.backward.items[0].rank:
        ahead = f.forward.items[0].item
        back = f.backward.items[0].item
        end = search_next(s, f, overlay, &f.forward)
        met = search_find(s, f, end)
        if met < 0:
            if not search_visit(s, f, overlay, end, ahead, False):
                return NO_MEMORY
        elif f.visits[met].backward:
            return search_path(f, ahead, met)
        end = search_next(s, f, overlay, &f.backward)
        met = search_find(s, f, end)
        if met < 0:
            if not search_visit(s, f, overlay, end, back, True):
                return NO_MEMORY
        elif not f.visits[met].backward:
            return search_path(f, met, back)
    limit = source_rank
    anchor = source
    if f.forward.count and f.forward.items[0].rank < source_rank:
        limit = f.forward.items[0].rank
        anchor = f.visits[f.forward.items[0].item].id
    # Both sides are picked before either moves: a move may give other vertices new ranks, which `limit` knows nothing of.
    n_ahead = search_pick(s, f, False, limit, f.moved)
    n_back = search_pick(s, f, True, limit, f.moved + n_ahead)
    # The forward side goes before the anchor, the backward side before the first of those.
    anchor = search_move(s, o, f.moved, n_ahead, anchor, anchor == source)
    search_move(s, o, f.moved + n_ahead, n_back, anchor, False)
    return DONE

"""A large batch in one pass: sort by source, order the union of old and new edges, write vertex by vertex, show all at once.

The order is Kahn's (1962, "Topological sorting of large networks"): O(n + m), whatever the order was before. An edge
costs a few cache misses here and nothing else counts, so what the inner loops touch is kept small and apart.

Assumes the order lock is held exclusively; only for graphs without statuses.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from fastdag._atomics cimport acquire, prefetch, relaxed, seq_cst
from fastdag._batch cimport Batch, batch_publish, edges_in
from fastdag._edges cimport Core, Rules
from fastdag._order cimport END_GAP_BITS
from fastdag._storage cimport (
    Store, Vertex, list_labels, list_reserve_locked, list_words, stripe_of, vertex_at, vertex_lock,
    vertex_settle_locked, vertex_unlock,
)
from fastdag._types cimport CYCLE, DONE, NO_MEMORY, Answer, Outcome

cdef enum:
    AHEAD = 16               # so many turns before they are needed, scattered items are asked for

cdef struct Note:
    # Scratch of the one-pass check, one a vertex: small, as an edge costs a cache miss or two here.
    int32_t owner            # 1 + the source whose edges were last looked through, if this is a target of it; then colour
    int32_t more_in          # new in-edges

cdef struct Sorted:
    int32_t n                # vertices when the check began: younger ones have no edges, and no place in these arrays
    int64_t *first           # n + 1: where a source's edges start in ends and labels
    int32_t *kept            # n: how many of them are new
    int32_t *ends            # targets by source
    int32_t *labels
    Note *notes              # n
    int32_t *at              # n: position of the edge from the owner: in its list, or behind it in the batch; then next edge
    int32_t *left            # n: in-edges from vertices that are not yet in the order; once that is settled, new in-edges
    int32_t *order           # vertices with edges, in the new topological order
    int64_t ordered
    int64_t *next_in         # n + 1: where the next source of a target goes in starts; at last, where they end
    int32_t *starts          # sources by target; the batch's own array of sources, no longer needed by then
    int32_t *again           # edges that are there and take another label: source, target, label
    int64_t agains


cdef inline void sorted_free(Sorted *w) noexcept nogil:
    free(w.first)
    free(w.kept)
    free(w.ends)
    free(w.labels)
    free(w.notes)
    free(w.at)
    free(w.left)
    free(w.order)
    free(w.next_in)
    free(w.again)


cdef inline bint sorted_make(Core *c, Batch *b, Sorted *w) noexcept nogil:
    """Sort a batch by source, take out what is there already or twice, count new in-edges. False: memory is out. O(n + m)."""
    cdef Store *s = &c.store
    cdef int32_t n = s.used.load(acquire)
    cdef int64_t i, at, end, to
    cdef int32_t u, v, k, had
    cdef Vertex *vertex
    cdef Note *note
    cdef bint positions                  # only where a label may have to be replaced
    w.n = n
    w.first = <int64_t *>calloc(<size_t>n + 2, sizeof(int64_t))
    w.kept = <int32_t *>calloc(<size_t>n + 1, sizeof(int32_t))
    w.ends = <int32_t *>malloc((<size_t>b.count + 1) * sizeof(int32_t))
    w.notes = <Note *>calloc(<size_t>n + 1, sizeof(Note))
    w.at = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
    w.left = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
    w.order = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
    w.next_in = <int64_t *>calloc(<size_t>n + 2, sizeof(int64_t))
    w.starts = b.sources
    if b.labels != NULL:
        w.labels = <int32_t *>malloc((<size_t>b.count + 1) * sizeof(int32_t))
    if edges_in(s):
        w.again = <int32_t *>malloc((3 * <size_t>b.count + 1) * sizeof(int32_t))
        if w.again == NULL:
            return False
    if (
        w.first == NULL or w.kept == NULL or w.ends == NULL or w.notes == NULL or w.at == NULL
        or w.left == NULL or w.order == NULL or w.next_in == NULL or (b.labels != NULL and w.labels == NULL)
    ):
        return False
    for i in range(b.count):
        w.first[b.sources[i] + 2] += 1
    for i in range(n):
        w.first[i + 2] += w.first[i + 1]
    for i in range(b.count):
        if i + 2 * AHEAD < b.count:
            prefetch(&w.first[b.sources[i + 2 * AHEAD] + 1])
            prefetch(&w.ends[w.first[b.sources[i + AHEAD] + 1]])
        at = w.first[b.sources[i] + 1]
        w.first[b.sources[i] + 1] = at + 1
        w.ends[at] = b.targets[i]
        if b.labels != NULL:
            w.labels[at] = b.labels[i]
    for u in range(n):
        at = w.first[u]
        end = w.first[u + 1]
        if at == end:
            continue
        vertex = vertex_at(s, u)
        had = vertex.outs.count
        positions = had != 0 or b.labels != NULL
        for k in range(had):
            note = &w.notes[list_words(&vertex.outs)[k]]
            note.owner = u + 1
            w.at[list_words(&vertex.outs)[k]] = k
        to = at
        for i in range(at, end):
            if i + AHEAD < b.count:
                prefetch(&w.notes[w.ends[i + AHEAD]])
            v = w.ends[i]
            note = &w.notes[v]
            if note.owner != u + 1:
                note.owner = u + 1
                note.more_in += 1
                if positions:
                    w.at[v] = had + <int32_t>(to - at)
                w.ends[to] = v
                if b.labels != NULL:
                    w.labels[to] = w.labels[i]
                to += 1
            elif not positions:
                pass                     # twice in a batch without labels
            elif w.at[v] >= had:
                if b.labels != NULL:
                    w.labels[at + w.at[v] - had] = w.labels[i]
            else:
                w.again[3 * w.agains] = u
                w.again[3 * w.agains + 1] = v
                w.again[3 * w.agains + 2] = w.labels[i] if b.labels != NULL else 0
                w.agains += 1
        w.kept[u] = <int32_t>(to - at)
    return True


cdef inline bint sorted_order(Core *c, Sorted *w) noexcept nogil:
    """The new order over old and new edges together; False when there is a cycle. O(n + m), Kahn 1962."""
    cdef Store *s = &c.store
    cdef int32_t n = w.n
    cdef int64_t i, done = 0, count = 0
    cdef int32_t u, k
    cdef Vertex *vertex
    cdef int32_t *ends
    w.ordered = 0
    for u in range(n):
        vertex = vertex_at(s, u)
        w.left[u] = vertex.ins.count + w.notes[u].more_in
        if w.left[u] or vertex.outs.count or w.kept[u]:
            count += 1
            w.order[w.ordered] = u
            w.ordered += w.left[u] == 0
    while done < w.ordered:
        if done + 2 * AHEAD < w.ordered:
            k = w.order[done + 2 * AHEAD]
            prefetch(&w.first[k])
            prefetch(&w.kept[k])
            prefetch(vertex_at(s, k))
            prefetch(&w.ends[w.first[w.order[done + AHEAD]]])
        u = w.order[done]
        done += 1
        vertex = vertex_at(s, u)
        ends = list_words(&vertex.outs)
        for k in range(vertex.outs.count):
            w.left[ends[k]] -= 1
            w.order[w.ordered] = ends[k]  # written in any case, kept if it was the last: no branch to mispredict
            w.ordered += w.left[ends[k]] == 0
        for i in range(w.first[u], w.first[u] + w.kept[u]):
            k = w.ends[i]
            w.left[k] -= 1
            w.order[w.ordered] = k
            w.ordered += w.left[k] == 0
    return w.ordered == count


cdef inline Outcome sorted_cycle(Core *c, Sorted *w, Answer *answer) noexcept nogil:
    """Spell out one cycle among the vertices that Kahn's pass left over, a new edge first. O(n + m).

    Depth first without recursion; `order` is the stack, `owner` the colour (0 new, 1 on the stack, 2 done), `at` the next edge.
    """
    cdef Store *s = &c.store
    cdef int32_t n = w.n
    cdef int64_t depth, i, start
    cdef int32_t root, u, v, k
    cdef Vertex *vertex
    for u in range(n):
        w.notes[u].owner = 0
        w.at[u] = 0
    for root in range(n):
        if w.left[root] == 0 or w.notes[root].owner:
            continue
        w.order[0] = root
        w.notes[root].owner = 1
        depth = 1
        while depth:
            u = w.order[depth - 1]
            vertex = vertex_at(s, u)
            k = w.at[u]
            if k == vertex.outs.count + w.kept[u]:
                w.notes[u].owner = 2
                depth -= 1
                continue
            w.at[u] = k + 1
            v = list_words(&vertex.outs)[k] if k < vertex.outs.count else w.ends[w.first[u] + k - vertex.outs.count]
            if w.left[v] == 0 or w.notes[v].owner == 2:
                continue
            if w.notes[v].owner == 0:
                w.notes[v].owner = 1
                w.order[depth] = v
                depth += 1
                continue
            start = 0
            while w.order[start] != v:
                start += 1
            answer.path_length = depth - start
            answer.path = <int32_t *>malloc(<size_t>answer.path_length * sizeof(int32_t))
            if answer.path == NULL:
                return NO_MEMORY
            # The edge that a vertex of the cycle left over is the one before its `at`: turn it so that a new one is first.
            for i in range(answer.path_length):
                u = w.order[start + i]
                if w.at[u] > vertex_at(s, u).outs.count:
                    k = <int32_t>i
                    break
            for i in range(answer.path_length):
                answer.path[i] = w.order[start + (i + k) % answer.path_length]
            return CYCLE
    return DONE


cdef inline bint sorted_reserve(Core *c, Sorted *w) noexcept nogil:
    cdef Store *s = &c.store
    cdef int32_t n = w.n
    cdef int32_t u
    cdef bint room = True
    cdef Vertex *vertex
    for u in range(n):
        if w.kept[u] or w.notes[u].more_in:
            vertex = vertex_at(s, u)
            vertex_lock(s, u, True)
            room = list_reserve_locked(s, u, &vertex.outs, 2, w.kept[u]) and list_reserve_locked(
                s, u, &vertex.ins, s.in_words, w.notes[u].more_in)
            vertex_unlock(s, u)
            if not room:
                return False
    return True


cdef inline void sorted_relink(Core *c, Sorted *w) noexcept nogil:
    """Make the new order the graph's order. O(n)."""
    cdef Store *s = &c.store
    cdef int32_t n = w.n
    cdef uint64_t rank = (<uint64_t>1 << 63) - ((<uint64_t>w.ordered >> 1) << END_GAP_BITS)
    cdef int64_t i
    cdef int32_t u
    cdef Vertex *vertex
    for u in range(n):
        vertex_at(s, u).rank.store(0, relaxed)
    for i in range(w.ordered):
        vertex = vertex_at(s, w.order[i])
        vertex.before = w.order[i - 1] if i else -1
        vertex.after = w.order[i + 1] if i + 1 < w.ordered else -1
        vertex.rank.store(rank, relaxed)
        rank += <uint64_t>1 << END_GAP_BITS
    c.order.head = w.order[0] if w.ordered else -1
    c.order.tail = w.order[w.ordered - 1] if w.ordered else -1
    c.order.count = w.ordered


cdef inline void sorted_write_locked(Store *s, Sorted *w, int32_t u) noexcept nogil:
    """Write the new edges of a vertex behind its lists, where nobody looks before they are shown."""
    cdef Vertex *vertex = vertex_at(s, u)
    cdef int32_t outs = w.kept[u], ins = w.left[u]
    if ins:
        memcpy(list_words(&vertex.ins) + vertex.ins.count, w.starts + w.next_in[u] - ins, <size_t>ins * sizeof(int32_t))
        vertex.ins.pending = True
    if outs:
        memcpy(list_words(&vertex.outs) + vertex.outs.count, w.ends + w.first[u], <size_t>outs * sizeof(int32_t))
        if w.labels != NULL:
            memcpy(list_labels(&vertex.outs) + vertex.outs.count, w.labels + w.first[u], <size_t>outs * sizeof(int32_t))
        else:
            memset(list_labels(&vertex.outs) + vertex.outs.count, 0, <size_t>outs * sizeof(int32_t))
        vertex.outs.pending = True


cdef inline void sorted_publish(Core *c, Sorted *w) noexcept nogil:
    """Write the new edges behind the lists, vertex by vertex, let all of them be seen at once, and add them up. O(n + m)."""
    cdef Store *s = &c.store
    cdef int32_t n = w.n
    cdef int64_t i
    cdef int32_t u, k
    cdef Vertex *vertex
    for u in range(n):
        w.next_in[u + 1] = w.next_in[u] + w.notes[u].more_in
        w.left[u] = w.notes[u].more_in
    for u in range(n):
        for i in range(w.first[u], w.first[u] + w.kept[u]):
            if i + 2 * AHEAD < w.first[n]:
                prefetch(&w.next_in[w.ends[i + 2 * AHEAD]])
                prefetch(&w.starts[w.next_in[w.ends[i + AHEAD]]])
            k = w.ends[i]
            w.starts[w.next_in[k]] = u
            w.next_in[k] += 1
    s.more_out = w.kept
    s.more_in = w.left
    for u in range(n):
        if w.kept[u] or w.left[u]:
            vertex_lock(s, u, True)
            sorted_write_locked(s, w, u)
            vertex_unlock(s, u)
    s.shown.store(1, seq_cst)
    for u in range(n):
        if w.kept[u] or w.left[u]:
            vertex = vertex_at(s, u)
            vertex_lock(s, u, True)
            vertex.outs.count += w.kept[u]
            vertex.ins.count += w.left[u]
            vertex.outs.pending = vertex.ins.pending = False
            vertex_settle_locked(s, u)
            vertex_unlock(s, u)
            stripe_of(s, u).edges.fetch_add(w.kept[u], relaxed)
    s.shown.store(0, seq_cst)


cdef inline Outcome bulk_add_large(Core *c, Batch *b, Rules rules, Answer *answer) noexcept nogil:
    """Settle all edges in one pass: O(n + m)."""
    cdef Sorted w
    cdef Outcome outcome = DONE
    cdef int64_t i
    cdef Batch labels_only
    memset(&w, 0, sizeof(Sorted))
    if not sorted_make(c, b, &w):
        outcome = NO_MEMORY
    elif not sorted_order(c, &w):
        outcome = sorted_cycle(c, &w, answer)
    elif not sorted_reserve(c, &w):
        outcome = NO_MEMORY
    else:
        sorted_relink(c, &w)
        sorted_publish(c, &w)
        answer.added = 0
        for i in range(w.n):
            answer.added += w.kept[i]
        labels_only.count = 0
        batch_publish(c, &labels_only, w.agains, w.again, 0, rules, answer)
    sorted_free(&w)
    return outcome

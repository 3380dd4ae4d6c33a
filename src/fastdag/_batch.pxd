"""A batch of edges: checked, settled edge by edge, published.

Guarantees
- Nothing of a batch can be seen before all of it is settled, and memory for all of it is taken before that.
- Readers of single vertices go on throughout, and wait for no more than the vertex they read.

Assumes the order lock is held exclusively.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastdag._adjacency cimport edge_exists_locked, edge_label_locked
from fastdag._atomics cimport acquire, debug_assert, relaxed
from fastdag._edges cimport (
    Core, Rules, change_begin, change_end, edge_relabel_locked, edge_settle, edge_write_locked, path_hand_over,
)
from fastdag._log cimport Log, log_note_edge_locked, log_on, log_reserve_locked
from fastdag._readiness cimport NOT_REGISTERED, status_of
from fastdag._search cimport Overlay
from fastdag._storage cimport STRIPES, Store, life_at, list_reserve_locked, vertex_at, vertex_lock, vertex_unlock
from fastdag._types cimport (
    CONFLICT, CYCLE, DONE, EXISTED, MISSING, NO_MEMORY, REPLACED, STALE, UNREGISTERED, Answer, Outcome, Ref,
)

cdef struct Batch:
    int32_t *sources         # ids; edges that need not be added are taken out while the load is checked
    int32_t *targets
    int32_t *labels          # label ids; NULL: all 0
    uint64_t *source_lives   # which lives the ids mean; NULL: whoever lives there now
    uint64_t *target_lives
    int64_t count

cdef inline int64_t edges_in(Store *s) noexcept nogil:
    """Number of edges: of one moment only where they stand still, else each stripe's is of a moment of its own."""
    cdef int64_t total = 0
    cdef int32_t stripe
    for stripe in range(STRIPES):
        total += s.stripes[0][stripe].edges.load(relaxed)
    return total


cdef inline Outcome batch_check(Core *c, Batch *b, Rules rules, Answer *answer) noexcept nogil:
    """Whether all vertices of a batch are there, and no edge joins a vertex to itself. O(n + m).

    Who lives is read off the records in one sequential pass: looked up edge by edge it would be two cache misses each.
    """
    cdef int32_t n = c.store.used.load(acquire)
    cdef int32_t u, v
    cdef int64_t i
    cdef uint8_t *lives = <uint8_t *>malloc(<size_t>n + 1)
    cdef Outcome outcome = DONE
    cdef bint all_live = True            # as a rule: then nothing need be looked up
    if lives == NULL:
        return NO_MEMORY
    for u in range(n):
        lives[u] = life_at(&c.store, u) != 0
        all_live = all_live and lives[u]
    for i in range(b.count):
        u = b.sources[i]
        v = b.targets[i]
        if u < 0 or u >= n or v < 0 or v >= n or not (all_live or (lives[u] and lives[v])):
            outcome = MISSING if b.source_lives == NULL else STALE
        elif u == v:
            outcome = CYCLE
        elif b.source_lives != NULL and (
            life_at(&c.store, u) != b.source_lives[i] or life_at(&c.store, v) != b.target_lives[i]
        ):
            outcome = STALE
        elif rules.registered and status_of(&c.board, u) == NOT_REGISTERED:
            outcome = UNREGISTERED
        if outcome != DONE:
            answer.position = i
            break
    free(lives)
    if outcome == CYCLE:
        answer.path = <int32_t *>malloc(sizeof(int32_t))
        if answer.path == NULL:
            return NO_MEMORY
        answer.path[0] = u
        answer.path_length = 1
    return outcome


cdef inline int32_t batch_label(Batch *b, int64_t i) noexcept nogil:
    return b.labels[i] if b.labels != NULL else 0


cdef inline bint all_zero(const int32_t *words, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        if words[i]:
            return False
    return True


cdef inline bint batch_reserve(Core *c, Batch *b, int32_t *more_out, int32_t *more_in) noexcept nogil:
    """Room in all lists for the edges left in a batch; the counters, one a vertex, come zeroed and go zeroed."""
    cdef Store *s = &c.store
    cdef bint room = True
    cdef int64_t i
    cdef int32_t u, v
    for i in range(b.count):
        more_out[b.sources[i]] += 1
        more_in[b.targets[i]] += 1
    for i in range(b.count):
        u = b.sources[i]
        v = b.targets[i]
        if room and more_out[u]:
            vertex_lock(s, u, True)
            room = list_reserve_locked(s, u, &vertex_at(s, u).outs, 2, more_out[u])
            vertex_unlock(s, u)
        if room and more_in[v]:
            vertex_lock(s, v, True)
            room = list_reserve_locked(s, v, &vertex_at(s, v).ins, s.in_words, more_in[v])
            vertex_unlock(s, v)
        more_out[u] = 0
        more_in[v] = 0
    return room


cdef inline bint batch_promise(Core *c, int64_t edges, int64_t *each) noexcept nogil:
    """Have the log keep room for what so many edges may write, `each` of them; False, and nothing kept, when memory is out.

    Whether or not anything listens now: somebody may begin to while they are written.
    """
    cdef Log *log = &c.board.log
    cdef bint fits
    log.lock.lock()
    each[0] = 2 + log.batches            # no more of those begin: they need the order lock to
    fits = log_reserve_locked(log, each[0] * edges)
    if fits:
        log.promised += each[0] * edges
    log.lock.unlock()
    return fits


cdef inline void batch_publish(
    Core *c, Batch *b, int64_t agains, int32_t *again, int64_t each, Rules rules, Answer *answer
) noexcept nogil:
    """Write the edges of a settled batch one by one, both ends at once, then the new labels of those that were there.

    There is room for all of it: nothing can fail here. `each`: what was promised for each of them, where there are statuses.
    """
    cdef bint logging
    cdef int64_t i
    cdef Outcome outcome
    cdef Ref u, v
    u.born = 0
    v.born = 0
    for i in range(b.count + agains):
        u.id = b.sources[i] if i < b.count else again[3 * (i - b.count)]
        v.id = b.targets[i] if i < b.count else again[3 * (i - b.count) + 1]
        change_begin(c, u, v, True)
        if i >= b.count:
            outcome = edge_relabel_locked(c, u, v, again[3 * (i - b.count) + 2], rules, True, answer, True)
            debug_assert(outcome == REPLACED or outcome == EXISTED)
            logging = False
        else:
            logging = c.board.on and log_on(&c.board.log)
            if logging:
                c.board.log.lock.lock()
                log_note_edge_locked(&c.board.log)
            edge_write_locked(c, u, v, batch_label(b, i), logging, answer)
        if c.board.on:
            if not logging:
                c.board.log.lock.lock()
            c.board.log.promised -= each
            c.board.log.lock.unlock()
        change_end(c, u, v)


cdef inline Outcome bulk_add_small(Core *c, Batch *b, Rules rules, Answer *answer) noexcept nogil:
    """Settle edge by edge: the cost of `edge_add` an edge, and O(n) to clear the overlay."""
    cdef Store *s = &c.store
    cdef int32_t n = s.used.load(acquire)
    cdef int32_t *heads = <int32_t *>malloc((2 * <size_t>n + 2 * <size_t>b.count + 1) * sizeof(int32_t))
    cdef int32_t *again = <int32_t *>malloc((3 * <size_t>b.count + 1) * sizeof(int32_t))
    cdef Overlay o
    cdef Outcome outcome = DONE
    cdef int64_t i, kept = 0, agains = 0, each = 0
    cdef int32_t u, v, label, at, back
    if heads == NULL or again == NULL:
        free(heads)
        free(again)
        return NO_MEMORY
    memset(heads, 0xFF, 2 * <size_t>n * sizeof(int32_t))
    o.first_out = heads
    o.first_in = heads + n
    o.next_out = heads + 2 * <int64_t>n
    o.next_in = o.next_out + b.count
    o.sources = b.sources
    o.targets = b.targets
    for i in range(b.count):
        u = b.sources[i]
        v = b.targets[i]
        label = batch_label(b, i)
        answer.position = i
        at = o.first_out[u]
        back = o.first_in[v]             # along the shorter of the two: either may be as long as the batch
        while at >= 0 and back >= 0 and b.targets[at] != v and b.sources[back] != u:
            at = o.next_out[at]
            back = o.next_in[back]
        if at >= 0 and b.targets[at] != v:
            at = back
        if at >= 0:                      # twice in the batch: the last label stands
            if label != batch_label(b, at):
                if not rules.replace:
                    outcome = CONFLICT
                    break
                b.labels[at] = label
            continue
        if edge_exists_locked(vertex_at(s, u), vertex_at(s, v), u, v):
            if edge_label_locked(s, vertex_at(s, u), vertex_at(s, v), u, v) == label and agains == 0:
                continue                 # else an earlier edge of the batch may be this one, with another label
            if not rules.replace:
                outcome = CONFLICT
                break
            again[3 * agains] = u
            again[3 * agains + 1] = v
            again[3 * agains + 2] = label
            agains += 1
            continue
        outcome = edge_settle(c, &o, u, v)
        if outcome != DONE:
            if outcome == CYCLE:
                path_hand_over(c, answer)
            break
        b.sources[kept] = u
        b.targets[kept] = v
        if b.labels != NULL:
            b.labels[kept] = label
        o.next_out[kept] = o.first_out[u]
        o.first_out[u] = <int32_t>kept
        o.next_in[kept] = o.first_in[v]
        o.first_in[v] = <int32_t>kept
        kept += 1
    if outcome == DONE:
        b.count = kept
        memset(heads, 0, 2 * <size_t>n * sizeof(int32_t))
        outcome = DONE if batch_reserve(c, b, o.first_out, o.first_in) else NO_MEMORY
        debug_assert(all_zero(heads, 2 * <int64_t>n))
    if outcome == DONE and c.board.on and not batch_promise(c, kept + agains, &each):
        outcome = NO_MEMORY
    if outcome == DONE:
        batch_publish(c, b, agains, again, each, rules, answer)
        answer.added = kept
    free(heads)
    free(again)
    return outcome

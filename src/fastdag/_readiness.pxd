"""Readiness: statuses, requirements, and two counters a vertex that say whether it is ready.

Every label is a requirement with two masks over the statuses: those that satisfy it and those that make it
impossible. A vertex counts its out-edges that are unmet and that are impossible; setting a status walks the in-edges once
and adjusts the counters of the dependents. Nothing is ever recounted.

Guarantees
- Both counters, `registered` and `watched` share one atomic word, so that each change of a state (waiting, ready,
  blocked) is seen by exactly the one thread whose addition made it.
- While the log is on, additions are made under its lock: states are logged in the order in which they came.

Assumes
- An edge's label and its target's status change only under the vertex lock of the target.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

from fastdag._atomics cimport acq_rel, acquire, atomic, clock_ns, debug_assert, prefetch, relaxed, release
from fastdag._locks cimport (
    mutex_take, order_lock_exclusive, order_lock_shared, order_unlock_exclusive, order_unlock_shared,
)
from fastdag._log cimport (
    REGISTERED, STATE, STATUS, Log, log_on, log_reserve_locked, log_watch_another, log_watch_first, log_watch_less,
    log_write_locked,
)
from fastdag._storage cimport (
    EdgeList, Store, alive, list_labels, list_words, vertex_at, vertex_lock, vertex_settle_locked, vertex_unlock,
)
from fastdag._types cimport (
    BUSY, DONE, EXISTED, NO_MEMORY, STALE, UNREGISTERED, Answer, Flip, Outcome, Ref, Segments,
    segment_of, segment_offset,
)

cdef enum State:
    WAITING
    READY
    BLOCKED

cdef enum:
    IMPOSSIBLE_SHIFT = 31    # word: 31 bits of unmet, 31 bits of impossible, registered, watched
    COUNT_MASK = 0x7FFFFFFF
    NOT_REGISTERED = -1
    AHEAD = 8                # so many dependents before it is its turn, a dependent's word is asked for

cdef struct Readiness:
    atomic[uint64_t] word    # the counters and flags; additions by anyone, see above
    atomic[int64_t] since    # when the status was set, monotonic ns; written under the vertex lock
    atomic[uint64_t] place   # number of its registration, 1, 2, 3 …; written under the vertex lock
    atomic[int32_t] status   # code 0 … 63, meaningful once registered; written under the vertex lock

cdef struct Masks:           # written before the label is used on an edge, then never changed
    uint64_t satisfied       # bit `code`: that status satisfies the requirement
    uint64_t impossible      # bit `code`: that status makes it impossible
    atomic[int32_t] defined  # 1: both are written; set last

cdef struct Board:
    bint on                  # the graph has statuses; set at its creation
    Segments readiness       # of Readiness, by vertex id
    Segments masks           # of Masks, by label id
    atomic[uint64_t] registrations
    Log log


cdef inline uint64_t registered_bit() noexcept nogil:
    return <uint64_t>1 << 62


cdef inline uint64_t watched_bit() noexcept nogil:
    return <uint64_t>1 << 63


cdef inline Readiness *readiness_at(Board *b, int32_t id) noexcept nogil:
    cdef int k = segment_of(id)
    return (<Readiness *>b.readiness.items[k]) + segment_offset(id, k)


cdef inline Masks *masks_at(Board *b, int32_t label) noexcept nogil:
    cdef int k = segment_of(label)
    return (<Masks *>b.masks.items[k]) + segment_offset(label, k)


cdef inline State state_of(uint64_t word) noexcept nogil:
    if (word >> IMPOSSIBLE_SHIFT) & COUNT_MASK:
        return BLOCKED
    return READY if word & registered_bit() and not word & COUNT_MASK else WAITING


cdef inline int32_t status_of(Board *b, int32_t id) noexcept nogil:
    """Code of a vertex's status, NOT_REGISTERED where it has none."""
    cdef Readiness *r = readiness_at(b, id)
    return r.status.load(acquire) if r.word.load(acquire) & registered_bit() else NOT_REGISTERED


cdef inline uint64_t share_of(Masks *m, int32_t status) noexcept nogil:
    """What an edge with this requirement adds to its source's word while its target has this status."""
    cdef uint64_t share = 1
    if status != NOT_REGISTERED:
        share = 1 - ((m.satisfied >> status) & 1)
        share += ((m.impossible >> status) & 1) << IMPOSSIBLE_SHIFT
    return share


cdef inline bint readiness_add(
    Board *b, int32_t id, uint64_t change, int32_t cause, bint logging, int64_t now, Flip *flip
) noexcept nogil:
    """Add to a vertex's word; whether its state changed, which is then in `flip` and, if wanted, in the log. O(1)."""
    cdef uint64_t old = readiness_at(b, id).word.fetch_add(change, acq_rel)
    cdef State before = state_of(old)
    cdef State after = state_of(old + change)
    if before == after:
        return False
    flip.id = id
    flip.state = after
    if logging and (b.log.all.load(relaxed) or old & watched_bit()):
        log_write_locked(&b.log, STATE, id, cause, before, after, now)
    return True


cdef inline bint logs(Board *b, int32_t id) noexcept nogil:
    """Whether what happens to this vertex itself is logged; under the log lock."""
    return b.log.all.load(relaxed) != 0 or (readiness_at(b, id).word.load(relaxed) & watched_bit()) != 0


cdef inline Outcome status_set_locked(
    Store *s, Board *b, Ref ref, int32_t status, int32_t expected, bint register, bint promised, int32_t *old,
    Answer *answer, bint wait
) noexcept nogil:
    """Give a vertex a status, or register it with one; adjust its dependents. O(dependents). The vertex is locked.

    EXISTED, with nothing changed, when old == status, or old is not the expected one, or on registering a registered one.
    NO_MEMORY with `answer.flipped` above the room for flips asks for as much room. `promised`: the log
    keeps room for this change.
    """
    cdef Readiness *r = readiness_at(b, ref.id)
    cdef EdgeList *ins = &vertex_at(s, ref.id).ins
    cdef int64_t i, now
    cdef int64_t start = answer.flipped
    cdef uint64_t change
    cdef Masks *m
    cdef int32_t *ends
    cdef int32_t *labels
    cdef Flip flip
    cdef bint logging
    debug_assert(vertex_at(s, ref.id).guard.held())
    old[0] = status_of(b, ref.id)
    if not alive(s, ref):
        return STALE
    if register:
        if old[0] != NOT_REGISTERED:
            return EXISTED
    elif old[0] == NOT_REGISTERED:
        return UNREGISTERED
    elif old[0] == status or (expected >= 0 and old[0] != expected):
        return EXISTED
    if answer.flips != NULL and answer.room < start + ins.count + 1:
        answer.flipped = start + ins.count + 1
        return NO_MEMORY
    logging = log_on(&b.log)
    if logging:
        if not mutex_take(&b.log.lock, &b.log.stats, wait):
            return BUSY
        if not promised and not log_reserve_locked(&b.log, <int64_t>ins.count + 2):
            b.log.lock.unlock()
            return NO_MEMORY
    now = clock_ns()
    r.status.store(status, release)
    r.since.store(now, relaxed)
    vertex_settle_locked(s, ref.id)
    if logging and logs(b, ref.id):
        log_write_locked(&b.log, REGISTERED if register else STATUS, ref.id, -1, old[0], status, now)
    if register:
        r.place.store(b.registrations.fetch_add(1, relaxed) + 1, relaxed)
        if readiness_add(b, ref.id, registered_bit(), ref.id, logging, now, &flip) and answer.flips != NULL:
            answer.flips[answer.flipped] = flip
            answer.flipped += 1
    ends = list_words(ins)
    labels = list_labels(ins)
    for i in range(min(ins.count, AHEAD)):
        prefetch(readiness_at(b, ends[i]))
    for i in range(ins.count):
        if i + AHEAD < ins.count:
            prefetch(readiness_at(b, ends[i + AHEAD]))
        m = masks_at(b, labels[i])
        change = share_of(m, status) - share_of(m, old[0])
        if change and readiness_add(b, ends[i], change, ref.id, logging, now, &flip) and answer.flips != NULL:
            answer.flips[answer.flipped] = flip
            answer.flipped += 1
    if logging:
        b.log.lock.unlock()
    return DONE


cdef inline Outcome status_set(
    Store *s, Board *b, Ref ref, int32_t status, int32_t expected, bint register, int32_t *old, Answer *answer, bint wait
) noexcept nogil:
    """`status_set_locked` for one vertex, which is locked for it."""
    cdef Outcome outcome = BUSY
    cdef int slot = order_lock_shared(&b.log.under_way, wait)
    if slot < 0:
        return BUSY
    if vertex_lock(s, ref.id, wait):
        outcome = status_set_locked(s, b, ref, status, expected, register, False, old, answer, wait)
        vertex_unlock(s, ref.id)
    order_unlock_shared(&b.log.under_way, slot)
    return outcome


cdef inline Outcome vertex_watch(
    Store *s, Board *b, Ref ref, bint on, int32_t *status, int32_t *state, uint64_t *sequence
) noexcept nogil:
    """Log what happens to a vertex from now on, or no longer; its status, state and the last sequence at that moment.

    DONE, or EXISTED where it was so already. One step for a fork, which takes `control`: as many are watched as are counted.
    """
    cdef Readiness *r = readiness_at(b, ref.id)
    cdef uint64_t word
    cdef bint existed
    cdef int slot = order_lock_shared(&b.log.control, True)
    # Counted first: from there on every change sees that something is watched.
    cdef bint first = on and not log_watch_another(&b.log)
    if first:
        order_unlock_shared(&b.log.control, slot)
        order_lock_exclusive(&b.log.control, True)
        log_watch_first(&b.log)
    vertex_lock(s, ref.id, True)
    # Additions to the word by others hold the log lock while anything is watched: taking it makes this one moment.
    b.log.lock.lock()
    word = r.word.fetch_or(watched_bit(), acq_rel) if on else r.word.fetch_and(~watched_bit(), acq_rel)
    existed = (word & watched_bit() != 0) == on
    status[0] = status_of(b, ref.id)
    state[0] = state_of(word)
    sequence[0] = b.log.sequence
    b.log.lock.unlock()
    vertex_unlock(s, ref.id)
    if existed == on:                    # counted, but there was one already; or no longer watched
        log_watch_less(&b.log)
    if first:
        order_unlock_exclusive(&b.log.control)
    else:
        order_unlock_shared(&b.log.control, slot)
    return EXISTED if existed else DONE

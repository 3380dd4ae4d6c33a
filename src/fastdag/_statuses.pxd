"""Statuses of many vertices at once, all or none; and registering one, beside that.

Everything that could fail is settled before the first status changes: the vertices are there, none of them is
registered (or all are), and there is room for what will be logged and for the flips.

Guarantees
- All or none: what is refused, or finds no memory, changes nothing.
- A vertex that comes more than once in a batch is changed once. The log counts on it: an edge that comes while a batch
  runs makes room for one more entry, which is what it costs a batch that changes its target once.
- Readers of single vertices, and changes of single statuses, go on throughout and wait for no more than the vertex.

Assumes
- Lock order: the order lock, the log's `control`, then vertices. While a batch shares `control` logging is not switched on. Where
  it registers, or wants its flips, the order lock keeps edges as they are, and others from registering, for as long as it
  runs; else edges may come meanwhile, and batches run side by side.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastdag._atomics cimport prefetch
from fastdag._edges cimport Core
from fastdag._locks cimport order_lock_exclusive, order_lock_shared, order_unlock_exclusive, order_unlock_shared
from fastdag._log cimport Log, log_on, log_reserve_locked
from fastdag._readiness cimport AHEAD, NOT_REGISTERED, readiness_at, status_of, status_set, status_set_locked
from fastdag._storage cimport alive, vertex_at, vertex_lock, vertex_unlock
from fastdag._types cimport BUSY, DONE, EXISTED, NO_MEMORY, STALE, UNREGISTERED, Answer, Flip, Outcome, Ref

cdef inline Outcome status_register(Core *c, Ref ref, int32_t status, Answer *answer, bint wait) noexcept nogil:
    """Give a vertex its first status, as `status_set`, and let it be seen, as `vertex_keep`. O(dependents)."""
    cdef Outcome outcome
    cdef int32_t old
    cdef int slot = order_lock_shared(&c.lock, wait)
    if slot < 0:
        return BUSY
    outcome = status_set(&c.store, &c.board, ref, status, -1, True, &old, answer, wait)
    order_unlock_shared(&c.lock, slot)
    return outcome


cdef inline bint refs_once(Ref *refs, int64_t n) noexcept nogil:
    """Give every repeat of a vertex the id -1; False, and unchanged, when memory is out. O(n) expected."""
    cdef uint64_t room = 4
    cdef uint64_t at
    cdef int64_t i
    cdef int32_t *seen                   # open addressing, by id; -1: empty
    while room < <uint64_t>n * 2:
        room *= 2
    seen = <int32_t *>malloc(room * sizeof(int32_t))
    if seen == NULL:
        return False
    memset(seen, 0xFF, room * sizeof(int32_t))
    for i in range(n):
        at = (<uint64_t>refs[i].id * <uint64_t>0x9E3779B97F4A7C15) >> 32 & (room - 1)
        while seen[at] >= 0 and seen[at] != refs[i].id:
            at = (at + 1) & (room - 1)
        if seen[at] >= 0:
            refs[i].id = -1
        else:
            seen[at] = refs[i].id
    free(seen)
    return True


cdef inline Outcome statuses_look(Core *c, Ref *refs, int64_t n, bint register, Answer *answer, int64_t *room) noexcept nogil:
    """Whether all vertices can be given a status, and how many entries and flips that makes at most. O(vertices)."""
    cdef int64_t i
    cdef Outcome outcome = DONE
    room[0] = 0
    for i in range(n):
        if refs[i].id < 0:
            continue
        answer.position = i
        vertex_lock(&c.store, refs[i].id, True)
        room[0] += vertex_at(&c.store, refs[i].id).ins.count + 2  # its dependents' states, its own, its status
        if not alive(&c.store, refs[i]):
            outcome = STALE
        elif register != (status_of(&c.board, refs[i].id) == NOT_REGISTERED):
            outcome = EXISTED if register else UNREGISTERED
        vertex_unlock(&c.store, refs[i].id)
        if outcome != DONE:
            break
    return outcome


cdef inline Outcome statuses_set(
    Core *c, Ref *refs, int64_t n, int32_t status, bint register, bint flips, int64_t *changed, Answer *answer
) noexcept nogil:
    """Give many vertices a status, or register them with one. O(vertices + dependents).

    `changed` counts those that had another. A vertex's repeats may lose their id in `refs`.
    EXISTED (on registering), UNREGISTERED (else) and STALE: nothing changed, because of the one at `answer.position`. Those
    that have the status already are left alone. The caller frees `answer.flips`.
    """
    cdef Log *log = &c.board.log
    cdef Outcome outcome = DONE
    cdef int64_t i, room = 0, edges = 0
    cdef bint frozen = register or flips   # edges stand still, so that a look at all holds until all is done
    cdef int slot = -1, switch
    cdef bint logging
    cdef int32_t old
    changed[0] = 0
    if frozen:
        order_lock_exclusive(&c.lock, True)
    else:
        slot = order_lock_shared(&c.lock, True)  # until room is made: no batch of edges is being written
    switch = order_lock_shared(&log.control, True)
    logging = log_on(log)
    if logging:
        log.lock.lock()
        log.batches += 1                 # before the look: edges that come behind it make room themselves
        edges = log.edges
        log.lock.unlock()
    if frozen or logging:
        outcome = statuses_look(c, refs, n, register, answer, &room) if refs_once(refs, n) else NO_MEMORY
    if outcome == DONE and flips:
        answer.flips = <Flip *>malloc(<size_t>(room + 1) * sizeof(Flip))
        answer.room = room
        if answer.flips == NULL:
            outcome = NO_MEMORY
    if logging:
        log.lock.lock()
        if outcome == DONE and not log_reserve_locked(log, room):
            outcome = NO_MEMORY
        if outcome != DONE:
            room = 0
        log.promised += room
        log.lock.unlock()
    if not frozen:
        order_unlock_shared(&c.lock, slot)
    if outcome == DONE:
        for i in range(n):
            if i + AHEAD < n and refs[i + AHEAD].id >= 0:
                prefetch(vertex_at(&c.store, refs[i + AHEAD].id))
                prefetch(readiness_at(&c.board, refs[i + AHEAD].id))
            if refs[i].id < 0:
                continue
            vertex_lock(&c.store, refs[i].id, True)
            if status_set_locked(
                &c.store, &c.board, refs[i], status, -1, register, logging, &old, answer, True
            ) == DONE:
                changed[0] += 1
            vertex_unlock(&c.store, refs[i].id)
    if logging:
        log.lock.lock()
        log.batches -= 1
        log.promised -= room + (log.edges - edges)
        log.lock.unlock()
    order_unlock_shared(&log.control, switch)
    if frozen:
        order_unlock_exclusive(&c.lock)
    return outcome

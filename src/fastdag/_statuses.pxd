"""Statuses of many vertices at once, all or none; and registering one, beside that.

Everything that could fail is settled before the first status changes: the vertices are there, none of them is
registered (or all are), and there is room for what will be logged and for the flips.

Guarantees
- All or none: what is refused, or finds no memory, changes nothing.
- Readers of single vertices, and changes of single statuses, go on throughout and wait for no more than the vertex.

Assumes
- The locks of this header come before all others: `registering`, then the order lock, then the log's `control`. The
  order lock keeps edges, and so the numbers of dependents, as they are; `control` keeps logging on or off.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport malloc

from fastdag._edges cimport Core
from fastdag._locks cimport order_lock_exclusive, order_lock_shared, order_unlock_exclusive, order_unlock_shared
from fastdag._log cimport Log, log_on, log_reserve_locked
from fastdag._readiness cimport NOT_REGISTERED, status_of, status_set
from fastdag._storage cimport alive, vertex_at
from fastdag._types cimport BUSY, DONE, EXISTED, NO_MEMORY, STALE, UNREGISTERED, Answer, Flip, Outcome, Ref


cdef inline Outcome status_register(Core *c, Ref ref, int32_t status, Answer *answer, bint wait) noexcept nogil:
    """Give a vertex its first status, as `status_set`. O(dependents)."""
    cdef Outcome outcome
    cdef int32_t old
    cdef int slot = order_lock_shared(&c.board.registering, wait)
    if slot < 0:
        return BUSY
    outcome = status_set(&c.store, &c.board, ref, status, -1, True, 0, &old, answer, wait)
    order_unlock_shared(&c.board.registering, slot)
    return outcome


cdef inline int64_t entries_of(Core *c, Ref ref) noexcept nogil:
    """Entries that a change of its status writes at most: its own, its state's, its dependents' states."""
    return <int64_t>vertex_at(&c.store, ref.id).ins.count + 2


cdef inline Outcome statuses_reserve_locked(
    Core *c, Ref *refs, int64_t n, bint register, bint flips, bint logging, Answer *answer
) noexcept nogil:
    """Settle all that could fail; on DONE the log has promised its room. All locks of this header held."""
    cdef Log *log = &c.board.log
    cdef int64_t i
    cdef int64_t room = 0
    cdef bint fits
    for i in range(n):
        answer.position = i
        if not alive(&c.store, refs[i]):
            return STALE
        if register != (status_of(&c.board, refs[i].id) == NOT_REGISTERED):
            return EXISTED if register else UNREGISTERED
        room += entries_of(c, refs[i])
    if flips:
        answer.flips = <Flip *>malloc(<size_t>(room + 1) * sizeof(Flip))
        if answer.flips == NULL:
            return NO_MEMORY
        answer.room = room
    if logging:
        log.lock.lock()
        fits = log_reserve_locked(log, room)
        if fits:
            log.promised += room
        log.lock.unlock()
        if not fits:
            return NO_MEMORY
    return DONE


cdef inline Outcome statuses_set(
    Core *c, Ref *refs, int64_t n, int32_t status, bint register, bint flips, int32_t *old, Answer *answer
) noexcept nogil:
    """Give many vertices a status, or register them with one. O(vertices + dependents).

    EXISTED (on registering), UNREGISTERED (else) and STALE: nothing changed, because of the one at `answer.position`. Those
    that have the status already are left alone. The caller frees `answer.flips`.
    """
    cdef Log *log = &c.board.log
    cdef Outcome outcome
    cdef int64_t i, promised = 0
    cdef bint logging
    if register:
        order_lock_exclusive(&c.board.registering, True)
    order_lock_exclusive(&c.lock, True)
    log.control.lock()
    logging = log_on(log)
    outcome = statuses_reserve_locked(c, refs, n, register, flips, logging, answer)
    if outcome == DONE:
        for i in range(n):
            if logging:
                promised = entries_of(c, refs[i])
            outcome = status_set(&c.store, &c.board, refs[i], status, -1, register, promised, &old[i], answer, True)
            if outcome != DONE and promised:  # it has the status already
                log.lock.lock()
                log.promised -= promised
                log.lock.unlock()
        outcome = DONE
    log.control.unlock()
    order_unlock_exclusive(&c.lock)
    if register:
        order_unlock_exclusive(&c.board.registering)
    return outcome

"""Edges come and go: the operations on one edge, with their locks.

Guarantees
- An edge appears in, and goes from, both lists under both vertex locks: no reader sees half of it. A large load
  (_onepass.pxd) shows all of its edges in one moment.
- An edge that agrees with the order is added under the shared order lock; one is refused under the exclusive lock only.
- Whatever is answered but DONE and REPLACED has changed nothing that can be seen.

Assumes
- Source and target differ: an edge from a vertex to itself is refused before it comes here.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free

from fastdag._adjacency cimport (
    edge_append_locked, edge_exists_locked, edge_label_locked, edge_set_label_locked, list_find_among_locked, list_find_locked,
    list_remove_locked,
)
from fastdag._atomics cimport clock_ns, debug_assert, relaxed
from fastdag._locks cimport (
    OrderLock, mutex_take, order_lock_exclusive, order_lock_shared, order_unlock_exclusive, order_unlock_shared, reader_slot,
)
from fastdag._log cimport (
    DEPENDENCY, log_note_edge_locked, log_on, log_reserve_edge_locked, log_reserve_locked, log_write_locked,
)
from fastdag._order cimport Order, order_agrees, order_spread_all, order_take_end, rank_of
from fastdag._readiness cimport Board, NOT_REGISTERED, logs, masks_at, readiness_add, share_of, status_of
from fastdag._search cimport Overlay, Search, search_settle
from fastdag._storage cimport (
    EdgeList, Store, Vertex, alive, list_labels, list_reserve_locked, list_seen_locked, shown_locked, stripe_of, vertex_at,
    vertex_lock, vertex_lock_pair, vertex_settle_locked, vertex_unlock, vertex_unlock_pair,
)
from fastdag._types cimport (
    BUSY, CONFLICT, CYCLE, DONE, EXISTED, MISSING, MOST_VERTICES, NO_MEMORY, OVER_BUDGET, REORDER, REPLACED, STALE,
    UNREGISTERED, Answer, Flip, Outcome, Ref,
)

cdef enum:
    SHORT = 16               # an edge list of so many entries is looked through without asking whether another is shorter

cdef struct Core:
    Store store
    OrderLock lock
    Order order
    Search search            # scratch; order lock exclusive
    Board board

cdef struct Rules:
    bint replace             # an edge that is there takes the new label; otherwise it is a CONFLICT
    bint registered          # the source must have a status


cdef inline bint isolated(Vertex *v) noexcept nogil:
    return v.outs.count == 0 and v.ins.count == 0


cdef inline Outcome edge_relabel_locked(
    Core *c, Ref u, Ref v, int32_t label, Rules rules, bint promised, Answer *answer, bint wait
) noexcept nogil:
    """Another label for an edge that is there. Both vertex locks held. `promised`: the log keeps room for two entries. O(entries)."""
    cdef Vertex *source = vertex_at(&c.store, u.id)
    cdef Vertex *target = vertex_at(&c.store, v.id)
    cdef int32_t old = edge_label_locked(&c.store, source, target, u.id, v.id)
    cdef int32_t status
    cdef uint64_t change
    cdef int64_t now = 0
    cdef bint logging
    if old == label:
        return EXISTED
    if not rules.replace:
        return CONFLICT
    if c.board.on:
        logging = log_on(&c.board.log)
        if logging:
            if not mutex_take(&c.board.log.lock, &c.board.log.stats, wait):
                return BUSY
            if not promised and not log_reserve_locked(&c.board.log, 2):
                c.board.log.lock.unlock()
                return NO_MEMORY
            now = clock_ns()
        status = status_of(&c.board, v.id)
        if logging and logs(&c.board, u.id):
            log_write_locked(&c.board.log, DEPENDENCY, u.id, v.id, NOT_REGISTERED, status, now)
        change = share_of(masks_at(&c.board, label), status) - share_of(masks_at(&c.board, old), status)
        if change:
            flip_note(c, u.id, change, v.id, logging, now, answer)
        if logging:
            c.board.log.lock.unlock()
    edge_set_label_locked(&c.store, source, target, u.id, v.id, label)
    return REPLACED


cdef inline void flip_note(
    Core *c, int32_t id, uint64_t change, int32_t cause, bint logging, int64_t now, Answer *answer
) noexcept nogil:
    """Add to a vertex's word, and note its change of state where that is wanted and there is room."""
    cdef Flip flip
    if readiness_add(&c.board, id, change, cause, logging, now, &flip) and answer.flipped < answer.room:
        answer.flips[answer.flipped] = flip
        answer.flipped += 1


cdef inline void edge_write_locked(Core *c, Ref u, Ref v, int32_t label, bint logging, Answer *answer) noexcept nogil:
    """Write an edge for which there is room in both lists and in the log. Both vertex locks held, and the log lock when
    `logging`. O(1)."""
    cdef Store *s = &c.store
    cdef Vertex *source = vertex_at(s, u.id)
    cdef Vertex *target = vertex_at(s, v.id)
    cdef int32_t status
    cdef uint64_t share
    cdef int64_t now
    debug_assert(source.guard.held())
    debug_assert(target.guard.held())
    debug_assert(not logging or c.board.log.lock.held())
    if c.board.on:
        now = clock_ns() if logging else 0
        status = status_of(&c.board, v.id)
        if logging and logs(&c.board, u.id):
            log_write_locked(&c.board.log, DEPENDENCY, u.id, v.id, NOT_REGISTERED, status, now)
        share = share_of(masks_at(&c.board, label), status)
        if share:
            flip_note(c, u.id, share, v.id, logging, now, answer)
    edge_append_locked(s, source, target, u.id, v.id, label)
    vertex_settle_locked(s, u.id)
    vertex_settle_locked(s, v.id)


cdef inline Outcome edge_attach_locked(
    Core *c, Ref u, Ref v, int32_t label, Answer *answer, bint wait
) noexcept nogil:
    """Write an edge that agrees with the order. Both vertex locks held. O(1) amortised."""
    cdef Store *s = &c.store
    cdef Vertex *source = vertex_at(s, u.id)
    cdef Vertex *target = vertex_at(s, v.id)
    cdef bint logging = False
    if not list_reserve_locked(s, u.id, &source.outs, 2, 1):
        return NO_MEMORY
    if not list_reserve_locked(s, v.id, &target.ins, s.in_words, 1):
        return NO_MEMORY
    if c.board.on:
        logging = log_on(&c.board.log)
        if logging:
            if not mutex_take(&c.board.log.lock, &c.board.log.stats, wait):
                return BUSY
            if not log_reserve_edge_locked(&c.board.log):
                c.board.log.lock.unlock()
                return NO_MEMORY
            log_note_edge_locked(&c.board.log)
    edge_write_locked(c, u, v, label, logging, answer)
    if logging:
        c.board.log.lock.unlock()
    return DONE


cdef inline Outcome edge_agree(Core *c, int32_t u, int32_t v, bint wait) noexcept nogil:
    """Make the order agree with u -> v if that is O(1); REORDER if not. Order lock held, both vertex locks held."""
    cdef Vertex *source = vertex_at(&c.store, u)
    cdef Vertex *target = vertex_at(&c.store, v)
    cdef Outcome outcome
    if order_agrees(&c.store, u, v):
        return DONE
    if isolated(source) and isolated(target):
        # Side by side: one at each end, the next edge between two such pairs would always go against the order.
        outcome = order_take_end(&c.store, &c.order, u, False, wait)
        return outcome if outcome != DONE else order_take_end(&c.store, &c.order, v, False, wait)
    if isolated(source):
        return order_take_end(&c.store, &c.order, u, True, wait)
    if isolated(target):
        return order_take_end(&c.store, &c.order, v, False, wait)
    return REORDER


cdef inline bint change_begin(Core *c, Ref u, Ref v, bint wait) noexcept nogil:
    """Lock both ends of an edge for a change of it; False, with nothing held, when `wait` is False and one is not free."""
    if c.board.on and order_lock_shared(&c.board.log.under_way, wait) < 0:
        return False
    if vertex_lock_pair(&c.store, u.id, v.id, wait):
        return True
    if c.board.on:
        order_unlock_shared(&c.board.log.under_way, reader_slot())
    return False


cdef inline void change_end(Core *c, Ref u, Ref v) noexcept nogil:
    vertex_unlock_pair(&c.store, u.id, v.id)
    if c.board.on:
        order_unlock_shared(&c.board.log.under_way, reader_slot())


cdef inline Outcome edge_add_shared(
    Core *c, Ref u, Ref v, int32_t label, Rules rules, Answer *answer, bint wait
) noexcept nogil:
    cdef int slot = order_lock_shared(&c.lock, wait)
    cdef Outcome outcome
    if slot < 0:
        return BUSY
    if not change_begin(c, u, v, wait):
        order_unlock_shared(&c.lock, slot)
        return BUSY
    if not alive(&c.store, u) or not alive(&c.store, v):
        outcome = STALE
    elif rules.registered and status_of(&c.board, u.id) == NOT_REGISTERED:
        outcome = UNREGISTERED
    elif edge_exists_locked(vertex_at(&c.store, u.id), vertex_at(&c.store, v.id), u.id, v.id):
        outcome = edge_relabel_locked(c, u, v, label, rules, False, answer, wait)
    else:
        outcome = edge_agree(c, u.id, v.id, wait)
        if outcome == DONE:
            outcome = edge_attach_locked(c, u, v, label, answer, wait)
    change_end(c, u, v)
    order_unlock_shared(&c.lock, slot)
    return outcome


cdef inline void path_hand_over(Core *c, Answer *answer) noexcept nogil:
    """Give the path of a cycle to the caller; the next search makes itself a new one. Order lock exclusive."""
    free(answer.path)
    answer.path = c.search.path
    answer.path_length = c.search.path_length
    c.search.path = NULL


cdef inline Outcome edge_settle(Core *c, Overlay *overlay, int32_t u, int32_t v) noexcept nogil:
    """Make the order agree with u -> v, whatever it takes. Order lock held exclusively. DONE, CYCLE or NO_MEMORY."""
    cdef Vertex *source = vertex_at(&c.store, u)
    cdef Vertex *target = vertex_at(&c.store, v)
    cdef bint free_source = isolated(source) and (overlay.first_out == NULL or (
        overlay.first_out[u] < 0 and overlay.first_in[u] < 0))
    cdef bint free_target = isolated(target) and (overlay.first_out == NULL or (
        overlay.first_out[v] < 0 and overlay.first_in[v] < 0))
    debug_assert(c.lock.writing.load(relaxed))
    if order_agrees(&c.store, u, v):
        return DONE
    if free_source and order_take_end(&c.store, &c.order, u, not free_target, True) == REORDER:
        order_spread_all(&c.store, &c.order)
        order_take_end(&c.store, &c.order, u, not free_target, True)
    if free_target and order_take_end(&c.store, &c.order, v, False, True) == REORDER:
        order_spread_all(&c.store, &c.order)
        order_take_end(&c.store, &c.order, v, False, True)
    if free_source or free_target:
        return DONE
    return search_settle(&c.store, &c.order, &c.search, overlay, u, v)


cdef inline Outcome edge_add_exclusive(
    Core *c, Ref u, Ref v, int32_t label, Rules rules, Answer *answer, bint wait
) noexcept nogil:
    cdef Overlay none
    cdef Outcome outcome = DONE
    none.first_out = NULL
    if not order_lock_exclusive(&c.lock, wait):
        return BUSY
    # Lists stand still under this lock, so all that may be refused is settled before the vertices are locked.
    if not alive(&c.store, u) or not alive(&c.store, v):
        outcome = STALE
    elif not edge_exists_locked(vertex_at(&c.store, u.id), vertex_at(&c.store, v.id), u.id, v.id):
        outcome = edge_settle(c, &none, u.id, v.id)
        if outcome == DONE:
            outcome = REORDER
        elif outcome == CYCLE:
            path_hand_over(c, answer)
    if outcome == DONE or outcome == REORDER:
        if not change_begin(c, u, v, wait):
            outcome = BUSY
        else:
            if rules.registered and status_of(&c.board, u.id) == NOT_REGISTERED:
                outcome = UNREGISTERED
            elif outcome == DONE:
                outcome = edge_relabel_locked(c, u, v, label, rules, False, answer, wait)
            else:
                outcome = edge_attach_locked(c, u, v, label, answer, wait)
            change_end(c, u, v)
    order_unlock_exclusive(&c.lock)
    return outcome


cdef inline Outcome edge_add(
    Core *c, Ref u, Ref v, int32_t label, Rules rules, Answer *answer, bint wait
) noexcept nogil:
    """Add an edge. O(1) plus the scan of the shorter list when the order agrees, else the cost of the search.

    After CYCLE the path is in the answer. `answer` must come zeroed, or with room for flips.
    """
    cdef Outcome outcome = edge_add_shared(c, u, v, label, rules, answer, wait)
    if outcome == REORDER:
        outcome = edge_add_exclusive(c, u, v, label, rules, answer, wait)
    return outcome


cdef inline Outcome entry_look(
    Core *c, Ref here, Ref there, bint backward, int32_t most, int32_t *count, int32_t *label, bint wait
) noexcept nogil:
    """Look for an edge in the list of one of its ends; OVER_BUDGET, with its length, when that is above `most`."""
    cdef Vertex *v = vertex_at(&c.store, here.id)
    cdef EdgeList *list = &v.ins if backward else &v.outs
    cdef Outcome outcome = DONE
    cdef int32_t at, seen
    if not vertex_lock(&c.store, here.id, wait):
        return BUSY
    seen = list_seen_locked(&c.store, here.id, list, shown_locked(&c.store, here.id))
    if not alive(&c.store, here) or not alive(&c.store, there):
        outcome = STALE
    elif seen > most:
        count[0] = seen
        outcome = OVER_BUDGET
    else:
        at = list_find_among_locked(list, seen, there.id)
        if at < 0:
            outcome = MISSING
        elif label != NULL:
            label[0] = list_labels(list)[at]
    vertex_unlock(&c.store, here.id)
    return outcome


cdef inline Outcome edge_look(Core *c, Ref u, Ref v, int32_t *label, bint wait) noexcept nogil:
    """Whether an edge is there, and where `label` is not NULL its label id. O(the shorter list; for the label, u's).

    One vertex is locked at a time: an edge comes and goes in both lists at once, so that either tells. It must not be both:
    whoever takes a vertex out locks its neighbours in any order.
    """
    cdef bint either = label == NULL or c.store.in_words == 2
    cdef int32_t outs = 0, ins = 0
    cdef Outcome outcome = entry_look(c, u, v, False, SHORT if either else MOST_VERTICES, &outs, label, wait)
    if outcome == OVER_BUDGET:
        outcome = entry_look(c, v, u, True, outs, &ins, label, wait)
    if outcome == OVER_BUDGET:
        outcome = entry_look(c, u, v, False, MOST_VERTICES, &outs, label, wait)
    return outcome


cdef inline Outcome edge_remove(Core *c, Ref u, Ref v, bint wait) noexcept nogil:
    """Take an edge out: DONE, MISSING, STALE or BUSY. O(entries of both lists). Only for graphs without statuses."""
    cdef Store *s = &c.store
    cdef Vertex *source = vertex_at(s, u.id)
    cdef Vertex *target = vertex_at(s, v.id)
    cdef Outcome outcome = DONE
    cdef int slot = order_lock_shared(&c.lock, wait)
    debug_assert(not c.board.on)
    if slot < 0:
        return BUSY
    if not vertex_lock_pair(s, u.id, v.id, wait):
        order_unlock_shared(&c.lock, slot)
        return BUSY
    if not alive(s, u) or not alive(s, v):
        outcome = STALE
    elif not edge_exists_locked(source, target, u.id, v.id):
        outcome = MISSING
    else:
        list_remove_locked(s, u.id, &source.outs, list_find_locked(&source.outs, v.id), 2)
        list_remove_locked(s, v.id, &target.ins, list_find_locked(&target.ins, u.id), s.in_words)
        stripe_of(s, u.id).edges.fetch_sub(1, relaxed)
    vertex_unlock_pair(s, u.id, v.id)
    order_unlock_shared(&c.lock, slot)
    return outcome

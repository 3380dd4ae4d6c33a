"""The core without Python: a few names, and one call that does any operation on them, as `Graph` and `StatusGraph` do it.

What the interpreter lock or the lock of the names guards in `Graph` is guarded by `names` here; which vertex a name stands for
is read in one step, as under the lock of one of `Graph`'s many shards. Every operation tries first without waiting, then waits,
as in `_core.pyx`.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from libcpp.vector cimport vector

from fastdag._atomics cimport acq_rel, acquire, atomic, mutex, release, seq_cst
from fastdag._batch cimport Batch, edges_in
from fastdag._bulk cimport bulk_add
from fastdag._check cimport core_check
from fastdag._edges cimport Core, Rules, edge_add, edge_look, edge_remove
from fastdag._locks cimport order_lock_exclusive, order_unlock_exclusive
from fastdag._log cimport REGISTERED, STATE, STATUS as STATUS_SET, SUBSCRIBERS, WAITERS, Entry, Log, log_look, log_move, log_switch
from fastdag._readiness cimport NOT_REGISTERED, Masks, masks_at, readiness_at, state_of, status_of, status_set, vertex_watch
from fastdag._reads cimport Ends, ends_copy, ends_free, ends_grow, ends_start, status_read, vertex_degrees
from fastdag._search cimport search_free
from fastdag._statuses cimport status_register, statuses_set
from fastdag._storage cimport STRIPES, Stripe, life_at, seen_at, store_free
from fastdag._types cimport (
    BUSY, CYCLE, DONE, EXISTED, MOST_VERTICES, NO_MEMORY, OVER_BUDGET, REPLACED, STALE, UNREGISTERED,
    Answer, Flip, Outcome, Ref, segments_free, segments_reserve,
)
from fastdag._vertices cimport vertex_keep, vertex_look, vertex_make, vertex_remove, vertex_room
from fastdag._walk cimport Snapshot, Walk, snapshot_free, snapshot_take, walk_free, walk_reach

cdef enum Op:
    ADD                      # edge a -> b with label c; replaces the label of one that is there
    REMOVE                   # edge a -> b
    LOOK                     # edge a -> b and its label
    OUTS                     # the ends and labels of the edges out of a
    INS
    DEGREES
    KEEP                     # vertex a
    DROP                     # vertex a, with its edges
    PATH                     # is there a way from a to b
    DOWN                     # what a reaches
    UP
    BATCH                    # edges a -> b, b -> c, a -> c
    WHOLE                    # all vertices and edges
    NUMBER                   # of edges
    PLAIN_OPS                # what a plain graph has ends here
    REGISTER                 # a with status c
    REGISTER_BOTH            # a and b
    SET                      # a to c
    SET_BOTH                 # a and b, no flips wanted
    SET_BOTH_FLIPS           # a and b, flips wanted
    DEPEND                   # a on b with requirement c, CONFLICT if there with another
    DEPEND_ALL               # batch: a on b, b on c
    STATUS
    WATCH                    # a
    UNWATCH
    LOG                      # c & 1: everything, or no longer
    WAITER                   # what the waiters' reader of the log does once
    SUBSCRIBER               # the subscribers'
    CHECK                    # all invariants, between any two operations: what a fork would find
    OPS

cdef enum:
    NAMES = 256
    LABELS = 4               # label ids 0 … 3; in a graph with statuses requirements 1 … 3
    CODES = 5                # statuses 0 … 4

cdef struct Step:
    int32_t op
    int32_t a, b, c          # names, and a label or status
    int32_t third            # the name that a batch mentions beside a and b; -1: it has one edge only

cdef struct Machine:
    Core core
    mutex names              # guards what follows
    atomic[uint64_t] *refs   # by name: born << 32 | id, 0: not there; written under `names`
    atomic[int32_t] *name_of # by id
    vector[int32_t] *spare   # ids to be used again
    atomic[int32_t] sorting  # 1: somebody is the waiters' reader
    atomic[int32_t] calling  # 1: somebody is the subscribers'
    int32_t most             # how many names are in use
    atomic[int64_t] wrong    # contradictions seen


cdef inline bint machine_start(Machine *m, bint statuses, int32_t names):
    """The machine's memory comes zeroed. Requirement 1: satisfied by 2; 2: by 1 and 2, impossible with 3; 3: by 2, 3 and 4."""
    cdef int i
    m.core.store.stripes = new vector[Stripe](STRIPES)
    m.core.store.in_words = 2 if statuses else 1
    m.core.order.head = m.core.order.tail = -1
    m.core.board.on = statuses
    m.spare = new vector[int32_t]()
    m.most = names
    m.refs = <atomic[uint64_t] *>calloc(NAMES, sizeof(atomic[uint64_t]))
    # Zeroed: else it is up to what malloc left there whether a store changes anything, and so whether it conflicts.
    m.name_of = <atomic[int32_t] *>calloc(4 * NAMES, sizeof(atomic[int32_t]))
    if statuses:
        segments_reserve(&m.core.board.masks, 0, sizeof(Masks))
        masks_at(&m.core.board, 1).satisfied = 4
        masks_at(&m.core.board, 2).satisfied = 6
        masks_at(&m.core.board, 2).impossible = 8
        masks_at(&m.core.board, 3).satisfied = 28
        for i in range(1, LABELS):
            masks_at(&m.core.board, i).defined.store(1, release)
    return True


cdef inline void machine_free(Machine *m):
    store_free(&m.core.store)
    search_free(&m.core.search)
    segments_free(&m.core.board.readiness)
    segments_free(&m.core.board.masks)
    free(m.core.board.log.entries)
    free(m.name_of)
    free(m.refs)
    del m.spare


cdef inline bint name_look(Machine *m, int32_t name, Ref *ref) noexcept nogil:
    """The vertex that a name stands for, or stood for; False: none."""
    cdef uint64_t word = m.refs[name].load(acquire)
    ref.id = <int32_t>(word & 0x7FFFFFFF)
    ref.born = word >> 32                # fewer lives than 2**32 begin in a test
    return word != 0


cdef inline bint name_find(Machine *m, int32_t name, Ref *ref) noexcept nogil:
    """Look a vertex up as readers do: a tentative one is not there."""
    cdef Outcome outcome
    if not name_look(m, name, ref):
        return False
    if seen_at(&m.core.store, ref.id) == ref.born:
        return True
    if life_at(&m.core.store, ref.id) != ref.born:
        return False
    outcome = vertex_look(&m.core, ref[0], False)
    if outcome == BUSY:
        outcome = vertex_look(&m.core, ref[0], True)
    return outcome == DONE


cdef inline bint name_make(Machine *m, int32_t name, Ref *ref) noexcept nogil:
    """Look a name up, or make its vertex, tentative; whether it was made."""
    cdef int32_t id
    cdef bint made = False
    if name_look(m, name, ref) and life_at(&m.core.store, ref.id) == ref.born:
        return False
    m.names.lock()
    if not name_look(m, name, ref) or life_at(&m.core.store, ref.id) != ref.born:
        if not m.spare.empty():
            id = m.spare.back()
            m.spare.pop_back()
        else:
            id = m.core.store.used.load(acquire)
            vertex_room(&m.core, id)
            m.core.store.used.store(id + 1, release)
        m.name_of[id].store(name, release)
        vertex_make(&m.core, id, ref)
        m.refs[name].store(ref.born << 32 | <uint64_t>id, release)
        made = True
    m.names.unlock()
    return made


cdef inline void name_forget(Machine *m, int32_t name, Ref ref) noexcept nogil:
    """Let the id of a vertex that was taken out be used again."""
    cdef Ref now
    m.names.lock()
    if name_look(m, name, &now) and now.id == ref.id and now.born == ref.born:
        m.refs[name].store(0, release)
    m.core.store.recycled.fetch_add(1, seq_cst)
    m.spare.push_back(ref.id)
    m.names.unlock()


cdef inline void name_discard(Machine *m, int32_t name, Ref ref) noexcept nogil:
    cdef Outcome outcome = vertex_remove(&m.core, ref, True, False)
    if outcome == BUSY:
        outcome = vertex_remove(&m.core, ref, True, True)
    if outcome == DONE:
        name_forget(m, name, ref)


cdef inline Outcome do_add(Machine *m, Step *p, Rules rules, Answer *answer) noexcept nogil:
    cdef Ref u, v
    cdef bint u_new = False, v_new = False
    cdef Outcome outcome = STALE
    while outcome == STALE:
        u_new = name_make(m, p.a, &u) or u_new
        v_new = name_make(m, p.b, &v) or v_new
        if u.id == v.id:
            continue                     # one went, and its id was used for the other
        outcome = edge_add(&m.core, u, v, p.c, rules, answer, False)
        if outcome == BUSY:
            outcome = edge_add(&m.core, u, v, p.c, rules, answer, True)
    if outcome == CYCLE or outcome == UNREGISTERED or outcome == NO_MEMORY:
        if u_new:
            name_discard(m, p.a, u)
        if v_new:
            name_discard(m, p.b, v)
        free(answer.path)
        answer.path = NULL
    return outcome


cdef inline Outcome do_batch(Machine *m, Step *p, int64_t n, Rules rules, Answer *answer) noexcept nogil:
    cdef int32_t[3] sources, targets, labels, source_names, target_names
    cdef uint64_t[3] source_lives, target_lives
    cdef bint[6] made
    cdef Ref[6] refs
    cdef Ref ref
    cdef Batch b
    cdef int64_t i
    cdef Outcome outcome = STALE
    source_names[0] = source_names[2] = p.a
    source_names[1] = target_names[0] = p.b
    target_names[1] = target_names[2] = p.third
    if p.third < 0:
        n = 1
    memset(made, 0, sizeof(made))
    memset(&b, 0, sizeof(Batch))
    b.sources = sources
    b.targets = targets
    b.labels = labels
    b.source_lives = source_lives
    b.target_lives = target_lives
    while outcome == STALE:
        for i in range(n):
            if name_make(m, source_names[i], &ref):
                made[i] = True
                refs[i] = ref
            sources[i] = ref.id
            source_lives[i] = ref.born
            if name_make(m, target_names[i], &ref):
                made[3 + i] = True
                refs[3 + i] = ref
            targets[i] = ref.id
            target_lives[i] = ref.born
            labels[i] = p.c
        b.count = n
        order_lock_exclusive(&m.core.lock, True)
        outcome = bulk_add(&m.core, &b, rules, answer)
        order_unlock_exclusive(&m.core.lock)
        if outcome == CYCLE and answer.path_length == 1:
            outcome = STALE              # an id was used for another name, so an edge seemed to lead back to its source
            free(answer.path)
            answer.path = NULL
    free(answer.path)
    answer.path = NULL
    if outcome != DONE:
        for i in range(n):
            if made[i]:
                name_discard(m, source_names[i], refs[i])
            if made[3 + i]:
                name_discard(m, target_names[i], refs[3 + i])
    return outcome


cdef inline Outcome do_ends(Machine *m, Step *p, int64_t *answer) noexcept nogil:
    """The edges of one vertex as a set of words, which do not depend on the order of the list."""
    cdef Ref ref
    cdef Ends e
    cdef Outcome outcome = STALE
    cdef bint backward = p.op == INS
    cdef uint64_t recycled
    cdef int64_t sum = 0, count = 0
    cdef int32_t i, name
    ends_start(&e)
    while True:
        recycled = m.core.store.recycled.load(acquire)
        sum = count = 0
        if not name_find(m, p.a, &ref):
            break
        outcome = ends_copy(&m.core, ref, backward, &e, False)
        if outcome == BUSY:
            outcome = ends_copy(&m.core, ref, backward, &e, True)
        if outcome == NO_MEMORY:
            ends_grow(&e)
            continue
        if outcome == DONE:
            count = e.count
            for i in range(e.count):
                name = m.name_of[e.ids[i]].load(acquire)
                sum += <int64_t>1 << (name & 31)
                if not backward or m.core.store.in_words == 2:
                    sum += <int64_t>(e.labels[i] + 1) * (name + 1) << 32
        if m.core.store.recycled.load(acquire) == recycled:
            break
    ends_free(&e)
    answer[0] = count
    answer[1] = sum
    answer[2] = not backward or m.core.store.in_words == 2  # whether the labels are in the sum
    return DONE


cdef inline Outcome do_walk(Machine *m, Step *p, int64_t *answer) noexcept nogil:
    cdef Ref u, goal
    cdef Walk w
    cdef Outcome outcome
    cdef int64_t i, sum
    cdef uint64_t recycled
    while True:
        recycled = m.core.store.recycled.load(acquire)
        goal.id = -1
        goal.born = 0
        sum = 0
        if not name_find(m, p.a, &u):
            return STALE
        if p.op == PATH and (not name_find(m, p.b, &goal) or goal.id == u.id):
            return STALE
        memset(&w, 0, sizeof(Walk))
        outcome = walk_reach(&m.core, &w, u, p.op == UP, goal, 4, False)
        if outcome == BUSY or outcome == OVER_BUDGET:
            walk_free(&w)
            outcome = walk_reach(&m.core, &w, u, p.op == UP, goal, MOST_VERTICES, True)
        if outcome == DONE and p.op != PATH:
            for i in range(w.count):
                sum |= <int64_t>1 << (m.name_of[w.ids[i]].load(acquire) & 63)
        walk_free(&w)
        if m.core.store.recycled.load(acquire) == recycled:
            answer[0] = sum
            return outcome


cdef inline Outcome do_whole(Machine *m, int64_t *answer) noexcept nogil:
    """All edges as one number, all vertices as another."""
    cdef Snapshot t
    cdef int32_t u
    cdef int64_t i, sum = 0, vertices = 0
    cdef uint64_t recycled = 0
    cdef Outcome outcome
    while True:
        recycled = m.core.store.recycled.load(acquire)
        sum = 0
        vertices = 0
        outcome = snapshot_take(&m.core, &t, False)
        if outcome == BUSY:
            outcome = snapshot_take(&m.core, &t, True)
        if outcome != DONE:
            return outcome
        for u in range(t.vertices):
            if t.born[u]:
                vertices |= <int64_t>1 << (m.name_of[u].load(acquire) & 63)
            for i in range(t.first[u], t.first[u + 1]):
                sum += (
                    <int64_t>(m.name_of[u].load(acquire) + 1) * 0x10001
                    * ((m.name_of[t.targets[i]].load(acquire) + 1) * 0x101 + 7) * (t.labels[i] + 11)
                )
        snapshot_free(&t)
        if m.core.store.recycled.load(acquire) == recycled:
            answer[0] = sum
            answer[1] = vertices
            return DONE


cdef inline int64_t flips_sum(Machine *m, Answer *told) noexcept nogil:
    """Changes of state as bits: whose, and to which."""
    cdef int64_t i, sum = 0
    for i in range(told.flipped if told.flips != NULL else 0):
        sum += <int64_t>1 << (8 + 8 * told.flips[i].state + (m.name_of[told.flips[i].id].load(acquire) & 7))
    return sum


cdef inline Outcome do_statuses(Machine *m, Step *p, int64_t *answer) noexcept nogil:
    cdef Ref[2] refs
    cdef int64_t changed = 0
    cdef bint[2] made
    cdef Answer told
    cdef Outcome outcome = STALE
    cdef bint register = p.op == REGISTER_BOTH
    memset(&told, 0, sizeof(Answer))
    memset(made, 0, sizeof(made))
    while outcome == STALE:
        if register:
            made[0] = name_make(m, p.a, &refs[0]) or made[0]
            made[1] = name_make(m, p.b, &refs[1]) or made[1]
        elif (
            not name_find(m, p.a, &refs[0]) or not name_find(m, p.b, &refs[1])
            or status_of(&m.core.board, refs[0].id) < 0 or status_of(&m.core.board, refs[1].id) < 0
        ):
            return STALE
        outcome = statuses_set(&m.core, refs, 2, p.c, register, p.op == SET_BOTH_FLIPS, &changed, &told)
    if register and outcome != DONE:
        if made[0]:
            name_discard(m, p.a, refs[0])
        if made[1]:
            name_discard(m, p.b, refs[1])
    if outcome == DONE:
        answer[0] = changed
        answer[1] = flips_sum(m, &told)
    free(told.flips)
    return outcome


cdef inline Outcome do_status(Machine *m, Step *p, int64_t *answer) noexcept nogil:
    """One vertex's status: register, set, read."""
    cdef Ref ref
    cdef Answer told
    cdef Flip[NAMES] flips
    cdef Outcome outcome = STALE
    cdef int32_t old = NOT_REGISTERED
    cdef int64_t since
    cdef int state = 0
    memset(&told, 0, sizeof(Answer))
    while outcome == STALE:
        if p.op == REGISTER:
            name_make(m, p.a, &ref)
            outcome = status_register(&m.core, ref, p.c, &told, False)
            if outcome == BUSY:
                outcome = status_register(&m.core, ref, p.c, &told, True)
        elif not name_find(m, p.a, &ref):
            break
        elif p.op == SET:
            told.flips = flips
            told.room = NAMES
            outcome = status_set(&m.core.store, &m.core.board, ref, p.c, -1, False, &old, &told, False)
            if outcome == BUSY:
                outcome = status_set(&m.core.store, &m.core.board, ref, p.c, -1, False, &old, &told, True)
        else:
            outcome = status_read(&m.core, ref, &old, &state, &since, False)
            if outcome == BUSY:
                outcome = status_read(&m.core, ref, &old, &state, &since, True)
    answer[0] = state if p.op == STATUS else old
    answer[1] = old if p.op == STATUS else flips_sum(m, &told)
    return outcome


cdef inline Outcome do_watch(Machine *m, Step *p, int64_t *answer) noexcept nogil:
    cdef Ref ref
    cdef int32_t status, state
    cdef uint64_t sequence
    cdef Outcome outcome = STALE
    if p.op == WATCH:
        while outcome == STALE:
            name_make(m, p.a, &ref)
            outcome = vertex_keep(&m.core, ref, False)
            if outcome == BUSY:
                outcome = vertex_keep(&m.core, ref, True)
    elif not name_find(m, p.a, &ref):
        return STALE
    outcome = vertex_watch(&m.core.store, &m.core.board, ref, p.op == WATCH, &status, &state, &sequence)
    answer[0] = status
    answer[1] = state
    answer[2] = <int64_t>sequence
    return outcome


cdef inline void do_log(Machine *m, Step *p, int64_t *answer) noexcept nogil:
    """Log everything, with the statuses and states at the moment from which changes are told; or no longer."""
    cdef Log *log = &m.core.board.log
    cdef Ref ref
    cdef int32_t name
    log_switch(log, p.c & 1)
    if p.c & 1:
        log.lock.lock()                  # as long as everything is logged, whoever changes something holds this
        answer[0] = <int64_t>log.sequence
        for name in range(min(m.most, 8)):
            if name_look(m, name, &ref):
                answer[1] |= <int64_t>(1 + status_of(&m.core.board, ref.id)) << (8 * name)
                answer[2] |= <int64_t>state_of(readiness_at(&m.core.board, ref.id).word.load(acquire)) << (8 * name)
        log.lock.unlock()


cdef inline bint log_follows(Machine *m, int32_t name, int32_t status, int32_t state, uint64_t since) noexcept nogil:
    """Whether the log leads from a vertex's status and state at one moment to those that it has in the end, without a gap."""
    cdef Log *log = &m.core.board.log
    cdef Entry *entry
    cdef Ref ref
    cdef int64_t i
    if not name_look(m, name, &ref):
        return status == NOT_REGISTERED and state == 0
    if log.last > log.room:              # what was read is there still, unless a program has written so much
        return False
    for i in range(log.last):
        entry = &log.entries[i & (log.room - 1)]
        if entry.id != ref.id or entry.sequence <= since:
            continue
        if entry.kind == REGISTERED or entry.kind == STATUS_SET:
            if status != entry.old:
                return False
            status = entry.new
        elif entry.kind == STATE:
            if state != entry.old:
                return False
            state = entry.new
    return status == status_of(&m.core.board, ref.id) and (
        state == <int32_t>state_of(readiness_at(&m.core.board, ref.id).word.load(acquire)))


cdef inline Outcome do_read_log(Machine *m, Step *p) noexcept nogil:
    """Read a few entries as one of the two readers, if nobody does; they follow each other without a gap."""
    cdef Entry[8] entries
    cdef int64_t upto = 0, n, i
    cdef atomic[int32_t] *baton = &m.sorting if p.op == WAITER else &m.calling
    if baton.exchange(1, acq_rel):
        return BUSY
    n = log_look(&m.core.board.log, WAITERS if p.op == WAITER else SUBSCRIBERS, entries, 8, &upto, False)
    if n < 0:
        n = log_look(&m.core.board.log, WAITERS if p.op == WAITER else SUBSCRIBERS, entries, 8, &upto, True)
    for i in range(1, n):
        if entries[i].sequence != entries[i - 1].sequence + 1:
            m.wrong.fetch_add(1, seq_cst)
    if not log_move(&m.core.board.log, WAITERS if p.op == WAITER else SUBSCRIBERS, upto, False):
        log_move(&m.core.board.log, WAITERS if p.op == WAITER else SUBSCRIBERS, upto, True)
    baton.exchange(0, acq_rel)
    return DONE


cdef inline Outcome machine_do(Machine *m, Step *p, int64_t *answer) noexcept nogil:
    """Do one operation; what it tells beside its outcome goes to `answer`, three words."""
    cdef Ref u, v
    cdef Answer told
    cdef Outcome outcome = STALE
    cdef int32_t label = 0
    cdef int64_t outs = 0, ins = 0
    memset(&told, 0, sizeof(Answer))
    answer[0] = answer[1] = answer[2] = 0
    if p.op == ADD:
        outcome = do_add(m, p, Rules(True, False), &told)
    elif p.op == DEPEND:
        outcome = do_add(m, p, Rules(False, True), &told)
    elif p.op == BATCH:
        outcome = do_batch(m, p, 3, Rules(True, False), &told)
    elif p.op == DEPEND_ALL:
        outcome = do_batch(m, p, 2, Rules(False, True), &told)
    elif p.op == REMOVE or p.op == LOOK:
        while outcome == STALE:
            if not name_find(m, p.a, &u) or not name_find(m, p.b, &v):
                break
            if u.id == v.id:
                continue
            if p.op == REMOVE:
                outcome = edge_remove(&m.core, u, v, False)
                if outcome == BUSY:
                    outcome = edge_remove(&m.core, u, v, True)
            else:
                outcome = edge_look(&m.core, u, v, &label, False)
                if outcome == BUSY:
                    outcome = edge_look(&m.core, u, v, &label, True)
                if outcome == STALE:
                    break
                answer[0] = label if outcome == DONE else 0
    elif p.op == OUTS or p.op == INS:
        outcome = do_ends(m, p, answer)
    elif p.op == DEGREES:
        if name_find(m, p.a, &u):
            outcome = vertex_degrees(&m.core, u, &outs, &ins, False)
            if outcome == BUSY:
                outcome = vertex_degrees(&m.core, u, &outs, &ins, True)
        answer[0] = outs
        answer[1] = ins
    elif p.op == KEEP:
        while outcome == STALE:
            name_make(m, p.a, &u)
            outcome = vertex_keep(&m.core, u, False)
            if outcome == BUSY:
                outcome = vertex_keep(&m.core, u, True)
    elif p.op == DROP:
        while outcome == STALE:
            if not name_find(m, p.a, &u):
                break
            outcome = vertex_remove(&m.core, u, False, False)
            if outcome == BUSY:
                outcome = vertex_remove(&m.core, u, False, True)
            if outcome == DONE:
                name_forget(m, p.a, u)
            elif outcome == STALE:
                break
    elif p.op == PATH or p.op == DOWN or p.op == UP:
        outcome = do_walk(m, p, answer)
    elif p.op == WHOLE:
        outcome = do_whole(m, answer)
    elif p.op == NUMBER:
        answer[0] = edges_in(&m.core.store)
        outcome = DONE
    elif p.op == REGISTER or p.op == SET or p.op == STATUS:
        outcome = do_status(m, p, answer)
    elif p.op == REGISTER_BOTH or p.op == SET_BOTH or p.op == SET_BOTH_FLIPS:
        outcome = do_statuses(m, p, answer)
    elif p.op == WATCH or p.op == UNWATCH:
        outcome = do_watch(m, p, answer)
    elif p.op == LOG:
        do_log(m, p, answer)
        outcome = DONE
    elif p.op == CHECK:
        m.wrong.fetch_add(core_check(&m.core, &label) != NULL, seq_cst)
        outcome = DONE
    else:
        outcome = do_read_log(m, p)
    return outcome

"""The log of what happens in a graph with statuses: every change once, in the order in which it happened.

Guarantees
- While logging is on, a change and its entry are made under the log lock together, so that the order of the log is
  the order of the changes, of one vertex and of all.
- Room for its entries is made before a change happens: running out of memory changes nothing.
- There are two readers, one behind the other: the waiters, then the subscribers. Each looks at entries first and moves on
  when it is done with them, so that whatever ends its work in between loses none. Where nobody waits for any vertex,
  the subscribers need not wait for the waiters' reader.
- When `log_switch` returns, every change that did not see the new setting is over: changes read it while they share
  `under_way`, and the switch takes that exclusively for a moment.
- A batch that changes many statuses finds room for all it will log before it begins, however many edges others add to its
  vertices meanwhile: each such edge makes room for the entry it may cost every batch under way.

Assumes
- The log lock is a leaf: nothing else is taken while it is held.
- Of each reader there is one at a time.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc

from fastdag._atomics cimport acquire, atomic, debug_assert, mutex, relaxed, release, seq_cst
from fastdag._locks cimport (
    LockStats, OrderLock, mutex_take, order_lock_exclusive, order_lock_shared, order_unlock_exclusive, order_unlock_shared,
)

cdef enum Kind:
    REGISTERED
    STATUS
    STATE
    DEPENDENCY

cdef enum Reader:
    WAITERS
    SUBSCRIBERS

cdef struct Entry:
    int32_t kind             # Kind
    int32_t id               # the vertex it happened to
    int32_t cause            # the vertex that caused a change of state, or is depended on; -1: none
    int32_t old, new         # codes of statuses, or of states for STATE
    uint64_t sequence        # 1, 2, 3 …
    int64_t time             # monotonic, ns

cdef struct Log:
    OrderLock control        # shared by batches of statuses, so that none begins to be logged in its middle, and by whoever watches
                             # a vertex or no longer; exclusive to switch logging on or off; taken before any vertex lock
    OrderLock under_way      # shared by one change of a status or an edge, from before it asks whether logging is on until it
                             # is over; taken before any vertex lock
    atomic[int32_t] all      # 1: everything is logged; written under `control`
    atomic[int32_t] watched  # vertices that are logged in any case; changes under `control`, from 0 to 1 under it exclusively
    mutex lock               # guards what follows; leaf
    Entry *entries           # a ring of `room` entries, a power of two
    int64_t room
    int64_t first            # entries that both readers are done with; the oldest one left is at first & (room - 1)
    int64_t seen             # entries that the waiters' reader is done with; first <= seen <= last
    int64_t last             # entries written so far
    int64_t promised         # room kept for bulk operations that are writing vertex by vertex or edge by edge
    int64_t batches          # batches of statuses that are being logged
    int64_t edges            # edges added while logging was on
    atomic[int64_t] unseen   # last - seen: left for the waiters; to be read without the lock, as the next
    atomic[int64_t] ready    # seen - first: left for the subscribers
    uint64_t sequence        # of the newest entry
    LockStats stats


cdef inline bint log_on(Log *log) noexcept nogil:
    """Whether a change has to take the log lock. To be asked while `under_way`, or `control`, is shared."""
    return log.all.load(acquire) != 0 or log.watched.load(acquire) != 0


cdef inline bint log_reserve_locked(Log *log, int64_t more) noexcept nogil:
    cdef int64_t room = log.room if log.room else 256
    cdef int64_t held = log.last - log.first
    cdef int64_t i
    cdef Entry *entries
    while room < held + log.promised + more:
        room *= 2
    if room == log.room:
        return True
    entries = <Entry *>malloc(<size_t>room * sizeof(Entry))
    if entries == NULL:
        return False
    for i in range(log.first, log.last):
        entries[i & (room - 1)] = log.entries[i & (log.room - 1)]
    free(log.entries)
    log.entries = entries
    log.room = room
    return True


cdef inline bint log_reserve_edge_locked(Log *log) noexcept nogil:
    """Room for an edge that is about to be added; False, and unchanged, when memory is out."""
    return log_reserve_locked(log, 2 + log.batches)


cdef inline void log_note_edge_locked(Log *log) noexcept nogil:
    """An edge is added: one more dependent for whatever batch is under way. Room for that was reserved or promised."""
    log.edges += 1
    log.promised += log.batches


cdef inline void log_count_locked(Log *log) noexcept nogil:
    log.unseen.store(log.last - log.seen, release)
    log.ready.store(log.seen - log.first, release)


cdef inline void log_write_locked(
    Log *log, Kind kind, int32_t id, int32_t cause, int32_t old, int32_t new, int64_t time
) noexcept nogil:
    """Append an entry; room has been reserved. O(1)."""
    cdef Entry *entry = &log.entries[log.last & (log.room - 1)]
    debug_assert(log.lock.held())
    debug_assert(log.last - log.first < log.room)
    log.sequence += 1
    log.last += 1
    entry.kind = kind
    entry.id = id
    entry.cause = cause
    entry.old = old
    entry.new = new
    entry.sequence = log.sequence
    entry.time = time
    if log.watched.load(relaxed) == 0:  # whoever begins to wait counts himself before he takes the log lock
        log.seen = log.last
    log_count_locked(log)


cdef inline int64_t log_look(Log *log, Reader reader, Entry *into, int64_t most, int64_t *upto, bint wait) noexcept nogil:
    """Copy the oldest entries that a reader is not done with, up to `upto`; how many, or -1 when the lock is busy."""
    cdef int64_t n, i, start
    if not mutex_take(&log.lock, &log.stats, wait):
        return -1
    start = log.seen if reader == WAITERS else log.first
    n = min(most, (log.last if reader == WAITERS else log.seen) - start)
    for i in range(n):
        into[i] = log.entries[(start + i) & (log.room - 1)]
    log.lock.unlock()
    upto[0] = start + n
    return n


cdef inline bint log_move(Log *log, Reader reader, int64_t upto, bint wait) noexcept nogil:
    """A reader is done with what it looked at; False when the lock is busy."""
    if not mutex_take(&log.lock, &log.stats, wait):
        return False
    if reader == SUBSCRIBERS:
        log.first = upto
    elif log.seen < upto:  # else a writer has moved it on since, because nobody waits any more
        log.seen = upto
    log_count_locked(log)
    log.lock.unlock()
    return True


cdef inline int64_t log_copy(Log *log, Entry *into, int64_t most) noexcept nogil:
    """Copy the oldest entries, whoever is done with them; how many there were."""
    cdef int64_t n, i
    log.lock.lock()
    n = min(most, log.last - log.first)
    for i in range(n):
        into[i] = log.entries[(log.first + i) & (log.room - 1)]
    log.lock.unlock()
    return n


cdef inline void log_drop(Log *log, int64_t n) noexcept nogil:
    """Take as many of the oldest entries out, for both readers."""
    log.lock.lock()
    log.first += n
    log.seen = max(log.seen, log.first)
    log_count_locked(log)
    log.lock.unlock()


cdef inline void log_pass_changes(Log *log) noexcept nogil:
    """Wait until every single change that is under way is over. O(1) and the longest of them."""
    order_lock_exclusive(&log.under_way, True)
    order_unlock_exclusive(&log.under_way)


cdef inline uint64_t log_switch(Log *log, bint on) noexcept nogil:
    """Log everything, or stop; the last sequence given when that took effect."""
    cdef uint64_t sequence
    order_lock_exclusive(&log.control, True)
    if log.all.load(relaxed) != on:  # else whoever switched it has waited for those under way
        log.all.store(on, seq_cst)
        log_pass_changes(log)
    log.lock.lock()
    sequence = log.sequence
    log.lock.unlock()
    order_unlock_exclusive(&log.control)
    return sequence


cdef inline bint log_watch_another(Log *log) noexcept nogil:
    """Count one more vertex as watched where that changes nothing for anybody: not the first one. `control` held shared. O(1)."""
    cdef int32_t count = log.watched.load(seq_cst)
    if log.all.load(relaxed):
        log.watched.fetch_add(1, seq_cst)
        return True
    while count > 0:                     # from 0 to 1 only under the exclusive lock: a batch may rely on logging being off
        if log.watched.compare_exchange_weak(count, count + 1, seq_cst):
            return True
    return False


cdef inline void log_watch_first(Log *log) noexcept nogil:
    """Count one more vertex as watched, and wait until every change sees it. `control` held exclusively."""
    log.watched.fetch_add(1, seq_cst)
    log_pass_changes(log)


cdef inline void log_watch_less(Log *log) noexcept nogil:
    """Count one vertex less as watched. O(1)."""
    log.watched.fetch_sub(1, seq_cst)

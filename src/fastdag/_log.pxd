"""The log of what happens in a graph with statuses: every change once, in the order in which it happened.

Guarantees
- While logging is on, a change and its entry are made under the log lock together, so that the order of the log is
  the order of the changes, of one vertex and of all.
- Room for its entries is made before a change happens: running out of memory changes nothing.
- When `log_switch` returns, every change that did not see the new setting is over: changes read it under a vertex lock, and
  the switch passes through all of them.

Assumes
- The log lock is a leaf: nothing else is taken while it is held.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastdag._atomics cimport acquire, atomic, mutex, release, seq_cst
from fastdag._locks cimport LockStats
from fastdag._storage cimport STRIPES, Store, vertex_lock, vertex_unlock

cdef enum Kind:
    REGISTERED
    STATUS
    STATE
    DEPENDENCY

cdef struct Entry:
    int32_t kind             # Kind
    int32_t id               # the vertex it happened to
    int32_t cause            # the vertex that caused a change of state, or is depended on; -1: none
    int32_t old, new         # codes of statuses, or of states for STATE
    uint64_t sequence        # 1, 2, 3 …
    int64_t time             # monotonic, ns

cdef struct Log:
    mutex control            # one switch at a time; taken before any vertex lock, never inside one
    atomic[int32_t] all      # 1: everything is logged; written under `control`
    atomic[int32_t] watched  # vertices that are logged in any case; written under `control`
    mutex lock               # guards what follows; leaf
    Entry *entries           # a ring of `room` entries, a power of two
    int64_t room
    int64_t first            # entries taken so far; the oldest one left is at first & (room - 1)
    int64_t last             # entries written so far
    int64_t promised         # room kept for a bulk load that is writing edge by edge
    atomic[int64_t] waiting  # last - first, to be read without the lock
    uint64_t sequence        # of the newest entry
    LockStats stats


cdef inline bint log_on(Log *log) noexcept nogil:
    """Whether a change has to take the log lock. To be asked under the vertex lock of the change."""
    return log.all.load(acquire) != 0 or log.watched.load(acquire) != 0


cdef inline bint log_reserve_locked(Log *log, int64_t more) noexcept nogil:
    cdef int64_t room = log.room if log.room else 256
    cdef int64_t held = log.last - log.first
    cdef int64_t start, run
    cdef Entry *entries
    while room < held + log.promised + more:
        room *= 2
    if room == log.room:
        return True
    entries = <Entry *>malloc(<size_t>room * sizeof(Entry))
    if entries == NULL:
        return False
    if held:
        start = log.first & (log.room - 1)
        run = min(held, log.room - start)
        memcpy(entries, log.entries + start, <size_t>run * sizeof(Entry))
        memcpy(entries + run, log.entries, <size_t>(held - run) * sizeof(Entry))
    free(log.entries)
    log.entries = entries
    log.room = room
    log.first = 0
    log.last = held
    return True


cdef inline void log_write_locked(
    Log *log, Kind kind, int32_t id, int32_t cause, int32_t old, int32_t new, int64_t time
) noexcept nogil:
    """Append an entry; room has been reserved. O(1)."""
    cdef Entry *entry = &log.entries[log.last & (log.room - 1)]
    log.sequence += 1
    log.last += 1
    entry.kind = kind
    entry.id = id
    entry.cause = cause
    entry.old = old
    entry.new = new
    entry.sequence = log.sequence
    entry.time = time
    log.waiting.store(log.last - log.first, release)


cdef inline int64_t log_take(Log *log, Entry *into, int64_t most) noexcept nogil:
    """Take the oldest entries out; how many there were."""
    cdef int64_t n, i
    log.lock.lock()
    n = min(most, log.last - log.first)
    for i in range(n):
        into[i] = log.entries[(log.first + i) & (log.room - 1)]
    log.first += n
    log.waiting.store(log.last - log.first, release)
    log.lock.unlock()
    return n


cdef inline void log_pass_vertices(Store *s) noexcept nogil:
    """Wait until every change that is under way has let go of its vertex. O(stripes)."""
    cdef int32_t stripe
    for stripe in range(STRIPES):
        vertex_lock(s, stripe, True)
        vertex_unlock(s, stripe)


cdef inline uint64_t log_switch(Store *s, Log *log, bint on) noexcept nogil:
    """Log everything, or stop; the last sequence given when that took effect."""
    cdef uint64_t sequence
    log.control.lock()
    log.all.store(1 if on else 0, seq_cst)
    log_pass_vertices(s)
    log.lock.lock()
    sequence = log.sequence
    log.lock.unlock()
    log.control.unlock()
    return sequence


cdef inline void log_watch_more(Store *s, Log *log, int32_t more) noexcept nogil:
    """Count a vertex as watched (1) or no longer (-1). The first one waits until every change sees it."""
    log.control.lock()
    if log.watched.fetch_add(more, seq_cst) == 0:
        log_pass_vertices(s)
    log.control.unlock()

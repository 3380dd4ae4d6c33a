"""The locks of the core: one order lock, shared or exclusive, and a lock in each vertex.

Lock order, stated once: order lock; the switch of the log (`control`), the changes under way (`under_way`, both _log.pxd); then
vertex locks, the lower id first; then one leaf at most: the ends of the order (_order.pxd), the log (_log.pxd) or a pool of
blocks (_storage.pxd). While any of them is held no Python object is touched, no exception raised, no callback run and the
interpreter not waited for.

Guarantees
- Whoever finds a lock free never lets go of the interpreter: every operation first runs with `wait` False, which
  answers BUSY where it would have to wait; only then is it called again without the interpreter, with `wait` True.
- Many hold the order lock shared without writing to a common cache line (a slot per thread, as in BRAVO: Dice and
  Kogan 2019, "Biased locking for reader-writer locks"); a waiting writer holds new readers back, so it gets its turn.
- Counting costs nothing while nobody waits: waits are counted after the wait, inside the lock.

Assumes
- No thread takes the order lock twice, nor waits for a vertex lock while it holds that of a vertex with a higher id; only under the
  exclusive order lock, where nobody else holds two, any number in any order.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

from fastdag._atomics cimport atomic, clock_ns, counter, debug_assert, mutex, relaxed, seq_cst

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    pthread_t pthread_self()

cdef extern from *:
    """
    #ifdef FASTDAG_PROFILE
    #define FASTDAG_COUNT_ALL 1
    #else
    #define FASTDAG_COUNT_ALL 0
    #endif
    """
    const int COUNT_ALL "FASTDAG_COUNT_ALL"  # 1 in the profile build: every acquisition is counted, not only waits

cdef enum:
    READER_SLOTS = 16

cdef struct LockStats:
    counter[int64_t] acquired       # acquisitions; counted in the profile build only
    counter[int64_t] contended      # acquisitions that had to wait
    counter[int64_t] wait_ns        # time waited in all, ns
    counter[int64_t] longest_ns     # longest single wait, ns

cdef struct ReaderSlot:
    atomic[int32_t] readers         # threads that hold the lock shared through this slot
    char padding[60]                # a cache line each: readers on two cores write to two lines

cdef struct OrderLock:
    ReaderSlot slots[READER_SLOTS]
    atomic[int32_t] writing         # 1 from when a writer bars new readers until it lets go
    mutex gate                      # held by the writer throughout; a barred reader queues here
    LockStats shared
    LockStats exclusive


cdef inline void stats_wait(LockStats *stats, int64_t waited) noexcept nogil:
    stats.contended.fetch_add(1, relaxed)
    stats.wait_ns.fetch_add(waited, relaxed)
    if stats.longest_ns.load(relaxed) < waited:  # a lost race costs one sample of the maximum at most
        stats.longest_ns.store(waited, relaxed)


cdef inline void stats_acquired(LockStats *stats) noexcept nogil:
    if COUNT_ALL:
        stats.acquired.fetch_add(1, relaxed)


cdef inline bint mutex_take(mutex *lock, LockStats *stats, bint wait) noexcept nogil:
    """Take a mutex; with `wait` False only if it is free. O(1)."""
    cdef int64_t since
    if not lock.try_lock():
        if not wait:
            return False
        since = clock_ns()
        lock.lock()
        stats_wait(stats, clock_ns() - since)
    stats_acquired(stats)
    return True


cdef inline int reader_slot() noexcept nogil:
    """The slot through which this thread holds locks shared."""
    return <int>(((<uint64_t>pthread_self() >> 12) * <uint64_t>0x9E3779B97F4A7C15) >> 60)


cdef inline int order_lock_shared(OrderLock *lock, bint wait) noexcept nogil:
    """Take the order lock shared; the slot to give back, or -1 when it is not free and `wait` is False."""
    cdef int slot = reader_slot()
    cdef int64_t since
    # seq_cst on both sides: either the writer sees this reader, or this reader sees the writer (Dekker).
    lock.slots[slot].readers.fetch_add(1, seq_cst)
    if lock.writing.load(seq_cst) != 0:
        order_unlock_shared(lock, slot)
        if not wait:
            return -1
        since = clock_ns()
        lock.gate.lock()  # no writer is active while this is held, so the slot may be taken without a look
        lock.slots[slot].readers.fetch_add(1, seq_cst)
        lock.gate.unlock()
        stats_wait(&lock.shared, clock_ns() - since)
    stats_acquired(&lock.shared)
    return slot


cdef inline void order_unlock_shared(OrderLock *lock, int slot) noexcept nogil:
    lock.slots[slot].readers.fetch_sub(1, seq_cst)
    if lock.writing.load(seq_cst) != 0:
        lock.slots[slot].readers.notify_all()  # a writer may sleep until this slot is empty


cdef inline bint order_lock_exclusive(OrderLock *lock, bint wait) noexcept nogil:
    """Take the order lock exclusively; with `wait` False only if no one holds it. O(slots)."""
    cdef int slot
    cdef int32_t readers
    cdef bint waited = False
    cdef int64_t since = 0
    if not lock.gate.try_lock():
        if not wait:
            return False
        waited = True
        since = clock_ns()
        lock.gate.lock()
    if not wait:
        for slot in range(READER_SLOTS):  # a look first, so as not to bar readers in vain
            if lock.slots[slot].readers.load(relaxed) != 0:
                lock.gate.unlock()
                return False
    lock.writing.store(1, seq_cst)
    for slot in range(READER_SLOTS):
        readers = lock.slots[slot].readers.load(seq_cst)
        while readers != 0:
            if not wait:
                order_unlock_exclusive(lock)
                return False
            if not waited:
                waited = True
                since = clock_ns()
            lock.slots[slot].readers.wait(readers, seq_cst)
            readers = lock.slots[slot].readers.load(seq_cst)
    if waited:
        stats_wait(&lock.exclusive, clock_ns() - since)
    stats_acquired(&lock.exclusive)
    return True


cdef inline void order_unlock_exclusive(OrderLock *lock) noexcept nogil:
    debug_assert(lock.gate.held())
    debug_assert(lock.writing.load(seq_cst))
    lock.writing.store(0, seq_cst)
    lock.gate.unlock()


cdef inline void order_lock_renew(OrderLock *lock) noexcept nogil:
    """Make a lock free that the only thread there is holds exclusively, whoever else was about to take it. O(slots)."""
    cdef int slot
    for slot in range(READER_SLOTS):
        lock.slots[slot].readers.store(0, seq_cst)
    lock.writing.store(0, seq_cst)
    lock.gate.renew()

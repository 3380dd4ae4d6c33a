"""Atomics, mutexes and the clock, as the core uses them.

Cython's own `libcpp.atomic` lacks `wait` and `notify_all` (C++20), and its `mutex.lock` is declared `except +`, which
would put a path that waits for the interpreter into code that must never do so. Neither throws in correct use.
Only acquire/release/seq_cst operations are used, no fences: ThreadSanitizer does not see fences.
"""

from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from "<atomic>" namespace "std" nogil:
    enum memory_order:
        relaxed "std::memory_order_relaxed"
        acquire "std::memory_order_acquire"
        release "std::memory_order_release"
        acq_rel "std::memory_order_acq_rel"
        seq_cst "std::memory_order_seq_cst"

    cppclass atomic[T]:
        T load(memory_order)
        void store(T, memory_order)
        T fetch_add(T, memory_order)
        T fetch_sub(T, memory_order)
        T fetch_or(T, memory_order)
        T fetch_and(T, memory_order)
        void wait(T, memory_order)
        void notify_all()

cdef extern from "<mutex>" namespace "std" nogil:
    cppclass mutex:
        void lock()
        bint try_lock()
        void unlock()


cdef inline int64_t clock_ns() noexcept nogil:
    """Monotonic time in ns, the clock of Python's `time.monotonic_ns`."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec

"""Atomics, mutexes and the clock, as the core uses them.

Cython's own `libcpp.atomic` lacks `wait` and `notify_all` (C++20).
Only acquire/release/seq_cst operations are used, no fences: ThreadSanitizer does not see fences.
"""

from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from *:
    """
    #include <atomic>
    #ifdef FASTDAG_SCHEDULE
    #include "schedule.h"  // tests/debug/: atomics before which another thread may go on
    #else
    template <class T> using fastdag_atomic = std::atomic<T>;
    template <class T> using fastdag_counter = std::atomic<T>;
    #endif
    """

cdef extern from "<atomic>" namespace "std" nogil:
    enum memory_order:
        relaxed "std::memory_order_relaxed"
        acquire "std::memory_order_acquire"
        release "std::memory_order_release"
        acq_rel "std::memory_order_acq_rel"
        seq_cst "std::memory_order_seq_cst"

cdef extern from * nogil:
    cppclass atomic "fastdag_atomic" [T]:
        T load(memory_order)
        void store(T, memory_order)
        T exchange(T, memory_order)
        bint compare_exchange_weak(T &, T, memory_order)
        T fetch_add(T, memory_order)
        T fetch_sub(T, memory_order)
        T fetch_or(T, memory_order)
        T fetch_and(T, memory_order)
        void wait(T, memory_order)
        void notify_all()

    cppclass counter "fastdag_counter" [T]:  # statistics, on which nobody acts
        T load(memory_order)
        void store(T, memory_order)
        T fetch_add(T, memory_order)

cdef extern from *:
    """
    // Drepper 2011, "Futexes are tricky", section 5: four bytes, and all inline where nobody waits. An uncontended edge
    // takes and gives back two of these: through std::mutex that was a sixth of its instructions.
    class fastdag_core_mutex {
        fastdag_atomic<int> word;  // 0 free, 1 held, 2 held and somebody may sleep
    public:
        bool try_lock() {
            int free = 0;
            return word.compare_exchange_strong(free, 1, std::memory_order_acquire, std::memory_order_relaxed);
        }
        void lock() {
            if (!try_lock())
                while (word.exchange(2, std::memory_order_acquire) != 0)
                    word.wait(2, std::memory_order_relaxed);
        }
        void unlock() {
            if (word.exchange(0, std::memory_order_release) == 2)
                word.notify_one();
        }
        void renew() {  // in the child of a fork, which has but one thread
            if (word.load(std::memory_order_relaxed) != 0)  // else its page need not be copied
                word.store(0, std::memory_order_relaxed);
        }
        bool held() const { return word.load(std::memory_order_relaxed) != 0; }  // by somebody
    };
    """
    cppclass mutex "fastdag_core_mutex":
        void lock() nogil
        bint try_lock() nogil
        void unlock() nogil
        void renew() nogil
        bint held() nogil


cdef extern from *:
    """
    #ifdef FASTDAG_DEBUG
    #include <cstdio>
    #include <cstdlib>
    #define fastdag_assert(holds) \\
        ((holds) ? (void)0 : (std::fprintf(stderr, "%s:%d: %s does not hold\\n", __FILE__, __LINE__, #holds), std::abort()))
    #else
    #define fastdag_assert(holds) ((void)0)
    #endif
    """
    void debug_assert "fastdag_assert"(bint) noexcept nogil  # looks at what it is given in the debug build only


cdef inline int64_t clock_ns() noexcept nogil:
    """Monotonic time in ns, the clock of Python's `time.monotonic_ns`."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef extern from *:
    """
    // The empty statement keeps GCC from taking a function that only prefetches for one without effects.
    static inline void fastdag_prefetch(const void *p) { __builtin_prefetch(p); __asm__ volatile(""); }
    """
    void prefetch "fastdag_prefetch"(const void *) noexcept nogil

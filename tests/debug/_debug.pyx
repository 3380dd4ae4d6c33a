"""What proves the core in its debug build: native threads that do nothing but core operations.

Built with FASTDAG_DEBUG=1 only, from the same headers as `fastdag._core`; `python -m tests.debug` builds and runs it.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from fastdag._atomics cimport acquire
from fastdag._check cimport core_check

from machine cimport CODES, LABELS, NAMES, OPS, PLAIN_OPS, Machine, Step, machine_do, machine_free, machine_start

cdef extern from *:
    """
    #include <barrier>
    #include <thread>
    #include <vector>
    template <class Body, class Shared> static void fastdag_threads(int n, Body body, Shared shared) {
        std::barrier<> start(n);
        std::vector<std::thread> threads;
        for (int i = 0; i < n; i++)
            threads.emplace_back([&start, body, shared, i] { start.arrive_and_wait(); body(shared, i); });
        for (auto &thread : threads)
            thread.join();
    }
    """
    ctypedef void (*Body)(void *, int) noexcept nogil
    void in_threads "fastdag_threads"(int, Body, void *) nogil

cdef struct Round:
    Machine *machine
    uint64_t seed
    int64_t operations       # of each thread
    int first, last          # the operations to choose from


cdef inline uint64_t random_next(uint64_t *state) noexcept nogil:
    """Splitmix64 (Steele, Lea, Flood 2014)."""
    cdef uint64_t x
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    x = state[0]
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef void step_choose(Step *p, uint64_t *state, int first, int last, int32_t names) noexcept nogil:
    cdef uint64_t x = random_next(state)
    p.op = first + <int32_t>((x & 0xFFFF) % <uint64_t>(last - first))
    if p.op == PLAIN_OPS:
        p.op = first
    p.a = <int32_t>((x >> 16 & 0xFFFF) % <uint64_t>names)
    p.b = <int32_t>((x >> 32 & 0xFFFF) % <uint64_t>(names - 1))
    p.b += p.b >= p.a
    p.c = <int32_t>((x >> 48) & 0xFF) % (CODES if last == OPS else LABELS)


cdef void round_run(void *shared, int thread) noexcept nogil:
    cdef Round *r = <Round *>shared
    cdef uint64_t state = r.seed + <uint64_t>thread * 1_000_003
    cdef Step p
    cdef int64_t i
    for i in range(r.operations):
        step_choose(&p, &state, r.first, r.last, r.machine.most)
        machine_do(r.machine, &p, NULL)


cdef class _Owner:
    """A machine, freed with this object."""

    cdef Machine m

    def __cinit__(self, bint statuses, int names):
        machine_start(&self.m, statuses, names)

    def __dealloc__(self):
        machine_free(&self.m)

    def check(self):
        cdef int32_t id = -1
        cdef const char *broken
        with nogil:
            broken = core_check(&self.m.core, &id)
        if broken != NULL:
            raise AssertionError(f"vertex {id}: {broken.decode()}")
        if self.m.wrong.load(acquire):
            raise AssertionError(f"{self.m.wrong.load(acquire)} contradictions")


def stress(int threads, int rounds, int64_t operations, uint64_t seed, bint statuses=False, int names=64):
    """Native threads do random operations on one core; all invariants are checked after each round.

    Parameters
    ----------
    threads, rounds : int
    operations : int
        Of each thread in a round.
    statuses : bool
        Use a core with statuses, whose vertices and edges stay, as a `StatusGraph`'s do.
    names : int
        2 … 256; the fewer, the more the threads meet.

    Returns
    -------
    int
        Operations done.
    """
    if not 2 <= names <= NAMES:
        raise ValueError(f"names is {names}; 2 to {NAMES} are possible")
    cdef _Owner owner = _Owner(statuses, names)
    cdef Round r
    cdef int i
    r.machine = &owner.m
    r.operations = operations
    r.first = PLAIN_OPS + 1 if statuses else 0
    r.last = OPS if statuses else PLAIN_OPS
    for i in range(rounds):
        r.seed = seed + <uint64_t>i * 7919
        with nogil:
            in_threads(threads, round_run, &r)
        owner.check()
    return threads * rounds * operations

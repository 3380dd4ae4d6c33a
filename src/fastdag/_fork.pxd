"""What a fork does to a graph: the child gets it from a moment between two operations, and with its locks free.

The child has one thread, the one that forked. Whatever lock another one held would never be free again, and what it was
writing never be whole. So a fork waits until no operation is under way in any graph, and bars new ones until it is over.

Guarantees
- What other threads were doing has happened in the child, or has not; waiting for a lock does not count as doing.
- Nothing costs more than without: only making a graph, dropping one and forking touch what is here.

Assumes
- Whoever holds a lock of the core waits neither for the interpreter nor for a lock of another graph: so a thread that
  has the interpreter may wait here for all of them in turn.
- No code of Python's runs between `live_halt` and what ends it: the handlers are those of `pthread_atfork`, which the C
  library calls at the very moment, and not those of `os.register_at_fork`, between which others' run.
- Names: with the interpreter lock, that it is held by who forks. Without it the interpreter stops the world first; its
  own kind of lock may be held by a thread that waits for memory, and is renewed.
"""

from libc.stdint cimport int32_t
from libc.string cimport memset

from fastdag._atomics cimport acquire
from fastdag._edges cimport Core
from fastdag._locks cimport order_lock_exclusive, order_lock_renew, order_unlock_exclusive
from fastdag._names cimport SHARDS, Shard, interpreter_mutex
from fastdag._pins cimport Pins, pins_renew
from fastdag._storage cimport vertex_at

cdef extern from "<pthread.h>" nogil:
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil, void (*child)() noexcept nogil)

cdef struct Live:            # a graph's place among all graphs of the process; guarded by the lock of that list
    Core *core
    Shard *shards
    interpreter_mutex *names_lock
    Pins *pins
    Live *older
    Live *newer


cdef inline void live_halt(Live *graph) noexcept nogil:
    """Wait until no operation is under way, and bar new ones, but reads of single vertices."""
    order_lock_exclusive(&graph.core.lock, True)
    order_lock_exclusive(&graph.core.board.log.control, True)
    order_lock_exclusive(&graph.core.board.log.under_way, True)
    graph.core.board.log.lock.lock()


cdef inline void live_go_on(Live *graph) noexcept nogil:
    """After `live_halt`, in the parent."""
    graph.core.board.log.lock.unlock()
    order_unlock_exclusive(&graph.core.board.log.under_way)
    order_unlock_exclusive(&graph.core.board.log.control)
    order_unlock_exclusive(&graph.core.lock)


cdef inline void live_renew(Live *graph) noexcept nogil:
    """After `live_halt`, in the child: nobody holds or waits for anything. O(vertices), reads but for a few.

    A reader may have held the lock of a vertex.
    """
    cdef Core *c = graph.core
    cdef int32_t id
    cdef int i
    order_lock_renew(&c.lock)
    order_lock_renew(&c.board.log.control)
    order_lock_renew(&c.board.log.under_way)
    c.board.log.lock.renew()
    for id in range(c.store.used.load(acquire)):
        vertex_at(&c.store, id).guard.renew()
    for i in range(SHARDS):
        memset(&graph.shards[i].lock, 0, sizeof(interpreter_mutex))
    memset(graph.names_lock, 0, sizeof(interpreter_mutex))
    pins_renew(graph.pins)

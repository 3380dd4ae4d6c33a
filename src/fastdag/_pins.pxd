"""Which ids may be used again: not those that a read under way may know.

A read of names copies ids, then looks their names up. What pins ids for so long keeps them from being given to other
vertices. Two epochs in turn, so that reads which overlap without end hold nothing up: ids given back in one epoch are free
when the reads that began in it have ended, and an epoch ends only when no read of the one before is left.

Guarantees
- Giving an id back, and unpinning, ask for no memory.
- In the child of a fork only the pins of the thread that forked are left.

Assumes
- The lock of the names (_names.pxd) is held.
- A pin is dropped by the thread that took it.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

from fastdag._locks cimport pthread_self, pthread_t
from fastdag._storage cimport Store, vertex_at

cdef struct Pin:
    pthread_t owner          # for a fork to tell its own thread from those that the child lacks
    int epoch
    Pin *older
    Pin *newer

cdef struct Pins:
    int32_t spare            # first id to be used again, -1: none; the record of each names the next one (`before`)
    int epoch                # 0 or 1: which of the two below new pins and ids given back join
    int64_t[2] held          # pins, by epoch
    int32_t[2] deferred      # first id to be spare once the pins of its epoch are gone, -1: none; chained as `spare`
    Pin *newest              # all pins, by `older`


cdef inline void pins_start(Pins *p) noexcept nogil:
    p.spare = p.deferred[0] = p.deferred[1] = -1


cdef inline Pin *pin_take_locked(Pins *p) noexcept nogil:
    """From now on ids mean what they mean; NULL when memory is out. O(1)."""
    cdef Pin *pin = <Pin *>malloc(sizeof(Pin))
    if pin == NULL:
        return NULL
    pin.owner = pthread_self()
    pin.epoch = p.epoch
    pin.newer = NULL
    pin.older = p.newest
    if p.newest != NULL:
        p.newest.newer = pin
    p.newest = pin
    p.held[pin.epoch] += 1
    return pin


cdef inline void pin_drop_locked(Pins *p, Pin *pin) noexcept nogil:
    if pin.newer != NULL:
        pin.newer.older = pin.older
    else:
        p.newest = pin.older
    if pin.older != NULL:
        pin.older.newer = pin.newer
    p.held[pin.epoch] -= 1
    free(pin)


cdef inline void pins_renew(Pins *p) noexcept nogil:
    """In the child of a fork: drop the pins of the threads that are not there. O(pins)."""
    cdef Pin *pin = p.newest
    cdef Pin *older
    while pin != NULL:
        older = pin.older
        if pin.owner != pthread_self():
            pin_drop_locked(p, pin)
        pin = older


cdef inline void id_defer_locked(Store *s, Pins *p, int32_t id) noexcept nogil:
    """Give back the id of a record where no vertex lives any more. O(1)."""
    vertex_at(s, id).before = p.deferred[p.epoch]
    p.deferred[p.epoch] = id


cdef inline int32_t id_free_locked(Store *s, Pins *p) noexcept nogil:
    """Make an id spare that no pinned read can know any more; it, or -1 where there is none. O(1)."""
    cdef int32_t id
    cdef int turns = 0
    while turns < 2 and p.held[1 - p.epoch] == 0:
        id = p.deferred[1 - p.epoch]
        if id >= 0:
            p.deferred[1 - p.epoch] = vertex_at(s, id).before
            vertex_at(s, id).before = p.spare
            p.spare = id
            return id
        p.epoch = 1 - p.epoch
        turns += 1
    return -1


cdef inline int32_t id_take_locked(Store *s, Pins *p) noexcept nogil:
    """Take an id that is to be used again, or -1. O(1)."""
    cdef int32_t id = p.spare
    if id >= 0:
        p.spare = vertex_at(s, id).before
    return id

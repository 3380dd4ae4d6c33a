"""From names to ids: an open-addressing hash table in 64 shards, sixteen bytes an entry.

A dict from names to integers, its integers included, costs 66 bytes a name at 200,000 of them. A slot holds an id, 32 bits of
the (mixed) hash, and the address of the name, so that the same object is found again without a look anywhere else; the
names themselves are in a list by id. Shards grow on their own, by half, so that no insertion
waits for the whole index to be copied.

Guarantees
- No Python code runs while a shard is being changed; where comparing two names runs some, the search starts again if the
  shard changed meanwhile.

Assumes
- With the interpreter lock: that it is held, which is all the locking there is. Without it: a shard's mutex guards its
  slots, and the mutex of the graph's names guards ids. These are locks of the interpreter's own kind (PyMutex),
  made to be held over Python objects; no core lock is taken or waited for inside them.
"""

from cpython.object cimport Py_EQ, PyObject, PyObject_RichCompareBool
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_Compare
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastdag._atomics cimport prefetch

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    typedef PyMutex fastdag_mutex;
    #define fastdag_lock(m) PyMutex_Lock(m)
    #define fastdag_unlock(m) PyMutex_Unlock(m)
    static inline PyObject *fastdag_item(PyObject *list, Py_ssize_t i) { return PyList_GetItemRef(list, i); }
    static inline PyObject *fastdag_value(PyObject *dict, PyObject *key) {
        PyObject *value;
        int found = PyDict_GetItemRef(dict, key, &value);
        return found ? value : Py_NewRef(Py_None);
    }
    #define FASTDAG_FREE_THREADED 1
    #else
    typedef char fastdag_mutex;
    #define fastdag_lock(m) ((void)(m))
    #define fastdag_unlock(m) ((void)(m))
    static inline PyObject *fastdag_item(PyObject *list, Py_ssize_t i) {
        PyObject *item = PyList_GET_ITEM(list, i);
        Py_INCREF(item);
        return item;
    }
    static inline PyObject *fastdag_value(PyObject *dict, PyObject *key) {
        PyObject *value = PyDict_GetItemWithError(dict, key);
        if (value == NULL) {
            if (PyErr_Occurred())
                return NULL;
            value = Py_None;
        }
        return Py_NewRef(value);
    }
    #define FASTDAG_FREE_THREADED 0
    #endif
    // A string that was hashed before knows its hash: two calls less.
    static inline Py_hash_t fastdag_hash(PyObject *name) {
        if (!FASTDAG_FREE_THREADED && PyUnicode_CheckExact(name) && ((PyASCIIObject *)name)->hash != -1)
            return ((PyASCIIObject *)name)->hash;
        return PyObject_Hash(name);
    }
    """
    ctypedef struct interpreter_mutex "fastdag_mutex":
        pass
    const int FREE_THREADED "FASTDAG_FREE_THREADED"
    void interpreter_lock "fastdag_lock"(interpreter_mutex *)
    void interpreter_unlock "fastdag_unlock"(interpreter_mutex *)
    # Both give a reference of their own: a borrowed one does not outlast what another thread does to the container. The list
    # is borrowed: without the interpreter lock, counting references to one that all threads read makes them wait in turn.
    object list_item "fastdag_item"(PyObject *, Py_ssize_t)
    object dict_value "fastdag_value"(object, object)  # None where the key is not there
    Py_hash_t name_hash "fastdag_hash"(PyObject *)  # -1, and an exception set, where the name cannot be hashed

cdef enum:
    SHARDS = 64
    FIRST_SLOTS = 8

cdef struct Slot:
    PyObject *name           # to be compared, never followed: the list of names holds the reference
    uint32_t hash            # upper half of the mixed hash
    int32_t id               # -1: empty

cdef struct Shard:           # all guarded by its mutex, or the interpreter lock
    Slot *slots
    uint32_t room            # slots
    uint32_t used            # entries; at most three quarters of the slots
    uint64_t version         # changes made
    interpreter_mutex lock


cdef inline uint64_t name_mix(Py_hash_t hash) noexcept nogil:
    """Spread a hash: those of small integers are the integers themselves."""
    cdef uint64_t x = <uint64_t>hash
    x ^= x >> 32
    x *= <uint64_t>0x9E3779B97F4A7C15
    return x ^ (x >> 29)


cdef inline uint32_t slot_home(Shard *d, uint32_t hash) noexcept nogil:
    return <uint32_t>((<uint64_t>hash * d.room) >> 32)


cdef inline Shard *shard_of(Shard *shards, uint64_t mixed) noexcept nogil:
    return &shards[mixed & (SHARDS - 1)]


cdef inline void name_expect(Shard *shards, uint64_t mixed) noexcept nogil:
    """Have the slot of a name that is about to be looked up brought into the cache."""
    cdef Shard *d = shard_of(shards, mixed)
    if FREE_THREADED == 0 and d.room:  # without an interpreter lock the slots may be read under the shard's mutex only
        prefetch(&d.slots[slot_home(d, <uint32_t>(mixed >> 32))])


cdef inline const Slot *slot_expected(Shard *shards, uint64_t mixed) noexcept nogil:
    """The slot that most likely holds a name, or NULL: only to have what it leads to brought into the cache."""
    cdef Shard *d = shard_of(shards, mixed)
    cdef uint32_t hash = <uint32_t>(mixed >> 32)
    cdef uint32_t at
    if FREE_THREADED or d.room == 0:
        return NULL
    at = slot_home(d, hash)
    while d.slots[at].id >= 0:
        if d.slots[at].hash == hash:
            return &d.slots[at]
        at = at + 1 if at + 1 < d.room else 0
    return NULL


cdef inline bint shard_reserve(Shard *d) noexcept nogil:
    """Room for one more; False, and unchanged, when memory is out. O(1) amortised."""
    cdef Slot *old = d.slots
    cdef uint32_t old_room = d.room
    cdef uint32_t i, at
    cdef uint32_t room
    cdef Slot *slots
    if (d.used + 1) * <uint64_t>4 <= d.room * <uint64_t>3:
        return True
    room = max(<uint32_t>FIRST_SLOTS, d.room + (d.room >> 1))
    slots = <Slot *>malloc(room * sizeof(Slot))
    if slots == NULL:
        return False
    memset(slots, 0xFF, room * sizeof(Slot))
    d.slots = slots
    d.room = room
    for i in range(old_room):
        if old[i].id >= 0:
            at = slot_home(d, old[i].hash)
            while slots[at].id >= 0:
                at = at + 1 if at + 1 < room else 0
            slots[at] = old[i]
    d.version += 1
    free(old)
    return True


cdef inline void shard_put(Shard *d, uint32_t hash, int32_t id, PyObject *name) noexcept nogil:
    """Enter an id whose name is not there; room has been reserved."""
    cdef uint32_t at = slot_home(d, hash)
    while d.slots[at].id >= 0:
        at = at + 1 if at + 1 < d.room else 0
    d.slots[at].hash = hash
    d.slots[at].id = id
    d.slots[at].name = name
    d.used += 1
    d.version += 1


cdef inline void shard_drop(Shard *d, uint32_t hash, int32_t id) noexcept nogil:
    """Take an id out, if it is there; what stands behind it moves up (no tombstones)."""
    cdef uint32_t at, next, home
    if d.room == 0:
        return
    at = slot_home(d, hash)
    while d.slots[at].id != id:
        if d.slots[at].id < 0:
            return
        at = at + 1 if at + 1 < d.room else 0
    next = at
    while True:
        next = next + 1 if next + 1 < d.room else 0
        if d.slots[next].id < 0:
            break
        home = slot_home(d, d.slots[next].hash)
        # May the entry at `next` move to the gap at `at`? Only if its home does not lie between them (cyclically).
        if (home <= at or home > next) if at < next else (home <= at and home > next):
            d.slots[at] = d.slots[next]
            at = next
    d.slots[at].id = -1
    d.used -= 1
    d.version += 1


cdef inline int64_t shard_find(Shard *d, uint32_t hash, object name, PyObject *names) except -2:
    """Index of the slot that holds a name, or -1. The shard's mutex is held on entry and on return. O(1) expected."""
    cdef uint32_t at
    cdef uint64_t version
    cdef object other
    cdef bint equal
    if d.room == 0:
        return -1
    at = slot_home(d, hash)
    while d.slots[at].id >= 0:
        if d.slots[at].name == <PyObject *>name:
            return at
        if d.slots[at].hash == hash:
            other = list_item(names, d.slots[at].id)
            if other is name:
                return at
            if PyUnicode_CheckExact(name) and PyUnicode_CheckExact(other):
                if PyUnicode_Compare(name, other) == 0:
                    return at
            else:
                version = d.version
                interpreter_unlock(&d.lock)
                try:
                    equal = PyObject_RichCompareBool(other, name, Py_EQ)
                finally:
                    other = None  # it may be the last reference, and a finalizer may run any code: not under the mutex
                    interpreter_lock(&d.lock)
                if d.version != version:
                    if d.room == 0:
                        return -1
                    at = slot_home(d, hash)
                    continue
                if equal:
                    return at
        at = at + 1 if at + 1 < d.room else 0
    return -1

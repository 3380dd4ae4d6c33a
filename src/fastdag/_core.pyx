"""The compiled core of fastdag: `Graph`, `StatusGraph` and `Dispatch` for the Manager, `Sorter` for `TopologicalSorter`.

This module owns what touches the interpreter: it looks names up, checks arguments, lets go of the interpreter where something
must be waited for or takes long, and turns outcomes into exceptions. The data structures are in the `_*.pxd`
headers beside it, each of which uses only those before it: types, atomics, locks, storage, adjacency, order,
search, log, readiness, edges, reads, statuses, vertices, batch, one pass, bulk, walk, check, pins, fork; and names, identity and drain,
which stand alone.

Guarantees
- Every operation first tries with the interpreter held and without waiting; only when a core lock is not free at once is
  it called again without the interpreter. No Python object is touched while a core lock is held.
- Every operation happens, or leaves the graph as it was.
- A read of names is one moment of the edges: ids are copied under the vertex lock; when ids were given back for use
  meanwhile the read is made again under a pin, which keeps them from being used again. But for the labels of `in_edges`,
  which are read source by source: one moment for all would take locks of all sources, or an end to every change.
- Where memory runs out, also the interpreter's, nothing has changed. So lists are filled by `append`, not by comprehensions,
  but in `_check`: Cython 3.3 gives an item back twice where the list of a comprehension finds no memory to grow.
"""

import copyreg
import operator
import sys
from collections import deque
from threading import RLock
from types import GenericAlias

cimport cython
from cpython cimport array
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItemWithError, PyDict_Keys, PyDict_SetDefault, PyDict_Values
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_AsLong
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset
from libcpp.vector cimport vector

from fastdag._atomics cimport acq_rel, acquire, atomic, mutex, prefetch, release, seq_cst
from fastdag._batch cimport Batch, edges_in
from fastdag._bulk cimport bulk_add
from fastdag._check cimport core_check
from fastdag._drain cimport (
    DRAIN_ABSENT, DRAIN_DONE, DRAIN_MOST, DRAIN_OUT, Drain,
    drain_add, drain_find_cycle, drain_finish, drain_free, drain_grow, drain_prepare, drain_queue,
)
from fastdag._edges cimport Core, Rules, edge_add, edge_look, edge_remove
from fastdag._fork cimport Live, live_go_on, live_halt, live_renew, pthread_atfork
from fastdag._identity cimport IdentityCache, identity_find, identity_free, identity_put
from fastdag._locks cimport (
    COUNT_ALL, LockStats, order_lock_exclusive, order_unlock_exclusive, pthread_self, pthread_t,
)
from fastdag._log cimport (
    DEPENDENCY, STATE, SUBSCRIBERS, WAITERS, Entry, Log, Reader, log_copy, log_drop, log_look, log_move, log_switch,
)
from fastdag._names cimport (
    FREE_THREADED, SHARDS, Shard, Slot, dict_value, interpreter_lock, interpreter_mutex, interpreter_unlock, list_item,
    name_expect, name_hash, name_mix, shard_drop, shard_find, shard_of, shard_put, shard_reserve, slot_expected,
)
from fastdag._pins cimport (
    Pin, Pins, id_defer_locked, id_free_locked, id_take_locked, pin_drop_locked, pin_take_locked, pins_start,
)
from fastdag._readiness cimport (
    AHEAD, Masks, Readiness, State, masks_at, readiness_at, state_of, status_of, status_set, vertex_watch, watched_bit,
)
from fastdag._reads cimport Ends, ends_copy, ends_free, ends_grow, ends_start, status_read, vertex_degrees
from fastdag._search cimport search_free
from fastdag._statuses cimport status_register, statuses_set
from fastdag._storage cimport (
    STRIPES, EdgeList, Stripe, Vertex, alive, life_at, list_labels, list_words, seen_at, store_free, vertex_at,
    vertex_lock, vertex_unlock,
)
from fastdag._types cimport (
    BUSY, CONFLICT, CYCLE, DONE, EXISTED, MISSING, MOST_VERTICES, NO_MEMORY, OVER_BUDGET, REPLACED, STALE, UNREGISTERED,
    Answer, Flip, Outcome, Ref, segments_free, segments_reserve,
)
from fastdag._vertices cimport vertex_keep, vertex_look, vertex_make, vertex_remove, vertex_room
from fastdag._walk cimport (
    Snapshot, Walk, snapshot_free, snapshot_reduce, snapshot_take, snapshot_take_vertices, walk_free, walk_reach,
)

from fastdag.edge import Edge
from fastdag.errors import (
    CapacityError, CycleError, EdgeNotFoundError, UnitAlreadyRegisteredError, UnitNotFoundError, VertexNotFoundError,
)

sys.modules["_fastdag_core"] = sys.modules[__name__]  # for errors.py, which refuses to be imported twice

cdef extern from "Python.h":
    long _as_long "PyLong_AsLong"(PyObject *number)  # borrowed: counting a reference would write to the number

cdef enum:
    BUDGET = 1024            # so many vertices, and 16 times as many edges, a walk looks at with the interpreter held: less time than
                             # letting go costs
    SMALL = 16384            # so many vertices and edges together are looked through with the interpreter held

cdef struct Made:            # a vertex made for something that may yet be refused
    uint64_t mixed           # its name's hash
    Ref ref

cdef Rules PLAIN = Rules(True, False)

cdef mutex live_lock     # guards the list of all graphs: their `live`, by `older` and `newer`
cdef Live *newest = NULL


cdef void before_fork() noexcept nogil:
    cdef Live *graph
    live_lock.lock()
    graph = newest
    while graph != NULL:
        live_halt(graph)
        graph = graph.older


cdef void after_fork_in_parent() noexcept nogil:
    cdef Live *graph = newest
    while graph != NULL:
        live_go_on(graph)
        graph = graph.older
    live_lock.unlock()


cdef void after_fork_in_child() noexcept nogil:
    cdef Live *graph = newest
    while graph != NULL:
        live_renew(graph)
        graph = graph.older
    live_lock.renew()


if pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child):
    raise MemoryError


cdef inline int64_t index_in(const Py_buffer *view, bint wide, bint signed, int64_t i) noexcept nogil:
    if wide:
        return (<int64_t *>view.buf)[i]
    if signed:
        return (<int32_t *>view.buf)[i]
    return (<unsigned int *>view.buf)[i]


cdef inline int64_t indices_copy(const Py_buffer *view, bint wide, bint signed, int32_t *ids) noexcept nogil:
    """Copy a buffer of integers, up to the first that is no index; how many."""
    cdef int64_t i, x
    for i in range(view.shape[0]):
        x = index_in(view, wide, signed, i)
        if x < 0 or x > MOST_VERTICES:
            return i
        ids[i] = <int32_t>x
    return view.shape[0]


cdef int raise_pending() except -1:
    """Raise the exception that a C function has set."""
    return -1


@cython.no_gc_clear  # what a finalizer calls must find the names
cdef class Graph:
    """A directed acyclic graph that many threads may read and change at once.

    Vertices and labels are any hashables. `source -> target` reads "source depends on target". An edge that would
    close a cycle is refused. Names follow networkx.

    Notes
    -----
    Every operation happens as a whole or leaves the graph as it was. An edge comes and goes at both ends at once: `successors(u)`,
    `predecessors(v)` and `has_edge(u, v)` agree about it for any later read. Memory: 64 bytes a vertex, 12 an edge, and room to grow.

    Examples
    --------
    >>> from fastdag import Graph
    >>> g = Graph()
    >>> g.add_edge("app", "database", "needs")
    True
    >>> g.successors("app")
    ['database']
    """

    cdef Core c
    cdef Shard[SHARDS] shards
    cdef list names                    # by id; None where no vertex is
    cdef dict label_ids                # label -> id; the key of a label that is no str is (type, label)
    cdef list labels                   # by id; labels[0] is None
    cdef object last_label             # with the interpreter lock only: the label looked up last …
    cdef int32_t last_label_id         # … and its id
    cdef interpreter_mutex names_lock  # without the interpreter lock: guards what follows, `names` and `labels` as they grow
    cdef Pins pins                     # which ids may be used again
    cdef Live live                     # its place among all graphs
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        # The core's structs hold mutexes and atomics; the zeroed memory of a new object is their initial state.
        self.c.store.stripes = new vector[Stripe](STRIPES)
        self.c.store.in_words = 1
        self.c.order.head = self.c.order.tail = -1
        pins_start(&self.pins)
        self.names = []
        self.label_ids = {}
        self.labels = [None]
        self._enlist()

    def __init__(self):
        pass

    cdef void _enlist(self) noexcept:
        global newest
        self.live.core = &self.c
        self.live.shards = self.shards
        self.live.names_lock = &self.names_lock
        self.live.pins = &self.pins
        live_lock.lock()
        self.live.older = newest
        if newest != NULL:
            newest.newer = &self.live
        newest = &self.live
        live_lock.unlock()

    cdef void _strike(self) noexcept:
        global newest
        if self.live.core == NULL:  # its making ended early
            return
        live_lock.lock()
        if self.live.newer != NULL:
            self.live.newer.older = self.live.older
        else:
            newest = self.live.older
        if self.live.older != NULL:
            self.live.older.newer = self.live.newer
        live_lock.unlock()

    def __dealloc__(self):
        cdef int i
        self._strike()
        store_free(&self.c.store)
        search_free(&self.c.search)
        segments_free(&self.c.board.readiness)
        segments_free(&self.c.board.masks)
        free(self.c.board.log.entries)
        for i in range(SHARDS):
            free(self.shards[i].slots)

    __class_getitem__ = classmethod(GenericAlias)

    # --- names -------------------------------------------------------------------------------------------------

    cdef uint64_t _mixed(self, vertex) except? 7:
        cdef Py_hash_t hash = name_hash(<PyObject *>vertex)
        if hash == -1:
            self._unhashable(vertex)
        return name_mix(hash)

    cdef int _unhashable(self, vertex) except -1:
        """Raise what hashing a vertex has just raised, in words of its own where the type is not hashable at all."""
        cdef str why
        try:
            raise_pending()
        except TypeError as error:
            why = str(error)
            if "unhashable" not in why:
                raise
        raise TypeError(f"vertex {vertex!r} cannot be hashed ({why}); use something hashable, such as a string or a tuple")

    cdef bint _find(self, vertex, Ref *ref) except -1:
        """Look a vertex up: whether it is there for readers."""
        return self._find_mixed(vertex, self._mixed(vertex), ref)

    cdef bint _find_mixed(self, vertex, uint64_t mixed, Ref *ref) except -1:
        cdef Shard *d = shard_of(self.shards, mixed)
        cdef int64_t at
        interpreter_lock(&d.lock)
        try:
            at = shard_find(d, <unsigned int>(mixed >> 32), vertex, <PyObject *>self.names)
            if at < 0:
                return False
            ref.id = d.slots[at].id
            ref.born = life_at(&self.c.store, ref.id)
        finally:
            interpreter_unlock(&d.lock)
        return self._is_seen(ref[0])

    cdef bint _is_seen(self, Ref ref) noexcept:
        """Whether a vertex that lived a moment ago is there for readers."""
        cdef Outcome outcome
        if ref.born == 0 or seen_at(&self.c.store, ref.id) == ref.born:
            return ref.born != 0
        outcome = vertex_look(&self.c, ref, False)
        if outcome == BUSY:
            with nogil:
                outcome = vertex_look(&self.c, ref, True)
        return outcome == DONE

    cdef bint _find_pair(self, source, target, Ref *u, Ref *v) except -1:
        """Look two vertices up; equal ids then mean the same vertex."""
        while True:
            if not self._find(source, u) or not self._find(target, v):
                return False
            if u.id != v.id or u.born == v.born:
                return True  # else the one went, and its id was used for the other, between the two look-ups

    cdef int _need_pair(self, source, target, Ref *u, Ref *v) except -1:
        while not self._find_pair(source, target, u, v):
            self._need(source, u)
            self._need(target, v)  # else both have come meanwhile
        return 0

    cdef int _need(self, vertex, Ref *ref) except -1:
        if not self._find(vertex, ref):
            raise VertexNotFoundError(vertex)
        return 0

    cdef bint _find_or_make(self, vertex, Ref *ref) except -1:
        """Look a vertex up, or make it, tentative; whether it was made. O(1) expected."""
        return self._find_or_make_mixed(vertex, self._mixed(vertex), ref)

    cdef inline const Slot *_expect(self, uint64_t mixed) noexcept:
        """The slot that most likely holds a name, or NULL; has the vertex's record brought into the cache."""
        cdef const Slot *slot = slot_expected(self.shards, mixed)
        if slot != NULL:
            prefetch(slot.name)
            prefetch(vertex_at(&self.c.store, slot.id))
        return slot

    cdef inline void _ask_ahead(self, list names, int64_t i) noexcept:
        """Have what it takes to look up the names after the i-th brought into the cache: strings, then slots, then vertices."""
        cdef PyObject *name
        if i + 3 * AHEAD < len(names):
            prefetch(<PyObject *>names[i + 3 * AHEAD])
        if i + 2 * AHEAD < len(names):
            name = <PyObject *>names[i + 2 * AHEAD]
            if PyUnicode_CheckExact(<object>name):
                name_expect(self.shards, name_mix(name_hash(name)))
        if i + AHEAD < len(names):
            name = <PyObject *>names[i + AHEAD]
            if PyUnicode_CheckExact(<object>name):
                self._expect(name_mix(name_hash(name)))

    cdef inline bint _is_in(self, const Slot *slot, name, Ref *ref) noexcept:
        """Whether that slot holds this very object; no Python code may have run since `_expect`."""
        if slot == NULL or slot.name != <PyObject *>name:
            return False
        ref.id = slot.id
        ref.born = life_at(&self.c.store, ref.id)
        return ref.born != 0

    cdef bint _find_or_make_mixed(self, vertex, uint64_t mixed, Ref *ref) except -1:
        cdef Shard *d = shard_of(self.shards, mixed)
        cdef int64_t at
        interpreter_lock(&d.lock)
        try:
            at = shard_find(d, <unsigned int>(mixed >> 32), vertex, <PyObject *>self.names)
            if at >= 0:
                ref.id = d.slots[at].id
                ref.born = life_at(&self.c.store, ref.id)
                if ref.born:
                    return False
            elif not shard_reserve(d):
                raise MemoryError
            interpreter_lock(&self.names_lock)
            try:
                self._make(vertex, ref)
            finally:
                interpreter_unlock(&self.names_lock)
            if at >= 0:  # the vertex of this name was just removed and is about to leave the index: take its entry over
                d.slots[at].id = ref.id
                d.slots[at].name = <PyObject *>vertex
                d.version += 1
            else:
                shard_put(d, <unsigned int>(mixed >> 32), ref.id, <PyObject *>vertex)
            return True
        finally:
            interpreter_unlock(&d.lock)

    cdef int _make(self, vertex, Ref *ref) except -1:
        """Make the record of a new vertex. The lock of the names is held."""
        cdef int32_t id = id_take_locked(&self.c.store, &self.pins)
        if id >= 0:
            self.names[id] = vertex
        else:
            id = self.c.store.used.load(acquire)
            if id == MOST_VERTICES:
                raise CapacityError(f"a graph holds at most {MOST_VERTICES} vertices; remove some, or split the graph")
            if not vertex_room(&self.c, id):
                raise MemoryError
            self.names.append(vertex)
            self.c.store.used.store(id + 1, release)
        vertex_make(&self.c, id, ref)
        return 0

    cdef void _recycle(self, uint64_t mixed, int32_t id) noexcept:
        """Forget the name of a vertex that was taken out of the core, and let its id be used again. Asks for no memory."""
        cdef Shard *d = shard_of(self.shards, mixed)
        interpreter_lock(&d.lock)
        shard_drop(d, <unsigned int>(mixed >> 32), id)
        interpreter_unlock(&d.lock)
        interpreter_lock(&self.names_lock)
        id_defer_locked(&self.c.store, &self.pins, id)
        interpreter_unlock(&self.names_lock)
        self._reuse()

    cdef void _reuse(self) noexcept:
        """Free the ids that no pinned read can know any more. No lock is held: a name that goes may run any code."""
        cdef int32_t id = 0
        cdef object name
        while id >= 0:
            name = None
            interpreter_lock(&self.names_lock)
            id = id_free_locked(&self.c.store, &self.pins)
            if id >= 0:
                self.c.store.recycled.fetch_add(1, seq_cst)  # before the name goes: a read looks at it afterwards
                name = self.names[id]
                self.names[id] = None
            interpreter_unlock(&self.names_lock)

    cdef Pin *_pin(self) except NULL:
        """From now on ids mean what they mean; what to give back to `_unpin`."""
        cdef Pin *pin
        interpreter_lock(&self.names_lock)
        pin = pin_take_locked(&self.pins)
        interpreter_unlock(&self.names_lock)
        if pin == NULL:
            raise MemoryError
        return pin

    cdef void _unpin(self, Pin *pin) noexcept:
        interpreter_lock(&self.names_lock)
        pin_drop_locked(&self.pins, pin)
        interpreter_unlock(&self.names_lock)
        self._reuse()

    cdef void _discard(self, uint64_t mixed, Ref ref) noexcept:
        """Take out a vertex that was made for an edge which was refused, unless somebody has used it since."""
        cdef Outcome outcome = vertex_remove(&self.c, ref, True, False)
        if outcome == BUSY:
            with nogil:
                outcome = vertex_remove(&self.c, ref, True, True)
        if outcome == DONE:
            self._recycle(mixed, ref.id)

    cdef int _find_or_note(self, vertex, Ref *ref, vector[Made] *made) except -1:
        """Look a vertex up, or make it, tentative, and note that."""
        cdef Made note
        note.mixed = self._mixed(vertex)
        if made.size() == made.capacity():
            made.reserve(2 * made.size() + 8)  # before it is made: then noting it cannot fail
        if self._find_or_make_mixed(vertex, note.mixed, ref):
            note.ref = ref[0]
            made.push_back(note)
        return 0

    cdef void _discard_all(self, vector[Made] *made) noexcept:
        cdef size_t i
        for i in range(made.size()):
            self._discard(made[0][i].mixed, made[0][i].ref)

    cdef int32_t _label(self, label) except -1:
        """Id of a label, interned. O(1) expected."""
        cdef PyObject *found
        cdef object key, before
        cdef int32_t id
        if label is None:
            return 0
        if not FREE_THREADED and label is self.last_label:
            return self.last_label_id
        key = label if type(label) is str else (type(label), label)
        try:
            found = PyDict_GetItemWithError(self.label_ids, key)
        except TypeError as error:
            raise TypeError(
                f"label {label!r} cannot be hashed ({error}); use something hashable, such as a string or a tuple"
            ) from None
        if found != NULL:
            id = <int32_t>_as_long(found)
        else:
            interpreter_lock(&self.names_lock)
            try:
                id = <int32_t>len(self.labels)
                if id == MOST_VERTICES:
                    raise CapacityError(f"a graph holds at most {MOST_VERTICES} different labels; use fewer")
                if self.c.board.on and not segments_reserve(&self.c.board.masks, id, sizeof(Masks)):
                    raise MemoryError
                self.labels.append(label)
            finally:
                interpreter_unlock(&self.names_lock)
            # Comparing keys can run other code, which may have interned the label meanwhile: then its id stands.
            id = <int32_t>PyLong_AsLong(<object>PyDict_SetDefault(self.label_ids, key, id))
        if not FREE_THREADED:
            before = self.last_label  # lives on until both fields agree: its finalizer may run any code
            self.last_label = label
            self.last_label_id = id
        return id

    cdef list _list(self, const int32_t *ids, int64_t n):
        """Names of ids."""
        cdef list names = PyList_New(n)
        cdef object name
        cdef int64_t i
        for i in range(n):
            name = list_item(<PyObject *>self.names, ids[i])
            Py_INCREF(name)
            PyList_SET_ITEM(names, i, name)
        return names

    # --- one vertex, one edge ------------------------------------------------------------------------------------

    def add_vertex(self, vertex):
        """Add a vertex; one that is there already stays as it is.

        Parameters
        ----------
        vertex : hashable

        Returns
        -------
        int
            Its index.

        Raises
        ------
        TypeError
            The vertex cannot be hashed.
        CapacityError
            There are 2**31 - 1 vertices already.

        Notes
        -----
        O(1) expected.
        """
        return self._keep(vertex)

    cdef object _keep(self, vertex):
        """Look a vertex up or make it, for good; its index."""
        cdef Outcome outcome = STALE
        cdef Ref ref
        cdef bint made
        cdef uint64_t mixed = self._mixed(vertex)
        cdef object index
        while outcome == STALE:
            made = self._find_or_make_mixed(vertex, mixed, &ref)
            try:
                index = ref.id  # while the vertex can still go: this may find no memory
            except MemoryError:
                if made:
                    self._discard(mixed, ref)
                raise
            outcome = vertex_keep(&self.c, ref, False)
            if outcome == BUSY:
                with nogil:
                    outcome = vertex_keep(&self.c, ref, True)
        return index

    cdef Outcome _add(self, source, target, int32_t label, Rules rules, Answer *answer, bint pinned) except *:
        """Add an edge between names: DONE, REPLACED, EXISTED, CONFLICT or UNREGISTERED; raises on a cycle and without memory."""
        cdef Ref u, v
        cdef bint source_new = False, target_new = False
        cdef Outcome outcome = STALE
        cdef uint64_t recycled
        cdef uint64_t source_mixed = self._mixed(source)
        cdef uint64_t target_mixed = self._mixed(target)
        cdef const Slot *source_slot
        cdef const Slot *target_slot
        cdef bint source_known, target_known
        name_expect(self.shards, source_mixed)
        name_expect(self.shards, target_mixed)
        recycled = self.c.store.recycled.load(acquire)
        source_slot = self._expect(source_mixed)
        target_slot = self._expect(target_mixed)
        source_known = self._is_in(source_slot, source, &u)
        target_known = self._is_in(target_slot, target, &v)
        try:
            while outcome == STALE:
                if not source_known and self._find_or_make_mixed(source, source_mixed, &u):
                    source_new = True
                if not target_known and self._find_or_make_mixed(target, target_mixed, &v):
                    target_new = True
                if u.id == v.id:
                    if u.born == v.born:
                        raise CycleError([source, source])
                    outcome = STALE  # the one went, and its id was used for the other, between the two look-ups
                else:
                    outcome = edge_add(&self.c, u, v, label, rules, answer, False)
                    if outcome == BUSY:
                        with nogil:
                            outcome = edge_add(&self.c, u, v, label, rules, answer, True)
                if outcome == STALE:
                    recycled = self.c.store.recycled.load(acquire)
                    source_known = target_known = False
        except BaseException:
            if source_new:
                self._discard(source_mixed, u)
            if target_new:  # in an earlier round, perhaps
                self._discard(target_mixed, v)
            raise
        if outcome == DONE or outcome == REPLACED or outcome == EXISTED or outcome == CONFLICT:
            return outcome
        try:
            if source_new:
                self._discard(source_mixed, u)
            if target_new:
                self._discard(target_mixed, v)
            if outcome == NO_MEMORY:
                raise MemoryError
            if outcome == CYCLE:
                cycle = self._cycle(answer)
                # Looked at after the names were read: until then another thread, or a finalizer, may use an id again.
                if pinned or self.c.store.recycled.load(acquire) == recycled:
                    raise CycleError(cycle)
        finally:
            free(answer.path)
            answer.path = NULL
        if outcome == UNREGISTERED:
            return outcome
        # A vertex of the path may have gone, and the cycle with it: try again, keeping the ids as they are.
        pin = self._pin()
        try:
            return self._add(source, target, label, rules, answer, True)
        finally:
            self._unpin(pin)

    cdef list _cycle(self, Answer *answer):
        """The cycle whose path of ids is in the answer, by names: right if the ids mean what they meant."""
        cdef list path = self._list(answer.path, answer.path_length)
        path.append(path[0])
        return path

    def add_edge(self, source, target, label=None):
        """Add the edge `source -> target`, and the vertices that are not there; on an edge that is there replace the label.

        Parameters
        ----------
        source, target : hashable
            `source` depends on `target`.
        label : hashable, optional

        Returns
        -------
        bool
            True if the edge is new, False if it was there.

        Raises
        ------
        CycleError
            The edge would close a cycle, which is in `.path`; the graph is as it was.
        TypeError
            A vertex or the label cannot be hashed.

        Notes
        -----
        O(1) where the edge agrees with the topological order that the graph keeps, or an end has no edges yet, plus the
        scan of the shorter of the two edge lists; else a two-way ordered search, O(sqrt(m)) amortised edges visited
        (Haeupler, Kavitha, Mathew, Sen, Tarjan 2012).

        Examples
        --------
        >>> from fastdag import Graph
        >>> g = Graph()
        >>> g.add_edge("b", "a")
        True
        >>> g.add_edge("a", "b")
        Traceback (most recent call last):
            ...
        fastdag.errors.CycleError: edge 'a' -> 'b' would close a cycle: 'a' -> 'b' -> 'a'; remove one of these edges first, or leave this one out
        """
        cdef Answer answer
        cdef int32_t label_id = self._label(label)
        memset(&answer, 0, sizeof(Answer))
        return self._add(source, target, label_id, PLAIN, &answer, False) == DONE

    def remove_edge(self, source, target):
        """Remove an edge; its vertices stay.

        Raises
        ------
        VertexNotFoundError, EdgeNotFoundError

        Notes
        -----
        O(edges of the source out + edges of the target in).
        """
        cdef Ref u, v
        cdef Outcome outcome
        while True:
            self._need_pair(source, target, &u, &v)
            if u.id == v.id:
                raise EdgeNotFoundError(source, target)
            outcome = edge_remove(&self.c, u, v, False)
            if outcome == BUSY:
                with nogil:
                    outcome = edge_remove(&self.c, u, v, True)
            if outcome == DONE:
                return
            if outcome == MISSING:
                raise EdgeNotFoundError(source, target)

    def remove_vertex(self, vertex):
        """Remove a vertex and all its edges, in one moment for every reader. Its index may be used again.

        Raises
        ------
        VertexNotFoundError

        Notes
        -----
        O(edges of the vertex and of its neighbours); waits until no edge is being added.
        """
        cdef Ref ref
        cdef Outcome outcome
        cdef uint64_t mixed = self._mixed(vertex)
        while True:
            if not self._find_mixed(vertex, mixed, &ref):
                raise VertexNotFoundError(vertex)
            outcome = vertex_remove(&self.c, ref, False, False)
            if outcome == BUSY:
                with nogil:
                    outcome = vertex_remove(&self.c, ref, False, True)
            if outcome == DONE:
                self._recycle(mixed, ref.id)
                return

    def __contains__(self, vertex):
        cdef Ref ref
        return self._find(vertex, &ref)

    def __len__(self):
        return self.c.store.settled.load(acquire)

    def __bool__(self):
        return self.c.store.settled.load(acquire) != 0

    def __iter__(self):
        return iter(self._vertices())

    cdef list _vertices(self):
        """All vertices of one moment, in the order in which they were added."""
        cdef Snapshot t
        cdef int32_t id
        cdef Outcome outcome = BUSY
        cdef list lives = [], names = []
        pin = self._pin()
        try:
            if self.c.store.used.load(acquire) <= SMALL:
                outcome = snapshot_take_vertices(&self.c, &t, False)
            if outcome == BUSY:
                with nogil:
                    outcome = snapshot_take_vertices(&self.c, &t, True)
            if outcome != DONE:
                raise MemoryError
            try:
                for id in range(t.vertices):
                    if t.born[id]:
                        lives.append((t.born[id], id))
            finally:
                snapshot_free(&t)
            lives.sort()
            for born, id in lives:
                names.append(self.names[id])
            return names
        finally:
            self._unpin(pin)

    def index(self, vertex):
        """Index of a vertex, as `add_edges` and `to_csr` use it. O(1) expected. Raises VertexNotFoundError."""
        cdef Ref ref
        self._need(vertex, &ref)
        return ref.id

    def vertex_at(self, index):
        """The vertex with an index. O(1). Raises IndexError."""
        cdef object name
        cdef Ref ref
        cdef int64_t i
        index = operator.index(index)
        i = index if -1 <= index <= MOST_VERTICES else -1
        if 0 <= i < self.c.store.used.load(acquire):
            ref.id = <int32_t>i
            ref.born = life_at(&self.c.store, ref.id)
            name = list_item(<PyObject *>self.names, i)
            if self._is_seen(ref):
                return name
        raise IndexError(f"no vertex has the index {index}; indices run from 0 to {self.c.store.used.load(acquire) - 1}")

    def has_edge(self, source, target):
        """Whether the edge is there; False when a vertex is not. O(edges of the source out or the target in, the fewer)."""
        cdef Ref u, v
        return self._find_pair(source, target, &u, &v) and self._look_at(u, v, NULL) == DONE

    cdef Outcome _look_at(self, Ref u, Ref v, int32_t *label) noexcept:
        cdef Outcome outcome = edge_look(&self.c, u, v, label, False)
        if outcome == BUSY:
            with nogil:
                outcome = edge_look(&self.c, u, v, label, True)
        return outcome

    def edge_label(self, source, target):
        """Label of an edge, None where it has none. O(edges of the source out). Raises VertexNotFoundError, EdgeNotFoundError."""
        cdef int32_t label = 0
        cdef Outcome outcome = STALE
        cdef Ref u, v
        while outcome == STALE:  # one of them went between two moments of this call, and may be back, with the edge
            self._need_pair(source, target, &u, &v)
            outcome = self._look_at(u, v, &label)
        if outcome != DONE:
            raise EdgeNotFoundError(source, target)
        return self.labels[label]

    cdef Outcome _copy_ends(self, Ref ref, bint backward, Ends *e) except *:
        """Copy an edge list, DONE, or STALE; the caller frees it."""
        cdef Outcome outcome
        while True:
            outcome = ends_copy(&self.c, ref, backward, e, False)
            if outcome == BUSY:
                with nogil:
                    outcome = ends_copy(&self.c, ref, backward, e, True)
            if outcome != NO_MEMORY:
                return outcome
            if not ends_grow(e):
                raise MemoryError

    cdef list _ends(self, vertex, bint backward, bint with_labels):
        """Neighbours of a vertex, or its edges."""
        cdef Ref ref
        cdef Ends e
        cdef Pin *pin = NULL
        cdef uint64_t recycled
        cdef list names, result
        cdef int32_t i, label
        if not self._find(vertex, &ref):
            return []
        ends_start(&e)
        if with_labels and backward and self.c.store.in_words == 1:
            pin = self._pin()  # the labels are looked up with the sources, one by one
        try:
            while True:
                recycled = self.c.store.recycled.load(acquire)
                if self._copy_ends(ref, backward, &e) == STALE:
                    return []
                names = self._list(e.ids, e.count)
                result = [] if with_labels else names
                for i in range(e.count if with_labels else 0):
                    label = e.labels[i]
                    if not backward:
                        result.append(Edge(vertex, names[i], self.labels[label]))
                    elif self.c.store.in_words == 2 or self._label_at(e.ids[i], ref, &label):
                        result.append(Edge(names[i], vertex, self.labels[label]))
                if pin != NULL or self.c.store.recycled.load(acquire) == recycled:
                    return result
                pin = self._pin()
        finally:
            ends_free(&e)
            if pin != NULL:
                self._unpin(pin)

    cdef bint _label_at(self, int32_t id, Ref v, int32_t *label):
        """Label id of the edge from a source given by its id, under a pin; False when it has gone."""
        cdef Ref u
        u.id = id
        u.born = life_at(&self.c.store, id)
        return self._look_at(u, v, label) == DONE

    def successors(self, vertex):
        """The vertices that this one depends on, in the order in which the edges came; empty when it is not there. O(edges)."""
        return self._ends(vertex, False, False)

    def predecessors(self, vertex):
        """The vertices that depend on this one, in no order that is promised; empty when it is not there. O(edges)."""
        return self._ends(vertex, True, False)

    def out_edges(self, vertex):
        """The edges out of a vertex, a list of `Edge`; empty when it is not there. O(edges)."""
        return self._ends(vertex, False, True)

    def in_edges(self, vertex):
        """The edges into a vertex, a list of `Edge`; empty when it is not there. O(edges of the vertex and out of each source).

        The sources are of one moment. Labels are kept with the sources, so each is of a moment of its own during the call; an
        edge that is gone by then is left out.
        """
        return self._ends(vertex, True, True)

    cdef int64_t _degree(self, vertex, bint outs, bint ins) except -1:
        cdef Ref ref
        cdef int64_t out_degree = 0, in_degree = 0
        cdef Outcome outcome
        self._need(vertex, &ref)
        outcome = vertex_degrees(&self.c, ref, &out_degree, &in_degree, False)
        if outcome == BUSY:
            with nogil:
                outcome = vertex_degrees(&self.c, ref, &out_degree, &in_degree, True)
        if outcome == STALE:
            raise VertexNotFoundError(vertex)
        return (out_degree if outs else 0) + (in_degree if ins else 0)

    def out_degree(self, vertex):
        """Number of edges out of a vertex. O(1). Raises VertexNotFoundError."""
        return self._degree(vertex, True, False)

    def in_degree(self, vertex):
        """Number of edges into a vertex. O(1). Raises VertexNotFoundError."""
        return self._degree(vertex, False, True)

    def degree(self, vertex):
        """Number of edges of a vertex. O(1). Raises VertexNotFoundError."""
        return self._degree(vertex, True, True)

    # --- bulk ----------------------------------------------------------------------------------------------------

    cdef int64_t _size(self) noexcept:
        return self.c.store.used.load(acquire) + edges_in(&self.c.store)

    cdef Outcome _bulk(self, Batch *b, Rules rules, Answer *answer) noexcept:
        cdef Outcome outcome
        # In a graph without statuses a vertex lock is held for one look at a list: waiting for that needs no letting go.
        if not self.c.board.on and self._size() + 64 * b.count <= SMALL and order_lock_exclusive(&self.c.lock, False):
            outcome = bulk_add(&self.c, b, rules, answer)
            order_unlock_exclusive(&self.c.lock)
            return outcome
        with nogil:
            order_lock_exclusive(&self.c.lock, True)
            outcome = bulk_add(&self.c, b, rules, answer)
            order_unlock_exclusive(&self.c.lock)
        return outcome

    cdef Outcome _bulk_names(self, list edges, Rules rules, Answer *answer) except *:
        """Add a list of (source, target, label id); what does not end in DONE leaves nothing behind."""
        cdef int64_t n = len(edges), i
        cdef Batch b
        cdef Ref ref
        cdef Outcome outcome = STALE
        cdef vector[Made] made
        cdef tuple edge
        cdef Pin *pin = self._pin()
        memset(&b, 0, sizeof(Batch))
        b.sources = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
        b.targets = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
        b.labels = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
        b.source_lives = <uint64_t *>malloc((<size_t>n + 1) * sizeof(uint64_t))
        b.target_lives = <uint64_t *>malloc((<size_t>n + 1) * sizeof(uint64_t))
        try:
            if (
                b.sources == NULL or b.targets == NULL or b.labels == NULL or b.source_lives == NULL
                or b.target_lives == NULL
            ):
                raise MemoryError
            while outcome == STALE:
                for i in range(n):
                    edge = <tuple>edges[i]
                    self._find_or_note(edge[0], &ref, &made)
                    b.sources[i] = ref.id
                    b.source_lives[i] = ref.born
                    self._find_or_note(edge[1], &ref, &made)
                    b.targets[i] = ref.id
                    b.target_lives[i] = ref.born
                    b.labels[i] = edge[2]
                b.count = n
                outcome = self._bulk(&b, rules, answer)
            if outcome == NO_MEMORY:
                raise MemoryError
            if outcome == CYCLE:
                raise CycleError(self._cycle(answer))
            if outcome == DONE:
                made.clear()
            return outcome
        finally:
            self._discard_all(&made)
            self._unpin(pin)
            free(b.sources)
            free(b.targets)
            free(b.labels)
            free(b.source_lives)
            free(b.target_lives)
            free(answer.path)
            answer.path = NULL

    def add_edges_from(self, edges):
        """Add many edges, all or none.

        Parameters
        ----------
        edges : iterable of (source, target) or (source, target, label)

        Returns
        -------
        int
            How many of them are new. One that is there, or comes twice, takes the last label.

        Raises
        ------
        CycleError
            Together with the graph's edges they would close a cycle, in `.path`; none was added.
        TypeError, ValueError
            Something in the iterable is not such a tuple, or cannot be hashed; none was added.

        Notes
        -----
        O(n + m) for a large load; a small one costs what `add_edge` costs for each edge, and O(n) in all.
        """
        cdef list wanted = []
        cdef Answer answer
        cdef object edge
        cdef int64_t n
        cdef object most  # an answer made before there is a change, behind which there may be no memory for it
        memset(&answer, 0, sizeof(Answer))
        for edge in edges:
            try:
                if isinstance(edge, str):
                    raise TypeError
                source, target, *rest = edge
            except (TypeError, ValueError):
                rest = [None, None]
            if len(rest) > 1:
                raise ValueError(
                    f"edge {len(wanted)} is {edge!r}; an edge is a tuple (source, target) or (source, target, label)"
                )
            wanted.append((source, target, self._label(rest[0] if rest else None)))
        n = len(wanted)
        most = n
        self._bulk_names(wanted, PLAIN, &answer)
        return most if answer.added == n else answer.added

    cdef int32_t *_indices(self, buffer, str what, int64_t *count) except NULL:
        """A copy of a buffer of integers as int32; the caller frees it."""
        cdef Py_buffer view
        cdef int64_t i, x = 0
        cdef int32_t *ids
        cdef bytes format
        cdef bint wide, signed
        try:
            PyObject_GetBuffer(buffer, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_ND)
        except (TypeError, ValueError, BufferError) as error:
            raise TypeError(
                f"{what} must be a contiguous buffer of 32- or 64-bit integers, such as array.array('i') or a NumPy array, "
                f"not {type(buffer).__name__}"
            ) from error
        try:
            format = view.format if view.format != NULL else b"B"
            if view.ndim != 1 or format.lstrip(b"@=<") not in (b"i", b"I", b"l", b"L", b"q", b"Q") or view.itemsize not in (4, 8):
                raise TypeError(
                    f"{what} must have one dimension of 32- or 64-bit integers, not {view.ndim} of format {format.decode()!r}"
                )
            wide = view.itemsize == 8
            signed = format.lstrip(b"@=<").islower()
            count[0] = view.shape[0]
            ids = <int32_t *>malloc((<size_t>count[0] + 1) * sizeof(int32_t))
            if ids == NULL:
                raise MemoryError
            if count[0] <= SMALL:
                i = indices_copy(&view, wide, signed, ids)
            else:
                with nogil:
                    i = indices_copy(&view, wide, signed, ids)
            if i < count[0]:
                x = index_in(&view, wide, signed, i)
                free(ids)
                raise self._bad_index(what, i, x if signed or x >= 0 else 2**64 + x)
            return ids
        finally:
            PyBuffer_Release(&view)

    cdef object _bad_index(self, str what, int64_t i, object x):
        return IndexError(
            f"{what}[{i}] is {x}, which is no vertex of the graph: its indices run from 0 to "
            f"{self.c.store.used.load(acquire) - 1}; add the vertices first"
        )

    def add_edges(self, sources, targets, labels=None):
        """Add many edges between vertices given by their indices, all or none, without the interpreter lock.

        Parameters
        ----------
        sources, targets : buffers of m 32- or 64-bit integers
            Anything with the buffer protocol: `array.array`, NumPy arrays, memoryviews.
        labels : iterable of m hashables, optional

        Returns
        -------
        int
            How many of them are new.

        Raises
        ------
        CycleError
            Together with the graph's edges they would close a cycle, in `.path`.
        IndexError
            An index is not that of a vertex.
        ValueError
            The lengths differ.
        TypeError
            A buffer does not hold such integers.

        Notes
        -----
        O(n + m). Nothing is added when anything is raised.
        """
        cdef Answer answer
        cdef Batch b
        cdef int64_t n, m = 0, i = 0
        cdef Outcome outcome
        cdef object most
        memset(&answer, 0, sizeof(Answer))
        memset(&b, 0, sizeof(Batch))
        pin = self._pin()
        try:
            b.sources = self._indices(sources, "sources", &n)
            b.targets = self._indices(targets, "targets", &m)
            if n != m:
                raise ValueError(f"sources has {n} entries and targets {m}; each edge needs one of both")
            if labels is not None:
                b.labels = <int32_t *>malloc((<size_t>n + 1) * sizeof(int32_t))
                if b.labels == NULL:
                    raise MemoryError
                for label in labels:
                    if i == n:
                        raise ValueError(f"labels has more than {n} entries for {n} edges; give each edge one, or none at all")
                    b.labels[i] = self._label(label)
                    i += 1
                if i != n:
                    raise ValueError(f"labels has {i} entries for {n} edges; give each edge one, or none at all")
            b.count = n
            most = n  # as in `add_edges_from`
            outcome = self._bulk(&b, PLAIN, &answer)
            if outcome == NO_MEMORY:
                raise MemoryError
            if outcome == MISSING:
                i = answer.position
                if not self._lives(b.sources[i]):
                    raise self._bad_index("sources", i, b.sources[i])
                raise self._bad_index("targets", i, b.targets[i])
            if outcome == CYCLE:
                raise CycleError(self._cycle(&answer))
            return most if answer.added == n else answer.added
        finally:
            self._unpin(pin)
            free(b.sources)
            free(b.targets)
            free(b.labels)
            free(answer.path)

    cdef bint _lives(self, int32_t id) noexcept:
        return id < self.c.store.used.load(acquire) and life_at(&self.c.store, id) != 0

    @classmethod
    def from_edges(cls, sources, targets, n):
        """A graph whose vertices are the integers 0 … n - 1, with the same indices.

        Parameters
        ----------
        sources, targets : buffers of m 32- or 64-bit integers
        n : int
            Number of vertices.

        Raises
        ------
        CapacityError
            n is more than 2**31 - 1.
        CycleError, IndexError, ValueError, TypeError
            As `add_edges`.
        """
        cdef Graph graph = cls()
        if n < 0:
            raise ValueError(f"n is {n}; a graph has no fewer than 0 vertices")
        if n > MOST_VERTICES:
            raise CapacityError(f"n is {n}; a graph holds at most {MOST_VERTICES} vertices")
        graph._extend(range(n))
        graph.add_edges(sources, targets)
        return graph

    cdef int _extend(self, names) except -1:
        """Add vertices for good."""
        for name in names:
            self._keep(name)
        return 0

    def number_of_edges(self):
        """Number of edges. O(1). While others add and remove edges it may count one of theirs and not another that came first."""
        return edges_in(&self.c.store)

    # --- walks ---------------------------------------------------------------------------------------------------

    cdef Outcome _reach(self, Ref start, bint backward, Ref goal, Walk *w) except *:
        cdef Outcome outcome = walk_reach(&self.c, w, start, backward, goal, BUDGET, False)
        if outcome == BUSY or outcome == OVER_BUDGET:
            walk_free(w)
            with nogil:
                outcome = walk_reach(&self.c, w, start, backward, goal, MOST_VERTICES, True)
        if outcome == NO_MEMORY:
            raise MemoryError
        return outcome

    def has_path(self, source, target):
        """Whether there is a path; True from a vertex to itself, False when one is not there. O(n + m).

        Notes
        -----
        A walk reads a live graph: a path that is there during the whole call is found, and every edge of one that is
        found was there at some moment during the call, though perhaps not all of them at the same one. To have one
        moment, ask a `copy`. So in `find_cycle`, `ancestors` and `descendants`.
        """
        cdef Ref u, v
        cdef Walk w
        if not self._find_pair(source, target, &u, &v):
            return False
        if u.id == v.id:
            return True
        memset(&w, 0, sizeof(Walk))
        try:
            return self._reach(u, False, v, &w) == DONE
        finally:
            walk_free(&w)

    def find_cycle(self, source, target):
        """The cycle that an edge would close, first vertex repeated at the end, or None. Adds nothing.

        Raises
        ------
        VertexNotFoundError

        Notes
        -----
        O(n + m). Reads a live graph, as `has_path` does.
        """
        cdef Ref u, v
        cdef Walk w
        cdef list path = [source]
        cdef int64_t at
        cdef Outcome outcome = STALE
        memset(&w, 0, sizeof(Walk))
        pin = self._pin()
        try:
            while outcome == STALE:  # one of them has gone meanwhile, and may be back
                self._need_pair(source, target, &u, &v)
                if u.id == v.id:
                    return [source, source]
                walk_free(&w)
                outcome = self._reach(v, False, u, &w)
            if outcome != DONE:
                return None
            at = w.count - 1
            while at >= 0:
                path.append(self.names[w.ids[at]])
                at = w.parents[at]
            path[1:] = path[:0:-1]
            return path
        finally:
            self._unpin(pin)
            walk_free(&w)

    cdef set _reachable(self, vertex, bint backward):
        cdef Ref start, nowhere
        cdef Walk w
        self._need(vertex, &start)
        nowhere.id = -1
        nowhere.born = 0
        memset(&w, 0, sizeof(Walk))
        pin = self._pin()
        try:
            if self._reach(start, backward, nowhere, &w) != DONE:
                raise VertexNotFoundError(vertex)
            return set(self._list(w.ids + 1, w.count - 1))
        finally:
            self._unpin(pin)
            walk_free(&w)

    def ancestors(self, vertex):
        """All vertices with a path to this one, itself left out: what depends on it. O(n + m). Raises VertexNotFoundError.

        Reads a live graph, as `has_path` does.
        """
        return self._reachable(vertex, True)

    def descendants(self, vertex):
        """All vertices that this one has a path to: what it depends on. O(n + m). Raises VertexNotFoundError.

        Reads a live graph, as `has_path` does.
        """
        return self._reachable(vertex, False)

    # --- the whole graph, from one moment ----------------------------------------------------------------------------

    cdef int _snapshot(self, Snapshot *t) except -1:
        cdef Outcome outcome = BUSY
        if self._size() <= SMALL:
            outcome = snapshot_take(&self.c, t, False)
        if outcome == BUSY:
            with nogil:
                outcome = snapshot_take(&self.c, t, True)
        if outcome != DONE:
            raise MemoryError
        return 0

    def topological_sort(self):
        """All vertices, each source before its targets, as networkx does. O(n + m)."""
        cdef Snapshot t
        pin = self._pin()
        try:
            self._snapshot(&t)
            try:
                return self._list(t.order, t.alive)
            finally:
                snapshot_free(&t)
        finally:
            self._unpin(pin)

    def topological_generations(self):
        """The vertices by generations: a list of lists; each vertex in the first one behind all its sources. O(n + m)."""
        cdef Snapshot t
        cdef int64_t i, j
        cdef int32_t u, v
        cdef int32_t *level = NULL
        cdef list generations = []
        pin = self._pin()
        try:
            self._snapshot(&t)
            try:
                level = <int32_t *>malloc((<size_t>t.vertices + 1) * sizeof(int32_t))
                if level == NULL:
                    raise MemoryError
                with nogil:
                    memset(level, 0, <size_t>t.vertices * sizeof(int32_t))
                    for i in range(t.alive):
                        u = t.order[i]
                        for j in range(t.first[u], t.first[u + 1]):
                            v = t.targets[j]
                            level[v] = max(level[v], level[u] + 1)
                for i in range(t.vertices):
                    if t.born[i]:
                        while len(generations) <= level[i]:
                            generations.append([])
                        (<list>generations[level[i]]).append(self.names[i])
                return generations
            finally:
                free(level)
                snapshot_free(&t)
        finally:
            self._unpin(pin)

    def longest_path(self, weight=None):
        """The heaviest path, a list of vertices; empty for an empty graph.

        Parameters
        ----------
        weight : callable, optional
            Gives the weight of an `Edge`, a number; without it each edge weighs 1. Negative weights may be.

        Notes
        -----
        O(n + m), and a call of `weight` an edge.
        """
        cdef Snapshot t
        cdef int64_t i, j
        cdef int32_t u, v, best = -1
        cdef double *weights = NULL
        cdef double *total = NULL
        cdef int32_t *last = NULL
        cdef list path = []
        pin = self._pin()
        try:
            self._snapshot(&t)
            try:
                weights = <double *>malloc((<size_t>t.first[t.vertices] + 1) * sizeof(double))
                total = <double *>malloc((<size_t>t.vertices + 1) * sizeof(double))
                last = <int32_t *>malloc((<size_t>t.vertices + 1) * sizeof(int32_t))
                if weights == NULL or total == NULL or last == NULL:
                    raise MemoryError
                for u in range(t.vertices):
                    total[u] = 0.0
                    last[u] = -1
                    for j in range(t.first[u], t.first[u + 1]):
                        weights[j] = 1.0 if weight is None else weight(
                            Edge(self.names[u], self.names[t.targets[j]], self.labels[t.labels[j]])
                        )
                for i in range(t.alive):
                    u = t.order[i]
                    if best < 0 or total[u] > total[best]:
                        best = u
                    for j in range(t.first[u], t.first[u + 1]):
                        v = t.targets[j]
                        if total[u] + weights[j] > total[v]:
                            total[v] = total[u] + weights[j]
                            last[v] = u
                while best >= 0:
                    path.append(self.names[best])
                    best = last[best]
                path.reverse()
                return path
            finally:
                free(weights)
                free(total)
                free(last)
                snapshot_free(&t)
        finally:
            self._unpin(pin)

    cdef tuple _columns(self, bint reduce):
        """One moment of the graph: vertices in insertion order, sources, targets and label ids as arrays, labels."""
        cdef Snapshot t
        cdef array.array sources = array.array("i")
        cdef array.array targets = array.array("i")
        cdef array.array label_ids = array.array("i")
        cdef int32_t *place = NULL
        cdef uint8_t *keep = NULL
        cdef int64_t i, n = 0
        cdef int32_t u, id
        cdef list lives = [], names = []
        cdef Outcome outcome
        pin = self._pin()
        try:
            self._snapshot(&t)
            try:
                place = <int32_t *>malloc((<size_t>t.vertices + 1) * sizeof(int32_t))
                keep = <uint8_t *>malloc(<size_t>t.first[t.vertices] + 1)
                if place == NULL or keep == NULL:
                    raise MemoryError
                memset(keep, 1, <size_t>t.first[t.vertices])
                if reduce:
                    with nogil:
                        outcome = snapshot_reduce(&t, keep)
                    if outcome != DONE:
                        raise MemoryError
                for id in range(t.vertices):
                    if t.born[id]:
                        lives.append((t.born[id], id))
                lives.sort()
                for i in range(t.alive):
                    id = lives[i][1]
                    place[id] = <int32_t>i
                    names.append(self.names[id])
                array.resize(sources, t.first[t.vertices])
                array.resize(targets, t.first[t.vertices])
                array.resize(label_ids, t.first[t.vertices])
                for u in range(t.vertices):
                    for i in range(t.first[u], t.first[u + 1]):
                        if keep[i]:
                            sources.data.as_ints[n] = place[u]
                            targets.data.as_ints[n] = place[t.targets[i]]
                            label_ids.data.as_ints[n] = t.labels[i]
                            n += 1
                array.resize(sources, n)
                array.resize(targets, n)
                array.resize(label_ids, n)
                return names, sources, targets, label_ids, list(self.labels)
            finally:
                free(place)
                free(keep)
                snapshot_free(&t)
        finally:
            self._unpin(pin)

    def edges(self):
        """All edges, a list of `Edge`, from one moment. O(n + m)."""
        cdef list edges = []
        names, sources, targets, label_ids, labels = self._columns(False)
        for u, v, label in zip(sources, targets, label_ids, strict=True):
            edges.append(Edge(names[u], names[v], labels[label]))
        return edges

    def transitive_reduction(self):
        """A new graph with the fewest edges that has the same paths; labels stay with their edges. O(n (n + m)) at worst."""
        return _assemble(*self._columns(True))

    def copy(self):
        """A new graph with the vertices, edges and labels of one moment; indices run from 0 in insertion order. O(n + m)."""
        return _assemble(*self._columns(False))

    def __copy__(self):
        return self.copy()

    def __reduce__(self):
        return _assemble, self._columns(False)

    def to_csr(self):
        """The edges as index arrays: (offsets, targets).

        Returns
        -------
        offsets : array.array of k + 1 64-bit integers
            The targets of the vertex with index i stand at `offsets[i]` to `offsets[i + 1]`; k is the highest index + 1,
            and the row of an index that no vertex has is empty.
        targets : array.array of m 32-bit integers

        Notes
        -----
        O(n + m). Both have the buffer protocol: `numpy.asarray(targets)` copies nothing.
        """
        cdef Snapshot t
        cdef array.array offsets = array.array("q")
        cdef array.array targets = array.array("i")
        self._snapshot(&t)
        try:
            array.resize(offsets, <Py_ssize_t>t.vertices + 1)
            array.resize(targets, t.first[t.vertices])
            memcpy(offsets.data.as_voidptr, t.first, (<size_t>t.vertices + 1) * sizeof(int64_t))
            memcpy(targets.data.as_voidptr, t.targets, <size_t>t.first[t.vertices] * sizeof(int32_t))
            return offsets, targets
        finally:
            snapshot_free(&t)

    def to_dot(self, name="G"):
        """The graph in Graphviz's DOT language, vertices in insertion order, labels as edge labels. O(n + m)."""
        from fastdag.export import graph_to_dot
        return graph_to_dot(self, name)

    def to_networkx(self):
        """A `networkx.DiGraph` with the same vertices and edges; labels become the edge attribute `label`. O(n + m)."""
        from fastdag.export import to_networkx
        return to_networkx(self)

    @classmethod
    def from_networkx(cls, graph):
        """A graph from a `networkx.DiGraph`; the edge attribute `label`, where there is one, becomes the label.

        Raises
        ------
        CycleError
            The networkx graph has a cycle.
        TypeError
            It is not directed, or has parallel edges.
        """
        from fastdag.export import from_networkx
        return from_networkx(cls, graph)

    def lock_stats(self):
        """How often and how long threads waited for the core's locks, since the graph was made.

        Returns
        -------
        dict of str to dict
            For `order_shared`, `order_exclusive`, `vertex`, `ends` and `log`: `contended` (acquisitions that waited), `wait_ns`
            (ns in all), `longest_ns`; in the profile build `acquired` as well.
        """
        return {
            "order_shared": stats_dict(&self.c.lock.shared),
            "order_exclusive": stats_dict(&self.c.lock.exclusive),
            "vertex": stats_dict(&self.c.store.vertex_stats),
            "ends": stats_dict(&self.c.order.ends_stats),
            "log": stats_dict(&self.c.board.log.stats),
        }

    def _check(self):
        """Walk everything and raise AssertionError on the first invariant that does not hold. O(n + m log m)."""
        cdef const char *broken
        cdef int32_t id = -1
        cdef Ref ref
        with nogil:
            broken = core_check(&self.c, &id)
        if broken != NULL:
            raise AssertionError(f"vertex {id}: {broken.decode()}")
        for name in self._vertices():
            if not self._find(name, &ref):
                raise AssertionError(f"vertex {name!r} is not in the index of names")
        if len(self.labels) < 1 or self.labels[0] is not None:
            raise AssertionError("label 0 is not None")

    def __repr__(self):
        return f"<{type(self).__name__} with {len(self)} vertices and {self.number_of_edges()} edges>"


cdef dict stats_dict(LockStats *stats):
    cdef dict answer = {
        "contended": stats.contended.load(acquire),
        "wait_ns": stats.wait_ns.load(acquire),
        "longest_ns": stats.longest_ns.load(acquire),
    }
    if COUNT_ALL:
        answer["acquired"] = stats.acquired.load(acquire)
    return answer


def _assemble(names, sources, targets, label_ids, labels):
    """Make a graph of columns; what copies and unpickles."""
    cdef Graph graph = Graph()
    graph._extend(names)
    graph.add_edges(sources, targets, map(labels.__getitem__, label_ids))
    return graph


cdef Rules KEEP = Rules(False, True)
cdef Rules REPLACING = Rules(True, True)


@cython.no_gc_clear
cdef class StatusGraph(Graph):
    """A `Graph` whose vertices have a status and whose labels are requirements: what `fastdag.Manager` stands on.

    Status codes are 0 … 63; -1 stands for a vertex that is not registered. States: 0 waiting, 1 ready, 2 blocked. Vertices
    and edges of a StatusGraph are never removed; `copy()` gives a plain Graph.
    """

    def __cinit__(self):
        self.c.board.on = True
        self.c.store.in_words = 2
        if not segments_reserve(&self.c.board.masks, 0, sizeof(Masks)):
            raise MemoryError

    def remove_vertex(self, vertex):
        """Refused: a status graph only grows. Raises TypeError."""
        raise TypeError("vertices of a StatusGraph are never removed; copy() gives a Graph that can be changed at will")

    def remove_edge(self, source, target):
        """Refused: a status graph only grows. Raises TypeError."""
        raise TypeError("edges of a StatusGraph are never removed; copy() gives a Graph that can be changed at will")

    def add_edge(self, source, target, label=None):
        """Refused: an edge of a status graph needs a requirement. Raises TypeError."""
        raise TypeError("edges of a StatusGraph are dependencies; use add_dependency()")

    def add_edges_from(self, edges):
        """Refused: an edge of a status graph needs a requirement. Raises TypeError."""
        raise TypeError("edges of a StatusGraph are dependencies; use add_dependencies()")

    def add_edges(self, sources, targets, labels=None):
        """Refused: an edge of a status graph needs a requirement. Raises TypeError."""
        raise TypeError("edges of a StatusGraph are dependencies; use add_dependencies()")

    def number(self, dict codes not None, dict words not None, list new not None, Py_ssize_t most):
        """Give numbers, from len(codes) on, to those of distinct `str`s that have none: all of them, or none and the answer is
        the first for which there is none below `most`. One step: nothing makes room in here that a finalizer could come up in."""
        cdef Py_ssize_t room
        interpreter_lock(&self.names_lock)
        try:
            room = most - len(codes)
            for word in new:
                if word not in codes:
                    if room == 0:
                        return word
                    room -= 1
            for word in new:
                if word not in codes:
                    words[len(codes)] = word  # first: whoever has a number finds its word
                    codes[word] = len(codes)
            return None
        finally:
            interpreter_unlock(&self.names_lock)

    def define_requirement(self, label, satisfied, impossible):
        """Say which statuses satisfy a label and which make it impossible, as bits by code; again with the same: nothing."""
        cdef uint64_t satisfied_mask = satisfied
        cdef uint64_t impossible_mask = impossible
        cdef Masks *m = masks_at(&self.c.board, self._label(label))
        cdef bint agrees = True
        interpreter_lock(&self.names_lock)  # two threads may define the same label at once
        if m.defined.load(acquire):
            agrees = m.satisfied == satisfied_mask and m.impossible == impossible_mask
        else:
            m.satisfied = satisfied_mask
            m.impossible = impossible_mask
            m.defined.store(1, release)
        interpreter_unlock(&self.names_lock)
        if not agrees:
            raise ValueError(f"the requirement {label} is defined already, with other statuses; give yours another name")

    cdef int _flips(self, Answer *answer, list flips) except -1:
        """Hand changes of state over to the caller's list."""
        cdef int64_t i
        if flips is not None:
            for i in range(answer.flipped):
                flips.append((self.names[answer.flips[i].id], answer.flips[i].state))
        return 0

    cdef Outcome _set(self, Ref ref, int32_t status, int32_t expected, int32_t *old, Answer *answer) except *:
        """status_set, with as much room for flips as it takes."""
        cdef Outcome outcome
        cdef void *flips
        while True:
            outcome = status_set(&self.c.store, &self.c.board, ref, status, expected, False, old, answer, False)
            if outcome == BUSY:
                with nogil:
                    outcome = status_set(&self.c.store, &self.c.board, ref, status, expected, False, old, answer, True)
            if outcome != NO_MEMORY:
                return outcome
            if answer.flipped <= answer.room:
                raise MemoryError
            flips = realloc(answer.flips, <size_t>(2 * answer.flipped) * sizeof(Flip))
            if flips == NULL:
                raise MemoryError
            answer.flips = <Flip *>flips
            answer.room = 2 * answer.flipped
            answer.flipped = 0

    cdef int _want_flips(self, Answer *answer, list flips) except -1:
        memset(answer, 0, sizeof(Answer))
        if flips is not None:
            answer.room = 16
            answer.flips = <Flip *>malloc(<size_t>answer.room * sizeof(Flip))
            if answer.flips == NULL:
                raise MemoryError
        return 0

    def register(self, vertex, int status):
        """Give a vertex its first status. False, and nothing changed, when it has one. O(dependents)."""
        cdef Ref ref
        cdef Answer answer
        cdef bint made
        cdef uint64_t mixed = self._mixed(vertex)
        cdef Outcome outcome = STALE
        memset(&answer, 0, sizeof(Answer))
        while outcome == STALE:
            made = self._find_or_make_mixed(vertex, mixed, &ref)
            outcome = status_register(&self.c, ref, status, &answer, False)
            if outcome == BUSY:
                with nogil:
                    outcome = status_register(&self.c, ref, status, &answer, True)
            if outcome == NO_MEMORY:
                if made:
                    self._discard(mixed, ref)
                raise MemoryError
        return outcome == DONE

    def register_all(self, vertices, int status):
        """`register` for each in turn, without the interpreter lock: all or none. O(vertices + dependents).

        UnitAlreadyRegisteredError names the first one that is registered already or comes twice.
        """
        cdef list names = list(vertices)
        cdef int64_t n = len(names), i, changed
        cdef set seen = set()
        cdef Ref *refs = <Ref *>malloc((<size_t>n + 1) * sizeof(Ref))
        cdef vector[Made] made
        cdef Answer answer
        cdef Outcome outcome = STALE
        memset(&answer, 0, sizeof(Answer))
        try:
            if refs == NULL:
                raise MemoryError
            while outcome == STALE:
                seen.clear()
                for i in range(n):
                    self._find_or_note(names[i], &refs[i], &made)
                    if names[i] in seen or self._status(refs[i]) >= 0:
                        raise UnitAlreadyRegisteredError(names[i])
                    seen.add(names[i])
                with nogil:
                    outcome = statuses_set(&self.c, refs, n, status, True, False, &changed, &answer)
            if outcome == EXISTED:  # another thread was quicker
                raise UnitAlreadyRegisteredError(names[answer.position])
            if outcome == NO_MEMORY:
                raise MemoryError
        except BaseException:
            self._discard_all(&made)
            raise
        finally:
            free(refs)

    def set_status(self, vertex, int status, int expected=-1, list flips=None):
        """Change a status; the old code, -1 and nothing changed when the vertex has none.

        Nothing changes either when old == status, or when expected >= 0 and old != expected. Every (vertex, new state) that this
        call flipped is appended to `flips`; here and below, when memory runs out in that, the change stands. O(dependents).
        """
        cdef Ref ref
        cdef Answer answer
        cdef int32_t old = -1
        cdef Outcome outcome = STALE
        self._want_flips(&answer, flips)
        try:
            while outcome == STALE:
                if not self._find(vertex, &ref):
                    return -1
                outcome = self._set(ref, status, expected, &old, &answer)
            self._flips(&answer, flips)
            return old
        finally:
            free(answer.flips)

    def set_statuses(self, vertices, int status, list flips=None):
        """`set_status` for each in turn, without the interpreter lock, all or none; how many had another.

        When one is not registered, UnitNotFoundError. Those that have the status already stay as they are.
        """
        cdef list names = list(vertices)
        cdef int64_t n = len(names), i, changed
        cdef Ref *refs = <Ref *>malloc((<size_t>n + 1) * sizeof(Ref))
        cdef Answer answer
        cdef Outcome outcome
        memset(&answer, 0, sizeof(Answer))
        try:
            if refs == NULL:
                raise MemoryError
            for i in range(n):
                self._ask_ahead(names, i)
                if not self._find(names[i], &refs[i]) or self._status(refs[i]) < 0:
                    raise UnitNotFoundError(names[i])
            with nogil:
                outcome = statuses_set(&self.c, refs, n, status, False, flips is not None, &changed, &answer)
            if outcome != DONE:  # none of them is stale or unregistered: what has a status stays, and keeps it
                raise MemoryError
            self._flips(&answer, flips)
            return changed
        finally:
            free(refs)
            free(answer.flips)

    def add_dependency(self, vertex, target, requirement, bint replace=False, list flips=None):
        """Add the edge `vertex -> target` with a requirement, all or nothing.

        0 added; 1 there already with this requirement; 2 there with another one, unchanged; 3 vertex is not registered,
        unchanged; 4 requirement was replaced; 5 requirement was never defined, unchanged. CycleError leaves nothing behind.
        """
        cdef Answer answer
        cdef Ref ref
        cdef Outcome outcome
        cdef int32_t label = self._label(requirement)
        if not masks_at(&self.c.board, label).defined.load(acquire):
            return 5
        if not self._find(vertex, &ref) or self._status(ref) < 0:
            return 3
        self._want_flips(&answer, flips)
        try:
            outcome = self._add(vertex, target, label, REPLACING if replace else KEEP, &answer, False)
            self._flips(&answer, flips)
        finally:
            free(answer.flips)
        return dependency_code(outcome)

    def add_dependencies(self, dependencies, bint replace=False, list flips=None):
        """Add many, all or nothing: (code, position).

        code 0: all added or there already, position = number of new ones; 2, 3, 5 as `add_dependency`: nothing changed, position
        of the first one to blame. CycleError leaves nothing behind.
        """
        cdef list wanted = []
        cdef Answer answer
        cdef Ref ref
        cdef Outcome outcome
        cdef int32_t label
        cdef int64_t n
        for vertex, target, requirement in dependencies:
            label = self._label(requirement)
            if not masks_at(&self.c.board, label).defined.load(acquire):
                return 5, len(wanted)
            if not self._find(vertex, &ref) or self._status(ref) < 0:
                return 3, len(wanted)
            wanted.append((vertex, target, label))
        n = len(wanted)
        memset(&answer, 0, sizeof(Answer))
        if flips is not None:
            answer.room = n + 1
            answer.flips = <Flip *>malloc(<size_t>answer.room * sizeof(Flip))
            if answer.flips == NULL:
                raise MemoryError
        try:
            all_new = 0, n  # as in `add_edges_from`
            none_new = 0, 0
            outcome = self._bulk_names(wanted, REPLACING if replace else KEEP, &answer)
            self._flips(&answer, flips)
        finally:
            free(answer.flips)
        if outcome == DONE:
            return all_new if answer.added == n else none_new if answer.added == 0 else (0, answer.added)
        return dependency_code(outcome), answer.position

    cdef int32_t _status(self, Ref ref) noexcept:
        """Code of a vertex's status, -1 where it has none or went. O(1)."""
        cdef int32_t status = status_of(&self.c.board, ref.id)
        # Looked at afterwards: a life is never lived again, so whoever lives now lived when the status was read.
        return status if alive(&self.c.store, ref) else -1

    def status(self, vertex):
        """Code of a vertex's status, -1 where it has none. O(1)."""
        cdef Ref ref
        return self._status(ref) if self._find(vertex, &ref) else -1

    def state(self, vertex):
        """0 waiting, 1 ready, 2 blocked; 0 for one that is not there. O(1)."""
        cdef Ref ref
        cdef State state
        if not self._find(vertex, &ref):
            return 0
        state = state_of(readiness_at(&self.c.board, ref.id).word.load(acquire))
        return <int>state if alive(&self.c.store, ref) else 0

    def snapshot(self, vertex):
        """(status, state, since when in monotonic ns) of one moment; (-1, 0, 0) for one that is not there. O(1)."""
        cdef Ref ref
        cdef int32_t status = -1
        cdef int64_t since = 0
        cdef int state = 0
        if not self._find(vertex, &ref):
            return -1, 0, 0
        if status_read(&self.c, ref, &status, &state, &since, False) == BUSY:
            with nogil:
                status_read(&self.c, ref, &status, &state, &since, True)
        return status, state, since

    def registered(self):
        """All vertices with a status, in the order of registration. O(n log n)."""
        cdef int32_t id
        cdef list found = [], names = []
        for id in range(self.c.store.used.load(acquire)):
            if status_of(&self.c.board, id) >= 0:
                found.append((readiness_at(&self.c.board, id).place.load(acquire), id))
        found.sort()
        for place, id in found:
            names.append(self.names[id])
        return names

    cdef bint _satisfied(self, int32_t label, int32_t status):
        return status >= 0 and (masks_at(&self.c.board, label).satisfied >> status) & 1

    def dependencies(self, vertex):
        """What a vertex depends on: a list of (target, requirement, its status, satisfied). O(edges)."""
        return self._relations(vertex, False)

    def dependents(self, vertex):
        """What depends on a vertex: a list of (source, requirement, satisfied). O(edges)."""
        return self._relations(vertex, True)

    cdef list _relations(self, vertex, bint backward):
        cdef Ref ref
        cdef Ends e
        cdef int32_t i, status
        cdef list result
        if not self._find(vertex, &ref):
            return []
        ends_start(&e)
        try:
            if self._copy_ends(ref, backward, &e) == STALE:
                return []
            result = self._list(e.ids, e.count)
            for i in range(e.count):
                status = status_of(&self.c.board, ref.id if backward else e.ids[i])
                if backward:
                    result[i] = (result[i], self.labels[e.labels[i]], self._satisfied(e.labels[i], status))
                else:
                    result[i] = (result[i], self.labels[e.labels[i]], status, self._satisfied(e.labels[i], status))
            return result
        finally:
            ends_free(&e)

    def log_all(self, bint on):
        """Log everything, or stop; on return every later change is (not) logged. The last sequence given then."""
        cdef uint64_t sequence
        with nogil:
            sequence = log_switch(&self.c.board.log, on)
        return sequence

    def watch(self, int32_t index):
        """From this moment on log what happens to a vertex itself; (status, state, last sequence) of that moment.

        The index is one that `add_vertex` gave: its vertex stays.
        """
        cdef Ref ref = self._permanent(index)
        cdef int32_t status, state
        cdef uint64_t sequence
        with nogil:
            vertex_watch(&self.c.store, &self.c.board, ref, True, &status, &state, &sequence)
        return status, state, sequence

    def unwatch(self, int32_t index):
        """No longer log what happens to a vertex."""
        cdef Ref ref = self._permanent(index)
        cdef int32_t status, state
        cdef uint64_t sequence
        with nogil:
            vertex_watch(&self.c.store, &self.c.board, ref, False, &status, &state, &sequence)

    cdef int _watch_only(self, dict wanted) except -1:
        """No longer log what happens to vertices that are not among these indices. O(1), or O(n) where there are any."""
        cdef int32_t id
        if self.c.board.log.watched.load(acquire) != len(wanted):
            for id in range(self.c.store.used.load(acquire)):
                if readiness_at(&self.c.board, id).word.load(acquire) & watched_bit() and id not in wanted:
                    self.unwatch(id)
        return 0

    cdef Ref _permanent(self, int32_t index) except *:
        """The vertex that lives at an index, for good."""
        cdef Ref ref
        if index < 0 or not self._lives(index):
            raise IndexError(f"no vertex has the index {index}; use one that add_vertex() gave")
        ref.id = index
        ref.born = vertex_at(&self.c.store, index).born.load(acquire)
        return ref

    def has_events(self):
        """Whether the log holds anything. O(1)."""
        return self.c.board.log.unseen.load(acquire) > 0 or self.c.board.log.ready.load(acquire) > 0

    def take_events(self, most=1024):
        """The oldest events, removed from the log: (kind, vertex, cause, old, new, sequence, time). For one thread at a time.

        kind: 0 registered, 1 status, 2 state (cause: the dependency whose change flipped it; itself for register),
        3 dependency (cause: the vertex depended on; new: that one's status). old and new are codes of statuses, for kind 2 of
        states. time: monotonic ns. Sequences grow by one from event to event.
        """
        cdef int64_t n = most, i
        cdef list events = []
        cdef Entry *entry
        cdef Entry *entries = <Entry *>malloc((<size_t>n + 1) * sizeof(Entry))
        if entries == NULL:
            raise MemoryError
        try:
            with nogil:
                n = log_copy(&self.c.board.log, entries, n)
            for i in range(n):
                events.append(self._raw(&entries[i]))
            with nogil:
                log_drop(&self.c.board.log, n)
            return events
        finally:
            free(entries)

    cdef tuple _raw(self, Entry *entry):
        return (
            entry.kind,
            list_item(<PyObject *>self.names, entry.id),
            None if entry.cause < 0 else list_item(<PyObject *>self.names, entry.cause),
            entry.old, entry.new, entry.sequence, entry.time,
        )


@cython.auto_pickle(False)
cdef class Lock:
    """A `threading.RLock` of which a `with` block lets go without asking for memory.

    To call an RLock's own `__exit__` takes some; where there is none it would stay taken for ever.
    """

    cdef object lock

    def __init__(self):
        self.lock = RLock()

    def __enter__(self):
        self.lock.acquire()

    def __exit__(self, kind, error, traceback):
        self.lock.release()

    def release(self):
        """Let go of it once, as `RLock.release`."""
        self.lock.release()

    def is_owned(self):
        """Whether this thread has it."""
        return self.lock._is_owned()


def condition_enter(condition):
    """`threading.Condition.__enter__`, within which no signal handler can raise once the condition's lock is taken."""
    return condition.acquire()


def condition_exit(condition, kind, error, traceback):
    """`threading.Condition.__exit__`, before which no signal handler can raise, and that asks for no memory."""
    condition.release()


cdef enum:
    AT_ONCE = 32             # so many entries the waiters' reader looks at in one go

cdef object event_new = tuple.__new__  # half the price of calling the named tuple


@cython.auto_pickle(False)
@cython.no_gc_clear  # what a finalizer calls must find the routes
cdef class Dispatch:
    """What stands between the log of a StatusGraph and those who wait or subscribe: what no interruption may tear apart.

    `fastdag.subscribers` says who hears what and promises it, `fastdag.waiters` decides who has waited long enough. A
    signal handler or another thread can raise between any two of their instructions, but not within the compiled
    ones here: that is why taking a baton, noting what was done, and moving something from one place to another is done here.

    Parameters
    ----------
    core : StatusGraph
    lock : Lock
        Held by the caller around `enter`, `leave` and `decide`, and where it changes `waiting` or `routes`.
    sort_out : callable
        Decides for a list of events (kind, index, new, sequence), not those of dependencies, who has waited long enough.
        Must bear the same events again.
    tell : callable
        Tells a waiter that was decided: gets what `decide` was given. Must bear being called again after it raised.
    call_back : callable
        Calls the callbacks of a waiter that was told: gets the same. Must bear being called again after it raised.
    follow : callable
        Routes a dependency that was added, (index, index of what it depends on). Must bear the same one again.
    report : callable
        Takes (error, event, callback) when a callback raised an `Exception`.
    make : type
        The named tuple for events.
    kinds, states, statuses : sequence of str, sequence of str, dict of int to str
        Names of the numbers in the log.

    Attributes
    ----------
    waiting : dict
        index -> dict whose keys wait for that vertex. Such a vertex is watched.
    routes : dict
        index, or -1 for all -> dict whose keys are the subscriptions that hear the events of that vertex.

    Both go by index, not by name: a name may have a hash and a comparison of its own, and these may do anything with the
    manager, in the middle of a step that must not be torn apart.
    """

    cdef StatusGraph core
    cdef object has_lock               # whether this thread holds the caller's lock
    cdef readonly dict waiting
    cdef readonly dict routes
    cdef readonly object decided       # deque of what `tell` is still to be called with
    cdef readonly object resolved      # deque of what `call_back` is still to be called with
    cdef readonly dict telling         # what either is being called with, as keys
    cdef dict callers                  # threads that are calling callbacks of waiters, as keys
    cdef object sort_out, tell, call_back, follow, report, make
    cdef object kinds, states
    cdef dict statuses
    cdef atomic[int32_t] sorting       # 1: somebody is the waiters' reader of the log
    cdef atomic[int32_t] calling       # 1: somebody is the subscribers' reader; guards what follows
    cdef pthread_t sorter, caller      # who: for a fork to tell its own thread from those that the child lacks
    cdef list turn                     # subscriptions that are to hear the oldest event; None: not yet looked for
    cdef Py_ssize_t told               # so many of them have been called
    cdef object event                  # that event
    cdef int64_t upto                  # where the log goes on behind it

    def __init__(
        self, StatusGraph core not None, *, lock, sort_out, tell, call_back, follow, report, make, kinds, states,
        dict statuses not None,
    ):
        self.core = core
        self.has_lock = lock.is_owned
        self.waiting = {}
        self.routes = {}
        self.decided = deque()
        self.resolved = deque()
        self.telling = {}
        self.callers = {}
        self.sort_out = sort_out
        self.tell = tell
        self.call_back = call_back
        self.follow = follow
        self.report = report
        self.make = make
        self.kinds = kinds
        self.states = states
        self.statuses = statuses

    __class_getitem__ = classmethod(GenericAlias)

    # --- waiters ---

    def enter(self, waiter):
        """Enter a waiter at `waiter.index` and watch that vertex; sets `waiter.after`, gives (status, state), all of the same
        moment."""
        cdef object index = waiter.index
        cdef dict there = self.waiting.setdefault(index, {})
        try:
            there[waiter] = None
            status, state, sequence = self.core.watch(index)
            waiter.after = sequence
        except BaseException:
            self.leave(waiter)
            raise
        return status, state

    def leave(self, waiter):
        """Take a waiter out, and with the last one stop watching; False when it was out already."""
        cdef object index = waiter.index
        cdef dict there = dict_value(self.waiting, index)
        cdef bint entered
        if there is None:
            return False
        entered = waiter in there
        if entered:
            del there[waiter]
        if not there:
            del self.waiting[index]
            self.core.unwatch(index)
        return entered

    def decide(self, waiter, decision):
        """Take a waiter out and have it told; nothing when it was out already."""
        cdef dict there = dict_value(self.waiting, waiter.index)
        if there is not None and waiter in there:
            self.decided.append(decision)
            self.leave(waiter)

    cdef int _resolve(self) except -1:
        """Tell everybody who was decided and not yet told; then have their callbacks called.

        Not the callbacks where this thread is calling one already, which made the change that led here: that call goes on with
        them, else each would be called within the one before, however deep that goes.
        """
        cdef object me = <uint64_t>pthread_self()
        while self.decided:
            self._next(self.decided, self.tell, self.resolved)
        if me in self.callers:
            return 0
        self.callers[me] = None
        try:
            while self.decided or self.resolved:
                while self.decided:
                    self._next(self.decided, self.tell, self.resolved)
                if self.resolved:
                    self._next(self.resolved, self.call_back, None)
        finally:
            self.callers.pop(me, None)
        return 0

    cdef int _next(self, source, step, then) except -1:
        """Take a step for the first decision of a deque, which it then leaves for another one, or for good."""
        try:
            decision = source.popleft()
        except IndexError:  # another thread takes the last one
            return 0
        try:
            self.telling[decision] = None
            step(decision)
            if then is not None:
                then.append(decision)
        except BaseException:
            source.appendleft(decision)  # finds room where popleft() made it
            raise
        finally:
            self.telling.pop(decision, None)
        return 0

    def after_fork(self, lock):
        """In the child: the threads that were delivering are gone, but for the one that forked. What they left goes on.

        `lock` takes the place of the old one, which such a thread may have held; the same one where this thread holds it. Else
        who was just being entered is entered no more, and what is watched for nobody is no longer watched.
        """
        cdef bint mine = self.has_lock()
        cdef dict there
        cdef object never = float("inf")
        self.has_lock = lock.is_owned
        if self.sorter != pthread_self():
            self.sorting.store(0, release)
        if self.caller != pthread_self():
            self.calling.store(0, release)  # the callback that was under way counts as called
        self.decided.extendleft(self.telling)
        self.telling.clear()
        for thread in list(self.callers):
            if thread != <uint64_t>pthread_self():
                del self.callers[thread]
        if not mine:
            for index in PyDict_Keys(self.waiting):
                there = dict_value(self.waiting, index)
                if there is None:  # garbage was collected in here, and a finalizer ended its wait
                    continue
                for waiter in PyDict_Keys(there):
                    if waiter.after == never:
                        there.pop(waiter, None)
                if not there and dict_value(self.waiting, index) is there:
                    self.waiting.pop(index, None)
            self.core._watch_only(self.waiting)

    # --- delivery ---

    def deliver(self):
        """Bring everything in the log to those whom it concerns, or leave it to the threads that are at it.

        Nothing where this thread holds the lock, so that no callback runs under it: a finalizer or signal handler that makes a
        change may come up in there. Whoever lets go of the lock calls this afterwards.
        """
        cdef Log *log = &self.core.c.board.log
        while log.unseen.load(acquire) > 0 or log.ready.load(acquire) > 0 or self.decided or self.resolved:
            if self.has_lock():
                return
            while log.unseen.load(acquire) > 0:
                if self.sorting.exchange(1, acq_rel):
                    break
                self.sorter = pthread_self()
                try:
                    self._sort()
                finally:
                    # an exchange, not a store: it sees the entry of whoever has found the baton taken just before
                    self.sorting.exchange(0, acq_rel)
            if self.decided or self.resolved:
                self._resolve()
            if log.ready.load(acquire) <= 0 or self.calling.exchange(1, acq_rel):
                return
            self.caller = pthread_self()
            try:
                self._call()
            finally:
                self.calling.exchange(0, acq_rel)
            # Again, also for the waiters: routing takes the lock, and what a finalizer changed in there is left to this.

    cdef int64_t _look(self, Reader reader, Entry *into, int64_t most, int64_t *upto):
        cdef int64_t n = log_look(&self.core.c.board.log, reader, into, most, upto, False)
        if n < 0:
            with nogil:
                n = log_look(&self.core.c.board.log, reader, into, most, upto, True)
        return n

    cdef void _move(self, Reader reader, int64_t upto):
        if not log_move(&self.core.c.board.log, reader, upto, False):
            with nogil:
                log_move(&self.core.c.board.log, reader, upto, True)

    cdef int _sort(self) except -1:
        """Go through the log for the waiters until nothing is left; under `sorting`."""
        cdef Entry[AT_ONCE] entries
        cdef int64_t upto, i, n
        while True:
            n = self._look(WAITERS, entries, AT_ONCE, &upto)
            if n == 0:
                return 0
            events = []
            if self.waiting:
                for i in range(n):
                    if entries[i].kind != DEPENDENCY and entries[i].id in self.waiting:
                        events.append((entries[i].kind, entries[i].id, entries[i].new, entries[i].sequence))
            if events:
                self.sort_out(events)
            self._move(WAITERS, upto)

    cdef int _call(self) except -1:
        """Call subscribers until nothing is left; under `calling`."""
        cdef Entry entry
        while True:
            if self.turn is None:
                if self._look(SUBSCRIBERS, &entry, 1, &self.upto) == 0:
                    return 0
                self._route(&entry)
            while self.told < len(self.turn):
                subscription = self.turn[self.told]
                # Counted before the call: should this call end the delivery, the next one goes on behind it.
                self.told += 1
                if subscription.active:
                    callback = subscription.callback
                    try:
                        callback(self.event)
                    except Exception as error:
                        self.report(error, self.event, callback)
            self._move(SUBSCRIBERS, self.upto)  # again, where a fork ended it before the next line: no harm
            self.turn = None
            self.event = None

    cdef int _route(self, Entry *entry) except -1:
        """Find out who is to hear of an entry, and make the event for them."""
        cdef list turn = []
        cdef dict there
        cdef object cause = None
        cdef object unit = list_item(<PyObject *>self.core.names, entry.id)
        cdef object kind = self.kinds[entry.kind]
        cdef object sequence = entry.sequence
        cdef object event = None
        if entry.cause >= 0 and entry.cause != entry.id:
            cause = list_item(<PyObject *>self.core.names, entry.cause)
        if entry.kind == DEPENDENCY and entry.id in self.routes:
            self.follow(entry.id, entry.cause)
        for route in (-1, entry.id):
            there = dict_value(self.routes, route)
            if there is not None:
                for subscription in PyDict_Keys(there):
                    if kind in subscription.kinds and sequence > subscription.after:
                        turn.append(subscription)
        if turn:
            names = self.states if entry.kind == STATE else self.statuses
            event = event_new(
                self.make, (kind, unit, cause, names[entry.old], names[entry.new], sequence, <double>entry.time / 1e9)
            )
        self.event = event
        self.told = 0
        self.turn = turn
        return 0


def call_each(list callbacks not None, argument, report):
    """Take callbacks out of a list one by one and call each; `report` takes the Exception where one raises one."""
    while callbacks:
        try:
            callback = callbacks.pop(0)
        except IndexError:  # another thread calls the last one
            return
        try:
            callback(argument)
        except Exception as error:
            report(error)


cdef int dependency_code(Outcome outcome):
    """The code that `add_dependency` answers for an outcome."""
    if outcome == DONE:
        return 0
    if outcome == EXISTED:
        return 1
    if outcome == CONFLICT:
        return 2
    return 3 if outcome == UNREGISTERED else 4


cdef inline bytes _int32_bytes(const int32_t *array, Py_ssize_t n):
    return PyBytes_FromStringAndSize(<const char *>array, n * <Py_ssize_t>sizeof(int32_t))


cdef inline int32_t _int32_at(bytes array, Py_ssize_t i):
    return (<const int32_t *>PyBytes_AS_STRING(array))[i]


cdef enum:
    DRAIN_FEW = 32               # so many vertices of one call are looked up without asking for memory


cdef class Sorter:
    """The compiled half of `fastdag.TopologicalSorter`; that class adds what is asked for once a graph.

    Guarantees: every call happens as a whole or not at all; each ready node is handed out to exactly one caller.
    With an interpreter lock the calls hold it; without one they hold the critical section of the sorter.

    Looking up a node runs its `__hash__` and `__eq__`, and with them any other code, this sorter's methods and other
    threads too. So every method looks up first, noting vertices, which stay valid for ever; then it asks which state
    the sorter is in; then it changes that without running any code in between.
    """

    cdef Drain _drain
    cdef dict _vertices          # node -> its vertex in _drain, as an int; never loses or changes an entry
    cdef IdentityCache _known    # keys of _vertices, which are looked up again and again
    cdef list _nodes             # by vertex, None where it has no node; made when it is first asked for, once prepared

    def __cinit__(self):
        self._vertices = {}

    def __dealloc__(self):
        drain_free(&self._drain)
        identity_free(&self._known)

    def __init__(self, graph=None):
        if graph is not None:
            for node, predecessors in graph.items():
                self.add(node, *predecessors)

    cdef int32_t _find(self, node) except -2:
        """The vertex of a node, -1 if it has none."""
        cdef int32_t vertex = identity_find(&self._known, <PyObject *>node)
        cdef PyObject *number
        if vertex < 0:
            number = PyDict_GetItemWithError(self._vertices, node)
            if number != NULL:
                vertex = <int32_t>_as_long(number)
        return vertex

    cdef int32_t _find_or_make(self, node) except -1:
        """The vertex of a node, absent from the graph as yet if it is new."""
        cdef int32_t vertex = self._find(node)
        cdef int32_t mine
        if vertex >= 0:
            return vertex
        self._refuse_if_prepared()
        if self._drain.n_vertices == DRAIN_MOST:
            raise CapacityError(f"a sorter holds at most {DRAIN_MOST} nodes; drain the graph in parts")
        if not drain_grow(&self._drain):
            raise MemoryError
        mine = self._drain.n_vertices - 1
        # When this fails, or somebody else has made a vertex of the node meanwhile, the new vertex is never used.
        vertex = <int32_t>_as_long(PyDict_SetDefault(self._vertices, node, mine))
        if vertex == mine:
            identity_put(&self._known, <PyObject *>node, mine)
        return vertex

    cdef int _refuse_if_prepared(self) except -1:
        if self._drain.prepared:
            raise ValueError("Nodes cannot be added after a call to prepare()")
        return 0

    cdef int _require_prepared(self) except -1:
        if not self._drain.prepared:
            raise ValueError("prepare() must be called first")
        return 0

    cdef int _add(self, node, tuple predecessors) except -1:
        cdef Py_ssize_t i, n = len(predecessors)
        cdef int32_t vertex
        cdef int32_t[DRAIN_FEW] few
        cdef int32_t *found = few
        self._refuse_if_prepared()
        if n > DRAIN_FEW:
            found = <int32_t *>PyMem_RawMalloc(<size_t>n * sizeof(int32_t))
            if found == NULL:
                raise MemoryError
        try:
            vertex = self._find_or_make(node)
            for i in range(n):
                found[i] = self._find_or_make(predecessors[i])
            self._refuse_if_prepared()
            if n > DRAIN_MOST - self._drain.n_edges:
                raise CapacityError(f"a sorter holds at most {DRAIN_MOST} edges; drain the graph in parts")
            if not drain_add(&self._drain, vertex, found, <int32_t>n):
                raise MemoryError
        finally:
            if found != few:
                PyMem_RawFree(found)
        return 0

    cdef list _nodes_by_vertex(self):
        """Once prepared: then no vertex comes into the graph any more."""
        cdef Py_ssize_t i
        cdef list nodes, keys, values
        if self._nodes is None:
            keys = PyDict_Keys(self._vertices)
            values = PyDict_Values(self._vertices)
            nodes = [None] * self._drain.n_vertices
            for i in range(min(len(keys), len(values))):
                nodes[<int32_t>PyLong_AsLong(values[i])] = keys[i]
            self._nodes = nodes
        return self._nodes

    def add(self, node, *predecessors):
        """Add a node that depends on other nodes.

        Every node comes into the graph with its first mention, as a node or as a predecessor. What several calls say of
        one node adds up.

        Parameters
        ----------
        node : hashable
        *predecessors : hashable
            The nodes that have to be done before `node` is ready. One that is given twice counts once.

        Raises
        ------
        ValueError
            `prepare` was called before. The graph is unchanged.
        TypeError
            A node is not hashable. The graph is unchanged.

        Notes
        -----
        O(1 + number of predecessors) amortised, plus a look-up of each node.
        """
        with cython.critical_section(self):
            self._add(node, predecessors)

    def _prepare(self):
        """Prepare the graph; a cycle as a list of nodes, the first one repeated at the end, or None."""
        cdef int32_t *path = NULL
        cdef int32_t i, start = 0, stop = 0
        cdef list nodes, cycle
        cdef bint fits
        with cython.critical_section(self):
            if self._drain.n_out > 0:
                raise ValueError("cannot prepare() after starting sort")
            if self._drain.prepared:
                fits = drain_find_cycle(&self._drain, &path, &start, &stop)
            else:
                fits = drain_prepare(&self._drain, &path, &start, &stop)
            if not fits:
                raise MemoryError
            try:
                if start == stop:
                    return None
                nodes = self._nodes_by_vertex()
                cycle = []
                for i in range(start, stop):
                    cycle.append(nodes[path[i]])
                cycle.append(cycle[0])
                return cycle
            finally:
                PyMem_RawFree(path)

    def get_ready(self):
        """Take all nodes that are ready and have not been handed out yet.

        Returns
        -------
        tuple of nodes
            First the nodes without predecessors; later, those whose last predecessor was done since. Each node is
            handed out once, to one caller. Empty while nothing new is ready.

        Raises
        ------
        ValueError
            `prepare` was not called before.

        Notes
        -----
        O(number of nodes returned).
        """
        cdef int32_t i, n
        cdef tuple ready
        cdef list nodes
        with cython.critical_section(self):
            self._require_prepared()
            nodes = self._nodes_by_vertex()
            n = self._drain.n_ready - self._drain.n_out
            ready = PyTuple_New(n)
            while n != self._drain.n_ready - self._drain.n_out:  # making a tuple can run finalizers, and they anything
                n = self._drain.n_ready - self._drain.n_out
                ready = PyTuple_New(n)
            for i in range(n):
                node = nodes[self._drain.ready[self._drain.n_out + i]]
                Py_INCREF(node)
                PyTuple_SET_ITEM(ready, i, node)
                self._drain.unmet[self._drain.ready[self._drain.n_out + i]] = DRAIN_OUT
            self._drain.n_out += n
        return ready

    def done(self, *nodes):
        """Take nodes that were handed out as processed; nodes that waited only for them become ready.

        Parameters
        ----------
        *nodes : hashable
            Nodes that `get_ready` has returned.

        Raises
        ------
        ValueError
            `prepare` was not called before, or one of the nodes was never added, is not ready, was not handed out or
            is done already. Then none of the nodes is taken as done.

        Notes
        -----
        O(number of nodes and of the edges to their dependents), plus a look-up of each node.
        """
        cdef Py_ssize_t place = 0, n = len(nodes)
        cdef int32_t[DRAIN_FEW] few
        cdef int32_t *found = few
        cdef int32_t unmet = DRAIN_ABSENT
        with cython.critical_section(self):
            self._require_prepared()
            if n > DRAIN_FEW:
                found = <int32_t *>PyMem_RawMalloc(<size_t>n * sizeof(int32_t))
                if found == NULL:
                    raise MemoryError
            try:
                # Only as far as the first node that cannot be done: of several errors the first is raised.
                while place < n:
                    found[place] = self._find(nodes[place])
                    place += 1
                    if found[place - 1] < 0 or self._drain.unmet[found[place - 1]] != DRAIN_OUT:
                        break
                place = drain_finish(&self._drain, found, place)
                if place < n and found[place] >= 0:
                    unmet = self._drain.unmet[found[place]]
            finally:
                if found != few:
                    PyMem_RawFree(found)
        if place == n:
            return
        if unmet == DRAIN_ABSENT:
            raise ValueError(f"node {nodes[place]!r} was not added using add()")
        if unmet >= 0:
            raise ValueError(f"node {nodes[place]!r} was not passed out (still not ready)")
        raise ValueError(f"node {nodes[place]!r} was already marked done")

    def is_active(self):
        """Tell whether more progress can be made.

        Returns
        -------
        bool
            True while a node is ready or handed out and not done; False once all is done or a cycle holds up the rest.

        Raises
        ------
        ValueError
            `prepare` was not called before.

        Notes
        -----
        O(1).
        """
        with cython.critical_section(self):
            self._require_prepared()
            return self._drain.n_done < self._drain.n_ready

    def __bool__(self):
        return self.is_active()

    def __reduce__(self):
        """Copies and pickles hold what was added, in that order, and which nodes are out or done."""
        cdef Py_ssize_t i
        cdef int32_t vertex
        cdef bint prepared
        cdef bytes unmet, edges = b"", first = b"", dependents = b"", ready = b""
        cdef list keys, values, nodes, entered = [], pairs = [], done = [], out = []
        with cython.critical_section(self):
            # Making bytes runs no other code, so these are of one moment. The names may be of a later one: they stay.
            prepared = self._drain.prepared
            unmet = _int32_bytes(self._drain.unmet, self._drain.n_vertices)
            if prepared:
                first = _int32_bytes(self._drain.first, self._drain.n_vertices + 1)
                dependents = _int32_bytes(self._drain.dependents, self._drain.n_edges)
                ready = _int32_bytes(self._drain.ready, self._drain.n_out)
            else:
                edges = _int32_bytes(<int32_t *>self._drain.edges, 2 * <Py_ssize_t>self._drain.n_edges)
        nodes = [None] * (len(unmet) // <Py_ssize_t>sizeof(int32_t))
        keys = PyDict_Keys(self._vertices)
        values = PyDict_Values(self._vertices)
        for i in range(min(len(keys), len(values))):
            vertex = values[i]
            if vertex < len(nodes) and _int32_at(unmet, vertex) != DRAIN_ABSENT:
                nodes[vertex] = keys[i]
                entered.append(keys[i])
        for i in range(len(edges) // <Py_ssize_t>sizeof(int32_t)):
            pairs.append(nodes[_int32_at(edges, i)])
        if prepared:
            for vertex in range(len(nodes)):
                for i in range(_int32_at(first, vertex), _int32_at(first, vertex + 1)):
                    pairs.append(nodes[vertex])
                    pairs.append(nodes[_int32_at(dependents, i)])
        for i in range(len(ready) // <Py_ssize_t>sizeof(int32_t)):
            vertex = _int32_at(ready, i)
            (done if _int32_at(unmet, vertex) == DRAIN_DONE else out).append(nodes[vertex])
        state = (entered, pairs, prepared, done, out, getattr(self, "__dict__", None))
        return copyreg.__newobj__, (type(self),), state

    def __setstate__(self, state):
        cdef Py_ssize_t i, resumed = 0
        cdef int32_t vertex
        cdef list entered, pairs, done, out, vertices
        entered, pairs, prepared, done, out, attributes = state
        if self._drain.n_vertices or self._drain.prepared:
            raise ValueError("__setstate__() is for a new sorter; this one is in use")
        for node in entered:
            Sorter.add(self, node)
        for i in range(len(pairs) // 2):
            Sorter.add(self, pairs[2 * i + 1], pairs[2 * i])
        if prepared:
            Sorter._prepare(self)
        with cython.critical_section(self):
            vertices = []
            for node in done + out:
                vertices.append(self._find(node))
            if vertices:
                self._require_prepared()
            while resumed < len(vertices):
                vertex = vertices[resumed]
                if vertex < 0 or self._drain.unmet[vertex] != 0:
                    break
                self._drain.unmet[vertex] = DRAIN_OUT
                self._drain.ready[self._drain.n_out] = vertex
                self._drain.n_out += 1
                if resumed < len(done):
                    drain_finish(&self._drain, &vertex, 1)
                resumed += 1
            if vertices:
                drain_queue(&self._drain)
        if resumed < len(vertices):
            raise ValueError(f"node {(done + out)[resumed]!r} cannot have been handed out in this state of a sorter")
        if attributes:
            self.__dict__.update(attributes)

    def _check(self):
        """Walk everything and raise AssertionError on any broken invariant."""
        cdef Drain *d = &self._drain
        cdef int32_t i, vertex
        cdef list expected
        with cython.critical_section(self):
            expected = [0] * d.n_vertices
            if d.prepared:
                for vertex in range(d.n_vertices):
                    for i in range(d.first[vertex], d.first[vertex + 1]):
                        expected[d.dependents[i]] += d.unmet[vertex] != DRAIN_DONE
            else:
                for i in range(d.n_edges):
                    expected[d.edges[i].dependent] += 1
            unmet = [d.unmet[vertex] for vertex in range(d.n_vertices)]
            queued = [d.ready[i] for i in range(d.n_out, d.n_ready)]
            broken = [
                rule
                for rule, holds in {
                    "a vertex counts its predecessors that are not done": expected == [
                        max(count, 0) for count in unmet
                    ],
                    "0 <= n_done <= n_out <= n_ready": 0 <= d.n_done <= d.n_out <= d.n_ready,
                    "as many vertices are done as n_done says": unmet.count(DRAIN_DONE) == d.n_done,
                    "what was handed out is out or done": sorted([d.ready[i] for i in range(d.n_out)]) == [
                        vertex for vertex, count in enumerate(unmet) if count in (DRAIN_OUT, DRAIN_DONE)
                    ],
                    "what is ready is queued, once": not d.prepared or sorted(queued) == [
                        vertex for vertex, count in enumerate(unmet) if count == 0
                    ],
                    "the edges of all vertices are n_edges": not d.prepared or d.first[d.n_vertices] == d.n_edges,
                    "every node has a vertex of its own": len(set(self._vertices.values())) == len(self._vertices)
                    and set(self._vertices.values()) <= set(range(d.n_vertices)),
                    "a node that is known by its address has its vertex": all([
                        identity_find(&self._known, <PyObject *>node) in (vertex, -1)
                        for node, vertex in self._vertices.items()
                    ]),
                }.items()
                if not holds
            ]
        if broken:
            raise AssertionError("; ".join(broken))

    __class_getitem__ = classmethod(GenericAlias)

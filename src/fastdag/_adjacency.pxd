"""Edge lists: find, append, take out. Nothing here locks; callers hold the vertex locks of the lists they pass."""

from libc.stdint cimport int32_t, int64_t

from fastdag._atomics cimport debug_assert, relaxed
from fastdag._storage cimport (
    EdgeList, Store, Vertex, class_for, class_words, list_labels, list_resize_locked, list_words, stripe_of,
)


cdef inline int32_t list_find_among_locked(EdgeList *list, int32_t n, int32_t end) noexcept nogil:
    """Position of an end among the first n of the list, or -1. O(n)."""
    cdef int32_t *ends = list_words(list)
    cdef int32_t i
    for i in range(n):
        if ends[i] == end:
            return i
    return -1


cdef inline int32_t list_find_locked(EdgeList *list, int32_t end) noexcept nogil:
    """Position of an end in the list, or -1. O(entries)."""
    return list_find_among_locked(list, list.count, end)


cdef inline bint edge_exists_locked(Vertex *source, Vertex *target, int32_t source_id, int32_t target_id) noexcept nogil:
    """Whether the edge is there. O(the shorter of the two lists)."""
    if source.outs.count <= target.ins.count:
        return list_find_locked(&source.outs, target_id) >= 0
    return list_find_locked(&target.ins, source_id) >= 0


cdef inline int32_t edge_label_locked(
    Store *s, Vertex *source, Vertex *target, int32_t source_id, int32_t target_id
) noexcept nogil:
    """The label id of an edge that is there. O(the shorter list) where both keep labels, else O(out-list)."""
    if s.in_words == 2 and target.ins.count < source.outs.count:
        return list_labels(&target.ins)[list_find_locked(&target.ins, source_id)]
    return list_labels(&source.outs)[list_find_locked(&source.outs, target_id)]


cdef inline void list_append_locked(EdgeList *list, int32_t end, int32_t label, int words) noexcept nogil:
    """Append an entry; room has been reserved. O(1)."""
    debug_assert(<int64_t>(list.count + 1) * words <= class_words(list.size_class))
    list_words(list)[list.count] = end
    if words == 2:
        list_labels(list)[list.count] = label
    list.count += 1


cdef inline void list_remove_locked(Store *s, int32_t id, EdgeList *list, int32_t at, int words) noexcept nogil:
    """Take an entry out of a list of a vertex, keeping the order of the others; a list that became small gives memory back.

    O(entries). A block is exchanged only when a third of it would be enough, so that adding and removing in turn does not copy
    each time; when no smaller block can be had, the large one stays.
    """
    cdef int32_t *ends = list_words(list)
    cdef int32_t *labels = list_labels(list)
    cdef int32_t i
    cdef int size_class
    list.count -= 1
    for i in range(at, list.count):
        ends[i] = ends[i + 1]
    if words == 2:
        for i in range(at, list.count):
            labels[i] = labels[i + 1]
    if list.size_class != 0 and <int64_t>list.count * words * 3 <= class_words(list.size_class):
        size_class = class_for(<int64_t>list.count * words)
        list_resize_locked(s, id, list, words, size_class)


cdef inline void edge_append_locked(
    Store *s, Vertex *source, Vertex *target, int32_t source_id, int32_t target_id, int32_t label
) noexcept nogil:
    """Write an edge into both lists; room has been reserved in both. O(1)."""
    list_append_locked(&target.ins, source_id, label, s.in_words)
    list_append_locked(&source.outs, target_id, label, 2)
    stripe_of(s, source_id).edges.fetch_add(1, relaxed)


cdef inline void edge_set_label_locked(
    Store *s, Vertex *source, Vertex *target, int32_t source_id, int32_t target_id, int32_t label
) noexcept nogil:
    """Replace the label of an edge that is there. O(entries)."""
    list_labels(&source.outs)[list_find_locked(&source.outs, target_id)] = label
    if s.in_words == 2:
        list_labels(&target.ins)[list_find_locked(&target.ins, source_id)] = label

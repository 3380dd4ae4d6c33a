"""Bulk loads: many edges at once, all or none.

A load is checked with nothing visible, then published. A small one is settled edge by edge by the two-way search, its
edges in an overlay (_search.pxd); a large one by one pass over the union of old and new edges (Kahn 1962, "Topological
sorting of large networks") that also gives the new order: O(n + m).

Guarantees
- A refused load leaves nothing behind but, perhaps, another topological order of the same edges.
- Memory for all edges is taken before the first one is published.
- Readers of single vertices go on throughout, and wait for no more than the vertex they read.

Assumes the order lock is held exclusively.
"""

from fastdag._atomics cimport acquire, debug_assert
from fastdag._batch cimport Batch, batch_check, bulk_add_small, edges_in
from fastdag._edges cimport Core, Rules
from fastdag._onepass cimport bulk_add_large
from fastdag._types cimport DONE, Answer, Outcome


cdef inline Outcome bulk_add(Core *c, Batch *b, Rules rules, Answer *answer) noexcept nogil:
    """Add a batch, all or nothing; changes the batch's arrays. Order lock held exclusively."""
    cdef Outcome outcome = batch_check(c, b, rules, answer)
    debug_assert(c.lock.writing.load(acquire))
    if outcome != DONE or b.count == 0:
        return outcome
    # One pass costs some 40 ns for each vertex and edge there is, the search about 1 µs for each new edge. Conflicts of
    # requirements, and statuses, are the business of the small form, which publishes edge by edge.
    if c.board.on or b.count * 16 < c.store.used.load(acquire) + edges_in(&c.store):
        return bulk_add_small(c, b, rules, answer)
    return bulk_add_large(c, b, rules, answer)

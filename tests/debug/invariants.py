"""The check of all invariants notices each that is broken; and ranks that are used up are spread anew.

Under the debug build: `python -m tests.debug debug`.
"""

import pytest
from fastdag._debug import broken, crowded

PLAIN = {
    "life": "no vertex lives here, but it has edges or a place in the order",
    "outs": "more out-edges than its block has room for",
    "ins": "more in-edges than its block has room for",
    "place": "it has edges but no place in the order",
    "target": "an out-edge leads to no vertex",
    "back": "an out-edge is not among the in-edges of its target",
    "twice": "an out-edge is there twice",
    "order": "an out-edge goes against the order",
    "source": "an in-edge is not among the out-edges of its source",
    "vertices": "the number of vertices is miscounted",
    "edges": "the number of edges is miscounted",
    "links": "the order's links disagree",
    "ranks": "ranks do not rise along the order",
    "rank": "it is linked into the order but has no rank",
    "count": "the order's end or count is wrong",
}
WITH_STATUSES = {
    "label": "the two lists of an edge disagree about its label",
    "counter": "its counters of unmet and impossible dependencies do not agree with its edges",
    "log": "the log still keeps room for a batch that is over",
}


@pytest.mark.parametrize("what", PLAIN)
def test_what_is_broken_in_a_graph_is_named(what):
    assert broken(what) == PLAIN[what]


@pytest.mark.parametrize("what", WITH_STATUSES)
def test_what_is_broken_in_a_graph_with_statuses_is_named(what):
    assert broken(what, statuses=True) == WITH_STATUSES[what]


@pytest.mark.parametrize("high", [False, True], ids=["low", "high"])
def test_ranks_that_are_used_up_are_spread_anew(high):
    for seed in range(20):
        crowded(high, seed)

"""Threads of the core interleaved as a schedule says: every answer explained, every invariant checked, nobody stuck.

Under the debug build: `python -m tests.debug debug`. A schedule that goes wrong is in the error: `Pair(…).replay(first,
preempt)`, or `random_schedules(1, seed, …)`, runs it again, step by step the same.
"""

import itertools

import pytest
from fastdag._debug import NUMBERS, PLAIN, WITH_STATUSES, Pair, random_schedules

# These take many steps, as they read a counter of each of 128 stripes: one preemption, not two.
LONG = {"BATCH", "NUMBER", "CHECK"}
READS = {"LOOK", "OUTS", "INS", "DEGREES", "PATH", "DOWN", "UP", "WHOLE", "NUMBER", "STATUS"}


def preemptions(one, other):
    return 1 if {one, other} & LONG or {one, other} <= READS else 2


@pytest.mark.parametrize("names", [PLAIN, WITH_STATUSES], ids=["plain", "statuses"])
def test_every_schedule_of_each_pair_of_operations(names):
    """Two threads, three operations each; all schedules with at most two preemptions, at any atomic operation."""
    schedules = steps = 0
    for one, other in itertools.combinations_with_replacement(names, 2):
        pair = Pair(NUMBERS[one], NUMBERS[other], 1)
        schedules += pair.explore(preemptions(one, other))
        steps += pair.steps
    print(f"{schedules} schedules, {steps} steps")
    assert schedules > 100_000


def test_reads_of_several_vertices_agree_about_a_bulk_load():
    """All of a large load is seen in one moment: whatever is read in the middle of it, of either list, agrees."""
    reads = [NUMBERS[name] for name in ("LOOK", "OUTS", "INS", "DEGREES")]
    for others in itertools.permutations(reads, 3):
        for seed in range(1, 6):
            Pair(NUMBERS["BATCH"], others, seed, 3, edges=0).explore(1)  # what is there already is no news


@pytest.mark.parametrize("statuses", [False, True], ids=["plain", "statuses"])
@pytest.mark.parametrize(("threads", "operations", "names"), [(2, 8, 4), (3, 5, 5), (4, 4, 4)])
def test_random_schedules_of_random_programs(statuses, threads, operations, names):
    steps = random_schedules(10_000, 1, statuses, threads, operations, names)
    print(f"10000 schedules of {threads} threads, {steps} steps")
    assert steps > 1_000_000


def test_a_schedule_is_run_again_as_it_was():
    pair = Pair(NUMBERS["ADD"], NUMBERS["DROP"], 3)
    first = pair.replay(0, [20, 45])
    assert first["wrong"] is None
    assert pair.replay(0, [20, 45]) == first
    assert pair.replay(0, [])["records"] != first["records"]

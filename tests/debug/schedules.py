"""Threads of the core interleaved as a schedule says: every answer explained, every invariant checked, nobody stuck.

Under the debug build: `python -m tests.debug debug`. A schedule that goes wrong is in the error: `Pair(…).replay(first,
preempt, whole_locks)`, or `random_schedules(1, seed, …)`, runs it again, step by step the same.
"""

import itertools
import math
import random

import pytest
from fastdag._debug import NUMBERS, PLAIN, WITH_STATUSES, Litmus, Pair, random_schedules

TRACES = 5_000  # of a pair are run here at most; `python -m tests.debug traces` runs all

# These take many steps, as they read a counter of each of 128 stripes: one preemption, not two.
LONG = {"BATCH", "NUMBER", "CHECK"}
READS = {"LOOK", "OUTS", "INS", "DEGREES", "PATH", "DOWN", "UP", "WHOLE", "NUMBER", "STATUS"}


def preemptions(one, other):
    return 1 if {one, other} & LONG or {one, other} <= READS else 2


@pytest.mark.parametrize("names", [PLAIN, WITH_STATUSES], ids=["plain", "statuses"])
def test_every_trace_of_each_pair_of_operations(names):
    """Two threads, three operations each: every trace; of the longest some, and all schedules with few preemptions."""
    complete = bounded = traces = schedules = 0
    for one, other in itertools.combinations_with_replacement(names, 2):
        pair = Pair(NUMBERS[one], NUMBERS[other], 1)
        if pair.traces(TRACES):
            complete += 1
            traces += pair.schedules
        else:
            bounded += 1
            schedules += pair.schedules + pair.explore(preemptions(one, other))
    print(f"{complete} pairs in all their {traces} traces, {bounded} in {schedules} schedules")
    assert complete > bounded


@pytest.mark.parametrize("names", [PLAIN, WITH_STATUSES], ids=["plain", "statuses"])
@pytest.mark.parametrize(("operations", "longest"), [(1, 0), (2, 17)])
def test_every_trace_of_fewer_operations(names, operations, longest):
    """Of the longest the traces are run that differ late from the first: with fewer operations they reach further."""
    complete = bounded = traces = 0
    for one, other in itertools.combinations_with_replacement(names, 2):
        pair = Pair(NUMBERS[one], NUMBERS[other], 1, operations=operations)
        if pair.traces(TRACES):
            complete += 1
        else:
            bounded += 1
        traces += pair.schedules
    print(f"{complete} pairs in all their traces, {bounded} in {TRACES}, {traces} in all")
    assert bounded <= longest


def instruction(chance):
    name = chance.choice(["LOAD", "STORE", "EXCHANGE", "SWAP", "WAIT", "NOTIFY", "COUNT", "TRY_COUNT"])
    numbers = {"STORE": 1, "EXCHANGE": 1, "SWAP": 2, "WAIT": 1}.get(name, 0)
    return (name, chance.randrange(2), *(chance.randrange(3) for _ in range(numbers)))


def test_traces_have_the_outcomes_of_all_interleavings():
    """Small programs drawn at random: traces end as all interleavings do, in their strictest real-time orders."""
    chance = random.Random(1)
    traces = interleavings = 0
    for _ in range(100):
        program = [[instruction(chance) for _ in range(chance.randrange(1, 4))] for _ in range(2)]
        some, every = Litmus(*program), Litmus(*program)
        traces += some.traces()
        interleavings += every.interleavings()
        assert some.outcomes.keys() == every.outcomes.keys(), program
        for outcome, orders in some.outcomes.items():
            seen = every.outcomes[outcome]
            assert orders <= seen, program
            assert all(any(order & strict == order for strict in orders) for order in seen), program
    print(f"{traces} traces of {interleavings} interleavings")
    assert traces * 10 < interleavings


@pytest.mark.parametrize(
    ("one", "other", "traces"),
    [
        ([("STORE", 0, 1), ("LOAD", 1)], [("STORE", 1, 1), ("LOAD", 0)], 3),       # both may read 1, not both 0
        ([("STORE", 0, 1), ("LOAD", 0)] * 2, [("STORE", 1, 1), ("LOAD", 1)] * 2, 1),
        ([("LOAD", 0)] * 3, [("SWAP", 0, 1, 2), ("STORE", 0, 0), ("LOAD", 0)], 1),  # nobody changes anything
        ([("EXCHANGE", 0, i) for i in (1, 2, 3)], [("EXCHANGE", 0, i) for i in (4, 5, 6)], math.comb(6, 3)),
        ([("COUNT", 0)] * 3, [("COUNT", 0)] * 3, math.comb(6, 3)),
    ],
)
def test_a_trace_is_run_once(one, other, traces):
    assert Litmus(one, other).traces(whole_locks=True) == traces


def test_a_mutex_is_what_pairs_take_it_for():
    """All that the steps of a mutex do can be had when it is taken in one step."""
    three = [("COUNT", 0)] * 3, [("TRY_COUNT", 0), ("COUNT", 0), ("TRY_COUNT", 0)]
    for program in itertools.combinations_with_replacement(three, 2):
        steps, whole = Litmus(*program), Litmus(*program)
        steps.traces()
        whole.traces(whole_locks=True)
        assert steps.outcomes.keys() == whole.outcomes.keys()
        for stuck, answers, _, counter in steps.outcomes:
            assert stuck is None
            assert sorted(filter(None, answers[0] + answers[1])) == list(range(1, counter + 1))


def test_who_is_not_woken_is_found():
    [asleep] = [o for o in _outcomes([("STORE", 0, 1)], [("WAIT", 0, 0)]) if o[0]]
    assert asleep[0] == "all threads sleep"
    assert not any(o[0] for o in _outcomes([("STORE", 0, 1), ("NOTIFY", 0)], [("WAIT", 0, 0)]))


def _outcomes(one, other):
    program = Litmus(one, other)
    program.traces()
    return program.outcomes


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

"""Threads of the core interleaved in every way, or as a seed says: answers explained, invariants checked, nobody stuck.

Under the debug build: `python -m tests.debug debug`. A schedule that goes wrong is in the error:
`Threads(*threads).replay(switches)`, or `random_schedules(1, seed, …)`, runs it again, step by step the same.
"""

import itertools
import random

import pytest
from fastdag._debug import PLAIN, WITH_STATUSES, Litmus, Threads, answers, random_schedules
from states import GRAPHS, combinations, search_all

SETS = pytest.mark.parametrize("names", [PLAIN, WITH_STATUSES], ids=["plain", "statuses"])


@SETS
@pytest.mark.parametrize(("each", "seeds", "graphs"), [(1, 30, GRAPHS), (2, 2, GRAPHS[1:2]), (3, 1, GRAPHS[2:])])
def test_every_interleaving_of_each_pair_of_operations(names, each, seeds, graphs):
    """Two threads, each one operation up to three times: every state of every interleaving."""
    search_all(combinations(names, 2, each, seeds, graphs))


@SETS
def test_every_interleaving_of_random_programs(names):
    """Two threads with three operations each, drawn at random."""
    chance = random.Random(1)
    search_all(([[chance.choice(names) for _ in range(3)] for _ in range(2)], seed, 4, 4) for seed in range(15))


@SETS
def test_every_interleaving_of_three_threads(names):
    """One operation each."""
    search_all(random.Random(1).sample(list(combinations(names, 3, 1, 1, [(4, 4)])), 40))


def test_a_bulk_load_is_seen_in_both_lists_of_a_vertex_at_once():
    for seed in range(1, 101):
        for edges in (2, 3):
            Threads([["BATCH"], ["DEGREES"]], seed, 4, edges).search()


def test_reads_of_several_vertices_agree_about_a_bulk_load():
    """All of a large load is seen in one moment: whatever is read in the middle of it, of either list, agrees."""
    for reads in itertools.permutations(["LOOK", "OUTS", "INS", "DEGREES"], 3):
        for seed in range(1, 6):
            Threads([["BATCH"] * 3, reads], seed, 4, 0).search()  # what is there already is no news


@SETS
@pytest.mark.parametrize(("threads", "operations", "of"), [(2, 8, 4), (3, 5, 5), (4, 4, 4)])
def test_random_schedules_of_random_programs(names, threads, operations, of):
    steps = random_schedules(10_000, 1, names is WITH_STATUSES, threads, operations, of)
    print(f"10000 schedules of {threads} threads, {steps} steps")
    assert steps > 1_000_000


def test_a_schedule_is_run_again_as_it_was():
    """Whatever three threads were answered, the schedule that came with it brings about again."""
    schedules = 0
    for seed in range(1, 11):
        threads = Threads([["ADD"], ["DROP"], ["OUTS"]], seed, 3)
        for answer, (switches, _) in threads.search().items():
            again = threads.replay(switches)
            assert again["wrong"] is None
            assert answers(again) == answer
            assert threads.replay(switches) == again
            schedules += 1
    assert schedules > 20


# --- the search itself


def agree(some, every):
    """Orders in which something was answered are each as loose as one of the other search, both ways."""
    assert all(any(strict >= order for strict in some) for order in every)
    assert all(any(strict >= order for strict in every) for order in some)


def instruction(chance):
    name = chance.choice(["LOAD", "STORE", "EXCHANGE", "SWAP", "WAIT", "NOTIFY", "COUNT", "TRY_COUNT"])
    numbers = {"STORE": 1, "EXCHANGE": 1, "SWAP": 2, "WAIT": 1}.get(name, 0)
    return (name, chance.randrange(2), *(chance.randrange(3) for _ in range(numbers)))


def test_states_have_the_outcomes_of_all_interleavings():
    """Small programs drawn at random: the states lead where the schedules do, run one by one."""
    chance = random.Random(1)
    interleavings = stuck = 0
    for _ in range(1000):
        program = [[instruction(chance) for _ in range(chance.randrange(1, 4))] for _ in range(2)]
        some, every = Litmus(*program), Litmus(*program)
        some.search()
        interleavings += every.interleavings()
        assert some.outcomes.keys() == every.outcomes.keys()
        for outcome, orders in some.outcomes.items():
            agree(orders, every.outcomes[outcome])
        stuck += any(failed for failed, *_ in every.outcomes)
    print(f"{interleavings} interleavings, of {stuck} programs some with a thread that sleeps for ever")
    assert stuck > 50


@SETS
def test_steps_that_meet_nobody_need_no_choice(names):
    """Where every step is a choice the operations answer the same, in the same orders."""
    few = many = 0
    for pair in itertools.combinations_with_replacement(names, 2):
        threads = Threads([[name] for name in pair])
        some = threads.search()
        few += threads.states
        every = threads.search(every_step=True)
        many += threads.states
        assert some.keys() == every.keys()
        for answer, (_, orders) in some.items():
            agree(orders, every[answer][1])
    print(f"{few} states instead of {many}")
    assert few * 5 < many


def test_a_mutex_keeps_others_out():
    three = [("COUNT", 0)] * 3, [("TRY_COUNT", 0), ("COUNT", 0), ("TRY_COUNT", 0)]
    for program in itertools.combinations_with_replacement(three, 2):
        litmus = Litmus(*program)
        litmus.search()
        for stuck, counts, _, counter in litmus.outcomes:
            assert stuck is None
            assert sorted(filter(None, counts[0] + counts[1])) == list(range(1, counter + 1))


def test_who_is_not_woken_is_found():
    def outcomes(one, other):
        litmus = Litmus(one, other)
        litmus.search()
        return {stuck for stuck, *_ in litmus.outcomes}

    assert outcomes([("STORE", 0, 1)], [("WAIT", 0, 0)]) == {None, "all threads sleep"}
    assert outcomes([("STORE", 0, 1), ("NOTIFY", 0)], [("WAIT", 0, 0)]) == {None}

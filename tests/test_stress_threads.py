"""A few seconds of `tests.stress --minutes`, and proof that it notices what is lost, what is kept and what is wrong."""

from __future__ import annotations

import random
import sys
from array import array
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import stress_threads
from stress import DisagreementError

from fastdag import Manager

# CPython says since 3.12 that a child of a process with threads may deadlock: it is what is tested here too.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def test_a_few_seconds():
    seed = random.SystemRandom().randrange(2**32)
    done = stress_threads.run(6, seed)
    assert done["eras"] >= 9
    assert min(done.values()) > 0
    assert done["forks"] > 0


def test_memory_that_stays_is_noticed():
    kept = []

    class Kept(Manager):
        def __init__(self, **options):
            super().__init__(**options)
            kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stress_threads, "Manager", Kept)
        with pytest.raises(AssertionError, match="memory grew"):
            stress_threads.run(0, 1, length=0.05)


@pytest.mark.parametrize("column", range(3))
def test_each_figure_of_memory_is_looked_at(column):
    slack = stress_threads.SLACK[column]
    samples = array("q", [1 << 24] * 3 * 9)
    samples[column::3] = array("q", [(1 << 24) + i * slack // 4 for i in range(9)])  # five quarters more at the end
    with pytest.raises(DisagreementError, match=stress_threads.SLACK._fields[column]):
        stress_threads.require_flat(samples, 1)
    samples[column::3] = array("q", [(1 << 24) + i % 3 * slack for i in range(9)])
    stress_threads.require_flat(samples, 1)


@pytest.mark.parametrize("wrong", ["graph", "status", "event"])
def test_what_is_wrong_is_noticed(wrong):
    era = stress_threads.Era(random.Random(1), exact=True)
    loop = stress_threads.Loop()
    try:
        with stress_threads.quiet():
            stress_threads.run_round(era, loop, 0.05, fork=False)
            if wrong == "graph":
                vertex = era.workers[0].names[0]
                if vertex in era.graph:
                    era.graph.remove_vertex(vertex)
                else:
                    era.graph.add_vertex(vertex)
            elif wrong == "status":
                era.workers[0].state = ()
            else:
                era.statuses[stress_threads.HUBS[0]] = "another"
            with pytest.raises(DisagreementError):
                era.check()
    finally:
        loop.close()

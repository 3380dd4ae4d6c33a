"""A hundred thousand completions of `tests.exactly_once`, and proof that it notices one that is lost or told twice."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from exactly_once import one_round, run

from fastdag import Manager


def test_a_hundred_thousand_completions():
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    assert run(100_000, seed) == 100_000


@pytest.mark.parametrize("times", [0, 2])
def test_one_that_is_lost_or_told_twice_is_noticed(times):
    class Faulty(Manager):
        def subscribe(self, callback, unit=None, kinds=None):
            def tell(event):
                for _ in range(times if event.unit == "u7" and event.new == "ready" else 1):
                    callback(event)

            return super().subscribe(tell, unit, kinds)

    with pytest.raises(AssertionError):
        one_round(random.Random(1), 60.0, Faulty)

"""Collections when the tests of failing allocations say so, and of what they make only."""

import gc
import logging

import pytest


@pytest.fixture
def own_heap():
    """Leave all that is there to itself, so that collecting is quick; what subscribers fail with is not printed."""
    silent = logging.NullHandler()
    logging.getLogger("fastdag").addHandler(silent)
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(0)  # disable() would keep starve() from collecting, too
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
    logging.getLogger("fastdag").removeHandler(silent)

"""The examples in the docstrings of the compiled core; pytest itself finds those of the modules in Python."""

import doctest

from fastdag import _core


def test_the_examples_in_the_core_run():
    failed, attempted = doctest.testmod(_core, report=True)
    assert not failed
    assert attempted

"""Bytes per edge: not a time, so kept beside the benchmarks in the results, under `fastdag`."""

import pytest

from benchmarks import extras, memory
from benchmarks.peers import IMPLEMENTATIONS


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bytes_per_edge(pytestconfig: pytest.Config, implementation: str) -> None:
    extras.of(pytestconfig).memory[implementation] = memory.bytes_per_edge(implementation)

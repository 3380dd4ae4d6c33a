"""Durations against Go's grammar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdag.durations import parse_duration

SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("100ms", 0.1),
        ("0", 0),
        ("+0", 0),
        ("0s", 0),
        (".5s", 0.5),
        ("1.s", 1),
        ("1m1m", 120),
    ],
)
def test_what_go_takes(text, seconds):
    assert parse_duration(text) == seconds


def test_what_no_number_tells_is_refused():
    with pytest.raises(ValueError, match=r"^9999999999… is longer than any number can tell$"):
        parse_duration("9" * 400 + "h")


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(sorted(SECONDS))), min_size=1, max_size=4))
def test_parts_add_up(parts):
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration(text) == pytest.approx(sum(number * SECONDS[unit] for number, unit in parts))


@pytest.mark.parametrize("text", ["", "+", "5", "5 m", "m", "-5m", "5d", ".s", "1e3s", "5m ", "٣s", "1h-1m", "inf"])
def test_what_is_none_says_how_to_write_one(text):
    with pytest.raises(
        ValueError, match="is no duration; write numbers with units, as in 30s, 5m, 1h30m or 100ms, or 0"
    ):
        parse_duration(text)

"""Lengths of time as people write them: `5m`, `1h30m`, `100ms`, with the units of Go's `time.ParseDuration`."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),  # the micro sign
    "μs": Fraction(1, 10**6),  # the Greek letter
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


def parse_duration(text: str) -> float:
    """Give the seconds of a duration that is not negative.

    Parameters
    ----------
    text : str
        Numbers, with fractions or without, each with its unit (`ns`, `us`, `ms`, `s`, `m`, `h`), or `0`.

    Raises
    ------
    ValueError
        If it is something else.

    Examples
    --------
    >>> parse_duration("1h30m"), parse_duration("1.5s"), parse_duration("100ms"), parse_duration("0")
    (5400.0, 1.5, 0.1, 0.0)
    """
    parts = text.removeprefix("+")
    if parts == "0":
        return 0.0
    seconds = Fraction()
    position = 0
    while found := _PART.match(parts, position):
        seconds += Fraction(found[1]) * _UNITS[found[2]]
        position = found.end()
    if not position or position < len(parts):
        raise ValueError(f"{text!r} is no duration; write numbers with units, as in 30s, 5m, 1h30m or 100ms, or 0")
    try:
        return float(seconds)
    except OverflowError:
        raise ValueError(f"{text[:10]}… is longer than any number can tell") from None


def format_duration(seconds: float) -> str:
    """Write a duration for a person, to three digits of its largest unit: what takes minutes is told in whole seconds.

    Examples
    --------
    >>> format_duration(5400), format_duration(63.2), format_duration(1.5), format_duration(0.0123), format_duration(0)
    ('1h30m', '1m3s', '1.5s', '12.3ms', '0s')
    """
    if seconds < 59.95:
        number, unit = (seconds, "s") if seconds >= 0.9995 or not seconds else (seconds * 1000, "ms")
        return f"{number:.3g}{unit}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)

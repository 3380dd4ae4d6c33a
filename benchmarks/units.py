"""Numbers as a person reads them: three digits that matter, and a unit."""

import math

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_COUNTS = ((1_000_000_000, " G"), (1_000_000, " M"), (1_000, " k"))


def digits(value: float) -> str:
    """Three digits that matter, two of them where it is below a thousandth; without an exponent.

    Examples
    --------
    >>> digits(0.0000123), digits(0.01234), digits(1.5), digits(12.34), digits(1234.5)
    ('0.000012', '0.0123', '1.50', '12.3', '1,234')
    """
    size = abs(value)
    if size >= 100 or size == 0:
        return f"{value:,.0f}"
    if size < 0.001:
        return f"{value:.{1 - math.floor(math.log10(size))}f}"
    return f"{value:.{1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4}f}"


def plain(value: float) -> str:
    """All digits that there are, as on an axis.

    Examples
    --------
    >>> plain(0.00001), plain(2.5), plain(100.0)
    ('0.00001', '2.5', '100')
    """
    return f"{value:,.9f}".rstrip("0").rstrip(".")


def seconds(value: float) -> str:
    """A time.

    Examples
    --------
    >>> seconds(0.00123), seconds(4.5e-7), seconds(0.0)
    ('1.23 ms', '450 ns', '0 ns')
    """
    scale, unit = _scale(value)
    return f"{digits(value / scale)} {unit}"


def whole_seconds(value: float) -> str:
    """A round time, as on an axis.

    Examples
    --------
    >>> whole_seconds(1e-8), whole_seconds(1e-6), whole_seconds(0.1)
    ('10 ns', '1 µs', '100 ms')
    """
    scale, unit = _scale(value)
    return f"{value / scale:.0f} {unit}"


def _scale(value: float) -> tuple[float, str]:
    return next((pair for pair in _TIMES if value >= pair[0] * (1 - 1e-9)), _TIMES[-1])  # 1e-6 may be a little less


def count(value: float) -> str:
    """How many, in thousands, millions or milliards.

    Examples
    --------
    >>> count(950), count(1_000), count(2_340_000)
    ('950', '1 k', '2.34 M')
    """
    scale, unit = next((pair for pair in _COUNTS if value >= pair[0]), (1, ""))
    short = digits(value / scale)
    return (short.rstrip("0").rstrip(".") if "." in short else short) + unit


def ratio(value: float) -> str:
    """A share or multiple.

    Examples
    --------
    >>> ratio(0.5), ratio(0.0021), ratio(20.4)
    ('0.500×', '0.0021×', '20.4×')
    """
    return f"{digits(value)}×"


def share(value: float) -> str:
    """A percentage.

    Examples
    --------
    >>> share(0.5), share(0.0123), share(0.00012)
    ('50%', '1.2%', '0.01%')
    """
    return f"{value:.0%}" if value >= 0.1 else f"{value:.1%}" if value >= 0.001 else f"{value:.2%}"

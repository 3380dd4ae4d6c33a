"""Numbers as a person reads them: three digits that matter, and a unit."""

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_COUNTS = ((1_000_000_000, " G"), (1_000_000, " M"), (1_000, " k"))


def digits(value: float) -> str:
    """Three digits that matter, without an exponent.

    Examples
    --------
    >>> digits(0.01234), digits(1.5), digits(12.34), digits(1234.5)
    ('0.0123', '1.50', '12.3', '1,234')
    """
    size = abs(value)
    if size >= 100 or size == 0:
        return f"{value:,.0f}"
    return f"{value:.{1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4}f}"


def seconds(value: float) -> str:
    """A time.

    Examples
    --------
    >>> seconds(0.00123), seconds(4.5e-7), seconds(0.0)
    ('1.23 ms', '450 ns', '0 ns')
    """
    scale, unit = next((pair for pair in _TIMES if value >= pair[0]), _TIMES[-1])
    return f"{digits(value / scale)} {unit}"


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

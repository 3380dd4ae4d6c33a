"""Plots as inline SVG. Colours come from the page's style sheet, by class, so that one plot serves light and dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 430, 290
LEFT, RIGHT, TOP, BOTTOM = 62, 84, 14, 44
LABEL = 14  # least distance of two labels, in pixels


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    hollow: bool = False  # a peer that had only a share of the input
    title: str = ""  # shown under the pointer


@dataclass(frozen=True)
class Series:
    name: str  # of an implementation: also its class
    points: Sequence[Point]


@dataclass(frozen=True)
class Axis:
    """From values to pixels, along a line or its logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def at(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def decades(values: Sequence[float]) -> list[float]:
    """The powers of ten from the one below the least value to the one above the greatest."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def steps(most: float) -> list[float]:
    """Round numbers from 0 to the first that is no less than `most`: 3 to 6 of them."""
    scale = 10.0 ** math.floor(math.log10(most)) if most > 0 else 1.0
    step = next(scale * factor for factor in (0.2, 0.25, 0.5, 1.0, 2.0, 2.5) if scale * factor * 5 >= most)
    return [step * i for i in range(max(1, math.ceil(most / step - 1e-9)) + 1)]


def spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Places for labels near where they are wanted, in the same order, that do not overlap."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [0.0] * len(wanted)
    below = low - LABEL
    for i in order:
        below = placed[i] = max(wanted[i], below + LABEL)
    above = high + LABEL
    for i in reversed(order):
        above = placed[i] = min(placed[i], above - LABEL)
    return placed


def lines(
    series: Sequence[Series],
    x_ticks: Sequence[float],
    x_format: Callable[[float], str],
    y_format: Callable[[float], str],
    x_label: str,
    y_label: str,
    *,
    log_y: bool,
    at_least: float = 0.0,
) -> str:
    """Lines with their names at the right end; the horizontal axis is logarithmic.

    `at_least` is a value that a linear vertical axis reaches, so that next to nothing looks like it.
    """
    values = [point.y for line in series for point in line.points]
    y_ticks = decades(values) if log_y else steps(max(*values, at_least))
    x = Axis(min(x_ticks), max(x_ticks), LEFT, WIDTH - RIGHT, log=True)
    y = Axis(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP, log=log_y)
    parts = [_frame(x, y, x_ticks, y_ticks, x_format, y_format, x_label)]
    ends = spread([y.at(line.points[-1].y) for line in series], TOP, HEIGHT - BOTTOM)
    for line, place in zip(series, ends, strict=True):
        path = " ".join(f"{x.at(point.x):.1f},{y.at(point.y):.1f}" for point in line.points)
        last = line.points[-1]
        parts.append(f'<g class="{escape(line.name)}"><polyline points="{path}"/>')
        for point in line.points:
            kind = ' class="hollow"' if point.hollow else ""
            parts.append(
                f'<circle{kind} cx="{x.at(point.x):.1f}" cy="{y.at(point.y):.1f}" r="3.5">'
                f"<title>{escape(point.title)}</title></circle>"
            )
        right = WIDTH - RIGHT + 14
        parts.append(
            f'<path class="lead" d="M{x.at(last.x) + 5:.1f} {y.at(last.y):.1f} L{right - 3} {place:.1f}"/>'
            f'<text class="name" x="{right}" y="{place + 4:.1f}">{escape(line.name)}</text></g>'
        )
    return _svg(WIDTH, HEIGHT, "".join(parts), f"{y_label} against {x_label}")


def _frame(
    x: Axis,
    y: Axis,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_format: Callable[[float], str],
    y_format: Callable[[float], str],
    x_label: str,
) -> str:
    parts = []
    for tick in y_ticks:
        at = y.at(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f} H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 8}" y="{at + 4:.1f}">{escape(y_format(tick))}</text>')
    for tick in x_ticks:
        at = x.at(tick)
        parts.append(f'<path class="axis" d="M{at:.1f} {HEIGHT - BOTTOM} v4"/>')
        parts.append(f'<text class="tick mid" x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}">{escape(x_format(tick))}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM} H{WIDTH - RIGHT}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="label mid" x="{middle}" y="{HEIGHT - 6}">{escape(x_label)}</text>')
    return "".join(parts)


def strip(rows: Sequence[Series], x_format: Callable[[float], str]) -> str:
    """A line of dots for each series along one logarithmic axis of ratios, parted at 1: less to its left."""
    width, row, left, top = 1080, 46, 90, 30
    bottom = top + row * len(rows)
    ticks = decades([*(point.x for line in rows for point in line.points), 0.5, 2.0])
    x = Axis(ticks[0], ticks[-1], left, width - 20, log=True)
    one = x.at(1.0)
    parts = [
        f'<rect class="slower" x="{one:.1f}" y="{top}" width="{width - 20 - one:.1f}" height="{bottom - top}"/>',
        f'<text class="label end" x="{one - 8:.1f}" y="{top - 10}">fastdag takes less time</text>',
        f'<text class="label" x="{one + 8:.1f}" y="{top - 10}">more</text>',
    ]
    for tick in ticks:
        kind = "axis" if tick == 1.0 else "grid"
        parts.append(f'<path class="{kind}" d="M{x.at(tick):.1f} {top} V{bottom}"/>')
        parts.append(f'<text class="tick mid" x="{x.at(tick):.1f}" y="{bottom + 18}">{escape(x_format(tick))}</text>')
    for number, line in enumerate(rows):
        centre = top + row * (number + 0.5)
        parts.append(f'<g class="{escape(line.name)}">')
        parts.append(f'<text class="name end" x="{left - 12}" y="{centre + 4}">{escape(line.name)}</text>')
        for order, point in enumerate(sorted(line.points, key=lambda point: point.x)):
            lift = (order % 5 - 2) * 6  # so that neighbours do not hide each other
            parts.append(
                f'<circle class="dot" cx="{x.at(point.x):.1f}" cy="{centre + lift:.1f}" r="4">'
                f"<title>{escape(point.title)}</title></circle>"
            )
        parts.append("</g>")
    return _svg(width, bottom + 26, "".join(parts), "ratios of fastdag's time to each peer's")


def bars(values: Sequence[tuple[str, float]], form: Callable[[float], str]) -> str:
    """Horizontal bars from 0, each with its value."""
    width, row, left = WIDTH, 34, 84
    most = max(value for _, value in values)
    parts = []
    for number, (name, value) in enumerate(values):
        top = number * row + 6
        length = max(2.0, value / most * (width - left - 70))
        parts.append(
            f'<g class="{escape(name)}"><text class="name end" x="{left - 10}" y="{top + 15}">{escape(name)}</text>'
            f'<rect class="bar" x="{left}" y="{top}" width="{length:.1f}" height="20" rx="2"/>'
            f'<text class="tick" x="{left + length + 8:.1f}" y="{top + 15}">{escape(form(value))}</text></g>'
        )
    return _svg(width, row * len(values) + 8, "".join(parts), "bars")


def _svg(width: int, height: float, inside: str, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(label)}" '
        f'style="max-width:{width}px">{inside}</svg>'
    )

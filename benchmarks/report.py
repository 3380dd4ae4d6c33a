"""The results of a run as one page that needs nothing else: plots first, then every number."""

from collections.abc import Callable, Iterable, Sequence
from html import escape

from benchmarks import plots, units
from benchmarks.extras import Extras
from benchmarks.ratios import KINDS, PEERS, Ratio, Result, Row, rows, slower

CURVES = {  # of test_scale.py: what its plot is called
    "append": "Growing graph, edge by edge",
    "random": "Random order, edge by edge",
    "one call": "Random order, in one call",
    "topological_sort": "Topological sort",
    "copy": "Copy",
}
SCALED = {
    "mixed": "mixed: reads and new edges, no two threads meet",
    "mutate": "mutate: every operation, one small graph",
}
UNLOCKED = "no-lock"  # fastdag on an interpreter without the lock

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --text: #1c2430; --soft: #5b6675; --line: #e3e7ec; --axis: #98a2af;
  --panel: #f7f8fa; --bad: #b3261e; --bad-soft: #fbeceb; --good: #1f6f43;
  --fastdag: #1f5fd6; --rustworkx: #c4560f; --networkx: #2c8055; --igraph: #8b46b8; --graphlib: #6a7280;
  --no-lock: #0e8a9c; --mixed: #1f5fd6; --mutate: #0e8a9c; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --text: #e4e9f0; --soft: #9aa5b4; --line: #2a323d;
  --axis: #647082; --panel: #1a2028; --bad: #ff8a80; --bad-soft: #3a2022; --good: #7bd6a3;
  --fastdag: #6fa3ff; --rustworkx: #f59a55; --networkx: #62c890; --igraph: #c792ea; --graphlib: #a5afbd;
  --no-lock: #55cfe0; --mixed: #6fa3ff; --mutate: #55cfe0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 2rem 1.5rem 4rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.6rem 0 .4rem; }
h3 { font-size: .95rem; margin: 0 0 .4rem; font-weight: 600; }
p { margin: .3rem 0 .9rem; max-width: 75ch; } .soft { color: var(--soft); }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.4rem 0; }
.tile { background: var(--panel); border-radius: 8px; padding: .8rem 1.2rem; min-width: 170px; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; } .tile.bad b { color: var(--bad); }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 360px), 1fr)); gap: 1rem; }
.panel { background: var(--panel); border-radius: 8px; padding: 1rem 1rem .6rem; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font-size: 12px; }
svg .end { text-anchor: end; } svg .mid { text-anchor: middle; } svg .name { font-weight: 600; }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--axis); }
svg polyline { fill: none; stroke-width: 2; stroke-linejoin: round; } svg .lead { stroke-width: 1; opacity: .45; }
svg rect.slower { fill: var(--bad-soft); }
svg .dot { fill-opacity: .75; } svg g.fastdag polyline { stroke-width: 3; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-size: .82rem; color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
td.note { text-align: left; color: var(--soft); white-space: normal; } td.bad { color: var(--bad); font-weight: 700; }
td.good { color: var(--good); } tr.behind { background: var(--bad-soft); }
""" + "\n".join(
    f"svg .{name} polyline, svg .{name} .lead, svg .{name} .hollow {{ stroke: var(--{name}); }} "
    f"svg .{name} circle, svg .{name} .bar, svg .{name} .name {{ fill: var(--{name}); }} "
    f"svg .{name} .hollow {{ fill: var(--panel); stroke-width: 2; }}"
    for name in ("fastdag", *PEERS, UNLOCKED, *SCALED)
)


def page(results: Sequence[Result], extras: Extras, headline: str) -> str:
    """The whole page, as HTML."""
    made = rows(results)
    sections = [
        _overview(made),
        _panels("How cost grows", _SCALE_TEXT, _size_plots(results)),
        _panels("How threads scale", _thread_text(extras), _thread_plots(results, extras)),
        _panels("Memory", _MEMORY_TEXT, _memory_plot(extras)),
        _behind(made),
        *(_table(kind, [row for row in made if row.kind == kind]) for kind in KINDS),
    ]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>fastdag beside its peers</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f'<h1>fastdag beside its peers</h1><p class="soft">{escape(headline)}</p>{"".join(sections)}</body></html>\n'
    )


_SCALE_TEXT = (
    "Time for an edge against the number of edges, both axes logarithmic: flat is best, the whole then grows as the "
    "graph does. A hollow point is a peer that got no further within its budget."
)
_MEMORY_TEXT = (
    "Bytes for an edge of a graph with 1,000,000 edges on 200,000 vertices, names and labels included; each "
    "implementation in a process of its own."
)


def _overview(made: Sequence[Row]) -> str:
    compared = [ratio for row in made for ratio in row.ratios.values()]
    if not compared:
        return ""
    behind = slower(made)
    tiles = [
        f'<div class="tile"><b>{len(made)}</b>benchmarks of fastdag</div>',
        f'<div class="tile"><b>{len(compared) - len(behind)} of {len(compared)}</b>comparisons: less time</div>',
        f'<div class="tile{" bad" if behind else ""}"><b>{len(behind)}</b>comparisons: more time</div>',
    ]
    strips = []
    for peer in PEERS:
        points = [
            plots.Point(row.ratios[peer].median, 0, title=f"{row.workload}: {units.ratio(row.ratios[peer].median)}")
            for row in made
            if peer in row.ratios
        ]
        if points:
            strips.append(plots.Series(peer, points))
    return (
        f'<div class="tiles">{"".join(tiles)}</div><h2>All ratios at one look</h2>'
        "<p>fastdag's median time over each peer's on the same input, a dot for each workload; point at one for its "
        f'name.</p><div class="panel">{plots.strip(strips, lambda tick: units.plain(tick) + "×")}</div>'
    )


def _behind(made: Sequence[Row]) -> str:
    listed = "".join(
        f"<tr><td>{escape(row.workload)}</td><td>{peer}</td>"
        f'<td class="bad">{units.ratio(ratio.minimum)} / {units.ratio(ratio.median)}</td></tr>'
        for row, peer, ratio in slower(made)
    )
    if not listed:
        return ""
    return (
        '<h2>Where fastdag takes longer</h2><div class="scroll"><table><tr><th>workload</th><th>peer</th>'
        f"<th>fastdag's time over the peer's, min / median</th></tr>{listed}</table></div>"
    )


def _panels(title: str, text: str, panels: Iterable[tuple[str, str]]) -> str:
    inside = "".join(f'<div class="panel"><h3>{escape(name)}</h3>{plot}</div>' for name, plot in panels)
    return f'<h2>{title}</h2><p>{escape(text)}</p><div class="panels">{inside}</div>' if inside else ""


def _series(results: Iterable[Result], curve: str, point_of: Callable[[Result], plots.Point]) -> list[plots.Series]:
    found: dict[str, list[plots.Point]] = {}
    for result in results:
        if result.extra.get("curve") == curve:
            found.setdefault(result.implementation, []).append(point_of(result))
    return [
        plots.Series(name, sorted(found[name], key=lambda point: point.x))
        for name in ("fastdag", *PEERS)
        if name in found
    ]


def _size_plots(results: Sequence[Result]) -> Iterable[tuple[str, str]]:
    def point(result: Result) -> plots.Point:
        part = f", first {units.share(result.share)}" if result.share < 1 else ""
        title = f"{result.implementation}, {result.of:,} edges{part}: {units.seconds(result.median)} an edge"
        return plots.Point(result.done, result.median, hollow=result.share < 1, title=title)

    for curve, title in CURVES.items():
        series = _series((result for result in results if result.kind == "scale"), curve, point)
        ticks = sorted({result.extra["size"] for result in results if result.extra.get("curve") == curve and series})
        if len(ticks) > 1:
            yield title, plots.lines(series, ticks, units.count, units.whole_seconds, "edges", "time", log_y=True)


def _thread_text(extras: Extras) -> str:
    return (
        "Operations per second against threads; the number of operations is the same. Starting the threads counts. The "
        f"peers work behind one lock. {extras.unlocked_note[:1].upper()}{extras.unlocked_note[1:]}"
    ).strip()


def _thread_plots(results: Sequence[Result], extras: Extras) -> Iterable[tuple[str, str]]:
    def rate(result: Result) -> plots.Point:
        threads, each = result.extra["threads"], 1 / result.median
        return plots.Point(threads, each, title=f"{result.implementation}, {threads} threads: {units.count(each)}/s")

    waiting: list[plots.Series] = []
    ticks: list[float] = []
    for curve, title in SCALED.items():
        part = [result for result in results if result.kind == "threads" and result.extra.get("curve") == curve]
        series = _series(part, curve, rate)
        if not series:
            continue
        unlocked = [entry for entry in extras.unlocked if entry.workload == curve]
        if unlocked:
            points = [plots.Point(entry.threads, entry.operations, title=UNLOCKED) for entry in unlocked]
            series.append(plots.Series(UNLOCKED, points))
        ticks = [point.x for point in series[0].points]
        if len(ticks) < 2:
            continue
        yield title, plots.lines(series, ticks, units.count, units.count, "threads", "operations a second", log_y=False)
        points = [
            plots.Point(result.extra["threads"], result.extra["waiting"], title=units.share(result.extra["waiting"]))
            for result in part
            if "waiting" in result.extra
        ]
        waiting.append(plots.Series(curve, points))
    if waiting:
        yield (
            "fastdag: share of the threads' time spent waiting for its locks",
            plots.lines(waiting, ticks, units.count, units.share, "threads", "share", log_y=False, at_least=0.05),
        )


def _memory_plot(extras: Extras) -> Iterable[tuple[str, str]]:
    if extras.memory:
        yield "Bytes per edge", plots.bars(list(extras.memory.items()), lambda size: f"{size:.1f} B")


def _table(kind: str, part: Sequence[Row]) -> str:
    if not part:
        return ""
    peers = [peer for peer in PEERS if any(peer in row.ratios for row in part)]
    head = "".join(f"<th>{peer}<br>min / median</th>" for peer in peers)
    lines = []
    for row in part:
        cells = "".join(_cell(row.ratios.get(peer)) for peer in peers)
        kind_of_row = ' class="behind"' if any(ratio.slower for ratio in row.ratios.values()) else ""
        shares = [f"{peer}: first {units.share(ratio.share)}" for peer, ratio in row.ratios.items() if ratio.share < 1]
        if "waiting" in row.ours.extra:
            shares.insert(0, f"waiting for locks {units.share(row.ours.extra['waiting'])}")
        lines.append(
            f"<tr{kind_of_row}><td>{escape(row.workload)}</td>"
            f"<td>{units.seconds(row.ours.median)} / {row.ours.unit}</td>{cells}"
            f'<td class="note">{escape("; ".join(shares))}</td></tr>'
        )
    return (
        f"<h2>{KINDS[kind]}</h2><p>fastdag's median time, and its time over each peer's: below 1 is less.</p>"
        f'<div class="scroll"><table><tr><th>workload</th><th>fastdag</th>{head}<th></th></tr>'
        f"{''.join(lines)}</table></div>"
    )


def _cell(ratio: Ratio | None) -> str:
    if ratio is None:
        return "<td></td>"
    kind = "bad" if ratio.slower else "good"
    return f'<td class="{kind}">{units.digits(ratio.minimum)} / {units.digits(ratio.median)}</td>'

"""The report on a profile: one HTML page that needs nothing else, and the marks that are read off it."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from profiles.recording import Recording, Run
from profiles.samples import Samples, Work

ENOUGH = 100  # samples, to tell 5 from 10 %
MARKED_LOCK = 0.05  # share of the samples that do not wait for the interpreter
MARKED_ALLOCATION = 0.10
MARKED_EDGES = 4.0  # edges added for each C allocation of the core
MARKED_GAIN = 1.5  # operations with fine locks for each with the coarse one
MARKED_WAIT = 0.1  # longest wait of a reader, in that with the coarse lock
TOP = 10

COLOURS = {  # light, dark
    Work.LOCK: ("#c0392b", "#e4604f"),
    Work.INTERPRETER: ("#b9bec4", "#5a6068"),
    Work.ALLOCATION: ("#d98c1f", "#e5a444"),
    Work.NAMES: ("#2f6fb2", "#5b9bd9"),
    Work.ORDER: ("#7a4fa3", "#a583cf"),
    Work.ADJACENCY: ("#2e8b74", "#4fb89d"),
    Work.TAKING: ("#e08f87", "#a8564d"),
    Work.PYTHON: ("#7d8f45", "#a3b765"),
    Work.OTHER: ("#6b5d52", "#94857a"),
    Work.UNSORTED: ("#111111", "#f2f2f2"),
}


@dataclass(frozen=True)
class Mark:
    """Something asked of the figures; `met` is None where they are missing."""

    name: str
    asked: str
    figure: str
    met: bool | None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]


def marks(recording: Recording) -> list[Mark]:
    """Read the marks off a recording."""
    mixed = recording.run("mixed", coarse=False)
    return [*_sample_marks(mixed.samples if mixed else None), _edges_mark(mixed), *_coarse_marks(recording)]


def _sample_marks(samples: Samples | None) -> list[Mark]:
    lock, allocation = "mixed: waiting for a lock", "mixed: allocation inside the core"
    asked_lock, asked_allocation = f"under {MARKED_LOCK:.0%} of samples", f"under {MARKED_ALLOCATION:.0%} of samples"
    running = samples.running() if samples else 0
    if samples is None or running < ENOUGH:
        few = f"only {running:,} samples that do not wait for the interpreter: run it longer, with --seconds"
        return [Mark(lock, asked_lock, few, None), Mark(allocation, asked_allocation, few, None)]
    waits, allocates = samples.by_work()[Work.LOCK], samples.allocating_in_core()
    of = f"of {running:,} samples that do not wait for the interpreter"
    return [
        Mark(lock, asked_lock, f"{waits / running:.1%} {of}", waits / running < MARKED_LOCK),
        Mark(allocation, asked_allocation, f"{allocates / running:.1%} {of}", allocates / running < MARKED_ALLOCATION),
    ]


def _edges_mark(mixed: Run | None) -> Mark:
    name, asked = "mixed: edges for each C allocation of the core", f"at least {MARKED_EDGES:g}"
    found = mixed.allocations if mixed else None
    if found is None:
        return Mark(name, asked, "not counted", None)
    figure = f"{found.edges:,} edges, {found.core:,} allocations"
    return Mark(name, asked, figure, found.core * MARKED_EDGES <= found.edges)


def _coarse_marks(recording: Recording) -> list[Mark]:
    fine, coarse = recording.run("bulk", coarse=False), recording.run("bulk", coarse=True)
    more, shorter = "bulk: operations, fine against coarse", "bulk: longest wait of a reader, fine against coarse"
    asked_more, asked_shorter = f"at least {MARKED_GAIN:g}×", f"under {MARKED_WAIT:g}×"
    if fine is None or coarse is None:
        return [Mark(more, asked_more, "not run", None), Mark(shorter, asked_shorter, "not run", None)]
    gain = fine.figures["rate"] / coarse.figures["rate"]
    waits = [run.figures["latencies"]["read"]["longest"] for run in (fine, coarse)]
    return [
        Mark(more, asked_more, f"{gain:.1f}×", gain >= MARKED_GAIN),
        Mark(shorter, asked_shorter, f"{waits[0] / 1e6:,.1f} ms against {waits[1] / 1e6:,.1f} ms",
             waits[0] < MARKED_WAIT * waits[1]),
    ]


def render(recording: Recording) -> str:
    """Give the page."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>fastdag profile</title><style>{_style()}</style><main><h1>fastdag profile</h1>",
        _table([], ([escape(key), escape(value)] for key, value in recording.about.items())),
        "<h2>Marks</h2>",
        _table(
            ["", "asked", "figure", ""],
            (
                [escape(mark.name), escape(mark.asked), escape(mark.figure),
                 f"<b class={mark.verdict.split()[0].lower()}>{mark.verdict}</b>"]
                for mark in marks(recording)
            ),
        ),
    ]
    if recording.gaps:
        parts.append("<h2>What could not be measured</h2><ul>")
        parts += [f"<li>{escape(gap)}</li>" for gap in recording.gaps]
        parts.append("</ul>")
    parts.append("<h2>Where the time goes</h2><p>Samples of the threads at work, sorted from their leaf. Shares are of")
    parts.append(" those that do not wait for the interpreter; how many did is in the row of its own.</p>")
    parts.append(_legend())
    for workload in dict.fromkeys(run.workload for run in recording.runs):
        parts.append(_workload([run for run in recording.runs if run.workload == workload]))
    parts.append("</main></html>")
    return "\n".join(parts)


def _workload(runs: list[Run]) -> str:
    heads = ["one coarse lock" if run.coarse else "fine locks" for run in runs]
    parts = [f"<section><h3>{escape(runs[0].workload)}</h3>"]
    parts += [f"<div class=bar-of><span>{head}</span>{_bar(run)}</div>" for head, run in zip(heads, runs, strict=True)]
    parts.append(_table(["share of samples", *heads], _share_rows(runs), figures=True))
    parts.append(_table(["without a profiler", *heads], _figure_rows(runs), figures=True))
    for head, run in zip(heads, runs, strict=True):
        if run.samples:
            parts.append(f"<h4>Top {TOP} frames, {head}</h4>")
            running = run.samples.running() or 1
            parts.append(
                _table(
                    ["", "", "share"],
                    ([f"<code>{escape(frame)}</code>", escape(work.value), f"{count / running:.1%}"]
                     for frame, work, count in run.samples.top(TOP)),
                    figures=True,
                )
            )
        if run.links:
            links = ", ".join(f"<a href='{escape(file)}'>{escape(what)}</a>" for what, file in run.links.items())
            parts.append(f"<p>{head}: {links}</p>")
    return "\n".join([*parts, "</section>"])


def _share_rows(runs: list[Run]) -> Iterable[list[str]]:
    def share(run: Run, work: Work) -> str:
        if run.samples is None or not run.samples.total:
            return "–"
        of = run.samples.total if work is Work.INTERPRETER else run.samples.running()
        return f"{run.samples.by_work()[work] / of:.1%}" if of else "–"

    for work in Work:
        label = f"<i style='background:var(--{work.name.lower()})'></i>{work.value}"
        if work is Work.INTERPRETER:
            label += " (of all)"
        yield [label, *(share(run, work) for run in runs)]
    yield ["samples", *("–" if run.samples is None else f"{run.samples.total:,}" for run in runs)]
    yield ["… that do not wait for the interpreter",
           *("–" if run.samples is None else f"{run.samples.running():,}" for run in runs)]


def _figure_rows(runs: list[Run]) -> Iterable[list[str]]:
    yield ["operations a second", *(f"{run.figures['rate']:,.0f}" for run in runs)]
    for kind in runs[0].figures["latencies"]:
        for key, text in (("p50", "median"), ("p99", "99 % within"), ("longest", "longest")):
            row = [run.figures["latencies"].get(kind, {}).get(key, 0) / 1e3 for run in runs]
            yield [f"{escape(kind)}: {text}", *(f"{value:,.1f} µs" for value in row)]
    for lock in runs[0].figures["locks"]:
        cells = []
        for run in runs:
            stats = run.figures["locks"][lock]
            taken = f"{stats['acquired']:,} taken, " if "acquired" in stats else ""
            waits = f"{stats['contended']:,} waits"
            if stats["contended"]:
                waits += f" of {stats['wait_ns'] / 1e6:,.1f} ms in all, longest {stats['longest_ns'] / 1e6:,.1f} ms"
            cells.append(taken + waits)
        yield [f"lock {escape(lock)}", *cells]
    counts = [run.allocations for run in runs]
    for field, text in (("core", "of the core"), ("for_core", "in the core, by the interpreter"), ("around", "around")):
        cells = ["–" if c is None else f"{getattr(c, field) / max(c.operations, 1):,.4f}" for c in counts]
        yield [f"C allocations an operation, {text}", *cells]


def _bar(run: Run) -> str:
    if run.samples is None or not run.samples.running():
        return "<div class=bar>no samples</div>"
    found, running = run.samples.by_work(), run.samples.running()
    parts = [
        f"<i title='{escape(work.value)}: {found[work] / running:.1%}' "
        f"style='flex:{found[work]};background:var(--{work.name.lower()})'></i>"
        for work in Work
        if work is not Work.INTERPRETER and found[work]
    ]
    return f"<div class=bar>{''.join(parts)}</div>"


def _legend() -> str:
    shown = [work for work in Work if work is not Work.INTERPRETER]
    items = (f"<span><i style='background:var(--{work.name.lower()})'></i>{work.value}</span>" for work in shown)
    return f"<p class=legend>{' '.join(items)}</p>"


def _table(heads: list[str], rows: Iterable[list[str]], figures: bool = False) -> str:
    head = f"<tr>{''.join(f'<th>{text}</th>' for text in heads)}</tr>" if heads else ""
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class=wide><table{' class=figures' if figures else ''}>{head}{body}</table></div>"


def _style() -> str:
    light, dark = (
        "".join(f"--{work.name.lower()}:{pair[place]};" for work, pair in COLOURS.items()) for place in (0, 1)
    )
    return f"""
:root {{ color-scheme: light dark; --back:#fff; --text:#1d2125; --dim:#5c6670; --line:#dde1e5; --link:#1a5fb4;
  --good:#1e7b4a; --bad:#b3261e; {light} }}
@media (prefers-color-scheme: dark) {{ :root {{ --back:#16191d; --text:#e4e7ea; --dim:#9aa4ae; --line:#30363d;
  --link:#7fb3f0; --good:#5fc28d; --bad:#f0857d; {dark} }} }}
body {{ background:var(--back); color:var(--text); font:15px/1.5 system-ui,sans-serif; margin:0 }}
main {{ max-width:62rem; margin:0 auto; padding:1.5rem }}
h1 {{ font-size:1.6rem }} h2 {{ font-size:1.25rem; margin-top:2.2rem }} h3 {{ font-size:1.1rem; margin:0 0 .8rem }}
h4 {{ margin:1.2rem 0 .3rem }} a {{ color:var(--link) }} .wide {{ overflow-x:auto; margin:.8rem 0 }}
section {{ border:1px solid var(--line); border-radius:8px; padding:1.1rem 1.3rem; margin:1.2rem 0 }}
table {{ border-collapse:collapse; width:100% }} th {{ color:var(--dim); font-weight:600; text-align:left }}
td,th {{ border-bottom:1px solid var(--line); padding:.28rem .8rem .28rem 0; vertical-align:top }}
.figures td:not(:first-child),.figures th:not(:first-child) {{ text-align:right; font-variant-numeric:tabular-nums }}
.figures td:last-child,.figures th:last-child {{ padding-right:0 }} td code {{ overflow-wrap:anywhere }}
td i,.legend i {{ display:inline-block; width:.75em; height:.75em; border-radius:2px; margin-right:.5em }}
.legend span {{ white-space:nowrap; margin-right:1.1em }} .met {{ color:var(--good) }} .missed {{ color:var(--bad) }}
.not {{ color:var(--dim) }} .bar-of {{ display:flex; align-items:center; gap:.8rem; margin:.35rem 0 }}
.bar-of span {{ flex:0 0 8.5rem }} .bar {{ flex:1; display:flex; height:1.5rem; border-radius:4px; overflow:hidden }}
.bar i {{ min-width:1px }}
"""

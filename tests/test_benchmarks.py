"""The pieces of the benchmark suite: what is run, the table, the page, a change or noise. Nothing is timed."""

import copy
import doctest
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("pytest_benchmark", reason="the extra [bench] is not installed")
pytest.importorskip("rustworkx", reason="the extra [bench] is not installed")
pytest.importorskip("igraph", reason="the extra [bench] is not installed")

from benchmarks import compare, marks, memory, plots, ratios, report, threads, units, workloads
from benchmarks.extras import Extras
from benchmarks.measure import LONGEST_CHUNK, chunks, feed, measure
from benchmarks.operations import OPERATIONS
from benchmarks.peers import EDGE_BY_EDGE, IMPLEMENTATIONS, Igraph

ROOT = Path(__file__).parents[1]


def run_pytest(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def collected(*arguments: str, cwd: Path = ROOT) -> set[str]:
    """The files whose tests would run."""
    ran = run_pytest("--collect-only", "-q", *arguments, cwd=cwd)
    return {line.partition("::")[0] for line in ran.stdout.splitlines() if "::" in line}


# what is run


def test_the_option_runs_the_benchmarks_and_nothing_else():
    wanted = {f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("test_*.py")}
    assert len(wanted) >= 5
    assert collected("--benchmark") == wanted
    assert {Path(name).name for name in collected("--benchmark", cwd=ROOT / "tests")} == {Path(w).name for w in wanted}


def test_without_the_option_no_benchmark_runs():
    assert not {name for name in collected(".") if name.startswith("benchmarks")}


def test_some_of_the_benchmarks_can_be_asked_for_beside_the_options_of_pytest_benchmark(tmp_path: Path):
    out = tmp_path / "out.json"
    ran = run_pytest(
        "--benchmark",
        "benchmarks/test_operations.py",
        "-k",
        "has_edge or (dependents and test_manager)",
        f"--benchmark-json={out}",
        "--benchmark-group-by=func",
        "--benchmark-budget=0.2",
        f"--benchmark-report={tmp_path / 'page.html'}",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "benchmark 'test_operation':" in ran.stdout  # pytest-benchmark's own table, as it was asked for
    document = json.loads(out.read_text())
    names = [bench["name"] for bench in document["benchmarks"]]
    assert names == [f"test_operation[has_edge-{peer}]" for peer in IMPLEMENTATIONS] + ["test_manager[dependents]"]
    assert document["machine_info"]["fastdag"]["seed"] == workloads.SEED
    assert set(document["machine_info"]["fastdag"]["peers"]) == {"rustworkx", "networkx", "igraph"}
    assert document["commit_info"]["described"]
    [line] = [line for line in ran.stdout.splitlines() if line.startswith("has_edge ")]
    assert line.count(" / ") == 3
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "has_edge" in page
    assert compare.main([str(out), str(out)]) == 0


def test_a_plain_run_shows_the_ratios_only():
    ran = run_pytest("--benchmark", "-k", "test_operation and has_edge", "--benchmark-budget=0.1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "fastdag's time for one item" in ran.stdout
    assert "StdDev" not in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--benchmark", "tests/test_status.py"], "and nothing else"),
        (["benchmarks/test_scale.py"], "with the option --benchmark only"),
        (["--benchmark", "--benchmark-budget=0"], "a number of seconds above 0"),
        (["--benchmark", "--benchmark-budget=soon"], "a number of seconds above 0"),
        (["--benchmark", "--benchmark-report=page.txt"], "must be the name of an .html file"),
        (["--benchmark", "--benchmark-report=nowhere/page.html"], "the folder nowhere is not there"),
        (["--benchmark", "-p", "no:benchmark"], "pip install -e '.[bench]'"),
        (["--benchmark", "--benchmark-json=x.json", "-p", "no:benchmark"], "pip install -e '.[bench]'"),
    ],
)
def test_a_wrong_use_is_told(arguments: list[str], message: str):
    ran = run_pytest(*arguments)
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in ran.stderr


# the pieces of a benchmark


def test_pieces_grow_and_leave_nothing_out():
    pieces = list(chunks(range(5_000)))
    assert [item for piece in pieces for item in piece] == list(range(5_000))
    assert len(pieces[0]) == 1
    assert max(map(len, pieces)) == LONGEST_CHUNK
    assert list(chunks([])) == []


def test_a_budget_ends_with_the_piece_that_used_it_up():
    seen: list[int] = []
    assert feed([[1], [2, 3], [4]], seen.extend, float("inf")) == 4
    assert seen == [1, 2, 3, 4]
    seen.clear()
    assert feed([[1], [2, 3], [4]], seen.extend, -1.0) == 1
    assert seen == [1]


class FakeBenchmark:
    """Stands for the fixture of pytest-benchmark, without its clock."""

    enabled = True

    def __init__(self) -> None:
        self.extra_info: dict[str, object] = {}
        self.rounds = 0

    def pedantic(self, target: Callable[[], None], setup: Callable[[], None], rounds: int) -> None:
        self.rounds = rounds
        for _ in range(rounds):
            setup()
            target()


@pytest.mark.parametrize(
    ("budget", "rounds", "done"),
    [(None, 4, 100), (1e9, 4, 100), (-1.0, 1, 1)],
    ids=["ours", "all fits", "nothing fits"],
)
def test_a_peer_gets_the_share_that_fits_its_budget(budget: float | None, rounds: int, done: int):
    fake = FakeBenchmark()
    worked_on = measure(fake, range(100), list.extend, list, rounds=4, budget=budget, unit="edge")
    assert fake.rounds == rounds
    assert worked_on == list(range(done))  # one round's work: each begins with a new state
    assert fake.extra_info == {"done": done, "of": 100, "unit": "edge"}


def test_memory_is_measured_per_edge():
    sizes = {name: memory.bytes_per_edge(name, 100_000) for name in ("fastdag", "networkx")}
    assert 10 < sizes["fastdag"] < 100 < sizes["networkx"] < 1_000


def test_marks_are_printed_met_or_missed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["marks", "--quick", "--only", "mixed", "tail", "update_status"])
    status = marks.main()
    head, _, *shown = capsys.readouterr().out.splitlines()
    assert f"seed {workloads.SEED}" in head
    shown = [line for line in shown if not line.startswith("missed:")]
    assert len(shown) == 5
    verdicts = [re.search(r" (met|MISSED) ", line) for line in shown]
    assert all(verdicts)
    assert status == any(verdict and verdict[1] == "MISSED" for verdict in verdicts)


@pytest.mark.parametrize("implementation", EDGE_BY_EDGE)
def test_every_implementation_refuses_the_same_edges(implementation: str):
    edges = [("a", "b", "x"), ("b", "c", "x"), ("c", "a", "x"), ("a", "b", "y"), ("b", "a", "x"), ("a", "c", "x")]
    peer = EDGE_BY_EDGE[implementation]()
    assert peer.add_edges(edges) == 2
    assert peer.number_of_edges() == 3


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_every_implementation_loads_in_bulk_and_refuses_a_cycle(implementation: str):
    peer = IMPLEMENTATIONS[implementation]()
    peer.load([("a", "b", "x"), ("b", "c", "x")])
    assert peer.number_of_edges() == 2
    if not isinstance(peer, Igraph):
        assert peer.add_edges([("c", "a", "x")]) == 1  # and goes on refusing
    with pytest.raises(ValueError, match="cycle"):
        IMPLEMENTATIONS[implementation]().load([("a", "b", "x"), ("b", "a", "x")])


@pytest.mark.parametrize(("implementation", "operation"), [(i, o) for i in OPERATIONS for o in OPERATIONS[i]])
def test_every_operation_does_something(implementation: str, operation: str):
    """On a small graph each runs, and each that changes it has changed it."""
    peer = IMPLEMENTATIONS[implementation]()
    peer.load([("a", "b", "x"), ("b", "c", "x"), ("c", "d", "x")])
    arguments: dict[str, tuple[object, ...]] = {
        "add_vertex": ("new",),
        "add_edge": ("a", "d", "y"),
        "vertex_at": (0,),
        **dict.fromkeys(("remove_edge", "has_edge", "edge_label", "has_path", "find_cycle"), ("a", "b")),
        **dict.fromkeys(("number_of_edges", "edges", "topological_sort", "topological_generations"), ()),
        **dict.fromkeys(("longest_path", "transitive_reduction", "copy", "to_csr", "pickle"), ()),
    }
    OPERATIONS[implementation][operation](peer, [arguments.get(operation, ("b",))])
    assert peer.number_of_edges() == {"add_edge": 4, "remove_edge": 2, "remove_vertex": 1}.get(operation, 3)


# the table


def test_the_examples_of_the_units_hold():
    failed, attempted = doctest.testmod(units)
    assert not failed
    assert attempted


def bench(
    workload: str, implementation: str, data: list[float], done: int = 10, of: int = 10, **extra: object
) -> dict[str, Any]:
    return {
        "group": workload,
        "fullname": f"benchmarks/test_operations.py::test[{workload}-{implementation}]",
        "stats": {"data": data},
        "extra_info": {
            "kind": "operations",
            "implementation": implementation,
            "done": done,
            "of": of,
            "unit": "edge",
            **extra,
        },
    }


def test_ratios_are_of_the_times_of_one_item():
    results = ratios.read(
        [
            bench("fast", "fastdag", [1.0, 3.0, 2.0]),
            bench("fast", "rustworkx", [8.0, 4.0, 5.0]),
            bench("fast", "networkx", [20.0], done=5),
            bench("slow", "fastdag", [9.0]),
            bench("slow", "rustworkx", [3.0]),
            bench("alone", "fastdag", [1.0]),
            bench("no fastdag", "igraph", [1.0]),
        ]
    )
    fast, slow, alone = ratios.rows(results)
    assert fast.ratios["rustworkx"] == ratios.Ratio(0.25, 0.4, 1.0)
    assert fast.ratios["networkx"] == ratios.Ratio(0.025, 0.05, 0.5)
    assert slow.ratios["rustworkx"].slower
    assert alone.ratios == {}
    assert [(row.workload, peer) for row, peer, _ in ratios.slower([fast, slow])] == [("slow", "rustworkx")]


def test_the_table_shows_slow_rows_shares_and_memory_plainly():
    results = ratios.read(
        [
            bench("fast", "fastdag", [1.0]),
            bench("fast", "networkx", [5.0], done=5),
            bench("slow", "fastdag", [9.0]),
            bench("slow", "rustworkx", [3.0]),
        ]
    )
    memory = {"fastdag": 34.0, "rustworkx": 42.0, "igraph": 20.0}
    lines = list(ratios.table(results, Extras(memory=memory, unlocked_note="no python3.14t")))
    [fast] = [line for line in lines if line.startswith("fast ")]
    assert "first 50%" in fast
    assert "SLOWER" not in fast
    [slow] = [line for line in lines if line.startswith("slow ")]
    assert "SLOWER than rustworkx, 3.00×" in slow
    assert "no python3.14t" in lines
    assert next(line for line in lines if line.startswith("igraph ")).endswith("1.70×, MORE")
    assert "fastdag takes less time in 1 of 2 comparisons, more in 1." in lines


def test_rounds_of_different_length_are_divided_each_by_its_own():
    [result] = ratios.read([bench("w", "rustworkx", [2.0, 3.0], done_by_round=[2, 6])])
    assert list(result.rounds) == [1.0, 0.5]


# threads


def test_threads_do_every_operation_and_pass_on_an_exception():
    assert threads.run([lambda: 1, lambda: 2]) == 3

    def broken() -> int:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        threads.run([lambda: 1, broken])


@pytest.mark.parametrize("count", threads.COUNTS)
def test_the_operations_are_as_many_with_any_number_of_threads(count: int):
    for parts in (threads.mixed(count), threads.mutate(count)):
        assert len(parts) == count
        assert sum(map(len, parts)) == threads.OPERATIONS


def test_what_cannot_be_measured_without_the_interpreter_lock_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(threads.ThreadsError, match="no python-that-is-not-there on the PATH"):
        threads.without_interpreter_lock(["python-that-is-not-there"])
    fake = tmp_path / "pythont"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    fake.write_text("#!/bin/sh\necho no module named fastdag >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(threads.ThreadsError, match=r"no module named fastdag.*build fastdag for it"):
        threads.without_interpreter_lock(["pythont"])
    fake.write_text('#!/bin/sh\necho \'{"python": "3.14.0", "interpreter_lock": true, "scaling": []}\'\n')
    with pytest.raises(threads.ThreadsError, match="runs with it"):
        threads.without_interpreter_lock(["pythont"])
    row = '{"workload": "mixed", "threads": 2, "operations": 5.0, "waiting": 0.1}'
    fake.write_text(f'#!/bin/sh\necho \'{{"python": "3.14.0", "interpreter_lock": false, "scaling": [{row}]}}\'\n')
    assert threads.without_interpreter_lock(["pythont"]) == ("3.14.0", [threads.Scaling("mixed", 2, 5.0, 0.1)])


# telling a change from noise


def results_file(path: Path, rounds: dict[str, list[float]], **machine: object) -> Path:
    benches = [
        bench(name.partition("-")[0], name.partition("-")[2] or "fastdag", data) | {"fullname": name}
        for name, data in rounds.items()
    ]
    path.write_text(json.dumps({"machine_info": {"node": "one", **machine}, "benchmarks": benches}))
    return path


def noisy(median: float, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [median * rng.uniform(0.9, 1.1) for _ in range(15)]


def test_noise_is_no_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    old = results_file(tmp_path / "old.json", {"steady": noisy(1.0, 1)})
    new = results_file(tmp_path / "new.json", {"steady": noisy(1.0, 2)})
    assert compare.main([str(old), str(new), "--over", "0"]) == 0
    assert "0 slower, 0 faster, 1 cannot be told from noise" in capsys.readouterr().out


def test_a_real_change_is_told_and_a_regression_ends_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    old = results_file(tmp_path / "old.json", {"worse": noisy(1.0, 1), "better": noisy(1.0, 2)})
    new = results_file(tmp_path / "new.json", {"worse": noisy(1.5, 3), "better": noisy(0.5, 4)})
    assert compare.main([str(old), str(new)]) == 1
    said = capsys.readouterr().out
    assert "REGRESSION" in said.splitlines()[0]
    assert said.splitlines()[0].endswith("worse")
    assert "1 slower, 1 faster" in said
    assert compare.main([str(old), str(new), "--over", "100%"]) == 0  # slower, but not by that much
    assert "REGRESSION" not in capsys.readouterr().out
    assert compare.main([str(new), str(old)]) == 1  # the other one, then


def test_a_peer_that_became_slower_is_no_regression(tmp_path: Path):
    old = results_file(tmp_path / "old.json", {"w-rustworkx": noisy(1.0, 1)})
    new = results_file(tmp_path / "new.json", {"w-rustworkx": noisy(2.0, 2)})
    assert compare.main([str(old), str(new)]) == 0


def test_other_machines_missing_benchmarks_and_too_few_rounds_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    old = results_file(tmp_path / "old.json", {"both": [1.0], "gone": noisy(1.0, 1)})
    new = results_file(tmp_path / "new.json", {"both": [9.0], "come": noisy(1.0, 2)}, node="two")
    assert compare.main([str(old), str(new)]) == 0
    said = capsys.readouterr().out
    assert "different machines: node is 'one' in" in said
    assert f"only in {old}: gone" in said
    assert f"only in {new}: come" in said
    assert "1 not compared: fewer than 3 rounds" in said


GOOD = {"machine_info": {}, "benchmarks": [bench("w", "fastdag", [1.0])]}


def changed(**stats: object) -> str:
    document = copy.deepcopy(GOOD)
    document["benchmarks"][0]["stats"] = stats  # type: ignore[index]
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("", "not JSON"),
        (json.dumps(GOOD)[:-20], "not JSON, or cut off"),
        ("[]", "not what"),
        ("{}", "not what"),
        ('{"machine_info": {}, "benchmarks": []}', "holds no benchmark"),
        (changed(median=1.0), "not what"),
        (changed(data=[]), "holds no benchmark"),
        (changed(data=[0.0, 1.0]), "holds no benchmark"),
        (changed(data=["fast"]), "not what"),
    ],
)
def test_a_bad_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str):
    good = results_file(tmp_path / "good.json", {"w": noisy(1.0, 1)})
    bad = tmp_path / "bad.json"
    if text is not None:
        bad.write_text(text)
    for order in ([str(good), str(bad)], [str(bad), str(good)]):
        assert compare.main(order) == 2
        assert f"error: {bad}: {message}" in capsys.readouterr().err


def test_files_without_a_benchmark_in_common_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    old = results_file(tmp_path / "old.json", {"a": noisy(1.0, 1)})
    new = results_file(tmp_path / "new.json", {"b": noisy(1.0, 1)})
    assert compare.main([str(old), str(new)]) == 2
    assert "no benchmark in common" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["-1", "much", "nan", "inf"])
def test_a_share_that_is_none_is_refused(text: str):
    with pytest.raises(SystemExit):
        compare.main(["old.json", "new.json", f"--over={text}"])


# the page


def scaled(implementation: str, size: int, taken: float, done: int | None = None) -> dict[str, Any]:
    extra = {"kind": "scale", "curve": "random", "size": size}
    return bench(f"random, {size} edges", implementation, [taken], done=done or size, of=size, **extra)


def threaded(implementation: str, count: int) -> dict[str, Any]:
    extra = {"kind": "threads", "curve": "mixed", "threads": count}
    if implementation == "fastdag":
        extra["waiting"] = 0.02
    return bench(f"mixed, {count} threads", implementation, [1.0], **extra)


def full_page(*, memory: bool = True) -> str:
    results = ratios.read(
        [bench("fast", "fastdag", [1.0]), bench("fast", "rustworkx", [5.0])]
        + [bench("slow <b>", "fastdag", [9.0]), bench("slow <b>", "rustworkx", [3.0])]
        + [scaled("fastdag", 1_000, 1e-4), scaled("fastdag", 10_000, 1e-3)]
        + [scaled("networkx", 1_000, 1e-2), scaled("networkx", 10_000, 1e-1, done=4_000)]
        + [threaded(name, count) for name in ("fastdag", "rustworkx") for count in (1, 8)]
    )
    extras = Extras(
        memory={"fastdag": 34.0, "igraph": 69.0} if memory else {},
        unlocked=[threads.Scaling("mixed", 1, 5.0, 0.0), threads.Scaling("mixed", 8, 9.0, 0.1)],
        unlocked_note="CPython 3.14.0 without the interpreter lock",
    )
    return report.page(results, extras, "fastdag 0.1.0, two cores & more")


def test_the_page_needs_nothing_else_and_its_plots_are_well_formed():
    page = full_page()
    assert not re.search(r"https?://|<script|<link|src=|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert "two cores &amp; more" in page
    plotted = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(plotted) == 5  # all ratios, a size, threads, waiting, memory
    for svg in plotted:
        for element in ET.fromstring(svg).iter():
            for name in ("cx", "cy", "x", "y", "width"):
                assert math.isfinite(float(element.get(name, "0")))
    assert len(re.findall('class="hollow"', page)) == 1
    assert '<g class="no-lock">' in page
    ET.fromstring(re.sub(r"<!DOCTYPE html>|<meta [^>]*>|<br>", "", page))  # what is left has to be closed


def test_the_page_shows_where_fastdag_takes_longer():
    page = full_page()
    assert page.count('<tr class="behind"><td>slow &lt;b&gt;</td>') == 1
    assert page.count('<td class="bad">3.00 / 3.00</td>') == 1
    assert '<td class="good">0.200 / 0.200</td>' in page
    listed = page[page.index("Where fastdag takes longer") :]
    assert "<td>slow &lt;b&gt;</td><td>rustworkx</td>" in listed


def test_a_page_of_little_has_no_empty_parts():
    page = report.page(ratios.read([bench("alone", "fastdag", [1.0])]), Extras(), "fastdag")
    assert "alone" in page
    assert "<svg" not in page
    assert "Memory" not in full_page(memory=False)


@pytest.mark.parametrize("most", [0.0, 0.003, 0.2, 1.0, 3.0, 4.9, 600.0, 999.0, 123_456.0])
def test_ticks_are_few_and_reach_the_greatest_value(most: float):
    ticks = plots.steps(most)
    assert ticks[0] == 0
    assert ticks[-1] >= most * (1 - 1e-9)
    assert 2 <= len(ticks) <= 7


def test_labels_do_not_overlap_and_keep_their_order():
    placed = plots.spread([10.0, 100.0, 99.0, 100.0], 0.0, 100.0)
    in_order = sorted(placed)
    assert plots.spread([0.0, 1.0], 0.0, 100.0) == [0.0, plots.LABEL]
    assert all(b - a >= plots.LABEL for a, b in itertools.pairwise(in_order))
    assert in_order[0] >= 0
    assert in_order[-1] <= 100
    assert [placed.index(place) for place in in_order] == [0, 2, 1, 3]

"""The stress and what is made of its profiles. No time is asserted here."""

import json
from array import array
from pathlib import Path
from typing import Any

import pytest

from benchmarks import workloads
from fastdag import Graph, Manager
from profiles import graphs, managed, stress
from profiles.coarse import Coarse
from profiles.laps import Lap, Latencies, StressError, run_threads


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "BULK_VERTICES", 2_000)
    monkeypatch.setattr(graphs, "BULK_EDGES", 8_000)
    monkeypatch.setattr(graphs, "BATCH", 1_000)
    monkeypatch.setattr(graphs, "BULK_UNITS", 200)
    monkeypatch.setattr(graphs, "STEPS", 100)
    edges = [(f"u{i}", f"u{(i * 7 + k) % 50}") for i in range(50) for k in range(1, 4)]
    little = workloads.Workload("little", [f"u{i}" for i in range(50)], list(dict.fromkeys(edges)))
    for name in stress.REAL:
        monkeypatch.setitem(stress.KINDS, name, stress.Kind(stress._managed(lambda: little), 3, 0))


# the stress


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("name", stress.KINDS)
@pytest.mark.usefixtures("small")
def test_a_workload_runs_and_is_checked(name: str, coarse: bool) -> None:
    lap = stress.stress(name, threads=4, seconds=0, seed=3, coarse=coarse)
    assert lap.laps == 1
    assert lap.seconds > 0
    assert lap.operations == sum(latencies.count for latencies in lap.latencies.values()) > 0
    assert all(latencies.longest >= max(latencies.sample) > 0 for latencies in lap.latencies.values())
    assert lap.edges > 0 or name == "mutate"
    assert {"order_shared", "vertex"} <= set(lap.locks)
    if coarse:
        assert all(stats["contended"] == 0 for stats in lap.locks.values())


@pytest.mark.parametrize("name", ["mixed", "bulk"])
@pytest.mark.usefixtures("small")
def test_a_graph_that_lost_its_edges_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loses(Coarse):
        def __init__(self, inner: Any) -> None:
            super().__init__(inner)
            if isinstance(inner, Graph):
                self.add_edge = lambda *_: True
                self.add_edges = lambda sources, _targets: len(sources)

    monkeypatch.setattr(graphs, "Coarse", Loses)
    with pytest.raises(StressError, match="has other ones"):
        stress.stress(name, threads=4, seconds=0, coarse=True)


def test_an_order_that_is_none_is_found_out() -> None:
    class Reversed(Graph[str]):
        def topological_sort(self) -> list[str]:
            return super().topological_sort()[::-1]

    class Short(Graph[str]):
        def topological_sort(self) -> list[str]:
            return super().topological_sort()[1:]

    for wrong, message in ((Reversed(), "'a' -> 'b' runs against"), (Short(), "1 of 2 vertices")):
        wrong.add_edge("a", "b")
        with pytest.raises(StressError, match=message):
            graphs._check_order(wrong)


@pytest.mark.usefixtures("small")
def test_statuses_other_than_written_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Swaps(Coarse):
        def __init__(self, inner: Any) -> None:
            super().__init__(inner)
            if isinstance(inner, Manager):
                self.update_statuses = lambda units, _status: inner.update_statuses(units, "started")

    monkeypatch.setattr(graphs, "Coarse", Swaps)
    with pytest.raises(StressError, match="should be"):
        stress.stress("bulk", threads=4, seconds=0, coarse=True)


@pytest.mark.usefixtures("small")
def test_laps_follow_each_other_until_the_time_is_over() -> None:
    lap = stress.stress("mutate", threads=2, seconds=0.2)
    assert lap.laps > 1
    assert lap.operations == lap.laps * 2 * graphs.STEPS


def test_a_managed_lap_refuses_cycles() -> None:
    ring = workloads.Workload("ring", ["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "a")])
    lap = managed.lap(ring, threads=2, seed=1, coarse=False)
    assert lap.edges == 2
    assert lap.rows["edges refused"] == "1"
    assert "shortest cycle refused in ring" in lap.notes[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workload", "nothing"], "invalid choice: 'nothing'"),
        (["--workload"], "expected at least one argument"),
        (["--threads", "0"], "must be a whole number of at least 1, not '0'"),
        (["--threads", "many"], "must be a whole number of at least 1, not 'many'"),
        (["--seconds", "-1"], "must be a number of seconds, 0 for a single lap, not '-1'"),
        (["--seconds", "nan"], "must be a number of seconds, 0 for a single lap, not 'nan'"),
        (["--seconds", "inf"], "must be a number of seconds, 0 for a single lap, not 'inf'"),
        (["--seconds", "soon"], "must be a number of seconds, 0 for a single lap, not 'soon'"),
        (["--seed", "x"], "invalid int value: 'x'"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        stress.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_too_few_threads_for_bulk(capsys: pytest.CaptureFixture[str]) -> None:
    assert stress.main(["--workload", "bulk", "--threads", "3"]) == 1
    assert "bulk needs at least 4 threads" in capsys.readouterr().err


@pytest.mark.usefixtures("small")
def test_the_table_and_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert stress.main(["--workload", "packages", "bulk", "--threads", "4", "--seconds", "0", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    for row in ("operations per second", "read: longest", "vertex: waits", "edges refused"):
        assert row in shown
    assert "Every unit was completed, in dependency order, and every event came exactly once." in shown
    figures = json.loads(file.read_text())
    assert set(figures) == {"packages", "bulk"}
    assert set(figures["bulk"]["latencies"]) == {"read", "load", "update"}


@pytest.mark.usefixtures("small")
def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stress.main(["--threads", "2", "--json", str(tmp_path)]) == 1
    assert "error: [Errno 21]" in capsys.readouterr().err


def test_threads_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    start = run_threads.__globals__["threading"].Thread.start

    def two_only(thread: Any) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr("threading.Thread.start", two_only)
    with pytest.raises(StressError, match=r"only 2 of 5 threads could be started .* fewer with --threads"):
        run_threads("", lambda _: None, 5, lambda: 0.0)
    for thread in started:
        thread.join(10)  # type: ignore[attr-defined]
        assert not thread.is_alive()  # type: ignore[attr-defined]


def test_an_error_in_a_thread_comes_out() -> None:
    def work(number: int) -> None:
        if number == 1:
            raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        run_threads("", work, 3, lambda: 0.0)


def test_latencies_and_laps_add_up() -> None:
    latencies = Latencies()
    latencies.add([array("q", range(1, 1001)), array("q"), array("q", [5_000] + [1] * 9)])
    assert (latencies.count, latencies.longest) == (1010, 5_000)
    assert latencies.percentiles(50, 100) == [501, 5_000]
    assert Latencies().percentiles(50) == [0]
    lap, other = Lap(laps=1, seconds=1.0, edges=3), Lap(laps=1, seconds=2.0, edges=4)
    lap.waited({"vertex": {"contended": 1, "wait_ns": 5, "longest_ns": 5}})
    other.waited({"vertex": {"contended": 2, "wait_ns": 7, "longest_ns": 4}})
    lap.took("read", [array("q", [1])])
    other.took("read", [array("q", [3])])
    lap.add(other)
    assert lap.locks == {"vertex": {"contended": 3, "wait_ns": 12, "longest_ns": 5}}
    assert (lap.laps, lap.operations, lap.edges, lap.latencies["read"].longest) == (2, 2, 7, 3)
    assert lap.rate == 2 / 3

"""The stress and what is made of its profiles. No time is asserted here."""

import json
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest

from benchmarks import workloads
from fastdag import Graph, Manager
from profiles import graphs, managed, record, report, samples, stress
from profiles.coarse import Coarse
from profiles.laps import Lap, Latencies, StressError, run_threads
from profiles.recording import Allocations, Recording, Run
from profiles.samples import Frame, Samples, Work


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


# what a sample is sorted into

WORK = Frame("lap.<locals>.work", "/here/profiles/graphs.py", 1)
ADD = Frame("add_edge", "src/fastdag/_core.pyx", 650)


def recorded() -> list[tuple[Work, samples.Stack]]:
    rows = json.loads((Path(__file__).parent / "golden" / "stacks.json").read_text())
    return [(Work[row["work"]], tuple(Frame(*frame) for frame in row["stack"])) for row in rows]


def test_recorded_stacks() -> None:
    rows = recorded()
    assert {work for work, _ in rows} == set(Work) - {Work.OTHER, Work.UNSORTED}
    for work, stack in rows:
        assert samples.sort(stack) is work, stack


LIBC = Frame("0x7f00", "/lib/libc.so.6")


@pytest.mark.parametrize(
    ("frames", "work"),
    [
        ([ADD, Frame("take_gil", "ceval_gil.h"), Frame("pthread_cond_timedwait", "libc.so.6")], Work.INTERPRETER),
        ([ADD, Frame("PyEval_RestoreThread", "libpython"), LIBC], Work.INTERPRETER),
        ([ADD, Frame("fastdag_core_mutex::lock", "_core.cpp"), Frame("syscall", "libc.so.6"), LIBC], Work.LOCK),
        ([ADD, Frame("_locks_mutex_take", "_locks.pxd", 75)], Work.TAKING),
        ([ADD, Frame("malloc", "libc.so.6"), LIBC, LIBC, LIBC], Work.ALLOCATION),
        ([ADD, Frame("_storage_pool_take_locked", "_storage.pxd", 140)], Work.ALLOCATION),
        ([ADD, Frame("_search_search_next", "_search.pxd", 120)], Work.ORDER),
        ([ADD, Frame("_adjacency_list_find_locked", "_adjacency.pxd", 15)], Work.ADJACENCY),
        ([ADD, Frame("_adjacency_list_find_locked", "_adjacency.pxd", 15), LIBC], Work.ADJACENCY),
        ([ADD, Frame("_types_segment_of", "_types.pxd", 52)], Work.PYTHON),
        ([ADD, Frame("PyObject_Hash", "libpython3.13.so")], Work.NAMES),
        ([Frame("PyObject_Hash", "libpython3.13.so")], Work.PYTHON),
        ([Frame("SimpleQueue.get", "q.py"), Frame("PyThread_acquire_lock_timed", "libpython"), LIBC], Work.OTHER),
        ([ADD], Work.PYTHON),
    ],
)
def test_made_up_stacks(frames: list[Frame], work: Work) -> None:
    assert samples.sort((WORK, *frames)) is work


def test_stacks_without_a_name_are_not_sorted() -> None:
    assert samples.sort((LIBC, LIBC)) is Work.UNSORTED
    assert samples.sort((Frame("clone", "libc.so.6"),)) is Work.OTHER


def test_speedscope_counts_threads_at_work_only() -> None:
    frames = [Frame("main", "stress.py", 1), WORK, ADD]
    document = {
        "shared": {"frames": [{"name": f.name, "file": f.file, "line": f.line, "col": None} for f in frames]},
        "profiles": [{"samples": [[0], [0, 1, 2]]}, {"samples": [[1, 2], [0, 1, 2], []]}],
    }
    found = samples.from_speedscope(document)
    assert found.count == {(frames[0], WORK, ADD): 2, (WORK, ADD): 1}
    assert (found.total, found.left_out) == (3, 2)
    assert found.top(5) == [("add_edge (_core.pyx:650)", Work.PYTHON, 3)]


def test_perf_counts_threads_beside_the_first() -> None:
    text = """
 100/100
\t    7f01 _PyEval_EvalFrameDefault+0x10 (/usr/lib/libpython3.13t.so)

 100/101
\t    7f02 __pyx_f_7fastdag_7_search_search_next+0x2a (/x/fastdag/_core.cpython-313t.so)
\t    7f03 __pyx_pw_7fastdag_5_core_5Graph_9add_edge+0x1 (/x/fastdag/_core.cpython-313t.so)
\t    7f04 [unknown] ([unknown])

 100/102
\t    7f05 malloc (/lib/libc.so.6)
\t    7f03 __pyx_pw_7fastdag_5_core_5Graph_9add_edge+0x1 (/x/fastdag/_core.cpython-313t.so)"""
    found = samples.from_perf(text.splitlines())
    assert (found.total, found.left_out) == (2, 1)
    assert found.by_work() == {Work.ORDER: 1, Work.ALLOCATION: 1}
    assert found.allocating_in_core() == 1


# the report


def small_recording() -> Recording:
    stacks = [stack for _, stack in recorded()]
    taken = Samples(samples.Counter(dict.fromkeys(stacks, 5)), 7)
    recording = Recording({"machine": "a <machine>"})
    for name in ("mixed", "bulk"):
        for coarse in (False, True):
            lap = stress.stress(name, threads=4, seconds=0, coarse=coarse)
            recording.runs.append(Run(name, coarse, stress.as_json(lap), taken))
    return recording


@pytest.mark.usefixtures("small")
def test_a_report_on_a_small_run() -> None:
    recording = small_recording()
    recording.gap("py-spy: it <cannot> attach")
    recording.gap("py-spy: it <cannot> attach")
    recording.runs[0].links["flamegraph"] = "mixed-fine.svg"
    page = report.render(recording)
    assert page.count("py-spy: it &lt;cannot&gt; attach") == 1
    assert "a &lt;machine&gt;" in page
    assert "<a href='mixed-fine.svg'>flamegraph</a>" in page
    for text in ("lock order_shared", "C allocations an operation", "fine locks", "one coarse lock"):
        assert text in page
    for work in Work:
        assert work.value in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.usefixtures("small")
def test_marks() -> None:
    recording = small_recording()
    mixed, fine, coarse = recording.runs[0], recording.runs[2], recording.runs[3]
    in_core = (WORK, ADD)
    waits = next(stack for work, stack in recorded() if work is Work.LOCK)
    allocates = (WORK, ADD, Frame("malloc", "libc.so.6"))
    of_python = (WORK, Frame("malloc", "libc.so.6"))
    sleeps = next(stack for work, stack in recorded() if work is Work.INTERPRETER)

    def verdicts() -> list[str]:
        return [mark.verdict for mark in report.marks(recording)]

    mixed.samples = Samples(samples.Counter({in_core: 86, waits: 4, allocates: 9, of_python: 1, sleeps: 900}), 0)
    mixed.allocations = Allocations(edges=40, operations=100, core=10, for_core=99, around=99)
    for run, rate, longest in ((fine, 150.0, 9), (coarse, 100.0, 100)):
        run.figures["rate"] = rate
        run.figures["latencies"]["read"]["longest"] = longest
    assert verdicts() == ["met"] * 5
    mixed.samples = Samples(samples.Counter({in_core: 85, waits: 5, allocates: 10, sleeps: 900}), 0)
    mixed.allocations = Allocations(edges=40, operations=100, core=11, for_core=0, around=0)
    fine.figures["rate"] = 149.0
    fine.figures["latencies"]["read"]["longest"] = 10
    assert verdicts() == ["MISSED"] * 5
    mixed.samples = Samples(samples.Counter({in_core: 99, sleeps: 900}), 0)
    mixed.allocations = None
    recording.runs.remove(fine)
    assert verdicts() == ["not measured"] * 5
    assert "only 99 samples" in report.marks(recording)[0].figure


def test_allocations_are_sorted_by_who_asked() -> None:
    python = ("_PyEval_EvalFrameDefault", "Python/ceval.c", 1)
    core = ("__pyx_f_7fastdag_6_names_shard_reserve", "src/fastdag/_names.pxd", 125)
    stacks = [
        (2, [core, python]),
        (3, [("PyMem_RawCalloc", "Objects/obmalloc.c", 1), core, python]),
        (4, [("list_resize", "Objects/listobject.c", 81), core, python]),
        (5, [("list_resize", "Objects/listobject.c", 81), python, core]),
        (6, []),
    ]
    assert record.count_allocations(stacks, 1, 2) == Allocations(1, 2, core=5, for_core=4, around=11)


def test_a_missing_tool_is_named_with_its_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(record, "_figures", lambda *_: {})
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "memray", None)
    monkeypatch.setattr(record.subprocess, "run", lambda *_, **__: pytest.fail("nothing is there to be run"))
    monkeypatch.setattr(record, "_about", dict)
    recording = record.record(tmp_path, 0)
    gaps = "\n".join(recording.gaps)
    for tool, command in record.INSTALL.items():
        assert f"{tool} is not installed: {command}" in gaps
    assert "py-spy: py-spy is not installed" in gaps


def test_a_tool_that_fails_is_quoted() -> None:
    with pytest.raises(record.RecordError, match=r"ended with status 3: what went wrong"):
        record._run([sys.executable, "-c", "import sys; print('what went wrong', file=sys.stderr); sys.exit(3)"])


def test_bad_seconds_for_a_recording(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        record.main(["--seconds", "-3"])
    assert "must be a number of seconds" in capsys.readouterr().err

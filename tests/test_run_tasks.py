"""`fastdag.run`: order, outcomes, executors of every kind and their ends, interrupts."""

from __future__ import annotations

import os
import random
import signal
import threading
import traceback
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import pytest
from run_support import check_order, graph_of, recorded

from benchmarks import workloads
from fastdag import Graph, TaskNotRunError, VertexNotFoundError, run


class Immediate(Executor):
    """Runs a task where it is submitted."""

    def __init__(self):
        self.threads = set()

    def submit(self, function, /, *args, **kwargs):
        self.threads.add(threading.get_ident())
        future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)
        return future


class Watched(ThreadPoolExecutor):
    """Counts the futures that are not done, tells when cancelling leaves no more than run, and calls what it is given
    before a vertex.

    Signals are raised there, in the thread of the caller: one that comes from elsewhere while that is falling asleep is
    heard when it wakes.
    """

    def __init__(self, workers, before=None, call=None):
        super().__init__(workers)
        self.before, self.call = before, call
        self.lock = threading.Lock()
        self.out = self.most = 0
        self.emptied = threading.Event()

    def submit(self, function, /, *args, **kwargs):
        if self.call is not None and args == (self.before,):
            self.call()
        with self.lock:
            self.out += 1
            self.most = max(self.most, self.out)
        future = super().submit(function, *args, **kwargs)
        future.add_done_callback(self.gone)
        return future

    def gone(self, future):
        with self.lock:
            self.out -= 1
            if future.cancelled() and self.out <= self._max_workers:
                self.emptied.set()


class TaskError(Exception):
    pass


def fail(*names):
    def task(vertex):
        if vertex in names:
            raise TaskError(vertex)
        return f"{vertex}!"

    return task


# -- order and outcomes


@pytest.mark.parametrize("executor", [None, Immediate()], ids=["threads", "immediate"])
def test_results_of_a_diamond(executor):
    graph = graph_of([("top", "left"), ("top", "right"), ("left", "base"), ("right", "base")])
    order = []
    result = run(lambda vertex: order.append(vertex) or vertex.upper(), graph, executor)
    assert (order[0], order[-1], len(order)) == ("base", "top", 4)
    assert result["top"] == "TOP"
    assert result.results() == {vertex: vertex.upper() for vertex in graph}
    assert list(result.statuses) == list(graph)
    assert result.ok
    assert result.raise_for_failures() is result
    assert repr(result) == "<RunResult: of 4 tasks 4 completed>"


def test_a_failure_skips_what_depends_on_it_and_only_that():
    graph = graph_of([("c", "b"), ("b", "a"), ("c", "x"), ("y", "x")], ["alone"])
    result = run(fail("b"), graph)
    assert result.statuses == {
        "alone": "completed",
        "c": "skipped",
        "b": "failed",
        "a": "completed",
        "x": "completed",
        "y": "completed",
    }
    assert result.causes == {"c": "b"}
    assert not result.ok
    assert set(result.results()) == {"alone", "a", "x", "y"}
    assert repr(result) == "<RunResult: of 6 tasks 4 completed, 1 failed, 1 skipped>"


def test_the_exception_is_the_one_that_was_raised_with_its_traceback():
    result = run(fail("a"), graph_of([("b", "a")]))
    error = result.exceptions["a"]
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert (type(error), error.args) == (TaskError, ("a",))
    assert frames[-1] == "task"
    assert "exception" not in frames
    assert "result" not in frames
    with pytest.raises(TaskError) as caught:
        result["a"]
    assert caught.value is error


def test_what_has_no_result_says_why():
    result = run(fail("a"), graph_of([("b", "a")]))
    with pytest.raises(TaskNotRunError, match=r"^the task of 'b' was skipped, as that of 'a' failed;") as caught:
        result["b"]
    assert (caught.value.vertex, caught.value.status, caught.value.cause) == ("b", "skipped", "a")
    assert caught.value.__cause__ is result.exceptions["a"]
    with pytest.raises(VertexNotFoundError, match="'z'"):
        result["z"]


def test_failures_are_raised_as_a_group():
    result = run(fail("a", "x"), graph_of([("b", "a")], ["x", "y"]))
    with pytest.raises(ExceptionGroup, match=r"^of 4 tasks 1 completed, 2 failed, 1 skipped; failed: ") as caught:
        result.raise_for_failures()
    assert set(caught.value.exceptions) == set(result.exceptions.values())


def test_a_task_that_exits_has_failed():
    def leave(vertex):
        if vertex == "a":
            raise SystemExit(3)
        if vertex == "x":
            raise KeyboardInterrupt

    result = run(leave, graph_of([("b", "a")], ["x"]))
    assert result.statuses == {"x": "failed", "b": "skipped", "a": "failed"}
    assert isinstance(result.exceptions["a"], SystemExit)
    with pytest.raises(BaseExceptionGroup) as caught:
        result.raise_for_failures()
    assert not isinstance(caught.value, ExceptionGroup)


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_and_failures(seed):
    rng = random.Random(seed)
    count = 300
    edges = {tuple(sorted(rng.sample(range(count), 2), reverse=True)) for _ in range(rng.choice([100, 500, 2000]))}
    graph = graph_of(edges, range(count))
    failing = set(rng.sample(range(count), rng.choice([0, 3, 30])))
    lock, ended, early = threading.Lock(), set(), []

    def task(vertex):
        with lock:
            if not ended.issuperset(needed[vertex]):
                early.append(vertex)
        if vertex in failing:
            raise TaskError(vertex)
        with lock:
            ended.add(vertex)

    needed = {vertex: set(graph.successors(vertex)) for vertex in graph}
    result = run(task, graph, buffersize=rng.choice([1, 5, 1000]))
    assert early == []
    for vertex in range(count):  # what a vertex depends on has a smaller number
        if any(result.statuses[other] != "completed" for other in needed[vertex]):
            assert result.statuses[vertex] == "skipped"
            assert result.statuses[result.causes[vertex]] == "failed"
            assert graph.has_path(vertex, result.causes[vertex])
        else:
            assert result.statuses[vertex] == ("failed" if vertex in failing else "completed")
    assert set(result.exceptions) == {vertex for vertex in failing if vertex not in result.causes}


def test_a_long_chain_that_fails_at_its_start():
    chain = [(i + 1, i) for i in range(50_000)]
    result = run(lambda vertex: 1 / vertex, graph_of(chain))
    assert len(result.causes) == 50_000
    assert set(result.causes.values()) == {0}


def test_the_graph_may_change_meanwhile():
    graph = graph_of([("b", "a")])

    def task(vertex):
        if vertex == "a":
            graph.remove_vertex("b")
            graph.add_edge("c", "a")
        return vertex

    result = run(task, graph)
    assert result.results() == {"a": "a", "b": "b"}
    assert result.statuses == {"b": "completed", "a": "completed"}
    assert set(graph) == {"a", "c"}


def test_no_vertices():
    result = run(fail(), Graph())
    assert result.ok
    assert result.results() == result.statuses == {}
    assert repr(result) == "<RunResult: no tasks>"


def test_vertices_are_any_hashables():
    vertices = [None, ("a", 1), frozenset({2}), 3.5, len]
    result = run(lambda vertex: vertex, graph_of([], vertices))
    assert result.results() == {vertex: vertex for vertex in vertices}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, Graph()), TypeError, "task must be callable, not NoneType"),
        ((len, {"a": ["b"]}), TypeError, "graph must be a fastdag.Graph, not dict"),
        ((len, Graph(), 4), TypeError, "executor must be a concurrent.futures.Executor or a .*Client, not int"),
    ],
)
def test_arguments_that_make_no_sense(arguments, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        run(*arguments)
    with pytest.raises(ValueError, match=r"^buffersize must be at least 1, not 0$"):
        run(len, Graph(), buffersize=0)


# -- executors


def test_an_executor_has_no_more_than_buffersize_at_a_time_and_stays_open():
    with Watched(2) as executor:
        assert run(lambda vertex: vertex, graph_of([], range(500)), executor, buffersize=7).ok
        assert executor.most == 7
        assert executor.submit(len, "open").result() == 4


def test_tasks_are_submitted_by_the_thread_that_called():
    executor = Immediate()
    before = threading.active_count()
    counts = []
    assert run(lambda vertex: counts.append(threading.active_count()), graph_of([("b", "a")]), executor).ok
    assert executor.threads == {threading.get_ident()}
    assert set(counts) == {before}


def test_a_task_may_use_the_same_executor():
    with ThreadPoolExecutor(2) as executor:
        result = run(lambda vertex: executor.submit(len, vertex).result(), graph_of([("bb", "a")]), executor)
    assert result.results() == {"a": 1, "bb": 2}


def test_an_executor_that_is_shut_down_in_the_middle():
    both = threading.Event()

    class Last(ThreadPoolExecutor):
        def submit(self, function, /, *args):
            future = super().submit(function, *args)
            if args == ("x",):
                both.set()
            return future

    executor = Last(1)

    def task(vertex):
        if vertex == "a":
            assert both.wait(30)
            executor.shutdown(wait=False)
        if vertex == "x":
            raise TaskError

    result = run(task, graph_of([("c", "b"), ("b", "a"), ("z", "x")], ["a", "x"]), executor)
    assert result.statuses == {
        "a": "completed",
        "x": "failed",
        "c": "canceled",
        "b": "canceled",
        "z": "skipped",
    }
    assert "shutdown" in str(result.executor_error)
    with pytest.raises(ExceptionGroup) as caught:
        result.raise_for_failures()
    assert caught.value.exceptions == (result.exceptions["x"], result.executor_error)
    with pytest.raises(TaskNotRunError, match=r"'c' did not run: it was canceled") as not_run:
        result["c"]
    assert not_run.value.__cause__ is result.executor_error


def test_an_executor_that_cancels_what_waits_in_its_queue():
    executor = ThreadPoolExecutor(1)
    shut = threading.Event()

    def task(vertex):
        shut.wait(30)  # until everything is in the queue

    class Last(Executor):
        def submit(self, function, /, *args):
            future = executor.submit(function, *args)
            if args == ("y",):
                executor.shutdown(wait=False, cancel_futures=True)
                shut.set()
            return future

    result = run(task, graph_of([("z", "x")], ["a", "x", "y"]), Last())
    assert result.statuses == {"a": "completed", "x": "canceled", "y": "canceled", "z": "canceled"}
    assert result.executor_error is None
    with pytest.raises(ExceptionGroup, match=r"of 4 tasks 1 completed, 3 canceled") as caught:
        result.raise_for_failures()
    assert isinstance(caught.value.exceptions[0], CancelledError)


def test_an_error_of_submit_that_says_nothing_of_an_end_is_raised_once_the_rest_is_over():
    began = []

    class Odd(ThreadPoolExecutor):
        def submit(self, function, /, *args):
            if args == ("b",):
                raise TypeError("odd")
            return super().submit(function, *args)

    with Odd(1) as executor, pytest.raises(TypeError, match=r"^odd$"):
        run(began.append, graph_of([("b", "a")], ["a"]), executor)
    assert began == ["a"]


def in_a_process(vertex):
    match vertex:
        case "die":
            os._exit(1)
        case "lambda":
            return lambda: 0
        case "raise":
            raise TaskError(vertex)
    return os.getpid()


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        yield executor


def test_processes(processes):
    result = run(in_a_process, graph_of([("c", "b"), ("e", "raise"), ("f", "lambda")]), processes)
    assert result.statuses == {
        "c": "completed",
        "b": "completed",
        "e": "skipped",
        "raise": "failed",
        "f": "skipped",
        "lambda": "failed",
    }
    assert result["c"] != os.getpid()
    assert result.exceptions["raise"].args == ("raise",)
    assert "lambda" in str(result.exceptions["lambda"])  # that it cannot be pickled
    unsent = run(lambda vertex: vertex, graph_of([("b", "a")]), processes)
    assert unsent.statuses == {"b": "skipped", "a": "failed"}
    assert "lambda" in str(unsent.exceptions["a"])


def test_a_process_that_dies_breaks_the_pool():
    graph = graph_of([("c", "die"), ("b", "a"), ("die", "a")])
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        result = run(in_a_process, graph, executor, buffersize=1)
    assert result.statuses["a"] == "completed"
    assert result.statuses["die"] == "failed"
    assert result.statuses["c"] == "skipped"
    assert isinstance(result.exceptions["die"], BrokenProcessPool)
    if result.statuses["b"] == "canceled":  # it was ready at the same time, and may have come first
        assert isinstance(result.executor_error, BrokenProcessPool)
    else:
        assert result.statuses["b"] == "completed"


# -- interrupts


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt_cancels_what_has_not_begun_and_waits_for_what_runs():
    begun, ended = [], []
    with Watched(1, before=99, call=interrupt) as executor:

        def task(vertex):
            begun.append(vertex)
            assert executor.emptied.wait(60)
            ended.append(vertex)

        with pytest.raises(KeyboardInterrupt):
            run(task, graph_of([("z", 0)], range(100)), executor)
        assert begun == ended == [0]
        assert executor.out == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_does_not_wait():
    release, ended = threading.Event(), []

    class Impatient(Watched):
        def gone(self, future):
            if future.cancelled() and not self.emptied.is_set():
                self.emptied.set()
                interrupt()

    with Impatient(1, before=99, call=interrupt) as executor:

        def task(vertex):
            assert release.wait(60)
            ended.append(vertex)

        with pytest.raises(KeyboardInterrupt):
            run(task, graph_of([], range(100)), executor)
        assert ended == []
        executor.shutdown(wait=False, cancel_futures=True)  # the second one came while the first of 99 was canceled
        release.set()
    assert ended == [0]


def test_an_interrupt_with_threads_of_its_own():
    ended = []

    def task(vertex):
        if vertex == 0:
            os.kill(os.getpid(), signal.SIGINT)
        ended.append(vertex)

    with pytest.raises(KeyboardInterrupt):
        run(task, graph_of([(i + 1, i) for i in range(10_000)]))
    assert ended == list(range(len(ended)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fastdag-run")]


def test_an_interrupt_after_the_last_task_is_not_lost():
    class Late(Future):
        def result(self, timeout=None):  # asked for when everything that is done has been taken in
            interrupt()
            return super().result(timeout)

    class Executes(Executor):
        def submit(self, function, /, *args):
            future = Late()
            future.set_result(function(*args))
            return future

    with pytest.raises(KeyboardInterrupt):
        run(len, graph_of([], ["a"]), Executes())


def test_what_a_handler_of_ones_own_raises_cancels_and_waits_as_well():
    begun, ended = [], []

    def on_signal(signum, frame):
        raise TaskError("signal")

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        with Watched(1, before=99, call=lambda: signal.raise_signal(signal.SIGUSR1)) as executor:

            def task(vertex):
                begun.append(vertex)
                assert executor.emptied.wait(60)
                ended.append(vertex)

            with pytest.raises(TaskError, match=r"^signal$"):
                run(task, graph_of([], range(100)), executor)
            assert begun == ended == [0]
    finally:
        signal.signal(signal.SIGUSR1, before)


# -- recorded workflows


@pytest.fixture(scope="module", params=workloads.WORKFLOWS)
def workflow(request):
    return workloads.workflow(request.param)


def test_a_workflow_of_tasks_that_do_nothing(workflow, tmp_path):
    task = recorded(tmp_path / "log")
    assert run(task, graph_of(workflow.edges, workflow.vertices)).ok
    check_order(tmp_path / "log", workflow)


def test_a_workflow_of_sleeps(workflow, tmp_path):
    whole = sum(workflow.seconds.values())
    task = recorded(tmp_path / "log", {vertex: 4 * taken / whole for vertex, taken in workflow.seconds.items()})
    with ThreadPoolExecutor(8) as executor:
        result = run(task, graph_of(workflow.edges, workflow.vertices), executor)
    assert result.ok
    check_order(tmp_path / "log", workflow)


def test_the_workflows_are_what_the_data_says():
    figures = {}
    for name in workloads.WORKFLOWS:
        workflow = workloads.workflow(name)
        graph = graph_of(workflow.edges, workflow.vertices)
        assert set(workflow.seconds) == set(graph) == set(workflow.vertices)
        figures[name] = (len(graph), graph.number_of_edges(), round(sum(workflow.seconds.values())))
    assert list(figures.values()) == [(10, 16, 1029), (26, 50, 393), (1738, 4698, 8695)]

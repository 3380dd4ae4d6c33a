"""`fastdag.run` on a real cluster of Dask: two worker processes, results that stay there, one of them killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback

import pytest
from run_support import append, check_order, graph_of, recorded

from benchmarks import workloads
from fastdag import TaskNotRunError, run

distributed = pytest.importorskip("distributed", reason="needs the extra [dask]")

# What the tests define goes to the workers by value: these need neither fastdag nor the tests.
by_value = pytest.importorskip("cloudpickle").register_pickle_by_value


@pytest.fixture(scope="module")
def cluster():
    by_value(sys.modules[append.__module__])
    by_value(sys.modules[__name__])
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        yield client
    cluster.scheduler.validate_state()


def test_results_stay_on_the_workers_until_they_are_asked_for(client):
    fetched = []
    gather = client.gather
    client.gather = lambda futures, *rest: fetched.append(len(futures)) or gather(futures, *rest)
    result = run(lambda vertex: (vertex.upper(), os.getpid()), graph_of([("c", "b"), ("b", "a")], ["x"]), client)
    assert result.ok
    assert fetched == []
    assert sum(map(len, client.has_what().values())) == 4
    name, pid = result["c"]
    assert name == "C"
    assert pid != os.getpid()
    assert fetched == [1]
    assert {vertex: name for vertex, (name, _) in result.results().items()} == {"a": "A", "b": "B", "c": "C", "x": "X"}
    assert fetched == [1, 4]


def test_failures(client):
    def task(vertex):
        if vertex == "b":
            raise ValueError("broken")
        if vertex == "exit":
            sys.exit(3)

    result = run(task, graph_of([("c", "b"), ("b", "a"), ("d", "exit")]), client)
    assert result.statuses == {
        "c": "skipped",
        "b": "failed",
        "a": "completed",
        "d": "skipped",
        "exit": "failed",
    }
    error = result.exceptions["b"]
    assert (type(error), error.args) == (ValueError, ("broken",))
    assert traceback.extract_tb(error.__traceback__)[-1].name == "task"
    assert "SystemExit(3)" in str(result.exceptions["exit"])
    with pytest.raises(TaskNotRunError):
        result["c"]


def test_vertices_that_mean_something_to_dask_or_look_the_same(client):
    vertices = [("a", 1), ("b", (len, "a")), frozenset({2}), len, "a", None]
    result = run(lambda vertex: vertex, graph_of([], vertices), client)
    assert result.results() == {vertex: vertex for vertex in vertices}


def test_what_does_not_pickle(client):
    class Locked:
        def __init__(self):
            self.lock = threading.Lock()

    locked = Locked()
    result = run(lambda vertex: 1, graph_of([("b", locked)], ["a", "c"]), client)
    assert result.statuses == {"a": "completed", "c": "completed", "b": "skipped", locked: "failed"}
    assert isinstance(result.exceptions[locked], TypeError)
    with pytest.raises(TypeError):
        run(lambda vertex: locked, graph_of([], ["a"]), client)
    kept = run(lambda vertex: threading.Lock(), graph_of([], ["a"]), client)  # it never leaves its worker
    assert kept.ok
    with pytest.raises(TypeError):
        kept["a"]


@pytest.mark.parametrize("name", workloads.WORKFLOWS)
@pytest.mark.parametrize("seconds", [0, 2], ids=["no-op", "sleeps"])
def test_a_workflow(client, tmp_path, name, seconds):
    workflow = workloads.workflow(name)
    whole = sum(workflow.seconds.values())
    scaled = {vertex: seconds * taken / whole for vertex, taken in workflow.seconds.items()} if seconds else None
    task = recorded(str(tmp_path / "log"), scaled)
    assert run(task, graph_of(workflow.edges, workflow.vertices), client).ok
    check_order(tmp_path / "log", workflow)


def test_a_worker_that_is_killed_costs_what_it_ran_and_held(client, tmp_path):
    log, once = str(tmp_path / "log"), str(tmp_path / "once")

    def task(vertex):
        append(log, f"{vertex} {os.getpid()}")
        if vertex == 30:
            try:
                os.close(os.open(once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return vertex * 2

    edges = [(vertex, vertex - 3) for vertex in range(3, 60)]
    result = run(task, graph_of(edges), client)
    assert result.raise_for_failures().results() == {vertex: vertex * 2 for vertex in range(60)}
    runs = [tuple(map(int, line.split())) for line in (tmp_path / "log").read_text().splitlines()]
    killed = next(pid for vertex, pid in runs if vertex == 30)
    places = {vertex: [pid for other, pid in runs if other == vertex] for vertex in range(60)}
    assert len(places[30]) == 2
    again = {tuple(pids[:-1]) for pids in places.values()} - {()}
    assert again == {(killed,)}  # what was on no other


def test_a_task_that_kills_every_worker_fails(cluster, client, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    result = run(lambda vertex: os.kill(os.getpid(), signal.SIGKILL), graph_of([("b", "a")]), client)
    assert result.statuses == {"b": "skipped", "a": "failed"}
    assert isinstance(result.exceptions["a"], distributed.KilledWorker)


def test_an_interrupt_reaches_the_cluster(cluster, client, tmp_path):
    log, gate = str(tmp_path / "log"), str(tmp_path / "gate")
    os.mkfifo(gate)

    def task(vertex):
        append(log, vertex)
        if vertex != "first":
            os.close(os.open(gate, os.O_RDONLY))  # sleeps until somebody opens it for writing

    submitted, kept = client.map, []  # kept, as Dask forgets a task whose last future goes

    def interrupted(*args, **kwargs):
        futures = submitted(*args, **kwargs)
        kept.extend(futures)
        if len(futures) > 1:
            signal.raise_signal(signal.SIGINT)
        return futures

    client.map = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(task, graph_of([(number, "first") for number in range(50)]), client)
    assert [future.status for future in kept[1:]] == ["cancelled"] * 50
    opened = os.open(gate, os.O_RDWR)
    try:
        client.submit(len, "after", pure=False).result()  # what the scheduler hears after the cancellation
        assert [key for key in cluster.scheduler.tasks if str(key).startswith("task-")] == [kept[0].key]
    finally:
        os.close(opened)
    assert len((tmp_path / "log").read_text().splitlines()) < 50


def test_a_client_that_is_closed(cluster):
    with distributed.Client(cluster) as client:
        pass
    result = run(len, graph_of([("b", "a")]), client)
    assert result.statuses == {"b": "canceled", "a": "canceled"}
    assert str(result.executor_error) == "the client of Dask is closed"


def test_an_asynchronous_client_is_refused(cluster):
    async def main():
        async with distributed.Client(cluster.scheduler_address, asynchronous=True) as client:
            with pytest.raises(TypeError, match=r"^run\(\) blocks"):
                run(len, graph_of([]), client)

    asyncio.run(main())

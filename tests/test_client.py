"""`Client` and `AsyncClient` against a real service, beside a `Manager` that does the same."""

from __future__ import annotations

import asyncio
import inspect
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest

import fastdag
from fastdag import Manager, Requirement
from fastdag.client import AsyncClient, Client
from fastdag.client.owner import started_at

OWN = {"ping", "want", "start", "complete", "fail", "skip", "cancel", "wait", "ready", "status", "snapshot", "close"}


def test_both_clients_have_the_same_calls():
    def calls(cls):
        return {
            name: str(inspect.signature(call)).replace("AsyncEvents", "Events")
            for name, call in vars(cls).items()
            if not name.startswith("_")
        }

    assert calls(Client) == calls(AsyncClient)
    assert str(inspect.signature(Client)) == str(inspect.signature(AsyncClient))
    for name, call in vars(AsyncClient).items():
        assert name.startswith("_") or inspect.iscoroutinefunction(call), name
    assert all(call.__doc__ for name, call in vars(Client).items() if not name.startswith("_"))


def test_names_and_parameters_are_the_managers():
    for name, call in vars(Client).items():
        if name.startswith("_") or name in OWN | {"graph", "to_dot", "events", "to_mermaid"}:
            continue
        theirs = list(inspect.signature(getattr(Manager, name)).parameters)
        assert list(inspect.signature(call).parameters)[: len(theirs)] == theirs, name


def operations(manager):
    """Do everything that a `Manager` and a client have in common; gives what each call gave or raised."""
    seen = []

    def do(name, *arguments):
        call = getattr(manager, name)
        try:
            answer = call(*arguments)
        except Exception as error:  # noqa: BLE001
            known = {key: value for key, value in vars(error).items() if key != "causes"}
            seen.append((name, type(error), str(error), known))
        else:
            seen.append((name, arguments, answer))

    do("register_all", ["app", "db", "disk", 'say "ü"'])
    do("register", "app")
    do("add_dependency", "app", "db")
    do("add_dependency", "app", "db")
    do("add_dependency", "app", "db", Requirement.COMPLETION)
    do("add_dependency", "app", "db", Requirement.COMPLETION, True)
    do("add_dependency", "db", "app")
    do("add_dependency", "nobody", "app")
    do("add_dependencies", [("db", "disk", "mounted"), ("app", 'say "ü"', Requirement({"a", "b"}, {"c"}))])
    do("add_dependencies", [("db", "later"), ("later", "db")])
    do("register_all", "app")
    do("wait_ready", "disk", 10)
    do("update_status", "disk", "mounted")
    do("update_status", "disk", "mounted")
    do("update_status", "nobody", "started")
    for unit in ("app", "db", "disk", "nobody"):
        for name in ("unit", "is_ready", "state", "dependencies", "unmet_dependencies"):
            do(name, unit)
    do("units")
    do("to_dot")
    do("to_mermaid")
    do("update_status", 'say "ü"', "c")
    do("wait_ready", "app", 10)
    return seen


def test_the_answers_are_the_managers(service):
    with Client(service.socket) as client:
        expected, got = operations(Manager(auto_skip=True)), operations(client)
        for one, other in zip(expected, got, strict=True):
            assert one == other
        assert set(client.graph()) == {"app", "db", "disk", 'say "ü"'}
        assert client.graph().edge_label("db", "disk") is Requirement("mounted")


def test_what_a_service_has_beyond_a_manager(service):
    with Client(service.socket) as client:
        who = client.ping()
        assert (who.version, who.pid, who.journal) == (fastdag.__version__, service.process.pid, False)
        app = client.want("app", ["clone", "dotfiles"])
        assert (app.id, app.status, app.ready, app.reason, app.owner) == ("app", "pending", False, None, None)
        assert [each.depends_on for each in app.dependencies] == ["clone", "dotfiles"]
        assert client.want("app", "clone").dependencies == app.dependencies
        assert client.ready() == []
        with pytest.raises(fastdag.WaitTimeoutError, match="timeout waiting for dependencies of unit app") as caught:
            client.start("app", 0)
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.unit, caught.value.unmet) == ("app", client.unmet_dependencies("app"))
        with pytest.raises(fastdag.WaitTimeoutError, match="timeout waiting for unit clone to be completed"):
            client.wait("clone", "completed", 0.05)
        owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert client.start("clone", owner=owner.pid).owner == owner.pid
        owner.communicate(b"\n")
        clone = client.wait("clone", "failed", 30)
        assert clone.reason == f"its process {owner.pid} ended without a word"
        with pytest.raises(fastdag.DependencyFailedError) as failed:
            client.start("app")
        assert failed.value.failed == [("clone", "failed")]
        assert failed.value.causes == [("clone", "failed", clone.reason)]
        assert pickle.loads(pickle.dumps(failed.value)).causes == failed.value.causes
        assert pickle.loads(pickle.dumps(caught.value)).unmet == caught.value.unmet
        with pytest.raises(ProcessLookupError, match="there is no process"):
            client.start("x", owner=owner.pid)
        client.register_all(["one", "two", "three"])
        assert client.ready() == ["one", "two", "three"]
        ends = [client.complete("one", "early"), client.skip("two"), client.cancel("three", "enough")]
        assert [(unit.status, unit.reason) for unit in ends] == [
            ("completed", "early"),
            ("skipped", None),
            ("canceled", "enough"),
        ]
        assert client.status("three").reason == "enough"
        assert [unit.id for unit in client.snapshot().units] == [unit.id for unit in client.units()]
        explained = client.explain("app")
        assert {held.unit: held.status for held in explained.held_up_by} == {"clone": "failed", "dotfiles": ""}
        assert "needs success of 'clone': failed for" in str(explained)
        for refused in (-1, float("nan"), 10**9 + 1):
            with pytest.raises(ValueError, match="a timeout is 0 to 1000000000 seconds"):
                client.start("x", refused)
        with pytest.raises(fastdag.ServiceError) as refusal:
            client.register("")
        assert refusal.value.code == 422


def test_events_go_on_where_they_ended(service):
    with Client(service.socket) as client:
        client.want("app", "db")
        snapshot = client.snapshot()
        client.start("db")
        with client.events(last_event_id=snapshot.event_id) as events:
            seen = [next(events), next(events)]
        client.complete("db")
        with client.events(last_event_id=events.last_event_id) as more:
            while seen[-1][:3] != ("state", "app", "db"):
                seen.append(next(more))
        numbers = [event.sequence for event in seen]
        assert numbers == list(range(numbers[0], numbers[0] + len(seen)))
        assert [event.new for event in seen if event[:2] == ("status", "db")] == ["started", "completed"]
        assert abs(seen[-1].time - time.time()) < 60
        with client.events("app", "state") as one:
            client.register("other")
            client.update_status("db", "failed")
            assert next(one)[:5] == ("state", "app", "db", "ready", "blocked")
        lost = client.events(last_event_id="another-7")
        with lost, pytest.raises(fastdag.EventGapError, match="no longer has all events since 'another-7'"):
            next(lost)
        with pytest.raises(fastdag.ServiceError, match="no events are of the kind 'nonsense'"):
            client.events(kinds=["nonsense"])


def test_a_service_that_was_restarted(service):
    with Client(service.socket) as client:
        client.register("app")
        waited: list[object] = []

        def wait():
            try:
                client.wait("app", "completed")
            except fastdag.FastDAGError as error:
                waited.append(error)

        thread = threading.Thread(target=wait)
        with client.events() as events:
            thread.start()
            while True:  # until the waiter is at the service
                if "fastdag_waiters 1" in service_metrics(client):
                    break
            service.stop()
            thread.join(60)
            with pytest.raises(fastdag.ServiceNotFoundError, match="ended the connection"):
                for _ in events:
                    pass
        assert isinstance(waited[0], fastdag.ServiceError)
        assert waited[0].code == 503
        with pytest.raises(fastdag.ServiceNotFoundError):
            client.ping()
        service.process.stderr.close()
        service.start()
        assert client.units() == []


def service_metrics(client):
    return client._transport.call("GET", "/metrics").decode()


def test_many_threads_share_a_client(service):
    threads, each = 8, 50
    with Client(service.socket) as client:
        barrier = threading.Barrier(threads)
        errors = []

        def work(name):
            try:
                barrier.wait(30)
                for number in range(each):
                    unit = f"{name}-{number}"
                    client.want(unit, f"{name}-{number - 1}" if number else f"base-{name}")
                    assert client.status(unit).id == unit
            except BaseException as error:
                errors.append(error)
                raise

        running = [threading.Thread(target=work, args=(name,)) for name in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(60)
        assert errors == []
        assert len(client.units()) == threads * each
        assert len(client._transport._idle) <= threads


def test_asyncio(service):
    async def run():
        async with AsyncClient(service.socket) as client:
            events = await client.events("app", ["status", "registered"])
            waiting = asyncio.create_task(client.start("app", 30))
            assert (await anext(events)).kind == "registered"
            await waiting
            assert (await anext(events)).new == "started"
            await client.want("late", "app")
            waiters = [asyncio.create_task(client.wait_ready("late", 60)) for _ in range(50)]
            cancelled = asyncio.create_task(client.start("late", 60))
            while "fastdag_waiters 51" not in (await metrics(client)):
                pass
            cancelled.cancel()
            while "fastdag_waiters 50" not in (await metrics(client)):
                pass
            await client.complete("app")
            await asyncio.gather(*waiters)
            assert (await client.unit("late")).status == "pending"
            assert (await client.explain("late")).units["late"].state == "ready"
            with pytest.raises(fastdag.SameStatusError):
                await client.complete("app")
            async with events:
                pass
            async with await client.events(last_event_id="gone-1") as lost:
                with pytest.raises(fastdag.EventGapError):
                    await anext(lost)

    async def metrics(client):
        return await asyncio.to_thread(service_metrics, blocking)

    with Client(service.socket) as blocking:
        asyncio.run(run(), debug=True)


def test_a_bare_client_serves_the_default_socket(service, monkeypatch):
    monkeypatch.setenv("FASTDAG_SOCKET", str(service.socket))
    with Client() as client:
        assert client.ping().pid == service.process.pid
    client.ping()  # it opens a connection again
    client.close()


def test_owner_numbers_are_read_from_the_right_place(tmp_path):
    program = tmp_path / "a) R (b"
    program.symlink_to(sys.executable)
    child = subprocess.Popen([program, "-c", "input()"], stdin=subprocess.PIPE)
    ticks = os.sysconf("SC_CLK_TCK")
    with open("/proc/uptime") as file:
        now = float(file.read().split()[0])
    assert now - 60 < started_at(child.pid) / ticks <= now
    child.communicate(b"\n")
    with pytest.raises(ProcessLookupError):
        started_at(child.pid)

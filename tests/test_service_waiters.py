"""Those who wait for a unit: what releases them, and that it costs the service neither a timer nor a thread."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from service_support import PATIENCE, running_service

from fastdag import CapacityError, DependencyFailedError, Manager, SameStatusError
from fastdag.client import AsyncClient
from fastdag.errors import WaitTimeoutError
from fastdag.service.messages import (
    Dependencies,
    End,
    EventsQuery,
    Register,
    Start,
    UnitQuery,
    Update,
    Wait,
    Want,
    Wish,
)
from fastdag.service.state import ClientGoneError, Limits, Service, ServiceStoppingError, TooManyWaitersError


def with_service(test, **options):
    """Run a coroutine with a new service."""

    async def run():
        async with asyncio.timeout(PATIENCE):
            await test(Service(Manager(auto_skip=True), **options))

    asyncio.run(run())


async def waiting(service, call):
    """The task of a call, once it waits."""
    before = service.waiters
    task = asyncio.create_task(call)
    while service.waiters == before:
        await asyncio.sleep(0)
        assert not task.done(), task
    return task


def start(service, unit, timeout=None):
    return service.start(Start(unit, timeout), asyncio.get_running_loop().create_future)


def wait(service, unit, status=None, timeout=None):
    return service.wait(Wait(unit, status, timeout), asyncio.get_running_loop().create_future)


def status(service, unit):
    return service.status(UnitQuery(unit)).status


async def turns(count=5):
    """Let everybody go on who can."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_the_event_itself_releases_a_waiter():
    async def test(service):
        loop = asyncio.get_running_loop()
        service.want(Want("app", ["db"]))
        service.register(Register(["db"]))
        loop.call_at = None  # from here on a timer would be an error: nothing can poll
        starting = await waiting(service, start(service, "app"))
        told = await waiting(service, wait(service, "app", "started"))
        heard = []
        starting.add_done_callback(lambda _: heard.append("start"))
        told.add_done_callback(lambda _: heard.append("wait"))
        service.complete(End("db"))
        heard.append("complete")
        await turns()
        del loop.call_at
        assert heard == ["complete", "start", "wait"]
        assert starting.result().status == "started"
        assert told.result().status == "started"
        assert service.waiters == 0

    with_service(test)


def test_of_two_that_start_a_unit_one_wins():
    async def test(service):
        service.want(Want("app", ["db"]))
        service.register(Register(["db"]))
        first = await waiting(service, start(service, "app"))
        second = await waiting(service, start(service, "app"))
        service.complete(End("db"))
        assert (await first).status == "started"
        with pytest.raises(SameStatusError):
            await second

    with_service(test)


def test_a_dependency_that_comes_while_a_unit_is_waited_for_counts():
    async def test(service):
        service.want(Want("app", ["db"]))
        task = await waiting(service, start(service, "app"))
        service.add_dependencies(Dependencies([Wish("app", "web")]))
        service.register(Register(["db", "web"]))
        service.complete(End("db"))
        await turns()
        assert not task.done()
        service.complete(End("web"))
        assert (await task).status == "started"

    with_service(test)


@pytest.mark.parametrize("spoil", ["again", "another"])
def test_what_is_not_ready_any_more_when_its_turn_comes_is_not_started(spoil):
    async def test(service):
        service.want(Want("app", ["db"]))
        service.register(Register(["db"]))
        task = await waiting(service, start(service, "app"))
        service.complete(End("db"))  # releases the waiter, which goes on in the next turn of the loop
        if spoil == "again":
            service.update(Update("db", "started"))
        else:
            service.want(Want("app", ["web"]))
        await turns()
        assert not task.done()
        assert status(service, "app") == "pending"
        if spoil == "again":
            service.complete(End("db"))
        else:
            service.register(Register(["web"]))
            service.complete(End("web"))
        assert (await task).status == "started"

    with_service(test)


def test_a_unit_that_is_registered_by_what_it_wants_was_never_ready():
    async def test(service):
        task = await waiting(service, wait(service, "app"))
        service.want(Want("app", ["db"]))
        await turns()
        assert not task.done()
        service.register(Register(["db"]))
        service.complete(End("db"))
        view = await task
        assert (view.status, view.ready) == ("pending", True)

    with_service(test)


@pytest.mark.parametrize("end", ["complete", "fail", "skip", "cancel"])
def test_who_ends_a_unit_ends_its_starts(end):
    async def test(service):
        service.want(Want("app", ["db"]))
        service.register(Register(["db", "other"]))
        tasks = [await waiting(service, start(service, "app")) for _ in range(2)]
        service.fail(End("other"))
        service.update(Update("app", "warming up"))  # what that means is for others to say
        service.update(Update("app", "pending"))
        await turns()
        assert not any(task.done() for task in tasks)
        view = getattr(service, end)(End("app", "not today"))
        service.update(Update("app", "pending"))  # too late
        for task in tasks:
            with pytest.raises(DependencyFailedError) as caught:
                await task
            assert caught.value.failed == [("app", view.status)]
            assert caught.value.causes == [("app", view.status, "not today")]
            assert str(caught.value).startswith(f"unit 'app' is {view.status}, ")
        assert service.waiters == 0
        assert not service._followers
        assert not service.manager._waiters.dispatch.waiting
        service.complete(End("db"))
        await turns()
        assert status(service, "app") == "pending"

    with_service(test)


def test_who_starts_a_unit_that_is_not_ready_ends_its_starts():
    async def test(service):
        service.want(Want("app", ["db"]))
        task = await waiting(service, start(service, "app"))
        service.update(Update("app", "started"))
        with pytest.raises(SameStatusError):
            await task

    with_service(test)


def test_a_unit_that_had_ended_before_can_be_started_and_waited_for_again():
    async def test(service):
        service.want(Want("app", ["db"]))
        service.register(Register(["db"]))
        service.cancel(End("app"))
        task = await waiting(service, start(service, "app"))
        again = await waiting(service, start(service, "app"))
        service.fail(End("app"))
        for ended in (task, again):
            with pytest.raises(DependencyFailedError):
                await ended
        task = await waiting(service, start(service, "app"))
        service.complete(End("db"))
        assert (await task).status == "started"

    with_service(test)


def test_a_unit_that_is_ended_when_its_turn_to_start_has_come_is_not_started():
    async def test(service):
        service.want(Want("app", ["db"]))
        service.register(Register(["db"]))
        task = await waiting(service, start(service, "app"))
        service.complete(End("db"))  # releases the waiter, which goes on in the next turn of the loop
        service.cancel(End("app", "not today"))
        with pytest.raises(DependencyFailedError) as caught:
            await task
        assert caught.value.causes == [("app", "canceled", "not today")]
        assert status(service, "app") == "canceled"

    with_service(test)


def test_a_unit_that_is_blocked_when_its_turn_to_start_has_come_hears_what_blocks_it():
    async def test(service):
        service.want(Want("app", ["db"]))
        service.register(Register(["db"]))
        task = await waiting(service, start(service, "app"))
        service.complete(End("db"))
        service.fail(End("db", "disk full"))
        assert status(service, "app") == "skipped"
        with pytest.raises(DependencyFailedError) as caught:
            await task
        assert caught.value.failed == [("db", "failed")]
        assert caught.value.causes == [("db", "failed", "disk full")]

    with_service(test)


def test_names_that_are_only_waited_for_are_not_kept():
    async def test(service):
        service.want(Want("app", ["db"]))
        for number in range(5):
            for awaited in (None, "completed"):
                with pytest.raises(WaitTimeoutError):
                    await wait(service, f"stranger {number}", awaited, 0.0)
                task = await waiting(service, wait(service, f"stranger {number}", awaited))
                task.cancel()
                await turns()
            service.status(UnitQuery(f"stranger {number}"))
            service.explain(UnitQuery(f"stranger {number}"))
            service.events(EventsQuery(f"stranger {number}"), None)
        assert list(service.manager.graph) == ["app", "db"]
        assert not service._followers
        ready = await waiting(service, wait(service, "web"))
        done = await waiting(service, wait(service, "web", "started"))
        service.register(Register(["web"]))
        assert (await ready).ready
        await start(service, "web")
        assert (await done).status == "started"
        with pytest.raises(CapacityError):
            service.register(Register(["one too many"]))

    with_service(test, limits=Limits(names=3))


def test_nothing_is_started_for_a_client_that_has_gone():
    async def test(service):
        service.want(Want("app", ["db"]))
        service.register(Register(["db"]))
        gone = asyncio.get_running_loop().create_future()
        task = await waiting(service, service.start(Start("app", None), lambda: gone))
        gone.set_result(None)
        with pytest.raises(ClientGoneError):
            await task
        service.complete(End("db"))
        await turns()
        assert status(service, "app") == "pending"
        assert service.waiters == 0

    with_service(test)


def test_a_time_out_says_what_was_unmet_and_starts_nothing_later():
    async def test(service):
        service.want(Want("app", ["db", "web", "log"]))
        service.register(Register(["db", "web"]))
        service.complete(End("web"))
        for timeout in (0.0, 0.02):
            with pytest.raises(WaitTimeoutError, match=r"^timeout waiting for dependencies of unit app$") as caught:
                await start(service, "app", timeout)
            assert caught.value.unit == "app"
            assert [(one.depends_on, one.status) for one in caught.value.unmet] == [("db", "pending"), ("log", "")]
        with pytest.raises(WaitTimeoutError, match=r"^timeout waiting for unit db to be completed$"):
            await wait(service, "db", "completed", 0.02)
        with pytest.raises(WaitTimeoutError):
            await wait(service, "stranger", None, 0.02)
        service.register(Register(["log"]))
        service.complete(End("db"))
        service.complete(End("log"))
        await turns()
        assert status(service, "app") == "pending"
        assert status(service, "stranger") == ""
        assert service.waiters == 0
        assert not service.manager._waiters.dispatch.waiting

    with_service(test)


def test_a_failure_is_heard_down_the_chain_at_once_with_what_failed_first():
    async def test(service):
        service.want(Want("b", ["a"]))
        service.want(Want("c", ["b"]))
        service.want(Want("d", ["c"]))
        service.register(Register(["a"]))
        tasks = [await waiting(service, start(service, unit)) for unit in "bcd"]
        tasks.append(await waiting(service, wait(service, "d", "completed")))
        service.fail(End("a", "disk full"))
        await turns()
        failed = []
        for task in tasks:
            assert task.done()
            with pytest.raises(DependencyFailedError) as caught:
                task.result()
            assert caught.value.causes == [("a", "failed", "disk full")]
            failed.append(caught.value.failed)
        assert failed == [[("a", "failed")], [("b", "skipped")], [("c", "skipped")], [("d", "skipped")]]
        service.update(Update("a", "started"))  # and once it is repaired, all of them can start again
        service.complete(End("a"))
        for unit in "bcd":
            await start(service, unit, 0.0)
            service.complete(End(unit))

    with_service(test)


def test_a_chain_is_followed_once_for_all_who_wait_along_it(monkeypatch):
    length, asked = 200, []

    def counted(manager, unit, ask=Manager.unmet_dependencies):
        asked.append(unit)
        return ask(manager, unit)

    async def test(service):
        units = [f"unit {number}" for number in range(length)]
        for above, below in pairwise(reversed(units)):
            service.want(Want(above, [below]))
        service.register(Register(units[:1]))
        tasks = [await waiting(service, start(service, unit)) for unit in units[1:]]
        monkeypatch.setattr(Manager, "unmet_dependencies", counted)
        service.fail(End(units[0], "disk full"))
        await turns()
        for task in tasks:
            assert task.exception().causes == [(units[0], "failed", "disk full")]
        assert len(asked) <= 4 * length, len(asked)  # and not its square
        service.update(Update(units[0], "canceled"))  # another end since then
        with pytest.raises(DependencyFailedError) as caught:
            await start(service, units[-1])
        assert caught.value.causes == [(units[0], "canceled", None)]

    with_service(test)


def test_of_many_who_failed_first_a_hundred_are_named():
    async def test(service):
        units = [f"unit {number}" for number in range(150)]
        service.want(Want("top", units))
        service.want(Want("far above", ["top"]))
        service.register(Register(units))
        for unit in units:
            service.fail(End(unit))
        with pytest.raises(DependencyFailedError) as caught:
            await start(service, "far above")
        assert len(set(caught.value.causes)) == 100

    with_service(test)


def test_waiting_for_a_status():
    async def test(service):
        pending = await waiting(service, wait(service, "db", "pending"))
        own = await waiting(service, wait(service, "db", "warming up"))
        done = await waiting(service, wait(service, "db", "completed"))
        ready = await waiting(service, wait(service, "db"))
        service.register(Register(["db"]))
        assert (await pending).status == "pending"
        assert (await ready).ready
        await turns()
        assert not own.done()
        service.update(Update("db", "warming up"))
        service.update(Update("db", "started"))  # it had the status, if only for a moment
        await own
        assert not done.done()
        failed = await waiting(service, wait(service, "db", "failed"))
        service.complete(End("db", "all there"))
        assert (await done).reason == "all there"
        with pytest.raises(DependencyFailedError) as caught:
            await failed
        assert caught.value.failed == [("db", "completed")]
        assert caught.value.causes == [("db", "completed", "all there")]
        with pytest.raises(DependencyFailedError):
            await wait(service, "db", "started", 0.0)
        assert (await wait(service, "db", "completed", 0.0)).status == "completed"
        assert service.waiters == 0

    with_service(test)


def test_a_wait_is_not_ended_by_what_the_unit_depends_on():
    async def test(service):
        service.want(Want("app", ["db"], requires="completion"))
        service.register(Register(["db"]))
        task = await waiting(service, wait(service, "app", "completed"))
        service.fail(End("db"))  # told to those who follow `app`, too
        await turns()
        assert not task.done()
        service.complete(End("app"))
        await task

    with_service(test)


def test_a_service_that_stops_sends_waiters_away():
    async def test(service):
        service.want(Want("app", ["db"]))
        tasks = [await waiting(service, start(service, "app")), await waiting(service, wait(service, "x", "completed"))]
        service.stop()
        for call in (*tasks, start(service, "app"), wait(service, "app")):
            with pytest.raises(ServiceStoppingError, match="ask again once it runs"):
                await call
        assert status(service, "app") == "pending"

    with_service(test)


def test_there_are_only_so_many_waiters():
    async def test(service):
        service.want(Want("app", ["db"]))
        tasks = [await waiting(service, start(service, "app")) for _ in range(2)]
        with pytest.raises(TooManyWaitersError, match="has 2 waiters already"):
            await start(service, "app")
        tasks[0].cancel()
        await turns()
        tasks.append(await waiting(service, start(service, "app")))

    with_service(test, limits=Limits(waiters=2))


# --- with real processes --------------------------------------------------------------------------------------------


def until(condition):
    """Ask again and again until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


@pytest.fixture
def many_files():
    """As many files open as the system allows: more than it lets a process have that does not ask."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_a_thousand_waiters_and_one_completion(tmp_path):
    count = 1000

    async def all_of_them(service):
        """Each on a connection of its own; how long the last of them waits for its answer after the completion."""
        async with AsyncClient(service.socket) as client:
            tasks = [asyncio.create_task(client.start(unit)) for unit in units]
            await asyncio.to_thread(until, lambda: service.metric("fastdag_waiters") == count)
            while_waiting = threads(service.process.pid)
            began = time.monotonic()
            await client.complete("db")
            started = await asyncio.gather(*tasks)
            return while_waiting, [one.status for one in started], time.monotonic() - began

    units = [f"unit {i}" for i in range(count)]
    with running_service(tmp_path) as service:
        service.post("/v1/register", units=["db", *units])
        service.post("/v1/dependencies", dependencies=[{"unit": unit, "depends_on": "db"} for unit in units])
        before = threads(service.process.pid)
        while_waiting, statuses, seconds = asyncio.run(asyncio.wait_for(all_of_them(service), PATIENCE))
        assert while_waiting == before
        assert statuses == ["started"] * count
        assert seconds < 10, "the machine is busy, but a second is an age"
        assert service.metric("fastdag_waiters") == 0


def test_a_client_that_leaves_while_it_waits_starts_nothing(tmp_path):
    body = json.dumps({"unit": "app"}).encode()
    request = b"POST /v1/start HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    with running_service(tmp_path) as service:
        service.post("/v1/want", unit="app", depends_on=["db"])
        with service.connect() as connection:
            connection.sendall(request)
            until(lambda: service.metric("fastdag_waiters") == 1)
        until(lambda: service.metric("fastdag_waiters") == 0)
        service.post("/v1/register", units=["db"])
        service.post("/v1/complete", unit="db")
        assert service.get("/v1/status?unit=app")["status"] == "pending"


def test_what_waiters_are_told_over_http(tmp_path):
    with running_service(tmp_path) as service, ThreadPoolExecutor() as pool:
        service.post("/v1/want", unit="b", depends_on=["a"])
        service.post("/v1/want", unit="c", depends_on=["b"])
        service.post("/v1/register", units=["a"])
        late = service.call("POST", "/v1/start", {"unit": "c", "timeout": 0.05})
        assert late.code == 504
        assert late.body["message"] == "timeout waiting for dependencies of unit c"
        assert [one["depends_on"] for one in late.body["unmet"]] == ["b"]
        waiting = [
            pool.submit(service.call, "POST", path, {"unit": "c", **more})
            for path, more in [("/v1/start", {}), ("/v1/wait", {}), ("/v1/wait", {"status": "completed"})]
        ]
        until(lambda: service.metric("fastdag_waiters") == 3)
        service.post("/v1/fail", unit="a", reason="disk full")
        for answer in waiting:
            reply = answer.result(PATIENCE)
            assert reply.code == 424
            assert reply.body["error"] == "DependencyFailedError"
            assert reply.body["causes"] == [{"unit": "a", "status": "failed", "reason": "disk full"}]
        waiting = pool.submit(service.call, "POST", "/v1/wait", {"unit": "d"})
        until(lambda: service.metric("fastdag_waiters") == 1)
        assert service.stop() == 0
        assert waiting.result(PATIENCE).code == 503

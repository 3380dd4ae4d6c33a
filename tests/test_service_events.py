"""Events of a service as they come to those who follow it: ids, filters, replay, gaps, slow readers, and the end."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import ExitStack, aclosing
from urllib.parse import urlencode

import pytest
from service_support import PATIENCE, running_service

from fastdag import Manager
from fastdag.service.history import History
from fastdag.service.journal import Journal
from fastdag.service.messages import End, EventsQuery, EventView, Register
from fastdag.service.state import Service

EVERY = EventsQuery()


def event(number):
    return EventView("status", f"unit {number}", None, "", "started", 0.0)


async def take(stream, count):
    """The numbers of the next events of a history; None for a gap, 0 for a sign of life."""
    found = []
    async for some in stream:
        found += [None] if some is None else [kept.number for kept in some] or [0]
        if len(found) >= count:
            break
    return found


def follow(history, after, wanted=lambda _: True, idle=PATIENCE):
    return aclosing(history.follow(after, wanted, idle))


# --- the history ----------------------------------------------------------------------------------------------------


def test_a_stream_begins_where_it_is_told_and_goes_on():
    async def test():
        history = History()
        for number in range(1, 6):
            history.add(event(number))
        history.show(5)
        async with follow(history, 2) as behind, follow(history, None) as new:
            assert await take(behind, 3) == [3, 4, 5]
            first = asyncio.create_task(take(new, 1))
            await asyncio.sleep(0)
            history.add(event(6))
            history.show(6)
            assert await first == [6]
            assert await take(behind, 1) == [6]

    asyncio.run(test())


def test_events_are_not_shown_before_it_is_time():
    async def test():
        history = History()
        async with follow(history, None) as stream:
            task = asyncio.create_task(take(stream, 1))
            history.add(event(1))
            history.add(event(2))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not task.done()
            history.show(1)
            assert await task == [1]

    asyncio.run(test())


def test_who_falls_behind_is_told_and_goes_on_with_what_is_kept():
    async def test():
        history = History(kept=10)
        async with follow(history, 0) as slow:
            for number in range(1, 6):
                history.add(event(number))
            history.show(5)
            assert await take(slow, 5) == [1, 2, 3, 4, 5]
            for number in range(6, 101):
                history.add(event(number))
                history.show(number)
                assert len(history._events) < 2 * 10  # all that a slow reader costs
            found = await take(slow, 11)
            assert found[0] is None
            assert found[1:] == list(range(101 - len(found[1:]), 101))
            assert len(found[1:]) >= 10
        async with follow(history, 3) as late:
            assert (await take(late, 2))[0] is None

    asyncio.run(test())


def test_ids_of_others_are_none_of_ours():
    async def test():
        history = History()
        history.add(event(1))
        own = history.event_id(1)
        assert history.number(own) == 1
        assert history.number(history.event_id(0)) == 0
        for other in (
            history.event_id(2),  # has not happened yet
            f"{'0' * 12}-1",
            history.instance,
            "",
            "-1",
            own + "x",
            f"{history.instance}-{'9' * 100}",
            f"{history.instance}-²",
        ):
            assert history.number(other) is None, other

    asyncio.run(test())


def test_a_sign_of_life_while_nothing_happens_and_the_end():
    async def test():
        history = History()
        async with follow(history, None, idle=0.01) as stream:
            assert await take(stream, 2) == [0, 0]
            history.add(event(1))
            history.show(1)
            history.close()
            assert await take(stream, 9) == [1]  # and no more: it has ended
        assert not history._arrivals

    asyncio.run(test())


def test_a_sign_of_life_also_while_only_others_hear_something():
    async def test():
        history = History()

        async def happen():
            while True:
                history.add(event(history.last + 1))
                history.show(history.last)
                await asyncio.sleep(0)

        busy = asyncio.create_task(happen())
        async with asyncio.timeout(PATIENCE), follow(history, None, lambda _: False, idle=0.01) as stream:
            assert await take(stream, 2) == [0, 0]
        busy.cancel()

    asyncio.run(test())


def test_an_event_is_encoded_once_for_all_who_hear_it():
    async def test():
        history = History()
        history.add(event(1))
        history.show(1)
        heard = []
        for _ in range(2):
            async with follow(history, 0) as stream:
                [kept] = await anext(stream)
                heard.append(kept.message(history.event_id))
        assert heard[0] is heard[1]

    asyncio.run(test())


def test_with_a_journal_an_event_is_shown_once_it_is_there(tmp_path):
    async def test():
        journal = Journal(tmp_path / "journal")
        service = Service(Manager(auto_skip=True), journal)
        durable = []
        shown = service.history.show

        def show(number):
            durable.append((number, journal.durable))
            shown(number)

        service.history.show = show
        stream, missing = service.events(EVERY, None)
        assert not missing
        task = asyncio.create_task(take(stream, 3))
        await asyncio.sleep(0)
        service.register(Register(["db"]))
        assert service.history.visible == 0
        await service.settled()
        assert service.history.visible == 2
        service.complete(End("db"))
        assert service.history.visible == 2
        assert await task == [1, 2, 3]
        assert durable == [(2, 1), (3, 2)]
        journal.close()

    asyncio.run(test())


def test_streams_end_where_the_service_stops():
    async def test():
        service = Service(Manager(auto_skip=True))
        stream, _ = service.events(EVERY, None)
        task = asyncio.create_task(take(stream, 9))
        await asyncio.sleep(0)
        service.register(Register(["db"]))
        await asyncio.sleep(0)
        service.stop()
        assert await asyncio.wait_for(task, 5) == [1, 2]

    asyncio.run(test())


# --- over HTTP ------------------------------------------------------------------------------------------------------


class Stream:
    """Server-sent events, read off a socket by the letter of the standard."""

    def __init__(self, service, last=None, **query):
        self.connection = service.connect()
        head = f"GET /v1/events?{urlencode(query)} HTTP/1.1\r\nhost: x\r\n"
        if last is not None:
            head += f"last-event-id: {last}\r\n"
        self.connection.sendall(f"{head}\r\n".encode())
        self.file = self.connection.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value
        self.lines = iter(self._lines())
        if self.status == 200:
            self.opening = self.message()

    def _lines(self):
        while size := int(self.file.readline() or b"0", 16):
            yield from self.file.read(size).decode().splitlines()
            self.file.readline()

    def message(self):
        """The fields of the next message; none at the end."""
        fields = {}
        for line in self.lines:
            if not line:
                return fields
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        return None

    def next(self, count):
        """So many events: kind, unit and new status."""
        found = []
        for _ in range(count):
            message = self.message()
            data = json.loads(message["data"])
            assert message["event"] == data["kind"]
            found.append((data["kind"], data["unit"], data["new"]))
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.connection.close()


@pytest.fixture
def service(tmp_path):
    with running_service(tmp_path) as running:
        yield running


def test_ids_go_on_and_a_replay_misses_nothing(service):
    with Stream(service) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.opening == {"": "fastdag"}  # a comment
        service.post("/v1/want", unit="app", depends_on=["db"])
        messages = [stream.message() for _ in range(4)]
    instance = service.get("/v1/ping")["instance"]
    assert [message["id"] for message in messages] == [f"{instance}-{number}" for number in (1, 2, 3, 4)]
    assert [message["event"] for message in messages] == ["registered", "state", "dependency", "state"]
    assert json.loads(messages[2]["data"])["dependency"] == "db"
    with Stream(service, last=messages[1]["id"]) as again:
        assert [again.message() for _ in range(2)] == messages[2:]
    snapshot = service.get("/v1/snapshot")
    assert snapshot["event_id"] == messages[-1]["id"]
    service.post("/v1/register", units=["db"])
    with Stream(service, last=snapshot["event_id"]) as since:
        assert since.next(1) == [("registered", "db", "pending")]
    for unknown in ("000000000000-1", "rubbish", f"{instance}-999"):
        with Stream(service, last=unknown) as reset:
            assert reset.opening == {"event": "reset", "data": "{}"}
            service.post("/v1/register", units=[unknown])
            assert reset.next(1) == [("registered", unknown, "pending")]


def test_only_what_was_asked_for(service):
    service.post("/v1/want", unit="app", depends_on=["db"])
    with (
        Stream(service, unit="app", kinds="status,registered") as own,
        Stream(service, kinds="state") as states,
        Stream(service, unit="db") as below,
        Stream(service, unit="stranger", kinds="registered") as stranger,
    ):
        service.post("/v1/register", units=["db", "web", "stranger"])
        service.post("/v1/complete", unit="web")
        service.post("/v1/want", unit="app", depends_on=["web"])
        service.post("/v1/status", unit="web", status="started")  # concerns `app` from now on
        service.post("/v1/complete", unit="db")
        assert own.next(3) == [
            ("registered", "db", "pending"),
            ("status", "web", "started"),
            ("status", "db", "completed"),
        ]
        assert states.next(3) == [("state", "db", "ready"), ("state", "web", "ready"), ("state", "stranger", "ready")]
        assert below.next(3) == [
            ("registered", "db", "pending"),
            ("state", "db", "ready"),
            ("status", "db", "completed"),
        ]
        assert stranger.next(1) == [("registered", "stranger", "pending")]
    with Stream(service, kinds="status,nonsense") as refused:
        assert refused.status == 422


def test_a_hundred_streams_hear_the_same_and_end_with_the_service(service):
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream(service, kinds="status")) for _ in range(100)]
        service.post("/v1/register", units=["db"])
        for status in ("started", "completed"):
            service.post("/v1/status", unit="db", status=status)
        for stream in streams:
            assert stream.next(2) == [("status", "db", "started"), ("status", "db", "completed")]
        assert service.stop() == 0
        assert [stream.message() for stream in streams] == [None] * 100
    assert service.log.count("\n") == 1, service.log


def test_a_reader_that_is_slow_or_never_reads_costs_no_memory(service):
    service.post("/v1/register", units=["db"])
    with ExitStack() as stack:
        for _ in range(20):
            stream = stack.enter_context(Stream(service))
            stream.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with Stream(service, kinds="registered") as reader:
            before = None
            for batch in range(8):
                service.post("/v1/register", units=[f"{'long ' * 20}{batch} {number}" for number in range(5000)])
                reader.next(5000)
                if batch == 3:
                    before = service.memory()
            # A unit costs what it costs, and each of 20 streams 40,000 events behind would cost 200 bytes a piece.
            grown = service.memory() - before
        assert grown < 60 << 20, f"{grown >> 20} MB"
        last = service.get("/v1/snapshot")["event_id"]
        with Stream(service, last=last.rpartition("-")[0] + "-1") as late:
            assert late.opening == {"": "fastdag"}
            assert late.message() == {"event": "reset", "data": "{}"}

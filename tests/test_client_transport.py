"""The clients against servers that go away, stay silent or talk nonsense."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
from pathlib import Path

import pytest

from fastdag.client import AsyncClient, Client
from fastdag.errors import ServiceError, ServiceNotFoundError

PONG = b'{"service":"fastdag","version":"1","pid":1,"instance":"i","journal":false}'
UNIT = b'{"unit":"a","status":"completed","state":"ready","ready":true,"seconds":0.0,"reason":null,"owner":null}'


def answer(body, more=b""):
    return b"HTTP/1.1 200 OK\r\n" + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Server:
    """Does to each connection, and each request on it, what a script says.

    A script is a list of connections, each a list of what is sent for its requests, after which it is closed.
    """

    def __init__(self, path, *script):
        self.path, self.script = path, script
        self.requests = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.closed = [threading.Event() for _ in script]  # the server's end of the connection
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        for number, answers in enumerate(self.script):
            connection, _ = self.listener.accept()
            with connection:
                for data in answers:
                    self.requests.append(self.receive(connection))
                    if self.requests[-1]:
                        connection.sendall(data)
            self.closed[number].set()

    @staticmethod
    def receive(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return data
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        length = int(lines[0].partition(b":")[2]) if lines else 0
        while len(body) < length:
            body += connection.recv(65536)
        return head.partition(b"\r\n")[0]

    def finish(self):
        self.thread.join(timeout=30)
        self.listener.close()
        assert not self.thread.is_alive()


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory(prefix="fastdag-") as directory:
        yield str(Path(directory) / "s")


class Blocking:
    """`Client`, called as `Asynchronous` is."""

    def __init__(self, path, **options):
        self.client = Client(path, **options)

    def __call__(self, name, *arguments):
        return getattr(self.client, name)(*arguments)

    def close(self):
        self.client.close()


class Asynchronous:
    """`AsyncClient` in a loop of its own, called from outside."""

    def __init__(self, path, **options):
        self.runner = asyncio.Runner(debug=True)
        self.client = AsyncClient(path, **options)

    def __call__(self, name, *arguments):
        return self.runner.run(self._call(name, arguments))

    async def _call(self, name, arguments):
        await asyncio.sleep(0)  # the loop hears of connections that were closed
        return await getattr(self.client, name)(*arguments)

    def close(self):
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.fixture(params=[Blocking, Asynchronous])
def connect(request):
    """Make clients of either kind."""
    made = []

    def make(*arguments, **options):
        made.append(request.param(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_connection_is_kept(path, connect):
    server = Server(path, [answer(PONG), answer(UNIT), answer(PONG)])
    call = connect(path)
    assert call("ping").instance == "i"
    assert call("complete", "a").status == "completed"
    call("ping")
    server.finish()
    assert server.requests == [b"GET /v1/ping HTTP/1.1", b"POST /v1/complete HTTP/1.1", b"GET /v1/ping HTTP/1.1"]


def test_an_idle_connection_that_was_closed_is_opened_again(path, connect):
    server = Server(path, [answer(PONG)], [answer(UNIT)])
    call = connect(path)
    call("ping")
    server.closed[0].wait(30)
    assert call("complete", "a").id == "a"
    server.finish()


def test_one_that_is_to_be_closed_is_not_kept(path, connect):
    server = Server(path, [answer(PONG, b"Connection: close\r\n")], [answer(PONG)])
    call = connect(path)
    call("ping")
    call("ping")
    server.finish()


def test_what_may_have_been_taken_is_not_sent_twice(path, connect):
    # The second request on the connection is read, and the connection then closed without an answer.
    server = Server(path, [answer(PONG), b""], [answer(UNIT)])
    call = connect(path)
    call("ping")
    with pytest.raises(
        ServiceNotFoundError, match="closed the connection without an answer; it may have done what was"
    ):
        call("complete", "a")
    with socket.socket(socket.AF_UNIX) as last:
        last.connect(path)
    server.finish()
    assert server.requests[2:] == [b""]  # nobody else connected


def test_what_only_reads_is_sent_again_once(path, connect):
    server = Server(path, [answer(PONG), b""], [b""])
    call = connect(path)
    call("ping")
    with pytest.raises(ServiceNotFoundError, match="closed the connection without an answer"):
        call("ping")
    server.finish()
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"220 mail.example ESMTP\r\n", ServiceError, "is not a fastdag service: its answer is not HTTP"),
        (answer(b"<html>"), ServiceError, "makes no sense"),
        (answer(b'{"unit": "a"}'), ServiceError, "makes no sense"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ServiceError, "with HTTP status 404 and no reason"),
        (answer(UNIT)[:-5], ServiceNotFoundError, "closed the connection without an answer"),
        (b"", ServiceNotFoundError, "closed the connection without an answer"),
    ],
)
def test_an_answer_that_is_none(path, connect, data, kind, message):
    server = Server(path, [data])
    call = connect(path)
    with pytest.raises(kind, match=message):
        call("complete", "a")
    server.finish()


def test_a_service_that_stays_silent(path, connect):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        call = connect(path, timeout=0.1)
        with pytest.raises(ServiceError, match=r"did not answer within 0\.1 s; it may have done"):
            call("ping")
        with pytest.raises(ServiceError, match=r"did not answer within 0\.3 s"):
            call("start", "a", 0.2)
        with pytest.raises(ServiceError, match="did not answer within"):
            call("events")


def test_a_service_whose_queue_is_full(path, connect):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            call = connect(path, timeout=0.2)
            with pytest.raises(ServiceError, match="is there but takes no connection"):
                call("ping")
            # when there is room again, whoever waits for it comes in
            call = connect(path, timeout=30)

            def accept():
                listener.accept()[0].close()
                connection = listener.accept()[0]
                with connection:
                    Server.receive(connection)
                    connection.sendall(answer(PONG))

            thread = threading.Timer(0.2, accept)
            thread.start()
            assert call("ping").pid == 1
            thread.join()


def test_nobody_listens(path, connect):
    call = connect(path)
    for verb, *arguments in (["ping"], ["complete", "a"], ["events"]):
        with pytest.raises(ServiceNotFoundError, match=r"no fastdag service at .*; start one with: fastdag serve"):
            call(verb, *arguments)
    with pytest.raises(ServiceError, match=r"cannot connect to .*too long"):
        connect("/" + "x" * 200)("ping")


EVENT = (
    b'id: i-7\nevent: status\ndata: {"kind":"status","unit":"a","dependency":null,"old":"","new":"up","time":5.0}\n\n'
)


def test_events_end_with_the_service(path, connect):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = Server(path, [head + b"%x\r\n%b\r\n" % (len(EVENT), EVENT)], [head + b"0\r\n\r\n"], [b""])
    call = connect(path)
    for expected in (["up"], []):
        events = call("events", None, None, "i-6")
        assert events.last_event_id == "i-6"
        got = []
        with pytest.raises(ServiceNotFoundError, match="ended the connection; it was stopped, or restarted"):
            read(call, events, got)
        assert [event.new for event in got] == expected
        assert [(event.sequence, event.time) for event in got] == [(7, 5.0)] * len(got)
        assert events.last_event_id == ("i-7" if expected else "i-6")
        close(call, events)
    with pytest.raises(ServiceNotFoundError):
        call("events")
    server.finish()
    with pytest.raises(ValueError, match="comes from an Event's stream or a Snapshot"):
        call("events", None, None, "a\r\nb")


def read(call, events, into):
    if isinstance(call, Blocking):
        for event in events:
            into.append(event)
        return

    async def run():
        async for event in events:
            into.append(event)

    call.runner.run(run())


def close(call, events):
    ended = events.close()
    if ended is not None:
        call.runner.run(ended)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_has_connections_of_its_own(path):
    server = Server(path, [answer(PONG), answer(PONG)])
    with Client(path) as client:
        client.ping()
        child = os.fork()
        if not child:
            # the listener still queues what connects; nobody answers, so the child gives up
            client._transport.timeout = 0.1
            try:
                client.ping()
            except ServiceError as error:
                os._exit(0 if "did not answer" in str(error) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        client.ping()  # on the first connection still
    server.finish()
    assert len(server.requests) == 2

"""The limits of requests and of the service, made small, and the protocol's way with connections; in one process."""

import asyncio
import contextlib
import functools
import json
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from unittest.mock import Mock

from tests.service_support import PATIENCE, Reply, replies_in, running_service

# Once it is known to be installed:
import uvicorn  # isort: skip
import uvloop  # isort: skip
from uvicorn.server import ServerState  # isort: skip
from fastdag import Manager  # isort: skip
from fastdag.service.app import application  # isort: skip
from fastdag.service.metrics import Metrics  # isort: skip
from fastdag.service.listener import listen_tcp  # isort: skip
from fastdag.service.protocol import HttpServer, RequestLimits, TcpProtocol, UnixProtocol, with_token  # isort: skip
from fastdag.service.state import Limits, Service  # isort: skip

SHORT = 0.2  # seconds

PING = b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n"


class Serving:
    """A service in this loop."""

    def __init__(self, path: Path, service: Service) -> None:
        self.path = path
        self.service = service
        self._loop = asyncio.get_running_loop()

    async def exchange(self, *parts: bytes) -> list[Reply]:
        """Send bytes, part by part, each read before the next is sent; give all that is answered until the end."""
        with self.client() as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read
                for part in parts:
                    await self._loop.sock_sendall(client, part)
                    if len(parts) > 1:
                        await self.turn()
            return await self.rest(client)

    def client(self) -> socket.socket:
        """Open a connection, whose reads and writes are the loop's."""
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.connect(str(self.path))
        return client

    async def rest(self, client: socket.socket) -> list[Reply]:
        """Give all that is answered until the end."""
        data = bytearray()
        with contextlib.suppress(ConnectionResetError):  # closed with bytes of ours unread
            while part := await self._loop.sock_recv(client, 1 << 16):
                data += part
        return replies_in(bytes(data))

    async def until(self, client: socket.socket, end: bytes) -> bytes:
        """Read until these bytes have come, and give all that came."""
        data = b""
        while not data.endswith(end):
            part = await self._loop.sock_recv(client, 1 << 16)
            assert part, data
            data += part
        return data

    async def send(self, client: socket.socket, data: bytes) -> None:
        await self._loop.sock_sendall(client, data)

    async def turn(self) -> None:
        """Let the service, which is in this loop, read what was sent."""
        with self.client() as client:
            await self.send(client, PING)
            await self.until(client, b"}")

    async def call(self, path: str, **fields: object) -> Reply:
        body = json.dumps(fields).encode()
        [reply] = await self.exchange(post(path, body, "Connection: close"))
        return reply


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


@contextlib.asynccontextmanager
async def serving(folder: Path, requests: RequestLimits, holds: Limits) -> AsyncIterator[Serving]:
    service = Service(Manager(auto_skip=True), limits=holds)
    server = HttpServer(application(service, Metrics(service), requests), UnixProtocol, requests)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(folder / "socket"))
    bound.setblocking(False)
    await server.listen(bound)
    try:
        yield Serving(folder / "socket", service)
    finally:
        server.shut()
        service.stop()
        await server.ended(1.0)


def run(
    folder: Path,
    test: Callable[[Serving], Awaitable[None]],
    requests: RequestLimits | None = None,
    holds: Limits | None = None,
) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), serving(folder, requests or RequestLimits(), holds or Limits()) as made:
            await test(made)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def refused(replies: list[Reply], code: int, message: str) -> None:
    [reply] = replies
    assert reply.body == {"error": "RequestError", "message": message}
    assert (reply.code, reply.headers["connection"]) == (code, "close")


# --- headers --------------------------------------------------------------------------------------------------------


def test_headers_have_a_size(tmp_path: Path) -> None:
    limits = RequestLimits(header=1000)
    message = "the headers are longer than 1000 bytes"

    async def test(service: Serving) -> None:
        room = 1000 - len("/v1/ping") - len("a") - 4
        [reply] = await service.exchange(b"GET /v1/ping HTTP/1.0\r\na: " + b"x" * room + b"\r\n\r\n")
        assert reply.code == 200
        for last in (b"\r\n\r\n", b""):  # complete, and endless
            refused(
                await service.exchange(b"GET /v1/ping HTTP/1.1\r\na: " + b"x" * (room + 1) + b"x" * 200 + last),
                431,
                message,
            )
        refused(await service.exchange(b"GET /v1/ping HTTP/1.1\r\na: " + b"x" * (room + 1) + b"\r\n\r\n"), 431, message)
        refused(await service.exchange(b"GET /" + b"x" * 1000 + b" HTTP/1.1\r\n\r\n"), 431, message)
        refused(await service.exchange(b"GET /v1/ping HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n"), 431, message)
        refused(await service.exchange(b"GET /v1/ping HTTP/1.1\r\n", *[b"a: bbbbbbbb\r\n"] * 100), 431, message)
        refused(await service.exchange(b"G" * 1001), 400, "this is not HTTP/1.1")

    run(tmp_path, test, limits)


def test_a_body_is_no_part_of_the_headers(tmp_path: Path) -> None:
    async def test(service: Serving) -> None:
        request = post("/v1/register", json.dumps({"units": [f"unit-{number}" for number in range(300)]}).encode())
        with service.client() as client:
            for _ in range(3):  # on one connection, in two parts each
                for part in (request[:50], request[50:]):
                    await service.send(client, part)
                    await service.turn()
                await service.until(client, b"}")

    run(tmp_path, test, RequestLimits(header=200))


def test_headers_have_a_time(tmp_path: Path) -> None:
    message = f"the headers did not come within {SHORT} s"

    async def test(service: Serving) -> None:
        for sent in (b"", b"G", b"GET /v1/ping HTTP/1.1\r\nHost: x", PING[:-2], b"\r\n", PING[:-2] + b"X"):
            refused(await service.exchange(sent), 408, message)
        # One byte after another does not help, neither does a connection on which a request was answered.
        with service.client() as client:
            await service.send(client, PING)
            await service.until(client, b"}")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for byte in b"GET /v1/ping HTTP/1.1\r\nHost: " + b"x" * 1000:
                    await service.send(client, bytes([byte]))
                    await asyncio.sleep(SHORT / 20)  # a slow client is what this is about
                raise AssertionError("all was taken")
            refused(await service.rest(client), 408, message)

    run(tmp_path, test, RequestLimits(header_seconds=SHORT))


def test_a_connection_without_a_request_may_stay(tmp_path: Path) -> None:
    """The time for headers begins with their first byte, but for the first request."""

    async def test(service: Serving) -> None:
        with service.client() as client:
            await service.send(client, PING)
            await service.until(client, b"}")
            assert await nothing_more(client)
            await service.send(client, PING)
            await service.until(client, b"}")

    run(tmp_path, test, RequestLimits(header_seconds=SHORT))


async def nothing_more(client: socket.socket) -> bool:
    """Say whether the connection stays as it is, and silent, for much longer than the limit."""
    try:
        async with asyncio.timeout(3 * SHORT):
            await asyncio.get_running_loop().sock_recv(client, 1)
    except TimeoutError:
        return True
    return False


def test_headers_that_begin_in_one_read_with_another_request_have_a_time(tmp_path: Path) -> None:
    async def test(service: Serving) -> None:
        answer, refusal = await service.exchange(PING + b"GET /v1/pi")
        assert answer.code == 200
        refused([refusal], 408, f"the headers did not come within {SHORT} s")

    run(tmp_path, test, RequestLimits(header_seconds=SHORT))


def test_who_waits_is_not_disturbed_by_what_he_sends_ahead(tmp_path: Path) -> None:
    """The answer comes, alone; and when he leaves, nobody waits any more."""

    async def test(service: Serving) -> None:
        await service.call("/v1/want", unit="b", depends_on=["a"])
        ahead = (b"\r\n", b"GET /v1/pi", PING, b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\na: " + b"x" * 2000)
        clients = [service.client() for _ in ahead]
        for client, more in zip(clients, ahead, strict=True):
            await service.send(client, post("/v1/wait", b'{"unit":"b"}'))
            await service.turn()
            await service.send(client, more)
        assert all(await asyncio.gather(*map(nothing_more, clients)))
        assert service.service.waiters == len(ahead)
        for client in clients[:2]:
            client.close()
        while service.service.waiters > len(ahead) - 2:
            await service.turn()
        await service.call("/v1/start", unit="a")
        await service.call("/v1/complete", unit="a")
        for client in clients[2:]:
            [reply] = await service.rest(client)
            assert reply.code == 200
            assert reply.headers["connection"] == "close"
            client.close()

    run(tmp_path, test, RequestLimits(header_seconds=SHORT, header=1000))


# --- bodies ---------------------------------------------------------------------------------------------------------


def test_bodies_have_a_size(tmp_path: Path) -> None:
    message = "the body is longer than 1000 bytes; send less at a time"

    async def test(service: Serving) -> None:
        fits = b'{"units":["a"]}'.ljust(1000)
        [reply] = await service.exchange(post("/v1/register", fits, "Connection: close"))
        assert reply.code == 200
        chunked = b"POST /v1/register HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        for request in (
            post("/v1/register", fits + b" ", "Connection: close"),
            post("/v1/register", b" " * 1_000_000, "Connection: close"),
            chunked + b"3e9\r\n" + b" " * 1001 + b"\r\n0\r\n\r\n",
            chunked + b"1\r\n \r\n" * 1001,  # without an end
        ):
            refused(await service.exchange(request), 413, message)
        # The connection is of use again once the rest of the body has come.
        with service.client() as client:
            request = post("/v1/register", b" " * 100_000)
            await service.send(client, request[:50_000])
            assert b" 413 " in await service.until(client, b"}")
            await service.send(client, request[50_000:] + PING)
            assert b" 200 " in await service.until(client, b"}")

    run(tmp_path, test, RequestLimits(body=1000))


def test_bodies_have_a_time(tmp_path: Path) -> None:
    async def test(service: Serving) -> None:
        request = post("/v1/register", b'{"units":["a"]}')
        for sent in (request[:-15], request[:-1]):
            [reply] = await service.exchange(sent)  # and the rest has its time, too: then the connection closes
            assert reply.code == 408
            assert reply.body == {"error": "RequestError", "message": f"the body did not come within {SHORT} s"}
        assert (await service.call("/v1/register", units=["a"])).code == 200

    run(tmp_path, test, RequestLimits(body_seconds=SHORT, header_seconds=SHORT))


def test_a_body_that_nobody_reads_does_not_keep_a_connection(tmp_path: Path) -> None:
    async def test(service: Serving) -> None:
        get = b"GET /v1/ping HTTP/1.1\r\nContent-Length: 100\r\n\r\n"
        for sent in (get, get + b"x"):
            [reply] = await service.exchange(sent)
            assert reply.code == 200

    run(tmp_path, test, RequestLimits(header_seconds=SHORT))


# --- answers --------------------------------------------------------------------------------------------------------


MANY = ["x" * 150 + str(number) for number in range(5000)]
LIST = b"GET /v1/list HTTP/1.1\r\nConnection: close\r\n\r\n"


def test_an_answer_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    async def test(service: Serving) -> None:
        assert (await service.call("/v1/register", units=MANY)).code == 200
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        with service.client() as client, select.epoll() as poll:
            await service.send(client, LIST)
            poll.register(client, select.EPOLLRDHUP)  # hears of the end without reading anything
            loop.add_reader(poll.fileno(), lambda: ended.done() or ended.set_result(None))
            await ended
            loop.remove_reader(poll.fileno())

    run(tmp_path, test, RequestLimits(unread_seconds=SHORT))


class Clockwork:
    """Stands for loop and transport of a connection: time goes on, and the client reads, when the test says so."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], object]] = []
        self.size = 0  # bytes of an answer that wait
        self.aborted = False

    def call_later(self, seconds: float, callback: Callable[..., object], *arguments: object) -> Mock:
        assert seconds == 60.0
        self.timers.append(functools.partial(callback, *arguments))
        return Mock()

    def get_write_buffer_size(self) -> int:
        return self.size

    def abort(self) -> None:
        self.aborted = True

    def minute_later(self, size: int) -> None:
        self.size = size
        self.timers.pop()()


def test_an_answer_that_is_read_slowly_is_not() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        clockwork = Clockwork()
        config = uvicorn.Config(Mock(), http=UnixProtocol, lifespan="off", log_config=None)
        connection = UnixProtocol(config, ServerState(), RequestLimits(unread_seconds=60.0), lambda: None)
        assert connection.loop is loop
        connection.loop = connection.transport = clockwork
        connection.flow = Mock()
        clockwork.size = 1000
        connection.pause_writing()
        for size in (999, 500, 1):
            clockwork.minute_later(size)
            assert not clockwork.aborted
        clockwork.minute_later(1)
        assert clockwork.aborted

    asyncio.run(test())


# --- what the service holds -----------------------------------------------------------------------------------------


def test_units_have_a_limit(tmp_path: Path) -> None:
    full = {"error": "CapacityError", "message": "the service holds 3 units, and no more; start another service"}

    async def test(service: Serving) -> None:
        assert (await service.call("/v1/want", unit="a", depends_on=["b"])).code == 200
        for path, fields in (
            ("/v1/register", {"units": ["c", "d"]}),
            ("/v1/want", {"unit": "c", "depends_on": ["d"]}),
            ("/v1/want", {"unit": "a", "depends_on": ["c", "d"]}),
            ("/v1/dependencies", {"dependencies": [{"unit": "a", "depends_on": name} for name in "cd"]}),
        ):
            reply = await service.call(path, **fields)
            assert (reply.code, reply.body) == (507, full)
            assert len(service.service.manager.graph) == 2
        assert (await service.call("/v1/register", units=["b", "c"])).code == 200
        for path, fields in (
            ("/v1/start", {"unit": "d"}),
            ("/v1/register", {"units": ["d"]}),
        ):
            reply = await service.call(path, **fields)
            assert (reply.code, reply.body) == (507, full)
        assert (await service.call("/v1/wait", unit="d", timeout=0)).code == 504  # holds nothing
        assert (await service.call("/v1/start", unit="c")).code == 200

    run(tmp_path, test, holds=Limits(names=3))


def test_dependencies_have_a_limit(tmp_path: Path) -> None:
    full = {"error": "CapacityError", "message": "the service holds 2 dependencies, and no more; start another service"}

    async def test(service: Serving) -> None:
        assert (await service.call("/v1/want", unit="a", depends_on=["b", "c"])).code == 200
        reply = await service.call("/v1/want", unit="b", depends_on=["c"])
        assert (reply.code, reply.body) == (507, full)
        assert service.service.manager.graph.number_of_edges() == 2

    run(tmp_path, test, holds=Limits(dependencies=2))


def test_waiters_have_a_limit(tmp_path: Path) -> None:
    async def test(service: Serving) -> None:
        await service.call("/v1/want", unit="b", depends_on=["a"])
        waiting = [asyncio.create_task(service.call("/v1/wait", unit="b")) for _ in range(2)]
        while service.service.waiters < 2:
            await service.turn()
        for path in ("/v1/wait", "/v1/start"):
            reply = await service.call(path, unit="b")
            assert reply.code == 429
            assert reply.body == {
                "error": "TooManyWaitersError",
                "message": "the service has 2 waiters already, as many as it may have; try again later",
            }
        assert (await service.call("/v1/wait", unit="b", timeout=0)).code == 504  # does not wait
        assert (await service.call("/v1/complete", unit="a")).code == 404
        await service.call("/v1/start", unit="a")
        assert (await service.call("/v1/complete", unit="a")).code == 200
        assert [reply.code for reply in await asyncio.gather(*waiting)] == [200, 200]
        assert (await service.call("/v1/wait", unit="b")).code == 200

    run(tmp_path, test, holds=Limits(waiters=2))


def test_streams_of_events_have_a_limit(tmp_path: Path) -> None:
    ask = b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"

    async def test(service: Serving) -> None:
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(service.client()) for _ in range(2)]
            for stream in streams:
                await service.send(stream, ask)
                await service.until(stream, b": fastdag\n\n\r\n")
            [reply] = await service.exchange(ask.replace(b"Host: x", b"Connection: close"))
            assert reply.code == 429
            assert reply.body == {
                "error": "TooManyStreamsError",
                "message": "the service has 2 streams of events already, as many as it may have; try again later",
            }
            [reply] = await service.exchange(b"HEAD /v1/events HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert reply.code == 200  # is none
            figures = await service.exchange(b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert "\nfastdag_streams 2.0\n" in figures[0].body
            streams[0].close()
            for _ in range(5):  # some whose clients have gone before they begin
                with service.client() as stream:
                    await service.send(stream, ask)
            told = b""
            while not told.startswith(b"HTTP/1.1 200"):
                with service.client() as stream:
                    await service.send(stream, ask)
                    told = await asyncio.get_running_loop().sock_recv(stream, 100)
        while service.service.streams:
            await service.turn()

    run(tmp_path, test, holds=Limits(streams=2))


# --- connections ----------------------------------------------------------------------------------------------------


def test_connections_have_a_limit(tmp_path: Path) -> None:
    message = "the service has 2 connections already, as many as it may have; try again later"

    async def test(service: Serving) -> None:
        with service.client() as first, service.client() as second:
            for client in (first, second):
                await service.send(client, PING)
                await service.until(client, b"}")
            refused(await service.exchange(PING), 503, message)
            for client in (first, second):  # go on
                await service.send(client, PING)
                await service.until(client, b"}")
        while (await service.exchange(PING.replace(b"Host: x", b"Connection: close")))[0].code != 200:
            pass  # until the service has seen them go

    run(tmp_path, test, requests=RequestLimits(connections=2))


def test_who_shows_no_token_is_not_kept() -> None:
    known = b"GET /v1/ping HTTP/1.1\r\nAuthorization: Bearer secret\r\n\r\n"
    message = f"no request with the token came within {SHORT:g} s"

    async def main() -> None:
        service = Service(Manager(auto_skip=True))
        app = with_token(application(service, Metrics(service)), b"secret")
        server = HttpServer(app, TcpProtocol, RequestLimits(token_seconds=SHORT))
        [bound] = listen_tcp("127.0.0.1", 0)
        await server.listen(bound)

        async def exchange(*parts: bytes, pause: float = 0.0) -> list[Reply]:
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            try:
                for part in parts:
                    writer.write(part)
                    await asyncio.sleep(pause)
                return replies_in(await asyncio.wait_for(reader.read(), PATIENCE))
            finally:
                writer.close()

        try:
            silent, half, without, late = await asyncio.gather(
                exchange(), exchange(PING[:9]), exchange(PING), exchange(PING, PING, PING, PING, pause=SHORT * 0.3)
            )
            for replies in (silent, half, without[-1:], late[-1:]):
                refused(replies, 408, message)
            assert [reply.code for reply in without] == [401, 408]
            assert {reply.code for reply in late[:-1]} == {401}
            last = known.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            assert [reply.code for reply in await exchange(known, last, pause=SHORT * 2)] == [200, 200]
        finally:
            server.shut()
            await server.ended(1.0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


# --- as they are ----------------------------------------------------------------------------------------------------


def test_the_limits_of_a_service_that_runs(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        silent = service.connect()
        silent.sendall(b"POST /v1/register HTTP/1.1\r\nContent-Length: 10\r\n\r\n")
        idle = service.connect()
        with silent, idle:
            line = b"GET /v1/ping HTTP/1.1\r\na: "
            [reply] = replies_in(service.raw_request(line + b"x" * (16 << 10) + b"\r\n\r\n"))
            assert (reply.code, reply.body["message"]) == (431, "the headers are longer than 16384 bytes")
            fits = b'{"units":["a"]}'.ljust(1 << 20)
            assert service.call("POST", "/v1/register", fits).code == 200
            reply = service.call("POST", "/v1/register", fits + b" ")
            assert (reply.code, reply.body["message"]) == (
                413,
                "the body is longer than 1048576 bytes; send less at a time",
            )
            assert b"408 Request Timeout" in idle.recv(1000)  # after ten seconds
            assert b"408 Request Timeout" in silent.recv(1000)

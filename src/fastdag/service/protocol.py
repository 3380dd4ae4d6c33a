"""How requests come in: uvicorn's HTTP, with limits, peers' uids and tokens, and a server that ends when it is told.

Of uvicorn its protocol is used and not its server, which looks ten times a second whether it should end, and has one
listening socket and the process's signals for itself.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from fastdag.service.messages import ErrorView

KEEP_ALIVE = 75  # seconds that an idle connection is kept
BACKLOG = 4096  # connections that wait to be accepted

Application = Callable[[Any, Any, Any], Awaitable[None]]


class RequestLimits(NamedTuple):
    """What a request may take, in bytes and seconds."""

    header: int = 16 << 10  # its first line and headers
    header_seconds: float = 10.0  # for them to come in, and for the rest of a body that is not looked at
    body: int = 1 << 20
    body_seconds: float = 10.0
    unread_seconds: float = 60.0  # for the client to read something of an answer that waits for it
    token_seconds: float = 5.0  # over TCP: for the TLS handshake, and for a request with the token
    connections: int = 16_384  # at one socket


LIMITS = RequestLimits()


class _RefusedError(Exception):
    """Raised in a callback of the parser to stop it; what is the matter is in `_fault`."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with what it has not.

    - Limits to the size and the time of a request's headers, and to the time that a client leaves an answer unread.
    - A limit to the connections, which the one too many is told. uvicorn's own has each of the others refused, too.
    - Refusals in JSON like all others.
    - One request at a time. One that comes before the answer to the last is not taken: the connection closes behind
      that answer, and the client asks again. uvicorn would stop reading until then, and so would not notice that the
      client of a call that waits has gone.

    Parameters
    ----------
    config, state
        Of uvicorn.
    limits : RequestLimits
    lost : callable
        Called when the connection has ended.
    """

    def __init__(
        self, config: uvicorn.Config, state: ServerState, limits: RequestLimits, lost: Callable[[], object]
    ) -> None:
        super().__init__(config, state, {"trust": self._trust})
        self._limits = limits
        self._lost = lost
        self._in_header = True  # what comes next belongs to a request's headers
        self._header_size = 0  # bytes of headers that came and are not complete
        self._fault: tuple[int, str] | None = None  # why a callback stopped the parser
        self._deaf = False  # what comes in is thrown away until the connection closes
        self._timer: asyncio.TimerHandle | None = None  # for headers, and for the rest of a body
        self._unread: asyncio.TimerHandle | None = None

    @property
    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # there is none before the first request
        return cycle is not None and not cycle.response_complete

    # --- what comes in --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._expect()
        if len(self.connections) > self._limits.connections:
            self._refuse(
                503,
                f"the service has {self._limits.connections} connections already, as many as it may have; "
                "try again later",
            )

    def _trust(self) -> None:
        """Take note that the client has shown the token."""

    def data_received(self, data: bytes) -> None:
        """Count what belongs to headers."""
        if self._deaf or self.transport.is_closing():
            return
        if self._in_header:
            self._header_size += len(data)
            self._expect()
        super().data_received(data)
        # The size of headers that are complete is looked at in on_headers_complete.
        if self._in_header and self._header_size > self._limits.header:
            self._refuse(431, self._too_long)

    @property
    def _too_long(self) -> str:
        return f"the headers are longer than {self._limits.header} bytes"

    def on_message_begin(self) -> None:
        """Wait for the rest of headers that began in one read with the end of another request."""
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        """Take the request, or refuse it."""
        size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
        if size > self._limits.header:
            self._fault = 431, self._too_long
            raise _RefusedError
        if self._answering:
            raise _RefusedError
        super().on_headers_complete()
        self._forget()
        self._in_header = False
        self._header_size = 0
        if self.expect_100_continue or self.parser.should_upgrade():
            # A client that was answered before it sent the body may send it or not; and behind a request to speak
            # something else the parser takes nothing more.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Be ready for the next request."""
        super().on_message_complete()
        self._forget()
        self._in_header = True

    def on_response_complete(self) -> None:
        """Wait for the rest of a request that was answered before it was all there; it is thrown away."""
        super().on_response_complete()
        if not self._in_header:
            self._expect()
        if self.flow.write_paused:
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it is always the same
        """Refuse what the parser, or a callback, did not take."""
        self._refuse(*(self._fault or (400, "this is not HTTP/1.1")))

    def _refuse(self, code: int, message: str) -> None:
        """Answer with an error, unless the answer to an earlier request comes first, and close the connection."""
        self._deaf = True
        if self._answering and (self._in_header or self.cycle.response_started):
            self.cycle.keep_alive = False  # closes behind that answer
            return
        self._forget()
        if self._in_header or self._answering:
            self.transport.write(refusal(code, message))
        self.transport.close()

    # --- time -----------------------------------------------------------------------------------------------------

    def _expect(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._limits.header_seconds, self._out_of_time)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _out_of_time(self) -> None:
        self._timer = None
        if self._answering:  # the client may well wait before it sends more
            self._expect()
        elif not self.transport.is_closing():
            self._refuse(408, f"the headers did not come within {self._limits.header_seconds:g} s")

    # --- what goes out --------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Watch whether the client reads, and until it has read one answer do not begin with another."""
        super().pause_writing()
        if not self._answering:
            self.flow.pause_reading()
        self._watch(self.transport.get_write_buffer_size())

    def _watch(self, size: int) -> None:
        self._unread = self.loop.call_later(self._limits.unread_seconds, self._look, size)

    def _look(self, before: int) -> None:
        size = self.transport.get_write_buffer_size()
        if size < before:
            self._watch(size)
        else:
            self.transport.abort()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self.flow.resume_reading()
        self._unwatch()

    def _unwatch(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._forget()
        self._unwatch()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn does it only where there was no error
        self._lost()


class UnixProtocol(Protocol):
    """For the socket: only processes of the service's own user, and root's, are listened to."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Look who is there."""
        super().connection_made(transport)
        if self._deaf:  # refused already
            return
        uid = _peer_uid(transport)
        if uid not in (os.getuid(), 0):
            message = f"this service belongs to user {os.getuid()}, and you are user {uid}; start one of your own"
            self._refuse(403, message)


class TcpProtocol(Protocol):
    """For a port, which anybody can reach: whoever does not show the token is not kept."""

    _stranger: asyncio.TimerHandle | None = None  # until the token has come

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the token."""
        super().connection_made(transport)
        self._stranger = self.loop.call_later(self._limits.token_seconds, self._no_token)

    def _no_token(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, f"no request with the token came within {self._limits.token_seconds:g} s")

    def _trust(self) -> None:
        if self._stranger is not None:
            self._stranger.cancel()
            self._stranger = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._trust()
        super().connection_lost(exc)


def _peer_uid(transport: asyncio.Transport) -> int:
    """Give the user at the other end; uvloop's own object for the socket does not tell."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, transport.get_extra_info("socket").fileno())
    try:
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    finally:
        peer.detach()
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


def refusal(code: int, message: str) -> bytes:
    """Give a whole answer that refuses a request of which no more is known."""
    body = msgspec.json.encode(ErrorView(error="RequestError", message=message))
    head = (
        f"HTTP/1.1 {code} {HTTPStatus(code).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def with_token(application: Application, token: bytes) -> Application:
    """Let only those in who present the token."""
    body = msgspec.json.encode(ErrorView(error="RequestError", message="send the token: Authorization: Bearer …"))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b"Bearer"),
    ]

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        presented = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, given = presented[0].partition(b" ") if len(presented) == 1 else (b"", b"", b"")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token):
            scope["state"]["trust"]()
            await application(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return guarded


class HttpServer:
    """An application behind a listening socket.

    Parameters
    ----------
    application : ASGI application
    protocol : type
        `UnixProtocol` or `TcpProtocol`.
    limits : RequestLimits
    """

    def __init__(
        self, application: Application, protocol: type[Protocol], limits: RequestLimits = LIMITS
    ) -> None:
        self._config = uvicorn.Config(
            application,
            http=protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
        self._config.load()
        self._state = ServerState()
        self._protocol = protocol
        self._limits = limits
        self._servers: list[asyncio.Server] = []
        self._none_left = asyncio.Event()

    async def listen(self, bound: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a bound socket, too, from now on."""
        seconds = None if tls is None else self._limits.token_seconds
        server = await asyncio.get_running_loop().create_server(
            lambda: self._protocol(self._config, self._state, self._limits, self._closed),
            sock=bound,
            ssl=tls,
            ssl_handshake_timeout=seconds,
            ssl_shutdown_timeout=seconds,
            backlog=BACKLOG,
        )
        self._servers.append(server)

    def _closed(self) -> None:
        if not self._state.connections:
            self._none_left.set()

    def shut(self) -> None:
        """Take no more requests: connections end behind the answer that is under way."""
        for server in self._servers:
            server.close()
        for connection in list(self._state.connections):
            connection.shutdown()

    async def ended(self, grace: float) -> None:
        """Return when all answers are read, or after so many seconds."""
        try:
            async with asyncio.timeout(grace):
                while self._state.connections:
                    self._none_left.clear()
                    await self._none_left.wait()
        except TimeoutError:
            for connection in list(self._state.connections):
                connection.transport.abort()
        if self._state.tasks:  # they see that their clients have gone
            await asyncio.wait(self._state.tasks, timeout=grace)

"""Where the service listens, and who may call: the socket's file, peers' uids, tokens, slow and endless headers."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hmac
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fastdag.errors import FastDAGError
from fastdag.service.messages import ErrorView

HEADER = 16 << 10  # bytes of a request's line and headers
HEADER_SECONDS = 10.0  # for them to come in
SOCKET_PATH = 107  # bytes, of sockaddr_un


class ListenError(FastDAGError, OSError):
    """The service cannot listen where it should."""


class AlreadyServedError(ListenError):
    """Another service listens there."""


class SocketFile:
    """A Unix socket in the file system that belongs to one service at a time.

    The lock on the file beside it, which ends with the process however it ends, says whether the service lives: so a
    socket that was left behind is told from one that is served, and of two services that start at the same moment one
    wins.

    Parameters
    ----------
    path : Path

    Raises
    ------
    AlreadyServedError
        If another one listens there.
    ListenError
        If that is no place for a socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_path = path.with_name(path.name + ".lock")
        if len(os.fsencode(path)) > SOCKET_PATH:
            raise ListenError(f"a socket's path is at most {SOCKET_PATH} bytes long; choose a shorter one than {path}")
        try:
            self._lock = self._locked()
        except OSError as error:
            raise ListenError(f"cannot listen at {path}: {error.strerror}") from error
        try:
            self.socket = self._bound()
        except BaseException:
            self._unlock()
            raise

    def _locked(self) -> int:
        while True:
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(lock, 20, 0).decode(errors="replace").strip()
                os.close(lock)
                raise AlreadyServedError(
                    f"a service listens at {self.path} already" + (f", process {pid}" if pid else "")
                ) from None
            # Its last owner may have removed the file between our opening and locking it.
            try:
                if os.path.samestat(os.fstat(lock), os.stat(self._lock_path)):
                    os.ftruncate(lock, 0)
                    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
                    return lock
            except FileNotFoundError:
                pass
            os.close(lock)

    def _bound(self) -> socket.socket:
        """Bind, after the socket of a service that is dead was taken away."""
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            pass
        else:
            if not stat.S_ISSOCK(there.st_mode):
                raise ListenError(f"{self.path} is there and no socket; move it away or choose another --socket")
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1.0)
                try:
                    probe.connect(str(self.path))
                except ConnectionRefusedError:
                    os.unlink(self.path)
                except OSError as error:
                    raise ListenError(f"cannot tell who listens at {self.path}: {error.strerror or error}") from error
                else:
                    raise AlreadyServedError(f"another program listens at {self.path}; choose another --socket")
        listening = socket.socket(socket.AF_UNIX)
        # Never open to others, not for a moment. Nothing else makes files now: no other thread runs yet.
        mask = os.umask(0o177)
        try:
            listening.bind(str(self.path))
        except OSError as error:
            listening.close()
            raise ListenError(f"cannot listen at {self.path}: {error.strerror}") from error
        finally:
            os.umask(mask)
        self._inode = os.lstat(self.path).st_ino
        listening.setblocking(False)
        return listening

    def close(self) -> None:
        """Take the socket and its lock away, unless somebody has put something else in its place."""
        self.socket.close()
        try:
            if os.lstat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        self._unlock()

    def _unlock(self) -> None:
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)


def private_directory(path: Path) -> None:
    """Make a directory that is ours alone, or see that it is.

    Raises
    ------
    ListenError
        If it belongs to somebody else, is open to others or is no directory.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    there = path.lstat()
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid() or there.st_mode & 0o077:
        raise ListenError(
            f"{path} is not a directory of mode 0700 that belongs to user {os.getuid()}; "
            "remove it, or choose another --socket"
        )


def listen_tcp(host: str, port: int) -> socket.socket:
    """Listen on TCP.

    Raises
    ------
    ListenError
        If that is not possible.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    listening.setblocking(False)
    return listening


def read_token(path: Path) -> bytes:
    """Give the token in a file that nobody else can read.

    Raises
    ------
    ListenError
        If there is none, it is short, or others could read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            token = file.read(4096).strip()
    except OSError as error:
        raise ListenError(f"cannot read the token file {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ListenError(f"others may read or write the token file {path}; chmod 600 {path}")
    if len(token) < 16 or not token.isascii() or b" " in token:
        raise ListenError(f"{path} must hold 16 or more printable characters; openssl rand -hex 32 makes some")
    return token


def _head(code: int, phrase: str, error: str, message: str) -> bytes:
    body = msgspec.json.encode(ErrorView(error=error, message=message))
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        % (code, phrase.encode(), len(body))
    ) + body


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits to the size and the time of a request's headers, which it has not."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_size = 0
        self._in_header = True  # what comes next belongs to headers
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._expect_header()

    def _expect_header(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def _header_done(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._refuse(408, "Request Timeout", f"the headers did not come within {HEADER_SECONDS:.0f} s")

    def _refuse(self, code: int, phrase: str, message: str) -> None:
        self._header_done()
        if not self.transport.is_closing():
            self.transport.write(_head(code, phrase, "RequestError", message))
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to headers."""
        if self.transport.is_closing():
            return
        if self._in_header:
            # Counted before the parser keeps it. A body that begins in these bytes counts too: it stays below the limit
            # of a read, and the count starts anew with the next request.
            self._header_size += len(data)
        super().data_received(data)
        if self._in_header and self._header_size > HEADER and not self.transport.is_closing():
            self._refuse(431, "Request Header Fields Too Large", f"the headers are longer than {HEADER} bytes")

    def on_message_begin(self) -> None:
        """Wait for the rest of a request's headers."""
        super().on_message_begin()
        self._in_header = True
        if self._timer is None:
            self._expect_header()

    def on_headers_complete(self) -> None:
        """Stop counting: the body has limits of its own."""
        self._header_done()
        self._in_header = False
        self._header_size = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count again: the next request may follow."""
        super().on_message_complete()
        self._in_header = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._header_done()
        super().connection_lost(exc)


class UnixProtocol(GuardedProtocol):
    """For the socket: only processes of the service's own user, and root's, are listened to."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Look who is there."""
        uid = _peer_uid(transport)
        super().connection_made(transport)
        if uid not in (os.getuid(), 0):
            message = f"this service belongs to user {os.getuid()}, and you are user {uid}; start one of your own"
            self.transport.write(_head(403, "Forbidden", "RequestError", message))
            self.transport.close()


def _peer_uid(transport: asyncio.Transport) -> int:
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as peer:
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


Application = Callable[[Any, Any, Any], Awaitable[None]]


def with_token(application: Application, token: bytes) -> Application:
    """Let only those in who present the token."""
    expected = b"Bearer " + token
    body = msgspec.json.encode(ErrorView(error="RequestError", message="send the token: Authorization: Bearer …"))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b"Bearer"),
        (b"connection", b"close"),  # the body, if there is one, stays unread
    ]

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        presented = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(presented) == 1 and hmac.compare_digest(presented[0], expected):
            await application(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return guarded

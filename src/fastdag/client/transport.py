"""Requests sent and replies awaited, on a Unix socket or over TCP, by the thread that calls.

Imports nothing but what every interpreter has loaded already, `wire`, and `_socket`, the compiled part of socket, which
itself imports enum and selectors for names that are of no use here: `fastdag sync complete` is mostly this module.
"""

import os
import sys
from _socket import AF_UNIX, SO_SNDTIMEO, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET
from _socket import socket as new_socket
from time import monotonic

from fastdag.client import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssl import SSLContext

PATIENCE = 30.0  # seconds for the service to answer a call that waits for nothing
IDLE = 16  # connections kept for the next calls


class Address:
    """Where a service is, and what a request there says of who asks.

    Parameters
    ----------
    socket : str, optional
        Path of a Unix socket; without it and without `url`, `wire.default_socket()`.
    url : str, optional
        `http://HOST:PORT` or `https://HOST:PORT`, with `token`; `cafile`: what to trust instead of the system's
        certificates.

    Raises
    ------
    ValueError
        If they do not go together, or the token would cross a network readable by anybody.
    """

    def __init__(
        self,
        socket: "str | os.PathLike[str] | None" = None,
        url: "str | None" = None,
        token: "str | None" = None,
        cafile: "str | None" = None,
    ) -> None:
        self.host = ""
        self.port = 0
        self.secure = False
        self.cafile = cafile
        if url is None:
            if token is not None or cafile is not None:
                raise ValueError("a token and a cafile belong to a url; a Unix socket is guarded by the file system")
            self.path = wire.default_socket() if socket is None else os.fspath(socket)
            if not self.path:
                raise ValueError("the path of the service's socket is empty")
            self.headers = "Host: fastdag\r\n"
            return
        if socket is not None:
            raise ValueError("pass a socket or a url, not both")
        self.path = ""
        self._parse(url, token)

    def _parse(self, url: str, token: "str | None") -> None:
        from urllib.parse import urlsplit  # noqa: PLC0415 - not on the way of a call to a Unix socket

        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not parts.port or parts.path.strip("/"):
            raise ValueError(f"a service's url is http://HOST:PORT or https://HOST:PORT, not {url!r}")
        if token is None or not token.isascii() or not token.isprintable() or not token or " " in token:
            raise ValueError(
                "a service's url needs its token, the text in the service's --token-file without line ends"
            )
        self.secure = parts.scheme == "https"
        self.host, self.port = parts.hostname, parts.port
        if self.cafile is not None and not self.secure:
            raise ValueError(f"a cafile is for https://, not {url!r}")
        if not self.secure and self.host != "localhost" and self.host != "::1" and not self.host.startswith("127."):
            raise ValueError(f"a token is sent to another machine by https:// only, not to {url!r}")
        self.headers = f"Host: {parts.netloc.rpartition('@')[2]}\r\nAuthorization: Bearer {token}\r\n"

    @property
    def where(self) -> str:
        """The socket's path or the url, as messages name it."""
        if self.path:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"

    def missing(self) -> Exception:
        """Give the error for a service that is not there."""
        from shlex import quote  # noqa: PLC0415 - here and below: only when something went wrong

        from fastdag.errors import ServiceNotFoundError  # noqa: PLC0415

        command = "fastdag serve --background"
        if not self.path:
            command = f"fastdag serve --listen {self.host}:{self.port} --token-file FILE"
        elif self.path != wire.default_socket():
            command += f" --socket {quote(self.path)}"
        return ServiceNotFoundError(f"no fastdag service at {self.where}; start one with: {command}")

    def refused(self, error: OSError) -> Exception:
        """Give the error for a connection that could not be made."""
        from fastdag.errors import ServiceError  # noqa: PLC0415

        if isinstance(error, (FileNotFoundError, NotADirectoryError, ConnectionError)):
            return self.missing()
        if isinstance(error, PermissionError):
            return ServiceError(f"the service at {self.where} belongs to another user, who alone may call it")
        if isinstance(error, (BlockingIOError, TimeoutError)):
            return ServiceError(f"the service at {self.where} is there but takes no connection; is it stopped or busy?")
        return ServiceError(f"cannot connect to {self.where}: {error.strerror or error}")

    def broken(self) -> Exception:
        """Give the error for a service that went away before it answered."""
        from fastdag.errors import ServiceNotFoundError  # noqa: PLC0415

        return ServiceNotFoundError(
            f"the service at {self.where} closed the connection without an answer; it may have done what was asked: "
            "look at the status before you ask again"
        )

    def gone(self) -> Exception:
        """Give the error for a service that ended a stream of events."""
        from fastdag.errors import ServiceNotFoundError  # noqa: PLC0415

        return ServiceNotFoundError(f"the service at {self.where} ended the connection; it was stopped, or restarted")

    def silent(self, limit: "float | None") -> Exception:
        """Give the error for a service that does not answer."""
        from fastdag.errors import ServiceError  # noqa: PLC0415

        within = "" if limit is None else f" within {limit:g} s"
        return ServiceError(
            f"the service at {self.where} did not answer{within}; it may have done what was asked: look at the status "
            "before you ask again"
        )

    def foreign(self, error: Exception) -> Exception:
        """Give the error for an answer that is not HTTP."""
        from fastdag.errors import ServiceError  # noqa: PLC0415

        return ServiceError(f"what listens at {self.where} is not a fastdag service: its answer is not HTTP, {error}")

    def connect(self, limit: float) -> new_socket:
        """Open a connection within so many seconds."""
        try:
            self.look()
            return self._unix(limit) if self.path else self._tcp(limit)
        except OSError as error:
            raise self.refused(error) from None

    def look(self) -> None:
        """Refuse the folder of the default socket in /tmp where another user made it: he would answer in our name."""
        folder = f"/tmp/fastdag-{os.getuid()}"
        if self.path == f"{folder}/fastdag.sock" and os.lstat(folder).st_uid != os.getuid():
            raise PermissionError

    def _unix(self, limit: float) -> new_socket:
        connection = new_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            # Where many connect at once the service's queue may be full. A socket with a timeout of Python's does not
            # wait for room in it (connect answers EAGAIN at once), a blocking one does, for as long as this says.
            seconds = int(limit)
            timeval = seconds.to_bytes(8, sys.byteorder) + int((limit - seconds) * 1e6).to_bytes(8, sys.byteorder)
            connection.setsockopt(SOL_SOCKET, SO_SNDTIMEO, timeval)
            connection.connect(self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _tcp(self, limit: float) -> new_socket:
        import socket  # noqa: PLC0415

        connection = socket.create_connection((self.host, self.port), limit)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return self.context().wrap_socket(connection, server_hostname=self.host) if self.secure else connection
        except BaseException:
            connection.close()
            raise

    def context(self) -> "SSLContext":
        """Give what TLS needs to know."""
        import ssl  # noqa: PLC0415

        return ssl.create_default_context(cafile=self.cafile)


class Transport:
    """Calls to one service; safe to use from several threads at once, and after a fork.

    Each call has a connection to itself while it lasts, and leaves it for the next one.

    Parameters
    ----------
    address : Address
    timeout : float
        Seconds for the service to answer a call that waits for nothing, and to be added to those of one that waits.
    """

    def __init__(self, address: Address, timeout: float = PATIENCE) -> None:
        self.address = address
        self.timeout = timeout
        # The process that opened it, and the connection. Taken out and put back by operations of list that are atomic.
        self._idle: list[tuple[int, new_socket]] = []

    def close(self) -> None:
        """Close the connections that are not in use; another call opens a new one."""
        while self._idle:
            self._idle.pop()[1].close()

    def send(
        self,
        method: str,
        path: str,
        fields: "dict[str, object] | None" = None,
        wait: "float | None" = 0.0,
    ) -> wire.Reply:
        """Send a request and give the reply, whatever its status.

        Parameters
        ----------
        method, path : str
        fields : dict, optional
            The body.
        wait : float, optional
            Seconds for which the service may wait before it answers; None: no limit.

        Raises
        ------
        ServiceNotFoundError
            If nobody listens, or the service went away before it answered.
        ServiceError
            If it does not answer in time, or not in HTTP.
        """
        limit = None if wait is None else wait + self.timeout
        data = wire.request(method, path, self.address.headers, fields)
        connection = self._reuse()
        if connection is not None:
            try:
                return self._exchange(connection, data, limit)
            except _ClosedError as closed:
                # The service ended the idle connection in the very moment. A request that it may have taken is not sent
                # twice, unless it only reads.
                if closed.taken and method != "GET":
                    raise self.address.broken() from None
        try:
            return self._exchange(self.address.connect(self.timeout), data, limit)
        except _ClosedError:
            raise self.address.broken() from None

    def call(
        self,
        method: str,
        path: str,
        fields: "dict[str, object] | None" = None,
        wait: "float | None" = 0.0,
    ) -> bytearray:
        """Send a request and give the body of its reply, or raise the error that the reply is."""
        return self.check(self.send(method, path, fields, wait))

    def check(self, reply: wire.Reply) -> bytearray:
        """Give the body of a reply, or raise the error that it is."""
        if reply.status != 200:
            from fastdag.client.answers import error_of  # noqa: PLC0415 - only when something went wrong

            raise error_of(reply.status, bytes(reply.body), self.address.where)
        return reply.body

    def _reuse(self) -> "new_socket | None":
        """Take a connection that is still open, if there is one."""
        mine = os.getpid()
        while self._idle:
            try:
                process, connection = self._idle.pop()
            except IndexError:  # another thread took the last one
                break
            if process == mine:
                # What can be read now is no answer to what is asked next: the service has closed it, or is confused.
                connection.settimeout(0)
                try:
                    connection.recv(1)
                except OSError as error:
                    if isinstance(error, BlockingIOError) or type(error).__name__ == "SSLWantReadError":
                        return connection
            connection.close()
        return None

    def _exchange(self, connection: new_socket, data: bytes, limit: "float | None") -> wire.Reply:
        reply = wire.Reply()
        deadline = None if limit is None else monotonic() + limit
        sent = False
        try:
            connection.settimeout(limit)
            try:
                connection.sendall(data)
                sent = True
            except ConnectionError:
                pass  # it may have refused before it had read all
            while not reply.complete:
                if deadline is not None:
                    connection.settimeout(max(deadline - monotonic(), 1e-3))
                reply.feed(_receive(connection))
        except BaseException as error:
            connection.close()
            if isinstance(error, (TimeoutError, BlockingIOError)):
                raise self.address.silent(limit) from None
            if isinstance(error, EOFError):
                raise _ClosedError(sent or reply.status != 0) from None
            if isinstance(error, wire.MalformedError):
                raise self.address.foreign(error) from None
            raise
        if reply.reusable and len(self._idle) < IDLE:
            self._idle.append((os.getpid(), connection))
        else:
            connection.close()
        return reply


class Stream:
    """A reply that goes on: events. Has a connection of its own.

    Parameters
    ----------
    address : Address
    path : str
    headers : str
        Lines that each end in CR LF.
    timeout : float
        Seconds for the service to begin its answer.
    silence : float
        Seconds after which a service that sends nothing, not even that it has nothing to send, counts as gone.
    """

    def __init__(self, address: Address, path: str, headers: str, timeout: float, silence: float) -> None:
        self._address = address
        self._reply = wire.Reply()
        self._limit = timeout
        self._connection = address.connect(timeout)
        try:
            self._connection.settimeout(timeout)
            try:
                self._connection.sendall(wire.request("GET", path, address.headers + headers))
            except TimeoutError:
                raise address.silent(timeout) from None
            except ConnectionError:
                pass  # read what it says first
            while not self._reply.status:
                self._feed()
            while self._reply.status != 200 and not self._reply.complete:
                self._feed()
            if self._reply.status != 200:
                from fastdag.client.answers import error_of  # noqa: PLC0415

                raise error_of(self._reply.status, bytes(self._reply.body), address.where)
            self._limit = silence
            self._connection.settimeout(silence)
        except BaseException:
            self._connection.close()
            raise

    def read(self) -> bytes:
        """Wait for more and give it.

        Raises
        ------
        ServiceNotFoundError
            If the service ended the connection.
        ServiceError
            If nothing came for too long.
        """
        while not self._reply.body:
            if self._reply.complete:
                raise self._address.gone()
            self._feed()
        data = bytes(self._reply.body)
        self._reply.body.clear()
        return data

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _feed(self) -> None:
        try:
            self._reply.feed(_receive(self._connection))
        except TimeoutError:
            raise self._address.silent(self._limit) from None
        except EOFError:
            raise self._address.gone() from None
        except wire.MalformedError as error:
            raise self._address.foreign(error) from None


class _ClosedError(Exception):
    """The connection ended without a reply; `taken`: the service may have the request."""

    def __init__(self, taken: bool) -> None:
        self.taken = taken
        super().__init__(taken)


def _receive(connection: new_socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""

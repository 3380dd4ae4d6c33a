"""A service as a user starts it, in a process of its own, for the tests of `test_service_*.py`."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

for _needed in ("httptools", "msgspec", "prometheus_client", "starlette", "uvicorn", "uvloop"):
    pytest.importorskip(_needed, reason="needs fastdag[service]")

PATIENCE = 60.0  # seconds after which something that should have happened counts as missing; the machine may be busy


class Reply(NamedTuple):
    """An answer: its HTTP status, what its JSON says (or its text), its headers with names in small letters."""

    code: int
    body: Any
    headers: dict[str, str]


class ServiceProcess:
    """A service that has said that it is ready.

    Attributes
    ----------
    process : subprocess.Popen
    socket : pathlib.Path
    """

    def __init__(self, process: "subprocess.Popen[str]", path: Path) -> None:
        self.process = process
        self.socket = path
        self._lines: list[str] = []
        self._spoke = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)
            self._spoke.set()
        self._spoke.set()

    def wait_ready(self) -> str:
        """Wait for the line that says it is ready, and give it."""
        assert self._spoke.wait(PATIENCE), "the service says nothing"
        assert self._lines, f"the service ended with {self.process.wait(PATIENCE)} without a word"
        assert self._lines[0].startswith("fastdag service: process "), self.log
        return self._lines[0].rstrip("\n")

    @property
    def log(self) -> str:
        """What it has written to standard error; all of it once it has ended."""
        return "".join(self._lines)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and give the exit status."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the end, and give the exit status."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def connect(self, timeout: float = PATIENCE) -> socket.socket:
        """Open a connection to its socket."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self.socket))
        except BaseException:
            connection.close()
            raise
        return connection

    def raw_request(self, data: bytes, timeout: float = PATIENCE) -> bytes:
        """Send bytes, and give what comes until the service closes the connection."""
        with self.connect(timeout) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read
                connection.sendall(data)
            return read_all(connection)

    def call(
        self, method: str, path: str, fields: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Make one call on a connection of its own; `fields` go as JSON, bytes as they are."""
        with contextlib.closing(UnixConnection(self.socket)) as connection:
            return call(connection, method, path, fields, headers)

    def get(self, path: str) -> Any:
        """Give the answer to GET, which has to be 200."""
        reply = self.call("GET", path)
        assert reply.code == 200, reply
        return reply.body

    def post(self, path: str, **fields: object) -> Any:
        """Give the answer to POST, which has to be 200."""
        reply = self.call("POST", path, fields)
        assert reply.code == 200, reply
        return reply.body

    def metric(self, name: str) -> float:
        """Give a figure of /metrics, by its name with its labels as they stand there; 0 if it is not there."""
        for line in self.get("/metrics").splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def memory(self) -> int:
        """Give the bytes of memory that it has resident."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
        raise AssertionError("the service has ended")


class UnixConnection(http.client.HTTPConnection):
    """HTTP of the standard library on a Unix socket: what any other client does, and none of our code."""

    def __init__(self, path: Path, timeout: float = PATIENCE) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def call(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    fields: object = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Make a call on a connection that may be kept."""
    body = fields if isinstance(fields, bytes) else None if fields is None else json.dumps(fields).encode()
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    data = response.read()
    given = {name.lower(): value for name, value in response.getheaders()}
    is_json = data and given.get("content-type") == "application/json"
    return Reply(response.status, json.loads(data) if is_json else data.decode(), given)


def read_all(connection: socket.socket) -> bytes:
    """Give all that comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):  # it closed with bytes of ours unread
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def replies_in(data: bytes) -> list[Reply]:
    """Take apart what `raw_request` gave: answers that each say how long they are."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        body: Any = rest[:length].decode()
        if headers.get("content-type") == "application/json":
            body = json.loads(body)
        found.append(Reply(int(first.split()[1]), body, headers))
        data = rest[length:]
    return found


def serve_command(*arguments: str | Path) -> list[str]:
    """Give the command line that starts a service."""
    return [sys.executable, "-m", "fastdag", "serve", *map(str, arguments)]


def clean_environment(**changes: str) -> dict[str, str]:
    """Give the environment without what names a socket, and with these changes."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("FASTDAG_SOCKET", "XDG_RUNTIME_DIR")}
    return {**inherited, **changes}


@contextlib.contextmanager
def running_service(
    folder: Path,
    *arguments: str | Path,
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServiceProcess]:
    """Have a service that runs in a folder, and whose socket is there; it is killed at the end, if it still runs.

    Parameters
    ----------
    folder : Path
    *arguments : str or Path
        What `fastdag serve` is told beside its socket.
    path : Path, optional
        Where the socket will be, if not at `socket` in the folder; then the arguments or the environment say so.
    environment : mapping, optional
        Instead of `clean_environment()`.
    """
    where = () if path is not None else ("--socket", folder / "socket")
    process = subprocess.Popen(
        serve_command(*where, *arguments),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=folder,
        env=dict(environment or clean_environment()),
    )
    service = ServiceProcess(process, path or folder / "socket")
    try:
        service.wait_ready()
        yield service
    finally:
        process.kill()
        service.ended()
        assert process.stderr is not None
        process.stderr.close()


def serve(
    *arguments: str | Path, folder: Path, pass_fds: Collection[int] = (), **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Start a service that is expected not to stay in the foreground, and give what became of it."""
    return subprocess.run(
        serve_command(*arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        env=clean_environment(**environment),
        pass_fds=pass_fds,
        timeout=PATIENCE,
        check=False,
    )

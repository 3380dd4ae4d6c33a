"""How a service ends when it is told, and how it goes on in the background."""

import contextlib
import fcntl
import os
import re
import select
import shlex
import signal
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.service_support import (
    PATIENCE,
    ServiceProcess,
    UnixConnection,
    call,
    read_all,
    replies_in,
    running_service,
    serve,
    serve_command,
)


def post(path: str, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


@contextlib.contextmanager
def told(service: ServiceProcess, number: int = signal.SIGTERM) -> Iterator[None]:
    """Send the signal, and go on when the service has begun to end: it closes the connections that are idle."""
    with contextlib.closing(UnixConnection(service.socket)) as idle:
        assert call(idle, "GET", "/v1/ping").code == 200
        service.process.send_signal(number)
        assert idle.sock.recv(1) == b""
        yield


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_those_who_wait_are_told(tmp_path: Path, number: int) -> None:
    with running_service(tmp_path, "--journal", tmp_path / "journal") as service:
        service.post("/v1/want", unit="b", depends_on=["a"])
        with service.connect() as starting, service.connect() as waiting, service.connect() as events:
            starting.sendall(post("/v1/start", b'{"unit":"b"}'))
            waiting.sendall(post("/v1/wait", b'{"unit":"b","status":"completed"}'))
            events.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            until_waiters(service, 2)
            with told(service, number):
                for client in (starting, waiting):
                    [reply] = replies_in(read_all(client))
                    assert (reply.code, reply.headers["connection"]) == (503, "close")
                    assert reply.body == {
                        "error": "ServiceStoppingError",
                        "message": "the service is stopping; ask again once it runs",
                    }
                assert read_all(events).endswith(b"\r\n0\r\n\r\n")  # the stream has an end, it is not cut off
                assert service.ended() == 0
        assert service.log.count("\n") == 1, service.log
        with pytest.raises(FileNotFoundError):
            service.connect()
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]
    with running_service(tmp_path, "--journal", tmp_path / "journal") as service:
        assert [unit["unit"] for unit in service.get("/v1/list")["units"]] == ["b"]


def until_waiters(service: ServiceProcess, number: int) -> None:
    """Return when so many calls wait. The calls are on their way, and each look takes its turn behind what has come."""
    for _ in range(10_000):
        if service.metric("fastdag_waiters") == number:
            return
    raise AssertionError("the waiters never came")


def test_answers_in_flight_are_finished(tmp_path: Path) -> None:
    with running_service(tmp_path, "--journal", tmp_path / "journal") as service:
        service.post("/v1/register", units=[f"unit-{number}" for number in range(10_000)])
        request = post("/v1/register", b'{"units":["late"]}')
        with service.connect() as reading, service.connect() as writing:
            reading.sendall(b"GET /v1/snapshot HTTP/1.1\r\nHost: x\r\n\r\n")
            begun = reading.recv(100)
            writing.sendall(request[:-5])
            service.get("/v1/ping")  # by now it has read what was sent
            with told(service):
                writing.sendall(request[-5:])
                [registered] = replies_in(read_all(writing))
                assert registered.code == 200
                [snapshot] = replies_in(begun + read_all(reading))
                assert len(snapshot.body["units"]) == 10_000
                assert service.ended() == 0
    with running_service(tmp_path, "--journal", tmp_path / "journal") as service:
        assert service.get("/v1/status?unit=late")["status"] == "pending"


def test_clients_that_never_finish_do_not_hold_it_up(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        service.post("/v1/register", units=[f"unit-{number}" for number in range(10_000)])
        with service.connect() as reading, service.connect() as writing, service.connect() as silent:
            reading.sendall(b"GET /v1/snapshot HTTP/1.1\r\nHost: x\r\n\r\n")
            reading.recv(100)
            writing.sendall(post("/v1/register", b'{"units":["late"]}')[:-5])
            silent.sendall(b"GET /v1/pi")
            with told(service):
                assert read_all(silent) == b""
                assert service.ended() == 0  # after five seconds
                assert read_all(writing) == b""
        assert service.log.count("\n") == 1, service.log


def test_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    with running_service(tmp_path) as service, service.connect() as writing:
        request = post("/v1/register", b'{"units":["late"]}')
        writing.sendall(request[:-5])
        service.get("/v1/ping")
        with told(service):
            for number in (signal.SIGTERM, signal.SIGINT):
                service.process.send_signal(number)
            writing.sendall(request[-5:])
            assert [reply.code for reply in replies_in(read_all(writing))] == [200]
            assert service.ended() == 0


# --- in the background ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def in_background(folder: Path, *arguments: str | Path, pass_fds: Collection[int] = ()) -> Iterator[int]:
    """Have a service that was started with --background at `socket`; the value is its process. Killed at the end."""
    path = folder / "socket"
    ended = serve("--background", "--socket", path, *arguments, folder=folder, pass_fds=pass_fds)
    said = re.fullmatch(
        rf"fastdag service: process (\d+) at {re.escape(str(path))}; its messages are in {re.escape(str(path))}\.log\n",
        ended.stdout,
    )
    assert said, ended
    assert (ended.returncode, ended.stderr) == (0, "")
    pid = int(said[1])
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def gone(pid: int, number: int) -> None:
    """Send a signal to a process that is not our child, and wait for its end."""
    descriptor = os.pidfd_open(pid)
    try:
        os.kill(pid, number)
        assert select.select([descriptor], [], [], PATIENCE)[0], "it goes on"
    finally:
        os.close(descriptor)


def test_it_goes_on_in_the_background(tmp_path: Path) -> None:
    with in_background(tmp_path) as pid:
        with contextlib.closing(UnixConnection(tmp_path / "socket")) as connection:
            assert call(connection, "GET", "/v1/ping").body["pid"] == pid
        assert os.getsid(pid) == pid  # a terminal that closes does not end it
        for number in range(3):
            assert os.readlink(f"/proc/{pid}/fd/{number}") in ("/dev/null", str(tmp_path / "socket.log"))
        assert (tmp_path / "socket.log").stat().st_mode & 0o777 == 0o600
        again = serve("--background", "--socket", tmp_path / "socket", folder=tmp_path)
        assert again.stderr == f"error: a service listens at {tmp_path / 'socket'} already, process {pid}\n"
        assert (again.returncode, again.stdout) == (1, "")
        gone(pid, signal.SIGTERM)
        assert [path.name for path in tmp_path.iterdir()] == ["socket.log"]
        assert (tmp_path / "socket.log").read_bytes() == b""


def test_it_leaves_no_descriptor_of_its_caller_open(tmp_path: Path) -> None:
    """A lock of the caller's ends with the caller. Whoever reads its output comes to an end, as `serve` does here."""
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with in_background(tmp_path, pass_fds=[lock.fileno()]) as pid:
            assert str(tmp_path / "lock") not in [
                os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")
            ]


def test_it_does_not_stay_in_the_folder_of_its_caller(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30)  # with this a path is too long for a socket
    folder.mkdir()
    ended = serve("--background", "--socket", "./socket", "--journal", "journal", folder=folder)
    pid = int((folder / "socket.lock").read_text())
    try:
        assert ended.stdout == (
            f"fastdag service: process {pid} at {folder / 'socket'}; its messages are in {folder / 'socket.log'}\n"
        )
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert sorted(path.name for path in folder.iterdir()) == [
            *("journal", "journal-wal", "socket", "socket.lock", "socket.log"),
        ]
        gone(pid, signal.SIGTERM)
        assert sorted(path.name for path in folder.iterdir()) == ["journal", "socket.log"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_without_standard_streams_it_goes_on_in_the_background_as_well(tmp_path: Path) -> None:
    command = shlex.join(serve_command("--background", "--socket", tmp_path / "socket"))
    done = subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], check=False, timeout=PATIENCE)
    pid = int((tmp_path / "socket.lock").read_text())
    try:
        assert done.returncode == 0
        assert (tmp_path / "socket.log").read_text() == ""
    finally:
        gone(pid, signal.SIGTERM)


def test_a_start_in_the_background_that_fails_says_why(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text("precious, and no journal")
    ended = serve("--background", "--socket", tmp_path / "socket", "--journal", journal, folder=tmp_path)
    front = serve("--socket", tmp_path / "socket", "--journal", journal, folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == front.stderr
    assert ended.stderr.startswith(f"error: journal '{journal}' ")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "socket").exists()
    assert journal.read_text() == "precious, and no journal"


def test_a_start_in_the_background_that_ends_by_itself_names_the_log(tmp_path: Path) -> None:
    log = tmp_path / "socket.log"
    log.mkdir()
    ended = serve("--background", "--socket", tmp_path / "socket", folder=tmp_path)
    assert ended.stderr == f"error: [Errno 21] Is a directory: '{log}'\n"
    assert ended.returncode == 1
    assert not (tmp_path / "socket").exists()

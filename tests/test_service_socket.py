"""Where a service listens: the default places, what stands there already, and two services that want one place."""

import asyncio
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from fastdag.client import AsyncClient, Client
from fastdag.errors import ServiceError
from tests.service_support import PATIENCE, clean_environment, running_service, serve, serve_command

from fastdag.service.listener import AlreadyServedError, SocketFile  # isort: skip - once it is known to be installed

TEMPORARY = Path(f"/tmp/fastdag-{os.getuid()}")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- the default ----------------------------------------------------------------------------------------------------


def test_the_variable_says_where_the_socket_is(tmp_path: Path) -> None:
    path = tmp_path / "named"
    environment = clean_environment(FASTDAG_SOCKET=str(path), XDG_RUNTIME_DIR=str(tmp_path))
    with running_service(tmp_path, path=path, environment=environment) as service:
        assert service.get("/v1/ping")["pid"] == service.process.pid


def test_the_session_s_directory_comes_next(tmp_path: Path) -> None:
    environment = clean_environment(FASTDAG_SOCKET="", XDG_RUNTIME_DIR=str(tmp_path))
    with running_service(tmp_path, path=tmp_path / "fastdag.sock", environment=environment) as service:
        assert service.get("/v1/ping")["pid"] == service.process.pid


class TestTemporaryDirectory:
    """The last resort. Its name is fixed, so the tests put what is there aside."""

    @pytest.fixture(autouse=True)
    def _aside(self, tmp_path: Path) -> None:
        if TEMPORARY.is_symlink() or TEMPORARY.exists():
            pytest.skip(f"{TEMPORARY} is in use")

    @staticmethod
    def remove() -> None:
        if TEMPORARY.is_symlink():
            TEMPORARY.unlink()
        elif TEMPORARY.exists():
            TEMPORARY.rmdir()

    def test_is_made_for_the_user_alone(self, tmp_path: Path) -> None:
        mask = os.umask(0)  # inherited: the most that anybody may be given
        try:
            with running_service(tmp_path, path=TEMPORARY / "fastdag.sock") as service:
                assert mode(TEMPORARY) == 0o700
                assert service.get("/v1/ping")["pid"] == service.process.pid
                assert service.stop() == 0
                assert not list(TEMPORARY.iterdir())
        finally:
            os.umask(mask)
            self.remove()

    @pytest.mark.parametrize("background", [False, True])
    def test_is_refused_when_others_may_enter_it(self, tmp_path: Path, background: bool) -> None:
        TEMPORARY.mkdir()
        TEMPORARY.chmod(0o711)
        self.refused(tmp_path, background)

    def test_is_refused_when_it_is_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir(mode=0o700)
        TEMPORARY.symlink_to(tmp_path / "target")
        self.refused(tmp_path)

    def test_is_refused_when_it_belongs_to_somebody_else(self, tmp_path: Path) -> None:
        if os.getuid() != 0:
            pytest.skip("only root can give a directory away")
        TEMPORARY.mkdir(mode=0o700)
        os.chown(TEMPORARY, 65534, 65534)
        self.refused(tmp_path)

    def test_is_not_trusted_by_clients_when_it_belongs_to_somebody_else(self) -> None:
        if os.getuid() != 0:
            pytest.skip("only root can give a directory away")
        TEMPORARY.mkdir(mode=0o700)
        path = TEMPORARY / "fastdag.sock"
        try:
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.bind(str(path))
                stranger.listen()
                stranger.setblocking(False)
                os.chown(TEMPORARY, 65534, 65534)
                with pytest.raises(ServiceError, match="belongs to another user"):
                    Client(path, timeout=1).ping()
                with pytest.raises(ServiceError, match="belongs to another user"):
                    asyncio.run(AsyncClient(path, timeout=1).ping())
                with pytest.raises(BlockingIOError):  # nobody has come
                    stranger.accept()
        finally:
            path.unlink(missing_ok=True)
            self.remove()

    def refused(self, folder: Path, background: bool = False) -> None:
        try:
            ended = serve(*["--background"] * background, folder=folder)
            assert ended.stderr == (
                f"error: {TEMPORARY} is not a directory of mode 0700 that belongs to user {os.getuid()}; "
                "remove it, or choose another --socket\n"
            )
            assert ended.returncode == 1
            assert not list(TEMPORARY.iterdir())
        finally:
            self.remove()


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_socket_is_open_to_its_user_alone_and_goes_with_the_service(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        with running_service(tmp_path) as service:
            assert mode(service.socket) == 0o600
            assert mode(tmp_path / "socket.lock") == 0o600
            assert service.stop() == 0
            assert not list(tmp_path.iterdir())
    finally:
        os.umask(mask)


def test_a_file_that_is_no_socket_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious")
    ended = serve("--socket", path, folder=tmp_path)
    assert ended.stderr == f"error: {path} is there and no socket; move it away or choose another --socket\n"
    assert ended.returncode == 1
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_refused_also_to_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to(tmp_path / "socket")
    with running_service(tmp_path):
        ended = serve("--socket", path, folder=tmp_path)
    assert ended.stderr == f"error: {path} is there and no socket; move it away or choose another --socket\n"
    assert path.is_symlink()


def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "socket.lock").symlink_to(target)
    ended = serve("--socket", tmp_path / "socket", folder=tmp_path)
    assert ended.stderr == f"error: cannot listen at {tmp_path / 'socket'}: Too many levels of symbolic links\n"
    assert target.read_text() == "precious"


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ("x" * (108 - len(str(tmp_path)) - 1))
    assert len(str(path)) == 108
    ended = serve("--socket", path, folder=tmp_path)
    assert ended.stderr == f"error: a socket's path is at most 107 bytes long; choose a shorter one than {path}\n"
    assert ended.returncode == 1
    with running_service(tmp_path, "--socket", str(path)[:-1], path=Path(str(path)[:-1])) as service:
        assert service.get("/v1/ping")["service"] == "fastdag"


@pytest.mark.parametrize("background", [False, True])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, background: bool) -> None:
    ended = serve("--socket", tmp_path / "no" / "socket", *["--background"] * background, folder=tmp_path)
    assert str(tmp_path / "no") in ended.stderr
    assert "No such file or directory" in ended.stderr
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert ended.returncode == 1


def test_a_socket_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        ended = serve("--socket", path, folder=tmp_path)
    assert ended.stderr == f"error: cannot tell who listens at {path}: Protocol wrong type for socket\n"
    assert ended.returncode == 1
    assert path.is_socket()


# --- others ---------------------------------------------------------------------------------------------------------


def test_another_program_s_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        ended = serve("--socket", path, folder=tmp_path)
        assert ended.stderr == f"error: another program listens at {path}; choose another --socket\n"
        assert ended.returncode == 1
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("background", [False, True])
def test_a_service_that_lives_is_not_replaced(tmp_path: Path, background: bool) -> None:
    with running_service(tmp_path) as service:
        for _ in range(2):  # the first refusal leaves the lock as it is
            ended = serve("--socket", service.socket, *["--background"] * background, folder=tmp_path)
            pid = service.process.pid
            assert ended.stderr == f"error: a service listens at {service.socket} already, process {pid}\n"
            assert ended.returncode == 1
        assert service.get("/v1/ping")["pid"] == pid


def test_a_service_that_was_killed_is_replaced(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        assert service.socket.is_socket()
        with running_service(tmp_path) as another:
            assert another.get("/v1/ping")["pid"] == another.process.pid
            assert another.stop() == 0
    assert not list(tmp_path.iterdir())


def test_what_another_put_in_its_place_outlives_a_service(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        service.socket.unlink()
        service.socket.write_text("not yours")
        lock = service.socket.with_name("socket.lock")
        lock.unlink()
        lock.write_text("another's")
        assert service.stop() == 0
        assert service.socket.read_text() == "not yours"
        assert lock.read_text() == "another's"


@pytest.mark.parametrize("left_behind", [False, True])
def test_of_services_started_at_the_same_moment_one_wins(tmp_path: Path, left_behind: bool) -> None:
    path = tmp_path / "socket"
    if left_behind:
        leave_behind(path)
    services = [subprocess.Popen(serve_command("--socket", path), stderr=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        said = {service: service.stderr.readline() for service in services if service.stderr is not None}
        [winner] = [service for service, line in said.items() if line.startswith("fastdag service: ")]
        assert said.pop(winner) == f"fastdag service: process {winner.pid} at {path}\n"
        for loser, line in said.items():
            # Without the process when the winner had the lock and had not written its number yet.
            assert line.replace(f", process {winner.pid}", "") == f"error: a service listens at {path} already\n"
            assert loser.wait(PATIENCE) == 1
        winner.terminate()
        assert winner.wait(PATIENCE) == 0
        assert not list(tmp_path.iterdir())
    finally:
        for service in services:
            service.kill()
            service.communicate()


def leave_behind(path: Path) -> None:
    """Make a socket of a service that has died."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def test_a_socket_that_many_want_goes_from_one_to_the_next(tmp_path: Path) -> None:
    """The same many times, without what it takes to start a service: three processes open and close one socket."""
    context = multiprocessing.get_context("spawn")
    rivals = [context.Process(target=take_and_give_back, args=(tmp_path, 300)) for _ in range(3)]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join(PATIENCE)
    assert [rival.exitcode for rival in rivals] == [0, 0, 0]
    assert not list(tmp_path.iterdir())


def take_and_give_back(folder: Path, times: int) -> None:
    while times:
        try:
            place = SocketFile(folder / "socket")
        except AlreadyServedError:
            continue
        (folder / "held").touch(exist_ok=False)  # nobody else has it
        place.socket.setblocking(True)
        place.socket.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "socket"))
            place.socket.accept()[0].close()
        (folder / "held").unlink()
        if times % 3 == 0:  # dies: the lock goes, the socket stays
            place.socket.close()
            os.close(place._lock)
        else:
            place.close()
        times -= 1

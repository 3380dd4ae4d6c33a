"""Who may call: other users, tokens, TLS; and what `--listen` and its companions refuse."""

import ast
import contextlib
import http.client
import inspect
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service_support import PATIENCE, Reply, ServiceProcess, call, replies_in, running_service, serve

# Once it is known to be installed:
from fastdag.cli.parser import make_parser  # isort: skip
from fastdag.service import protocol, server  # isort: skip
from fastdag.errors import FastDAGError  # isort: skip
from fastdag.service.listener import ListenError, listen_tcp  # isort: skip

TOKEN = "0123456789abcdef" * 2
NOBODY = 65534

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


# --- other users ----------------------------------------------------------------------------------------------------

# Of another user, with nothing but the standard library, which everybody can read.
STRANGER = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(60)
try:
    connection.connect(sys.argv[1])
except PermissionError:
    print("PermissionError")
    sys.exit()
try:
    connection.sendall(b"GET /v1/ping HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
except ConnectionError:
    pass  # refused already
try:
    while data := connection.recv(65536):
        sys.stdout.buffer.write(data)
except ConnectionResetError:
    pass  # refused without a look at what was sent
"""


def as_nobody(path: Path) -> bytes:
    """Give what another user is told at a socket."""
    command = [sys.executable, "-I", "-S", "-c", STRANGER, path]
    done = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE)
    return done.stdout


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that all can enter. Those of pytest are closed, and closed again by any other run of it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@needs_root
def test_another_user_cannot_connect(open_folder: Path) -> None:
    with running_service(open_folder) as service:  # the socket has to do it alone
        assert as_nobody(service.socket) == b"PermissionError\n"


@needs_root
def test_another_user_who_can_connect_is_refused_all_the_same(open_folder: Path) -> None:
    with running_service(open_folder) as service:
        service.socket.chmod(0o666)
        [reply] = replies_in(as_nobody(service.socket))
        assert (reply.code, reply.headers["connection"]) == (403, "close")
        assert reply.body == {
            "error": "RequestError",
            "message": f"this service belongs to user 0, and you are user {NOBODY}; start one of your own",
        }
        assert service.get("/v1/ping")["pid"] == service.process.pid


# --- tokens ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN + "\n")
    return path


def address(service: ServiceProcess) -> tuple[str, int]:
    """Give host and port, as the line says that it is ready."""
    host, port = service.log.split("://")[1].strip().rsplit(":", 1)
    return host.strip("[]"), int(port)


def ask(service: ServiceProcess, headers: list[tuple[str, str]], method: str = "GET", path: str = "/v1/ping") -> Reply:
    """Make a call over TCP, with just these headers."""
    with contextlib.closing(http.client.HTTPConnection(*address(service), timeout=PATIENCE)) as connection:
        connection.putrequest(method, path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        given = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, json.loads(response.read() or b"null"), given)


def test_over_tcp_only_the_token_lets_in(tmp_path: Path, token: Path) -> None:
    with running_service(tmp_path, "--listen", "127.0.0.1:0", "--token-file", token) as service:
        for scheme in ("Bearer", "bearer", "BEARER"):
            assert ask(service, [("Authorization", f"{scheme} {TOKEN}")]).body["pid"] == service.process.pid
        for headers in (
            [],
            [("Authorization", "")],
            [("Authorization", "Bearer")],
            [("Authorization", "Bearer ")],
            [("Authorization", TOKEN)],
            [("Authorization", f"Basic {TOKEN}")],
            [("Authorization", f"Bearer {TOKEN[:-1]}")],
            [("Authorization", f"Bearer {TOKEN}x")],
            [("Authorization", f"Bearer {TOKEN[:-1]}X")],
            [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")],
            [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer x")],
            [("X-Authorization", f"Bearer {TOKEN}")],
            [("Authorization", "Bearer ÿ" * 2)],
        ):
            for path in ("/v1/ping", "/metrics", "/openapi.json", "/nowhere", "/v1/ping?token=" + TOKEN):
                reply = ask(service, headers, path=path)
                assert reply.code == 401, (headers, path)
                assert reply.headers["www-authenticate"] == "Bearer"
                assert reply.body == {
                    "error": "RequestError",
                    "message": "send the token: Authorization: Bearer …",
                }
        assert service.get("/v1/ping")["pid"] == service.process.pid  # the socket asks for none
        assert TOKEN not in service.log


def test_a_call_without_the_token_does_nothing_and_keeps_the_connection(tmp_path: Path, token: Path) -> None:
    with (
        running_service(tmp_path, "--listen", "127.0.0.1:0", "--token-file", token) as service,
        contextlib.closing(http.client.HTTPConnection(*address(service), timeout=PATIENCE)) as connection,
    ):
        fields = {"units": ["a"]}
        assert call(connection, "POST", "/v1/register", fields).code == 401
        known = {"Authorization": f"Bearer {TOKEN}"}
        assert call(connection, "GET", "/v1/list", headers=known).body == {"units": []}
        assert call(connection, "POST", "/v1/register", fields, known).code == 200


def test_a_token_file_that_others_may_read_keeps_the_service_from_starting(tmp_path: Path, token: Path) -> None:
    token.chmod(0o644)
    assert refused(tmp_path, "--listen", "127.0.0.1:0", "--token-file", token) == (
        f"others may read or write the token file {token}; chmod 600 {token}"
    )


def test_tokens_are_compared_in_constant_time() -> None:
    """That it takes as long for any token cannot be timed here; that nothing else compares them can be read."""
    tree = ast.parse(inspect.getsource(protocol.with_token))
    comparisons = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    assert not {ast.unparse(part) for node in comparisons for part in ast.walk(node)} & {"token", "given"}
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "hmac.compare_digest(given.strip(), token)" in calls


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610])
def test_a_token_file_that_others_may_use_is_refused(token: Path, mode: int) -> None:
    token.chmod(mode)
    assert not_allowed("--listen", "127.0.0.1:0", "--token-file", token) == (
        f"others may read or write the token file {token}; chmod 600 {token}"
    )


@needs_root
def test_a_token_file_of_somebody_else_is_refused(token: Path) -> None:
    os.chown(token, NOBODY, NOBODY)
    assert not_allowed("--listen", "127.0.0.1:0", "--token-file", token) == (
        f"the token file {token} belongs to user {NOBODY}; make one of your own"
    )


@pytest.mark.parametrize("text", ["", "\n", "x" * 15, "x" * 1025, "two words " * 3, "ä" * 20, "x" * 20 + "\n" + "y"])
def test_what_is_no_token_is_refused(token: Path, text: str) -> None:
    token.write_text(text)
    assert not_allowed("--listen", "127.0.0.1:0", "--token-file", token) == (
        f"{token} must hold 16 to 1024 printable characters of ASCII, no blanks; openssl rand -hex 32 makes some"
    )


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert not_allowed("--listen", "127.0.0.1:0", "--token-file", tmp_path / "none") == (
        f"cannot read the token file {tmp_path / 'none'}: No such file or directory"
    )
    assert not_allowed("--listen", "127.0.0.1:0", "--token-file", tmp_path) == (
        f"cannot read the token file {tmp_path}: Is a directory"
    )


def not_allowed(*arguments: str | Path) -> str:
    """Give the reason for which options are refused, without a process for each."""
    parsed = make_parser().parse_args(["serve", *map(str, arguments)])
    with pytest.raises(FastDAGError) as caught:
        server._network(parsed)
    return str(caught.value)


def refused(folder: Path, *arguments: str | Path) -> str:
    """Give the reason for which a service does not start; it has left nothing behind."""
    ended = serve("--socket", folder / "socket", *arguments, folder=folder)
    assert ended.returncode == 1, ended.stderr
    assert not (folder / "socket").exists()
    assert not (folder / "socket.lock").exists()
    match = re.fullmatch(r"error: (.*)\n", ended.stderr)
    assert match, ended.stderr
    return match[1]


# --- where it listens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--token-file", "--cert", "--key"])
def test_what_goes_with_listen_is_refused_without_it(token: Path, option: str) -> None:
    assert not_allowed(option, token) == "--token-file, --cert and --key go with --listen HOST:PORT"


@pytest.mark.parametrize(
    "place",
    [
        "",
        "8000",
        ":8000",
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:65536",
        "localhost:-1",
        "localhost:" + "9" * 5000,
        "localhost:٣",
    ],
)
def test_a_place_to_listen_has_host_and_port(token: Path, place: str) -> None:
    assert not_allowed(f"--listen={place}", "--token-file", token) == (
        f"--listen takes HOST:PORT, for instance 127.0.0.1:8000, not {place!r}"
    )


def test_options_that_do_not_go_together_are_errors_of_usage(tmp_path: Path) -> None:
    ended = serve("--socket", tmp_path / "socket", "--listen", "127.0.0.1:0", folder=tmp_path)
    assert ended.stderr == "error: --listen needs --token-file FILE, as anybody can reach a port\n"
    assert ended.returncode == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--cert", "--key"])
def test_certificate_and_key_go_together(token: Path, option: str) -> None:
    assert not_allowed("--listen", "127.0.0.1:0", "--token-file", token, option, token) == (
        "--cert and --key go together"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "example.invalid"])
def test_beyond_the_machine_the_token_needs_tls(token: Path, host: str) -> None:
    assert not_allowed("--listen", f"{host}:0", "--token-file", token) == (
        f"beyond this machine the token needs TLS: pass --cert and --key to listen on {host.strip('[]')}"
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.9", "[::1]"])
def test_on_the_machine_it_does_not(tmp_path: Path, token: Path, host: str) -> None:
    with running_service(tmp_path, "--listen", f"{host}:0", "--token-file", token) as service:
        assert f" and http://{host}:" in service.log
        assert ask(service, [("Authorization", f"Bearer {TOKEN}")]).code == 200


def test_a_port_in_use_is_named(tmp_path: Path, token: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(tmp_path, "--listen", f"127.0.0.1:{port}", "--token-file", token) == (
            f"cannot listen on 127.0.0.1:{port}: Address already in use"
        )


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a host's name have these addresses."""
    original = socket.getaddrinfo

    def resolved(*addresses: str) -> None:
        def found(_: str, *rest: Any, **options: Any) -> list[Any]:
            return [one for address in addresses for one in original(address, *rest, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", found)

    return resolved


def test_it_listens_at_all_addresses_of_a_host(resolve: Callable[..., None]) -> None:
    resolve("127.0.0.1", "::1", "127.0.0.1", "127.0.0.9", "240.0.0.1")  # the last one is nobody's
    sockets = listen_tcp("host", 0)
    names = [one.getsockname()[:2] for one in sockets]
    for one in sockets:
        one.close()
    port = names[0][1]
    assert names == [("127.0.0.1", port), ("::1", port), ("127.0.0.9", port)]


def test_without_tls_a_name_stands_for_its_addresses_on_this_machine_alone(resolve: Callable[..., None]) -> None:
    resolve("0.0.0.0", "127.0.0.9")
    [bound] = listen_tcp("localhost", 0, loopback=True)
    assert bound.getsockname()[0] == "127.0.0.9"
    bound.close()
    resolve("0.0.0.0")
    with pytest.raises(ListenError, match=r"cannot listen on localhost:0: it has no address on the loopback interface"):
        listen_tcp("localhost", 0, loopback=True)


def test_a_host_of_which_nothing_is_here_is_refused(resolve: Callable[..., None]) -> None:
    resolve("240.0.0.1", "240.0.0.2")
    with pytest.raises(ListenError, match=r"cannot listen on host:0: Cannot assign requested address"):
        listen_tcp("host", 0)


def test_where_one_address_of_a_host_is_in_use_it_listens_at_none(resolve: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.9", 0)) as other:
        port = other.getsockname()[1]
        resolve("127.0.0.1", "127.0.0.9")
        with pytest.raises(ListenError, match=f"cannot listen on host:{port}: Address already in use"):
            listen_tcp("host", port)
    for one in listen_tcp("host", port):
        one.close()


def test_the_kernel_asks_whether_a_silent_client_is_still_there() -> None:
    [bound] = listen_tcp("127.0.0.1", 0)
    bound.listen()
    bound.setblocking(True)
    with bound, socket.create_connection(bound.getsockname()), bound.accept()[0] as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    folder = tmp_path_factory.mktemp("tls")
    return make_certificate(folder, "one")


def make_certificate(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=localhost"
    names = ("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    subprocess.run(
        [*command.split(), *names, "-out", cert, "-keyout", key, *(options or ("-nodes",))],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    return cert, key


def test_with_tls_it_listens_everywhere(tmp_path: Path, token: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    options = ("--listen", "0.0.0.0:0", "--token-file", token, "--cert", cert, "--key", key)
    with running_service(tmp_path, *options) as service:
        assert " and https://0.0.0.0:" in service.log
        _, port = address(service)
        context = ssl.create_default_context(cafile=cert)
        with contextlib.closing(
            http.client.HTTPSConnection("localhost", port, timeout=PATIENCE, context=context)
        ) as connection:
            assert call(connection, "GET", "/v1/ping").code == 401
            known = {"Authorization": f"Bearer {TOKEN}"}
            assert call(connection, "GET", "/v1/ping", headers=known).body["pid"] == service.process.pid
        # Without TLS there is no answer at all.
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
            plain.sendall(b"GET /v1/ping HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP" not in plain.recv(1000)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as old,
            context.wrap_socket(old, server_hostname="localhost") as wrapped,
        ):
            assert wrapped.version() == "TLSv1.2"
        assert service.stop() == 0
        assert service.log.count("\n") == 1, service.log


def test_certificates_that_cannot_be_used_are_refused(
    tmp_path: Path, token: Path, certificate: tuple[Path, Path]
) -> None:
    _, key = certificate
    locked, locked_key = make_certificate(tmp_path, "locked", "-passout", "pass:secret")
    for one, other, problem in (
        (tmp_path / "none", key, "No such file or directory"),
        (token, key, "[SSL] PEM lib"),
        (locked, key, "[X509: KEY_VALUES_MISMATCH] key values mismatch"),
        (locked, locked_key, "[SSL] PEM lib"),
    ):
        said = not_allowed("--listen", "127.0.0.1:0", "--token-file", token, "--cert", one, "--key", other)
        assert said.startswith(f"cannot use the certificate {one} with the key {other}: {problem}"), said

"""Clients that behave badly: they leave, do not read, say nothing or something else; the service serves the others."""

import contextlib
import os
import random
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service_support import PATIENCE, ServiceProcess, UnixConnection, call, running_service

SEED = int(os.environ.get("FASTDAG_SEED", "1"))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    with running_service(tmp_path) as service:
        yield service
        assert service.get("/v1/ping")["pid"] == service.process.pid
        assert service.stop() == 0
        assert service.log.count("\n") == 1, service.log


def until(service: ServiceProcess, name: str, value: float) -> None:
    """Return when a figure has a value; each look takes its turn behind what has come to the service before."""
    for _ in range(10_000):
        if service.metric(name) == value:
            return
    raise AssertionError(f"{name} is {service.metric(name)}, not {value}")


def post(path: str, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def test_for_a_client_that_leaves_nothing_is_started(service: ServiceProcess) -> None:
    service.post("/v1/want", unit="b", depends_on=["a"])
    leaving = [service.connect() for _ in range(20)]
    staying = service.connect()
    for number, client in enumerate(leaving):
        client.sendall(post("/v1/start", b'{"unit":"b"}'))
        if number % 2:  # also one who has sent more, which is not read until he has his answer
            client.sendall(b"GET /v1/ping HTTP/1.1\r\n\r\n")
    staying.sendall(post("/v1/wait", b'{"unit":"b"}'))
    until(service, "fastdag_waiters", 21)
    for client in leaving:
        client.close()
    until(service, "fastdag_waiters", 1)
    service.post("/v1/start", unit="a")
    service.post("/v1/complete", unit="a")
    with staying:
        assert staying.recv(100).startswith(b"HTTP/1.1 200 ")
    assert service.get("/v1/status?unit=b")["status"] == "pending"
    assert service.metric('fastdag_requests_total{call="start",code="499"}') == 20
    assert service.post("/v1/start", unit="b")["status"] == "started"


def test_clients_that_leave_in_the_middle_of_a_body_change_nothing(service: ServiceProcess) -> None:
    request = post("/v1/register", b'{"units":["half"]}')
    for end in range(1, len(request), 7):
        with service.connect() as client:
            client.sendall(request[:end])
    assert service.get("/v1/list") == {"units": []}


def test_clients_that_leave_before_the_answer_are_no_trouble(service: ServiceProcess) -> None:
    service.post("/v1/register", units=["x" * 200 + str(number) for number in range(4000)])
    for path in ("/v1/snapshot", "/v1/list", "/metrics", "/v1/events", "/v1/nowhere"):
        for _ in range(20):
            with service.connect() as client:
                client.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    assert len(service.get("/v1/list")["units"]) == 4000


def test_clients_that_never_read_cost_no_memory(service: ServiceProcess) -> None:
    """One answer a client is made, and no more; of events each has what its socket takes."""
    service.post("/v1/register", units=["x" * 200 + str(number) for number in range(3000)])  # a snapshot of 1 MB
    service.post("/v1/register", units=["busy"])
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(service.connect()) for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall((SNAPSHOT, b"GET /v1/events HTTP/1.1\r\n\r\n")[number % 2])
            client.setblocking(False)
        change(service, 1000)  # more events than fit between the service and those who do not read
        before = service.memory()
        for _ in range(50):
            for client in clients:
                with contextlib.suppress(BlockingIOError):  # asks for more, and reads nothing
                    client.send(SNAPSHOT)
            change(service, 100)
        # What is kept of 5,000 events takes half a megabyte. A second snapshot for each of the ten would take 10.
        assert service.memory() - before < 5 << 20


SNAPSHOT = b"GET /v1/snapshot HTTP/1.1\r\n\r\n"


def change(service: ServiceProcess, times: int) -> None:
    """Have as many changes of a status made."""
    with contextlib.closing(UnixConnection(service.socket)) as connection:
        for turn in range(times):
            fields = {"unit": "busy", "status": ("started", "pending")[turn % 2]}
            assert call(connection, "POST", "/v1/status", fields).code == 200


def test_slow_clients_hold_nobody_up(service: ServiceProcess) -> None:
    request = post("/v1/register", b'{"units":["slow"]}')
    slow = [service.connect() for _ in range(20)]
    for byte in request[:-1]:
        for client in slow[:1]:
            client.sendall(bytes([byte]))
        assert service.get("/v1/list") == {"units": []}
    slow[0].sendall(request[-1:])
    assert slow[0].recv(100).startswith(b"HTTP/1.1 200 ")
    for client in slow:
        client.close()
    assert [unit["unit"] for unit in service.get("/v1/list")["units"]] == ["slow"]


def test_two_thousand_idle_connections_are_no_trouble(service: ServiceProcess) -> None:
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 3000:
        pytest.skip("needs 3,000 file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, 3000), most))
    try:
        before = service.memory()
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(service.connect()) for _ in range(2000)]
            assert all(ping(client) for client in idle[:1000])  # half of them have been of use before
            assert service.memory() - before < 50 << 20
            service.post("/v1/register", units=["a"])
        assert [unit["unit"] for unit in service.get("/v1/list")["units"]] == ["a"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def test_more_connections_than_descriptors_are_no_trouble(tmp_path: Path) -> None:
    """Some are turned away; once they are gone, others are served."""
    with running_service(tmp_path) as service:
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        clients = [service.connect() for _ in range(200)]
        for client in clients[:20]:
            assert ping(client)
        for client in clients[1:]:
            client.close()
        for _ in range(3):  # the service looks at all connections in between
            assert ping(clients[0])
        assert service.get("/v1/ping")["pid"] == service.process.pid
        clients[0].close()
        assert service.stop() == 0
        assert "Traceback" not in service.log


def ping(client: socket.socket) -> bool:
    client.sendall(b"GET /v1/ping HTTP/1.1\r\n\r\n")
    data = b""
    while not data.endswith(b"}"):
        part = client.recv(1000)
        assert part, data
        data += part
    return data.startswith(b"HTTP/1.1 200 ")


# --- random bytes ---------------------------------------------------------------------------------------------------

WORDS = (
    *(b"GET ", b"POST ", b"PUT ", b"HEAD ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"OPTIONS * "),
    *(b"/v1/ping", b"/v1/start", b"/v1/register", b"/v1/status", b"/v1/events", b"/v1/graph", b"/metrics", b"*", b"?"),
    *(b"?unit=", b"%00", b"%ff", b"&", b"unit=a", b"\xff", b"\x00", b" ", b":", b"\r\n", b"\n", b"\r\n\r\n", b"\r"),
    *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2\r\n", b"Content-Length: ", b"0", b"5\r\n", b"99999999999999999999"),
    *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
    *(
        b"Connection: close\r\n",
        b"Last-Event-ID: ",
        b"x-1",
        b"Authorization: Bearer x\r\n",
        b"Host: \r\n",
        b"ffffffff\r\n",
    ),
    *(b'{"unit":"a"}', b'{"units":["a"]}', b"{", b"}", b"[", b"null", b'"\\ud800"', b'{"unit":"a","timeout":0}'),
)


def noise(rng: random.Random) -> bytes:
    """Give random bytes; more often words of HTTP in any order, or a request that is sound but for a few bytes."""
    kind = rng.random()
    if kind < 0.2:
        return rng.randbytes(rng.randrange(1, 300))
    if kind < 0.6:
        return b"".join(rng.choices(WORDS, k=rng.randrange(1, 20)))
    data = bytearray(post(rng.choice(("/v1/start", "/v1/register", "/v1/want")), rng.choice(WORDS[-8:])))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data))
        data[at : at + rng.randrange(3)] = rng.choice((rng.randbytes(1), b"", rng.choice(WORDS)))
    return bytes(data) * rng.randrange(1, 3)


def throw(service: ServiceProcess, seed: int, times: int) -> None:
    rng = random.Random(seed)
    for _ in range(times):
        with service.connect() as client, contextlib.suppress(ConnectionError):
            data = noise(rng)
            cut = rng.randrange(len(data) + 1)
            client.sendall(data[:cut])
            client.sendall(data[cut:])
            if rng.random() < 0.5:
                client.shutdown(socket.SHUT_WR)
            client.settimeout(0.01)  # what is not understood may also be waited for
            with contextlib.suppress(TimeoutError):
                while part := client.recv(1 << 16):
                    assert not part.startswith(b"HTTP/1.1 500"), data


def test_random_bytes_are_no_trouble(service: ServiceProcess) -> None:
    times = int(os.environ.get("FASTDAG_CONNECTIONS", "4000"))
    print(f"FASTDAG_SEED={SEED}")
    threads = [threading.Thread(target=throw, args=(service, SEED * 1000 + part, times // 4)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE * 10)
    until(service, "fastdag_waiters", 0)
    for name in ("start", "register"):  # some were sound
        assert sum(service.metric(f'fastdag_requests_total{{call="{name}",code="{code}"}}') for code in (200, 409)) > 0
    assert 'code="500"' not in service.get("/metrics")

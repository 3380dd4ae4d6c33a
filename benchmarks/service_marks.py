"""The marks for the service and its command line: whole processes, waiters, requests a second, memory, start."""

import asyncio
import contextlib
import itertools
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import cast

import uvloop

from benchmarks.rows import Measure, Row, Settings, command_seconds
from fastdag.client import Client

COMMAND = str(Path(sys.executable).with_name("fastdag"))
PROCESSES = 100  # that wait for one unit
UNITS, WAITERS = 10_000, 1_000
CLIENTS = 32
SECONDS = 3.0  # of load for one figure


@contextlib.contextmanager
def _service(*options: str) -> Iterator[tuple[str, int]]:
    """Start a service as a user would; gives the path of its socket and its process."""
    with tempfile.TemporaryDirectory(prefix="fastdag-marks-") as folder:
        path = f"{folder}/socket"
        where = [option.format(folder=folder) for option in options]
        with subprocess.Popen(
            [COMMAND, "serve", "--socket", path, *where], stderr=subprocess.PIPE, text=True
        ) as service:
            next(iter(service.stderr or ()))  # that it listens
            try:
                yield path, service.pid
            finally:
                service.terminate()


def _command(settings: Settings) -> Iterator[Row]:
    rounds = 20 * settings.runs
    with _service() as (path, _):
        os.environ["FASTDAG_SOCKET"] = path
        Client(path).register_all([f"unit{number}" for number in range(rounds)])
        nothing = [sys.executable, "-c", "pass"]
        ours, theirs = [], []
        for number in range(rounds):
            theirs.append(command_seconds(*nothing))
            ours.append(command_seconds(COMMAND, "sync", "complete", f"unit{number}"))
        del os.environ["FASTDAG_SOCKET"]
    mine, bare = statistics.median(ours) * 1e3, statistics.median(theirs) * 1e3
    note = f"fastdag sync complete UNIT, whole process, beside python -c pass: {mine / bare:.2f}×"
    yield Row("service: command", "ms", mine, bare, "under 1.35×", mine < 1.35 * bare, note)


def _released(settings: Settings) -> Iterator[Row]:
    """From `complete` returning to the processes that waited having exited."""
    times: list[float] = []
    worst = []
    with _service() as (path, _):
        client = Client(path)
        for lap in range(settings.runs):
            units = [f"{lap}-{number}" for number in range(PROCESSES)]
            for unit in units:
                client.want(unit, f"db{lap}")
            client.start(f"db{lap}")
            waiting = [
                subprocess.Popen([COMMAND, "sync", "--socket", path, "start", unit], stdout=subprocess.DEVNULL)
                for unit in units
            ]
            _until(lambda: _waiters(path) == PROCESSES)
            ends = selectors.DefaultSelector()
            descriptors = [os.pidfd_open(process.pid) for process in waiting]
            for descriptor in descriptors:
                ends.register(descriptor, selectors.EVENT_READ)
            client.complete(f"db{lap}")
            returned = perf_counter()
            took: list[float] = []
            while len(took) < PROCESSES:
                for key, _ in ends.select():
                    took.append(perf_counter() - returned)
                    ends.unregister(key.fd)
            for process, descriptor in zip(waiting, descriptors, strict=True):
                os.close(descriptor)
                if process.wait():
                    raise RuntimeError(f"a process that waited ended with {process.returncode}")
            times += took
            worst.append(max(took))
    median, longest = statistics.median(times) * 1e3, statistics.median(worst) * 1e3
    note = f"{PROCESSES} processes wait; from complete returning to each having exited"
    yield Row("service: released, median", "ms", median, None, "under 60 ms", median < 60, note)
    yield Row("service: released, worst", "ms", longest, None, "under 250 ms", longest < 250, "median of the worst")


def _waiters(path: str) -> int:
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as answer:
        connection.connect(path)
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return int(float(re.findall(rb"^fastdag_waiters (\S+)", answer.read(), re.MULTILINE)[0]))


def _until(there: Callable[[], bool]) -> None:
    while not there():
        sleep(0.01)


class _Caller(asyncio.Protocol):
    """One connection that sends the next request as soon as it has the answer to the last."""

    def __init__(self, requests: Iterator[bytes], answered: Callable[[float], None]) -> None:
        self._requests = requests
        self._answered = answered
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._next()

    def _next(self) -> None:
        if (request := next(self._requests, None)) is not None:
            self._sent = perf_counter()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"the service answered {self._buffer!r}")
        self._buffer = b""
        self._answered(perf_counter() - self._sent)
        self._next()


def _get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: fastdag\r\n\r\n".encode()


def _post(target: str, body: str) -> bytes:
    return f"POST {target} HTTP/1.1\r\nHost: fastdag\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _updates(unit: str) -> Iterator[bytes]:
    for status in itertools.cycle(("started", "completed")):
        yield _post("/v1/status", f'{{"unit":"{unit}","status":"{status}"}}')


def _half_reads(unit: str) -> Iterator[bytes]:
    for update in _updates(unit):
        yield update
        yield _get(f"/v1/status?unit={unit}")


async def _load(path: str, lap: int, make: Callable[[str], Iterator[bytes]]) -> float:
    """Requests a second that so many clients get answered, each on a unit of its own."""
    loop = asyncio.get_running_loop()
    answers = 0

    def answered(_: float) -> None:
        nonlocal answers
        answers += 1

    callers = [
        await loop.create_unix_connection(partial(_Caller, make(f"{lap}-{number}"), answered), path)
        for number in range(CLIENTS)
    ]
    await asyncio.sleep(0.5)
    answers, began = 0, perf_counter()
    await asyncio.sleep(SECONDS)
    rate = answers / (perf_counter() - began)
    for transport, _ in callers:
        transport.abort()
    return rate


def _requests(settings: Settings) -> Iterator[Row]:
    for name, options, make, least in (
        ("service: requests", (), _half_reads, 5_000),
        ("service: requests, journal", ("--journal", "{folder}/journal"), _updates, 2_000),
    ):
        with _service(*options) as (path, _):
            laps = range(settings.runs)
            Client(path).register_all([f"{lap}-{number}" for lap in laps for number in range(CLIENTS)])
            rate = statistics.median(uvloop.run(_load(path, lap, make)) for lap in laps)
        note = f"{CLIENTS} clients; {'changes of status' if options else 'half reads, half changes of status'}"
        yield Row(name, "1/s", rate, None, f"over {least:,}", rate > least, note)


async def _wait_many(path: str, lap: int, waiters: int) -> list[float]:
    """Have many wait for one unit; how long after the answer to `complete` each has its own, in seconds."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    done = asyncio.Event()

    def answered(_: float) -> None:
        times.append(perf_counter())
        if len(times) == waiters:
            done.set()

    callers = [
        await loop.create_unix_connection(
            partial(_Caller, iter([_post("/v1/start", f'{{"unit":"waiter{lap}-{number}"}}')]), answered), path
        )
        for number in range(waiters)
    ]
    await asyncio.to_thread(_until, lambda: _waiters(path) == waiters)
    began = float("inf")

    def returned(_: float) -> None:
        nonlocal began
        began = perf_counter()

    complete = iter([_post("/v1/complete", f'{{"unit":"gate{lap}"}}')])
    callers.append(await loop.create_unix_connection(partial(_Caller, complete, returned), path))
    await done.wait()
    for transport, _ in callers:
        transport.abort()
    return [max(0.0, time - began) for time in times]


def _inside(settings: Settings) -> Iterator[Row]:
    with _service() as (path, _):
        client = Client(path)
        times: list[float] = []
        for lap in range(4 * settings.runs):
            client.register(f"gate{lap}")
            for number in range(PROCESSES):
                client.want(f"waiter{lap}-{number}", f"gate{lap}")
            times += uvloop.run(_wait_many(path, lap, PROCESSES))
    median = statistics.median(times) * 1e3
    note = f"{PROCESSES} connections of one process"
    yield Row("service: released, inside", "ms", median, None, "under 5 ms", median < 5, note)


def _memory(_: Settings) -> Iterator[Row]:
    with _service() as (path, pid):
        client = Client(path)
        client.register("gate0")
        for first in range(0, UNITS, 1000):
            client.register_all([f"unit{number}" for number in range(first, first + 1000)])
        for number in range(WAITERS):
            client.want(f"waiter0-{number}", "gate0")
        uvloop.run(_wait_many(path, 0, WAITERS))
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0]) / 1024
    note = f"{UNITS:,} units, {WAITERS:,} waiters; the peak"
    yield Row("service: memory", "MB", peak, None, "under 150 MB", peak < 150, note)


def _start(settings: Settings) -> Iterator[Row]:
    took = []
    for _ in range(4 * settings.runs):
        began = perf_counter()
        with _service() as (path, _):
            Client(path).ping()
            took.append(perf_counter() - began)
    seconds = statistics.median(took)
    yield Row("service: start", "s", seconds, None, "under 0.7 s", seconds < 0.7, "from its start to the first answer")


ROWS: dict[str, Measure] = {
    "service-command": _command,
    "service-released": _released,
    "service-inside": _inside,
    "service-requests": _requests,
    "service-memory": _memory,
    "service-start": _start,
}

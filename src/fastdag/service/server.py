"""`fastdag serve`: opens socket and journal, serves until a signal, and leaves nothing behind."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import resource
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvloop

from fastdag.client.wire import default_socket
from fastdag.errors import FastDAGError, JournalError
from fastdag.manager import Manager
from fastdag.service.app import application
from fastdag.service.journal import Journal
from fastdag.service.listener import (
    SocketFile,
    listen_tcp,
    private_directory,
    read_token,
    tls_context,
)
from fastdag.service.metrics import Metrics
from fastdag.service.protocol import LIMITS, HttpServer, TcpProtocol, UnixProtocol, with_token
from fastdag.service.state import Service

GRACE = 5.0  # seconds for answers in flight when the service stops

Ready = Callable[[str], None]


class _UsageError(FastDAGError, ValueError):
    """Options that do not go together, or mean nothing."""


class _Network(NamedTuple):
    """What `--listen` asks for."""

    host: str
    port: int
    token: bytes
    tls: ssl.SSLContext | None


def run(arguments: argparse.Namespace) -> int:
    """Serve as the command line says; returns the exit status."""
    _open_standard_streams()
    try:
        network = _network(arguments)
        where = Path(arguments.socket or default_socket())
        if arguments.background:
            return _in_background(where, arguments.journal, network)
        return _serve(where, arguments.journal, network, lambda message: print(message, file=sys.stderr, flush=True))
    except FastDAGError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, _UsageError) else 1


def _open_standard_streams() -> None:
    """Put something in the place of what the caller closed, or a socket would take it."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)


def _network(arguments: argparse.Namespace) -> _Network | None:
    """Check what belongs to `--listen`, which without it is of no use."""
    if arguments.listen is None:
        if arguments.token_file or arguments.cert or arguments.key:
            raise _UsageError("--token-file, --cert and --key go with --listen HOST:PORT")
        return None
    host, colon, port = arguments.listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if not colon or not host or not 0 <= number <= 65535:
        raise _UsageError(f"--listen takes HOST:PORT, for instance 127.0.0.1:8000, not {arguments.listen!r}")
    if arguments.token_file is None:
        raise _UsageError("--listen needs --token-file FILE, as anybody can reach a port")
    if (arguments.cert is None) != (arguments.key is None):
        raise _UsageError("--cert and --key go together")
    if arguments.cert is None and not _is_loopback(host):
        raise _UsageError(f"beyond this machine the token needs TLS: pass --cert and --key to listen on {host}")
    tls = None if arguments.cert is None else tls_context(Path(arguments.cert), Path(arguments.key))
    return _Network(host, number, read_token(Path(arguments.token_file)), tls)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _in_background(where: Path, journal: str | None, network: _Network | None) -> int:
    """Go on in a process of its own, and return when it serves."""
    log = where.absolute().with_name(where.name + ".log")
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with open(reading, "rb") as pipe:
            state, _, message = pipe.read().decode(errors="replace").partition(" ")
        if state == "ready":
            print(message)
            return 0
        print(f"error: {message or f'the service ended while it started; {log} may say why'}", file=sys.stderr)
        return 1
    os.close(reading)
    with open(writing, "w") as report:

        def ready(message: str) -> None:
            os.chdir("/")  # all is open; the caller's folder may go, and what is mounted there
            report.write(f"ready {message}; its messages are in {log}")
            report.close()

        try:
            os.setsid()
            _make_place(where)
            nowhere = os.open(os.devnull, os.O_RDONLY)
            written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            for source, target in ((nowhere, 0), (written, 1), (written, 2)):
                os.dup2(source, target)
            _close_all_but(report.fileno())
            return _serve(where, journal, network, ready)
        except (FastDAGError, OSError) as error:
            if report.closed:
                raise
            report.write(f"failed {error}")
            return 1


def _close_all_but(kept: int) -> None:
    """Let go of what the caller had open: a lock of his, for one, would be held as long as the service lives."""
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number != kept:
            with contextlib.suppress(OSError):  # the list itself was read by one of them
                os.close(number)


def _make_place(where: Path) -> None:
    """Make the directory of the default socket where the system has none for it."""
    if where.parent == Path(f"/tmp/fastdag-{os.getuid()}"):
        private_directory(where.parent)


def _serve(where: Path, journal: str | None, network: _Network | None, ready: Ready) -> int:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # or every client that speaks no HTTP fills the log
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _make_place(where)
    place = SocketFile(where)
    try:
        opened = None if journal is None else Journal(journal)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_until_told(place, opened, network, ready))
        finally:
            if opened is not None:
                opened.close()
    finally:
        place.close()


def _descriptors() -> int:
    """Give how many files this process may have open, at the least."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else most


async def _until_told(place: SocketFile, journal: Journal | None, network: _Network | None, ready: Ready) -> int:
    """Serve until SIGTERM or SIGINT, or until the journal fails."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[str | None] = loop.create_future()  # why, where it is no order

    def end(reason: str | None) -> None:
        if not stop.done():
            stop.set_result(reason)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, None)
    manager = Manager(auto_skip=True, on_error=lambda error, *_: end(f"an event could not be noted: {error}"))
    service = Service(manager, journal, on_failed=lambda error: end(str(error)))
    app = application(service, Metrics(service))
    # Connections leave some descriptors for leases, also where they come by both ways. Not counted is who does not even
    # begin with TLS: such a one is kept for the time of the handshake.
    share = _descriptors() * 3 // 4 // (1 if network is None else 2)
    limits = LIMITS._replace(connections=min(LIMITS.connections, share))
    unix = HttpServer(app, UnixProtocol, limits)
    servers = [unix]
    message = f"fastdag service: process {os.getpid()} at {place.path}"
    if network is not None:
        tcp = HttpServer(with_token(app, network.token), TcpProtocol, limits)
        servers.append(tcp)
        bound = listen_tcp(network.host, network.port, loopback=network.tls is None)
        for each in bound:
            await tcp.listen(each, network.tls)
        host = f"[{network.host}]" if ":" in network.host else network.host
        message += f" and {'http' if network.tls is None else 'https'}://{host}:{bound[0].getsockname()[1]}"
    await unix.listen(place.socket)
    gc.collect()
    gc.freeze()  # what is there now stays; it need not be looked through again
    ready(message)
    reason = await stop
    for server in servers:
        server.shut()
    service.stop()
    await asyncio.gather(*(server.ended(GRACE) for server in servers))
    if reason is None:
        with contextlib.suppress(JournalError):
            await service.settled()
        reason = None if journal is None or journal.failed is None else str(journal.failed)
    if reason is not None:
        print(f"error: the service stops: {reason}", file=sys.stderr)
        return 1
    return 0

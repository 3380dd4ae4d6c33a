"""`AsyncClient`: the service for asyncio, over streams of the running loop, without threads."""

from __future__ import annotations

import asyncio
import os
import socket as sockets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fastdag.client import answers, calls, sse, wire
from fastdag.client.transport import IDLE, PATIENCE, Address
from fastdag.events import Event
from fastdag.explain import Explanation
from fastdag.status import Requirement
from fastdag.units import Dependency, Unit

if TYPE_CHECKING:
    from fastdag._core import Graph

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AsyncClient:
    """A fastdag service, with the names of `fastdag.Manager`, as coroutines.

    What is said of `Client` is true here, but for threads: one client is for one event loop, and many tasks of it may
    use it at once. Cancelling a task that waits ends its wait at the service, too.

    Parameters
    ----------
    socket, url, token, cafile, timeout
        As for `Client`.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
        cafile: str | None = None,
        timeout: float = PATIENCE,
    ) -> None:
        self._address = Address(socket, url, token, cafile)
        self._timeout = timeout
        self._idle: list[_Streams] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that no call is using. The next call opens one again."""
        while self._idle:
            await _close(self._idle.pop()[1])

    async def _do(self, call: calls.Call[calls.T]) -> calls.T:
        limit = None if call.wait is None else call.wait + self._timeout
        data = wire.request(call.method, call.path, self._address.headers, call.fields)
        reply = None
        while reply is None and self._idle:
            reader, writer = self._idle.pop()
            if reader.at_eof() or writer.is_closing():
                await _close(writer)
                continue
            try:
                reply = await self._exchange(reader, writer, data, limit)
            except EOFError:
                # The service ended the idle connection in the very moment. A request that it may have taken is not sent
                # twice, unless it only reads.
                if call.method != "GET":
                    raise self._address.broken() from None
        if reply is None:
            try:
                reply = await self._exchange(*await _connect(self._address, self._timeout), data, limit)
            except EOFError:
                raise self._address.broken() from None
        if reply.status != 200:
            raise answers.error_of(reply.status, bytes(reply.body), self._address.where)
        return call.answer(bytes(reply.body), self._address.where)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, limit: float | None
    ) -> wire.Reply:
        reply = wire.Reply()
        try:
            async with asyncio.timeout(limit):
                writer.write(data)
                while not reply.complete:
                    reply.feed(await _receive(reader))
        except BaseException as error:
            writer.transport.abort()
            if isinstance(error, TimeoutError):
                raise self._address.silent(limit) from None
            if isinstance(error, wire.MalformedError):
                raise self._address.foreign(error) from None
            raise
        if reply.reusable and len(self._idle) < IDLE:
            self._idle.append((reader, writer))
        else:
            await _close(writer)
        return reply

    async def ping(self) -> answers.Ping:
        """Ask who answers."""
        return await self._do(calls.ping())

    async def register(self, unit: str) -> None:
        """Register a unit: it gets the status `pending`. As `Manager.register`."""
        await self._do(calls.register_all([unit]))

    async def register_all(self, units: Iterable[str]) -> None:
        """Register units, all or none. As `Manager.register_all`."""
        await self._do(calls.register_all(units))

    async def want(
        self,
        unit: str,
        depends_on: str | Sequence[str],
        requires: Requirement | str = Requirement.SUCCESS,
        replace: bool = False,
    ) -> answers.UnitStatus:
        """Let a unit, which is registered if it is not yet, depend on others, on all of them or none.

        `requires`, here and below: a plain string asks for exactly that status, as in `Manager.add_dependency`.
        """
        return await self._do(calls.want(unit, depends_on, requires, replace))

    async def add_dependency(
        self, unit: str, depends_on: str, requires: Requirement | str = Requirement.SUCCESS, replace: bool = False
    ) -> None:
        """Let a registered unit depend on another. As `Manager.add_dependency`."""
        await self._do(calls.add_dependencies([(unit, depends_on, requires)], replace))

    async def add_dependencies(
        self, dependencies: Iterable[tuple[str, str] | tuple[str, str, Requirement | str]], replace: bool = False
    ) -> int:
        """Add many dependencies, all of them or none; gives how many are new. As `Manager.add_dependencies`."""
        return await self._do(calls.add_dependencies(dependencies, replace))

    async def start(self, unit: str, timeout: float | None = None, owner: int | None = None) -> answers.ServiceUnit:
        """Wait until a unit, which is registered if it is not yet, is ready, and set it to `started`.

        With `owner`, the number of a process on the service's machine, the unit becomes `failed` when that process ends
        before the unit does. `timeout` in seconds; 0: do not wait; None: no limit.

        Raises
        ------
        DependencyFailedError
            If the unit is, or becomes, blocked, or others end it while this waits, as complete or cancel do.
        WaitTimeoutError
            If the time is over.
        SameStatusError
            If it is started already, or others start it while this waits.
        ProcessLookupError
            If there is no such process.
        """
        return await self._do(calls.start(unit, timeout, owner))

    async def wait(self, unit: str, status: str | None = None, timeout: float | None = None) -> answers.ServiceUnit:
        """Wait until a unit has a status, or without one until it is ready. Registers nothing.

        Raises
        ------
        DependencyFailedError
            If the unit ends in another status than that, or is, or becomes, blocked.
        WaitTimeoutError
            If the time is over.
        """
        return await self._do(calls.wait(unit, status, timeout))

    async def wait_ready(self, unit: str, timeout: float | None = None) -> None:
        """Wait until a unit is ready. As `Manager.wait_ready`."""
        await self._do(calls.wait_ready(unit, timeout))

    async def complete(self, unit: str, reason: str | None = None) -> answers.ServiceUnit:
        """Set a unit to `completed`."""
        return await self._do(calls.end("complete", unit, reason))

    async def fail(self, unit: str, reason: str | None = None) -> answers.ServiceUnit:
        """Set a unit to `failed`."""
        return await self._do(calls.end("fail", unit, reason))

    async def skip(self, unit: str, reason: str | None = None) -> answers.ServiceUnit:
        """Set a unit to `skipped`."""
        return await self._do(calls.end("skip", unit, reason))

    async def cancel(self, unit: str, reason: str | None = None) -> answers.ServiceUnit:
        """Set a unit to `canceled`."""
        return await self._do(calls.end("cancel", unit, reason))

    async def update_status(self, unit: str, status: str, reason: str | None = None) -> None:
        """Change the status of a unit. As `Manager.update_status`, with a reason."""
        await self._do(calls.update_status(unit, status, reason))

    async def unit(self, unit: str) -> Unit:
        """Give a unit; an unknown one has the status `NOT_REGISTERED`. As `Manager.unit`."""
        return await self._do(calls.unit(unit))

    async def status(self, unit: str) -> answers.UnitStatus:
        """Give all that the service knows of a unit, and what it depends on."""
        return await self._do(calls.status(unit))

    async def units(self) -> list[Unit]:
        """Give all units, in the order of registration. As `Manager.units`."""
        return await self._do(calls.units())

    async def is_ready(self, unit: str) -> bool:
        """Tell whether a unit is registered and all it depends on satisfied. As `Manager.is_ready`."""
        return await self._do(calls.is_ready(unit))

    async def state(self, unit: str) -> str:
        """Give `waiting`, `ready` or `blocked`. As `Manager.state`."""
        return await self._do(calls.state(unit))

    async def dependencies(self, unit: str) -> list[Dependency]:
        """Give what a unit depends on. As `Manager.dependencies`."""
        return await self._do(calls.dependencies(unit))

    async def unmet_dependencies(self, unit: str) -> list[Dependency]:
        """Give what a unit depends on and is not satisfied. As `Manager.unmet_dependencies`."""
        return await self._do(calls.unmet_dependencies(unit))

    async def ready(self) -> list[str]:
        """Give the pending units that could start now."""
        return await self._do(calls.ready())

    async def explain(self, unit: str) -> Explanation:
        """Say why a unit waits, down to the units that hold it up. As `Manager.explain`."""
        return await self._do(calls.explain(unit))

    async def snapshot(self) -> answers.Snapshot:
        """Give all units of one moment, and from where to go on with `events`."""
        return await self._do(calls.snapshot())

    async def graph(self) -> Graph[str]:
        """Give the dependencies as they are now, a plain graph whose labels are requirements. As `Manager.graph`."""
        return await self._do(calls.graph())

    async def to_dot(self) -> str:
        """Draw the units and dependencies in Graphviz's language. As `Manager.to_dot`."""
        return await self._do(calls.picture("dot"))

    async def to_mermaid(self) -> str:
        """Draw the units and dependencies as a Mermaid flow chart."""
        return await self._do(calls.picture("mermaid"))

    async def events(
        self,
        unit: str | None = None,
        kinds: str | Iterable[str] | None = None,
        last_event_id: str | None = None,
    ) -> AsyncEvents:
        """Give the events from now on, or from another one on, as an asynchronous iterator. As `Client.events`."""
        path, header = calls.events(unit, kinds, last_event_id)
        reader, writer = await _connect(self._address, self._timeout)
        reply = wire.Reply()
        try:
            writer.write(wire.request("GET", path, self._address.headers + header))
            while not reply.status or (reply.status != 200 and not reply.complete):
                await _feed(reply, reader, self._address, self._timeout)
            if reply.status != 200:
                raise answers.error_of(reply.status, bytes(reply.body), self._address.where)
        except BaseException:
            writer.transport.abort()
            raise
        return AsyncEvents(self._address, reader, writer, reply, last_event_id)


class AsyncEvents:
    """The events of a service, an asynchronous iterator; end it with `close` or use it in `async with`.

    As `Events`; one task may read at a time. Made by `AsyncClient.events`.

    Attributes
    ----------
    last_event_id : str or None
        Of the last event given; pass it to `AsyncClient.events` to go on from there.
    """

    def __init__(
        self,
        address: Address,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        reply: wire.Reply,
        last_event_id: str | None,
    ) -> None:
        self._address = address
        self._bytes = reader
        self._writer = writer
        self._reply = reply
        self._reader = sse.EventReader(last_event_id)

    @property
    def last_event_id(self) -> str | None:  # noqa: D102 - above
        return self._reader.last_event_id

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            event = self._reader.take()
            if event is not None:
                return event
            while not self._reply.body:
                if self._reply.complete:
                    raise self._address.gone()
                await _feed(self._reply, self._bytes, self._address, sse.SILENCE)
            self._reader.feed(bytes(self._reply.body))
            self._reply.body.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection."""
        await _close(self._writer)


async def _connect(address: Address, limit: float) -> _Streams:
    try:
        async with asyncio.timeout(limit):
            if not address.path:
                context = address.context() if address.secure else None
                return await asyncio.open_connection(address.host, address.port, ssl=context)
            address.look()
            return await asyncio.open_unix_connection(sock=await _unix(address.path))
    except OSError as error:
        raise address.refused(error) from None


async def _unix(path: str) -> sockets.socket:
    """Connect; the loop's own way takes a socket that found the service's queue full for connected."""
    pause = 0.001
    while True:
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.connect(path)
        except BlockingIOError:  # the queue is full, and the kernel tells nobody when there is room again
            connection.close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)
        except BaseException:
            connection.close()
            raise
        else:
            return connection


async def _feed(reply: wire.Reply, reader: asyncio.StreamReader, address: Address, limit: float) -> None:
    try:
        async with asyncio.timeout(limit):
            reply.feed(await _receive(reader))
    except TimeoutError:
        raise address.silent(limit) from None
    except EOFError:
        raise address.gone() from None
    except wire.MalformedError as error:
        raise address.foreign(error) from None


async def _receive(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65536)
    except ConnectionError:
        return b""


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):  # it was broken already
        await writer.wait_closed()

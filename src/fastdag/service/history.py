"""What has happened, for those who follow it: events kept for a while, and read by any number of streams.

A stream is a position in one common list, so that a slow reader costs no memory: one that falls further behind than
the list goes back is told that it has missed something.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import msgspec

from fastdag.service.messages import EventView

KEPT = 10_000  # events at least, if there were so many; at most twice as many


class Kept:
    """An event with its number, and as it is written to all who follow.

    Attributes
    ----------
    number : int
    event : EventView
    """

    __slots__ = ("_message", "event", "number")

    def __init__(self, number: int, event: EventView) -> None:
        self.number = number
        self.event = event
        self._message: bytes | None = None

    def message(self, event_id: Callable[[int], str]) -> bytes:
        """Give it as a server-sent event, as the HTML standard has them; encoded once, when the first asks for it."""
        if self._message is None:
            said = event_id(self.number).encode(), self.event.kind.encode(), msgspec.json.encode(self.event)
            self._message = b"id: %b\nevent: %b\ndata: %b\n\n" % said
        return self._message


class History:
    """Events, numbered from 1, and those who follow them.

    Attributes
    ----------
    instance : str
        Another one after every start of the service, whose numbers begin anew.
    last : int
        The number of the newest event.
    visible : int
        The newest event that streams are given; later ones are not in the journal yet.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self.instance = os.urandom(6).hex()
        self.visible = 0
        self._kept = kept
        self._events: list[Kept] = []
        self._before = 0  # events that came before the first one in the list
        self._closed = False
        self._arrivals: set[asyncio.Event] = set()

    @property
    def last(self) -> int:
        """The number of the newest event."""
        return self._before + len(self._events)

    def add(self, event: EventView) -> None:
        """Note an event; streams are given it once it is shown. O(1) amortised."""
        self._events.append(Kept(self.last + 1, event))
        if len(self._events) >= 2 * self._kept:
            self._before += self._kept
            del self._events[: self._kept]

    def show(self, number: int) -> None:
        """Give the streams the events up to this one. O(streams)."""
        self.visible = number
        for arrival in self._arrivals:
            arrival.set()

    def close(self) -> None:
        """End all streams, behind what they can still be given."""
        self._closed = True
        for arrival in self._arrivals:
            arrival.set()

    def event_id(self, number: int) -> str:
        """Give the id under which clients know the event with this number."""
        return f"{self.instance}-{number}"

    def number(self, event_id: str) -> int | None:
        """Give the number of an event by its id; `None` when it is of another instance, or none of ours."""
        instance, _, number = event_id.rpartition("-")
        if instance != self.instance or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        return int(number) if int(number) <= self.last else None

    async def follow(
        self, after: int | None, wanted: Callable[[EventView], bool], idle: float
    ) -> AsyncIterator[list[Kept] | None]:
        """Give the events behind the one numbered `after` that are wanted, some at a time, for ever.

        Parameters
        ----------
        after : int or None
            `None`: those from now on.
        wanted : callable
        idle : float
            Seconds without anything to give after which an empty list is given.

        Yields
        ------
        list of Kept, or None
            `None` where events are missing, as they are not kept any more.
        """
        position = self.visible if after is None else after
        loop = asyncio.get_running_loop()
        arrival = asyncio.Event()
        # One timer at a time, which is left to run out when something comes before: there may be a thousand streams,
        # and to start another one for each at each event took a quarter of the time.
        timer: asyncio.TimerHandle | None = None

        def out_of_time() -> None:
            nonlocal timer
            timer = None
            arrival.set()

        self._arrivals.add(arrival)
        try:
            given = loop.time()
            while True:
                if position < self._before:
                    position = self._before
                    yield None
                arrival.clear()
                end = min(self.visible, position + 1000)
                behind = self._events[position - self._before : max(0, end - self._before)]
                some = [kept for kept in behind if wanted(kept.event)]
                position = max(position, end)
                if some:
                    yield some
                    given = loop.time()
                elif position >= self.visible:
                    if self._closed:
                        return
                    if loop.time() - given >= idle:
                        yield []
                        given = loop.time()
                        continue
                    if timer is None:
                        timer = loop.call_at(given + idle, out_of_time)
                    await arrival.wait()
        finally:
            if timer is not None:
                timer.cancel()
            self._arrivals.discard(arrival)

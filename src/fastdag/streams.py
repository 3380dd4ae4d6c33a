"""Events for asyncio: `EventStream`, an asynchronous iterator over what a subscription hears."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from fastdag.events import Event
from fastdag.subscribers import Callback, Subscription


class _Mailbox:
    """Where the delivering thread leaves events and the event loop finds them.

    Apart from the stream, so that the subscription does not keep an abandoned stream alive.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.events: deque[Event] = deque()
        self.arrived = asyncio.Event()
        self.waking = False  # a call of `wake` is on its way; many events may share one
        self.subscription: Subscription | None = None

    def put(self, event: Event) -> None:
        # Appended before `waking` is read, which `wake` clears before the reader looks at `events`: whichever way the
        # two threads meet, either the reader sees this event or another call is sent.
        self.events.append(event)
        if not self.waking:
            self.waking = True
            try:
                self.loop.call_soon_threadsafe(self.wake)
            except RuntimeError:  # the loop is closed: nobody will ever read this
                self.events.clear()
                self.end()
            except BaseException:
                self.waking = False  # else the reader would sleep for ever
                raise

    def wake(self) -> None:
        self.waking = False
        self.arrived.set()

    def end(self) -> None:
        if self.subscription is not None:
            self.subscription.cancel()


class EventStream:
    """The events of a manager as an asynchronous iterator, from the moment it was made.

    Ends with `aclose` or its `async with` block; an abandoned stream, and one whose loop is closed, unsubscribes
    itself. Events wait in memory until they are read. One task may read at a time.
    """

    def __init__(self, subscribe: Callable[[Callback], Subscription]) -> None:
        self._mailbox = _Mailbox(asyncio.get_running_loop())
        weakref.finalize(self, self._mailbox.end).atexit = False  # first: should it fail, nobody has subscribed
        self._mailbox.subscription = self._subscription = subscribe(self._mailbox.put)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        mailbox = self._mailbox
        while self._subscription.active:
            if mailbox.events:
                return mailbox.events.popleft()
            mailbox.arrived.clear()
            if not mailbox.events:
                await mailbox.arrived.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the stream: unread events are dropped, and a task that waits for the next one sees the end."""
        self._subscription.cancel()
        self._mailbox.events.clear()
        self._mailbox.arrived.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

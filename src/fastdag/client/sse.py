"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), and what they mean here."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from fastdag.client import answers
from fastdag.errors import EventGapError, ServiceError
from fastdag.events import Event

SILENCE = 60.0  # seconds; the service sends at least a comment every 15


class Message(NamedTuple):
    """One message of the stream: its `id` (of the last that had one), `event` and `data`."""

    id: str
    event: str
    data: str


class Parser:
    """Takes bytes as they come and gives the messages that are complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[Message]:
        """Take in what was read."""
        text = self._rest + data
        # A line ends in CR, LF or both; after a CR at the very end an LF may follow.
        held_back = b"\r" if text.endswith(b"\r") else b""
        text = text.removesuffix(held_back).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._rest = rest + held_back
        messages = []
        for line in lines:
            message = self._line(line.decode("utf-8", "replace"))
            if message is not None:
                messages.append(message)
        return messages

    def _line(self, line: str) -> Message | None:
        if not line:
            message = Message(self._id, self._event, "\n".join(self._data)) if self._data else None
            self._event, self._data = "", []
            return message
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            self._id = value
        elif field == "event":
            self._event = value
        elif field == "data":
            self._data.append(value)
        return None  # other fields, and comments, which have an empty name, mean nothing


class EventReader:
    """The events in a stream of bytes.

    Attributes
    ----------
    last_event_id : str or None
        Of the event given last; before the first one, what the stream was asked to go on from.
    """

    def __init__(self, last_event_id: str | None) -> None:
        self.last_event_id = last_event_id
        self._parser = Parser()
        self._messages: deque[Message] = deque()

    def feed(self, data: bytes) -> None:
        """Take in what was read."""
        self._messages.extend(self._parser.feed(data))

    def take(self) -> Event | None:
        """Give the next event, if one is there.

        Raises
        ------
        EventGapError
            If the service says that events are missing in between.
        """
        if not self._messages:
            return None
        message = self._messages.popleft()
        if message.event == "reset":
            since = "" if self.last_event_id is None else f" since {self.last_event_id!r}"
            raise EventGapError(
                f"the service no longer has all events{since}: it was restarted, or there were too many; "
                "take a snapshot() and go on from its event_id"
            )
        try:
            event = answers.event(message.id, message.data)
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(f"an event of the service makes no sense: {error!r}", 200) from None
        self.last_event_id = message.id
        return event

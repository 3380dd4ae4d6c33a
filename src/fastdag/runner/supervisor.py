"""A unit on a worker of Dask, in the care of a process of its own: what `fastdag run` is for those of its machine.

`fastdag.runner.remote` starts this and speaks to it: a line of JSON first, which says what to run, then words, a line
each. Back come frames: what the unit prints, and at the end its outcome. All that `processes` guarantees holds. Where
no command is to be run, survivors of that name are ended, and their names come back as JSON.

Guarantees
----------
- When the other end goes, be it by SIGKILL, the unit is ended as by the word `STOP`, and this process ends.
- The outcome comes once nothing that the unit started is left, whatever session or environment that gave itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import struct
from contextlib import suppress
from typing import Any, Final

from fastdag.runner.logs import too_much
from fastdag.runner.processes import CannotStartError, Family, Outcome, left_behind
from fastdag.status import Status

FRAME: Final = struct.Struct(">cI")  # what it is, and how long it is
OUTPUT: Final = b"o"
OUTCOME: Final = b"e"  # as JSON: the fields of `Outcome`
STOP: Final = b"stop\n"  # SIGTERM, after the grace SIGKILL
KILL: Final = b"kill\n"  # SIGKILL
CHUNK: Final = 16 << 10  # bytes of output in a frame at the most
_GATHERED: Final = 0.05  # seconds for which less than that is held back, so that few frames have many lines
_BLOCK: Final = 1 << 16


def main() -> None:
    """Do what standard input says; nothing, if it ends before."""
    line, end, words = b"", b"", b""
    while not end:
        data = os.read(0, _BLOCK)
        if not data:
            return
        head, end, words = data.partition(b"\n")
        line += head
    asked = json.loads(line)
    asyncio.run(_supervise(asked, words) if "command" in asked else _end_survivors(**asked))
    os._exit(0)  # all is said, and somebody waits


async def _end_survivors(run: str, unit: str | None) -> None:
    family = Family(run)
    os.write(1, json.dumps(await family.end_survivors(unit)).encode())
    await family.close()


async def _supervise(asked: dict[str, Any], words: bytes) -> None:
    loop = asyncio.get_running_loop()
    environment = dict(os.environ)
    if _is_socket(asked["socket"]):
        environment["FASTDAG_SOCKET"] = asked["socket"]
    family = Family(asked["run"], environment=environment)
    output = _Output(asked["left"], asked["limit"])
    over: asyncio.Future[Outcome] = loop.create_future()
    try:
        process = family.start(
            asked["unit"], asked["command"], asked["env"], asked["cwd"], output, asked["timeout"], over.set_result
        )
    except CannotStartError as error:
        outcome = Outcome(Status.FAILED, str(error), 0.0, executed=False)
    else:

        def stop() -> None:
            process.stop(Status.CANCELED, "ended by its worker")

        def stop_by(number: signal.Signals) -> None:  # as all processes of a machine get them
            process.stop(Status.FAILED, f"its supervisor was ended by {number.name}")

        def hear(words: bytes) -> None:
            if STOP in words or KILL in words:
                stop()
            if KILL in words:
                family.hurry()

        def read() -> None:
            if words := os.read(0, _BLOCK):
                hear(words)
            else:  # there is nobody left who wants to know
                loop.remove_reader(0)
                stop()

        hear(words)
        loop.add_reader(0, read)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop_by, number)
        outcome = await over
    if (names := await family.close()) and outcome.status == Status.COMPLETED:
        outcome = outcome._replace(status=Status.FAILED, reason=left_behind(names))
    output.flush()
    _send(OUTCOME, json.dumps(outcome).encode())


class _Output:
    """What a unit prints, on its way to its log: `Process` takes it for one.

    Once it is too much, one byte more than may be is sent, which tells the log.
    """

    def __init__(self, left: int, limit: int) -> None:
        self.flaw: str | None = None
        self._left = left
        self._limit = limit
        self._held = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> None:
        if self.flaw is not None:
            return
        self._held += data[: self._left + 1]
        self._left -= len(data)
        if self._left < 0:
            self.flaw = too_much(self._limit)
        if len(self._held) >= CHUNK:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHERED, self.flush)

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for at in range(0, len(self._held), CHUNK):
            _send(OUTPUT, bytes(self._held[at : at + CHUNK]))
        self._held.clear()


def _send(what: bytes, data: bytes) -> None:
    # The other end reads all the time, so that this does not take long.
    frame = FRAME.pack(what, len(data)) + data
    with suppress(BrokenPipeError):
        while frame:
            frame = frame[os.write(1, frame) :]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


if __name__ == "__main__":
    main()

"""What the workers of a cluster of Dask do for `fastdag run`: a supervisor for each unit, and word of it.

Guarantees
----------
- A unit whose task Dask takes back is ended, be it because the run wants it, or because the run is gone: the scheduler
  takes back what a client wanted that has left, and tells the workers.
- A unit whose worker closes, or is killed, is ended.

Assumes
-------
- What is asynchronous here runs in the thread of the worker's event loop, as the transitions of tasks do.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Final, cast

from distributed import Reschedule, WorkerPlugin, get_worker
from distributed.utils import sync
from distributed.worker import WORKER_ANY_RUNNING

from fastdag.runner.supervisor import CHUNK, FRAME, KILL, OUTCOME, STOP
from fastdag.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Worker

_NAME: Final = "fastdag-units"  # of the plugin
_RATE: Final = 16 << 20  # bytes a second that a unit may print, so that one alone does not swamp the scheduler
_CLOSED: Final = 1_000  # runs that a worker remembers to be over
_COMMAND: Final = (sys.executable, "-P", "-m", "fastdag.runner.supervisor")


def run_unit(topic: str, number: int, key: Any, asked: bytes) -> None:
    """Run a unit to its end: the task that Dask knows.

    What happens is told as events of the topic, which come in order: the worker, what the unit prints, the outcome.

    Parameters
    ----------
    topic : str
        The id of the client, which stands for the run.
    number : int
        What the client calls this run of the unit.
    key : object
        What Dask calls it.
    asked : bytes
        What to run, for the supervisor.
    """
    worker = get_worker()

    def tell(**what: Any) -> None:
        worker.log_event(topic, {"number": number, **what})

    units = sync(worker.loop, _units, worker)
    unit = _Unit(topic)
    if not sync(worker.loop, units.enter, key, unit):
        if unit.deserted:
            raise Reschedule
        return
    try:
        with unit.start(asked) as supervisor:
            tell()
            outcome = _follow(supervisor, tell)
        if outcome is None and not unit.deserted:
            outcome = _unforeseen(unit, supervisor.returncode, json.loads(asked))
    finally:
        sync(worker.loop, units.leave, key)
    if unit.deserted:  # its end is the worker's doing
        raise Reschedule
    tell(outcome=outcome)


async def end_survivors(run: str) -> list[str]:
    """End what still runs, on the machine of a worker, of a run that was killed; gives the names of these processes."""
    return await asyncio.to_thread(_end_survivors, run, None)


async def hurry(topic: str, dask_worker: Worker) -> None:
    """End at once the units of a run."""
    for unit in (await _units(dask_worker)).of(topic):
        unit.say(KILL)


async def close(topic: str, dask_worker: Worker) -> None:
    """End what a run still has on a worker, return when that is done, and let nothing of it begin any more."""
    units = await _units(dask_worker)
    units.closed.append(topic)
    found = units.of(topic)
    for unit in found:
        unit.say(STOP)
    for unit in found:
        await unit.over.wait()


class _Unit:
    """A unit on a worker.

    Attributes
    ----------
    topic : str
        The run that it is of.
    over : asyncio.Event
        Set in the loop of the worker, when nothing is left of it.
    deserted : bool
        Whether its worker closes.
    began : float
        By the monotonic clock.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.began = time.monotonic()
        self.over = asyncio.Event()
        self.deserted = False
        self._lock = threading.Lock()  # a word may be said in the middle of a long line of another thread's
        self._pipe: int | None = None
        self._early = b""  # what was said while there was no supervisor to hear it

    @contextmanager
    def start(self, asked: bytes) -> Iterator[subprocess.Popen[bytes]]:
        """Have the supervisor, in a session of its own: it hears of what its worker hears of by its pipe."""
        with subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        ) as supervisor:
            try:
                with self._lock:
                    self._pipe = cast("IO[bytes]", supervisor.stdin).fileno()
                    self._write(asked + b"\n" + self._early)
                yield supervisor
            finally:
                with self._lock:
                    self._pipe = None  # which is closed now, and its number may be another file's before long

    def say(self, words: bytes) -> None:
        with self._lock:
            if self._pipe is None:
                self._early += words
            else:
                self._write(words)

    def _write(self, words: bytes) -> None:
        with suppress(BrokenPipeError):
            while words:
                words = words[os.write(cast("int", self._pipe), words) :]


class _Units(WorkerPlugin):
    """The units of a worker."""

    def __init__(self) -> None:
        self.closed: deque[str] = deque(maxlen=_CLOSED)
        self._units: dict[Any, _Unit] = {}

    def setup(self, worker: Worker) -> None:
        self._worker = worker

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - as Dask calls it
        """End all units, as the worker closes; Dask runs them elsewhere."""
        for unit in self._units.values():
            unit.deserted = True
            unit.say(STOP)

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:  # noqa: ARG002
        """End a unit whose task Dask takes back."""
        if finish == "released" and (unit := self._units.get(key)) is not None:
            unit.say(STOP)

    async def enter(self, key: Any, unit: _Unit) -> bool:
        """Have a unit, unless it was taken back before, or its worker closes: nobody would end it then."""
        if self._worker.status not in WORKER_ANY_RUNNING:
            unit.deserted = True
            return False
        task = self._worker.state.tasks.get(key)
        if task is None or task.state != "executing" or unit.topic in self.closed:
            return False
        self._units[key] = unit
        return True

    async def leave(self, key: Any) -> None:
        self._units.pop(key).over.set()

    def of(self, topic: str) -> list[_Unit]:
        return [unit for unit in self._units.values() if unit.topic == topic]


async def _units(worker: Worker) -> _Units:
    """Give the units of a worker, which gets this plugin alone: one for all would keep those without fastdag away."""
    if _NAME not in worker.plugins:
        await worker.plugin_add(_Units(), name=_NAME)
    return cast("_Units", worker.plugins[_NAME])


def _follow(supervisor: subprocess.Popen[bytes], tell: Callable[..., None]) -> list[Any] | None:
    """Tell what a unit prints, and give how it ended; None, if the supervisor did not say."""
    for what, data in _frames(supervisor):
        if what == OUTCOME:
            return cast("list[Any]", json.loads(data))
        tell(output=data)
        if len(data) == CHUNK:
            time.sleep(CHUNK / _RATE)
    return None


def _frames(supervisor: subprocess.Popen[bytes]) -> Iterator[tuple[bytes, bytes]]:
    pipe = cast("IO[bytes]", supervisor.stdout)
    while len(head := pipe.read(FRAME.size)) == FRAME.size:
        what, size = FRAME.unpack(head)
        data = pipe.read(size)
        if len(data) < size:
            return
        yield what, data


def _unforeseen(unit: _Unit, code: int, asked: dict[str, Any]) -> list[Any]:
    """Give the outcome of a unit whose supervisor ended without one, and end what that left."""
    _end_survivors(asked["run"], asked["unit"])
    how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    return [Status.FAILED, f"its supervisor ended without a word: {how}", time.monotonic() - unit.began, True]


def _end_survivors(run: str, unit: str | None) -> list[str]:
    line = json.dumps({"run": run, "unit": unit}).encode() + b"\n"
    said = subprocess.run(_COMMAND, input=line, stdout=subprocess.PIPE, start_new_session=True, check=True).stdout
    return cast("list[str]", json.loads(said))

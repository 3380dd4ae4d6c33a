"""Units on the workers of a cluster of Dask: the side of `fastdag run`; `fastdag.runner.remote` is that of the workers.

Guarantees
----------
- A unit is a task of Dask. One whose worker is lost is run again on another one, until Dask has lost too many with it.
- What a unit prints is in its log, in order, when it is told to have ended; it comes while it runs.
- When the executor is closed no worker that answers has a process of the run.

Assumes
-------
- Only `_hand` is called in the threads of Dask; all else in that of the event loop, which never waits for Dask.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import dask
import distributed
from distributed.comm.addressing import get_address_host

import fastdag
from fastdag.runner import remote
from fastdag.runner.executors import Place, RunError
from fastdag.runner.processes import GRACE, CannotStartError, OnEnded, Outcome
from fastdag.status import Status

if TYPE_CHECKING:
    from pathlib import Path

    from fastdag.runner.logs import Log

_ANSWER: Final = 10.0  # seconds for a scheduler to answer, and then for a worker to be there
_CHECK: Final = 40.0  # seconds for all workers to answer; Dask gives up to connect to one after 30
_SILENCE: Final = GRACE + 40.0  # seconds after which a unit that was to end is given up, as its worker says nothing
_HURRY: Final = 5.0  # the same, when there is no time
_SHOWN: Final = 5  # workers that a message names
_ALL: Final = "all"  # the topic that has what happens to workers
_LOST: Final = "the connection to the scheduler was lost"
_TAKEN_BACK: Final = "somebody else canceled its task"


@contextmanager
def connected(address: str | None) -> Iterator[Place]:
    """Have a client of a scheduler, whose workers are fit to run units.

    Raises
    ------
    RunError
        If there is no scheduler, or a worker is not.
    """
    where = dask.config.get("scheduler-address", None) if address is None else address
    if where is None:
        raise RunError(
            "--executor dask needs a scheduler: pass --scheduler ADDRESS or set DASK_SCHEDULER_ADDRESS; to have one, "
            "start `dask scheduler`, and on each machine `dask worker ADDRESS`"
        )
    client = _client(where)
    try:
        yield Place(partial(Cluster, client), _threads(client, where))
    finally:
        logging.disable()  # whatever is wrong with it now, nobody needs it any more
        with suppress(Exception):
            client.close(timeout=_HURRY)


def _client(where: str) -> distributed.Client:
    made: list[distributed.Client | Exception] = []

    def make() -> None:
        try:
            made.append(distributed.Client(where, timeout=_ANSWER, set_as_default=False, name="fastdag-run"))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            made.append(error)

    # In a thread, as Dask waits without end for the first word of whatever else listens there.
    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    thread.join(1.2 * _ANSWER)
    match made:
        case [distributed.Client() as client]:
            return client
        case [Exception() as error]:
            raise RunError(f"no scheduler of Dask answers at {where}: {_said(error)}") from error
        case _:
            raise RunError(f"what listens at {where} does not answer as a scheduler of Dask does")


def _threads(client: distributed.Client, where: str) -> int:
    """Count the threads of all workers, and see that these are fit."""
    if not client.nthreads():
        print(f"waiting for a worker of the cluster at {where}", file=sys.stderr, flush=True)
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=_ANSWER)
    threads: dict[str, int] = client.nthreads()
    if not threads:
        raise RunError(f"the cluster has no workers; start one on each machine: dask worker {where}")
    try:
        answers = client.run(_version(), on_error="return", callback_timeout=_CHECK)
    except TimeoutError:
        raise RunError("not all workers of the cluster answer") from None
    unfit = {worker: flaw for worker, answer in answers.items() if (flaw := _flaw(answer)) is not None}
    if unfit:
        lines = [f"{worker}: {flaw}" for worker, flaw in sorted(unfit.items())]
        more = [f"… {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise RunError("\n  ".join(["workers of the cluster cannot run units:", *lines[:_SHOWN], *more]))
    return sum(threads.values())


def _version() -> Callable[[], tuple[str | None, str]]:
    """Make a function that goes to a worker by value, and gives the version of its fastdag, or why it has none."""

    def version() -> tuple[str | None, str]:
        try:
            import fastdag.runner.remote  # noqa: PLC0415
        except ImportError as error:
            return None, str(error)
        return fastdag.__version__, ""

    return version


def _flaw(answer: tuple[str | None, str] | Exception) -> str | None:
    if isinstance(answer, Exception):
        return f"does not answer: {_said(answer)}"
    version, why = answer
    if version is None:
        return f"has no fastdag that it could use: {why}"
    if version != fastdag.__version__:
        return f"has fastdag {version}; here it is {fastdag.__version__}"
    return None


class Cluster:
    """An executor on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
    run : str
        What processes of the run are found by.
    socket : Path
        Of the run's service, for units on machines that have it.

    Attributes
    ----------
    silence : float
        Seconds after which a worker is given up that should end a unit.
    """

    def __init__(self, client: distributed.Client, run: str, socket: Path) -> None:
        self.silence = _SILENCE
        self._client = client
        self._client_loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop  # type: ignore[union-attr]
        self._run = run
        self._socket = str(socket)
        self._folder = os.getcwd()
        self._loop = asyncio.get_running_loop()
        self._units: dict[int, _Unit] = {}
        self._numbers = count(1)
        self._group = f"fastdag-run-{uuid.uuid4().hex}"  # Dask's pages show the words before the number
        self._flaw: str | None = None  # why no unit can be started any more
        # The scheduler forgets the events of a topic that is called as a client is, some time after that has left.
        self._topic = client.id
        client.subscribe_topic(self._topic, partial(self._hand, self._hear))
        client.subscribe_topic(_ALL, partial(self._hand, self._hear_of_workers))

    def start(
        self,
        unit: str,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None,
        log: Log,
        timeout: float | None,
        on_ended: OnEnded,
    ) -> _Unit:
        """Give a unit to Dask; it runs in the folder of this process, where it has none of its own."""
        if self._flaw is not None:
            raise CannotStartError(self._flaw)
        number = next(self._numbers)
        key = (self._group, unit, number)
        asked = {
            "run": self._run,
            "unit": unit,
            "command": list(command),
            "env": dict(env),
            "cwd": self._folder if cwd is None else os.path.join(self._folder, cwd),
            "timeout": timeout,
            "left": log.left,
            "limit": log.limit,
            "socket": self._socket,
        }
        try:
            future = self._client.submit(
                remote.run_unit, self._topic, number, key, json.dumps(asked).encode(), key=key, pure=False
            )
        except Exception as error:
            if self._client.status == "running":
                raise
            raise CannotStartError(_LOST) from error
        started = self._units[number] = _Unit(self, log, future, partial(self._ended, number, on_ended))
        future.add_done_callback(partial(self._look, number))
        return started

    def _ended(self, number: int, on_ended: OnEnded, outcome: Outcome) -> None:
        del self._units[number]
        on_ended(outcome)

    async def end_survivors(self) -> list[str]:
        """End what still runs of the run of this name on the machines of the cluster."""
        try:
            workers = await self._ask(_version())
            each = {get_address_host(worker): worker for worker in workers}  # one on each machine
            answers = await self._ask(remote.end_survivors, self._run, workers=list(each.values()))
        except Exception as error:
            raise RunError(f"cannot end what may be left of the run before: {_said(error)}") from error
        return [name for names in answers.values() for name in names]

    def reap(self) -> None:
        """Nothing: the supervisors do."""

    def hurry(self) -> None:
        """End at once what was given its time to end."""
        self.silence = _HURRY
        for unit in self._units.values():
            unit.await_end()
        self._hurrying = self._loop.create_task(self._hurry())

    async def _hurry(self) -> None:
        with suppress(Exception):  # who does not hear of it is given up before long
            await self._ask(remote.hurry, self._topic, on_error="ignore")

    async def close(self) -> list[str]:
        """See that no worker has, or begins, a unit of the run; there is none that no unit is known for."""
        silent = ["the cluster"]
        if self._flaw is None:
            with suppress(Exception):  # no answer in time, or none at all
                async with asyncio.timeout(self.silence):
                    answers = await self._ask(remote.close, self._topic, on_error="return")
                silent = [worker for worker, error in answers.items() if error is not None]
        for topic in (self._topic, _ALL):
            with suppress(Exception):  # whatever the client's state: it leaves now
                self._client.unsubscribe_topic(topic)
        for worker in silent:
            print(f"warning: {worker} does not answer; what it runs may go on for a while", file=sys.stderr)
        return []

    async def _ask(self, what: Callable[..., object], *about: object, **options: Any) -> dict[str, Any]:
        """Call a function on all workers, in the thread of the client."""
        asked = self._client.run(what, *about, asynchronous=True, **options)
        answers: dict[str, Any] = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, self._client_loop))
        return answers

    # --- what Dask says -------------------------------------------------------------------------------------------

    def _hand(self, hear: Callable[..., object], *about: Any) -> None:
        """Have something heard in the event loop."""
        with suppress(RuntimeError):  # that is closed: nobody wants to know
            self._loop.call_soon_threadsafe(hear, *about)

    def _look(self, number: int, future: distributed.Future[None]) -> None:
        """Take down what became of a task; called in a thread of Dask, as it may take its time."""
        error: BaseException | None = None
        if future.status != "finished":
            try:
                future.result()
            except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - whatever it failed with
                error = raised
        self._hand(self._settle, number, error)

    def _settle(self, number: int, error: BaseException | None) -> None:
        unit = self._units.get(number)
        if unit is not None:
            if getattr(error, "reason", None) == "scheduler-connection-lost":
                self._flaw = _LOST
            unit.settle(error)

    def _hear(self, event: tuple[float, Any]) -> None:
        """Hear of a unit, from its worker."""
        told: dict[str, Any] = event[1]
        unit = self._units.get(told.get("number", 0))  # none: it is over, or the scheduler speaks of the client
        if unit is None:
            return
        if "output" in told:
            unit.print(told["output"])
        elif "outcome" in told:
            unit.end(Outcome(*told["outcome"]))
        else:
            unit.begin(told["worker"])  # which the scheduler adds

    def _hear_of_workers(self, event: tuple[float, Any]) -> None:
        match event[1]:
            case {"action": "remove-worker", "worker": worker}:
                for unit in [unit for unit in self._units.values() if unit.worker == worker]:
                    unit.lose()


class _Unit:
    """A unit that Dask was given.

    Its outcome comes as an event, and counts from then on. It is handed on once the scheduler, too, knows that the task
    is over, or the next one could be queued elsewhere, behind one that runs.
    """

    def __init__(self, cluster: Cluster, log: Log, future: distributed.Future[None], ended: OnEnded) -> None:
        self.worker: str | None = None  # None: it has not begun, or its worker was lost
        self._cluster = cluster
        self._log = log
        self._future = future
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._verdict: tuple[str, str] | None = None  # status and reason, where it is to end
        self._outcome: Outcome | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def stop(self, status: str, reason: str) -> None:
        """End it; nothing, if it has ended or is being ended."""
        if self._over or self._verdict is not None or self._outcome is not None:
            return
        self._verdict = status, reason
        self._future.release()  # the scheduler takes the task back then, and tells the worker
        self.await_end()

    def await_end(self) -> None:
        """Give it up after a while, if it is being ended."""
        if self._verdict is not None and not self._over:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(self._cluster.silence, self._finish)

    def begin(self, worker: str) -> None:
        """Hear where it runs."""
        self.worker = worker
        self._began = self._loop.time()
        self._log.note(f"runs on {worker}")
        self._see_log()

    def print(self, data: bytes) -> None:
        """Take what it printed."""
        self._log.write(data)
        self._see_log()

    def _see_log(self) -> None:
        if self._log.flaw is not None:
            self.stop(Status.FAILED, self._log.flaw)

    def end(self, outcome: Outcome) -> None:
        """Hear how it ended, from its supervisor."""
        self._outcome = outcome
        if self._verdict is not None:
            self._finish()

    def settle(self, error: BaseException | None) -> None:
        """Hear that Dask is done with it."""
        if self._verdict is not None and self.worker is not None and self._outcome is None:
            return  # that is our doing, and how it ends is still to come
        if self._outcome is None and self._verdict is None:
            self._outcome = Outcome(Status.FAILED, _why(error), self._loop.time() - self._began)
        self._finish()

    def lose(self) -> None:
        """Hear that its worker is no more."""
        self.worker = None
        if self._verdict is not None or self._outcome is not None:
            self._finish()
        else:
            self._log.note("its worker was lost")

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        outcome = self._outcome
        if outcome is None or outcome.status == Status.CANCELED:  # as its supervisor calls it, whoever wanted it
            status, reason = (Status.FAILED, _TAKEN_BACK) if self._verdict is None else self._verdict
            outcome = Outcome(status, reason, self._loop.time() - self._began if outcome is None else outcome.seconds)
        self._future.release()
        self._ended(outcome)


def _why(error: BaseException | None) -> str:
    """Say why there is no outcome."""
    match error:
        case None:
            return "it ended without a word"
        case distributed.KilledWorker():
            lost = f"{error.allowed_failures + 1} workers were" if error.allowed_failures else "its worker was"
            return f"{lost} lost while it ran; the last one was {error.last_worker.address}"
        case asyncio.CancelledError() | concurrent.futures.CancelledError():
            return _LOST if getattr(error, "reason", None) == "scheduler-connection-lost" else _TAKEN_BACK
        case ModuleNotFoundError():
            return f"a worker cannot run it: {error}"
        case _:
            return f"it failed on its worker: {_said(error)}"


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__

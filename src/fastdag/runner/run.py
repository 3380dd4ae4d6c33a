"""`fastdag run`: takes a plan through a Manager, each unit as a process, and leaves nothing behind.

Guarantees
----------
- A unit is started once it is ready, and only then; again only as often as it may be retried.
- All that happens is in one Manager, which scripts reach through the socket in `FASTDAG_SOCKET`. Units of their own
  live there, too, and are not run.
- However the run ends but by SIGKILL, no process of it is left, nor its socket.

Assumes
-------
- The process has nothing else to do: signals, children and the working directory are the run's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import uvloop

from fastdag.errors import JournalError, SameStatusError
from fastdag.events import Event
from fastdag.manager import Manager
from fastdag.plan import Plan, PlannedUnit
from fastdag.plan.problems import Problems, printable
from fastdag.runner.executors import Place, RunError, Running, place
from fastdag.runner.logs import Log, file_name
from fastdag.runner.processes import CannotStartError, Outcome
from fastdag.runner.progress import JsonReport, Report, Summary
from fastdag.runner.record import FAILURES, Record
from fastdag.runner.resume import run_name, take_up
from fastdag.runner.schedule import Schedule
from fastdag.service.app import application
from fastdag.service.journal import Journal
from fastdag.service.listener import SOCKET_PATH, SocketFile
from fastdag.service.metrics import Metrics
from fastdag.service.protocol import LIMITS, HttpServer, UnixProtocol
from fastdag.service.state import Limits, Service
from fastdag.status import Status
from fastdag.units import Dependency, shown

T = TypeVar("T")

NOTICE: Final = 30.0  # seconds after which a waiting unit's log says, again, what it waits for
LOG_LIMIT: Final = 256 << 20  # bytes of a unit's output
_TICK: Final = 0.25  # seconds between two pictures on a terminal
_TICKED: Final = 50_000  # units that are counted a second for that
_AT_ONCE: Final = 100  # logs that are written in a row before the event loop gets its turn
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FILES: Final = 3  # open at once for a unit: log, pipe, process
_OTHER_FILES: Final = 200


class Options(NamedTuple):
    """How to run a plan.

    Attributes
    ----------
    jobs : int or None
        Slots: units at a time, where each has the weight 1; None for what is there.
    keep_going : bool
        Whether a failure keeps what does not depend on it from starting.
    log_dir : str or None
        Where the units' output goes; None for a new folder.
    log_limit : int
        Bytes that a unit may print.
    output : {"text", "json"}
    journal : str or None
        A file to keep all that happens in.
    resume : bool
        Whether to go on with the run that the journal has.
    executor : {"local", "dask"}
        Where the units run.
    scheduler : str or None
        The address of the scheduler of Dask; None for the one of Dask's settings.
    """

    jobs: int | None = None
    keep_going: bool = False
    log_dir: str | None = None
    log_limit: int = LOG_LIMIT
    output: str = "text"
    journal: str | None = None
    resume: bool = False
    executor: str = "local"
    scheduler: str | None = None


def select(plan: Plan, phase: str | None, only: list[str] | None) -> dict[str, PlannedUnit]:
    """Give the units to run: those of one phase, or of some of these and all that they come after.

    Raises
    ------
    RunError
        If there are none, or no such ones.
    """
    chosen = phase if phase is not None else "start"
    part = plan.of_phase("stop" if chosen == "stop" else "start")
    if not part.units:
        others = f"; pass --phase {plan.phases[0]}" if plan.phases and phase is None else ""
        raise RunError(f"the plan has no units of the phase {chosen}{others}")
    if only is None:
        return dict(part.units)
    wanted: dict[str, None] = {}
    for name in only:
        if name not in part.units:
            if name in plan.units:
                other = plan.units[name].phase
                raise RunError(f"unit {name!r} is of the phase {other}; pass --phase {other}")
            raise RunError(f"there is no unit {name!r}{Problems().near(name, part.units)}")
        wanted[name] = None
    open_ = list(wanted)
    for name in open_:  # which grows on the way
        for need in part.units[name].needs:
            if need.unit not in wanted:
                wanted[need.unit] = None
                open_.append(need.unit)
    return {name: unit for name, unit in part.units.items() if name in wanted}


def run(units: Mapping[str, PlannedUnit], options: Options) -> int:
    """Run units and give the exit code.

    Raises
    ------
    RunError, ResumeError
        If there is no place for units or for logs, or the journal does not go with it; nothing was run.
    JournalError
        If the journal cannot be used, or no longer be written.
    """
    if options.resume and options.journal is None:
        raise RunError("--resume goes with --journal FILE")
    with place(options.executor, options.scheduler) as where:
        if options.journal is None:
            return _run(units, options, where, None)
        with closing(Journal(options.journal)) as journal:
            take_up(journal, units, options.resume)
            return _run(units, options, where, journal)


def _run(units: Mapping[str, PlannedUnit], options: Options, where: Place, journal: Journal | None) -> int:
    log_dir = _log_dir(options.log_dir)
    jobs = where.jobs if options.jobs is None else options.jobs
    _allow_files(jobs * _FILES + _OTHER_FILES)
    records = {name: Record(name, unit.title, f"{log_dir}/{file_name(name)}.log") for name, unit in units.items()}
    report = _report(units, options.output, jobs, records)
    with _private_folder() as folder:
        socket = SocketFile(folder / "s")
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                code = runner.run(_Run(units, options, where, jobs, records, report, log_dir, journal).run(socket))
        finally:
            socket.close()
    if report.flaw is not None and report.flaw.errno not in (errno.EPIPE, errno.EIO):  # then somebody still reads
        print(f"error: cannot write the output: {report.flaw.strerror}", file=sys.stderr)
        code = code or 1
    return code


def _report(units: Mapping[str, PlannedUnit], output: str, jobs: int, records: Mapping[str, Record]) -> Report:
    if output == "json":
        return JsonReport(records)
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from fastdag.runner.live import LiveReport  # noqa: PLC0415 - rich takes its time to load

        return LiveReport(records, units, jobs)
    return Report(records)


def _log_dir(given: str | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="fastdag-logs-"))
    path = Path(os.path.abspath(given))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot have logs in {given}: {error.strerror}") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):  # or it would come up once a unit prints something
        raise RunError(f"cannot have logs in {given}: {os.strerror(errno.EACCES)}")
    return path


def _allow_files(count: int) -> None:
    """Raise the limit of open files where that many are needed: the units inherit it, so no more than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Have a folder for the socket, whose path may not be long."""
    longest = SOCKET_PATH - len("/fastdag-run-12345678/s.lock")
    there = None if len(os.fsencode(tempfile.gettempdir())) <= longest else "/tmp"
    folder = tempfile.mkdtemp(prefix="fastdag-run-", dir=there)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Run:
    def __init__(
        self,
        units: Mapping[str, PlannedUnit],
        options: Options,
        where: Place,
        jobs: int,
        records: dict[str, Record],
        report: Report,
        log_dir: Path,
        journal: Journal | None,
    ) -> None:
        self._journal = journal
        self._units = units
        self._options = options
        self._where = where
        self._jobs = jobs
        self._records = records
        self._report = report
        self._log_dir = log_dir
        self._logs: dict[str, Log] = {}
        self._old_logs = {f"{log_dir}/{name}" for name in os.listdir(log_dir)}
        self._attempts: dict[str, Running] = {}
        self._running: set[str] = set()  # units that have their slots, also between two attempts
        self._closed: str | None = None  # why nothing new starts
        self._signal: int | None = None
        self._fault: BaseException | None = None
        self._filling = False
        self._untold: list[Callable[[], object]] = []  # what is not in the journal yet
        self._telling: asyncio.Task[None] | None = None

    async def run(self, socket: SocketFile) -> int:
        """Run all, and give the exit code."""
        self._loop = loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = loop.create_future()
        loop.set_exception_handler(self._on_fault)
        began = time.monotonic()
        name = os.urandom(8).hex() if self._journal is None else run_name(self._journal)
        self._executor = self._where.executor(name, socket.path)
        self._manager = Manager(auto_skip=True, on_error=lambda error, *_: self._stop_for(error))
        limits = Limits()
        limits = limits._replace(names=limits.names + len(self._units))
        self._service = Service(self._manager, self._journal, limits, self._stop_for)
        self._schedule = Schedule(self._manager, self._units, self._jobs)
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it, or a shell for its jobs in the background
                loop.add_signal_handler(number, self._on_signal, number)
        # What scripts connect leaves the units the files that they need.
        room = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - self._jobs * _FILES) * 3 // 4
        requests = LIMITS._replace(connections=min(LIMITS.connections, room))
        server = HttpServer(application(self._service, Metrics(self._service)), UnixProtocol, requests)
        await server.listen(socket.socket)
        timers = [loop.create_task(self._tell_waiting()), loop.create_task(self._tick())]
        try:
            await self._begin()
            await self._over
            self._cancel_rest()
        finally:
            for timer in timers:
                timer.cancel()
            left = await self._executor.close()
            server.shut()
            self._service.stop()
            await server.ended(1.0)
            for log in self._logs.values():
                log.close()
        while self._telling is not None:
            await self._telling
        self._report.close()
        if self._fault is not None:
            raise self._fault
        if left:
            self._report.strays(left)
        code = self._code(bool(left))
        self._report.end(Summary(self._records, time.monotonic() - began, self._log_dir, code))
        return code

    async def _begin(self) -> None:
        if self._journal is not None and (found := await self._executor.end_survivors()):  # whose units run again
            self._report.survivors(found)
        if all(unit.id not in self._units for unit in self._manager.units()):
            self._manager.register_all(self._units)
            self._manager.add_dependencies(
                (name, need.unit, need.requires) for name, unit in self._units.items() for need in unit.needs
            )
        else:
            self._set_back()
        self._manager.subscribe(self._hear, kinds=("state", "status"))
        self._report.begin()
        self._schedule.fill()
        self._fill_soon()

    def _set_back(self) -> None:
        """Let all units of the run before that did not complete run again."""
        for name in reversed(self._manager.graph.topological_sort()):  # what others come after, before these
            record = self._records.get(name)
            if record is None:
                continue
            status = self._manager.unit(name).status
            if status == Status.COMPLETED:
                record.status, record.earlier = status, True
            elif status != Status.PENDING:
                self._service.set_status(name, Status.PENDING)

    def _code(self, left: bool) -> int:
        if self._signal is not None:
            return 128 + self._signal
        return int(left or any(record.status != Status.COMPLETED for record in self._records.values()))

    # --- starting -------------------------------------------------------------------------------------------------

    def _fill_soon(self) -> None:
        if not self._filling:
            self._filling = True
            self._loop.call_soon(self._fill)

    def _fill(self) -> None:
        """Start what can be started; the run is over when nothing runs then."""
        self._filling = False
        while self._closed is None and (unit := self._schedule.take()):
            self._start(unit)
        if not self._running and not self._filling and not self._over.done():
            self._over.set_result(None)

    def _start(self, unit: PlannedUnit) -> None:
        self._running.add(unit.name)
        self._service.set_status(unit.name, Status.STARTED)
        record = self._records[unit.name]
        record.status = Status.STARTED
        record.attempts, record.seconds, record.reason = 0, 0.0, None
        self._attempt(unit)

    def _attempt(self, unit: PlannedUnit) -> None:
        record, log = self._records[unit.name], self._log(unit.name)
        try:
            if log.path in self._old_logs:
                self._take_over(log)
            attempt = self._executor.start(
                unit.name, unit.command, unit.env, unit.cwd, log, unit.timeout, partial(self._attempt_ended, unit)
            )
        except CannotStartError as error:
            self._ended(unit, Outcome(Status.FAILED, str(error), 0.0))
            return
        self._attempts[unit.name] = attempt
        record.attempts += 1
        record.began = time.monotonic()
        self._tell(self._report.started, record)

    def _take_over(self, log: Log) -> None:
        """Open a file that an earlier run left: what that printed is not this one's."""
        self._old_logs.discard(log.path)
        try:
            log.open()
        except OSError as error:
            raise CannotStartError(f"cannot have a log: {error.strerror}") from error

    # --- ending ---------------------------------------------------------------------------------------------------

    def _attempt_ended(self, unit: PlannedUnit, outcome: Outcome) -> None:
        record, log = self._records[unit.name], self._log(unit.name)
        del self._attempts[unit.name]
        record.began = None
        record.seconds += outcome.seconds
        if not outcome.executed:
            record.attempts -= 1
        again = outcome.executed and outcome.status in FAILURES and record.attempts <= unit.retries
        if again and self._signal is None and self._fault is None and log.flaw is None:
            reason = outcome.reason or ""
            self._tell(lambda then: self._report.retried(then, reason, outcome.seconds), record)
            log.note(f"{reason}; attempt {record.attempts + 1} of {unit.retries + 1}")
            self._attempt(unit)
            return
        self._ended(unit, outcome)

    def _ended(self, unit: PlannedUnit, outcome: Outcome) -> None:
        name = unit.name
        self._running.discard(name)
        self._schedule.release(unit)
        self._settle(name, outcome.status, outcome.reason)
        log = self._log(name)
        if outcome.reason is not None:
            log.note(f"{outcome.status}: {outcome.reason}")
        log.close()
        if outcome.status in FAILURES and not self._options.keep_going:
            self._close(f"{name!r} {'failed' if outcome.status == Status.FAILED else 'timed out'}")
        with suppress(SameStatusError):  # a script was faster
            self._service.set_status(name, outcome.status, outcome.reason)
        self._fill_soon()

    def _settle(self, name: str, status: str, reason: str | None) -> None:
        record = self._records[name]
        record.status, record.reason = status, reason
        self._tell(self._report.settled, record)

    def _hear(self, event: Event) -> None:
        """Take note of what happens in the manager, by the run itself and by others."""
        self._schedule.hear(event)
        name = event.unit
        record = self._records.get(name)
        if event.kind == "status" and record is not None and name not in self._running and event.new != record.status:
            if event.new == Status.SKIPPED:
                why = _needs(one for one in self._manager.unmet_dependencies(name) if one.impossible)
                self._log(name).note(f"skipped: {why}")
                self._log(name).close()
                self._settle(name, Status.SKIPPED, why or None)
            elif event.new in Status.TERMINAL:
                self._settle(name, event.new, "set by a script")
            else:
                record.status = event.new
        self._fill_soon()

    def _cancel_rest(self) -> None:
        """Set to canceled what did not run, dependents first, as they would be skipped else."""
        for name in self._manager.graph.topological_sort():
            record = self._records.get(name)
            if record is None or record.settled or name in self._running:
                continue
            why = self._closed
            if why is None:
                why = f"nothing that runs can release it: {_needs(self._manager.unmet_dependencies(name))}"
            self._log(name).note(f"canceled: {why}")
            self._log(name).close()
            self._settle(name, Status.CANCELED, why)
            self._service.set_status(name, Status.CANCELED, why)

    # --- stopping -------------------------------------------------------------------------------------------------

    def _close(self, why: str) -> None:
        if self._closed is None:
            self._closed = why
            if any(not record.settled and name not in self._running for name, record in self._records.items()):
                self._tell(self._report.stopping, f"{why}; nothing new starts")

    def _on_signal(self, number: int) -> None:
        if self._signal is not None:
            self._executor.hurry()
            return
        self._signal = number
        name = signal.Signals(number).name
        self._tell(self._report.stopping, f"{name}; again: at once")
        self._stop(name)

    def _stop(self, why: str) -> None:
        self._closed = f"the run was ended by {why}"
        self._cancel_rest()  # first, or what depends on those that run would be skipped
        for attempt in list(self._attempts.values()):
            attempt.stop(Status.CANCELED, f"ended by {why} of the run")
        self._fill_soon()

    def _stop_for(self, error: BaseException) -> None:
        """End the run, as an error that nobody foresaw came up."""
        if self._fault is None:
            self._fault = error
            self._stop("an error")

    def _on_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self._stop_for(error)
        else:
            loop.default_exception_handler(context)

    # --- telling --------------------------------------------------------------------------------------------------

    def _tell(self, tell: Callable[[T], object], about: T) -> None:
        """Tell something, once what has happened so far is in the journal: nobody is told what a crash could undo."""
        if self._journal is None:
            tell(about)
            return
        then = replace(about) if isinstance(about, Record) else about  # as it is now
        self._untold.append(partial(tell, then))
        if self._telling is None:
            self._telling = self._loop.create_task(self._tell_all())

    async def _tell_all(self) -> None:
        while self._untold:
            some, self._untold = self._untold, []
            with suppress(JournalError):  # which ends the run, and is told at its end
                await self._service.settled()
            for news in some:
                news()
        self._telling = None

    async def _tick(self) -> None:
        seconds = max(_TICK, len(self._units) / _TICKED)
        while True:
            await asyncio.sleep(seconds)
            self._report.tick()

    # --- logs -----------------------------------------------------------------------------------------------------

    def _log(self, name: str) -> Log:
        log = self._logs.get(name)
        if log is None:
            log = self._logs[name] = Log(self._records[name].log, self._options.log_limit, append=self._options.resume)
        return log

    async def _tell_waiting(self) -> None:
        """Write into the log of each unit that waits what it waits for, again and again."""
        while True:
            await asyncio.sleep(NOTICE)
            self._executor.reap()
            for number, (name, record) in enumerate(self._records.items(), 1):
                if record.status == Status.PENDING:
                    needs = _needs(self._manager.unmet_dependencies(name))
                    log = self._log(name)
                    log.note(f"waits: {needs or f'for {self._schedule.held_by(self._units[name])}'}")
                    log.close()
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)


def _needs(dependencies: Iterator[Dependency] | list[Dependency]) -> str:
    """Say what a unit needs, behind its name."""
    return ", ".join(
        f"needs {one.requires} of {printable(one.depends_on)!r}, which is {shown(one.status)}" for one in dependencies
    )

"""Units as processes: started, read, ended within their time, and cleaned up after.

Guarantees
----------
- A unit has ended when its first process has and nothing that it started is left. What lives longer than `LINGER`
  behind the first process is ended, and that is a failure of the unit.
- Whoever holds the pipe of a unit's output open does not keep the unit from ending, and one that closes it goes on.
- After `Family.close` no process lives that a unit started, directly or not, whatever session or environment it gave
  itself: orphans become children of this process, a child subreaper.

Assumes
-------
- All methods are called in the thread of the event loop, and no other thread looks at the working directory.
- `/proc` is there, with `children` (CONFIG_PROC_CHILDREN).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from fastdag.errors import FastDAGError
from fastdag.status import Status

TOKEN: Final = "FASTDAG_RUN_UNIT"  # names run and unit in the environment, behind those of the runs that it is within
GRACE: Final = 5.0  # seconds from SIGTERM to SIGKILL
LINGER: Final = 1.0  # seconds that processes may live behind the first one, as a `tee` does that reads its last output
_PR_SET_CHILD_SUBREAPER: Final = 36
_BLOCK: Final = 1 << 16
_PIPE: Final = 1 << 20  # bytes that a pipe holds at the most, by the kernel's default for pipe-max-size
_NAMED: Final = 5  # processes that a message names
_STUBBORN: Final = 30.0  # seconds after which a process that SIGKILL does not end is given up


class CannotStartError(FastDAGError, OSError):
    """A command cannot be executed; the message says why."""


class Outcome(NamedTuple):
    """How a unit's process ended.

    Attributes
    ----------
    status : str
        `completed`, `failed`, `timed_out` or `canceled`.
    reason : str or None
        Why it is not `completed`.
    seconds : float
        From its start to the end of its first process.
    executed : bool
        Whether its command could be executed; trying again is no use where it could not.
    """

    status: str
    reason: str | None
    seconds: float
    executed: bool = True


class Output(Protocol):
    """Where what a unit prints goes: its log.

    Attributes
    ----------
    flaw : str or None
        Why no more is taken, which is a failure of the unit.
    """

    flaw: str | None

    def write(self, data: bytes) -> None:
        """Take it."""
        ...


class _Stat(NamedTuple):
    """What `/proc/PID/stat` says: a process is the same one as long as number and start are."""

    pid: int
    name: str
    state: str
    session: int
    started: int


OnEnded = Callable[[Outcome], object]


class Family:
    """All processes of a run.

    Parameters
    ----------
    run : str
        A word that no other run has, without blanks: processes are found by it in their environment.
    grace : float
        Seconds from SIGTERM to SIGKILL.
    environment : mapping of str to str, optional
        What `start` gives every unit; this process's own by default.
    """

    def __init__(self, run: str, grace: float = GRACE, environment: Mapping[str, str] | None = None) -> None:
        self.run = run
        self.grace = grace
        self._environment = os.environ if environment is None else environment
        self.loop = asyncio.get_running_loop()
        self.hurried = False
        self.running: dict[int, Process] = {}  # by the number of the first process, which is that of its session
        self._hurry: set[asyncio.Future[None]] = set()  # of those who wait for a grace to be over
        self._nowhere = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._others = set(_children(os.getpid()))  # are no business of ours
        # Of the main thread: the kernel gives orphans to the first thread of a subreaper that lives.
        self._adopted = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        if prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "cannot become the parent of orphans")

    def token(self, unit: str) -> str:
        """Give what the environment of a unit's processes has as `FASTDAG_RUN_UNIT`."""
        own = _token(self.run, unit)
        outer = os.environ.get(TOKEN)
        return f"{outer} {own}" if outer else own

    def start(
        self,
        unit: str,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None,
        log: Output,
        timeout: float | None,
        on_ended: OnEnded,
    ) -> Process:
        """Start a unit, with what is added to its environment: see `Process`."""
        return Process(self, unit, command, {**self._environment, **env}, cwd, log, timeout, on_ended)

    def spawn(
        self, unit: str, command: Sequence[str], environment: Mapping[str, str], cwd: str | None, output: int
    ) -> int:
        """Start a command in a session of its own; gives the number of its process.

        Raises
        ------
        CannotStartError
        """
        back = -1
        try:
            if cwd is not None:
                # `posix_spawn` is a quarter of the time of `subprocess`, and knows no folder: it takes over ours.
                back = os.open(".", os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
                try:
                    os.chdir(cwd)
                except OSError as error:
                    raise CannotStartError(f"cannot run in {cwd!r}: {error.strerror}") from error
            return os.posix_spawn(
                _program(command[0], environment),
                list(command),
                {**environment, TOKEN: self.token(unit)},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, self._nowhere, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
            )
        except CannotStartError:
            raise
        except OSError as error:
            raise CannotStartError(_why_not(command[0], error)) from error
        finally:
            if back >= 0:
                os.fchdir(back)
                os.close(back)

    def left_by(self, process: Process) -> list[_Stat]:
        """Find what lives of a unit whose first process has ended."""
        return _with_descendants(found for found in self._orphans() if self._owner(found) is process)

    def reap(self) -> None:
        """Let go of orphans that have ended."""
        self._orphans()

    def hurry(self) -> None:
        """End everything at once, also what was given its time."""
        self.hurried = True
        for waits in self._hurry:
            if not waits.done():
                waits.set_result(None)
        for process in self.running.values():
            process.kill()

    async def end(self, find: Callable[[], list[_Stat]], grace: float) -> None:
        """End what is found: SIGTERM, after the grace SIGKILL, until nothing is found any more."""
        found = find()
        for each in found:
            _send(each, signal.SIGTERM)
        await self.ended(found, grace)
        until = self.loop.time() + _STUBBORN
        while (found := find()) and self.loop.time() < until:
            for each in found:
                _send(each, signal.SIGKILL)
            await self.ended(found, 0.1, patient=True)

    async def end_survivors(self, unit: str | None = None) -> list[str]:
        """End what still runs of the run of this name, which was killed, or of one unit of it; gives the names."""
        found = survivors(self.run, unit)
        if found:
            await self.end(lambda: survivors(self.run, unit), self.grace)
        return [each.name for each in found]

    async def ended(self, processes: Iterable[_Stat], seconds: float, patient: bool = False) -> None:
        """Return when these have ended, or so many seconds later, or, unless patient, when everybody is to hurry."""
        if self.hurried and not patient:
            return
        waits = self.loop.create_future()
        left: set[int] = set()

        def gone(descriptor: int) -> None:
            self.loop.remove_reader(descriptor)
            os.close(descriptor)
            left.discard(descriptor)
            if not left and not waits.done():
                waits.set_result(None)

        for each in processes:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(each.pid)
                left.add(descriptor)
                self.loop.add_reader(descriptor, gone, descriptor)
        if not left:
            return
        if not patient:
            self._hurry.add(waits)
        try:
            async with asyncio.timeout(seconds):
                await waits
        except TimeoutError:
            pass
        finally:
            self._hurry.discard(waits)
            for descriptor in left:
                self.loop.remove_reader(descriptor)
                os.close(descriptor)

    async def close(self) -> list[str]:
        """End what lives although no unit is known for it; gives the names of these processes.

        To be called when no unit runs any more.
        """

        def everything() -> list[_Stat]:
            return _with_descendants(self._orphans())

        found = everything()
        if found:
            await self.ended(found, LINGER)
            found = everything()
        if found:
            await self.end(everything, self.grace)
        os.close(self._nowhere)
        os.close(self._adopted)
        return [each.name for each in found]

    def _orphans(self) -> list[_Stat]:
        """Give the living children of this process that are no unit's first one, and let go of the dead ones."""
        os.lseek(self._adopted, 0, os.SEEK_SET)  # asked for after each process, so the file stays open
        words = b""
        while data := os.read(self._adopted, _BLOCK):
            words += data
        found = []
        for pid in map(int, words.split()):
            if pid in self.running or pid in self._others:
                continue
            stat = _stat(pid)
            if stat is not None and stat.state == "Z":
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            elif stat is not None:
                found.append(stat)
        return found

    def _owner(self, orphan: _Stat) -> Process | None:
        """Find the unit that an orphan comes from: by its session, or by its environment."""
        if owner := self.running.get(orphan.session):
            return owner
        words = _tokens(orphan.pid)
        return next((process for process in self.running.values() if process.token in words), None)


class Process:
    """One run of a unit's command.

    Parameters
    ----------
    family : Family
    unit : str
    command : sequence of str
    environment : mapping of str to str
    cwd : str or None
    log : Output
    timeout : float or None
        Seconds until it is ended.
    on_ended : callable
        Called once with the outcome, by the event loop.

    Raises
    ------
    CannotStartError
        If the command cannot be executed; `on_ended` is not called then.
    """

    def __init__(
        self,
        family: Family,
        unit: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        cwd: str | None,
        log: Output,
        timeout: float | None,
        on_ended: OnEnded,
    ) -> None:
        self.unit = unit
        self.token = _token(family.run, unit)
        self._family = family
        self._log = log
        self._on_ended = on_ended
        self._verdict: tuple[str, str] | None = None  # status and reason, where somebody else ended it
        self._timers: list[asyncio.TimerHandle] = []
        try:
            self._pipe, output = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise CannotStartError(f"cannot have a pipe: {error.strerror}") from error
        self._began = time.monotonic()  # before: a short command may be over once `posix_spawn` returns
        try:
            try:
                self.pid = family.spawn(unit, command, environment, cwd, output)
            finally:
                os.close(output)
            try:
                self._descriptor = os.pidfd_open(self.pid)
            except OSError as error:  # it would run, and nobody would hear of its end
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise CannotStartError(f"cannot be watched: {error.strerror}") from error
        except BaseException:
            os.close(self._pipe)
            raise
        family.running[self.pid] = self
        os.set_blocking(self._pipe, False)
        family.loop.add_reader(self._pipe, self._read)
        family.loop.add_reader(self._descriptor, self._exited)
        if timeout is not None:
            self._later(timeout, lambda: self.stop(Status.TIMED_OUT, f"it ran longer than {timeout:g} s"))

    def stop(self, status: str, reason: str) -> None:
        """End it: SIGTERM to its group, after the grace SIGKILL; nothing, if it has ended or is being ended."""
        if self._verdict is not None or self._descriptor < 0:
            return
        if os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return  # by itself, and the loop will hear of it
        self._verdict = status, reason
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # one that is stopped hears nothing
        self._later(self._family.grace, self.kill)
        if self._family.hurried:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to its group."""
        if self._descriptor >= 0:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # The number of the group is nobody else's: the first process, were it dead, was not waited for yet.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers.append(self._family.loop.call_later(seconds, call))

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, _BLOCK)
        except BlockingIOError:
            return
        if not data:
            self._close_pipe()
            return
        self._log.write(data)
        if self._log.flaw is not None:  # what comes from now on is read, so that nobody waits for us, and thrown away
            self.stop(Status.FAILED, self._log.flaw)

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            self._family.loop.remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    def _exited(self) -> None:
        """Take note of the end of the first process."""
        family = self._family
        seconds = time.monotonic() - self._began
        _, status = os.waitpid(self.pid, 0)
        family.loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        for timer in self._timers:
            timer.cancel()
        reason = _reason(os.waitstatus_to_exitcode(status))
        if family.left_by(self):
            self._clearing = family.loop.create_task(self._clear(reason, seconds))
        else:
            self._finish(reason, seconds)

    async def _clear(self, reason: str | None, seconds: float) -> None:
        """End what the first process left behind."""
        family = self._family

        def find() -> list[_Stat]:
            return family.left_by(self)

        if self._verdict is None:
            await family.ended(find(), LINGER)
        found = find()
        if found:
            if self._verdict is None:
                left = left_behind([f"{each.name} ({each.pid})" for each in found])
                reason = left if reason is None else f"{reason}; {left}"
            await family.end(find, family.grace)
        self._finish(reason, seconds)

    def _finish(self, reason: str | None, seconds: float) -> None:
        del self._family.running[self.pid]
        read = 0
        while self._pipe >= 0 and read < _PIPE:  # what is in there; others may still hold the other end
            try:
                data = os.read(self._pipe, _BLOCK)
            except BlockingIOError:
                break
            self._log.write(data)
            read += len(data)
            if not data:
                break
        self._close_pipe()
        if self._verdict is None:
            if self._log.flaw is not None:
                reason = self._log.flaw
            self._verdict = (Status.COMPLETED, "") if reason is None else (Status.FAILED, reason)
        status, text = self._verdict
        self._on_ended(Outcome(status, text or None, seconds))


def left_behind(names: Sequence[str]) -> str:
    """Say what a unit left behind."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    count = "a process" if len(names) == 1 else f"{len(names)} processes"
    return f"left {count} behind: {', '.join(names[:_NAMED])}{more}"


def survivors(run: str, unit: str | None = None) -> list[_Stat]:
    """Find the processes of a run that was killed, or of one unit of it, by their environment."""
    prefix = f"{run}/"
    whole = None if unit is None else _token(run, unit)
    found = []
    for entry in os.listdir("/proc"):
        words = _tokens(int(entry)) if entry.isdigit() else []
        if any(word.startswith(prefix) and whole in (None, word) for word in words):
            stat = _stat(int(entry))
            if stat is not None and stat.state != "Z" and stat.pid != os.getpid():
                found.append(stat)
    return found


def _token(run: str, unit: str) -> str:
    return f"{run}/{unit.encode().hex()}"


def _program(name: str, environment: Mapping[str, str]) -> str:
    if "/" in name:
        return name
    for folder in environment.get("PATH", os.defpath).split(os.pathsep):  # `shutil.which` takes several times as long
        path = f"{folder or '.'}/{name}"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise CannotStartError(f"{name}: there is no such command")


def _why_not(name: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        if os.path.exists(name):
            return f"{name}: the program that its first line names is not there"
        return f"{name}: there is no such command"
    if error.errno == errno.ENOEXEC:
        return f"{name}: {error.strerror}; a script begins with #! and the program that reads it"
    return f"{name}: {error.strerror}"


def _reason(code: int) -> str | None:
    """Say why it failed, if it did."""
    if code >= 0:
        return f"exit status {code}" if code else None
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-code}"


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/task/{thread}/children") as file:
                found.extend(map(int, file.read().split()))
    return found


def _stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            head, _, rest = file.read().rpartition(b")")  # the name, in brackets, may hold blanks and brackets
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = rest.split()
    name = head.partition(b"(")[2].decode(errors="replace")
    return _Stat(pid, name, fields[0].decode(), int(fields[3]), int(fields[19]))


def _tokens(pid: int) -> list[str]:
    """Give the words of `FASTDAG_RUN_UNIT` in the environment of a process."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:  # it has ended, or belongs to somebody else
        return []
    prefix = f"{TOKEN}=".encode()
    return next(
        (each[len(prefix) :].decode(errors="replace").split() for each in variables if each.startswith(prefix)), []
    )


def _with_descendants(roots: Iterable[_Stat]) -> list[_Stat]:
    """Give these processes and all that live below them."""
    found = list(roots)
    for each in found:  # which grows on the way
        for pid in _children(each.pid):
            stat = _stat(pid)
            if stat is not None and stat.state != "Z":
                found.append(stat)
    return found


def _send(process: _Stat, number: signal.Signals) -> None:
    """Send a signal to this process, and to no other one that has come by its number."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        now = _stat(process.pid)
        if now is not None and now.started == process.started:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)

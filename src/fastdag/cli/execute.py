"""`fastdag sync exec`: a command as a unit, which completes or fails as the command does, however that or this ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from types import FrameType

from fastdag.cli import verbs
from fastdag.client.transport import Transport
from fastdag.client.wire import target
from fastdag.errors import FastDAGError

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SI_KERNEL = 0x80  # the sender of a signal that a terminal's key brought about, by siginfo(7)
_PR_SET_PDEATHSIG = 1
NOT_FOUND = 127
NOT_EXECUTABLE = 126


class _SignalError(BaseException):
    """A signal came before the command ran."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def execute(
    service: Transport, unit: str, command: list[str], after: list[str], requires: str, timeout: float | None
) -> int:
    """Wait for a unit's dependencies, start it, run the command, and complete or fail the unit by its exit status.

    The unit is tied to this process, so that it fails when this is killed by SIGKILL; the command, too, hears of that.
    """
    # What was ignored when this was started (by nohup, or by a shell for a job in the background) stays so, here and
    # in the command.
    heard = [number for number in _PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]
    stop = _stopper()
    for number in heard:
        signal.signal(number, stop)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, nobody learns how a command ended
    try:
        if after:
            fields: dict[str, object] = {"unit": unit, "depends_on": after, "requires": requires}
            service.call("POST", "/v1/want", fields)
        on_wait = lambda: print(verbs.waiting(unit), file=sys.stderr)  # noqa: E731 - stdout is the command's
        verbs.begin(service, unit, timeout, os.getpid(), on_wait)
        # From here on signals are not lost but wait until somebody asks for them, so that there is no moment in which
        # one would end this process and leave the command behind, or come before there is a command to pass it on to.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*heard, signal.SIGCHLD})
    except _SignalError as stopped:
        _give_up(service, unit, signal.Signals(stopped.number))
        return 128 + stopped.number
    code, reason = _run(command, heard, before)
    _tell(service, unit, reason)
    return code


def _stopper() -> Callable[[int, FrameType | None], None]:
    """Make a handler that raises `_SignalError` for the first signal; the end has begun when another one comes."""
    came: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:
            raise _SignalError(number)

    return stop


def _run(command: list[str], heard: list[signal.Signals], before: set[int]) -> tuple[int, str | None]:
    """Run the command; gives this program's exit status, and why the command failed if it did."""
    prepare = _tied_to_us(heard, before)
    try:
        # The command has our place in the terminal's foreground, and our open files.
        child = subprocess.Popen(command, preexec_fn=prepare, close_fds=False)  # noqa: PLW1509 - there are no threads
    except FileNotFoundError:
        print(f"error: {command[0]}: there is no such command", file=sys.stderr)
        return NOT_FOUND, f"{command[0]}: there is no such command"
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_EXECUTABLE, f"{command[0]}: {error.strerror}"
    while child.poll() is None:
        came = signal.sigwaitinfo({*heard, signal.SIGCHLD})
        # The terminal's interrupt key tells all that run in its foreground, the command, too: not twice.
        if came.si_signo != signal.SIGCHLD and not (came.si_signo == signal.SIGINT and came.si_code == _SI_KERNEL):
            child.send_signal(came.si_signo)
    status = child.returncode
    if status < 0:
        return 128 - status, f"killed by {_name(-status)}"
    return status, f"exit status {status}" if status else None


def _tied_to_us(heard: list[signal.Signals], mask: set[int]) -> Callable[[], None]:
    """Make what the child does before it becomes the command."""
    us = os.getpid()
    prctl = ctypes.CDLL(None).prctl  # loaded here: between fork and exec as little as possible should happen

    def prepare() -> None:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != us:  # we ended before that took effect
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _tell(service: Transport, unit: str, reason: str | None) -> None:
    """Complete or fail the unit; an error is said and no more, as the exit status is the command's."""
    try:
        if reason is None:
            service.call("POST", "/v1/complete", {"unit": unit})
        else:
            service.call("POST", "/v1/fail", {"unit": unit, "reason": reason})
    except FastDAGError as error:
        from fastdag.cli.failures import explained  # noqa: PLC0415

        ended = "completed" if reason is None else f"failed ({reason})"
        print(f"error: the command has ended, but the unit {unit!r} could not be set to {ended}:", file=sys.stderr)
        print(*explained(error)[1], sep="\n", file=sys.stderr)


def _give_up(service: Transport, unit: str, number: signal.Signals) -> None:
    """Leave nothing started: the wait at the service ended with its connection, but the unit may be started already.

    Without this the service would find that out, too, as this process ends, but not say why.
    """
    import json  # noqa: PLC0415

    try:
        view = json.loads(service.call("GET", target("/v1/status", {"unit": unit})))
        if view["status"] == "started" and view["owner"] == os.getpid():
            reason = f"ended by {number.name} before its command ran"
            service.call("POST", "/v1/fail", {"unit": unit, "reason": reason})
    except FastDAGError:
        pass  # there is nobody to tell

"""Leases: a started unit tied to a process, by whose end the kernel wakes the service. Nothing polls."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from fastdag.errors import CapacityError, FastDAGError


class OwnerNotFoundError(FastDAGError, ProcessLookupError):
    """The process that is to own a unit is not there."""


class Lease:
    """A process, held by a file descriptor of its own: its number may go to another process, the descriptor does not.

    Parameters
    ----------
    pid : int
    started : int, optional
        When the process was started, in clock ticks since boot; tells it from another one with its number.

    Raises
    ------
    OwnerNotFoundError
        If there is no such process, or it is not the one that was meant.
    CapacityError
        If there is no file descriptor left.
    """

    def __init__(self, pid: int, started: int | None = None) -> None:
        self.pid = pid
        try:
            self._descriptor = os.pidfd_open(pid)
            try:
                # Read after the descriptor was opened, so that both speak of the same process, dead or alive.
                self.started = started_at(pid)
                self.boot = boot()
                if started is not None and started != self.started:
                    raise _not_there(pid)
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):  # the last two: a thread, by kernel
                raise _not_there(pid) from None
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise CapacityError(
                    f"the service has too many files open to watch process {pid}; raise its limit (ulimit -n)"
                ) from None
            raise

    def watch(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
        """Have `ended` called by the loop once the process has ended."""
        loop.add_reader(self._descriptor, ended)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of the process; again is no error."""
        if self._descriptor >= 0:
            loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def _not_there(pid: int) -> OwnerNotFoundError:
    return OwnerNotFoundError(f"there is no process {pid} to own the unit; it has ended, or the number is wrong")


def started_at(pid: int) -> int:
    """Give when a process was started, in clock ticks since boot: the 22nd field of proc(5)'s stat.

    Raises
    ------
    OwnerNotFoundError
        If there is no such process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        raise _not_there(pid) from None
    return int(stat.rpartition(b")")[2].split()[19])  # the name, in brackets, may hold blanks and brackets


@cache
def boot() -> str:
    """Give the name of this boot of the machine; process numbers and start times mean nothing beyond it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

"""Where the units of a run run: what `fastdag.runner.run` wants of it, and which one that is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fastdag.errors import FastDAGError
from fastdag.runner.processes import Family, OnEnded

if TYPE_CHECKING:
    from fastdag.runner.logs import Log


class RunError(FastDAGError, ValueError):
    """What is asked for cannot be run; nothing was."""


class Running(Protocol):
    """A unit that was started."""

    def stop(self, status: str, reason: str) -> None:
        """End it, with this outcome; nothing, if it has ended or is being ended."""
        ...


class Executor(Protocol):
    """Runs units. All is called in the thread of the event loop, and does not keep it waiting."""

    def start(
        self,
        unit: str,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None,
        log: Log,
        timeout: float | None,
        on_ended: OnEnded,
    ) -> Running:
        """Start a unit; `on_ended` is called once, later, with the outcome.

        Raises
        ------
        CannotStartError
            If that is known at once; `on_ended` is not called then.
        """
        ...

    async def end_survivors(self) -> list[str]:
        """End what still runs of the run of this name, which was killed; gives the names of these processes."""
        ...

    def reap(self) -> None:
        """Let go of what has ended; called now and then."""
        ...

    def hurry(self) -> None:
        """End at once what was given its time to end."""
        ...

    async def close(self) -> list[str]:
        """End what lives although no unit is known for it; gives the names. No unit runs any more then."""
        ...


class Place(NamedTuple):
    """Where units can run.

    Attributes
    ----------
    executor : callable
        Makes the executor in the event loop, of the name of the run and the path of its socket.
    jobs : int
        How many units run at a time there, if nobody says.
    """

    executor: Callable[[str, Path], Executor]
    jobs: int


@contextmanager
def place(executor: str, scheduler: str | None) -> Iterator[Place]:
    """Have the place for units: processes here (`local`), or on the workers of a cluster (`dask`).

    Raises
    ------
    RunError
        If it is not there.
    """
    if executor == "dask":
        from fastdag.runner.cluster import connected  # noqa: PLC0415 - needs an extra, and takes its time to load

        with connected(scheduler) as found:
            yield found
        return
    if scheduler is not None:
        raise RunError("--scheduler goes with --executor dask")
    yield Place(_local, len(os.sched_getaffinity(0)))


def _local(run: str, socket: Path) -> Executor:
    return Family(run, environment={**os.environ, "FASTDAG_SOCKET": str(socket)})

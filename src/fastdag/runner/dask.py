"""Tasks on a cluster of Dask, for `fastdag.run`: futures that stay where the results are."""

from __future__ import annotations

import uuid
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dask.utils import funcname
from distributed.protocol import pickle

from fastdag.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import distributed

V = TypeVar("V")
R = TypeVar("R")


class DaskPool(Generic[V, R]):
    """A client of Dask; what is held of a result is its future, so that it stays on the workers until it is fetched.

    Tasks that are ready together go to the scheduler together, which takes a fraction of the time. Dask hears of no
    dependencies: it would hand a task the results of what it depends on.
    """

    def __init__(self, task: Callable[[V], R], client: distributed.Client) -> None:
        if client.asynchronous:
            raise TypeError("run() blocks, and an asynchronous distributed.Client must not; call it in another thread")
        self._client = client
        self._task = _without_exits(task)
        pickle.dumps(self._task)  # says at once, and once, that it cannot be sent
        run = f"{funcname(task)}-{uuid.uuid4().hex}"  # Dask's pages group tasks by the words before the number
        self._keys = (f"{run}-{number}" for number in count())

    # What these do is said where `fastdag.runner.tasks` says what it wants of a pool.
    def start(self, vertices: Sequence[V], done: Callable[[Any], object]) -> Iterator[tuple[V, Any]]:  # noqa: D102
        for vertex, future in zip(vertices, self._futures(vertices), strict=True):
            yield vertex, future
            if isinstance(future, _Unsent):
                done(future)
            else:
                future.add_done_callback(done)

    def _futures(self, vertices: Sequence[V]) -> list[Any]:
        try:
            # Not pure: Dask would take two vertices that look the same to it, or two runs, for one task.
            keys = [next(self._keys) for _ in vertices]
            return list(self._client.map(self._task, vertices, key=keys, pure=False))
        except Exception as error:
            if self._client.status != "running":
                raise RuntimeError(f"the client of Dask is {self._client.status}") from error
            # A vertex does not pickle. The others go on their own, as they do with processes.
            if len(vertices) == 1:
                return [_Unsent(error)]
            half = len(vertices) // 2
            return [*self._futures(vertices[:half]), *self._futures(vertices[half:])]

    def cancel(self, futures: list[Any]) -> None:  # noqa: D102
        self._client.cancel([future for future in futures if not isinstance(future, _Unsent)])

    def outcome(self, future: Any) -> tuple[str, Any]:  # noqa: D102
        if isinstance(future, _Unsent):
            return Status.FAILED, future.error
        if future.status == "error":
            error: BaseException = future.exception()
            return Status.FAILED, error.with_traceback(future.traceback())
        if future.status == "cancelled":
            return Status.CANCELED, None
        return Status.COMPLETED, future  # finished; or lost since then, and Dask runs it again

    def fetch(self, held: list[Any]) -> list[R]:  # noqa: D102
        results: list[R] = self._client.gather(held)
        return results


class _Unsent:
    """Stands for the future of a task that could not be sent."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _without_exits(task: Callable[[V], R]) -> Callable[[V], R]:
    """Keep a task that exits from ending its worker, and then the next one that Dask gives it to."""

    def call(vertex: V) -> R:  # inside, so that it is pickled by value, and workers need not have fastdag
        try:
            return task(vertex)
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(f"the task raised {error!r}, which would end a worker of Dask") from error

    return call

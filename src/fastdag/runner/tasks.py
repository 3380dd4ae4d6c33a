"""`fastdag.run`: a task for every vertex, as soon as everything that the vertex depends on has completed.

One loop, in the thread that called `run`, hands out vertices and takes in what became of them. It sleeps until a future
is done; nothing polls, and no thread is kept but those of the executor.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections import Counter, deque
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from fastdag._core import Graph
from fastdag.errors import TaskNotRunError, VertexNotFoundError
from fastdag.graphlib import TopologicalSorter
from fastdag.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    import distributed

__all__ = ["RunResult", "run"]

V = TypeVar("V")
R = TypeVar("R")


class RunResult(Generic[V, R]):
    """What became of each vertex of a run. `run` makes it; it does not change.

    `result[vertex]` is what the task returned for a vertex that completed. Of one that failed it raises the task's own
    exception, of one that did not run `TaskNotRunError`, of one that the graph did not have `VertexNotFoundError`.

    Attributes
    ----------
    statuses : dict of vertex to str
        Every vertex, in the order of the graph, with one of `Status`: ``completed``; ``failed``, the task raised, or
        its result could not be handed back; ``skipped``, something that it depends on, directly or not, failed;
        ``canceled``, it did not run for any other reason.
    exceptions : dict of vertex to BaseException
        What the tasks that failed raised, as they raised it, with its traceback.
    causes : dict of vertex to vertex
        For each vertex that was skipped the one whose failure was the reason; the first, where there are several.
    executor_error : Exception or None
        Why the executor took no more tasks before all were done: it was shut down, or its processes died.
    """

    statuses: dict[V, str]
    exceptions: dict[V, BaseException]
    causes: dict[V, V]
    executor_error: Exception | None

    def __init__(
        self,
        statuses: dict[V, str],
        held: dict[V, Any],
        fetch: Callable[[list[Any]], list[R]],
        exceptions: dict[V, BaseException],
        causes: dict[V, V],
        executor_error: Exception | None,
    ) -> None:
        self.statuses = statuses
        self.exceptions = exceptions
        self.causes = causes
        self.executor_error = executor_error
        self._held = held
        self._fetch = fetch

    def __getitem__(self, vertex: V) -> R:
        if vertex in self._held:
            return self._fetch([self._held[vertex]])[0]
        if vertex in self.exceptions:
            raise self.exceptions[vertex]
        if vertex not in self.statuses:
            raise VertexNotFoundError(vertex)
        if vertex in self.causes:
            cause = self.causes[vertex]
            raise TaskNotRunError(vertex, Status.SKIPPED, cause) from self.exceptions[cause]
        raise TaskNotRunError(vertex, Status.CANCELED) from self.executor_error

    def results(self) -> dict[V, R]:
        """Give the results of all vertices that completed, fetched in one go where they are elsewhere.

        Returns
        -------
        dict of vertex to object
            In the order in which they completed.
        """
        return dict(zip(self._held, self._fetch(list(self._held.values())), strict=True))

    @property
    def ok(self) -> bool:
        """Whether every vertex completed."""
        return len(self._held) == len(self.statuses)

    def raise_for_failures(self) -> RunResult[V, R]:
        """Raise unless every vertex completed.

        Returns
        -------
        RunResult
            Itself, so that a call can follow.

        Raises
        ------
        ExceptionGroup
            Of everything in `exceptions`, the `executor_error`, and a `CancelledError` where vertices were canceled and
            neither of these says why. A `BaseExceptionGroup` when a task raised what is no `Exception`, like
            `SystemExit`.
        """
        if self.ok:
            return self
        raised = list(self.exceptions.values())
        if self.executor_error is not None:
            raised.append(self.executor_error)
        if not raised:
            raised.append(CancelledError(f"{self._counted()}; the executor canceled what waited in its queue"))
        which = ", ".join(map(repr, [*self.exceptions][:_SHOWN])) + (", …" if len(self.exceptions) > _SHOWN else "")
        raise BaseExceptionGroup(f"{self._counted()}{which and f'; failed: {which}'}", raised)

    def _counted(self) -> str:
        counts = Counter(self.statuses.values())
        parts = [f"{counts[status]} {status}" for status in _STATUSES if counts[status]]
        return f"of {len(self.statuses)} tasks {', '.join(parts)}" if parts else "no tasks"

    def __repr__(self) -> str:
        return f"<RunResult: {self._counted()}>"


_STATUSES = (Status.COMPLETED, Status.FAILED, Status.SKIPPED, Status.CANCELED)
_SHOWN = 10  # vertices that a message spells out; `exceptions` has them all


def run(
    task: Callable[[V], R],
    graph: Graph[V],
    executor: Executor | distributed.Client | None = None,
    *,
    buffersize: int = 1_000,
) -> RunResult[V, R]:
    """Call ``task(vertex)`` for every vertex of a graph, each one once all that it depends on has completed.

    What a task raises fails its vertex; what depends on that, directly or not, is skipped, and everything else goes
    on. The graph is copied first: what happens to it during the run does not matter.

    Parameters
    ----------
    task : callable
        Called with the vertex alone. With processes, or Dask, it goes there by pickling, as vertices and results do.
    graph : Graph
        An edge ``source -> target`` reads *source depends on target*.
    executor : concurrent.futures.Executor or distributed.Client, optional
        Where the tasks run: any executor of threads, processes or anything else, which stays open; by default threads
        that end with the run. A client of Dask spreads them over its cluster (extra ``[dask]``); see the notes.
    buffersize : int, optional
        How many tasks the executor has at a time, so that a large graph does not become as many futures at once, which
        is slower, too. An executor that runs more than 1,000 tasks at a time wants more.

    Returns
    -------
    RunResult
        What became of each vertex: results, exceptions, statuses.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C. Nothing new was begun, tasks that waited were canceled, and those that ran were waited for. A second
        Ctrl-C does not wait.

    Notes
    -----
    O(vertices + edges), on top of what the executor does for a task. Tasks begin in the order in which their vertices
    become ready, as far as the executor keeps it.

    A task may give the same executor more to do, and wait for it as long as the executor has a worker to spare: when
    tasks that wait take all of them, they wait for ever.

    Executors that stop: where one is shut down during the run, what it has begun, or goes on to run, counts, and the
    rest is canceled. Where a process of a `ProcessPoolExecutor` dies, all tasks that the pool had been given fail with
    `BrokenProcessPool`.

    With Dask, results stay on the workers until they are asked for (``result[vertex]``, ``result.results()``), for as
    long as the `RunResult` is kept; one that does not pickle is found out then. A task that fails is not tried again.
    One whose worker is lost while it runs, or while it holds the result, is run again elsewhere, so that it may run
    more than once; after more lost workers than Dask's setting ``distributed.scheduler.allowed-failures`` it fails with
    ``distributed.KilledWorker``. A task that exits fails with a `RuntimeError` that says so, as its worker would end.
    An interrupt takes back what has not begun; what runs on a worker goes on to its end there, and is not waited for.

    Examples
    --------
    >>> from fastdag import Graph, run
    >>> graph = Graph()
    >>> graph.add_edges_from([("wheel", "tests"), ("tests", "build"), ("docs", "build")])
    3
    >>> result = run(str.upper, graph)
    >>> result["wheel"], result.ok
    ('WHEEL', True)

    >>> def fail_tests(vertex):
    ...     if vertex == "tests":
    ...         raise ValueError("2 of 70 failed")
    >>> result = run(fail_tests, graph)
    >>> result.statuses
    {'wheel': 'skipped', 'tests': 'failed', 'build': 'completed', 'docs': 'completed'}
    >>> result.raise_for_failures()
    Traceback (most recent call last):
        ...
    ExceptionGroup: of 4 tasks 2 completed, 1 failed, 1 skipped; failed: 'tests' (1 sub-exception)
    """
    if not callable(task):
        raise TypeError(f"task must be callable, not {type(task).__name__}")
    if not isinstance(graph, Graph):
        raise TypeError(f"graph must be a fastdag.Graph, not {type(graph).__name__}")
    if buffersize < 1:
        raise ValueError(f"buffersize must be at least 1, not {buffersize}")
    if executor is None:
        threads = ThreadPoolExecutor(thread_name_prefix="fastdag-run")
        own = _Run(_Futures(task, threads), graph.copy(), buffersize)
        try:
            return own.to_its_end()
        finally:
            threads.shutdown(wait=not own.out)  # tasks are still out after a second Ctrl-C, which does not wait
    pool: _Pool[V, R]
    if (module := sys.modules.get("distributed")) is not None and isinstance(executor, module.Client):
        from fastdag.runner.dask import DaskPool  # noqa: PLC0415

        pool = DaskPool(task, executor)
    elif callable(getattr(executor, "submit", None)):
        pool = _Futures(task, cast("Executor", executor))
    else:
        raise TypeError(
            f"executor must be a concurrent.futures.Executor or a distributed.Client, not {type(executor).__name__}"
        )
    return _Run(pool, graph.copy(), buffersize).to_its_end()


class _Pool(Protocol[V, R]):
    """What runs tasks. Its futures are hashable, and go to `done` once, from any thread, when they are done."""

    def start(self, vertices: Sequence[V], done: Callable[[Any], object]) -> Iterator[tuple[V, Any]]:
        """Begin tasks, and give each one's future; RuntimeError: it takes no more."""
        ...

    def cancel(self, futures: list[Any]) -> None:
        """Take back what has not begun."""
        ...

    def outcome(self, future: Any) -> tuple[str, Any]:
        """Give the status, and what to hold of the result or the exception."""
        ...

    def fetch(self, held: list[Any]) -> list[R]:
        """Give the results for what is held of them."""
        ...


class _Futures(Generic[V, R]):
    """An executor with the interface of `concurrent.futures`; what is held of a result is the result."""

    def __init__(self, task: Callable[[V], R], executor: Executor) -> None:
        self._task = task
        self._submit = executor.submit

    def start(
        self, vertices: Sequence[V], done: Callable[[Future[R]], object]
    ) -> Iterator[tuple[V, Future[R]]]:
        for vertex in vertices:
            future = self._submit(self._task, vertex)
            yield vertex, future
            future.add_done_callback(done)

    def cancel(self, futures: list[Future[R]]) -> None:
        for future in futures:
            future.cancel()

    def outcome(self, future: Future[R]) -> tuple[str, R | BaseException | None]:
        try:
            error = future.exception()  # not result(), which would add its own frames to the traceback
        except CancelledError:
            return Status.CANCELED, None
        return (Status.COMPLETED, future.result()) if error is None else (Status.FAILED, error)

    def fetch(self, held: list[R]) -> list[R]:
        return held


class _Run(Generic[V, R]):
    """One run: which vertices are ready, which futures are out, and what came back."""

    def __init__(self, pool: _Pool[V, R], graph: Graph[V], buffersize: int) -> None:
        self._pool = pool
        self._graph = graph
        self._buffersize = buffersize
        self._sorter = TopologicalSorter({vertex: graph.successors(vertex) for vertex in graph})
        self._sorter.prepare()
        self._ready = deque(self._sorter.get_ready())
        self.out: dict[Any, V] = {}
        self._done: SimpleQueue[Any] = SimpleQueue()  # futures; None: an interrupt
        self._stopping = False
        self._interrupted = False
        self._held: dict[V, Any] = {}
        self._exceptions: dict[V, BaseException] = {}
        self._causes: dict[V, V] = {}
        self._executor_error: Exception | None = None

    def to_its_end(self) -> RunResult[V, R]:
        with _interrupts_to(self._done):
            try:
                self._loop()
            except BaseException:  # what a signal's handler raises, for one
                if not self._stopping:
                    self._stop()
                    self._loop()
                raise
        if self._interrupted or not self._done.empty():  # one may have come after the last future
            raise KeyboardInterrupt
        statuses = dict.fromkeys(self._graph, Status.CANCELED)
        statuses.update(dict.fromkeys(self._held, Status.COMPLETED))
        statuses.update(dict.fromkeys(self._exceptions, Status.FAILED))
        statuses.update(dict.fromkeys(self._causes, Status.SKIPPED))
        return RunResult(
            statuses, self._held, self._pool.fetch, self._exceptions, self._causes, self._executor_error
        )

    def _loop(self) -> None:
        """Go on until no future is out, and nothing can be begun."""
        self._begin()
        while self.out:
            done = [self._done.get()]
            done += [self._done.get_nowait() for _ in range(self._done.qsize())]  # nobody else takes any
            self._take_in(done)
            self._begin()

    def _begin(self) -> None:
        room = min(self._buffersize - len(self.out), len(self._ready))
        if room <= 0:
            return
        out, take = self.out, self._ready.popleft
        try:
            for vertex, future in self._pool.start([take() for _ in range(room)], self._done.put):
                out[future] = vertex
        except RuntimeError as error:  # the executor is shut down or broken; the futures that are out still come back
            self._executor_error = error
            self._stopping = True
            self._ready.clear()

    def _take_in(self, done: list[Any]) -> None:
        completed = []
        for future in done:
            if future is None:
                self._interrupted = True
                self._stop()
                continue
            vertex = self.out.pop(future)
            status, value = self._pool.outcome(future)
            if status == Status.COMPLETED:
                self._held[vertex] = value
                completed.append(vertex)
            elif status == Status.FAILED:
                self._exceptions[vertex] = value
                self._skip_after(vertex)
        self._sorter.done(*completed)
        ready = self._sorter.get_ready()
        if not self._stopping:
            self._ready.extend(ready)

    def _skip_after(self, failed: V) -> None:
        """Mark what depends on it; the sorter never hands that out. Each vertex is marked once in the whole run."""
        causes, predecessors = self._causes, self._graph.predecessors
        stack = [failed]
        while stack:
            for vertex in predecessors(stack.pop()):
                if vertex not in causes:
                    causes[vertex] = failed
                    stack.append(vertex)

    def _stop(self) -> None:
        self._stopping = True
        self._ready.clear()
        self._pool.cancel(list(self.out))


@contextlib.contextmanager
def _interrupts_to(queue: SimpleQueue[Any]) -> Iterator[None]:
    """Let the first Ctrl-C put None into a queue, rather than raise in the middle of anything, as `asyncio.run` does.

    A KeyboardInterrupt inside `submit` would lose a future whose task runs. Only where Python's own handler is in
    place: one that somebody installed is left alone. CPython hears a signal that comes in the very moment in which a
    thread falls asleep only when that sleep is over: here, when the next task ends.
    """

    def on_interrupt(signum: int, _: FrameType | None) -> None:
        signal.signal(signum, signal.default_int_handler)  # a second one does not wait
        queue.put(None)  # which is made for handlers: it may interrupt another call of itself

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is on_interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)

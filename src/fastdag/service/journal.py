"""What outlives the service: `Journal`, units and dependencies in one SQLite file, written in groups by a thread.

Guarantees
----------
- What `committed` has returned for is in the file and on the disk: a process that is killed, or a machine that loses
  power, does not undo it.
- The file holds what the first N puts left behind, for some N: never a later put without an earlier one, never half
  of one.
- After a write that failed nothing is acknowledged any more, as nobody knows what the disk holds then.
- A file that is refused stays as it is, byte for byte, and so do the files beside it.
- One journal has the file at a time, and no other program that opens it with SQLite; the lock ends with the process.

Assumes
-------
- All methods are called in one thread, that of the event loop; `load`, `note` and `set_note` before `start`.
- The disk keeps what fsync has returned for.
- No child of a fork that has inherited a journal ends by itself (`sys.exit`): it would close it for both. `exec` and
  `os._exit` are harmless.
- Nobody removes the files beside the journal (`-wal`) after a crash: they hold what it does not have yet.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from heapq import heappop, heappush
from itertools import chain, count
from queue import SimpleQueue
from typing import NamedTuple

from fastdag.errors import JournalError


class UnitRow(NamedTuple):
    """A registered unit.

    Attributes
    ----------
    unit, status : str
    since : float
        When it got its status, in seconds since the epoch.
    reason : str, optional
    owner : int, optional
        The process that it is tied to.
    owner_started : int, optional
        When that process was started, in clock ticks since the machine was.
    boot : str, optional
        Which start of the machine that was.
    """

    unit: str
    status: str
    since: float
    reason: str | None = None
    owner: int | None = None
    owner_started: int | None = None
    boot: str | None = None


class DependencyRow(NamedTuple):
    """What a unit asks of another; `requires` is JSON, of which the journal knows nothing."""

    unit: str
    depends_on: str
    requires: str


Row = UnitRow | DependencyRow

_APPLICATION = 0x66644A6C  # "fdJl", in the header of every journal
_FORMAT = 1  # PRAGMA user_version
_CHECKPOINT = 4096  # pages of the log, 4 MB: rare beside the commits, and short enough to wait for
_BESIDE = ("-wal", "-journal")  # what SQLite keeps beside the file; -journal only while a new one is made

# The rows of a table keep their numbers when they change, so that they are read in the order in which they came.
# The checks are read back by quick_check, and tell a damaged row from one of ours.
_SCHEMA = (
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
    """CREATE TABLE units (
        number INTEGER PRIMARY KEY,
        unit TEXT NOT NULL UNIQUE CHECK (typeof(unit) = 'text'),
        status TEXT NOT NULL CHECK (typeof(status) = 'text'),
        since REAL NOT NULL CHECK (typeof(since) = 'real'),
        reason TEXT CHECK (typeof(reason) IN ('text', 'null')),
        owner INTEGER CHECK (typeof(owner) IN ('integer', 'null')),
        owner_started INTEGER CHECK (typeof(owner_started) IN ('integer', 'null')),
        boot TEXT CHECK (typeof(boot) IN ('text', 'null'))
    )""",
    """CREATE TABLE dependencies (
        number INTEGER PRIMARY KEY,
        unit TEXT NOT NULL CHECK (typeof(unit) = 'text'),
        depends_on TEXT NOT NULL CHECK (typeof(depends_on) = 'text'),
        requires TEXT NOT NULL CHECK (typeof(requires) = 'text'),
        UNIQUE (unit, depends_on)
    )""",
    "CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL)",
)
_UNITS = f"SELECT {', '.join(UnitRow._fields)} FROM units ORDER BY number"
_DEPENDENCIES = f"SELECT {', '.join(DependencyRow._fields)} FROM dependencies ORDER BY number"


def _upserts(table: str, fields: Sequence[str], key: Sequence[str]) -> dict[int, str]:
    """Give statements that write so many rows at once, the largest first.

    Each call of SQLite lets go of the interpreter, and beside a busy event loop it may take milliseconds to get it
    back: a group must not make one for each of its rows, as `executemany` does.
    """
    row = f"({', '.join('?' * len(fields))})"
    changed = ", ".join(f"{field} = excluded.{field}" for field in fields if field not in key)
    return {
        rows: f"INSERT INTO {table} ({', '.join(fields)}) VALUES {', '.join([row] * rows)} "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"
        for rows in (64, 32, 16, 8, 4, 2, 1)
    }


_PUT_UNITS = _upserts("units", UnitRow._fields, ["unit"])
_PUT_DEPENDENCIES = _upserts("dependencies", DependencyRow._fields, ["unit", "depends_on"])

_REPAIR = "repair that, or name another file"
_START_AGAIN = "make room or repair the disk, then start the service again"

# SQLite's lock bytes, at the same place in every version: https://sqlite.org/fileformat2.html#lock_byte_page
_LOCK_START = 0x40000000
_LOCK_LENGTH = 512

# The files that this process has open. To look at one of them would be enough to let go of it: POSIX drops all locks
# that a process has on a file when it closes any descriptor of it.
_open_here: dict[tuple[int, int], Journal] = {}


class Journal:
    """The durable state of a service.

    Parameters
    ----------
    path : str or path-like
        Made, for its owner alone to read and write, when it is not there; an empty file is taken for a new one.

    Attributes
    ----------
    path : str
        Absolute, links followed.
    position : int
        How many times `put` was called.
    durable : int
        How many of them are in the file.
    failed : JournalError or None
        Why nothing can be written any more.

    Raises
    ------
    JournalError
        If the file cannot be used: it is something else, of a newer version, damaged, in use, not to be read or
        written. It is left as it is.
    """

    path: str
    position: int
    durable: int
    failed: JournalError | None

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.realpath(path)  # as SQLite, which has its log beside what a link leads to
        self.position = 0
        self.durable = 0
        self.failed = None
        self._on_durable: Callable[[int], object] | None = None
        self._on_failed: Callable[[JournalError], object] | None = None
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap by position
        self._tickets = count()  # waiters for the same position are told in the order in which they came
        self._thread: threading.Thread | None = None
        self._puts: SimpleQueue[Sequence[Row] | None] = SimpleQueue()  # None: there will be no more
        self._taking = False  # between start and close
        self._closed = False
        # Set by the writer, and read in the thread of the event loop when `_settle` is called for.
        self._written = 0
        self._error: JournalError | None = None

        self._descriptor, self._identity = self._lock()
        try:
            self._connection = self._connect(new=self._examine())
        except BaseException as error:
            self._unlock()
            if isinstance(error, (OSError, sqlite3.Error)) and not isinstance(error, JournalError):
                raise JournalError(self.path, f"cannot be opened: {_said(error)}; {_REPAIR}") from error
            raise

    def load(self) -> tuple[list[UnitRow], list[DependencyRow]]:
        """Give the units in the order in which they were first put, and so the dependencies."""
        try:
            units = [UnitRow._make(row) for row in self._connection.execute(_UNITS)]
            dependencies = [DependencyRow._make(row) for row in self._connection.execute(_DEPENDENCIES)]
        except sqlite3.Error as error:
            raise JournalError(self.path, f"cannot be read: {_said(error)}; {_START_AGAIN}") from error
        return units, dependencies

    def note(self, name: str) -> str | None:
        """Give what was noted under a name, by whoever has the journal: None if nothing was."""
        try:
            found = self._connection.execute("SELECT text FROM notes WHERE name = ?", [name]).fetchone()
        except sqlite3.Error as error:
            raise JournalError(self.path, f"cannot be read: {_said(error)}; {_START_AGAIN}") from error
        return None if found is None else str(found[0])

    def set_note(self, name: str, text: str) -> None:
        """Note something, instead of what was noted under the name; it is on the disk when this returns."""
        try:
            self._connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", [name, text])
        except sqlite3.Error as error:
            raise JournalError(self.path, f"could not be written: {_said(error)}; {_START_AGAIN}") from error

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        on_durable: Callable[[int], object] | None = None,
        on_failed: Callable[[JournalError], object] | None = None,
    ) -> None:
        """Start to take changes.

        Parameters
        ----------
        loop : asyncio.AbstractEventLoop
        on_durable : callable, optional
            Called with `durable` after each commit, in the thread of the loop.
        on_failed : callable, optional
            Called once with `failed`, in the thread of the loop: the service has to stop.
        """
        self._loop = loop
        self._on_durable = on_durable
        self._on_failed = on_failed
        # A daemon: an interpreter that ends without `close` must not wait for it, and to be cut off harms the file no
        # more than kill -9 does.
        self._thread = threading.Thread(target=self._write, name="fastdag-journal", daemon=True)
        self._thread.start()
        self._taking = True

    def put(self, rows: Sequence[Row]) -> None:
        """Take changes that belong together; O(1), and waits for nobody.

        Parameters
        ----------
        rows : sequence of UnitRow and DependencyRow
            In the order in which they happened; not to be changed by the caller from now on. A unit, or a dependency
            between the same units, that was put before is changed.
        """
        if not self._taking:
            raise JournalError(self.path, "is closed; changes are taken between start() and close()")
        self.position += 1
        self._puts.put(rows)

    async def committed(self, position: int) -> None:
        """Return when the first `position` puts are in the file.

        Raises
        ------
        JournalError
            If they cannot get there any more.
        """
        if self.durable >= position:
            return
        if self.failed is None and self._taking:
            told = self._loop.create_future()
            heappush(self._waiters, (position, next(self._tickets), told))
            await told
        if self.durable < position:
            problem = "is closed" if self.failed is None else self.failed.problem
            raise JournalError(self.path, problem) from self.failed

    def close(self) -> None:
        """Write what was put, and leave one file that nobody has open; again: does nothing."""
        self._taking = False
        if self._thread is not None:
            self._puts.put(None)
            self._thread.join()  # interrupted, it can be called again, and nothing was let go of
            self._thread = None
        if self._closed:
            return
        self._closed = True
        try:
            self._settle()
        finally:
            try:
                self._connection.close()  # brings the log into the file, and removes it
            finally:
                self._unlock()

    # --- opening --------------------------------------------------------------------------------------------------

    def _lock(self) -> tuple[int, tuple[int, int]]:
        """Open the file and keep everybody else out.

        By the lock that SQLite takes itself, so that other programs respect it too; SQLite alone takes it only when it
        begins to read, and would then bring in what a crash left behind. The process that has it may take it again.
        """
        in_use = JournalError(self.path, "is in use by another service or program; stop that, or name another file")
        try:
            if os.path.exists(self.path):
                found = os.stat(self.path)
                if not stat.S_ISREG(found.st_mode):
                    raise JournalError(self.path, "is no regular file; name another file")
                if _identity(found) in _open_here:
                    raise in_use
            elif _size(self.path + "-wal"):
                raise self._lost()
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCK_LENGTH, _LOCK_START)
            except OSError as error:
                os.close(descriptor)
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise in_use from error
                raise
        except JournalError:
            raise
        except OSError as error:
            raise JournalError(self.path, f"cannot be opened: {error.strerror}; {_REPAIR}") from error
        identity = _identity(os.fstat(descriptor))
        _open_here[identity] = self
        return descriptor, identity

    def _examine(self) -> bool:
        """Look whether the file is a journal, or can become one; the answer is whether it has to be made one.

        Whoever opens a file with SQLite changes it: what a crash left behind is brought in when it is closed. So it is
        a copy that is looked at.
        """
        header = os.pread(self._descriptor, 100, 0)
        beside = [suffix for suffix in _BESIDE if _size(self.path + suffix)]
        if not header and not beside:
            return True
        if not header and "-wal" in beside:
            raise self._lost()
        if "-journal" not in beside:  # with it, a new journal was not finished and has to be taken back first
            if not header.startswith(b"SQLite format 3\0"):
                raise self._foreign()
            self._refuse_other(*(int.from_bytes(header[at : at + 4]) for at in (68, 60)))
        with tempfile.TemporaryDirectory(prefix="fastdag-journal-") as folder:
            copy = os.path.join(folder, "copy")
            with open(copy, "wb") as target:
                while block := os.pread(self._descriptor, 1 << 20, target.tell()):
                    target.write(block)
            for suffix in beside:
                shutil.copyfile(self.path + suffix, copy + suffix)
            try:
                with closing(sqlite3.connect(copy)) as connection:
                    ask = connection.execute
                    ask("PRAGMA synchronous = OFF")  # nobody will miss the copy
                    if ask("PRAGMA page_count").fetchone() == (0,):
                        return True
                    [application] = ask("PRAGMA application_id").fetchone()
                    [version] = ask("PRAGMA user_version").fetchone()
                    self._refuse_other(application, version)
                    found = [message for [message] in ask("PRAGMA quick_check(1)")]
                    ask(_UNITS).fetchone()
                    ask(_DEPENDENCIES).fetchone()
            except sqlite3.Error as error:
                found = [_said(error)]
        if found != ["ok"]:
            what = found[0].splitlines()[-1]  # behind a line that says which database
            raise JournalError(self.path, f"is damaged: {what}; put a sound copy in its place, or move it away")
        return False

    def _refuse_other(self, application: int, version: int) -> None:
        if application != _APPLICATION:
            raise self._foreign()
        if version != _FORMAT:
            raise JournalError(
                self.path,
                f"has format {version}, and this version of fastdag knows only format {_FORMAT}; "
                "use the version that wrote it, or name another file",
            )

    def _foreign(self) -> JournalError:
        return JournalError(self.path, "is no journal of fastdag; name another file")

    def _lost(self) -> JournalError:
        return JournalError(self.path, "is empty or gone, and its -wal is not; put it back, or remove the -wal too")

    def _connect(self, new: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        run = connection.execute
        try:
            # Before anything is read: then the index of the write-ahead log is in memory, and no -shm beside the file.
            run("PRAGMA locking_mode = EXCLUSIVE")
            if new:
                run("PRAGMA page_size = 1024")  # a change writes whole pages, and a row has a hundred bytes
                run("BEGIN EXCLUSIVE")
                for statement in _SCHEMA:
                    run(statement)
                run("COMMIT")
            [mode] = run("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise JournalError(self.path, f"cannot have a write-ahead log there ({mode}); {_REPAIR}")
            # NORMAL is enough for kill -9, as the kernel has the pages; a loss of power would undo acknowledgements.
            run("PRAGMA synchronous = FULL")
            run(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
            # What a service wrote that was killed may not be on the disk yet; now it is.
            run("PRAGMA wal_checkpoint(TRUNCATE)")
            run("BEGIN EXCLUSIVE")  # takes the lock, and makes the log
            run("COMMIT")
            self._places = {name: _identity(os.stat(name)) for name in (self.path, self.path + "-wal")}
        except BaseException:
            connection.close()
            raise
        return connection

    def _unlock(self) -> None:
        os.close(self._descriptor)  # after SQLite has closed the file: this lets go of its lock
        del _open_here[self._identity]

    # --- writing: in a thread of its own --------------------------------------------------------------------------

    def _write(self) -> None:
        """Write what is there as one group, and again, until there is no more."""
        take = self._puts.get
        last = False
        try:
            while not last:
                group = [take()]
                group += [take() for _ in range(self._puts.qsize())]  # nobody else takes any: none of these waits
                last = group[-1] is None
                puts = [put for put in group if put is not None]
                self._commit(list(chain.from_iterable(puts)))
                self._written += len(puts)
                self._tell()
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing more can be acknowledged
            self._error = JournalError(self.path, f"could not be written: {_said(error)}; {_START_AGAIN}")
            self._tell()

    def _commit(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        self._upsert(_PUT_UNITS, [row for row in rows if isinstance(row, UnitRow)])
        self._upsert(_PUT_DEPENDENCIES, [row for row in rows if isinstance(row, DependencyRow)])
        run("COMMIT")
        for name, identity in self._places.items():
            if _identity(os.stat(name)) != identity:
                raise FileNotFoundError(f"{name} was replaced")

    def _upsert(self, statements: Mapping[int, str], rows: Sequence[Row]) -> None:
        at = 0
        for size, statement in statements.items():
            while len(rows) - at >= size:
                self._connection.execute(statement, list(chain.from_iterable(rows[at : at + size])))
                at += size

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits, and close() will look
            self._loop.call_soon_threadsafe(self._settle)

    # --- and its news, in the thread of the event loop ------------------------------------------------------------

    def _settle(self) -> None:
        """Tell those who wait how far the writer has come."""
        error, written = self._error, self._written  # in this order: what was written before the error is known with it
        advanced = written > self.durable
        self.durable = written
        news = self.failed is None
        self.failed = error
        while self._waiters and (self._waiters[0][0] <= self.durable or self.failed is not None):
            told = heappop(self._waiters)[2]
            if not told.done():  # cancelled, or its loop is gone
                told.set_result(None)
        try:
            if advanced and self._on_durable is not None:
                self._on_durable(self.durable)
        finally:
            if news and error is not None and self._on_failed is not None:
                self._on_failed(error)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _said(error: Exception) -> str:
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)

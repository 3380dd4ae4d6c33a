"""The journal of the service: what is in the file, when it is acknowledged, and what is refused."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from journal_support import State, found, kill_rounds, rows_of

from fastdag.errors import FastDAGError, JournalError
from fastdag.service import journal as module
from fastdag.service.journal import DependencyRow, Journal, UnitRow


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def write(path, *puts):
    """Put, each after the one before was acknowledged, and close."""

    async def run():
        with closing(Journal(path)) as journal:
            journal.start(asyncio.get_running_loop())
            for rows in puts:
                journal.put(rows)
                await journal.committed(journal.position)

    asyncio.run(run())


def load(path):
    with closing(Journal(path)) as journal:
        return journal.load()


def contents(folder):
    """Everything that is in a folder."""
    return {
        found: (found.stat().st_mode, found.stat().st_mtime_ns, found.is_file() and found.read_bytes())
        for found in Path(folder).rglob("*")
    }


@contextmanager
def refused(path, match):
    """Check that the journal is refused, and that nothing in its folder has changed."""
    before = contents(path.parent)
    with pytest.raises(JournalError, match=match) as caught:
        Journal(path)
    assert str(path) in str(caught.value)
    assert contents(path.parent) == before
    yield caught.value
    assert contents(path.parent) == before


def refuse(path, match):
    with refused(path, match):
        pass


def crashed(path, *puts):
    """Leave the files that a service leaves behind which is killed after these puts."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        lived = Path(folder) / "lived"

        async def run():
            with closing(Journal(lived)) as journal:
                journal.start(asyncio.get_running_loop())
                for rows in puts:
                    journal.put(rows)
                    await journal.committed(journal.position)
                for suffix in ("", "-wal"):
                    shutil.copyfile(f"{lived}{suffix}", f"{path}{suffix}")

        asyncio.run(run())


# --- what is in the file --------------------------------------------------------------------------------------------


def test_a_new_journal_is_empty(path):
    assert load(path) == ([], [])
    assert load(path) == ([], [])


def test_everything_comes_back_in_the_order_in_which_it_came(path):
    units = [UnitRow(f"unit {number}", "pending", number / 3) for number in random.Random(1).sample(range(500), 500)]
    units += [
        UnitRow("größe/☃/日本 — 'quoted\" %s", "timed_out", 1.5e9, "Grund:\n\0 🙂", 2**31 - 1, 2**63 - 1, "a-boot-id"),
        UnitRow("no reason", "x", 0.0, ""),
        UnitRow("ß" * 256, "completed", -1.0, "r" * 4096, 0, 0, ""),
    ]
    dependencies = [DependencyRow(b.unit, a.unit, f'{{"satisfied": ["{a.unit}"]}}') for a, b in pairwise(units)]
    dependencies += [DependencyRow("no such unit", "nor this", '"success"')]
    write(path, [*units[:200], *dependencies], units[200:])
    assert load(path) == (units, dependencies)
    assert [type(row) for rows in load(path) for row in rows[:1]] == [UnitRow, DependencyRow]


def test_a_change_keeps_its_place(path):
    a, b, c = (UnitRow(name, "pending", 1.0, "why", 1, 2, "boot") for name in "abc")
    first, second = DependencyRow("a", "b", '"success"'), DependencyRow("a", "c", '"success"')
    changed, other = UnitRow("a", "started", 2.0), DependencyRow("a", "b", '"completion"')
    write(path, [a, first, b], [changed, c, second], [other])
    assert load(path) == ([changed, b, c], [other, second])


def test_the_last_of_several_changes_in_one_put_stands(path):
    rows = [UnitRow("a", str(number), float(number)) for number in range(200)]
    rows += [DependencyRow("a", "b", str(number)) for number in range(200)]
    write(path, rows)
    assert load(path) == ([rows[199]], [rows[399]])


def test_the_file_does_not_grow_with_the_number_of_changes(path):
    write(path, [UnitRow(f"u{number}", "pending", 0.0) for number in range(100)])
    size = path.stat().st_size
    for _ in range(3):
        write(path, *([UnitRow(f"u{number}", "started", 1.0) for number in range(100)] for _ in range(50)))
    assert path.stat().st_size <= size * 1.2


def test_the_header_names_the_format_before_there_is_a_log(path):
    old = os.umask(0)
    try:
        with closing(Journal(path)):
            header = path.read_bytes()[:100]
            assert (header[60:64], header[68:72]) == (b"\0\0\0\1", b"fdJl")
            assert header[18:20] == b"\2\2"  # a write-ahead log
            assert sorted(found.name for found in path.parent.iterdir()) == ["journal", "journal-wal"]
            assert {stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()} == {0o600}
    finally:
        os.umask(old)
    assert [found.name for found in path.parent.iterdir()] == ["journal"]


def test_every_commit_waits_for_the_disk(path):
    with closing(Journal(path)) as journal:
        assert journal._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_any_name_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (":memory:", "file:x?mode=memory", "x y", os.fsdecode(b"\xff")):
        write(name, [UnitRow("a", name.encode(errors="replace").decode(), 1.0)])
        assert load(tmp_path / name)[0][0].unit == "a"
    assert len(list(tmp_path.iterdir())) == 4


# --- groups and acknowledgements ------------------------------------------------------------------------------------


def test_changes_that_come_together_are_written_together(path):
    commits = []

    async def client(journal, name):
        for number in range(20):
            journal.put([UnitRow(name, str(number), 0.0)])
            position = journal.position
            await journal.committed(position)
            assert journal.durable >= position

    def durable(position):
        assert threading.current_thread() is threading.main_thread()
        assert position == journal.durable
        commits.append(position)

    async def run():
        journal.start(asyncio.get_running_loop(), durable)
        assert (journal.position, journal.durable) == (0, 0)
        await asyncio.gather(*(client(journal, f"u{number}") for number in range(32)))
        assert journal.position == journal.durable == 640

    with closing(Journal(path)) as journal:
        asyncio.run(run())
    assert commits == sorted(set(commits))
    assert commits[-1] == 640
    assert len(commits) < 320
    assert load(path)[0] == [UnitRow(f"u{number}", "19", 0.0) for number in range(32)]


def test_what_is_durable_is_answered_at_once(path):
    async def run():
        with closing(Journal(path)) as journal:
            journal.start(asyncio.get_running_loop())
            journal.put([UnitRow("a", "pending", 0.0)])
            await journal.committed(1)
            for position in (0, 1):
                with pytest.raises(StopIteration):  # it ends without having waited for anything
                    journal.committed(position).send(None)

    asyncio.run(run())


def test_a_put_of_nothing_is_acknowledged_in_its_turn(path):
    told = []

    async def run():
        with closing(Journal(path)) as journal:
            journal.start(asyncio.get_running_loop(), told.append)
            journal.put([])
            await asyncio.wait_for(journal.committed(1), 60)
            journal.put([UnitRow("a", "pending", 0.0)])
            journal.put([])
            await asyncio.wait_for(journal.committed(3), 60)

    asyncio.run(run())
    assert told[0] == 1
    assert told[-1] == 3


def test_waiters_are_told_in_order_and_one_that_is_cancelled_stops_nobody(path):
    told = []

    async def wait(journal, position):
        await journal.committed(position)
        told.append(position)

    async def run():
        with closing(Journal(path)) as journal:
            journal.start(asyncio.get_running_loop())
            tasks = [asyncio.create_task(wait(journal, position)) for position in (3, 1, 2, 3, 1)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            tasks[3].cancel()
            await asyncio.sleep(0)
            for name in "abc":
                journal.put([UnitRow(name, "pending", 0.0)])
            async with asyncio.timeout(60):
                results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [type(None), asyncio.CancelledError] * 2 + [type(None)]
            journal.put([])
            await journal.committed(4)

    asyncio.run(run())
    assert told == [1, 2, 3]


def test_close_writes_what_was_put_and_tells_who_waits(path):
    told = []

    async def run():
        journal = Journal(path)
        journal.start(asyncio.get_running_loop(), told.append)
        waiting = asyncio.create_task(journal.committed(1000))
        await asyncio.sleep(0)
        for number in range(1000):
            journal.put([UnitRow(f"u{number}", "pending", 0.0)])
        journal.close()
        assert journal.durable == told[-1] == 1000
        journal.close()
        await asyncio.wait_for(waiting, 10)
        await journal.committed(1000)
        with pytest.raises(JournalError, match="is closed"):
            await asyncio.wait_for(journal.committed(1001), 60)
        with pytest.raises(JournalError, match="is closed"):
            journal.put([])
        assert told.count(1000) == 1

    asyncio.run(run())
    assert not [thread for thread in threading.enumerate() if thread.name == "fastdag-journal"]
    assert [found.name for found in path.parent.iterdir()] == ["journal"]
    assert len(load(path)[0]) == 1000
    with closing(sqlite3.connect(path)) as connection:  # anything can read it
        assert connection.execute("SELECT count(*) FROM units").fetchone() == (1000,)


def test_close_after_the_loop_has_ended(path):
    journal = Journal(path)

    async def run():
        journal.start(asyncio.get_running_loop())
        journal.put([UnitRow("a", "pending", 0.0)])

    asyncio.run(run())
    journal.put([UnitRow("b", "pending", 0.0)])
    journal.close()
    assert (journal.durable, journal.failed) == (2, None)
    assert [row.unit for row in load(path)[0]] == ["a", "b"]


def test_a_callback_that_raises_at_the_end_leaves_nothing_open(path):
    def raises(position):
        raise ZeroDivisionError

    async def run():
        journal.start(asyncio.get_running_loop(), raises)
        journal.put([UnitRow("a", "pending", 0.0)])
        with pytest.raises(ZeroDivisionError):
            journal.close()

    journal = Journal(path)
    asyncio.run(run())
    assert len(load(path)[0]) == 1


def test_puts_are_taken_from_the_start_on(path):
    with closing(Journal(path)) as journal, pytest.raises(JournalError, match=r"between start\(\) and close\(\)"):
        journal.put([])


# --- crashes --------------------------------------------------------------------------------------------------------


def test_kills_at_any_moment_lose_nothing_that_was_acknowledged(tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}; more: python -m tests.journal_support --rounds N --seed {seed}")
    assert kill_rounds(30, seed, tmp_path) > 30


def test_a_log_that_is_cut_off_or_damaged_gives_a_prefix(tmp_path):
    puts = 30
    sound = tmp_path / "sound"
    crashed(sound, *(rows_of(5, number) for number in range(1, puts + 1)))
    log = Path(f"{sound}-wal").read_bytes()
    draw = random.Random(6)
    cuts = sorted({0, 1, 31, 32, 33, len(log) - 1, len(log), *draw.sample(range(len(log)), 40)})
    logs = [(log[:cut], cut) for cut in cuts]
    for at in draw.sample(range(32, len(log)), 20):
        logs.append((log[:at] + bytes([log[at] ^ 0x10]) + log[at + 1 :], at))
    numbers = {}
    for number, (damaged, at) in enumerate(logs):
        path = tmp_path / f"journal{number}"
        shutil.copyfile(sound, path)
        Path(f"{path}-wal").write_bytes(damaged)
        rows, numbers[number] = found(path)
        assert rows == State(5).advance(numbers[number]), f"cut or changed at {at}"
        assert not Path(f"{path}-wal").exists()
    cut = [numbers[number] for number in range(len(cuts))]
    assert cut == sorted(cut)
    assert (cut[0], cut[-2], cut[-1]) == (0, puts - 1, puts)
    assert len(set(cut)) > puts / 2


def test_what_a_crash_left_is_on_the_disk_before_it_is_given_out(path):
    # A process that was killed between writing and waiting for the disk has left a log that the next one can read, and
    # a loss of power can still undo.
    crashed(path, *(rows_of(7, number) for number in range(1, 20)))
    with closing(Journal(path)):
        assert Path(f"{path}-wal").stat().st_size == 0
        alone = shutil.copyfile(path, path.with_name("alone"))
    assert found(alone) == (State(7).advance(19), 19)


CREATE = """
import resource, signal, sys
from fastdag.service.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
Journal(sys.argv[1])
"""


@pytest.mark.parametrize("size", [512, 1024, 3500, 5120])
@pytest.mark.parametrize("power", [True, False])
def test_a_crash_in_the_middle_of_creation_is_taken_back(path, size, power):
    done = subprocess.run([sys.executable, "-c", CREATE, path, str(size)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGXFSZ, done.stderr  # by the system, in the very write that goes beyond
    assert path.stat().st_size == size
    rollback = Path(f"{path}-journal")
    assert rollback.read_bytes().startswith(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")  # was on the disk before
    if not power:
        path.write_bytes(bytes(size))  # as file systems leave what was not on the disk yet
    write(path, [UnitRow("a", "pending", 0.0)])
    assert load(path) == ([UnitRow("a", "pending", 0.0)], [])
    assert [found.name for found in path.parent.iterdir()] == ["journal"]


def test_a_crash_before_the_log_was_switched_on(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in module._SCHEMA:
            connection.execute(statement)
    write(path, [UnitRow("a", "pending", 0.0)])
    assert path.read_bytes()[18:20] == b"\2\2"


def test_an_empty_file_is_taken_as_new_and_keeps_its_mode(path):
    path.touch(0o640)
    write(path, [UnitRow("a", "pending", 0.0)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert len(load(path)[0]) == 1


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 99, 5000])
def test_something_else_is_refused(path, size):
    path.write_bytes(b"#!/bin/sh\n" * (size // 10) + b"\n" * (size % 10))
    refuse(path, "is no journal of fastdag; name another file")


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_file_of_another_program_is_refused(path, mode):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE units (unit)")
        if mode == "wal":
            other = path.with_name("other")
            for suffix in ("", "-wal"):
                shutil.copyfile(f"{path}{suffix}", f"{other}{suffix}")
            refuse(other, "no journal of fastdag")
    refuse(path, "no journal of fastdag")


def test_a_file_of_another_program_beside_a_rollback_journal_is_refused(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE units (unit)")
    Path(f"{path}-journal").write_bytes(b"something")
    refuse(path, "no journal of fastdag")


@pytest.mark.parametrize("version", [0, 2, -1])
def test_another_format_is_refused(path, version):
    write(path, [UnitRow("a", "pending", 0.0)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    refuse(path, f"has format {version % 2**32}, and .* only format 1; use the version that wrote it")


def test_a_newer_format_is_refused_that_stands_in_the_log_alone(path):
    made = path.with_name("made")
    write(made, [UnitRow("a", "pending", 0.0)])
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 2")
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{made}{suffix}", f"{path}{suffix}")
    refuse(path, "has format 2")


@pytest.mark.parametrize("log", [False, True])
def test_a_damaged_file_is_refused(path, log):
    rows = [UnitRow(f"u{number}", "pending", 0.0, "reason " * 20) for number in range(100)]
    write(path, rows)
    sound = path.read_bytes()
    if log:
        crashed(path, [UnitRow("a", "pending", 0.0)])  # of which the pages in the log are not those that are damaged
    for page in range(1, 10):
        path.write_bytes(sound[: page * 1024] + b"\xaa" * 1024 + sound[(page + 1) * 1024 :])
        refuse(path, "is damaged: .*; put a sound copy in its place, or move it away")


def test_a_file_without_our_tables_is_refused(path):
    with closing(sqlite3.connect(path)) as connection:
        for statement in module._SCHEMA[:2]:
            connection.execute(statement)
    refuse(path, "is damaged: no such table")


def test_a_file_that_is_cut_off_is_refused(path):
    write(path, [UnitRow(f"u{number}", "pending", 0.0) for number in range(100)])
    sound = path.read_bytes()
    for cut in {*range(1024, len(sound), 1024), *random.Random(2).sample(range(1, len(sound)), 20)}:
        path.write_bytes(sound[:cut])
        refuse(path, "is damaged|is no journal")


@pytest.mark.parametrize("gone", [False, True])
def test_a_log_without_its_file_is_refused(path, gone):
    crashed(path, [UnitRow("a", "pending", 0.0)])
    path.unlink()
    if not gone:
        path.touch()
    refuse(path, "is empty or gone, and its -wal is not")


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        refuse(tmp_path / name, "is no regular file; name another")
    refuse(tmp_path / "missing" / "journal", "cannot be opened: No such file or directory")


def test_a_file_that_may_not_be_written_is_refused():
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, into which another user may not look
        path = Path(folder) / "journal"
        write(path, [UnitRow("a", "pending", 0.0)])
        root = os.geteuid() == 0
        Path(folder).chmod(0o755)
        path.chmod(0o400)
        if root:
            os.chown(path, 65534, 65534)
            os.seteuid(65534)
        try:
            before = path.read_bytes()
            with pytest.raises(JournalError, match="cannot be opened: Permission denied"):
                Journal(path)
            if root:
                with pytest.raises(JournalError, match="cannot be opened: Permission denied"):
                    Journal(path.with_name("other"))
                path.chmod(0o600)
                with pytest.raises(JournalError, match=r"cannot be opened: .*SQLITE_READONLY_DIRECTORY"):
                    Journal(path)
        finally:
            if root:
                os.seteuid(0)
        assert path.read_bytes() == before
        assert os.listdir(folder) == ["journal"]


def test_the_error():
    error = JournalError("/x/y", "is damaged")
    assert isinstance(error, FastDAGError)
    assert isinstance(error, OSError)
    assert (str(error), error.path, error.problem) == ("journal '/x/y' is damaged", "/x/y", "is damaged")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.path, again.problem) == (JournalError, str(error), "/x/y", "is damaged")


# --- one at a time --------------------------------------------------------------------------------------------------

HOLD = """
import sys
from fastdag.errors import JournalError
from fastdag.service.journal import Journal
sys.stdin.readline()
try:
    journal = Journal(sys.argv[1])
except JournalError as error:
    print(error, flush=True)
else:
    print("open", flush=True)
    sys.stdin.readline()
"""


def another(path):
    """Start a process that opens the journal once it is told to."""
    command = [sys.executable, "-c", HOLD, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go(child):
    child.stdin.write("\n")
    child.stdin.flush()


def said(child):
    """Let it open the journal; what it says."""
    go(child)
    return child.stdout.readline()


def test_a_second_service_is_refused_while_the_first_lives(path):
    write(path, [UnitRow("a", "pending", 0.0)])
    with another(path) as child:
        try:
            assert said(child) == "open\n"
            refuse(path, "is in use by another service or program; stop that")
            refuse(path, "is in use")  # and the first try has not taken the lock away
        finally:
            child.send_signal(signal.SIGKILL)
    assert [row.unit for row in load(path)[0]] == ["a"]


def test_a_second_journal_in_one_process_is_refused_and_the_first_keeps_its_lock(path):
    link = path.with_name("link")
    link.symlink_to("journal")
    with closing(Journal(path)):
        for name in (path, link):
            with pytest.raises(JournalError, match="is in use"):  # not `refuse`: to read the file here drops the lock
                Journal(name)
        with another(path) as child:
            assert "is in use" in said(child)
            go(child)
        code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM units')"
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
        assert "database is locked" in done.stderr
    assert load(link) == ([], [])


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_journal_that_another_program_reads_is_refused(path, mode):
    write(path, [UnitRow("a", "pending", 0.0)])
    code = f"""if True:
        import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA journal_mode = {mode}")
        connection.execute("BEGIN")
        print(connection.execute("SELECT unit FROM units").fetchone(), flush=True)
        sys.stdin.readline()
    """
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "('a',)\n"
        refuse(path, "is in use")
        go(child)
    assert len(load(path)[0]) == 1


def test_of_several_that_start_at_the_same_moment_one_wins(tmp_path):
    for number in range(3):
        children = [another(tmp_path / f"journal{number}") for _ in range(4)]
        for child in children:
            go(child)
        answers = sorted(child.stdout.readline() for child in children)
        for child in children:
            child.communicate("\n")
        assert answers[-1] == "open\n", answers
        assert all("is in use" in answer for answer in answers[:-1]), answers


# --- what cannot be written -----------------------------------------------------------------------------------------


@contextmanager
def full_disk(size):
    """Let no file of this process grow beyond that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores SIGXFSZ: the write fails
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_everything(path):
    failures, acknowledged, durable = [], [], []

    async def client(journal, name):
        for number in range(10_000):
            journal.put([UnitRow(name, str(number), 0.0, "x" * 1000)])
            await journal.committed(journal.position)
            acknowledged.append((name, number))

    async def run():
        with closing(Journal(path)) as journal:
            journal.start(asyncio.get_running_loop(), durable.append, failures.append)
            clients = (client(journal, f"u{number}") for number in range(8))
            with full_disk(200_000):
                ends = await asyncio.gather(*clients, return_exceptions=True)
            assert journal.failed is not None
            for error in [*ends, journal.failed]:
                assert isinstance(error, JournalError), error
                assert "could not be written: disk I/O error (SQLITE_IOERR_WRITE); make room or repair" in str(error)
            assert failures == [journal.failed]
            assert journal.durable == durable[-1] < journal.position
            # There is room again, and still nothing is acknowledged: what is on the disk is not what was put.
            journal.put([UnitRow("later", "pending", 0.0)])
            with pytest.raises(JournalError, match="could not be written"):
                await asyncio.wait_for(journal.committed(journal.position), 10)
            await journal.committed(journal.durable)

    asyncio.run(run())
    assert acknowledged
    statuses = {row.unit: int(row.status) for row in load(path)[0]}
    assert "later" not in statuses
    for name, number in acknowledged:
        assert statuses[name] >= number


def test_a_disk_that_is_full_from_the_start(path):
    with full_disk(2000), pytest.raises(JournalError, match=r"cannot be opened: disk I/O error \(SQLITE_IOERR_WRITE\)"):
        Journal(path)
    assert load(path) == ([], [])


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("again", [False, True])
def test_a_file_that_was_taken_away_is_not_written_to_as_if_it_were_there(path, suffix, again):
    def take_away(name):
        name.rename(f"{path}.away")
        if again:
            name.touch()

    async def run():
        with closing(Journal(path)) as journal:
            journal.start(asyncio.get_running_loop())
            journal.put([UnitRow("a", "pending", 0.0)])
            await journal.committed(1)
            take_away(Path(f"{path}{suffix}"))
            journal.put([UnitRow("b", "pending", 0.0)])
            with pytest.raises(JournalError, match="was replaced" if again else "No such file"):
                await asyncio.wait_for(journal.committed(2), 10)

    asyncio.run(run())


def test_a_row_that_cannot_be_written_stops_everything(path):
    async def run():
        with closing(Journal(path)) as journal:
            journal.start(asyncio.get_running_loop())
            journal.put([UnitRow("a", "pending", 0.0)])
            await journal.committed(1)
            journal.put([UnitRow("b", "pending", 0.0), UnitRow("\ud800", "pending", 0.0)])
            with pytest.raises(JournalError, match=r"could not be written: .*surrogates"):
                await asyncio.wait_for(journal.committed(2), 10)

    asyncio.run(run())
    assert [row.unit for row in load(path)[0]] == ["a"]

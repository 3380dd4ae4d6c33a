"""A service that was killed, or whose disk is full, and what the next one finds in the journal."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import time
from contextlib import closing

import pytest

pytest.importorskip("msgspec", reason="needs fastdag[service]")

from service_kills import kills
from service_support import running_service, serve

from fastdag import Manager
from fastdag.client import Client
from fastdag.service.journal import Journal
from fastdag.service.messages import End, Start, Want
from fastdag.service.state import Service


def told(service):
    """Everything, but for how long it has been so."""
    snapshot = service.get("/v1/snapshot")["units"]
    return [{**view, "seconds": None} for view in snapshot], sorted(service.get("/v1/graph?format=dot").splitlines())


def test_everything_comes_back(tmp_path):
    journal = ("--journal", tmp_path / "journal")
    with running_service(tmp_path, *journal) as service:
        service.post("/v1/register", units=["web", "ärger/日本 \"'", "db"])
        service.post("/v1/want", unit="app", depends_on=["db", "web"])
        service.post("/v1/want", unit="app", depends_on=["log"], requires="rotated")
        service.post("/v1/want", unit="app", depends_on=["disk"], requires="completion")
        service.post("/v1/want", unit="app", depends_on=["net"], requires={"satisfied": ["up", "success"]})
        service.post(
            "/v1/want", unit="report", depends_on=["app"], requires={"satisfied": ["up"], "impossible": ["gone"]}
        )
        service.post("/v1/want", unit="app", depends_on=["web"], requires="started", replace=True)
        service.post("/v1/want", unit="mail", depends_on=["app"])
        service.post("/v1/start", unit="web")
        service.post("/v1/complete", unit="web", reason="in time")
        service.post("/v1/status", unit="ärger/日本 \"'", status="warming up")
        service.post("/v1/fail", unit="db", reason="disk full")
        service.post("/v1/status", unit="app", status="pending", reason="try again")  # while it is blocked
        before, instance = told(service), service.get("/v1/ping")["instance"]
        statuses = {view["unit"]: view["status"] for view in before[0]}
        assert (statuses["app"], statuses["mail"], statuses["report"]) == ("pending", "skipped", "pending")
        service.stop(signal.SIGKILL)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGTERM):  # and once more, as nothing may wear off
        with running_service(tmp_path, *journal) as service:
            assert told(service) == before
            assert service.get("/v1/ping")["instance"] != instance
            service.stop(number)


def test_since_when_goes_on_while_the_service_is_down(tmp_path):
    journal = ("--journal", tmp_path / "journal")
    with running_service(tmp_path, *journal) as service:
        service.post("/v1/register", units=["db"])
        registered = time.time()
        first = service.get("/v1/status?unit=db")["seconds"]
        assert 0 <= first < 60
        service.stop(signal.SIGKILL)
    with running_service(tmp_path, *journal) as service:
        asked = time.time()
        seconds = service.get("/v1/status?unit=db")["seconds"]
        assert asked - registered <= seconds <= time.time() - registered + first


def test_without_a_journal_everything_is_gone(tmp_path):
    with running_service(tmp_path) as service:
        service.post("/v1/register", units=["db"])
        service.stop(signal.SIGKILL)
    with running_service(tmp_path) as service:
        assert service.get("/v1/list") == {"units": []}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE dependencies SET requires = '{'", "Input data was truncated"),
        ("UPDATE dependencies SET depends_on = unit", "cycle"),
        ("DELETE FROM units", "'a' is not registered"),
        ("UPDATE units SET unit = ''", "must be a non-empty string"),
    ],
)
def test_rows_that_mean_nothing_are_a_damaged_journal(tmp_path, change, problem):
    journal = tmp_path / "journal"
    with running_service(tmp_path, "--journal", journal) as service:
        service.post("/v1/want", unit="a", depends_on=["b"])
        service.stop()
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute(change)
        connection.commit()
    before = journal.read_bytes()
    done = serve("--background", "--socket", tmp_path / "socket", "--journal", journal, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: journal '{journal}' is damaged: ")
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    assert journal.read_bytes() == before


def test_all_effects_of_a_call_go_into_the_journal_at_once(tmp_path):
    async def test():
        journal = Journal(tmp_path / "journal")
        puts = []
        journal.put = puts.append
        service = Service(Manager(auto_skip=True), journal)
        service.want(Want("c", ["b"]))
        service.want(Want("b", ["a"]))
        await service.start(Start("a", 0.0), asyncio.get_running_loop().create_future)
        service.fail(End("a", "disk full"))
        await asyncio.sleep(0)
        [put] = puts  # of one turn of the loop
        assert [row[:2] for row in put] == [
            *[("c", "pending"), ("c", "b"), ("b", "pending"), ("b", "a"), ("a", "pending"), ("a", "started")],
            *[("a", "failed"), ("b", "skipped"), ("c", "skipped")],
        ]
        journal.close()

    asyncio.run(test())


def test_kill_9_under_load(tmp_path):
    tally = kills(tmp_path, 15, 1)
    assert tally.rounds == 15
    assert tally.answered > 15 * 4
    assert tally.carried_out + tally.not_carried_out == 15 * 4


def test_a_full_disk_ends_the_service_and_takes_nothing_back(tmp_path):
    journal = tmp_path / "journal"
    with running_service(tmp_path, "--journal", journal) as service:
        service.post("/v1/want", unit="app", depends_on=["db"])
        # No file of its may grow beyond where the log is now: writes then fail as they do on a disk that is full.
        size = max(os.stat(journal).st_size, os.stat(f"{journal}-wal").st_size) + (64 << 10)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (size, size))
        acknowledged, refused = [], None
        while refused is None:
            unit = f"unit {len(acknowledged)}"
            reply = service.call("POST", "/v1/register", {"units": [unit]})
            if reply.code == 200:
                acknowledged.append(unit)
            else:
                refused = reply
        assert refused.code == 503
        assert refused.body["error"] == "JournalError"
        assert service.ended() == 1
        assert f"error: the service stops: journal '{journal}' could not be written: " in service.log
        assert "Traceback" not in service.log
        assert acknowledged
    with running_service(tmp_path, "--journal", journal) as service:
        units = [view["unit"] for view in service.get("/v1/list")["units"]]
        assert units[: 1 + len(acknowledged)] == ["app", *acknowledged]
        assert len(units) <= 2 + len(acknowledged)  # the refused one may be there: nobody knows what a disk holds
        with Client(service.socket) as client:
            client.register("one more")

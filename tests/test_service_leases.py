"""Units tied to a process: its end is the unit's, unless somebody said how the unit ended, also over a restart."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from service_support import PATIENCE, running_service

from fastdag import CapacityError, Manager
from fastdag.client.owner import started_at
from fastdag.service.journal import DependencyRow, Journal, UnitRow
from fastdag.service.leases import Lease, OwnerNotFoundError, boot
from fastdag.service.messages import UnitQuery
from fastdag.service.state import Service


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that does nothing until it is killed."""
    child = subprocess.Popen(["sleep", "1000"])
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def owner():
    with process() as child:
        yield child


def start(service, unit, owner, started=None):
    return service.post("/v1/start", unit=unit, timeout=0, owner={"pid": owner, "started": started})


def wait(service, unit, status):
    """On the service; it is given by the event, at once."""
    return service.post("/v1/wait", unit=unit, status=status, timeout=PATIENCE)


def leases(service):
    """How many processes it has in its hands."""
    count = 0
    for descriptor in Path(f"/proc/{service.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # a connection that was just closed
            count += os.readlink(descriptor) == "anon_inode:[pidfd]"
    return count


def test_the_owners_death_is_the_units_and_its_dependents_hear_it(service, owner):
    service.post("/v1/want", unit="api", depends_on=["db"])
    service.post("/v1/want", unit="app", depends_on=["api"])
    view = start(service, "db", owner.pid, started_at(owner.pid))
    assert (view["status"], view["owner"]) == ("started", owner.pid)
    with ThreadPoolExecutor() as pool:
        starting = pool.submit(service.call, "POST", "/v1/start", {"unit": "app"})
        owner.kill()
        reply = starting.result(PATIENCE)
    reason = f"its process {owner.pid} ended without a word"
    assert reply.code == 424
    assert reply.body["causes"] == [{"unit": "db", "status": "failed", "reason": reason}]
    view = service.get("/v1/status?unit=db")
    assert (view["status"], view["reason"], view["owner"]) == ("failed", reason, None)
    why = service.get("/v1/explain?unit=app")
    assert why["stalled"]
    assert why["held_up_by"] == ["db"]
    assert [held["reason"] for held in why["units"]] == [None, None, reason]


def test_an_owner_that_ends_well_without_a_word_has_failed_too(service):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        start(service, "silent", child.pid)
        child.stdin.close()
        assert wait(service, "silent", "failed")["reason"].endswith("ended without a word")


@pytest.mark.parametrize("how", ["ended", "never was", "a thread", "another one"])
def test_an_owner_that_is_not_there_is_refused_and_nothing_changes(service, owner, how):
    began, started, stop = service.get("/v1/snapshot"), None, threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    pid = {"never was": 2**22 + 1, "a thread": thread.native_id}.get(how, owner.pid)
    if how == "ended":
        owner.kill()
        owner.wait()
    elif how == "another one":
        started = started_at(owner.pid) - 1  # the number is in use, but not by the process that was meant
    before = leases(service)
    reply = service.call(
        "POST", "/v1/start", {"unit": f"{how} owns", "owner": {"pid": pid, "started": started}, "timeout": 0}
    )
    stop.set()
    thread.join()
    assert reply.code == 422
    assert reply.body["error"] == "OwnerNotFoundError"
    assert f"there is no process {pid}" in reply.body["message"]
    assert service.get("/v1/snapshot")["event_id"] == began["event_id"]
    assert leases(service) == before


def test_an_owner_that_nobody_has_buried_is_dead(service, owner):
    owner.kill()
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
    start(service, "undead", owner.pid)
    wait(service, "undead", "failed")


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/v1/complete", {}, "completed"),
        ("/v1/cancel", {"reason": "not needed"}, "canceled"),
        ("/v1/status", {"status": "warming up"}, "warming up"),
    ],
)
def test_whoever_says_how_a_unit_goes_on_takes_it_from_its_owner(service, owner, path, fields, status):
    unit, other = f"{status} before", f"{status} other"
    before = leases(service)
    start(service, unit, owner.pid)
    start(service, other, owner.pid)
    assert service.post(path, unit=unit, **fields)["owner"] is None
    assert leases(service) == before + 1
    owner.kill()
    wait(service, other, "failed")  # so the service has heard of the end
    view = service.get("/v1/status?unit=" + unit.replace(" ", "%20"))
    assert (view["status"], view["reason"]) == (status, fields.get("reason"))
    assert leases(service) == before


def test_a_refused_start_lets_go_of_the_owner(service, owner):
    service.post("/v1/want", unit="early", depends_on=["later"])
    before = leases(service)
    for code in (504, 504):
        reply = service.call("POST", "/v1/start", {"unit": "early", "timeout": 0.01, "owner": {"pid": owner.pid}})
        assert reply.code == code
    assert leases(service) == before


def test_many_leases(service):
    before = leases(service)
    owners = [subprocess.Popen(["sleep", "1000"]) for _ in range(20)]
    units = [f"leased {i}" for i in range(400)]
    for i, unit in enumerate(units):
        start(service, unit, owners[i % 20].pid)
    for child in owners:
        child.kill()
        child.wait()
    for i, unit in enumerate(units):
        assert str(owners[i % 20].pid) in wait(service, unit, "failed")["reason"]
    assert leases(service) == before


@pytest.mark.parametrize("left", [0, 1])
def test_no_descriptor_left_is_said(left):
    """One is not enough: the process is looked up in /proc, and nothing is read any more once a unit has started."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    boot.cache_clear()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + left, before[1]))
    try:
        with pytest.raises(CapacityError, match=r"too many files open to watch process 1; .*ulimit -n"):
            Lease(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# --- over restarts --------------------------------------------------------------------------------------------------


def test_a_lease_outlives_the_service(tmp_path, owner):
    with process() as other:
        with running_service(tmp_path, "--journal", tmp_path / "journal") as service:
            service.post("/v1/want", unit="app", depends_on=["db"])
            start(service, "db", owner.pid)
            start(service, "web", other.pid)
            service.stop(9)
        owner.kill()
        owner.wait()
        with running_service(tmp_path, "--journal", tmp_path / "journal") as service:
            view = service.get("/v1/status?unit=db")
            assert view["status"] == "failed"
            assert view["reason"] == f"its process {owner.pid} ended while the service was down"
            assert service.get("/v1/status?unit=app")["status"] == "skipped"
            view = service.get("/v1/status?unit=web")
            assert (view["status"], view["owner"]) == ("started", other.pid)
            other.kill()
            assert wait(service, "web", "failed")["reason"] == f"its process {other.pid} ended without a word"


def test_only_the_very_process_is_taken_up_again(tmp_path, owner):
    started = started_at(owner.pid)

    async def restart():
        journal = Journal(tmp_path / "journal")
        service = Service(Manager(auto_skip=True), journal)
        await service.settled()
        views = {unit: service.status(UnitQuery(unit)) for unit in ("same", "number", "boot", "app")}
        owned = [row for row in journal.load()[0] if row.owner is not None]
        journal.close()
        return views, owned

    async def write():
        journal = Journal(tmp_path / "journal")
        journal.start(asyncio.get_running_loop())
        journal.put(
            [
                UnitRow("same", "started", 1.0, None, owner.pid, started, boot()),
                UnitRow("number", "started", 1.0, None, owner.pid, started - 1, boot()),
                UnitRow("boot", "started", 1.0, None, owner.pid, started, "another boot of the machine"),
                UnitRow("app", "pending", 1.0),
                DependencyRow("app", "number", '"success"'),
            ]
        )
        await journal.committed(1)
        journal.close()

    asyncio.run(write())
    views, owned = asyncio.run(restart())
    assert {unit: (view.status, view.owner) for unit, view in views.items()} == {
        "same": ("started", owner.pid),
        "number": ("failed", None),
        "boot": ("failed", None),
        "app": ("skipped", None),
    }
    assert [row.unit for row in owned] == ["same"]


def test_the_two_readers_of_start_times_agree(owner):
    lease = Lease(owner.pid)
    assert lease.started == started_at(owner.pid)
    with pytest.raises(OwnerNotFoundError):
        Lease(owner.pid, lease.started + 1)

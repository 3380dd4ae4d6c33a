"""Scripts in `sh` that wait for each other, as when a workspace starts; and what becomes of them when one fails."""

from __future__ import annotations

import signal
from itertools import cycle

import pytest
from service_scripts import AFTER, DIALECTS, ORDERS, begin, check, end, script, start_up
from service_support import PATIENCE, running_service

SOME = ORDERS[::-8] + ORDERS[:1]  # each script is the first one once; all 24: `make soak`


@pytest.fixture
def service(tmp_path):
    with running_service(tmp_path) as running:
        yield running


def statuses(service):
    return {view["unit"]: (view["status"], view["reason"]) for view in service.get("/v1/list")["units"]}


@pytest.mark.parametrize("order", SOME, ids="-".join)
def test_each_script_runs_behind_what_it_needs(service, tmp_path, order):
    dialects = dict(zip(order, cycle(DIALECTS), strict=False))
    check(tmp_path / "work", start_up(order, dialects, tmp_path / "work", service.socket))
    assert {status for status, _ in statuses(service).values()} == {"completed"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_clone_that_fails_is_named_by_those_behind_it(service, tmp_path, dialect):
    ended = start_up(
        tuple(AFTER)[::-1], dict.fromkeys(AFTER, dialect), tmp_path / "work", service.socket, clone="exit 7"
    )
    assert {unit: code for unit, (code, _) in ended.items()} == {"clone": 7, "install": 3, "serve": 3, "dotfiles": 0}
    for unit in ("install", "serve"):
        assert "clone" in ended[unit][1], ended[unit]
    assert "'install' is skipped" in ended["serve"][1]
    found = statuses(service)
    assert {unit: status for unit, (status, _) in found.items()} == {
        "clone": "failed",
        "install": "skipped",
        "serve": "skipped",
        "dotfiles": "completed",
    }
    if dialect == "exec":
        assert found["clone"][1] == "exit status 7"
    elif dialect == "owner":  # died without a word
        assert found["clone"][1].endswith("ended without a word")
    assert (tmp_path / "work" / "log").read_text().split().count("+install") == 0


def test_kill_9_of_exec_fails_its_unit(service, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    # `exec`: the command is told of the end of `fastdag sync exec`, a child of the command is not, and would go on
    clone = begin("clone", script("clone", "exec", "exec sleep 1000"), folder, service.socket)
    install = begin("install", script("install", "exec"), folder, service.socket)
    service.post("/v1/wait", unit="clone", status="started", timeout=PATIENCE)
    clone.kill()  # the shell has become `fastdag sync exec` by its own exec
    code, said = end(install)
    assert code == 3
    assert "'clone' is failed" in said
    assert "ended without a word" in said
    assert end(clone)[0] == -signal.SIGKILL
    assert statuses(service)["clone"] == ("failed", f"its process {clone.pid} ended without a word")

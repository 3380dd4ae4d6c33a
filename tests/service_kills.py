"""`kill -9` of a service with a journal while several processes call it, again and again, on one journal.

Each client has units of its own in every round and makes the calls that follow from a seed, one after the other, noting
when each was sent and answered. So the oracle knows what the answered ones have left behind, and of the one that was
under way that it was carried out or not: what the next service knows of these units has to be one of the two, and the
same again after every later kill. One unit is changed by all clients; it must have what the latest of them, or one that
overlaps with the latest, has given it.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from service_model import ServiceModel, random_call
from service_support import ServiceProcess, UnixConnection, call, running_service

from fastdag.service.messages import Requires, StatusView, requirement_of

CLIENTS = 4
SHARED = "of all"
_SHARED_STATUSES = [f"phase {i}" for i in range(10)]


class Sent(NamedTuple):
    """One line of a client: a call that was answered, by the clock that all processes share."""

    sent: float
    answered: float
    code: int


class Value(NamedTuple):
    """What the shared unit was given."""

    sent: float
    answered: float  # infinite: nobody knows whether it was
    status: str
    reason: str


def calls(tag: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that the client with this tag is going to ask for."""
    rng = random.Random(tag)
    units = [f"{tag} {letter}" for letter in "abcdef"]
    number = 0
    while True:
        number += 1
        if rng.random() < 0.15:
            yield "/v1/status", {"unit": SHARED, "status": rng.choice(_SHARED_STATUSES), "reason": f"{tag} {number}"}
        else:
            path, fields = random_call(rng, units)
            yield path, msgspec.to_builtins(fields)


def client(socket: str) -> None:
    """For each tag that comes in: call until the service is gone, with a line for each answer and an empty one last."""
    for line in sys.stdin:
        with closing(UnixConnection(Path(socket))) as connection, suppress(OSError, http.client.HTTPException):
            for path, fields in calls(line.strip()):
                sent = time.monotonic()
                reply = call(connection, "POST", path, fields)
                os.write(1, b"%r %r %d\n" % (sent, time.monotonic(), reply.code))
        os.write(1, b"\n")


class Tally(NamedTuple):
    """What a run has seen."""

    rounds: int = 0
    answered: int = 0
    carried_out: int = 0  # of the calls that were under way at the kill
    not_carried_out: int = 0

    def __str__(self) -> str:
        return (
            f"{self.rounds} kills; {self.answered} calls answered before them, all found again; of those under way "
            f"{self.carried_out} were carried out, {self.not_carried_out} not"
        )


class Kills:
    """Rounds on one journal, and what it has to hold."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._rng = random.Random(seed)
        self._known: dict[str, ServiceModel] = {}  # by tag, of all rounds
        self._values = [Value(0.0, 0.0, "pending", "")]
        self._clients: list[subprocess.Popen[str]] = []
        self.tally = Tally()

    def run(self, rounds: int) -> None:
        command = [sys.executable, __file__, str(self._folder / "socket")]
        with ExitStack() as stack:
            for _ in range(CLIENTS):
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                self._clients.append(stack.enter_context(process))
                stack.callback(process.kill)
            logs: dict[str, list[Sent]] = {}
            for number in range(rounds + 1):
                with running_service(self._folder, "--journal", self._folder / "journal") as service:
                    if number == 0:
                        service.post("/v1/register", units=[SHARED])
                    else:
                        self._check(service, logs)
                    if number < rounds:
                        logs = self._load_and_kill(service, number)

    def _load_and_kill(self, service: ServiceProcess, number: int) -> dict[str, list[Sent]]:
        """The answers of each client by its tag."""
        tags = [f"{self._seed}.{number}.{one}" for one in range(CLIENTS)]
        for process, tag in zip(self._clients, tags, strict=True):
            assert process.stdin is not None
            process.stdin.write(f"{tag}\n")
            process.stdin.flush()
        first = [_answer(process) for process in self._clients]  # all of them are at it now
        time.sleep(self._rng.uniform(0.0, 0.3))
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        logs = {}
        for process, tag, answer in zip(self._clients, tags, first, strict=True):
            logs[tag] = [] if answer is None else [answer, *iter(partial(_answer, process), None)]
        return logs

    def _check(self, service: ServiceProcess, logs: dict[str, list[Sent]]) -> None:
        """What the service knows after a kill."""
        snapshot = msgspec.convert(service.get("/v1/snapshot"), type=_Snapshot, strict=False).units
        views: dict[str, list[StatusView]] = {}
        for view in snapshot:
            views.setdefault(view.unit.rpartition(" ")[0], []).append(view)
        [shared] = views.pop(SHARED.rpartition(" ")[0])
        for tag, model in self._known.items():
            require(_told(views.get(tag, [])) == _expected(model), "what was there before the kill is another", tag)
        answered = carried_out = 0
        for tag, log in logs.items():
            before, after = self._replay(tag, log)
            told = _told(views.get(tag, []))
            if told == _expected(before):
                self._known[tag] = before
            else:
                require(told == _expected(after), "neither with nor without the last call", tag, told, after.status)
                self._known[tag] = after
                carried_out += 1
            answered += len(log)
        self._check_shared(shared)
        done = self.tally
        self.tally = Tally(
            done.rounds + 1,
            done.answered + answered,
            done.carried_out + carried_out,
            done.not_carried_out + len(logs) - carried_out,
        )

    def _replay(self, tag: str, log: list[Sent]) -> tuple[ServiceModel, ServiceModel]:
        """What the answered calls leave behind; and that with the one that was under way."""
        model = ServiceModel()
        asked = calls(tag)
        for sent, (path, fields) in zip(log, asked, strict=False):
            if fields.get("unit") == SHARED:
                if sent.code == 200:
                    self._values.append(Value(sent.sent, sent.answered, fields["status"], fields["reason"]))
            else:
                refused = bool(model.call(path, _typed(fields)))
                require(refused is (sent.code != 200), "answered otherwise", tag, sent, path, fields)
        path, fields = next(asked)
        after = model.copy()
        if fields.get("unit") == SHARED:
            began = log[-1].answered if log else 0.0
            self._values.append(Value(began, float("inf"), fields["status"], fields["reason"]))
        else:
            after.call(path, _typed(fields))
        return model, after

    def _check_shared(self, view: StatusView) -> None:
        """A value that another one, sent after it was answered, has not replaced for certain."""
        settled = [value for value in self._values if value.answered < float("inf")]
        latest = max(value.sent for value in settled)
        found = [one for one in self._values if (one.status, one.reason) == (view.status, view.reason or "")]
        require(len(found) == 1, "the shared unit has what nobody gave it", view)
        require(found[0].answered >= latest, "the shared unit has an old value", view)
        # From now on it is settled, and what did not come through never will.
        self._values = [found[0]._replace(answered=max(latest, found[0].sent))]


def _answer(process: subprocess.Popen[str]) -> Sent | None:
    """The next line of a client; `None` at the end of those of this round."""
    assert process.stdout is not None
    line = process.stdout.readline()
    require(line != "", "a client has ended")
    if line == "\n":
        return None
    sent, answered, code = line.split()
    return Sent(float(sent), float(answered), int(code))


class _Snapshot(msgspec.Struct):
    event_id: str
    units: list[StatusView]


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    """The same call with requirements as the oracle knows them."""
    typed = dict(fields)
    if "requires" in typed:
        typed["requires"] = msgspec.convert(typed["requires"], Requires)
    if "dependencies" in typed:
        typed["dependencies"] = [_typed(one) for one in typed["dependencies"]]
    return typed


def _told(views: list[StatusView]) -> list[Any]:
    return [
        (
            view.unit,
            view.status,
            view.state,
            view.reason,
            [(one.depends_on, requirement_of(one.requires), one.status) for one in view.dependencies],
        )
        for view in views
    ]


def _expected(model: ServiceModel) -> list[Any]:
    return [
        (unit, status, model.state(unit), model.reason[unit], list(model.below(unit)))
        for unit, status in model.status.items()
    ]


def require(holds: bool, *what: object) -> None:
    if not holds:
        raise AssertionError(what)


def kills(folder: Path, rounds: int, seed: int) -> Tally:
    """So many kills on one journal; raises AssertionError with the seed in it."""
    run = Kills(folder, seed)
    try:
        run.run(rounds)
    except AssertionError as error:
        raise AssertionError(f"kill {run.tally.rounds + 1} of seed {seed}: {error}") from error
    return run.tally


if __name__ == "__main__":
    client(*sys.argv[1:])

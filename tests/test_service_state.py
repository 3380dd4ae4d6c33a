"""All calls of `Service`, without HTTP, in random order against an oracle; what its answers say; refusals."""

from __future__ import annotations

import asyncio
import random

import pytest

pytest.importorskip("msgspec", reason="needs fastdag[service]")

import msgspec
from service_model import REQUIRES, ServiceModel, random_call

from fastdag import CapacityError, ConflictingRequirementError, CycleError, DependencyFailedError, Manager
from fastdag.errors import WaitTimeoutError
from fastdag.service.calls import CALLS
from fastdag.service.journal import Journal
from fastdag.service.messages import (
    Dependencies,
    End,
    GraphQuery,
    Register,
    Start,
    Statuses,
    UnitQuery,
    Update,
    Wait,
    Want,
    Wish,
    requirement_of,
    requires_of,
)
from fastdag.service.state import Limits, Service

UNITS = "abcdefgh"
BY_PATH = {call.path: call for call in CALLS if call.method == "POST"}


def nobody_goes():
    """The client that stays for its answer."""
    return asyncio.get_running_loop().create_future()


class Pair:
    """A service and its oracle, which get the same calls."""

    def __init__(self, rng, journal=None):
        self.rng = rng
        self.model = ServiceModel()
        self.path = journal
        self.open()

    def open(self):
        self.journal = None if self.path is None else Journal(self.path)
        self.service = Service(Manager(auto_skip=True), self.journal)

    async def again(self):
        """The service ends and starts again, with what its journal has."""
        await self.service.settled()
        self.service.stop()
        self.journal.close()
        self.open()

    async def call(self):
        """One random call; its path, and whether it was refused."""
        path, fields = random_call(self.rng, UNITS)
        expected, call = self.model.call(path, fields), BY_PATH[path]
        request = msgspec.convert(msgspec.to_builtins(fields), call.takes)
        answer = error = None
        try:
            if call.waits:
                answer = await call.do(self.service, request, nobody_goes)
            else:
                answer = call.do(self.service, request)
        except Exception as raised:  # noqa: BLE001 - compared with the oracle's
            error = raised
        assert type(error) in (expected or {type(None)}), (path, fields, answer, error, expected)
        self.look_at_error(error, path, fields)
        for view in getattr(answer, "units", [answer] if hasattr(answer, "unit") else []):
            self.look_at_view(view)
        return path, error is not None

    def look_at_error(self, error, path, fields):
        unit = fields.get("unit")
        if isinstance(error, WaitTimeoutError):
            unmet = self.model.unmet(unit) if unit in self.model.status else []
            assert sorted(view.depends_on for view in error.unmet) == sorted(unmet)
        elif isinstance(error, DependencyFailedError):
            if path == "/v1/start":
                assert sorted(error.failed) == sorted(self.model.impossible(unit))
            causes = {cause: (status, reason) for cause, status, reason in error.causes}
            assert causes == self.model.causes(name for name, _ in error.failed)
        elif isinstance(error, CycleError):
            assert error.path[0] == error.path[-1]

    def look_at_view(self, view):
        model, unit = self.model, view.unit
        assert view.status == model.status.get(unit, ""), unit
        assert view.state == model.state(unit), unit
        assert view.ready is (view.state == "ready")
        assert view.reason == model.reason.get(unit), unit
        assert view.owner is None
        assert (view.seconds is None) is (unit not in model.status)
        if hasattr(view, "dependencies"):
            told = [(d.depends_on, requirement_of(d.requires), d.status) for d in view.dependencies]
            assert told == (list(model.below(unit)) if view.status else []), unit
            assert all(d.satisfied is (d.status in requirement_of(d.requires).satisfied) for d in view.dependencies)
            assert all(d.impossible is (d.status in requirement_of(d.requires).impossible) for d in view.dependencies)

    def agree(self):
        service, model = self.service, self.model
        snapshot = service.snapshot()
        assert [view.unit for view in snapshot.units] == list(model.status)
        for view in snapshot.units:
            self.look_at_view(view)
        assert [view.unit for view in service.units().units] == list(model.status)
        assert service.ready().units == model.ready()
        graph = service.graph(GraphQuery())
        assert [view.unit for view in graph.units][: len(model.status)] == list(model.status)
        assert len(graph.dependencies) == len(model.requires) == service._dependencies
        assert service.waiters == 0
        for unit in UNITS:
            self.look_at_view(service.status(UnitQuery(unit)))
            explained = service.explain(UnitQuery(unit))
            assert set(explained.held_up_by) == model.held_up_by(unit), unit
            assert explained.stalled is model.stalled(unit), unit
            assert {one.depends_on for one in explained.because} == set(model.dead(unit) if explained.stalled else ())
            for held in explained.units:
                assert (held.status, held.reason) == (model.status.get(held.unit, ""), model.reason.get(held.unit))
                assert (held.seconds is None) is (held.unit not in model.status)


async def random_calls(seed, count, journal=None):
    """So many calls on a service and its oracle, now and then on a service that was started again."""
    rng = random.Random(seed)
    pair = Pair(rng, journal)
    done = {}
    for i in range(count):
        before, last = pair.service.snapshot().units, pair.service.history.last
        if journal is not None and rng.random() < 0.1:
            await pair.again()
            name = "again"
        else:
            name, refused = await pair.call()
            if refused and name != "/v1/start":  # which has registered what was unknown
                assert unseconded(pair.service.snapshot().units) == unseconded(before)
                assert pair.service.history.last == last
        try:
            pair.agree()
        except AssertionError as error:
            raise AssertionError(f"call {i} ({name}) of seed {seed}: {error}") from error
        done[name] = done.get(name, 0) + 1
    await pair.service.settled()
    if pair.journal is not None:
        pair.journal.close()
    return done


def unseconded(views):
    return [msgspec.structs.replace(view, seconds=None) for view in views]


@pytest.mark.parametrize("seed", range(40))
def test_random_calls(seed, monkeypatch):
    monkeypatch.setattr("fastdag.service.state._FEW", 1 + seed % 2)  # both ways to add what is wanted
    asyncio.run(random_calls(seed, 80))


@pytest.mark.parametrize("seed", range(10))
def test_random_calls_and_restarts(seed, tmp_path):
    done = asyncio.run(random_calls(seed, 80, tmp_path / "journal"))
    assert done["again"] > 0


def with_service(test, **options):
    """Run a coroutine with a new service."""

    async def run():
        await test(Service(Manager(auto_skip=True), **options))

    asyncio.run(run())


async def started(service, unit):
    return await service.start(Start(unit, 0.0), nobody_goes)


def test_why_goes_down_to_the_last_with_reasons_and_times():
    async def test(service):
        service.want(Want("app", ["api", "web"]))
        service.want(Want("api", ["db"]))
        await started(service, "db")
        await started(service, "web")
        await asyncio.sleep(0.05)
        service.update(Update("web", "warming up", "fills its cache"))
        why = service.explain(UnitQuery("app"))
        held = {one.unit: one for one in why.units}
        assert why.units[0].unit == "app"
        assert set(held) == {"app", "api", "db", "web"}
        assert set(why.held_up_by) == {"db", "web"}
        assert held["db"].status == "started"
        assert 0.05 <= held["db"].seconds < 30
        assert held["web"].seconds < held["db"].seconds
        assert held["web"].reason == "fills its cache"
        assert [one.depends_on for one in held["api"].unmet] == ["db"]
        assert "needs success of 'db': started for" in why.text
        assert not why.stalled

    with_service(test)


@pytest.mark.parametrize(
    ("do", "stalled", "because"),
    [
        (lambda service: service.register(Register(["db"])), False, []),
        (lambda service: None, True, ["db"]),  # nobody has registered it
        (lambda service: service.want(Want("db", ["disk"])), True, ["db"]),
        (lambda service: service.update(Update("app", "started")), False, []),  # it runs, and waits for nothing
        (lambda service: service.update(Update("app", "completed")), False, []),
        (lambda service: (service.register(Register(["db"])), service.fail(End("db"))), True, ["db"]),
    ],
)
def test_a_stall_is_said_outright(do, stalled, because):
    async def test(service):
        service.want(Want("app", ["db"]))
        do(service)
        why = service.explain(UnitQuery("app"))
        assert why.stalled is stalled
        assert [one.depends_on for one in why.because] == because

    with_service(test)


def test_causes_are_what_failed_first_and_why():
    async def test(service):
        service.want(Want("app", ["api", "seed"]))
        service.want(Want("api", ["db", "cache"]))
        service.want(Want("api", ["log"], requires="rotated"))
        service.want(Want("cache", ["net"]))
        service.register(Register(["db", "seed", "log", "net"]))
        service.complete(End("log"))  # not what `api` needs, but no failure
        service.skip(End("cache", "no cache on this machine"))
        service.fail(End("net"))  # too late to be why the cache was skipped
        service.skip(End("seed"))
        service.fail(End("db", "disk full"))
        with pytest.raises(DependencyFailedError) as caught:
            await started(service, "app")
        assert sorted(caught.value.failed) == [("api", "skipped"), ("seed", "skipped")]
        assert sorted(caught.value.causes, key=str) == [
            ("cache", "skipped", "no cache on this machine"),
            ("db", "failed", "disk full"),
            ("seed", "skipped", None),
        ]
        service.update(Update("db", "started"))  # somebody repairs it
        with pytest.raises(DependencyFailedError) as caught:
            await started(service, "app")
        assert ("cache", "skipped", "no cache on this machine") in caught.value.causes

    with_service(test)


def test_a_unit_that_is_refused_a_dependency_is_not_registered():
    async def test(service):
        service.want(Want("db", ["app"]))
        for wish, error in [
            (Want("app", ["cache", "db"]), CycleError),
            (Want("app", ["app"]), CycleError),
        ]:
            with pytest.raises(error):
                service.want(wish)
        for i in range(57):
            service.update(Update("db", f"status {i}"))
        with pytest.raises(CapacityError, match="one more than the 64 distinct statuses"):
            service.want(Want("app", ["cache"], requires="another"))
        assert [view.unit for view in service.units().units] == ["db"]
        assert service.status(UnitQuery("app")).status == ""
        service.fail(End("db"))  # the built-in statuses always have room
        await started(service, "app")

    with_service(test)


def test_dependencies_of_one_unit_cost_no_look_at_the_whole_graph(monkeypatch):
    def whole(*_):
        raise AssertionError("all units and dependencies are looked at")

    async def test(service):
        monkeypatch.setattr(Manager, "add_dependencies", whole)
        service.want(Want("app", ["api", "db"]))
        service.want(Want("app", ["db", "cache"]))
        assert service.add_dependencies(Dependencies([Wish("app", "net")])).added == 1
        assert service.add_dependencies(Dependencies([Wish("app", "net")])).added == 0
        below = [one.depends_on for one in service.status(UnitQuery("app")).dependencies]
        assert below == ["api", "db", "cache", "net"]
        service.want(Want("disk", ["log"]))
        service.register(Register(["log"]))
        before, last = service.snapshot().units, service.history.last
        with pytest.raises(ConflictingRequirementError):
            service.want(Want("app", ["tmp", "db"], requires="completion"))
        with pytest.raises(CycleError):
            service.want(Want("log", ["tmp", "disk"]))
        assert service.history.last == last  # both of them, all or none
        assert unseconded(service.snapshot().units) == unseconded(before)

    with_service(test)


def test_many_dependencies_of_a_unit_cost_one_look_at_the_graph(monkeypatch):
    def one_by_one(*_):
        raise AssertionError("a walk through the graph for each")

    async def test(service):
        units = [f"unit {number}" for number in range(100)]
        service.want(Want("above", ["app"]))  # so that "app" has a place in the graph already
        with monkeypatch.context() as patched:
            patched.setattr(Manager, "find_cycle", one_by_one)
            assert len(service.want(Want("app", units)).dependencies) == 100
            assert len(service.want(Want("app", units)).dependencies) == 100
        last = service.history.last
        for unit, path in (("app", ["app", "above", "app"]), ("unit 1", ["unit 1", "above", "app", "unit 1"])):
            with pytest.raises(CycleError) as caught:
                service.want(Want(unit, [*(f"other {number}" for number in range(100)), "above"]))
            assert caught.value.path == path
        with pytest.raises(CycleError):
            service.want(Want("new", [*units, "new"]))
        assert service.history.last == last

    with_service(test)


def test_limits_refuse_and_change_nothing():
    async def test(service):
        service.want(Want("a", ["b"]))
        service.register(Register(["c"]))
        before, last = service.snapshot(), service.history.last
        for refused in (
            lambda: service.register(Register(["d"])),
            lambda: service.want(Want("a", ["d"])),
            lambda: service.want(Want("d", ["a"])),
            lambda: service.add_dependencies(Dependencies([Wish("a", "d")])),
            lambda: service.add_dependencies(Dependencies([Wish("a", "c"), Wish("c", "b")])),
        ):
            with pytest.raises(CapacityError, match=r"holds (3 units|2 dependencies), and no more"):
                refused()
        with pytest.raises(CapacityError):
            await started(service, "d")
        with pytest.raises(WaitTimeoutError):  # that holds nothing
            await service.wait(Wait("d", None, 0.0), nobody_goes)
        assert service.history.last == last
        assert unseconded(service.snapshot().units) == unseconded(before.units)
        service.add_dependencies(Dependencies([Wish("a", "c")]))
        service.register(Register(["b"]))  # was counted when it was wanted

    with_service(test, limits=Limits(names=3, dependencies=2))


@pytest.mark.parametrize("requires", [*REQUIRES, Statuses(["completed"], ["failed"]), Statuses(["started"])])
def test_requirements_come_back_as_they_were_given(requires):
    requirement = requirement_of(requires)
    assert requirement_of(requires_of(requirement)) is requirement
    if isinstance(requires, str):
        assert requires_of(requirement) == requires


def test_units_set_back_while_they_were_blocked_come_back_so(tmp_path):
    async def test():
        journal = Journal(tmp_path / "journal")
        service = Service(Manager(auto_skip=True), journal)
        service.register(Register(["top", "middle", "bottom"]))
        service.want(Want("middle", ["bottom"]))
        service.want(Want("top", ["middle"], requires=Statuses(["started"], ["pending"])))
        service.fail(End("bottom"))
        for unit in ("middle", "top"):  # `middle`, as it becomes pending, has `top` skipped
            if service.status(UnitQuery(unit)).status == "skipped":
                service.update(Update(unit, "pending", "try again"))
        before = service.snapshot().units
        assert [(view.status, view.state) for view in before] == [
            ("pending", "blocked"),
            ("pending", "blocked"),
            ("failed", "ready"),
        ]
        await service.settled()
        journal.close()
        journal = Journal(tmp_path / "journal")
        assert unseconded(Service(Manager(auto_skip=True), journal).snapshot().units) == unseconded(before)
        journal.close()

    asyncio.run(test())

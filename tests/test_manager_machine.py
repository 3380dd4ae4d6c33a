"""Random operations on a Manager against plain dicts, with every invariant of the core checked after each."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fastdag import (
    ConflictingRequirementError,
    CycleError,
    DependencyFailedError,
    Manager,
    Requirement,
    SameStatusError,
    UnitAlreadyRegisteredError,
    UnitNotFoundError,
)

UNITS = st.sampled_from("abcdefgh")
STATUSES = st.sampled_from(["pending", "started", "completed", "failed", "skipped", "canceled", "own", "other"])
REQUIREMENTS = st.sampled_from(
    [
        Requirement.SUCCESS,
        Requirement.SUCCESS,
        Requirement.COMPLETION,
        Requirement.STARTED,
        Requirement("pending"),
        Requirement("own"),
        Requirement({"own", "other"}, impossible={"started", "failed"}),
        Requirement("started", impossible={"pending"}),
    ]
)


class Model:
    """Units and dependencies in dicts; a state is looked up by definition whenever it is asked for."""

    def __init__(self, auto_skip):
        self.auto_skip = auto_skip
        self.status = {}
        self.requires = {}  # (unit, depends_on) to requirement

    def state(self, unit):
        below = [(self.status.get(d), requires) for (u, d), requires in self.requires.items() if u == unit]
        if any(status in requires.impossible for status, requires in below):
            return "blocked"
        met = all(status in requires.satisfied for status, requires in below)
        return "ready" if met and unit in self.status else "waiting"

    def states(self):
        return {unit: self.state(unit) for unit in "abcdefgh"}

    def path(self, source, target):
        reached, open_ = {source}, [source]
        while open_:
            unit = open_.pop()
            new = {d for (u, d) in self.requires if u == unit} - reached
            reached |= new
            open_.extend(new)
        return target in reached

    def change(self, statuses, requires=()):
        """Apply, then skip what that has blocked, and so on."""
        while True:
            before = self.states()
            self.status.update(statuses)
            self.requires.update(requires)
            after = self.states()
            blocked = [u for u in after if after[u] == "blocked" != before[u] and self.status[u] == "pending"]
            if not blocked or not self.auto_skip:
                return
            statuses, requires = dict.fromkeys(blocked, "skipped"), ()

    def refusal(self, rows, replace):
        """The errors of which one has to be raised when these dependencies are added; none when there are none."""
        errors = {UnitNotFoundError for unit, _, _ in rows if unit not in self.status}
        trial = Model(False)
        trial.requires = dict(self.requires)
        for unit, depends_on, requires in rows:
            if trial.path(depends_on, unit):
                errors.add(CycleError)
            elif trial.requires.get((unit, depends_on), requires) is not requires and not replace:
                errors.add(ConflictingRequirementError)
            trial.requires[unit, depends_on] = requires
        return errors


class ManagerMachine(RuleBasedStateMachine):
    @initialize(auto_skip=st.booleans())
    def start(self, auto_skip):
        self.manager = Manager(auto_skip=auto_skip)
        self.model = Model(auto_skip)
        self.events = []
        self.subscription = self.manager.subscribe(self.events.append)
        self.checked = 0  # events up to here are accounted for
        self.statuses, self.states = {}, dict.fromkeys("abcdefgh", "waiting")  # as the events tell
        self.expected_edges = []
        self.followers = []  # (subscription, what it heard, unit, events before it, dependencies then)
        self.waiters = []  # (future, unit, status or None, events before it, status and state then)

    # writers

    @rule(unit=UNITS)
    def register(self, unit):
        if unit in self.model.status:
            with pytest.raises(UnitAlreadyRegisteredError):
                self.manager.register(unit)
        else:
            self.manager.register(unit)
            self.model.change({unit: "pending"})

    @rule(units=st.lists(UNITS, max_size=3))
    def register_all(self, units):
        if len(set(units)) < len(units) or not self.model.status.keys().isdisjoint(units):
            with pytest.raises(UnitAlreadyRegisteredError):
                self.manager.register_all(units)
        else:
            self.manager.register_all(units)
            self.model.change(dict.fromkeys(units, "pending"))

    @rule(unit=UNITS, depends_on=UNITS, requires=REQUIREMENTS, replace=st.booleans())
    def add_dependency(self, unit, depends_on, requires, replace):
        if errors := self.model.refusal([(unit, depends_on, requires)], replace):
            with pytest.raises(tuple(errors)):
                self.manager.add_dependency(unit, depends_on, requires, replace)
        else:
            self.manager.add_dependency(unit, depends_on, requires, replace)
            self.added([(unit, depends_on, requires)])

    @rule(
        rows=st.lists(st.tuples(UNITS, UNITS, REQUIREMENTS), max_size=5, unique_by=lambda row: row[:2]),
        replace=st.booleans(),
    )
    def add_dependencies(self, rows, replace):
        if errors := self.model.refusal(rows, replace):
            with pytest.raises(tuple(errors)):
                self.manager.add_dependencies(rows, replace)
        else:
            new = sum(row[:2] not in self.model.requires for row in rows)
            assert self.manager.add_dependencies(rows, replace) == new
            self.added(rows)

    def added(self, rows):
        changed = {row[:2]: row[2] for row in rows if self.model.requires.get(row[:2]) is not row[2]}
        self.expected_edges.extend(changed)
        self.model.change({}, changed)

    @rule(unit=UNITS, status=STATUSES)
    def update_status(self, unit, status):
        if self.model.status.get(unit) in (None, status):
            with pytest.raises(SameStatusError if unit in self.model.status else UnitNotFoundError):
                self.manager.update_status(unit, status)
        else:
            self.manager.update_status(unit, status)
            self.model.change({unit: status})

    @rule(units=st.lists(UNITS, max_size=4), status=STATUSES)
    def update_statuses(self, units, status):
        if not self.model.status.keys() >= set(units):
            with pytest.raises(UnitNotFoundError):
                self.manager.update_statuses(units, status)
        else:
            changed = {unit: status for unit in units if self.model.status[unit] != status}
            assert self.manager.update_statuses(units, status) == len(changed)
            self.model.change(changed)

    # listeners

    @rule(unit=UNITS)
    def follow(self, unit):
        heard = []
        below = {d for (u, d) in self.model.requires if u == unit}
        self.followers.append((self.manager.subscribe(heard.append, unit), heard, unit, len(self.events), below))

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def unfollow(self, data):
        follower = data.draw(st.sampled_from(self.followers))
        self.followers.remove(follower)
        follower[0].cancel()

    @rule(unit=UNITS, status=st.none() | STATUSES)
    def wait(self, unit, status):
        future = self.manager.when_ready(unit) if status is None else self.manager.when(unit, status)
        now = (self.model.status.get(unit), self.model.state(unit))
        self.waiters.append((future, unit, status, len(self.events), now))

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def stop_waiting(self, data):
        waiter = data.draw(st.sampled_from(self.waiters))
        self.waiters.remove(waiter)
        waits = not waiter[0].done()
        assert waiter[0].cancel() == waits

    # the oracle

    @invariant()
    def account(self):
        if not hasattr(self, "manager"):
            return
        self.manager._core._check()
        self.check_readers()
        self.check_events()
        for _, heard, unit, begin, below in self.followers:
            followed, expected = {unit, *below}, []
            for event in self.events[begin:]:
                if event.unit in followed:
                    expected.append(event)
                if event.kind == "dependency" and event.unit == unit:
                    followed.add(event.dependency)
            assert heard == expected
        for waiter in self.waiters:
            self.check_waiter(*waiter)

    def check_readers(self):
        manager, model = self.manager, self.model
        assert [(unit.id, unit.status) for unit in manager.units()] == list(model.status.items())
        graph = manager.graph
        assert {(source, target): label for source, target, label in graph.edges()} == model.requires
        for unit, state in model.states().items():
            status = model.status.get(unit, "")
            assert manager.state(unit) == state
            assert manager.unit(unit) == (unit, status, state == "ready")
            below = {
                (unit, d, requires, model.status.get(d, ""), model.status.get(d) in requires.satisfied)
                for (u, d), requires in model.requires.items()
                if u == unit
            }
            above = {
                (u, unit, requires, status, status in requires.satisfied)
                for (u, d), requires in model.requires.items()
                if d == unit
            }
            assert set(manager.dependents(unit)) == above
            if unit in model.status:
                assert set(manager.dependencies(unit)) == below
                assert set(manager.unmet_dependencies(unit)) == {row for row in below if not row[4]}
            assert set(manager.explain(unit).units[unit].unmet) == (
                set() if state == "ready" else {row for row in below if not row[4]}
            )

    def check_events(self):
        new = self.events[self.checked :]
        edges = []
        for event in new:
            if event.kind == "dependency":
                edges.append((event.unit, event.dependency))
            else:
                current, start = (self.states, "waiting") if event.kind == "state" else (self.statuses, "")
                assert current.get(event.unit, start) == event.old != event.new
                assert (event.kind == "registered") == (event.old == "")
                current[event.unit] = event.new
        assert sorted(edges) == sorted(self.expected_edges)
        changes = [event.unit for event in new if event.kind == "status"]
        assert len(changes) == len(set(changes)) or self.model.auto_skip
        assert self.statuses == self.model.status
        assert self.states == self.model.states()
        assert [event.sequence for event in self.events] == list(range(1, len(self.events) + 1))
        self.checked = len(self.events)
        self.expected_edges.clear()

    def check_waiter(self, future, unit, wanted, begin, now):
        since = [event for event in self.events[begin:] if event.unit == unit]
        if wanted is not None:
            reached = wanted in (now[0], *(event.new for event in since if event.kind in ("registered", "status")))
            assert future.done() == reached
            return
        states = [now[1], *(event.new for event in since if event.kind == "state")]
        outcome = next((state for state in states if state != "waiting"), None)
        assert future.done() == (outcome is not None)
        if outcome == "ready":
            assert future.result() == unit
        elif outcome == "blocked":
            error = future.exception()
            assert isinstance(error, DependencyFailedError)
            assert error.failed

    def teardown(self):
        if hasattr(self, "manager"):
            for subscription, *_ in self.followers:
                subscription.cancel()
            self.subscription.cancel()
            for future, *_ in self.waiters:
                future.cancel()
            assert self.manager._waiters.dispatch.waiting == {}
            assert self.manager._delivery._routes == {}
            self.manager.register("z")
            assert not self.manager._core.has_events()


TestManagerMachine = ManagerMachine.TestCase
TestManagerMachine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)

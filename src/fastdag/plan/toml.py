"""Plans in TOML: units, groups of them, and defaults."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property, partial
from typing import Any, Final, TypeGuard

from fastdag._core import Graph
from fastdag.durations import parse_duration
from fastdag.errors import CycleError
from fastdag.plan.check import Wish, is_acyclic, link
from fastdag.plan.lines import Lines, Path
from fastdag.plan.model import PHASES, REQUIREMENTS, Need, Phase, Plan, PlannedUnit
from fastdag.plan.parser import TOMLDecodeError, loads
from fastdag.plan.problems import Problems, name_flaw
from fastdag.status import Requirement

_TABLES: Final = ("defaults", "groups", "units")
_GROUP: Final = "group:"
_MOST: Final = 2**31 - 1  # beyond any number that makes sense


def load_toml(file: str, text: str) -> Plan:
    """Read a plan from the text of a TOML document.

    Parameters
    ----------
    file : str
        The name for messages.
    text : str

    Raises
    ------
    PlanError
        With everything that is wrong with it.
    """
    problems = Problems()
    try:
        document = loads(text)
    except TOMLDecodeError as error:
        problems.add(file, *_syntax(str(error), text))
        raise problems.error() from None
    except RecursionError:
        problems.add(file, 1, "this is nested too deeply")
        raise problems.error() from None
    return _Reader(file, text, document, problems).read()


def _syntax(message: str, text: str) -> tuple[int, str]:
    """Take line and text out of a message of `tomllib`, which tells the line in words only."""
    if found := re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", message, re.DOTALL):
        line, message = int(found[2]), found[1]
    else:
        line, message = text.rstrip().count("\n") + 1, message.removesuffix(" (at end of document)")
    if twice := re.fullmatch(r"Cannot declare \('units', '(.*)'\) twice", message):
        return line, f"unit {twice[1]!r} is declared twice"
    return line, f"not TOML: {message[0].lower()}{message[1:]}"


class _Reader:
    """Reads one document."""

    def __init__(self, file: str, text: str, document: dict[str, Any], problems: Problems) -> None:
        self.file = file
        self.text = text
        self.problems = problems
        self.document = document
        self.units: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, list[str]] = {}
        self.phases: dict[str, Phase] = {}

    @cached_property
    def lines(self) -> Lines:
        return Lines(self.text)

    def place(self, path: Path) -> tuple[str, int]:
        return self.file, self.lines.of(path)

    def problem(self, path: Path, message: str) -> None:
        self.problems.add(*self.place(path), message)

    def read(self) -> Plan:
        for key in self.document:
            if key not in _TABLES:
                self.problem((key,), f"unknown table {key!r}{self.problems.near(key, _TABLES)}")
        self.units = self._tables("units")
        if not self.units and not self.problems:
            self.problem((), 'a plan needs a unit: [units.NAME] with run = "COMMAND"')
        for name in self.units:
            if flaw := _name_flaw(name):
                self.problem(("units", name), f"unit {name!r}: a name {flaw}")
        self._read_groups()
        defaults = self._table("defaults")
        checked = self._checked(defaults, ("defaults",), "defaults")
        made = {name: self._unit(name, values, checked) for name, values in self.units.items()}
        self.phases = {name: values.get("phase", "start") for name, values in made.items()}
        needs = self._plain_needs(defaults) or link(made, self._wishes(defaults), self.place, self.problems)
        self.problems.check()
        return Plan(
            {
                name: PlannedUnit(
                    **values,
                    name=name,
                    title=name,
                    needs=needs[name],
                )
                for name, values in made.items()
            },
            lambda name: self.place(("units", name)),
        )

    def _table(self, key: str) -> dict[str, Any]:
        value = self.document.get(key, {})
        if isinstance(value, dict):
            return value
        self.problem((key,), f"{key} must be a table, not {_kind(value)}")
        return {}

    def _tables(self, key: str) -> dict[str, dict[str, Any]]:
        tables = {}
        for name, value in self._table(key).items():
            if isinstance(value, dict):
                tables[name] = value
            else:
                self.problem((key, name), f"unit {name!r} must be a table, not {_kind(value)}; write [units.{name}]")
        return tables

    # --- the keys of a unit -------------------------------------------------------------------------------------------

    def _checked(self, values: Mapping[str, Any], path: Path, what: str) -> dict[str, Any]:
        """Give what is right of the keys of a unit, but for its order, and name what is wrong."""
        checked = {}
        for key, value in values.items():
            if key in _ORDER:
                continue
            if key not in _KEYS:
                near = self.problems.near(key, [*_KEYS, *_ORDER])
                self.problem((*path, key), f"{what}: unknown key {key!r}{near}")
                continue
            try:
                checked[key] = _KEYS[key](value)
            except ValueError as error:
                self.problem((*path, key), f"{what}: {key} {error}")
        return checked

    def _unit(self, name: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
        path = ("units", name)
        checked = {**defaults, **self._checked(values, path, f"unit {name!r}")}
        if "env" in values and "env" in defaults:
            checked["env"] = {**defaults["env"], **checked.get("env", {})}
        if "run" not in values and "run" not in self.document.get("defaults", ()):
            self.problem(path, f'unit {name!r} has no run; say what it runs, as in run = "make"')
        return checked

    # --- groups and order ---------------------------------------------------------------------------------------------

    def _read_groups(self) -> None:
        """Fill `groups` with the names of units."""
        inner: Graph[str] = Graph()
        listed: dict[str, list[str]] = {}
        for name, members in self._table("groups").items():
            if flaw := _name_flaw(name):
                self.problem(("groups", name), f"group {name!r}: a name {flaw}")
            listed[name] = []
            inner.add_vertex(name)
            if not isinstance(members, list):
                self.problem(("groups", name), f"group {name!r} must be an array of names, not {_kind(members)}")
                continue
            listed[name] = members
        for name, members in listed.items():
            self.groups[name] = []
            for number, member in enumerate(members):
                path = ("groups", name, number)
                if not self._is_known(member, listed, path, f"group {name!r}"):
                    continue
                if not member.startswith(_GROUP):
                    self.groups[name].append(member)
                    continue
                try:
                    inner.add_edge(name, member.removeprefix(_GROUP))
                except CycleError as error:
                    self.problem(path, f"cycle of groups: {' holds '.join(repr(each) for each in error.path)}")
        for name in reversed(inner.topological_sort()):
            units = [*self.groups[name], *(unit for each in inner.successors(name) for unit in self.groups[each])]
            self.groups[name] = list(dict.fromkeys(units))

    def _is_known(self, name: object, groups: Collection[str], path: Path, what: str) -> TypeGuard[str]:
        """Say so if something is no name of a unit, or `group:` and that of a group."""
        if not isinstance(name, str):
            self.problem(path, f"{what}: a name must be a string, not {_kind(name)}")
            return False
        kind, word = "unit", name
        known: Collection[str] = self.units.keys()
        if name.startswith(_GROUP):
            kind, known, word = "group", groups, name.removeprefix(_GROUP)
        if word in known:
            return True
        hint = f"; the group is {_GROUP + word!r}" if word in groups else self.problems.near(word, known)
        self.problem(path, f"{what}: there is no {kind} {word!r}{hint}")
        return False

    def _plain_needs(self, defaults: Mapping[str, Any]) -> Mapping[str, tuple[Need, ...]] | None:
        """Give what each unit comes after where all that is said is names of others behind `after`, all of it right.

        As in most plans, and in less time than `link` takes, which has to know who said what.
        """
        phases = self.phases
        needs = {}
        for name, values in self.units.items():
            entries = values["after"] if "after" in values else defaults.get("after", [])
            if "before" in values or "before" in defaults or not isinstance(entries, list):
                return None
            phase = phases[name]
            for entry in entries:
                if not isinstance(entry, str) or phases.get(entry) != phase:
                    return None
            needs[name] = tuple([Need(entry, Requirement.SUCCESS) for entry in dict.fromkeys(entries)])
        return needs if is_acyclic(needs) else None

    def _wishes(self, defaults: Mapping[str, Any]) -> Iterator[Wish]:
        """Give what `after` and `before` say, and name what is wrong with it."""
        phases = self.phases
        for name, values in self.units.items():
            for key in _ORDER:
                if key not in values and key not in defaults:
                    continue
                path: Path = ("units", name, key)
                what = f"unit {name!r}"
                if key not in values:
                    path, what = ("defaults", key), "defaults"
                entries = values[key] if key in values else defaults[key]
                if not isinstance(entries, list):
                    self.problem(path, f"{what}: {key} must be an array of names, not {_kind(entries)}")
                    continue
                phase = phases[name]
                for number, entry in enumerate(entries):
                    at = (*path, number)
                    for other, requires in self._entry(entry, name, key, at):
                        if other == name and key not in values:
                            self.problem(at, f"unit {name!r} cannot be {key} itself; give it {key} = [] of its own")
                            continue
                        wish = (name, other) if key == "after" else (other, name)
                        if phase == phases[other] or self._is_possible(*wish, requires, at):
                            yield Wish(*wish, requires, at)

    def _entry(self, entry: object, name: str, key: str, path: Path) -> Iterator[tuple[str, Requirement]]:
        """Give the units that one entry of `after` or `before` stands for."""
        what = f"unit {name!r}: {key}"
        requires = Requirement.SUCCESS
        if isinstance(entry, dict):
            for word in entry:
                if word not in ("unit", "requires"):
                    near = self.problems.near(word, ("unit", "requires"))
                    self.problem((*path, word), f"{what}: unknown key {word!r}{near}")
            required = entry.get("requires", "success")
            if not isinstance(required, str) or required not in REQUIREMENTS:
                shown = repr(required) if isinstance(required, str) else _kind(required)
                self.problem((*path, "requires"), f'{what}: requires must be "success" or "completion", not {shown}')
                return
            if "unit" not in entry:
                self.problem(path, f'{what}: which unit? Write {{ unit = "NAME", requires = "{required}" }}')
                return
            entry, requires = entry["unit"], REQUIREMENTS[required]
        if not self._is_known(entry, self.groups, path, what):
            return
        if not entry.startswith(_GROUP):
            yield entry, requires
            return
        for unit in self.groups[entry.removeprefix(_GROUP)]:
            if unit == name:
                self.problem(path, f"unit {name!r} is in {entry!r} and cannot be {key} it")
            else:
                yield unit, requires

    def _is_possible(self, unit: str, after: str, requires: Requirement, path: Path) -> bool:
        """Say so if a unit cannot come after another as that is of the other phase."""
        if self.phases[unit] == "start":
            self.problem(path, f"unit {unit!r} of phase start cannot be after {after!r} of phase stop")
            return False
        if requires is not Requirement.COMPLETION:
            self.problem(
                path,
                f"unit {unit!r} of phase stop cannot require the success of {after!r} of phase start, all of which has "
                f'ended by then; write {{ unit = "{after}", requires = "completion" }}',
            )
            return False
        return True


def _name_flaw(name: str) -> str | None:
    return f"cannot begin with {_GROUP!r}" if name.startswith(_GROUP) else name_flaw(name)


def _kind(value: object) -> str:
    return next((name for kind, name in _KINDS.items() if isinstance(value, kind)), "a date or time")


# --- one value: what it means, or a ValueError that ends the sentence "KEY …" -----------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {_kind(value)}")
    if not value.strip():
        raise ValueError("is empty")
    if "\0" in value:
        raise ValueError("holds a NUL character, which no command can be given")
    return value


def _run(value: object) -> str | list[str]:
    if not isinstance(value, list):
        if not isinstance(value, str):
            raise ValueError(f"must be a string or an array of strings, not {_kind(value)}")
        return _text(value)
    for word in value:
        if not isinstance(word, str):
            raise ValueError(f"must hold strings only, not {_kind(word)}")
    if not value or not value[0].strip():
        raise ValueError("is empty")
    if "\0" in "".join(value):
        raise ValueError("holds a NUL character, which no command can be given")
    return list(value)


def _env(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"must be a table, not {_kind(value)}")
    for name, text in value.items():
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"cannot hold {name!r}, which is no name of a variable")
        if not isinstance(text, str):
            raise ValueError(f"must hold strings only; {name} is {_kind(text)}, so write it in quotes")
        if "\0" in text:
            raise ValueError(f"holds a NUL character in {name}, which no command can be given")
    return dict(value)


def _duration(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError(f'must be a duration in quotes, as "30s" or "5m", not {_kind(value)}')
    return parse_duration(value)


def _limit(value: object) -> float | None:
    return _duration(value) or None


def _number(value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"must be an integer, not {_kind(value)}")
    if not least <= value <= _MOST:
        raise ValueError(f"must be from {least} to {_MOST}, not {value}")
    return value


def _phase(value: object) -> Phase:
    for phase in PHASES:
        if value == phase:
            return phase
    raise ValueError(f'must be "start" or "stop", not {repr(value) if isinstance(value, str) else _kind(value)}')


_KINDS = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
}
_ORDER: Final = ("after", "before")
_KEYS: Final[dict[str, Callable[[object], Any]]] = {
    "run": _run,
    "shell": _text,
    "cwd": _text,
    "env": _env,
    "timeout": _limit,
    "retries": partial(_number, least=0),
    "priority": partial(_number, least=-_MOST),
    "slots": partial(_number, least=1),
    "exclusive": _text,
    "phase": _phase,
    "expected": _duration,
}

"""Scripts and rules of Terraform, and what the rules say: the same for the JSON and for `.tf` files.

The meaning is that of Coder: every script that `run` of a rule selects waits for every one that its `after` selects.
Selectors are relative to the module that declares the rule. All rules end up in one graph for each agent and phase.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fastdag.plan.check import Wish, link
from fastdag.plan.model import PHASES, REQUIREMENTS, Phase, Plan, PlannedUnit, Problem
from fastdag.plan.problems import Problems, name_flaw

Key = str | int | None
"""Of one instance of what has `count` (a number) or `for_each` (a text)."""

ASK_TERRAFORM: Final = "pass the plan's JSON (`terraform show -json PLANFILE > plan.json`)"

_KEY = r'\[(?:(\d+)|("(?:[^"\\]|\\.)*"))\]'
_STEP = re.compile(rf"module\.([\w-]+)(?:{_KEY})?(?:\.|$)")
_SCRIPT_SELECTOR = re.compile(rf"coder_script\.([\w-]+)(?:{_KEY})?")
_MODULE_SELECTOR = re.compile(r"module\.([\w-]+)")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what the arguments of a process cannot hold
_WITHIN_MODULE = re.compile(r"module\.([\w-]+)[\[.].*", re.DOTALL)


class Step(NamedTuple):
    """One module on the way down from the root."""

    name: str
    key: Key = None

    def __str__(self) -> str:
        return f"module.{self.name}{shown_key(self.key)}"


ModulePath = tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """An instance of a `coder_script`."""

    module: ModulePath
    name: str
    key: Key
    text: str | None  # None: not known, which is a problem already
    title: str
    on_start: bool
    on_stop: bool
    timeout: float | None
    agent: str | None
    file: str
    line: int

    @property
    def address(self) -> str:
        """As Terraform writes it."""
        return address(self.module, f"coder_script.{self.name}{shown_key(self.key)}")

    @property
    def phase(self) -> Phase:
        """Of a script that runs in one phase."""
        return "start" if self.on_start else "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A `rule` block of a `coder_script_order`."""

    module: ModulePath
    source: str
    number: int
    run: Sequence[str]
    after: Sequence[str]
    requires: str
    phase: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{address(self.module, f'data.coder_script_order.{self.source}')}, rule {self.number}"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a module declares, be it that there are no instances of it."""

    scripts: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)


class _Selected(NamedTuple):
    """What one selector stands for."""

    text: str
    is_module: bool
    scripts: list[Script]


def address(module: ModulePath, rest: str) -> str:
    """Write an address of Terraform."""
    return ".".join([*map(str, module), rest])


def shown_key(key: Key) -> str:
    """Write the key of an instance as Terraform does behind its address."""
    return "" if key is None else f"[{key}]" if isinstance(key, int) else f"[{json.dumps(key, ensure_ascii=False)}]"


def parse_module(text: str) -> ModulePath:
    """Read the address of a module; the root's is empty.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> parse_module('module.a[0].module.b["x.y"]')
    (Step(name='a', key=0), Step(name='b', key='x.y'))
    """
    steps = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise ValueError(f"{text!r} is no address of a module")
        steps.append(Step(match[1], _key(match[2], match[3])))
        position = match.end()
    return tuple(steps)


def _key(number: str | None, text: str | None) -> Key:
    if number is not None:
        return int(number)
    return None if text is None else str(json.loads(text, strict=False))


def plan_of(
    scripts: Sequence[Script], rules: Sequence[Rule], declared: Mapping[tuple[str, ...], Declared], problems: Problems
) -> Plan:
    """Make the plan: scripts are units, rules the order between them.

    Parameters
    ----------
    scripts : sequence of Script
        Those that run at neither start nor stop are no units, but rules may not select them.
    rules : sequence of Rule
    declared : dict of tuple of str to Declared
        For each module, by the names on the way to it.
    problems : Problems
        What is wrong already.

    Raises
    ------
    PlanError
    """
    units = {}
    for script in scripts:
        if flaw := name_flaw(script.address):
            problems.add(script.file, script.line, f"{script.address}: an address {flaw}")
        if (script.on_start or script.on_stop) and script.text is not None and not script.text.strip():
            problems.add(script.file, script.line, f"{script.address}: script is empty")
        if _NO_TEXT.search(script.text or ""):
            problems.add(script.file, script.line, f"{script.address}: script holds a character that no command may")
        for phase, runs in zip(PHASES, (script.on_start, script.on_stop), strict=True):
            if runs:
                # A script that does both is two units; no rule may select it.
                name = script.address if phase == script.phase else f"{script.address} ({phase})"
                if name in units:
                    problems.add(script.file, script.line, f"{name} is declared twice")
                units[name] = (script, phase)
    orders = _Orders(scripts, declared, problems)
    wishes = [wish for rule in rules for wish in orders.wishes(rule)]
    needs = link(units, wishes, lambda rule: (rule.file, rule.line), problems)
    problems.check()
    return Plan(
        {
            name: PlannedUnit(
                name=name,
                title=script.title or name,
                run=script.text or "",
                needs=needs[name],
                timeout=script.timeout,
                phase=phase,
                agent=script.agent,
            )
            for name, (script, phase) in units.items()
        },
        lambda name: (units[name][0].file, units[name][0].line),
        tuple(orders.warnings),
    )


class _Orders:
    """Resolves rules against the scripts that there are."""

    def __init__(
        self, scripts: Sequence[Script], declared: Mapping[tuple[str, ...], Declared], problems: Problems
    ) -> None:
        self.warnings: list[Problem] = []
        self._declared = declared
        self._problems = problems
        self._by_name: dict[tuple[ModulePath, str], list[Script]] = defaultdict(list)
        self._by_module: dict[tuple[ModulePath, str], list[Script]] = defaultdict(list)
        for script in scripts:
            self._by_name[script.module, script.name].append(script)
            for depth, step in enumerate(script.module):
                self._by_module[script.module[:depth], step.name].append(script)

    def wishes(self, rule: Rule) -> Iterator[Wish]:
        """Give what a rule asks for, and name what is wrong with it."""
        before = len(self._problems)
        run = self._resolve(rule, "run", rule.run)
        after = self._resolve(rule, "after", rule.after)
        if rule.requires not in REQUIREMENTS:
            self._problem(rule, f'requires must be "success" or "completion", not {rule.requires!r}')
        if rule.phase not in ("", *PHASES):
            self._problem(rule, f'phase must be "start" or "stop", not {rule.phase!r}')
        self._check_scripts(rule, [*run, *after])
        if len(self._problems) > before:
            return
        phase = self._phase(rule, [*run, *after])
        if len(self._problems) > before or phase is None:
            return
        waiting = _of_phase(run, phase)
        awaited = _of_phase(after, phase)
        if not waiting or not awaited:
            return
        self._check_agents(rule, {**waiting, **awaited})
        for name in waiting:
            for other in awaited:
                yield Wish(name, other, REQUIREMENTS[rule.requires], rule, rule)

    def _problem(self, rule: Rule, message: str) -> None:
        self._problems.add(rule.file, rule.line, f"{rule}: {message}")

    def _resolve(self, rule: Rule, field: str, selectors: Sequence[str]) -> list[_Selected]:
        if not selectors:
            self._problem(rule, f"{field} needs a selector")
        found = (self._select(rule, field, text) for text in dict.fromkeys(selectors))
        return [selected for selected in found if selected is not None]

    def _select(self, rule: Rule, field: str, text: str) -> _Selected | None:
        declared = self._declared.get(tuple(step.name for step in rule.module), Declared())
        if match := _SCRIPT_SELECTOR.fullmatch(text):
            scripts = self._by_name.get((rule.module, match[1]), [])
            try:
                key = _key(match[2], match[3])
            except ValueError as error:
                self._problem(rule, f"{field}: {text} has a key that cannot be read: {error}")
                return None
            chosen = [script for script in scripts if key is None or script.key == key]
            if chosen or (key is None and match[1] in declared.scripts):
                return _Selected(text, False, chosen)
            names = [f"coder_script.{name}" for name in sorted(declared.scripts)]
            if scripts:
                names = [f"coder_script.{script.name}{shown_key(script.key)}" for script in scripts]
            self._problem(rule, f"{field}: there is no {text}{self._problems.near(text, names)}")
        elif match := _MODULE_SELECTOR.fullmatch(text):
            if match[1] in declared.modules:
                return _Selected(text, True, self._by_module.get((rule.module, match[1]), []))
            names = [f"module.{name}" for name in sorted(declared.modules)]
            self._problem(rule, f"{field}: there is no {text}{self._problems.near(text, names)}")
        elif match := _WITHIN_MODULE.fullmatch(text):
            self._problem(
                rule,
                f"{field}: {text!r} reaches into a module; select all of it with 'module.{match[1]}', or order its "
                "scripts in there",
            )
        else:
            self._problem(
                rule,
                f"{field}: {text!r} is no selector; write coder_script.NAME, coder_script.NAME[0], "
                'coder_script.NAME["key"] or module.NAME',
            )
        return None

    def _check_scripts(self, rule: Rule, selected: Sequence[_Selected]) -> None:
        for each in selected:
            for script in each.scripts:
                if script.on_start == script.on_stop:
                    when = (
                        "both run_on_start and run_on_stop"
                        if script.on_start
                        else "neither run_on_start nor run_on_stop"
                    )
                    self._problem(rule, f"{each.text} selects {script.address}, which has {when}")

    def _phase(self, rule: Rule, selected: Sequence[_Selected]) -> Phase | None:
        """Find out which phase a rule is about; None where it selects nothing at all."""
        named = [(each, script) for each in selected if not each.is_module for script in each.scripts]
        within = [(each, script) for each in selected if each.is_module for script in each.scripts]
        for phase in PHASES:
            if rule.phase == phase:
                for each, script in named:
                    if script.phase != phase:
                        self._problem(
                            rule, f"{each.text} selects {script.address} of phase {script.phase}, not {phase}"
                        )
                return phase
        for candidates in (named, within):
            first = {script.phase: (each.text, script.address) for each, script in reversed(candidates)}
            if len(first) > 1:
                both = " and ".join(f"{first[phase][1]} of phase {phase} (by {first[phase][0]})" for phase in PHASES)
                advice = '; set phase = "start" or "stop"' if candidates is within else ""
                self._problem(rule, f"it orders scripts of both phases: {both}{advice}")
                return None
            for phase in first:
                self._warn(rule, phase, [each.text for each, script in within if script.phase != phase])
                return phase
        return None

    def _warn(self, rule: Rule, phase: Phase, modules: Sequence[str]) -> None:
        if modules:
            names = ", ".join(dict.fromkeys(modules))
            message = f'{rule}: of {names} only the scripts of phase {phase} are meant; say so with phase = "{phase}"'
            self.warnings.append(Problem(rule.file, rule.line, message))

    def _check_agents(self, rule: Rule, scripts: Mapping[str, Script]) -> None:
        first, *others = scripts.values()
        for script in scripts.values():
            if script.agent is None:
                self._problem(rule, f"which agent runs {script.address} cannot be told; pass the state's JSON")
                return
        for script in others:
            if script.agent != first.agent:
                self._problem(
                    rule,
                    f"it orders scripts of different agents: {first.address} of {first.agent} and {script.address} of "
                    f"{script.agent}",
                )
                return


def _of_phase(selected: Sequence[_Selected], phase: Phase) -> dict[str, Script]:
    return {script.address: script for each in selected for script in each.scripts if script.phase == phase}

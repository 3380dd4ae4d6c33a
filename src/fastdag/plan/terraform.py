"""Plans in the JSON of `terraform show -json`, for a plan or for a state.

A plan's data sources stand in its `prior_state`, as they are read before it is made; only those that wait for something
stand among the planned values. What a value refers to stands in its `configuration`, which a state does not have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from fastdag.plan.model import Plan
from fastdag.plan.problems import Problems
from fastdag.plan.scripts import Declared, ModulePath, Rule, Script, Step, address, parse_module, plan_of, shown_key

_ADDRESS = re.compile(r'"address"\s*:\s*("(?:[^"\\]|\\.)*")')
_VARIABLE = re.compile(r"var\.([\w-]+)(?:\..*)?")
_OUTPUT = re.compile(r'(module\.[\w-]+(?:\[(?:\d+|"(?:[^"\\]|\\.)*")\])?)\.([\w-]+)(?:\..*)?')
_RUNTIME = re.compile(r'(coder_[\w]+\.[\w-]+)(\[(?:\d+|"(?:[^"\\]|\\.)*")\])?')
_RUNTIMES: Final = {"coder_agent": "id", "coder_devcontainer": "subagent_id"}  # what runs scripts, and how they name it
_DEPTH: Final = 100  # modules within modules, and outputs of outputs
_LATER: Final = "not known until Terraform applies; pass the state's JSON (`terraform show -json`) then"

Json = Any


def load_json(file: str, text: str) -> Plan:
    """Read a plan from the output of `terraform show -json`.

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
        document = json.loads(text, parse_constant=_refuse)
        scripts, rules, declared = _Reader(file, text, document, problems).read()
    except json.JSONDecodeError as error:
        problems.add(file, error.lineno, f"not JSON: {error.msg[0].lower()}{error.msg[1:]}")
        raise problems.error() from None
    except RecursionError:
        problems.add(file, 1, "this is nested too deeply to be the output of `terraform show -json`")
        raise problems.error() from None
    except _ShapeError as error:
        problems.add(file, 1, f"this is not the output of `terraform show -json`: {error}")
        raise problems.error() from None
    return plan_of(scripts, rules, declared, problems)


class _ShapeError(Exception):
    """A value is not what Terraform writes there."""


def _refuse(word: str) -> NoReturn:
    raise _ShapeError(f"{word} is no number")


class _Resource(NamedTuple):
    """A resource or data source, one instance."""

    module: ModulePath
    type: str
    name: str
    key: str | int | None
    address: str
    values: Mapping[str, Json]


class _Reader:
    """Reads one document."""

    def __init__(self, file: str, text: str, document: Json, problems: Problems) -> None:
        self.file = file
        self.problems = problems
        self.document = _is(dict, document, "it")
        self.lines = _lines(text)
        self.modules: dict[tuple[str, ...], Json] = {}  # configurations, by the names on the way to them
        self.declarations: dict[tuple[tuple[str, ...], str, str], Json] = {}
        self.runtimes: dict[str, str] = {}  # addresses of what runs scripts, by the ids that scripts name
        self.instances: set[str] = set()  # addresses of what runs scripts

    def problem(self, where: str, message: str) -> None:
        self.problems.add(self.file, self.lines.get(where, 1), f"{where}: {message}")

    def read(self) -> tuple[list[Script], list[Rule], dict[tuple[str, ...], Declared]]:
        document = self.document
        if str(document.get("format_version", "")).partition(".")[0] not in ("0", "1"):
            raise _ShapeError("it has no format_version, or one that came later")
        if document.get("errored") is True:
            self.problems.add(self.file, 1, "Terraform ended this plan with an error, so that it is incomplete")
        if "planned_values" not in document and "values" not in document:
            raise _ShapeError("it has neither planned_values nor values, as if there were no state yet")
        is_plan = "planned_values" in document
        present = list(_resources(document["planned_values" if is_plan else "values"]))
        prior = list(_resources(_table(document.get("prior_state")).get("values"))) if is_plan else []
        declared = self._read_configuration(is_plan, present)
        for _, resource in [*prior, *present]:
            self._note_runtime(resource)
        self.instances = {resource.address for _, resource in present if resource.type in _RUNTIMES}
        scripts = [
            self._script(resource)
            for mode, resource in present
            if mode == "managed" and resource.type == "coder_script"
        ]
        orders = {
            resource.address: resource
            for mode, resource in [*prior, *present]
            if mode == "data" and resource.type == "coder_script_order" and self._is_declared(resource)
        }
        return scripts, [rule for order in orders.values() for rule in self._rules(order)], declared

    # --- what is declared ---------------------------------------------------------------------------------------------

    def _read_configuration(
        self, is_plan: bool, present: Sequence[tuple[str, _Resource]]
    ) -> dict[tuple[str, ...], Declared]:
        declared: dict[tuple[str, ...], Declared] = {(): Declared()}
        if not is_plan:  # what has no instances is not there
            for _, resource in present:
                names = _names(resource.module)
                for depth, name in enumerate(names):
                    declared.setdefault(names[:depth], Declared()).modules.add(name)
                    declared.setdefault(names[: depth + 1], Declared())
                if resource.type == "coder_script":
                    declared[names].scripts.add(resource.name)
            return declared
        configuration = _is(dict, self.document.get("configuration"), "configuration")
        waiting: list[tuple[tuple[str, ...], Json]] = [((), configuration.get("root_module", {}))]
        while waiting:
            path, module = waiting.pop()
            self.modules[path] = _is(dict, module, "a module of the configuration")
            calls = _is(dict, module.get("module_calls", {}), "module_calls")
            declared[path] = Declared(modules=set(calls))
            for each in _is(list, module.get("resources", []), "resources of the configuration"):
                _is(dict, each, "a declared resource")
                kind, name = (_is(str, each.get(key), f"{key} of a declared resource") for key in ("type", "name"))
                self.declarations[path, kind, name] = each
                if kind == "coder_script":
                    declared[path].scripts.add(name)
            waiting.extend(((*path, name), _table(call).get("module", {})) for name, call in calls.items())
        return declared

    def _is_declared(self, resource: _Resource) -> bool:
        """Whether a data source is still there: the prior state has those, too, that were removed since."""
        return not self.modules or self._declaration(resource) is not None

    def _declaration(self, resource: _Resource) -> Json:
        names = _names(resource.module)
        return self.declarations.get((names, resource.type, resource.name))

    # --- scripts and rules --------------------------------------------------------------------------------------------

    def _script(self, resource: _Resource) -> Script:
        on_start, on_stop = (self._value(resource, name, bool, False) for name in ("run_on_start", "run_on_stop"))
        text = self._value(resource, "script", str, None)
        if text is None and (on_start or on_stop):
            self.problem(resource.address, f"script is {_LATER}")
        timeout = self._value(resource, "timeout", (int, float), 0)
        if timeout < 0:
            self.problem(resource.address, f"timeout cannot be negative, as {timeout} is")
        return Script(
            module=resource.module,
            name=resource.name,
            key=resource.key,
            text=text,
            title=self._value(resource, "display_name", str, ""),
            on_start=on_start,
            on_stop=on_stop,
            timeout=float(timeout) or None,
            agent=self._agent(resource),
            file=self.file,
            line=self.lines.get(resource.address, 1),
        )

    def _value(self, resource: _Resource, name: str, kind: Any, default: Any) -> Any:
        value = resource.values.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.problem(resource.address, f"{name} is {json.dumps(value)}, which the provider does not allow")
            return default
        return value

    def _rules(self, order: _Resource) -> Iterator[Rule]:
        rules = order.values.get("rule")
        if not isinstance(rules, list):
            self.problem(order.address, f"its rules are {_LATER}")
            return
        if not rules:
            self.problem(order.address, "it needs a rule")
        for number, rule in enumerate(rules):
            fields = _is(dict, rule, "a rule")
            yield Rule(
                module=order.module,
                source=f"{order.name}{shown_key(order.key)}",
                number=number,
                run=self._selectors(order, number, fields.get("run")),
                after=self._selectors(order, number, fields.get("after")),
                requires=str(fields.get("requires") or "success"),
                phase=str(fields.get("phase") or ""),
                file=self.file,
                line=self.lines.get(order.address, 1),
            )

    def _selectors(self, order: _Resource, number: int, value: Json) -> list[str]:
        selectors = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        if all(isinstance(each, str) for each in selectors):
            return selectors
        self.problem(order.address, f"rule {number}: a selector is {_LATER}")
        return [each for each in selectors if isinstance(each, str)]

    # --- agents -------------------------------------------------------------------------------------------------------

    def _note_runtime(self, resource: _Resource) -> None:
        known = resource.values.get(_RUNTIMES.get(resource.type, ""))
        if isinstance(known, str):
            self.runtimes[known] = resource.address

    def _agent(self, script: _Resource) -> str | None:
        """Find out what runs a script: by the id, if that is known already, or else by what `agent_id` refers to."""
        known = script.values.get("agent_id")
        if isinstance(known, str) and known:
            return self.runtimes.get(known, known)
        declaration = self._declaration(script)
        if declaration is not None:
            expression = _table(declaration.get("expressions")).get("agent_id")
            if (found := self._referred(script.module, expression, script.key, 0)) is not None:
                return found
        return next(iter(self.instances)) if len(self.instances) == 1 else None

    def _referred(self, module: ModulePath, expression: Json, key: str | int | None, depth: int) -> str | None:
        """Follow references through variables and outputs of modules to what runs scripts. The JSON has no locals."""
        references = _table(expression).get("references")
        for reference in references if isinstance(references, list) and depth < _DEPTH else ():
            if not isinstance(reference, str):
                continue
            if (match := _VARIABLE.fullmatch(reference)) and module:
                calls = _table(self.modules.get(_names(module[:-1]), {}).get("module_calls"))
                outer = _table(_table(calls.get(module[-1].name)).get("expressions")).get(match[1])
                return self._referred(module[:-1], outer, module[-1].key, depth + 1)
            if match := _OUTPUT.fullmatch(reference):
                (step,) = parse_module(match[1])
                outputs = _table(_table(self.modules.get(_names((*module, step)))).get("outputs"))
                inner = _table(outputs.get(match[2])).get("expression")
                return self._referred((*module, step), inner, step.key, depth + 1)
            if match := _RUNTIME.match(reference):
                found = address(module, match[0])
                same = f"{found}{shown_key(key)}"
                return same if found not in self.instances and same in self.instances else found
        return None


def _is(kind: Callable[..., Json], value: Json, what: str) -> Json:
    if not isinstance(value, kind):  # type: ignore[arg-type]
        raise _ShapeError(f"{what} is of the wrong kind, or missing")
    return value


def _table(value: Json) -> dict[str, Json]:
    """Give what stands where there may be a table, or nothing, and nothing else matters."""
    return value if isinstance(value, dict) else {}


def _names(module: ModulePath) -> tuple[str, ...]:
    return tuple(step.name for step in module)


def _resources(values: Json) -> Iterator[tuple[str, _Resource]]:
    """Give all resources of a module and those within it, with their mode, in the order of the document."""
    root = {} if values is None else _is(dict, values, "the values").get("root_module", {})
    waiting = [root]
    while waiting:
        module = _is(dict, waiting.pop(), "a module")
        try:
            path: tuple[Step, ...] = parse_module(module.get("address", ""))
        except (TypeError, ValueError) as error:
            raise _ShapeError(str(error)) from None
        for each in _is(list, module.get("resources", []), "resources"):
            _is(dict, each, "a resource")
            kind, name, where = (_is(str, each.get(key), f"{key} of a resource") for key in ("type", "name", "address"))
            values = _is(dict, each.get("values", {}), f"values of {where}")
            yield each.get("mode", ""), _Resource(path, kind, name, each.get("index"), where, values)
        waiting.extend(reversed(_is(list, module.get("child_modules", []), "child_modules")))


def _lines(text: str) -> dict[str, int]:
    """Find the lines of addresses, in a document that was laid out for reading; Terraform itself writes one line."""
    found: dict[str, int] = {}
    line, counted = 1, 0
    for match in _ADDRESS.finditer(text):
        line += text.count("\n", counted, match.start())
        counted = match.start()
        found.setdefault(json.loads(match[1]), line)
    return found

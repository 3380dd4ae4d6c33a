"""Plans in a folder of `.tf` files, as far as they are known without Terraform."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from fastdag.plan.hcl import Attribute, Block, HCLError, Reference, Scope, Set, UnknownError, Value, parse
from fastdag.plan.model import Plan
from fastdag.plan.problems import Problems
from fastdag.plan.scripts import (
    ASK_TERRAFORM,
    Declared,
    Key,
    ModulePath,
    Rule,
    Script,
    Step,
    address,
    plan_of,
    shown_key,
)

D = TypeVar("D")

_OF_A_SCRIPT: Final = (
    *("agent_id", "cron", "display_name", "icon", "log_path", "run_on_start", "run_on_stop", "script"),
    *("start_blocks_login", "timeout", "count", "for_each", "depends_on", "provider"),
)
_OF_A_RULE: Final = ("run", "after", "requires", "phase")
_OF_AN_ORDER: Final = ("count", "for_each", "depends_on", "provider")


def load_folder(path: Path) -> Plan:
    """Read a plan from the `.tf` files of a folder, and of the modules that it calls; or from a single file.

    Modules from elsewhere are read where `terraform init` put them.

    Raises
    ------
    PlanError
        With everything that is wrong with it.
    """
    problems = Problems()
    files = _Files(path if path.is_dir() else path.parent, problems)
    root = files.folder(path) if path.is_dir() else files.read([path])
    if not root.files and not len(problems):
        problems.add(str(path), 1, "there are no .tf files here")
    reader = _Reader(files, problems)
    module = _Module(root, (), files.given(path) if path.is_dir() else {})
    reader.build(module)
    reader.read(module)
    return plan_of(reader.scripts, reader.rules, reader.declared, problems)


@dataclass(slots=True)
class _Source:
    """What the files of one folder declare."""

    files: list[str] = field(default_factory=list)
    folder: Path = field(default_factory=Path)
    locals: dict[str, Attribute] = field(default_factory=dict)
    variables: dict[str, Block] = field(default_factory=dict)
    outputs: dict[str, Block] = field(default_factory=dict)
    calls: dict[str, Block] = field(default_factory=dict)
    scripts: dict[str, Block] = field(default_factory=dict)
    orders: dict[str, Block] = field(default_factory=dict)


class _Files:
    """Reads files, each folder once."""

    def __init__(self, root: Path, problems: Problems) -> None:
        self.problems = problems
        self._read: dict[Path, _Source] = {}
        self._installed: dict[str, Path] = {}
        try:
            listed = json.loads((root / ".terraform/modules/modules.json").read_bytes())["Modules"]
            self._installed = {each["Key"]: root / each["Dir"] for each in listed}
        except (OSError, ValueError, LookupError, TypeError):
            pass  # nobody ran `terraform init`, and no module may come from elsewhere

    def installed(self, path: ModulePath) -> Path | None:
        """Give the folder in which `terraform init` put a module."""
        return self._installed.get(".".join(step.name for step in path))

    def folder(self, path: Path) -> _Source:
        """Read a folder."""
        if path not in self._read:
            for other in sorted({*path.glob("*.tf.json"), *path.glob("*override.tf"), *path.glob("*.tfvars.json")}):
                self.problems.add(str(other), 1, f"files of this kind are not read; {ASK_TERRAFORM}")
            self._read[path] = self.read(sorted(path.glob("*.tf")))
            self._read[path].folder = path
        return self._read[path]

    def read(self, paths: list[Path]) -> _Source:
        """Read files of one folder."""
        source = _Source(folder=paths[0].parent if paths else Path())
        for path in paths:
            source.files.append(str(path))
            root = self._parsed(path)
            for block in root.blocks if root else ():
                match block.type, block.labels:
                    case "locals", ():
                        source.locals |= block.attributes
                    case "variable", (name,):
                        self._enter(source.variables, name, block, f"var.{name}")
                    case "output", (name,):
                        self._enter(source.outputs, name, block, f"output {name}")
                    case "module", (name,):
                        self._enter(source.calls, name, block, f"module.{name}")
                    case "resource", ("coder_script", name):
                        self._enter(source.scripts, name, block, f"coder_script.{name}")
                    case "data", ("coder_script_order", name):
                        self._enter(source.orders, name, block, f"data.coder_script_order.{name}")
        return source

    def given(self, folder: Path) -> dict[str, Attribute]:
        """Give the variables that Terraform takes from files by itself."""
        given: dict[str, Attribute] = {}
        for path in [folder / "terraform.tfvars", *sorted(folder.glob("*.auto.tfvars"))]:
            if path.exists() and (root := self._parsed(path)):
                given |= root.attributes
        return given

    def _parsed(self, path: Path) -> Block | None:
        data = path.read_bytes()
        try:
            return parse(str(path), data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            self.problems.add(str(path), data.count(b"\n", 0, error.start) + 1, "this is not UTF-8")
        except HCLError as error:
            self.problems.add(str(path), error.line, str(error))
        return None

    def _enter(self, known: dict[str, Block], name: str, block: Block, what: str) -> None:
        if first := known.get(name):
            place = f"{first.file}:{first.line}"
            self.problems.add(block.file, block.line, f"{what} is declared twice, first at {place}")
        known.setdefault(name, block)


class _Module:
    """One instance of a module: what its names stand for."""

    def __init__(
        self,
        source: _Source,
        path: ModulePath,
        given: Mapping[str, Attribute],
        outer: Scope | None = None,
        folders: frozenset[Path] = frozenset(),
    ) -> None:
        self.source = source
        self.folders = folders | {source.folder.resolve()}
        self.path = path
        self.scope = Scope(self._look_up, lambda resource: address(path, resource))
        self.inner: dict[tuple[str, Key], _Module] = {}
        self._given = given
        self._outer = outer
        self._values: dict[tuple[str, str], Value] = {}
        self._open: set[tuple[str, str]] = set()

    def _look_up(self, kind: str, name: str, key: Value, output: str | None) -> Value:
        if kind == "module":
            module = self.inner.get((name, key))
            if module is None or output not in module.source.outputs:
                raise UnknownError(f"it refers to {address((), f'module.{name}{shown_key(key)}.{output}')}")
            return module.output(output)
        if (kind, name) not in self._values:
            if (kind, name) in self._open:
                raise UnknownError(f"{kind}.{name} refers to itself")
            self._open.add((kind, name))
            try:
                self._values[kind, name] = self._local(name) if kind == "local" else self._variable(name)
            finally:
                self._open.discard((kind, name))
        return self._values[kind, name]

    def output(self, name: str) -> Value:
        """Evaluate an output."""
        value = self.source.outputs[name].attributes.get("value")
        if value is None:
            raise UnknownError(f"output {name} has no value")
        return self.scope.evaluate(value.expression)

    def _local(self, name: str) -> Value:
        if name not in self.source.locals:
            raise UnknownError(f"there is no local.{name}")
        return self.scope.evaluate(self.source.locals[name].expression)

    def _variable(self, name: str) -> Value:
        if name not in self.source.variables:
            raise UnknownError(f"there is no var.{name}")
        if name in self._given:
            return (self._outer or self.scope).evaluate(self._given[name].expression)
        default = self.source.variables[name].attributes.get("default")
        if default is None:
            raise UnknownError(f"var.{name} has no default")
        return self.scope.evaluate(default.expression)


class _Reader:
    """Collects scripts and rules from all instances of all modules."""

    def __init__(self, files: _Files, problems: Problems) -> None:
        self.scripts: list[Script] = []
        self.rules: list[Rule] = []
        self.declared: dict[tuple[str, ...], Declared] = {}
        self.problems = problems
        self._files = files

    def build(self, module: _Module) -> None:
        """Make the instances of the modules within a module: all are there before anybody refers to their outputs."""
        source = module.source
        names = tuple(step.name for step in module.path)
        self.declared[names] = Declared(set(source.scripts), set(source.calls))
        for name, call in source.calls.items():
            self._build_call(module, name, call)

    def read(self, module: _Module) -> None:
        """Read scripts and rules of a module and of those within it."""
        source = module.source
        for name, block in source.scripts.items():
            where = address(module.path, f"coder_script.{name}")
            self._check_keys(block, where, _OF_A_SCRIPT)
            for key, scope in self._instances(module.scope, block, where):
                self._read_script(module, scope, block, name, key)
        for name, block in source.orders.items():
            where = address(module.path, f"data.coder_script_order.{name}")
            self._check_keys(block, where, _OF_AN_ORDER)
            for key, scope in self._instances(module.scope, block, where):
                self._read_rules(module, scope, block, f"{name}{shown_key(key)}")
        for inner in module.inner.values():
            self.read(inner)

    def _build_call(self, module: _Module, name: str, call: Block) -> None:
        step = (*module.path, Step(name))
        where = address(module.path, f"module.{name}")
        self.declared.setdefault(tuple(each.name for each in step), Declared())
        origin = self._text(module.scope, call, where, "source", "")
        if not origin:
            return
        folder: Path | None = module.source.folder / origin
        if not origin.startswith(("./", "../")):
            folder = self._files.installed(step)
        if folder is None or not folder.is_dir():
            self._problem(
                call, "source", f"{where}: {origin} is not here; run `terraform init` first, or {ASK_TERRAFORM}"
            )
            return
        if (folder := folder.resolve()) in module.folders:
            self._problem(call, "source", f"{where} is within itself")
            return
        given = {key: value for key, value in call.attributes.items() if key not in ("source", "version")}
        for key, scope in self._instances(module.scope, call, where):
            path = (*module.path, Step(name, key))
            inner = _Module(self._files.folder(folder), path, given, scope, module.folders)
            module.inner[name, key] = inner
            self.build(inner)

    def _instances(self, scope: Scope, block: Block, where: str) -> Iterator[tuple[Key, Scope]]:
        """Give the keys of the instances of a block, and what names stand for in each."""
        if "count" in block.attributes:
            count = self._value(scope, block, where, "count", None)
            if count is None:
                return
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                self._problem(block, "count", f"{where}: count must be a number from 0, not {count!r}")
                return
            for number in range(count):
                yield number, replace(scope, known={("count", "index"): number})
        elif "for_each" in block.attributes:
            each = self._value(scope, block, where, "for_each", None)
            if isinstance(each, Set):
                each = {key: key for key in each}
            if isinstance(each, dict):
                for key, value in sorted(each.items()):
                    yield key, replace(scope, known={("each", "key"): key, ("each", "value"): value})
            elif each is not None:
                self._problem(block, "for_each", f"{where}: for_each must be a map or toset([…])")
        else:
            yield None, scope

    def _read_script(self, module: _Module, scope: Scope, block: Block, name: str, key: Key) -> None:
        where = address(module.path, f"coder_script.{name}{shown_key(key)}")
        for required in ("agent_id", "display_name", "script"):
            if required not in block.attributes:
                self._problem(block, None, f"{where} has no {required}")
        timeout = self._value(scope, block, where, "timeout", 0)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout < 0:
            self._problem(block, "timeout", f"{where}: timeout must be a number of seconds, not {timeout!r}")
            timeout = 0
        self.scripts.append(
            Script(
                module=module.path,
                name=name,
                key=key,
                text=self._text(scope, block, where, "script", None),
                title=self._text(scope, block, where, "display_name", ""),
                on_start=self._truth(scope, block, where, "run_on_start"),
                on_stop=self._truth(scope, block, where, "run_on_stop"),
                timeout=float(timeout) or None,
                agent=self._agent(scope, block, where),
                file=block.file,
                line=block.line,
            )
        )

    def _agent(self, scope: Scope, block: Block, where: str) -> str | None:
        if "agent_id" not in block.attributes:
            return None
        try:
            value = _evaluated(scope, block.attributes["agent_id"])
        except UnknownError as error:
            self._unknown(block, where, "agent_id", error)
            return None
        return value.address if isinstance(value, Reference) else str(value)

    def _read_rules(self, module: _Module, scope: Scope, order: Block, source: str) -> None:
        where = address(module.path, f"data.coder_script_order.{source}")
        rules = [block for block in order.blocks if block.type == "rule"]
        for block in order.blocks:
            if block.type == "dynamic":
                self._problem(block, None, f"{where}: dynamic blocks are not known without Terraform; {ASK_TERRAFORM}")
            elif block.type != "rule":
                self._problem(block, None, f"{where}: unknown block {block.type!r}; did you mean 'rule'?")
        if not order.blocks:
            self._problem(order, None, f"{where}: it needs a rule")
        for number, block in enumerate(rules):
            what = f"{where}, rule {number}"
            self._check_keys(block, what, _OF_A_RULE)
            before = len(self.problems)
            rule = Rule(
                module=module.path,
                source=source,
                number=number,
                run=self._selectors(scope, block, what, "run"),
                after=self._selectors(scope, block, what, "after"),
                requires=self._text(scope, block, what, "requires", "success"),
                phase=self._text(scope, block, what, "phase", ""),
                file=block.file,
                line=block.line,
            )
            if len(self.problems) == before:
                self.rules.append(rule)

    def _selectors(self, scope: Scope, block: Block, where: str, name: str) -> list[str]:
        value = self._value(scope, block, where, name, [])
        selectors = [value] if isinstance(value, str) else value
        if isinstance(selectors, list) and all(isinstance(each, str) for each in selectors):
            return selectors
        self._problem(block, name, f"{where}: {name} must be a list of selectors")
        return []

    # --- attributes ---------------------------------------------------------------------------------------------------

    def _check_keys(self, block: Block, where: str, known: tuple[str, ...]) -> None:
        for key in block.attributes:
            if key not in known:
                self._problem(block, key, f"{where}: unknown key {key!r}{self.problems.near(key, known)}")

    def _value(self, scope: Scope, block: Block, where: str, name: str, default: Any) -> Any:
        if name not in block.attributes:
            return default
        try:
            value = _plain(_evaluated(scope, block.attributes[name]))
        except UnknownError as error:
            self._unknown(block, where, name, error)
            return default
        return default if value is None else value

    def _text(self, scope: Scope, block: Block, where: str, name: str, default: D) -> str | D:
        value = self._value(scope, block, where, name, default)
        if value is default or isinstance(value, str):
            return value
        if isinstance(value, (bool, int, float)):
            return scope.text(value)
        self._problem(block, name, f"{where}: {name} must be a text")
        return default

    def _truth(self, scope: Scope, block: Block, where: str, name: str) -> bool:
        value = self._value(scope, block, where, name, False)
        for truth, text in ((True, "true"), (False, "false")):
            if value is truth or value == text:
                return truth
        self._problem(block, name, f"{where}: {name} must be true or false")
        return False

    def _unknown(self, block: Block, where: str, name: str, why: UnknownError) -> None:
        self._problem(block, name, f"{where}: {name} is not known without Terraform ({why}); {ASK_TERRAFORM}")

    def _problem(self, block: Block, name: str | None, message: str) -> None:
        line = block.attributes[name].line if name in block.attributes else block.line
        self.problems.add(block.file, line, message)


def _evaluated(scope: Scope, attribute: Attribute) -> Value:
    try:
        return scope.evaluate(attribute.expression)
    except RecursionError:
        raise UnknownError("it is nested too deeply") from None


def _plain(value: Value) -> Value:
    """Give a value back if it is known all through."""
    if isinstance(value, Reference):
        raise UnknownError(f"it refers to {value.text}")
    if isinstance(value, dict):
        for each in value.values():
            _plain(each)
    elif isinstance(value, list):
        for each in value:
            _plain(each)
    return value

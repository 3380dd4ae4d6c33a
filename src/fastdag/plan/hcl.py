"""The text of `.tf` files: blocks, and what their expressions say as far as that is known without Terraform."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import hcl2
from lark import Token, Tree
from lark.exceptions import UnexpectedInput

from fastdag.plan.scripts import shown_key

Value = Any  # str, bool, int, float, None, list, dict, Set or Reference

_ESCAPE = re.compile(r'\\(?:([nrt"\\])|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))')
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_HEREDOC = re.compile(r"<<-?([\w.-]+)\r?\n(.*?)[ \t]*\1\r?\n\Z", re.DOTALL)
_TEMPLATE = re.compile(r"(\$\$\{|%%\{)|(\$\{~?|%\{)")
_INTERPOLATION = re.compile(r'((?:[^{}"]|"(?:[^"\\$]|\\.)*")*?)~?\}')
_SPACE: Final = "new_line_or_comment"


class UnknownError(Exception):
    """An expression is not known without Terraform; the text says why."""


class HCLError(Exception):
    """A file is not HCL.

    Attributes
    ----------
    line : int
    """

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


class Reference(NamedTuple):
    """What an expression refers to: a resource, whose values only Terraform knows."""

    address: str
    text: str


class Set(list[str]):
    """What `toset` gives, in its order."""


class Attribute(NamedTuple):
    """`name = expression`, not yet evaluated."""

    expression: Tree[Token]
    line: int


@dataclass(frozen=True, slots=True)
class Block:
    """`type "label" { … }`."""

    type: str
    labels: tuple[str, ...]
    file: str
    line: int
    attributes: dict[str, Attribute] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)


def parse(file: str, text: str) -> Block:
    """Read a file; gives a block without type that holds what the file does.

    Raises
    ------
    HCLError
    """
    try:
        tree = hcl2.parses_to_tree(text)
    except UnexpectedInput as error:
        line = error.line if error.line > 0 else text.rstrip().count("\n") + 1
        lines = text.splitlines()
        shown = lines[line - 1].strip() if line <= len(lines) else ""
        raise HCLError(line, f"not HCL: {shown!r}" if shown else "not HCL: the file ends too early") from None
    root = Block("", (), file, 1)
    try:
        _fill(root, _tree(tree.children[0]))
    except RecursionError:
        raise HCLError(1, "blocks are nested too deeply") from None
    return root


def _fill(block: Block, body: Tree[Token]) -> None:
    for child in _trees(body):
        first = child.children[0]
        if child.data == "attribute":
            expression = _trees(child)[-1]
            block.attributes[_word(_tree(first))] = Attribute(expression, child.meta.line)
        else:
            labels = tuple(_word(each) for each in _trees(child)[1:-1])
            inner = Block(_word(_tree(first)), labels, block.file, child.meta.line)
            _fill(inner, _trees(child)[-1])
            block.blocks.append(inner)


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree) and child.data != _SPACE]


def _tree(child: Tree[Token] | Token) -> Tree[Token]:
    if isinstance(child, Tree):
        return child
    raise TypeError(f"{child!r} stands where a part of HCL's grammar should")


def _word(tree: Tree[Token]) -> str:
    """Give a name, quoted or not."""
    return "".join(map(str, tree.scan_values(lambda token: isinstance(token, Token) and token.type != "DBLQUOTE")))


@dataclass(frozen=True, slots=True)
class Scope:
    """What names stand for, in one module.

    Attributes
    ----------
    look_up : callable
        Gives what `var.NAME`, `local.NAME` or `module.NAME.OUTPUT` stands for, by the first word, the others and the
        key of the module; raises `UnknownError`.
    own : callable
        Makes the address of a resource in this module.
    known : mapping of (str, str) to Value
        `count.index`, `each.key`, `each.value` where there are such.
    """

    look_up: Callable[[str, str, Value, str | None], Value]
    own: Callable[[str], str]
    known: Mapping[tuple[str, str], Value] = field(default_factory=dict)

    def evaluate(self, tree: Tree[Token]) -> Value:
        """Give the value of an expression.

        Raises
        ------
        UnknownError
            If it has none without Terraform.
        """
        known = getattr(self, f"_{tree.data}", None)
        if known is None:
            raise UnknownError(f"it has {_NAMED.get(tree.data, 'an expression of a kind that is not read')}")
        return known(tree)

    def _expr_term(self, tree: Tree[Token]) -> Value:
        (inner,) = _trees(tree)
        return self.evaluate(inner)

    def _int_lit(self, tree: Tree[Token]) -> Value:
        return int(_word(tree))

    def _float_lit(self, tree: Tree[Token]) -> Value:
        return float(_word(tree))

    def _literal_value(self, tree: Tree[Token]) -> Value:
        return {"true": True, "false": False, "null": None}[_word(tree)]

    def _tuple(self, tree: Tree[Token]) -> Value:
        return [self.evaluate(each) for each in _trees(tree)]

    def _object(self, tree: Tree[Token]) -> Value:
        answer = {}
        for each in _trees(tree):
            key, value = _trees(each)
            answer[self._object_key(key)] = self.evaluate(value)
        return answer

    def _object_key(self, tree: Tree[Token]) -> str:
        inner = tree
        while inner.data in ("object_elem_key", "expr_term") and len(inner.children) == 1:
            inner = _tree(inner.children[0])
        return _word(inner) if inner.data in ("identifier", "keyword") else self.text(self.evaluate(inner))

    def text(self, value: Value) -> str:
        """Give a value as a template has it."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (str, int, float)):
            return str(value)
        if isinstance(value, Reference):
            raise UnknownError(f"it refers to {value.text}")
        raise UnknownError("a template holds what is no text")

    # --- strings ------------------------------------------------------------------------------------------------------

    def _string(self, tree: Tree[Token]) -> Value:
        parts = [_tree(part.children[0]) if isinstance(part.children[0], Tree) else part for part in _trees(tree)]
        if len(parts) == 1 and parts[0].data == "interpolation":
            return self.evaluate(_trees(parts[0])[0])
        return "".join(self._string_part(part) for part in parts)

    def _string_part(self, part: Tree[Token]) -> str:
        if part.data == "interpolation":
            return self.text(self.evaluate(_trees(part)[0]))
        if part.data != "string_part":
            raise UnknownError("it has a template directive")
        token = part.children[0]
        text = str(token)
        if isinstance(token, Token) and token.type in ("ESCAPED_INTERPOLATION", "ESCAPED_DIRECTIVE"):
            return text[1:]
        return _ESCAPE.sub(_unescaped, text)

    def _heredoc_template(self, tree: Tree[Token]) -> Value:
        return self._template(_heredoc(tree))

    def _heredoc_template_trim(self, tree: Tree[Token]) -> Value:
        lines = _heredoc(tree).splitlines(keepends=True)
        indent = min((len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()), default=0)
        return self._template("".join(line[indent:] if line.strip() else line.lstrip(" \t") for line in lines))

    def _template(self, text: str) -> str:
        parts = []
        position = 0
        while match := _TEMPLATE.search(text, position):
            parts.append(text[position : match.start()])
            position = match.end()
            if match[1]:
                parts.append(match[1][1:])
                continue
            inner = _INTERPOLATION.match(text, position)
            if match[2] != "${" or inner is None or text[inner.end() - 2] == "~":
                raise UnknownError("it has a template of a kind that is not read")
            try:
                expression = parse("", f"x = {inner[1]}\n").attributes["x"].expression
            except (HCLError, KeyError):
                raise UnknownError(f"it has the template ${{{inner[1]}}}") from None
            parts.append(self.text(self.evaluate(expression)))
            position = inner.end()
        return "".join([*parts, text[position:]])

    # --- operators and functions --------------------------------------------------------------------------------------

    def _conditional(self, tree: Tree[Token]) -> Value:
        condition, then, otherwise = _trees(tree)
        return self.evaluate(then if self._truth(condition) else otherwise)

    def _truth(self, tree: Tree[Token]) -> bool:
        value = self._literal(tree)
        if not isinstance(value, bool):
            raise UnknownError("it has a condition that is neither true nor false")
        return value

    def _literal(self, tree: Tree[Token]) -> Value:
        value = self.evaluate(tree)
        if isinstance(value, Reference):
            raise UnknownError(f"it refers to {value.text}")
        return value

    def _binary_op(self, tree: Tree[Token]) -> Value:
        left, term = _trees(tree)
        operator, right = _trees(term)
        match _word(operator):
            case "==":
                return _same(self._literal(left), self._literal(right))
            case "!=":
                return not _same(self._literal(left), self._literal(right))
            case "&&":
                return self._truth(left) and self._truth(right)
            case "||":
                return self._truth(left) or self._truth(right)
            case sign:
                raise UnknownError(f"it computes with {sign}")

    def _unary_op(self, tree: Tree[Token]) -> Value:
        sign, (operand,) = str(tree.children[0]), _trees(tree)
        if sign == "!":
            return not self._truth(operand)
        value = self._literal(operand)
        if not isinstance(value, (int, float)):
            raise UnknownError("it has a minus before what is no number")
        return -value

    def _function_call(self, tree: Tree[Token]) -> Value:
        name, *arguments = _trees(tree)
        if _word(name) == "toset" and arguments:
            values = self.evaluate(_trees(arguments[0])[0])
            if isinstance(values, list):
                return Set(sorted({self.text(value) for value in values}))
        raise UnknownError(f"it calls {_word(name)}()")

    # --- references ---------------------------------------------------------------------------------------------------

    def _identifier(self, tree: Tree[Token]) -> Value:
        raise UnknownError(f"it has the word {_word(tree)}")

    def _get_attr_expr_term(self, tree: Tree[Token]) -> Value:
        return self._traversal(tree)

    def _index_expr_term(self, tree: Tree[Token]) -> Value:
        return self._traversal(tree)

    def _traversal(self, tree: Tree[Token]) -> Value:
        root, steps = self._steps(tree)
        if root.data != "identifier":
            return _into(self.evaluate(root), steps)
        first = _word(root)
        text = f"{first}{''.join(f'.{value}' if kind == 'name' else shown_key(value) for kind, value in steps)}"
        names = [value for kind, value in steps[:1] if kind == "name"]
        if not names:
            raise UnknownError(f"it refers to {text}")
        if first in ("var", "local"):
            return _into(self.look_up(first, names[0], None, None), steps[1:])
        if first in ("count", "each"):
            if (first, names[0]) not in self.known:
                raise UnknownError(f"it refers to {text}")
            return _into(self.known[first, names[0]], steps[1:])
        key = steps[1][1] if len(steps) > 1 and steps[1][0] == "key" else None
        if first == "module":
            rest = steps[1:] if key is None else steps[2:]
            if not rest or rest[0][0] != "name":
                raise UnknownError(f"it refers to {text}")
            return _into(self.look_up(first, names[0], key, rest[0][1]), rest[1:])
        if first in ("data", "path", "terraform", "self"):
            raise UnknownError(f"it refers to {text}")
        return Reference(self.own(f"{first}.{names[0]}{shown_key(key)}"), text)

    def _steps(self, tree: Tree[Token]) -> tuple[Tree[Token], list[tuple[str, Value]]]:
        """Take `a.b[0].c` apart: `a`, and the way from there."""
        steps: list[tuple[str, Value]] = []
        while True:
            while tree.data == "expr_term" and len(tree.children) == 1:
                tree = _tree(tree.children[0])
            if tree.data not in ("get_attr_expr_term", "index_expr_term"):
                return tree, steps[::-1]
            tree, step = _trees(tree)
            if step.data == "get_attr":
                steps.append(("name", _word(_trees(step)[0])))
            elif step.data == "short_index":
                steps.append(("key", int(str(step.children[-1]))))
            else:
                steps.append(("key", self._literal(_trees(step)[0])))


def _into(value: Value, steps: list[tuple[str, Value]]) -> Value:
    """Follow a way into a value."""
    for _, step in steps:
        if isinstance(value, Reference):
            raise UnknownError(f"it refers to a part of {value.text}")
        try:
            value = value[step]
        except (TypeError, LookupError):
            raise UnknownError(f"it asks for {step!r} of what has no such thing") from None
    return value


def _same(left: Value, right: Value) -> bool:
    """Whether two values are equal, to Terraform: a text never equals a number or a truth value."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _heredoc(tree: Tree[Token]) -> str:
    match = _HEREDOC.match(str(tree.children[0]))
    return match[2] if match else ""


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPED[match[1]] if match[1] else chr(int(match[2] or match[3], 16))


_NAMED: Final = {
    "for_tuple_expr": "a for expression",
    "for_object_expr": "a for expression",
    "attr_splat_expr_term": "a splat",
    "full_splat_expr_term": "a splat",
}

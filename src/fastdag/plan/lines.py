"""Where the values of a TOML document stand, for messages: `tomllib` tells what they are, but not where."""

from __future__ import annotations

import re
from bisect import bisect_right

from fastdag.plan.parser import loads

Path = tuple[str | int, ...]

_SPACE = re.compile(r"(?:[ \t\r\n,]+|#[^\n]*)*")
_NAME = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = re.compile(rf"[ \t]*({_NAME})[ \t]*")
_HEADER = re.compile(r"\[([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\]")  # what nearly all are
_TEXT = (
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}|' + r"'''(?:[^']|'{1,2}(?!'))*'{3,5}|" + r'"(?:[^"\\]|\\.)*"|' + r"'[^']*'"
)
_STRING = re.compile(_TEXT, re.DOTALL)
_PLAIN = re.compile(r"""[^\[{"',\]}#\n \t][^,\]}#\n]*""")
_FLAT = re.compile(rf"""[\[{{](?>{_TEXT}|[^\[\]{{}}"'#]+)*+[\]}}]""", re.DOTALL)  # with nothing nested, and no comments
# As much of a table as has nothing nested.
_BODY = re.compile(
    rf"(?>[ \t\r\n]+|#[^\n]*|{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*[ \t]*=[ \t]*"
    rf"(?>{_TEXT}|{_FLAT.pattern}|{_PLAIN.pattern}))*+",
    re.DOTALL,
)


class Lines:
    r"""The lines of a document that `tomllib` has read; of any other they make no sense.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> lines = Lines('[units.a]\nafter = [\n  "b",\n]\n')
    >>> lines.of(("units", "a")), lines.of(("units", "a", "after", 0))
    (1, 3)
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [match.end() for match in re.finditer("\n", text)]
        self._found: dict[Path, int] = {}
        # Nobody asks for most lines, so that it is enough to know where to look for them.
        self._unread: dict[Path, int] = {}  # where the pairs of a table begin
        self._closed: dict[Path, int] = {}  # where an array or inline table begins
        self._tables: dict[Path, int] = {}  # how many there are so far of each array of tables
        self._scan()

    def of(self, path: Path) -> int:
        """Give the line at which a value is defined, or else that of the nearest that holds it."""
        for length in range(len(path) if path not in self._found else 0):
            if (start := self._unread.pop(path[:length], None)) is not None:
                self._pairs(path[:length], start)
            if (start := self._closed.pop(path[:length], None)) is not None:
                self._inside(path[:length], start)
        while path and path not in self._found:
            path = path[:-1]
        return bisect_right(self._starts, self._found[path]) + 1 if path else 1

    def _scan(self) -> None:
        table: Path = ()
        position = 0
        self._unread[table] = position
        text, body, header, found = self._text, _BODY.match, _HEADER.match, self._found
        while (match := body(text, position)) and (position := match.end()) < len(text):
            if not self._tables and (simple := header(text, position)):
                table = tuple(simple[1].split("."))
                found.setdefault(table, position)
                position = self._unread[table] = simple.end()
            elif text[position] == "[":
                table, position = self._header(position)
                self._unread[table] = position
            else:
                position = self._pair(table, position)

    def _pairs(self, table: Path, position: int) -> None:
        position = self._skip(position)
        while position < len(self._text) and self._text[position] != "[":
            position = self._skip(self._pair(table, position))

    def _header(self, start: int) -> tuple[Path, int]:
        brackets = 2 if self._text.startswith("[[", start) else 1
        keys, position = self._keys(start + brackets)
        table: Path = ()
        for key in keys[:-1]:
            table = self._last((*table, key))
        table = (*table, keys[-1])
        self._found.setdefault(table, start)
        if brackets == 2:
            self._tables[table] = self._tables.get(table, 0) + 1
            table = self._last(table)
            self._found[table] = start
        return table, position + brackets

    def _last(self, table: Path) -> Path:
        count = self._tables.get(table)
        return table if count is None else (*table, count - 1)

    def _keys(self, position: int) -> tuple[list[str], int]:
        keys: list[str] = []
        while True:
            match = self._match(_KEY, position)
            word, position = match[1], match.end()
            keys.append(loads(f"key = {word}")["key"] if word[0] in "\"'" else word)
            if self._text[position] != ".":
                return keys, position
            position += 1

    def _pair(self, table: Path, start: int) -> int:
        keys, position = self._keys(start)
        for key in keys:
            table = (*table, key)
            self._found.setdefault(table, start)
        position += 1  # the equals sign
        while self._text[position] in " \t":
            position += 1
        return self._value(table, position)

    def _value(self, path: Path, position: int) -> int:
        opening = self._text[position]
        if opening in "[{":
            if flat := _FLAT.match(self._text, position):
                self._closed[path] = position
                return flat.end()
            return self._inside(path, position)
        return self._match(_STRING if opening in "\"'" else _PLAIN, position).end()

    def _inside(self, path: Path, position: int) -> int:
        number = 0
        is_array = self._text[position] == "["
        position = self._skip(position + 1)
        while self._text[position] not in "]}":
            if is_array:
                self._found[*path, number] = position
                position = self._value((*path, number), position)
                number += 1
            else:
                position = self._pair(path, position)
            position = self._skip(position)
        return position + 1

    def _skip(self, position: int) -> int:
        return self._match(_SPACE, position).end()

    def _match(self, pattern: re.Pattern[str], position: int) -> re.Match[str]:
        match = pattern.match(self._text, position)
        if match is None:
            raise ValueError(f"no TOML at line {bisect_right(self._starts, position) + 1}")
        return match

"""What a unit prints, in a file of its own that has its limit."""

from __future__ import annotations

import os
from typing import Final

_TAIL: Final = 4096  # bytes that the last lines are looked for in
_NAME: Final = 240  # bytes of a file's name, of the 255 that file systems take, less the suffix
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,+=@:[]\"' ")


def file_name(unit: str) -> str:
    """Give the name of a unit's log, without a suffix: odd bytes become `%XX`.

    Examples
    --------
    >>> file_name("build"), file_name("a/b"), file_name("..")
    ('build', 'a%2Fb', '%2E.')
    """
    encoded = unit.encode()
    name = "".join(
        chr(byte) if byte in _PLAIN and not (at == 0 and byte == ord(".")) else f"%{byte:02X}"
        for at, byte in enumerate(encoded)
    )
    if len(name) <= _NAME:
        return name
    from hashlib import blake2b  # noqa: PLC0415 - few names are so long

    return f"{name[: _NAME - 17]}-{blake2b(encoded, digest_size=8).hexdigest()}"


class Log:
    """A unit's log: a file from the first byte on, so that a unit that prints nothing costs none.

    Parameters
    ----------
    path : str
    limit : int
        Bytes that the unit may print.
    append : bool
        Whether what the file has from an earlier run stays.

    Attributes
    ----------
    flaw : str or None
        Why not all of what came is in the file.
    limit : int
    left : int
        Bytes that the unit may still print; negative once it printed more.
    """

    def __init__(self, path: str, limit: int, append: bool = False) -> None:
        self.path = path
        self.flaw: str | None = None
        self.left = limit
        self.limit = limit
        self._mode = os.O_APPEND if append else os.O_APPEND | os.O_TRUNC
        self._descriptor = -1

    def write(self, data: bytes) -> None:
        """Add what the unit printed; once that went wrong, no more is taken."""
        if self.flaw is not None:
            return
        self._put(data[: self.left])
        self.left -= len(data)
        if self.left < 0 and self.flaw is None:
            self.flaw = too_much(self.limit)
            self._put(f"\nfastdag: {self.flaw}\n".encode())

    def note(self, text: str) -> None:
        """Add a line of the runner's own."""
        if self.flaw is None:
            self._put(f"fastdag: {text}\n".encode())

    def _put(self, data: bytes) -> None:
        try:
            self.open()
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            self.flaw = f"its log cannot be written: {error.strerror}"

    def open(self) -> None:
        """Open the file now, as for one that is there already: what an earlier run printed is not this one's.

        Raises
        ------
        OSError
            If that is not possible.
        """
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | self._mode
            self._descriptor = os.open(self.path, flags, 0o666)
            self._mode = os.O_APPEND

    def close(self) -> None:
        """Let go of the file, which is opened again when there is more to write."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def tail(self, lines: int) -> list[str]:
        """Give the last lines, without what a terminal would take for more than text."""
        try:
            with open(self.path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                data = file.read(_TAIL)
        except OSError:
            return []
        found = data.decode(errors="replace").splitlines()
        if size > _TAIL and len(found) > 1:
            del found[0]  # the end of a line that begins before
        return ["".join(char for char in line if char.isprintable() or char == "\t") for line in found[-lines:]]


def too_much(limit: int) -> str:
    """Say that a unit printed more than it may."""
    return f"it printed more than {shown_size(limit)}, the limit of its log"


_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def shown_size(size: int) -> str:
    """Write a number of bytes for a person.

    Examples
    --------
    >>> shown_size(100), shown_size(256 << 20), shown_size(1536)
    ('100 B', '256 MiB', '1.5 KiB')
    """
    number = float(size)
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{number:.4g} {unit}"

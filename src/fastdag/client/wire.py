"""HTTP/1.1 and JSON as the clients speak them: requests as bytes, and bytes as replies. Nothing here reads or writes.

Imports nothing but what every interpreter has loaded already, and `_json`, the compiled part of json: this module is on
the way of `fastdag sync complete`, which json alone (it imports re) would make a quarter slower.
"""

import os
from _json import encode_basestring_ascii

HEAD = 65536  # bytes of a reply's head at most
LONGEST = 10**9  # seconds that a call may wait at most, 31 years, if it has a limit


def default_socket() -> str:
    """Give the path of the socket at which a service listens when nobody says otherwise.

    Returns
    -------
    str
        `$FASTDAG_SOCKET`, else `$XDG_RUNTIME_DIR/fastdag.sock`, else `/tmp/fastdag-<uid>/fastdag.sock`.
    """
    path = os.environ.get("FASTDAG_SOCKET")
    if path:
        return path
    directory = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/fastdag-{os.getuid()}"
    return f"{directory}/fastdag.sock"


def encode(value: object) -> str:
    """Write a value made of None, booleans, finite numbers, strings, lists, tuples and dicts as JSON.

    Raises
    ------
    TypeError
        If it holds anything else.
    ValueError
        If a string in it has no form in UTF-8.
    """
    if isinstance(value, str):
        _check(value)
        return encode_basestring_ascii(value)
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{encode(key)}:{encode(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([encode(item) for item in value]) + "]"
    raise TypeError(f"{type(value).__name__} has no form in JSON; send text, numbers, lists and dicts")


_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def target(path: str, query: "dict[str, str | None]") -> str:
    """Put a query behind a path; what is None is left out."""
    pairs = [f"{key}={_quoted(value)}" for key, value in query.items() if value is not None]
    return path + ("?" + "&".join(pairs) if pairs else "")


def _quoted(text: str) -> str:
    _check(text)
    return "".join([chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in text.encode()])


def _check(text: str) -> None:
    """Refuse what is no text: lone surrogates, which stand for bytes of an argument that are not UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{text!r} is not text in UTF-8, which the service's names are") from None


def request(method: str, path: str, headers: str, fields: "dict[str, object] | None" = None) -> bytes:
    """Write a request. `headers`: lines that each end in CR LF, Host among them."""
    if fields is None:
        return f"{method} {path} HTTP/1.1\r\n{headers}\r\n".encode("ascii")
    body = encode(fields)
    about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{method} {path} HTTP/1.1\r\n{headers}{about}\r\n{body}".encode("ascii")


class MalformedError(ValueError):
    """What came is not an answer in HTTP/1.1."""


class Reply:
    """An answer, as it comes in.

    Attributes
    ----------
    status : int
        0 until the head is there.
    body : bytearray
        What has come of the body; whoever reads an endless one takes it out.
    complete : bool
    reusable : bool
        Whether the connection can carry another request afterwards; of use once it is complete.
    """

    __slots__ = ("_chunked", "_data", "_left", "_to_the_end", "body", "complete", "reusable", "status")

    def __init__(self) -> None:
        self.status = 0
        self.body = bytearray()
        self.complete = False
        self.reusable = True
        self._data = bytearray()  # what has come and is not understood yet
        self._left = 0  # bytes to come of the body; or of the chunk, the end of its line included
        self._chunked = False
        self._to_the_end = True  # the body ends where the connection does

    def feed(self, data: bytes) -> None:
        """Take in what was read; empty: the other side closed.

        Raises
        ------
        MalformedError
            If it is not HTTP.
        EOFError
            If the answer was cut off.
        """
        if not data:
            if not self.status or not self._to_the_end:
                raise EOFError
            self.complete = True
            return
        self._data += data
        if not self.status and not self._head():
            return
        if self._chunked:
            self._chunks()
            return
        self.body += self._data
        self._data.clear()
        if not self._to_the_end:
            self.complete = len(self.body) == self._left
            if len(self.body) > self._left:
                raise MalformedError("there is more of it than it announced")

    def _head(self) -> bool:
        """Read the head, if all of it is there; one of an interim answer (100 to 199) is skipped."""
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > HEAD or not b"HTTP/1.1 ".startswith(self._data[:9]):
                raise MalformedError("it does not begin like one")
            return False
        first, *lines = self._data[:end].decode("latin-1").split("\r\n")
        del self._data[: end + 4]
        status = first[9:12]
        if not first.startswith("HTTP/1.1 ") or not (status.isascii() and status.isdigit() and len(status) == 3):
            raise MalformedError("it does not begin like one")
        if status[0] == "1":
            return self._head()
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip().lower()
            if name == "content-length":
                if not (value.isascii() and value.isdigit()):
                    raise MalformedError("its length is no number")
                self._left, self._to_the_end = int(value), False
            elif name == "transfer-encoding" and value == "chunked":
                self._chunked, self._to_the_end = True, False
            elif name == "connection" and value == "close":
                self.reusable = False
        if self._chunked:
            self._left = 0
        self.reusable = self.reusable and not self._to_the_end
        self.status = int(status)
        return True

    def _chunks(self) -> None:
        """Take the chunks that are there out of what has come."""
        data = self._data
        while data and not self.complete:
            if self._left:
                taken = min(self._left, len(data))
                self.body += data[: max(0, min(taken, self._left - 2))]
                self._left -= taken
                del data[:taken]
                continue
            end = data.find(b"\r\n")
            if end < 0:
                if len(data) > HEAD:
                    raise MalformedError("a chunk's length is no number")
                return
            length = data[:end].partition(b";")[0].strip()
            try:
                size = int(length, 16)
            except ValueError:
                size = -1
            if size < 0:
                raise MalformedError("a chunk's length is no number")
            if not size:  # the last one; trailers would follow, and an empty line does
                self.complete = data.endswith(b"\r\n\r\n")
                return
            self._left = size + 2
            del data[: end + 2]

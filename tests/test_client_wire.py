"""What the clients send and understand, byte by byte; no service."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdag import Requirement
from fastdag.client import default_socket, sse, wire
from fastdag.client.answers import error_of, requirement_of, requires_of
from fastdag.client.transport import Address

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)
OK = b"HTTP/1.1 200 OK\r\n"


@given(VALUES)
def test_what_is_encoded_is_json(value):
    text = wire.encode(value)
    assert text.isascii()
    assert json.loads(text) == value


def test_what_has_no_form_is_refused():
    with pytest.raises(TypeError, match="set has no form in JSON"):
        wire.encode({"a": {1}})
    for refused in (wire.encode, lambda text: wire.target("/", {"unit": text})):
        with pytest.raises(ValueError, match="is not text in UTF-8"):
            refused("\udcff")


@given(st.dictionaries(st.sampled_from(["unit", "kinds"]), TEXT | st.none()))
def test_a_query_says_what_was_meant(query):
    parts = urlsplit(wire.target("/v1/status", query))
    assert parts.path == "/v1/status"
    said = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    assert said == {key: value for key, value in query.items() if value is not None}


def feed(reply, data, cuts):
    """Feed the data in pieces."""
    cuts = sorted({cut % (len(data) + 1) for cut in cuts} - {0, len(data)})
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        reply.feed(data[start:end])


def chunked(parts):
    return b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


@given(st.lists(st.binary(max_size=40)), st.sampled_from(["length", "chunks", "end"]), st.lists(st.integers(0, 500)))
def test_a_reply_may_come_in_any_pieces(parts, kind, cuts):
    body = b"".join(parts)
    head = {
        "length": OK + b"Content-Length: %d\r\n\r\n" % len(body),
        "chunks": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Transfer-Encoding: Chunked\r\n\r\n",
        "end": OK + b"\r\n",
    }[kind]
    reply = wire.Reply()
    feed(reply, head + (chunked(parts) if kind == "chunks" else body), cuts)
    if kind == "end":
        assert not reply.complete
        reply.feed(b"")
    assert (reply.status, bytes(reply.body), reply.complete, reply.reusable) == (200, body, True, kind != "end")


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * wire.HEAD,
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 2\r\n\r\nabc",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * (wire.HEAD + 1),
    ],
)
def test_what_is_no_reply_is_refused(data):
    with pytest.raises(wire.MalformedError):
        wire.Reply().feed(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200", OK + b"Content-Length: 3\r\n\r\nab", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"],
)
def test_a_reply_that_is_cut_off_is_no_reply(data):
    reply = wire.Reply()
    if data:
        reply.feed(data)
    with pytest.raises(EOFError):
        reply.feed(b"")


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["", "1", "a-2"]),
        st.sampled_from(["", "status"]),
        st.lists(st.sampled_from(["", "x", " y: ü"]), min_size=1),
    )
)


@given(MESSAGES, st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 500)))
def test_server_sent_events_may_come_in_any_pieces(messages, line_end, cuts):
    lines, expected, number = [": fastdag", "retry: 5"], [], ""
    for message_id, event, data in messages:
        if message_id:
            lines.append(f"id: {message_id}")
            number = message_id
        lines += [f"event:{event}"] * bool(event) + [f"data: {line}" for line in data] + ["", ": nothing new", ""]
        expected.append((number, event, "\n".join(data)))
    data = (line_end.join([*lines, ""])).encode()
    parser, got = sse.Parser(), []
    cuts = sorted({cut % (len(data) + 1) for cut in cuts})
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        got += parser.feed(data[start:end])
    got += parser.feed(b"\n" if line_end == "\r" else b"")  # the LF that may still follow a CR
    assert got == expected


def test_where_a_service_is(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setenv("FASTDAG_SOCKET", "/a")
    assert default_socket() == Address().path == "/a"
    monkeypatch.delenv("FASTDAG_SOCKET")
    assert default_socket() == "/run/user/7/fastdag.sock"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("os.getuid", lambda: 12)
    assert default_socket() == "/tmp/fastdag-12/fastdag.sock"
    remote = Address(url="https://[::1]:80/", token="t")
    assert (remote.where, remote.headers) == ("https://[::1]:80", "Host: [::1]:80\r\nAuthorization: Bearer t\r\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"socket": ""}, "is empty"),
        ({"socket": "/a", "url": "http://localhost:1", "token": "t"}, "not both"),
        ({"token": "t"}, "belong to a url"),
        ({"url": "http://localhost:1"}, "needs its token"),
        ({"url": "http://localhost:1", "token": "a\r\nb"}, "needs its token"),
        ({"url": "http://localhost", "token": "t"}, "http://HOST:PORT or https://HOST:PORT, not 'http://localhost'"),
        ({"url": "ftp://localhost:1", "token": "t"}, "http://HOST:PORT"),
        ({"url": "http://localhost:1/v1", "token": "t"}, "http://HOST:PORT"),
        ({"url": "http://10.0.0.1:1", "token": "t"}, "by https:// only"),
        ({"url": "http://localhost:1", "token": "t", "cafile": "c"}, "for https://"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Address(**options)


def test_what_went_wrong_with_a_connection_is_said():
    address = Address("/a b")
    assert str(address.refused(FileNotFoundError())).endswith(
        "start one with: fastdag serve --background --socket '/a b'"
    )
    assert "belongs to another user" in str(address.refused(PermissionError(13, "no")))
    assert "takes no connection" in str(address.refused(BlockingIOError(11, "no")))
    assert str(address.refused(OSError("AF_UNIX path too long"))) == "cannot connect to /a b: AF_UNIX path too long"
    remote = Address(url="http://localhost:5", token="t")
    assert str(remote.refused(ConnectionRefusedError())) == (
        "no fastdag service at http://localhost:5; start one with: fastdag serve --listen localhost:5 --token-file FILE"
    )


@pytest.mark.parametrize(
    "requirement",
    [
        Requirement.SUCCESS,
        Requirement.COMPLETION,
        Requirement.STARTED,
        Requirement("started"),
        Requirement("success"),
        Requirement("up"),
        Requirement({"up", "idle"}, impossible={"gone"}),
    ],
)
def test_requirements_go_there_and_back_and_mean_the_same_to_the_service(requirement):
    said = requires_of(requirement)
    assert requirement_of(json.loads(json.dumps(said))) is requirement
    msgspec = pytest.importorskip("msgspec", reason="the extra [service] is not installed")
    messages = pytest.importorskip("fastdag.service.messages")
    understood = msgspec.convert(said, messages.Requires)
    assert messages.requirement_of(understood) is requirement
    assert json.loads(msgspec.json.encode(messages.requires_of(requirement))) == said


def test_an_error_without_sense_is_an_error_still():
    for body in (b"<html>", b"[]", b"{}", b'{"error": "CycleError", "message": "x"}'):
        error = error_of(418, body, "/a")
        assert (type(error).__name__, error.code) == ("ServiceError", 418)
        assert str(error) == "the service at /a answered with HTTP status 418 and no reason that it knows"

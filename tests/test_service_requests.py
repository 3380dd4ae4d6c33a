"""What may come in: requests that are wrong in HTTP, in JSON or in what they say, and those that are only unusual."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.service_support import Reply, ServiceProcess, replies_in, running_service

NAMES = "`str` without control characters"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with running_service(tmp_path_factory.mktemp("requests")) as service:
        yield service
        assert service.get("/v1/ping")["pid"] == service.process.pid
        assert service.stop() == 0
        assert service.log.count("\n") == 1, service.log  # nothing here is a fault of the service


@pytest.fixture(autouse=True)
def _unchanged(service: ServiceProcess, request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing that is refused changes anything."""
    before = service.get("/v1/graph")
    yield
    if "refuse" in request.node.name:
        assert without_times(service.get("/v1/graph")) == without_times(before)


def without_times(graph: Any) -> Any:
    return {**graph, "units": [{**unit, "seconds": None} for unit in graph["units"]]}


def said(reply: Reply) -> tuple[int, str]:
    assert set(reply.body) >= {"error", "message"}
    return reply.code, reply.body["message"]


# --- what the messages say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Expected `str` of length >= 1"),
        ("x" * 257, "Expected `str` of length <= 256"),
        ("😀" * 257, "Expected `str` of length <= 256"),
        *((f"a{character}b", f"Expected {NAMES}") for character in "\0\a\t\n\r\x1b\x7f\x80\x9b\x9f"),
        ("line\n", f"Expected {NAMES}"),
        ("\n", f"Expected {NAMES}"),
    ],
)
def test_names_that_are_refused(service: ServiceProcess, name: str, message: str) -> None:
    for path, fields, where in (
        ("/v1/register", {"units": ["good", name]}, "$.units[1]"),
        ("/v1/want", {"unit": name, "depends_on": ["a"]}, "$.unit"),
        ("/v1/want", {"unit": "good", "depends_on": [name]}, "$.depends_on[0]"),
        ("/v1/want", {"unit": "good", "depends_on": ["a"], "requires": name}, "$.requires"),
        ("/v1/start", {"unit": name}, "$.unit"),
        ("/v1/status", {"unit": "good", "status": name}, "$.status"),
    ):
        reply = service.call("POST", path, fields)
        assert said(reply) == (422, f"{message} - at `{where}`")
    query = "".join(f"%{byte:02x}" for byte in name.encode())
    assert said(service.call("GET", f"/v1/status?unit={query}")) == (422, f"{message} - at `$.unit`")


@pytest.mark.parametrize(
    "name", ["x" * 256, "😀" * 256, "with blanks", "a/b?c#d&e=f%20+", "\u2028\u202e\ufeff", "é", "e\u0301"]
)
def test_any_other_name_is_a_name(service: ServiceProcess, name: str) -> None:
    service.post("/v1/start", unit=name)
    query = "".join(f"%{byte:02x}" for byte in name.encode())
    assert service.get(f"/v1/status?unit={query}")["unit"] == name
    assert service.get(f"/v1/explain?unit={query}")["unit"] == name
    assert name in [unit["unit"] for unit in service.get("/v1/list")["units"]]


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        ("register", b"", 400, "Input data was truncated"),
        ("register", b'{"units":["a"]', 400, "Input data was truncated"),
        ("register", b'{"units":["a"]}x', 400, "JSON is malformed: trailing characters (byte 16)"),
        ("register", b'\xef\xbb\xbf{"units":[]}', 400, "JSON is malformed: invalid character (byte 0)"),
        ("register", b"{'units':[]}", 400, "JSON is malformed: object keys must be strings (byte 1)"),
        ("register", b'{"units":["\xff"]}', 400,
         "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        ("register", b'{"units":["\xed\xa0\x80"]}', 400,
         "'utf-8' codec can't decode byte 0xed in position 0: invalid continuation byte"),
        ("register", b'{"units":["\\ud800 alone"]}', 400,
         "JSON is malformed: unexpected end of escaped utf-16 surrogate pair (byte 17)"),
        ("register", b'{"units":["\\udc00\\ud800"]}', 400,
         "JSON is malformed: invalid utf-16 surrogate pair (byte 17)"),
        ("register", b'{"units":["\\u0000"]}', 422, f"Expected {NAMES} - at `$.units[0]`"),
        ("register", "\ufeff".encode("utf-16"), 400, "JSON is malformed: invalid character (byte 0)"),
        ("register", b"null", 422, "Expected `object`, got `null`"),
        ("register", b"[" * 200_000, 422, "Expected `object`, got `array`"),
        ("register", b'{"units":' * 100_000, 422, "Expected `array`, got `object` - at `$.units`"),
        ("register", b"{}", 422, "Object missing required field `units`"),
        ("register", b'{"units":["a"],"more":' + b"[" * 200_000, 422, "Object contains unknown field `more`"),
        ("register", b'{"units":"a"}', 422, "Expected `array`, got `str` - at `$.units`"),
        ("register", b'{"units":["a",1]}', 422, "Expected `str`, got `int` - at `$.units[1]`"),
        ("register", b'{"units":["a",null]}', 422, "Expected `str`, got `null` - at `$.units[1]`"),
        ("register", b'{"units":[' + b'"a",' * 10_000 + b'"a"]}', 422,
         "Expected `array` of length <= 10000 - at `$.units`"),
        ("want", b'{"unit":"a","depends_on":[]}', 422, "Expected `array` of length >= 1 - at `$.depends_on`"),
        ("want", b'{"unit":"a","depends_on":["b"],"requires":[]}', 422,
         "Expected `str | object`, got `array` - at `$.requires`"),
        ("want", b'{"unit":"a","depends_on":["b"],"requires":{"satisfied":[]}}', 422,
         "Expected `array` of length >= 1 - at `$.requires.satisfied`"),
        ("want", b'{"unit":"a","depends_on":["b"],"requires":{"satisfied":["x"],"impossible":["x"]}}', 422,
         "{'x'} would both satisfy the requirement and make it impossible; leave one out"),
        ("want", b'{"unit":"a","depends_on":["b"],"replace":1}', 422, "Expected `bool`, got `int` - at `$.replace`"),
        ("start", b'{"unit":"a","timeout":NaN}', 400, "JSON is malformed: invalid character (byte 22)"),
        ("start", b'{"unit":"a","timeout":Infinity}', 400, "JSON is malformed: invalid character (byte 22)"),
        ("start", b'{"unit":"a","timeout":1e400}', 422, "Number out of range - at `$.timeout`"),
        ("start", b'{"unit":"a","timeout":1e10}', 422, "Expected `float` <= 1000000000.0 - at `$.timeout`"),
        ("start", b'{"unit":"a","timeout":' + b"9" * 5000 + b"}", 422, "Number out of range - at `$.timeout`"),
        ("start", b'{"unit":"a","timeout":-0.1}', 422, "Expected `float` >= 0.0 - at `$.timeout`"),
        ("start", b'{"unit":"a","timeout":true}', 422, "Expected `float | null`, got `bool` - at `$.timeout`"),
        ("start", b'{"unit":"a","timeout":"5m"}', 422, "Expected `float | null`, got `str` - at `$.timeout`"),
        ("start", b'{"unit":"a","owner":{"pid":0}}', 422, "Expected `int` >= 1 - at `$.owner.pid`"),
        ("start", b'{"unit":"a","owner":{"pid":4294967297}}', 422, "Expected `int` <= 2147483647 - at `$.owner.pid`"),
        ("start", b'{"unit":"a","owner":{"pid":1.5}}', 422, "Expected `int`, got `float` - at `$.owner.pid`"),
        ("start", b'{"unit":"a","owner":{"pid":2147483647}}', 422,
         "there is no process 2147483647 to own the unit; it has ended, or the number is wrong"),
        ("start", b'{"unit":"a","owner":{"pid":1,"started":1}}', 422,
         "there is no process 1 to own the unit; it has ended, or the number is wrong"),
        ("fail", json.dumps({"unit": "a", "reason": "x" * 4097}).encode(), 422,
         "Expected `str` of length <= 4096 - at `$.reason`"),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(service: ServiceProcess, path: str, body: bytes, code: int, message: str) -> None:
    assert said(service.call("POST", f"/v1/{path}", body)) == (code, message)


def test_of_a_key_given_twice_the_last_counts(service: ServiceProcess) -> None:
    """As everywhere in JSON of Python's and JavaScript's."""
    reply = service.call("POST", "/v1/register", b'{"units":["first"],"units":["second"]}')
    assert [unit["unit"] for unit in reply.body["units"]] == ["second"]


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("", 422, "Object missing required field `unit`"),
        ("?", 422, "Object missing required field `unit`"),
        ("?unit", 422, "Expected `str` of length >= 1 - at `$.unit`"),
        ("?unit=a&unit=b", 422, "a parameter is given twice; give each once"),
        ("?unit=a&other=b", 422, "Object contains unknown field `other`"),
        ("?unit=%ff", 400, "the query is not UTF-8 with %XX for what is not ASCII"),
        ("?unit=%ed%a0%80", 400, "the query is not UTF-8 with %XX for what is not ASCII"),
        ("?%ff=a", 400, "the query is not UTF-8 with %XX for what is not ASCII"),
        ("?" + "&".join(f"a{number}" for number in range(17)), 422, "Max number of fields exceeded"),
    ],
)
def test_queries_that_are_refused(service: ServiceProcess, query: str, code: int, message: str) -> None:
    for call in ("status", "explain"):
        assert said(service.call("GET", f"/v1/{call}{query}")) == (code, message)


def test_other_queries_that_are_refused(service: ServiceProcess) -> None:
    assert said(service.call("GET", "/v1/graph?format=svg")) == (422, "Invalid enum value 'svg' - at `$.format`")
    assert said(service.call("GET", "/v1/events?kinds=status,more")) == (
        422,
        "no events are of the kind 'more'; choose from registered, status, state, dependency",
    )


def test_there_is_no_65th_status(service: ServiceProcess) -> None:
    service.post("/v1/register", units=["many"])
    known = 0
    while (reply := service.call("POST", "/v1/status", {"unit": "many", "status": f"own-{known}"})).code == 200:
        known += 1
        assert known < 64
    assert reply.code == 507
    assert reply.body["error"] == "CapacityError"
    assert reply.body["message"] == (
        f"status 'own-{known}' would be one more than the 64 distinct statuses that a manager holds; "
        "use one of those it knows"
    )
    assert service.get("/v1/status?unit=many")["status"] == f"own-{known - 1}"
    fields = {"unit": "many", "depends_on": ["one"], "requires": "of-the-requirement"}
    assert service.call("POST", "/v1/want", fields).code == 507


# --- what HTTP says -------------------------------------------------------------------------------------------------


def raw(service: ServiceProcess, *lines: str, body: bytes = b"") -> list[Reply]:
    return replies_in(service.raw_request("\r\n".join((*lines, "", "")).encode("latin-1") + body))


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/ping HTTP/3.0\r\n\r\n",
        b"get /v1/ping HTTP/1.1\r\n\r\n",
        b"NONSENSE /v1/ping HTTP/1.1\r\n\r\n",
        b"CONNECT example:80 HTTP/1.1\r\n\r\n",
        b"GET ?unit=a HTTP/1.1\r\n\r\n",
        b"GET /v1/ping HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v1/ping HTTP/1.1\r\nbl ank: x\r\n\r\n",
        b"GET /v1/ping HTTP/1.1\r\nnul: \0\r\n\r\n",
        b"GET /v1/p\xc3\xafng HTTP/1.1\r\n\r\n",
        b"GET /v1/status?unit=\xc3\xa4 HTTP/1.1\r\n\r\n",
        b"POST /v1/register HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/register HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
        b"POST /v1/register HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v1/register HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        b"POST /v1/register HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/register HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v1/register HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b'POST /v1/register HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"uni\r\nnot a length\r\n',
    ],
)
def test_what_is_no_http_is_refused(service: ServiceProcess, data: bytes) -> None:
    [reply] = replies_in(service.raw_request(data))
    assert said(reply) == (400, "this is not HTTP/1.1")
    assert reply.headers["connection"] == "close"


def test_a_body_comes_in_chunks_too(service: ServiceProcess) -> None:
    lines = ("POST /v1/register HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close")
    [reply] = raw(service, *lines, body=b'6\r\n{"unit\r\n9\r\ns":["c"]}\r\n0\r\n\r\n')
    assert reply.body["units"][0]["unit"] == "c"


def test_a_post_without_a_length_has_no_body_and_is_refused(service: ServiceProcess) -> None:
    [reply] = raw(service, "POST /v1/register HTTP/1.1", "Connection: close", body=b'{"units":["a"]}')
    assert said(reply) == (400, "Input data was truncated")


def test_http_1_0_is_answered_and_the_connection_closed(service: ServiceProcess) -> None:
    [reply] = raw(service, "GET /v1/ping HTTP/1.0")
    assert (reply.code, reply.headers["connection"]) == (200, "close")
    [reply] = raw(service, "POST /v1/register HTTP/1.0", "Content-Length: 15", body=b'{"units":["d"]}')
    assert reply.code == 200


def test_a_client_that_asks_before_it_sends_is_told_to(service: ServiceProcess) -> None:
    body = b'{"units":["asked"]}'
    with service.connect() as connection:
        connection.sendall(
            b"POST /v1/register HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_request_to_speak_something_else_is_answered_in_http(service: ServiceProcess) -> None:
    """Then the connection closes: what follows would not be understood."""
    for protocol in ("h2c", "websocket"):
        [reply] = raw(service, "GET /v1/ping HTTP/1.1", "Connection: Upgrade", f"Upgrade: {protocol}")
        assert (reply.code, reply.headers["connection"]) == (200, "close")


def test_requests_sent_ahead_are_left_to_be_asked_again(service: ServiceProcess) -> None:
    """The first is answered, and then the connection closed: nobody takes the one answer for the other."""
    ping = b"GET /v1/ping HTTP/1.1\r\n\r\n"
    register = b'POST /v1/register HTTP/1.1\r\nContent-Length: 19\r\n\r\n{"units":["ahead"]}'
    [reply] = replies_in(service.raw_request(ping + register))
    assert (reply.code, reply.headers["connection"]) == (200, "close")
    [reply] = replies_in(service.raw_request(ping + b"garbage\r\n\r\n"))
    assert (reply.code, reply.headers["connection"]) == (200, "close")
    assert service.get("/v1/status?unit=ahead")["status"] == ""


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/ping", "GET"),
        ("/v1/register", "POST"),
        ("/v1/status", "GET POST"),
        ("/v1/events", "GET"),
        ("/metrics", "GET"),
    ],
)
def test_methods_that_a_path_does_not_have_are_refused(service: ServiceProcess, path: str, methods: str) -> None:
    has = {*methods.split(), *(["HEAD"] if "GET" in methods else [])}
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} - has:
        reply = service.call(method, path)
        assert reply.code == 405
        assert set(reply.headers["allow"].split(", ")) == has
        if method != "HEAD":
            assert said(reply) == (405, f"{method} {path}: Method Not Allowed; /openapi.json lists the calls")


@pytest.mark.parametrize("path", ["/v1/ping", "/v1/list", "/v1/events", "/metrics", "/openapi.json"])
def test_head_gives_the_headers_alone(service: ServiceProcess, path: str) -> None:
    with service.connect() as connection:
        for _ in range(2):  # and the connection can be used again
            connection.sendall(f"HEAD {path} HTTP/1.1\r\n\r\n".encode())
            answer = connection.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/ping/", "/v1/Ping", "//v1/ping", "/v1/../v1/ping", "/v1/ping%00", "/v1/none"]
)
def test_paths_that_are_not_there_are_refused(service: ServiceProcess, path: str) -> None:
    reply = service.call("GET", path)
    assert reply.code == 404
    assert reply.body["message"].endswith(": Not Found; /openapi.json lists the calls")

"""The service over HTTP: what comes in is checked and carried out, and the answer sent when it is in the journal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fastdag.errors import (
    CapacityError,
    ConflictingRequirementError,
    CycleError,
    DependencyFailedError,
    FastDAGError,
    JournalError,
    SameStatusError,
    StatusRequiredError,
    UnitAlreadyRegisteredError,
    UnitIdRequiredError,
    UnitNotFoundError,
    WaitTimeoutError,
)
from fastdag.service.calls import CALLS, EVENT_STREAM, EVENTS, JSON, Call
from fastdag.service.history import Kept
from fastdag.service.leases import OwnerNotFoundError
from fastdag.service.messages import NAME_PATTERN, Cause, ErrorView, dependency_view, requires_of
from fastdag.service.metrics import Metrics
from fastdag.service.openapi import document
from fastdag.service.protocol import LIMITS, RequestLimits
from fastdag.service.state import (
    ClientGoneError,
    Service,
    ServiceStoppingError,
    TooManyStreamsError,
    TooManyWaitersError,
)
from fastdag.status import Requirement

_log = logging.getLogger("fastdag.service")

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (UnitNotFoundError, 404),
    (UnitAlreadyRegisteredError, 409),
    (SameStatusError, 409),
    (CycleError, 409),
    (ConflictingRequirementError, 409),
    (DependencyFailedError, 424),
    (WaitTimeoutError, 504),
    (TooManyWaitersError, 429),
    (TooManyStreamsError, 429),
    (CapacityError, 507),
    (UnitIdRequiredError, 422),
    (StatusRequiredError, 422),
    (OwnerNotFoundError, 422),
    (ServiceStoppingError, 503),
    (JournalError, 503),
    (msgspec.ValidationError, 422),
    (msgspec.DecodeError, 400),
    (UnicodeDecodeError, 400),
    (ValueError, 422),  # of `Requirement`, and of a kind of event that is none
)

# The attributes that stand in the answer under the same name.
_DETAILS: dict[type[Exception], tuple[str, ...]] = {
    UnitNotFoundError: ("unit",),
    UnitAlreadyRegisteredError: ("unit",),
    SameStatusError: ("unit", "status"),
    CycleError: ("path",),
    ConflictingRequirementError: ("unit", "depends_on"),
    DependencyFailedError: ("unit", "failed"),
    WaitTimeoutError: ("unit",),
}

Endpoint = Callable[[Request], Awaitable[Response]]


class RequestError(FastDAGError, ValueError):
    """A request was refused before anything looked at what it asks.

    Attributes
    ----------
    code : int
        The status of HTTP.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def application(service: Service, metrics: Metrics, limits: RequestLimits = LIMITS) -> Starlette:
    """Make the ASGI application for a service."""
    endpoints: dict[str, dict[str, Endpoint]] = {}
    for call in CALLS:
        endpoints.setdefault(call.path, {})[call.method] = _endpoint(service, metrics, call, limits)
    routes = [Route(path, _by_method(some), methods=list(some)) for path, some in endpoints.items()]
    described = msgspec.json.encode(document())

    async def openapi(_: Request) -> Response:
        return Response(described, media_type=JSON)

    async def figures(_: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes += [
        Route(EVENTS.path, _events(service, metrics), methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/metrics", figures, methods=["GET"]),
    ]
    made = Starlette(routes=routes, exception_handlers={HTTPException: _no_such_call})
    made.router.redirect_slashes = False  # a path is there or not
    return made


def _by_method(endpoints: dict[str, Endpoint]) -> Endpoint:
    """Give one endpoint for the calls that share a path, so that an answer 405 names the methods of all."""
    if len(endpoints) == 1:
        return next(iter(endpoints.values()))

    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _endpoint(service: Service, metrics: Metrics, call: Call, limits: RequestLimits) -> Endpoint:
    takes, do = call.takes, call.do
    decode = None if takes is None or call.method == "GET" else msgspec.json.Decoder(takes).decode
    encode = msgspec.json.Encoder().encode

    async def endpoint(request: Request) -> Response:
        began = time.perf_counter()
        try:
            try:
                given: tuple[Any, ...] = ()
                if decode is not None:
                    given = (decode(await _body(request, limits)),)
                elif takes is not None:
                    given = (_query(request, takes),)
                if call.waits:
                    answer = await do(service, *given, lambda: asyncio.ensure_future(_gone(request)))
                else:
                    answer = do(service, *given)
            finally:  # a refusal, too, may tell what a crash could undo
                await service.settled()
            if isinstance(answer, str):
                response = Response(answer, media_type="text/plain; charset=utf-8")
            else:
                response = Response(encode(answer), media_type=JSON)
        except (ClientGoneError, ClientDisconnect):
            response = Response(status_code=499)  # read by nobody, but counted
        except Exception as error:  # noqa: BLE001 - everything is answered
            response = _refusal(error)
        metrics.answered(call.name, response.status_code, time.perf_counter() - began)
        return response

    return endpoint


async def _body(request: Request, limits: RequestLimits) -> bytes:
    """Read the body, as long as it keeps within the limits."""
    chunks = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.body:
                    raise RequestError(413, f"the body is longer than {limits.body} bytes; send less at a time")
                chunks.append(chunk)
    except TimeoutError:
        raise RequestError(408, f"the body did not come within {limits.body_seconds:g} s") from None
    return b"".join(chunks)


def _query(request: Request, takes: type[Any]) -> Any:
    try:
        text = request.scope["query_string"].decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=16)
    except UnicodeDecodeError:
        raise RequestError(400, "the query is not UTF-8 with %XX for what is not ASCII") from None
    if len(dict(fields)) < len(fields):
        raise RequestError(422, "a parameter is given twice; give each once")
    return msgspec.convert(dict(fields), takes)


async def _gone(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _events(service: Service, metrics: Metrics) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            query = _query(request, EVENTS.takes)
            if request.method == "HEAD":
                return Response(media_type=EVENT_STREAM)  # the stream itself would not end
            events, missing = service.events(query, request.headers.get("last-event-id"))
        except Exception as error:  # noqa: BLE001
            response = _refusal(error)
        else:
            response = _Stream(service, events, missing)
        metrics.answered(EVENTS.name, response.status_code, 0.0)
        return response

    return endpoint


class _Stream(StreamingResponse):
    """Events as they come; counted from the turn of the loop in which they were asked for, however it ends."""

    def __init__(self, service: Service, events: AsyncIterator[list[Kept] | None], missing: bool) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_messages(service, events, missing), media_type=EVENT_STREAM, headers=headers)
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._service.streams += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._service.streams -= 1


async def _messages(service: Service, events: AsyncIterator[list[Kept] | None], missing: bool) -> AsyncIterator[bytes]:
    """Write server-sent events, as the HTML standard has them; comments while nothing happens."""
    event_id = service.history.event_id
    yield b"event: reset\ndata: {}\n\n" if missing else b": fastdag\n\n"
    async for some in events:
        if some is None:
            yield b"event: reset\ndata: {}\n\n"
        elif not some:
            yield b": nothing new\n\n"
        else:
            yield b"".join([kept.message(event_id) for kept in some])


def _refusal(error: Exception) -> Response:
    """Give the answer for an error, with what its class has to say."""
    code = error.code if isinstance(error, RequestError) else None
    if code is None:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), 500)
    if code == 500:
        _log.error("a call failed", exc_info=error)
    kind = type(error).__name__ if isinstance(error, FastDAGError) else "RequestError" if code < 500 else "ServiceError"
    message = str(error) if code != 500 else "a fault of the service; its log says more"
    message = message.replace(f"matching regex {NAME_PATTERN!r}", "without control characters")
    details: dict[str, Any] = {
        name: getattr(error, name)
        for name in _DETAILS.get(type(error), ())
    }
    if isinstance(error, ConflictingRequirementError):
        for name in ("existing", "requested"):
            requirement = getattr(error, name)
            if isinstance(requirement, Requirement):
                details[name] = requires_of(requirement)
    if isinstance(error, WaitTimeoutError):
        details["unmet"] = [dependency_view(one) for one in error.unmet]
    if isinstance(error, DependencyFailedError):
        details["causes"] = [Cause(*cause) for cause in error.causes]
    body = msgspec.json.encode(ErrorView(error=kind, message=message, **details))
    return Response(body, code, media_type=JSON)


def _no_such_call(request: Request, error: Exception) -> Response:
    """Answer what is no call of the API."""
    code = error.status_code if isinstance(error, HTTPException) else 500
    message = f"{request.method} {request.url.path}: {HTTPStatus(code).phrase}; /openapi.json lists the calls"
    headers = getattr(error, "headers", None)
    view = ErrorView(error="RequestError", message=message)
    return Response(msgspec.json.encode(view), code, headers, media_type=JSON)

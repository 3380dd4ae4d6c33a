"""The calls of the API: for each its path, the types of what it takes and gives, and what it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastdag.service import messages
from fastdag.service.state import Service

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


class Call(NamedTuple):
    """One call.

    Attributes
    ----------
    method, path : str
    takes, gives : type or None
        Its body, or for GET its query; its answer.
    do : callable
        A method of `Service`, called with what came; one that waits also with a way to see the client go.
    errors : tuple of int
        What it may answer beside 200 and `ALWAYS`.
    waits : bool
    also : tuple of str
        Media types of its answer, beside JSON.
    headers : tuple of str
        Headers that it looks at.
    """

    method: str
    path: str
    takes: Any
    gives: Any
    do: Callable[..., Any]
    errors: tuple[int, ...] = ()
    waits: bool = False
    also: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the document and metrics call it."""
        return self.do.__name__

    @property
    def summary(self) -> str:
        """The first line of what it does."""
        return (self.do.__doc__ or "").partition("\n")[0]


ALWAYS = (400, 401, 403, 408, 413, 422, 431, 500, 503)

_VIEW = messages.UnitView
_END = (404, 409)

CALLS = (
    Call("GET", "/v1/ping", None, messages.Ping, Service.ping),
    Call("POST", "/v1/register", messages.Register, messages.Units, Service.register, (409, 507)),
    Call("POST", "/v1/want", messages.Want, messages.StatusView, Service.want, (409, 507)),
    Call(
        "POST",
        "/v1/dependencies",
        messages.Dependencies,
        messages.Added,
        Service.add_dependencies,
        (404, 409, 507),
    ),
    Call("POST", "/v1/start", messages.Start, _VIEW, Service.start, (409, 424, 429, 504, 507), waits=True),
    Call("POST", "/v1/wait", messages.Wait, _VIEW, Service.wait, (424, 429, 504), waits=True),
    Call("POST", "/v1/complete", messages.End, _VIEW, Service.complete, _END),
    Call("POST", "/v1/fail", messages.End, _VIEW, Service.fail, _END),
    Call("POST", "/v1/skip", messages.End, _VIEW, Service.skip, _END),
    Call("POST", "/v1/cancel", messages.End, _VIEW, Service.cancel, _END),
    Call("POST", "/v1/status", messages.Update, _VIEW, Service.update, (*_END, 507)),
    Call("GET", "/v1/status", messages.UnitQuery, messages.StatusView, Service.status),
    Call("GET", "/v1/ready", None, messages.Ready, Service.ready),
    Call("GET", "/v1/list", None, messages.Units, Service.units),
    Call("GET", "/v1/explain", messages.UnitQuery, messages.ExplanationView, Service.explain),
    Call("GET", "/v1/snapshot", None, messages.Snapshot, Service.snapshot),
    Call("GET", "/v1/graph", messages.GraphQuery, messages.GraphView, Service.graph, also=("text/plain",)),
)
EVENTS = Call(
    "GET",
    "/v1/events",
    messages.EventsQuery,
    None,
    Service.events,
    (429,),
    also=(EVENT_STREAM,),
    headers=("Last-Event-ID",),
)

"""What schemathesis cannot know of the service, for `test_service_openapi.py`: it is loaded in its process."""

import os
from typing import Any

import pytest

schemathesis = pytest.importorskip("schemathesis")

WAIT = 0.05  # seconds; nobody is there to release a waiter


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(context: object, case: Any, kwargs: object) -> None:
    """Let no call wait for long, and of what is right by its schema mean something by it; what is wrong stays so."""
    if not isinstance(case.body, dict):
        return
    body = case.body
    if case.path in ("/v1/start", "/v1/wait") and valid_timeout(body.get("timeout")):
        body["timeout"] = WAIT
    if valid_owner(body.get("owner")):
        body["owner"] = {"pid": os.getpid()}
    wishes = body.get("dependencies")
    for wish in (body, *(wishes if isinstance(wishes, list) else ())):
        requires = wish.get("requires") if isinstance(wish, dict) else None
        if isinstance(requires, dict) and all(isinstance(part, list) for part in requires.values()):
            satisfied = requires.get("satisfied", [])
            if "impossible" in requires:
                requires["impossible"] = [status for status in requires["impossible"] if status not in satisfied]


def valid_owner(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) <= {"pid", "started"}
        and valid_number(value.get("pid"), 1, 2**31 - 1)
        and (value.get("started") is None or valid_number(value["started"], 0, 2**63 - 1))
    )


def valid_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def valid_timeout(value: object) -> bool:
    return value is None or valid_number(value, WAIT, 10**9)

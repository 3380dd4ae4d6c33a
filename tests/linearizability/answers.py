"""What calls answer, in the words of the specifications."""

from __future__ import annotations

from typing import Any

from fastdag import (
    ConflictingRequirementError,
    CycleError,
    EdgeNotFoundError,
    Requirement,
    SameStatusError,
    UnitAlreadyRegisteredError,
    UnitNotFoundError,
    VertexNotFoundError,
)

from .manager_specification import SPOKEN

ERRORS = (
    ConflictingRequirementError,
    CycleError,
    EdgeNotFoundError,
    SameStatusError,
    UnitAlreadyRegisteredError,
    UnitNotFoundError,
    VertexNotFoundError,
)


def plain(value: Any) -> Any:
    """Names as their last letter, what has no order as a frozenset, lists as tuples."""
    if isinstance(value, str):
        return str(value)[-1] if ":" in value else str(value)
    if isinstance(value, Requirement):
        return SPOKEN[value]
    if isinstance(value, (list, tuple)):
        return tuple(map(plain, value))
    if isinstance(value, (set, frozenset)):
        return frozenset(map(plain, value))
    return value


def refusal(name: str, error: Any) -> Any:
    """An exception that a call raised."""
    kind = type(error).__name__
    if isinstance(error, CycleError):
        return kind, ... if name == "add_edges_from" else plain(error.path)
    if isinstance(error, ConflictingRequirementError):
        return kind, plain(error.unit), plain(error.depends_on)
    if isinstance(error, (UnitNotFoundError, UnitAlreadyRegisteredError, SameStatusError)):
        return kind, plain(error.unit)
    return (kind, *plain(error.args))

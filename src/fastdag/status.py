"""What a unit can be (`Status`), what a dependency asks of it (`Requirement`), and the core's numbers for both."""

from __future__ import annotations

import os
from collections.abc import Iterable
from threading import RLock
from typing import TYPE_CHECKING, ClassVar, Final, final
from weakref import WeakValueDictionary

from fastdag.errors import CapacityError, StatusRequiredError

if TYPE_CHECKING:
    from fastdag._core import StatusGraph


class Status:
    """The built-in statuses; any other non-empty string is a status as well.

    `NOT_REGISTERED` is what a unit has that nobody registered; it cannot be set or required.

    Examples
    --------
    >>> Status.COMPLETED
    'completed'
    """

    NOT_REGISTERED: Final = ""
    PENDING: Final = "pending"
    STARTED: Final = "started"
    COMPLETED: Final = "completed"
    FAILED: Final = "failed"
    TIMED_OUT: Final = "timed_out"
    SKIPPED: Final = "skipped"
    CANCELED: Final = "canceled"

    TERMINAL: Final = frozenset({"completed", "failed", "timed_out", "skipped", "canceled"})
    """The built-in statuses that a unit does not leave by itself. A user-defined status counts as running."""


def check_status(status: object) -> str:
    """Give the status back as a plain string, or say what is wrong with it.

    Raises
    ------
    StatusRequiredError
        If it is empty or not a string.
    """
    if not isinstance(status, str) or not status:
        raise StatusRequiredError(
            f"a status must be a non-empty string, not {status!r}; take one of Status or your own"
        )
    return str.__str__(status)  # a plain string also for a member of an enum


@final
class Requirement:
    """What a unit asks of a dependency: the statuses that satisfy it, and those after which it is hopeless.

    Immutable. There is one object for equal sets, so that comparing and hashing two requirements is comparing two
    addresses, also after pickling.

    Parameters
    ----------
    satisfied : str or iterable of str
        The statuses of the dependency that satisfy the requirement; at least one.
    impossible : iterable of str, optional
        The statuses that make it impossible: while the dependency has one of them, the unit is blocked.

    Attributes
    ----------
    satisfied, impossible : frozenset of str

    Raises
    ------
    StatusRequiredError
        If a status is empty or not a string.
    ValueError
        If no status satisfies it, or one is in both sets.

    Examples
    --------
    >>> Requirement.SUCCESS
    Requirement.SUCCESS
    >>> print(Requirement("started"), "/", Requirement({"up", "idle"}, impossible={"gone"}))
    exactly started / idle or up (impossible: gone)
    >>> Requirement("started") is Requirement("started")
    True
    """

    __slots__ = ("__weakref__", "_name", "impossible", "satisfied")

    SUCCESS: ClassVar[Requirement]
    """`completed`; impossible once `failed`, `timed_out`, `skipped` or `canceled`."""
    COMPLETION: ClassVar[Requirement]
    """`completed`, `failed`, `timed_out` or `skipped`: that it ended, however."""
    STARTED: ClassVar[Requirement]
    """`started` or `completed`; impossible as for `SUCCESS`."""

    satisfied: frozenset[str]
    impossible: frozenset[str]
    _name: str | None

    def __new__(cls, satisfied: str | Iterable[str], impossible: Iterable[str] = ()) -> Requirement:
        """Give the one requirement with these sets."""
        return _interned(_statuses(satisfied), _statuses(impossible), None)

    @staticmethod
    def of(requires: object) -> Requirement:
        """Give the requirement that `requires` stands for: itself, or for a plain status exactly that status.

        Raises
        ------
        StatusRequiredError
            If it is neither a requirement nor a non-empty string.

        Examples
        --------
        >>> Requirement.of("started")
        Requirement('started')
        """
        if isinstance(requires, Requirement):
            return requires
        try:
            return Requirement(check_status(requires))
        except StatusRequiredError:
            message = f"a requirement must be a Requirement or a status, a non-empty string, not {requires!r}"
            raise StatusRequiredError(message) from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Requirement cannot be changed; make another one instead of setting {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Requirement cannot be changed; {name!r} stays")

    def __reduce__(self) -> tuple[type[Requirement], tuple[frozenset[str], frozenset[str]]]:
        return Requirement, (self.satisfied, self.impossible)

    def __repr__(self) -> str:
        if self._name is not None:
            return f"Requirement.{self._name}"
        satisfied = repr(next(iter(self.satisfied))) if len(self.satisfied) == 1 else _set_repr(self.satisfied)
        return f"Requirement({satisfied}" + (f", impossible={_set_repr(self.impossible)})" if self.impossible else ")")

    def __str__(self) -> str:
        if self._name is not None:
            return self._name.lower()
        # "exactly" sets a plain `started` apart from `Requirement.STARTED`
        text = (
            " or ".join(sorted(self.satisfied)) if len(self.satisfied) > 1 else f"exactly {next(iter(self.satisfied))}"
        )
        return text + (f" (impossible: {', '.join(sorted(self.impossible))})" if self.impossible else "")


def _statuses(statuses: str | Iterable[str]) -> frozenset[str]:
    return frozenset(map(check_status, (statuses,) if isinstance(statuses, str) else statuses))


def _set_repr(statuses: frozenset[str]) -> str:
    return "{" + ", ".join(map(repr, sorted(statuses))) + "}"


_requirements: WeakValueDictionary[tuple[frozenset[str], frozenset[str]], Requirement] = WeakValueDictionary()
# Held where a requirement is named for the first time. Reentrant: a finalizer or signal handler that runs
# in there may name another.
_naming_lock = RLock()


def _after_fork() -> None:
    """In the child: a thread that is not there may have held the lock."""
    global _naming_lock  # noqa: PLW0603
    _naming_lock = RLock()


os.register_at_fork(after_in_child=_after_fork)


def _interned(satisfied: frozenset[str], impossible: frozenset[str], name: str | None) -> Requirement:
    if not satisfied:
        raise ValueError("a requirement needs at least one status that satisfies it")
    if both := satisfied & impossible:
        raise ValueError(f"{_set_repr(both)} would both satisfy the requirement and make it impossible; leave one out")
    with _naming_lock:
        known = _requirements.get((satisfied, impossible))
        if known is None:
            known = object.__new__(Requirement)
            object.__setattr__(known, "satisfied", satisfied)
            object.__setattr__(known, "impossible", impossible)
            object.__setattr__(known, "_name", name)
            _requirements[satisfied, impossible] = known
        return known


_HOPELESS = Status.TERMINAL - {Status.COMPLETED}
Requirement.SUCCESS = _interned(frozenset({Status.COMPLETED}), _HOPELESS, "SUCCESS")
Requirement.COMPLETION = _interned(Status.TERMINAL - {Status.CANCELED}, frozenset(), "COMPLETION")
Requirement.STARTED = _interned(frozenset({Status.STARTED, Status.COMPLETED}), _HOPELESS, "STARTED")


class StatusCodes:
    """The numbers under which one manager's core knows the statuses; given out as statuses are first named.

    Attributes
    ----------
    code : dict of str to int
        To be read by anybody; `code[status]` is all that a writer pays for a known status.
    name : dict of int to str
        The way back, -1 (not registered) included. Whoever has a code finds its name: it is entered first.
    """

    MOST: Final = 64  # the core keeps sets of statuses in 64-bit masks

    def __init__(self, core: StatusGraph[str]) -> None:
        self.code: dict[str, int] = {}
        self.name: dict[int, str] = {-1: Status.NOT_REGISTERED}
        self._core = core

    def add(self, statuses: Iterable[str]) -> None:
        """Give codes to those that have none, to all of them or to none.

        Raises
        ------
        CapacityError
            If there would be more than 64.
        """
        excess = self._core.number(self.code, self.name, list(dict.fromkeys(statuses)), self.MOST)
        if excess is not None:
            raise CapacityError(
                f"status {excess!r} would be one more than the {self.MOST} distinct statuses that a manager holds; use "
                "one of those it knows"
            )

    def mask(self, statuses: Iterable[str]) -> int:
        """Give the set of statuses as bits, bit `code` for each."""
        return sum(1 << self.code[status] for status in statuses)

"""What went wrong, as a person reads it on standard error, and the exit code for it."""

from __future__ import annotations

import sys

from fastdag.errors import (
    ConflictingRequirementError,
    CycleError,
    DependencyFailedError,
    EventGapError,
    FastDAGError,
    PlanError,
    SameStatusError,
    ServiceError,
    ServiceNotFoundError,
    UnitNotFoundError,
    WaitTimeoutError,
)

FAILED = 1
USAGE = 2
DEPENDENCY_FAILED = 3
NO_SERVICE = 69  # EX_UNAVAILABLE of sysexits.h
TIMED_OUT = 124  # as timeout(1)

CODES = f"""\
exit codes:
  0    it is done
  {FAILED}    an error, which standard error names
  {USAGE}    the command line makes no sense
  {DEPENDENCY_FAILED}    what the unit depends on failed, or was skipped or canceled; or others ended the unit itself
  {NO_SERVICE}   no service listens, or it went away
  {TIMED_OUT}  the time limit is over
  130  interrupted
exec gives the exit status of the command once that runs: 126 when it cannot be run, 127 when there is no such command,
128 + N when signal N killed it.
"""

RUN_CODES = f"""\
exit codes:
  0    all units completed
  {FAILED}    some did not
  {USAGE}    the command line makes no sense, or the plan has problems, which standard error names; nothing ran
  130  interrupted by SIGINT; 143 by SIGTERM, 129 by SIGHUP
"""


def report(error: Exception) -> int:
    """Say what went wrong and give the exit code; an error that nobody foresaw is raised again."""
    code, lines = explained(error)
    for line in lines:
        print(line, file=sys.stderr)
    return code


def explained(error: Exception) -> tuple[int, list[str]]:
    """Give the exit code for an error, and what to say."""
    match error:
        case WaitTimeoutError():
            # The first line is the original's, which scripts look for.
            return TIMED_OUT, [str(error), *(f"  {unmet}" for unmet in error.unmet)]
        case DependencyFailedError():
            return DEPENDENCY_FAILED, _failed(error)
        case ServiceNotFoundError():
            return NO_SERVICE, [_error(error)]
        case ServiceError(code=503):
            return NO_SERVICE, [_error(error)]
        case UnitNotFoundError():
            text = f"unit {error.unit!r} is not registered; `fastdag sync want` and `start` register it"
        case SameStatusError():
            text = f"unit {error.unit!r} is {error.status} already"
        case CycleError():
            cycle = " -> ".join(map(repr, error.path))
            text = f"unit {error.path[0]!r} cannot depend on {error.path[1]!r}, as that would close a cycle: {cycle}"
        case ConflictingRequirementError():
            text = (
                f"unit {error.unit!r} already depends on {error.depends_on!r} with the requirement {error.existing}, "
                f"not {error.requested}; that one stands"
            )
        case EventGapError():
            text = "events were lost, as they came faster than they were read; look at `fastdag sync list`"
        case PlanError():
            count = len(error.problems)
            problems = "a problem" if count == 1 else f"{count} problems"
            return FAILED, [str(error), f"error: {problems} in the plan; nothing of it runs"]
        case OSError(filename=str(name), strerror=str(why)):
            text = f"{name}: {why}"
        case FastDAGError() | ValueError() | OSError():
            text = str(error)
        case _:
            raise error
    return FAILED, [f"error: {text}"]


def without_extra(command: str, error: ImportError, extra: str = "service") -> int:
    """Say that a package is missing; raise the error again if that is not so."""
    if error.name is None or error.name.partition(".")[0] == "fastdag":
        raise error
    message = f"error: {command} needs the package {error.name}; install it with: pip install 'fastdag[{extra}]'"
    print(message, file=sys.stderr)
    return FAILED


def _error(error: Exception) -> str:
    return f"error: {error}"


def _failed(error: DependencyFailedError) -> list[str]:
    reasons = {unit: reason for unit, _, reason in error.causes}
    ends = ", ".join(_ended(unit, status, reasons.get(unit)) for unit, status in error.failed)
    direct = {unit for unit, _ in error.failed}
    # A unit that is its own reason ended while it was waited for.
    what = "" if error.unit in direct else f"{error.unit!r} cannot become ready: "
    return [
        f"error: unit {what}{ends}",
        *(f"  because {_ended(*cause)}" for cause in error.causes if cause[0] not in direct),
    ]


def _ended(unit: str, status: str, reason: str | None) -> str:
    return f"{unit!r} is {status}" + (f" ({reason})" if reason else "")

"""What the verbs of `fastdag sync` do; and the other commands, which others do. Each gives the exit code, None for 0.

What each needs beyond a request it imports itself: see `fastdag.cli`. Output is what the original's commands print.
"""

from fastdag.client import wire
from fastdag.client.transport import Address, Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastdag.plan.model import Phase

TIMEOUT = 300.0  # seconds, as the original waits


def ping(socket: "str | None" = None) -> None:
    _service(socket).call("GET", "/v1/ping")
    print("Success")


def want(unit: str, depends_on: "list[str]", requires: str = "success", socket: "str | None" = None) -> None:
    _service(socket).call("POST", "/v1/want", {"unit": unit, "depends_on": depends_on, "requires": requires})
    print("Success")


def start(
    unit: str, timeout: "float | None" = TIMEOUT, owner: "int | None" = None, socket: "str | None" = None
) -> None:
    begin(_service(socket), unit, timeout, owner, lambda: print(waiting(unit), flush=True))
    print("Success")


def begin(service: Transport, unit: str, timeout: "float | None", owner: "int | None", on_wait: "Any") -> None:
    """Set a unit to `started` once it is ready; `on_wait` is called when that is not at once."""
    fields: dict[str, object] = {"unit": unit, "timeout": 0}
    if owner is not None:
        from fastdag.client.owner import started_at  # noqa: PLC0415

        fields["owner"] = {"pid": owner, "started": started_at(owner)}
    reply = service.send("POST", "/v1/start", fields)
    if reply.status != 504:
        service.check(reply)
        return
    on_wait()
    fields["timeout"] = timeout
    service.call("POST", "/v1/start", fields, timeout)


def waiting(unit: str) -> str:
    """Give the line that says what takes so long."""
    return f"Waiting for dependencies of unit '{unit}' to be satisfied..."


def complete(unit: str, socket: "str | None" = None) -> None:
    _service(socket).call("POST", "/v1/complete", {"unit": unit})
    print("Success")


def fail(unit: str, reason: "str | None" = None, socket: "str | None" = None) -> None:
    _service(socket).call("POST", "/v1/fail", {"unit": unit, "reason": reason})
    print("Success")


def wait(
    unit: str, status: "str | None" = None, timeout: "float | None" = TIMEOUT, socket: "str | None" = None
) -> None:
    import sys  # noqa: PLC0415

    from fastdag.cli.parser import near_built_in  # noqa: PLC0415

    if status is not None and (near := near_built_in(status)):
        print(f"Waiting for the status '{status}', which is not the built-in '{near}'...", file=sys.stderr)
    service = _service(socket)
    # Asked first: a wait that is begun twice could miss a status which the unit has for a moment.
    if not _read(service, "status", unit=unit)["status"]:
        print(f"Waiting for unit '{unit}', which nobody has registered yet...", file=sys.stderr)
    service.call("POST", "/v1/wait", {"unit": unit, "status": status, "timeout": timeout}, timeout)
    print("Success")


def status(unit: str, output: str = "table", columns: "list[str] | None" = None, socket: "str | None" = None) -> None:
    from fastdag.cli import output as out  # noqa: PLC0415

    out.print_status(_read(_service(socket), "status", unit=unit), output, columns)


def units(output: str = "table", columns: "list[str] | None" = None, socket: "str | None" = None) -> None:
    from fastdag.cli import output as out  # noqa: PLC0415

    out.print_units(_read(_service(socket), "list")["units"], output, columns)


def why(unit: str, socket: "str | None" = None) -> None:
    from fastdag.cli import output as out  # noqa: PLC0415

    out.print_explanation(_read(_service(socket), "explain", unit=unit))


def graph(form: str = "dot", socket: "str | None" = None) -> None:
    body = _service(socket).call("GET", wire.target("/v1/graph", {"format": form})).decode()
    if form == "json":
        import json  # noqa: PLC0415

        body = json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n"
    print(body, end="" if body.endswith("\n") else "\n")


def events(unit: "str | None" = None, output: str = "table", socket: "str | None" = None) -> None:
    from fastdag.cli import output as out  # noqa: PLC0415
    from fastdag.client import Client  # noqa: PLC0415

    with Client(socket).events(unit) as stream:
        for event in stream:
            out.print_event(event, stream.last_event_id, output)


def execute(
    unit: str,
    command: "list[str]",
    after: "list[str] | None" = None,
    requires: str = "success",
    timeout: "float | None" = TIMEOUT,
    socket: "str | None" = None,
) -> int:
    from fastdag.cli.execute import execute as run  # noqa: PLC0415

    return run(_service(socket), unit, command, after or [], requires, timeout)


def completion(shell: str) -> "int | None":
    try:
        from fastdag.cli.completion import script  # noqa: PLC0415
    except ModuleNotFoundError as error:
        from fastdag.cli.failures import without_extra  # noqa: PLC0415

        return without_extra("fastdag completion", error)
    print(script(shell))
    return None


def plan(path: str, form: str = "text", phase: "Phase | None" = None) -> "int | None":
    import gc  # noqa: PLC0415
    import sys  # noqa: PLC0415

    from fastdag.plan import load, show  # noqa: PLC0415

    gc.disable()  # all of a plan stays; looking for garbage in it again and again takes half of the time
    try:
        found = load(path)
    except ModuleNotFoundError as error:
        from fastdag.cli.failures import without_extra  # noqa: PLC0415

        return without_extra("fastdag plan of .tf files", error, "terraform")
    print(*found.warnings, sep="\n", end="\n" if found.warnings else "", file=sys.stderr)
    print(show.FORMS[form](found if phase is None else found.of_phase(phase)), end="")
    return None


def run(path: str, phase: "Phase | None" = None, only: "list[str] | None" = None, **options: "Any") -> int:
    import gc  # noqa: PLC0415
    import sys  # noqa: PLC0415

    from fastdag.cli.failures import USAGE, without_extra  # noqa: PLC0415
    from fastdag.errors import PlanError  # noqa: PLC0415
    from fastdag.plan import load  # noqa: PLC0415

    gc.disable()  # as in `plan`
    try:
        found = load(path)
    except ModuleNotFoundError as error:
        return without_extra("fastdag run of .tf files", error, "terraform")
    except (PlanError, OSError) as error:
        from fastdag.cli.failures import report  # noqa: PLC0415

        report(error)
        return USAGE
    print(*found.warnings, sep="\n", end="\n" if found.warnings else "", file=sys.stderr)
    gc.freeze()
    gc.enable()
    try:
        from fastdag.runner import executors, resume  # noqa: PLC0415
        from fastdag.runner import run as runner  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return without_extra("fastdag run", error, "run")
    if options["executor"] == "dask":
        try:
            from fastdag.runner import cluster  # noqa: F401, PLC0415
        except ModuleNotFoundError as error:
            return without_extra("fastdag run --executor dask", error, "dask")
    try:
        return runner.run(runner.select(found, phase, only), runner.Options(**options))
    except (executors.RunError, resume.ResumeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE


def serve(socket: "str | None" = None, **options: object) -> int:
    from argparse import Namespace  # noqa: PLC0415

    try:
        from fastdag.service import server  # noqa: PLC0415
    except ModuleNotFoundError as error:
        from fastdag.cli.failures import without_extra  # noqa: PLC0415

        return without_extra("fastdag serve", error)
    return server.run(Namespace(socket=socket, **options))


def _service(socket: "str | None") -> Transport:
    return Transport(Address(socket))


def _read(service: Transport, call: str, **query: str) -> "Any":
    import json  # noqa: PLC0415

    return json.loads(service.call("GET", wire.target(f"/v1/{call}", {**query})))

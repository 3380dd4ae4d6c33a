"""The grammar of the command line: all commands with their options, help and what the shells complete."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TypeVar

import fastdag
from fastdag.cli.failures import CODES, RUN_CODES, USAGE
from fastdag.cli.output import DEPENDENCY_COLUMNS, UNIT_COLUMNS
from fastdag.cli.verbs import TIMEOUT
from fastdag.client.wire import LONGEST
from fastdag.durations import parse_duration
from fastdag.status import Status

_BUILT_IN = sorted({Status.PENDING, Status.STARTED} | Status.TERMINAL)
SHELLS = ("bash", "zsh", "fish")
REQUIREMENTS = ("success", "completion", "started", "completed")

# For the shells: names of units, by asking the service. A name may hold anything but control characters, so none is
# ever handed to the shell for expansion (as `compgen -W` would do).
_NAMES = "fastdag sync list --column unit 2>/dev/null | tail -n +2"
UNITS = {
    "bash": "_fastdag_units",
    "zsh": "_fastdag_units",
    "fish": f"({_NAMES})",
    "preamble": {
        "bash": f"""\
_fastdag_units() {{
  local unit
  {_NAMES} | while IFS= read -r unit; do
    [[ "$unit" == "$1"* ]] && printf '%q\\n' "$unit"
  done
}}""",
        "zsh": f"""\
_fastdag_units() {{
  local -a units
  units=(${{(f)"$({_NAMES})"}})
  compadd -a units
}}""",
    },
}

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """As argparse's, with errors that name the command to look at, and the right spelling of a wrong word."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """End with a usage error."""
        self.exit(USAGE, f"error: {message}\nsee: {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        near = difflib.get_close_matches(str(value), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
        name = "/".join(action.option_strings) or str(action.metavar or action.dest)
        self.error(f"{name}: there is no {value!r}; {hint}")


class VerbParser(Parser):
    """The parser of one verb: options may stand anywhere between its words.

    Attributes
    ----------
    takes_command : bool
        Whether what stands behind `--` is a command, none of whose words are ours.
    """

    takes_command = False
    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, by way of `parse_known_intermixed_args`, which calls this again for the parts."""
        if self._mixing:
            return super().parse_known_args(args, namespace)
        words = list(args)
        end = words.index("--") if "--" in words else len(words)
        if end < len(words) and not self.takes_command:  # names behind it may begin with a dash
            known, unknown = super().parse_known_args(words, namespace)
        else:
            self._mixing = True
            try:
                known, unknown = self.parse_known_intermixed_args(words[:end], namespace)
            finally:
                self._mixing = False
        if unknown:
            self.error(f"these words are too many, or no options here: {' '.join(unknown)}")
        if self.takes_command:
            known.command = words[end + 1 :]
            if not known.command:
                self.error("which command? It stands at the end, behind --")
        return known, unknown


def make_parser() -> Parser:
    """Make the parser. What it gives holds in `verb` the name of a function in `verbs`; the rest are its arguments."""
    parser = Parser(
        prog="fastdag",
        description="Order what depends on each other: scripts, across processes, by way of a small service.",
        epilog=CODES,
    )
    parser.add_argument("--version", action="version", version=f"fastdag {fastdag.__version__}")
    _add_socket(parser)  # where many expect it; and `parsed` sees that it goes with the command
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    _add_sync(commands)
    _add_serve(commands)
    _add_plan(commands)
    _add_run(commands)
    completion = commands.add_parser(
        "completion",
        help="print what a shell needs to complete the words of fastdag",
        description="Print a script by which a shell completes commands, options and names of units. To have it:\n\n"
        '  bash, in ~/.bashrc:                   eval "$(fastdag completion bash)"\n'
        '  zsh, in ~/.zshrc, behind compinit:    eval "$(fastdag completion zsh)"\n'
        "  fish, in ~/.config/fish/config.fish:  fastdag completion fish | source",
    )
    completion.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")
    completion.set_defaults(verb="completion")
    return parser


def _add_sync(commands: Any) -> None:
    sync = commands.add_parser(
        "sync",
        help="say what a script depends on, wait for it, and tell others when it is done",
        description="Tell the service what depends on what, wait, and tell others when it is done.",
        epilog=CODES,
    )
    _add_socket(sync)
    verbs = sync.add_subparsers(title="verbs", metavar="VERB", required=True, parser_class=VerbParser)

    def add(name: str, function: str, about: str, more: str = "", **options: Any) -> VerbParser:
        described = f"{about[0].upper()}{about[1:]}.{more}"
        verb: VerbParser = verbs.add_parser(name, help=about, description=described, epilog=CODES, **options)
        _add_socket(verb)
        verb.set_defaults(verb=function)
        return verb

    add("ping", "ping", "see whether the service answers")

    verb = add("want", "want", "let a unit, registered if need be, depend on others")
    _add_unit(verb)
    _complete(verb.add_argument("depends_on", metavar="DEP", nargs="+", help="what it depends on"), UNITS)
    _add_requires(verb)

    verb = add("start", "start", "wait until a unit, registered if need be, is ready, and mark it as started")
    _add_unit(verb)
    _add_timeout(verb)
    verb.add_argument(
        "--owner",
        metavar="PID",
        type=_checked(_pid),
        help="tie the unit to a process: it fails when that ends without a word",
    )

    verb = add("complete", "complete", "mark a unit as completed, which releases what waits for it")
    _add_unit(verb)

    verb = add("fail", "fail", "mark a unit as failed; what depends on its success is skipped")
    _add_unit(verb)
    verb.add_argument("--reason", metavar="TEXT", help="what to tell those who ask why")

    verb = add(
        "exec",
        "execute",
        "run a command as a unit: wait, start, run, and complete or fail by its exit status",
        """ The unit
fails also when this is killed. SIGTERM, SIGINT and SIGHUP are passed on to the command. The exit status is
that of the command, also when the service has gone meanwhile, which standard error then says.""",
        usage="%(prog)s [-h] [--socket PATH] [--after DEP]... [--requires WHAT] [--timeout TIME] UNIT -- COMMAND...",
    )
    verb.takes_command = True
    _add_unit(verb)
    after = verb.add_argument("--after", metavar="DEP", action="append", help="what it depends on; may be repeated")
    _complete(after, UNITS)
    _add_requires(verb)
    _add_timeout(verb)

    verb = add("status", "status", "show a unit and what it depends on")
    _add_unit(verb)
    _add_output(verb, DEPENDENCY_COLUMNS)

    verb = add("list", "units", "show all units")
    _add_output(verb, UNIT_COLUMNS)

    verb = add("why", "why", "say why a unit waits, down to the units that hold it up")
    _add_unit(verb)

    verb = add("wait", "wait", "wait until a unit is ready or, with --for, has a status, and change nothing")
    _add_unit(verb)
    verb.add_argument(
        "--for",
        dest="status",
        metavar="STATUS",
        type=_checked(_status),
        help="for instance completed; or one of your own",
    )
    _add_timeout(verb)

    verb = add("events", "events", "show what happens, a line each, until interrupted")
    unit = verb.add_argument(
        "--unit", metavar="UNIT", help="only what concerns this unit: itself and what it depends on"
    )
    _complete(unit, UNITS)
    verb.add_argument("-o", "--output", choices=("table", "json"), default="table", help="as lines of text or of JSON")

    verb = add("graph", "graph", "draw all units and dependencies")
    verb.add_argument(
        "--format", dest="form", choices=("dot", "mermaid", "json"), default="dot", help="dot by default: Graphviz's"
    )


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser(
        "serve", help="run the service", description="Run the service, until SIGTERM. Needs the extra [service]."
    )
    _add_socket(serve)
    serve.add_argument("--background", action="store_true", help="return when it serves, and leave it running")
    journal = serve.add_argument("--journal", metavar="FILE", help="keep all changes in a file, and go on from it")
    serve.add_argument("--listen", metavar="HOST:PORT", help="answer over TCP as well; with --token-file")
    token = serve.add_argument("--token-file", metavar="FILE", help="what callers over TCP have to show")
    cert = serve.add_argument("--cert", metavar="FILE", help="for TLS, with --key")
    key = serve.add_argument("--key", metavar="FILE", help="for TLS, with --cert")
    for action in (journal, token, cert, key):
        _complete(action, "file")
    serve.set_defaults(verb="serve")


def _add_plan(commands: Any) -> None:
    plan = commands.add_parser(
        "plan",
        help="check a plan and show what would run when",
        description="Check a plan, all of it, and show its generations, its longest path and what may run at once.\n"
        "A plan is a file in TOML, the JSON of `terraform show -json`, or a folder of .tf files (extra [terraform]).",
        epilog=CODES,
    )
    _complete(plan.add_argument("path", metavar="PLAN", help="the file or folder"), "file")
    plan.add_argument(
        "--format",
        dest="form",
        choices=("text", "dot", "mermaid", "json"),
        default="text",
        help="text by default; dot is Graphviz's",
    )
    plan.add_argument("--phase", choices=("start", "stop"), help="only what runs in this phase (default: both)")
    plan.set_defaults(verb="plan")


def _add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="run a plan: each unit as a process, as soon as it is ready",
        description="Check a plan, run its units, each as a process as soon as it is ready, and say how they ended.\n"
        "While it runs, FASTDAG_SOCKET names a service on the same units for `fastdag sync`. Needs the extra [run].",
        epilog=RUN_CODES,
    )
    _complete(run.add_argument("path", metavar="PLAN", help="the file or folder, as of `fastdag plan`"), "file")
    run.add_argument(
        "-j",
        "--jobs",
        metavar="N",
        type=_checked(_jobs),
        help="how many units run at a time (default: as many as there are processors, here "
        f"{len(os.sched_getaffinity(0))}; with dask, as its workers have threads)",
    )
    run.add_argument("-k", "--keep-going", action="store_true", help="start what can be started, also after a failure")
    run.add_argument("--only", metavar="UNIT", nargs="+", action="extend", help="run these and all they come after")
    run.add_argument("--phase", choices=("start", "stop"), help="which units to run (default: start)")
    folder = run.add_argument("--log-dir", metavar="DIR", help="where their output goes (default: a new folder)")
    _complete(folder, "file")
    run.add_argument(
        "--log-limit",
        metavar="SIZE",
        type=_checked(_size),
        default=256 << 20,
        help="how much a unit may print, as 100K, 10M or 1G (default: 256M); it fails when that is not enough",
    )
    run.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="text (the default), or an object a line"
    )
    journal = run.add_argument("--journal", metavar="FILE", help="keep all that happens in a file, for --resume")
    _complete(journal, "file")
    run.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in the journal: what completed is not run again, what did not, is",
    )
    run.add_argument(
        "--executor",
        choices=("local", "dask"),
        default="local",
        help="where: as processes of this machine (the default), or on the workers of a cluster of Dask, extra [dask]",
    )
    run.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of Dask's scheduler, as tcp://HOST:8786 (default: Dask's own setting, as in DASK_SCHEDULER_ADDRESS)",
    )
    run.set_defaults(verb="run")


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise ValueError(f"{text!r} is no number of units; write 1 or more")
    return int(text)


def _size(text: str) -> int:
    number, factor = (text[:-1], _SIZES[text[-1]]) if text[-1:] in _SIZES else (text, 1)
    if not (number.isascii() and number.isdigit() and 0 < int(number) * factor < 2**63):
        raise ValueError(f"{text!r} is no size; write bytes, or a number with K, M or G")
    return int(number) * factor


_SIZES: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _complete(action: argparse.Action, how: object) -> None:
    """Say how shells complete an argument, in the way of shtab."""
    action.complete = how  # type: ignore[attr-defined]


def _add_socket(parser: argparse.ArgumentParser) -> None:
    socket = parser.add_argument(
        "--socket",
        "--socket-path",
        dest="socket",
        metavar="PATH",
        default=argparse.SUPPRESS,  # so that the words of a verb leave what came before them
        help="of the service; else $FASTDAG_SOCKET, $XDG_RUNTIME_DIR/fastdag.sock, or /tmp/fastdag-<uid>/fastdag.sock",
    )
    _complete(socket, "file")


def _add_unit(parser: argparse.ArgumentParser) -> None:
    _complete(parser.add_argument("unit", metavar="UNIT", help="its name"), UNITS)


def _add_requires(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--requires",
        choices=REQUIREMENTS,
        default="success",
        help="what it needs of them: success, that they completed (the default); completion, that they ended, however; "
        "started, that they started, or completed already; completed, as success, but failing does not rule it out",
    )


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=_checked(_limit),
        default=TIMEOUT,
        help="how long to wait, as 30s, 5m or 1h30m; 0: no limit (default: 5m)",
    )


def _add_output(parser: argparse.ArgumentParser, columns: Sequence[str]) -> None:
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="a table (the default) or JSON"
    )
    parser.add_argument(
        "-c",
        "--column",
        dest="columns",
        metavar="COLUMNS",
        action="extend",
        type=_checked(lambda text: _chosen(text, columns)),
        help=f"columns of the table, with commas between: {', '.join(columns)} (default: all)",
    )


def _checked(convert: Callable[[str], T]) -> Callable[[str], T]:
    """Have argparse show what a ValueError says."""

    def check(text: str) -> T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return check


def _status(text: str) -> str:
    if not text:
        raise ValueError("a status is not empty")
    return text


def near_built_in(text: str) -> str | None:
    """Give the built-in status that somebody may have meant by another one, which may be his own all the same."""
    near = [] if text in _BUILT_IN else difflib.get_close_matches(text.lower(), _BUILT_IN, 1)
    return near[0] if near else None


def _limit(text: str) -> float | None:
    seconds = parse_duration(text)
    if seconds > LONGEST:
        raise ValueError(f"{text!r} is more than {LONGEST // 3600}h; 0 stands for no limit")
    return seconds or None


def _pid(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise ValueError(f"{text!r} is no number of a process")
    return int(text)


def _chosen(text: str, columns: Sequence[str]) -> list[str]:
    chosen = [name.strip().lower() for name in text.split(",")]
    for name in chosen:
        if name not in columns:
            raise ValueError(f"there is no column {name!r}; choose from {', '.join(columns)}")
    return chosen

"""The command `fastdag`.

Scripts call it in a row, so what it costs to start is most of what it costs. Nothing is imported at the top here, in
`verbs` and in what that needs, but what the interpreter has loaded anyway: argparse, json, re, enum, typing, socket and
the compiled core wait until something needs them. The script that pip writes for the command needs nothing else either.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

INTERRUPTED = 130  # 128 and SIGINT, as shells have it
UNREAD = 141  # 128 and SIGPIPE: whoever reads the output has gone


def main() -> "NoReturn":
    """Do what the command line says, and leave with the exit code."""
    code = run(sys.argv[1:])
    try:
        if sys.stdout is not None:  # as it is where the caller closed it
            sys.stdout.flush()
    except BrokenPipeError:
        code = UNREAD
    except OSError as error:
        code = code or 1
        sys.stderr.write(f"error: cannot write the output: {error.strerror}\n")
    # Everything is said and done. Tearing the interpreter down first would take a tenth of the time of a short command,
    # for which those wait who wait for it.
    os._exit(code)


def run(words: "list[str]") -> int:
    """Do what the words of a command line say, and give the exit code."""
    try:
        verb, arguments = shortcut(words) or parsed(words)
        from fastdag.cli import verbs  # noqa: PLC0415

        return getattr(verbs, verb)(**arguments) or 0
    except SystemExit as ended:  # argparse has said it all
        return int(ended.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return UNREAD
    except Exception as error:  # noqa: BLE001 - those that nobody foresaw are raised again
        from fastdag.cli.failures import report  # noqa: PLC0415

        return report(error)


def shortcut(words: "list[str]") -> "tuple[str, dict[str, object]] | None":
    """Give what `parsed` would for the plainest of calls, those of scripts, without argparse; None for any other."""
    if len(words) < 2 or words[0] != "sync" or any(word.startswith("-") for word in words):
        return None
    verb, units = words[1], words[2:]
    if verb == "ping" and not units:
        return verb, {}
    if verb in ("start", "complete", "fail") and len(units) == 1:
        return verb, {"unit": units[0]}
    if verb == "want" and len(units) > 1:
        return verb, {"unit": units[0], "depends_on": units[1:]}
    return None


def parsed(words: "list[str]") -> "tuple[str, dict[str, object]]":
    """Give the function in `verbs` for a command line, and its arguments; a usage error or --help raises SystemExit."""
    from fastdag.cli.parser import make_parser  # noqa: PLC0415

    parser = make_parser()
    arguments = vars(parser.parse_args(words))
    verb = arguments.pop("verb")
    if "socket" in arguments and verb in ("plan", "run", "completion"):
        parser.error(f"--socket goes with sync and serve, not with {verb}")
    return verb, arguments

"""Concurrent histories of real threads against the sequential specification: `python -m tests.linearizability`."""

from __future__ import annotations

import argparse
import random
import sys
import time

from .run import Run
from .subjects import GraphSubject, ManagerSubject

SUBJECTS = {"graph": GraphSubject, "manager": ManagerSubject}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.linearizability", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="histories (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="default: another one every time")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    begun = time.monotonic()
    for kind, subject in SUBJECTS.items():
        run = Run(subject, seed)
        try:
            run.run(options.count // len(SUBJECTS))
        except BaseException:
            print(f"failed after {run}; --seed {seed}", file=sys.stderr)
            raise
        print(f"{kind}: {run}; seed {seed}, {time.monotonic() - begun:.1f} s")
        print({what: round(seconds, 1) for what, seconds in run.spent.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())

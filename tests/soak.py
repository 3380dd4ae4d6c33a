"""The long forms of what the tests of the service do: `python -m tests.soak --rounds N --seed S`, `make soak`."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from service_kills import kills
from service_scripts import DIALECTS, ORDERS, check, start_up
from service_support import running_service
from test_service_state import random_calls

CALLS = 100  # of each random sequence; the sequences are as many as the kills, and with a journal


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="kills, and sequences (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="default: another one every time")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"{options.rounds} rounds with seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fastdag-soak-") as folder:
        begun = time.monotonic()
        print(kills(Path(folder), options.rounds, seed), end="", flush=True)
        print(f" ({time.monotonic() - begun:.0f} s)", flush=True)
    begun = time.monotonic()
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="fastdag-soak-") as folder:
            asyncio.run(random_calls(seed + number, CALLS, Path(folder, "journal")))
    print(f"{options.rounds} sequences of {CALLS} random calls and restarts ({time.monotonic() - begun:.0f} s)")
    begun = time.monotonic()
    for order, dialect in product(ORDERS, DIALECTS):
        with tempfile.TemporaryDirectory(prefix="fastdag-soak-") as folder, running_service(Path(folder)) as service:
            work = Path(folder, "work")
            check(work, start_up(order, dict.fromkeys(order, dialect), work, service.socket))
    print(f"{len(ORDERS) * len(DIALECTS)} starts of a workspace ({time.monotonic() - begun:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

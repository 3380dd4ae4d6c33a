"""A journal that is written and killed: what a later process finds must be what some number of puts left behind.

`python -m tests.journal_support --rounds N --seed S` kills N processes. A child writes puts that follow from seed and
number alone, so that the state after any number of them can be worked out; it prints the number of each put that was
acknowledged. It closes and opens the journal again now and then, so that kills meet that too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

from fastdag.service import journal as module
from fastdag.service.journal import DependencyRow, Journal, UnitRow

NAMES = [f"unité-{number} ⇒" for number in range(40)]


def rows_of(seed, number):
    """Give the rows of the put with that number; the first row counts."""
    draw = random.Random(f"{seed} {number}")
    rows = [UnitRow("counter", str(number), float(number))]
    for _ in range(draw.randrange(5)):
        if draw.random() < 0.7:
            reason = draw.choice([None, "Grund " * draw.randrange(300)])
            rows.append(UnitRow(draw.choice(NAMES), draw.choice(["pending", "started"]), draw.random(), reason))
        else:
            rows.append(DependencyRow(*draw.sample(NAMES, 2), f'"{number}"'))
    return rows


class State:
    """What a number of puts leave behind."""

    def __init__(self, seed):
        self.seed = seed
        self.number = 0
        self.units = {}
        self.dependencies = {}

    def advance(self, number):
        while self.number < number:
            self.number += 1
            for row in rows_of(self.seed, self.number):
                if isinstance(row, UnitRow):
                    self.units[row.unit] = row
                else:
                    self.dependencies[row.unit, row.depends_on] = row
        return list(self.units.values()), list(self.dependencies.values())


def found(path):
    """Open the journal, and give what it has and the number of puts that it says it has."""
    with closing(Journal(path)) as journal:
        units, dependencies = journal.load()
    return (units, dependencies), int(units[0].status) if units else 0


async def write(path, seed, puts, tasks):
    """Write `puts` puts after those that the journal has, from so many tasks at once, and close it."""
    with closing(Journal(path)) as journal:
        units, _ = journal.load()
        before = int(units[0].status) if units else 0
        journal.start(asyncio.get_running_loop())

        async def client():
            while journal.position < puts:
                journal.put(rows_of(seed, before + journal.position + 1))
                position = journal.position
                await journal.committed(position)
                os.write(1, f"{before + position}\n".encode())

        await asyncio.gather(*(client() for _ in range(tasks)))


def kill_rounds(rounds, seed, folder):
    """Kill so many writers of one journal, and look at it each time; the answer is how many puts it ends with."""
    draw = random.Random(seed)
    path = Path(folder) / "journal"
    state = State(seed)
    for _ in range(rounds):
        command = [sys.executable, __file__, "--child", str(path), "--seed", str(seed)]
        command += ["--checkpoint", str(draw.choice([10, 100, 4096])), "--tasks", str(draw.choice([1, 8, 32]))]
        command += ["--puts", str(draw.choice([20, 200, 100_000]))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            first = child.stdout.readline()  # the moments are drawn among those in which it writes
            timer = threading.Timer(draw.expovariate(10), child.send_signal, [signal.SIGKILL])
            timer.start()
            printed = (first + child.stdout.read()).split(b"\n")[:-1]  # a line that was cut off says nothing
            timer.join()
        assert child.returncode == -signal.SIGKILL, child.returncode
        contents, number = found(path)
        assert printed, "killed before it wrote anything: nothing was tried"
        assert number >= max(map(int, printed)), f"put {max(map(int, printed))} was acknowledged, {number} are there"
        assert contents == state.advance(number), f"what is there is not what {number} puts leave behind"
    return state.number


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--tasks", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--puts", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        module._CHECKPOINT = options.checkpoint
        while True:
            asyncio.run(write(options.child, options.seed, options.puts, options.tasks))
    with tempfile.TemporaryDirectory() as folder:
        puts = kill_rounds(options.rounds, options.seed, folder)
    print(f"seed {options.seed}: {options.rounds} kills, {puts:,} puts, what was acknowledged is there")


if __name__ == "__main__":
    main()

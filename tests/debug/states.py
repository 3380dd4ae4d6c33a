"""Every state of all interleavings, of more than the tests do: `states.py THREADS EACH SEEDS`, under the debug build.

For all combinations of operations: so many threads, each of which does one operation EACH times, on every graph, with
names drawn with seeds 1 … SEEDS.
"""

import itertools
import sys
import time

from fastdag._debug import PLAIN, WITH_STATUSES, Threads

# Names, and edges to begin with, few and many: so that operations meet, and find or lack what they look for.
GRAPHS = [(3, 2), (4, 4), (4, 8)]


def combinations(names, threads, each, seeds, graphs):
    for operations in itertools.combinations_with_replacement(names, threads):
        for seed in range(1, seeds + 1):
            for graph in graphs:
                yield [[name] * each for name in operations], seed, *graph


def search_all(programs):
    """Programs: the arguments of `Threads`."""
    count = states = transitions = 0
    began = time.monotonic()
    for program in programs:
        threads = Threads(*program)
        threads.search()
        count += 1
        states += threads.states
        transitions += threads.transitions
    print(f"{count} programs, {states} states, {transitions} transitions, {time.monotonic() - began:.0f} s", flush=True)


def main(threads: int, each: int, seeds: int) -> None:
    for graph in GRAPHS:
        for name, names in ("plain", PLAIN), ("with statuses", WITH_STATUSES):
            print(f"{graph[0]} names, {graph[1]} edges, {name}: ", end="")
            search_all(combinations(names, threads, each, seeds, [graph]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

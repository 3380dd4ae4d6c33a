"""One schedule of every trace of each pair of operations: `traces.py OPERATIONS MOST`, under the debug build.

Three operations of a thread are what `make debug` runs; MOST is how many traces of a pair are run, 0 for all of them.
"""

import itertools
import sys
import time


def main(operations: int, most: int) -> None:
    from fastdag._debug import NUMBERS, PLAIN, WITH_STATUSES, Pair  # noqa: PLC0415  # debug builds only

    pairs = left = schedules = 0
    for names in (PLAIN, WITH_STATUSES):
        for one, other in itertools.combinations_with_replacement(names, 2):
            pair = Pair(NUMBERS[one], NUMBERS[other], 1, operations=operations)
            began = time.monotonic()
            complete = pair.traces(most)
            pairs += 1
            left += not complete
            schedules += pair.schedules
            print(
                f"{one:14} {other:14} {pair.schedules:10} {'all' if complete else 'not all'}, "
                f"{pair.steps // pair.schedules} steps each, {time.monotonic() - began:.1f} s",
                flush=True,
            )
    print(f"{pairs} pairs, {left} of them not to the end, {schedules} schedules")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

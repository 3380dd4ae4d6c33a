"""Native threads on one core, no interpreter: `native.py OPERATIONS SEED`, under a debug build."""

import sys
import time


def main(operations: int, seed: int) -> None:
    from fastdag._debug import stress  # noqa: PLC0415  # debug builds only

    for statuses in (False, True):
        for names in (4, 16, 200):  # few: they meet all the time; many: long walks, much memory
            began = time.monotonic()
            done = stress(4, 5, operations, seed, statuses=statuses, names=names)
            print(
                f"{'with statuses' if statuses else 'plain'}, {names} names: {done} operations, seed {seed}, "
                f"{time.monotonic() - began:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

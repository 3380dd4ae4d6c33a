"""What a sampled thread was doing: stacks from py-spy or perf, sorted into a few kinds of work.

A stack is read from its leaf. What the sampler could not name (the C library comes without symbols on most machines)
belongs to whoever called it, as long as that is one step away; beyond that the sample counts as not sorted.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any, NamedTuple


class Work(Enum):
    """What a thread can be found at. The order is the one in which a report shows them."""

    LOCK = "waiting for a lock of the graph"
    INTERPRETER = "waiting for the interpreter"
    ALLOCATION = "allocation and freeing"
    NAMES = "hashing and name lookup"
    ORDER = "order search"
    ADJACENCY = "adjacency and statuses"
    TAKING = "taking a free lock"
    PYTHON = "Python around it"
    OTHER = "other"
    UNSORTED = "could not be sorted"


class Frame(NamedTuple):
    """One call; `file` is the source file or, without symbols, the library."""

    name: str
    file: str = ""
    line: int = 0

    @property
    def base(self) -> str:
        return PurePath(self.file).name

    @property
    def named(self) -> bool:
        return bool(self.name) and not self.name.startswith(("0x", "[unknown]"))

    @property
    def python(self) -> bool:
        return self.base.endswith(".py") or self.file.startswith("<")

    def __str__(self) -> str:
        return f"{self.name} ({self.base}{f':{self.line}' if self.line else ''})"


Stack = tuple[Frame, ...]  # root first

MANGLED = re.compile(r"__pyx_\w+?_7fastdag_(\d+)(\w+)")

WAITS = re.compile(
    r"pthread_cond_(timed|clock)?wait|pthread_mutex_(lock|unlock)|pthread_cond_(signal|broadcast)|_*futex\w*|syscall"
    r"|_*sem_(timed|clock)?wait\w*|sem_post|__new_sem_\w+|__lll_\w+|sched_yield|clock_nanosleep|do_futex_wait\w*"
    r"|pthread_cond_\w+@@\S*"
)
HANDED_OVER = re.compile(
    r"take_gil|drop_gil|PyEval_(Restore|Save|Acquire|Release)Thread|_PyThreadState_(Attach|Detach|Suspend)"
    r"|PyGILState_(Ensure|Release)|_?PyMutex_\w+|_PyParkingLot_\w+|_PySemaphore_\w+|_PyCriticalSection\w*"
)
WAITS_IN_CORE = re.compile(
    r"std::__detail::.*(wait|spin|notify)|std::__atomic_(wait|notify)|.*core_mutex::lock|.*atomic.*::(wait|notify_\w+)"
)
ALLOCATORS = re.compile(
    r"malloc|calloc|realloc|free|cfree|_int_(malloc|free)|posix_memalign|operator (new|delete).*|munmap|mmap|brk|sbrk"
    r"|madvise|mprotect|_?Py(Mem|Object)_\w*(Malloc|Calloc|Realloc|Free)\w*|pymalloc_\w+|arena_\w+|new_arena"
)
ALLOCATES = re.compile(
    ALLOCATORS.pattern
    + r"|_?PyObject_(GC_)?(New|Del)\w*|PyType_GenericAlloc|_PyType_AllocNoTrack|gc_\w+|_Py_Dealloc|\w+_dealloc"
    r"|_?Py(List|Tuple|Dict)_New\w*|tuple_alloc|list_resize"
    r"|_storage_(pool_\w+|list_resize_locked)|_types_segments_\w+|_names_shard_reserve|_identity_identity_grow"
    r"|\w+_(grow|free)|_log_log_reserve\w*|ends_start"
)
NAMES = re.compile(
    r"fastdag_hash|Graph__(find|need|mixed|expect|is_in|label|make|keep|recycle|discard)\w*|Graph__unhashable"
    r"|_?PyObject_Hash|\w*(str|unicode|bytes|long|tuple)_?hash\w*|unicode_(eq|compare_eq)|_?Py_dict_lookup\w*|dict\w*look\w*"
    r"|_?PyDict_(Get|Set)\w*|insertdict|PyObject_RichCompare\w*|(unicode|str|tuple|long)\w*richcompare\w*|Sorter__find\w*"
)
ORDER = re.compile(r"\w*sorted_(order|relink|cycle)|\w*_edge_settle|\w*edge_add_exclusive|by_rank|\w*introsort\w*")
TAKES = re.compile(r"fastdag_core_mutex::\w+|_locks_\w+")
ADJACENCY = re.compile(
    r"Graph__(ends|copy_ends|label_at|look_at|degree|bulk)|ends_copy|vertex_(keep|degrees)|status_read"
)
HEADERS = {
    "_names.pxd": Work.NAMES,
    "_identity.pxd": Work.NAMES,
    "_pins.pxd": Work.NAMES,
    "_order.pxd": Work.ORDER,
    "_search.pxd": Work.ORDER,
    "_heap.pxd": Work.ORDER,
}
PASSED_OVER = {"_types.pxd", "_atomics.pxd"}  # small things, of whoever calls them


def demangled(name: str) -> Frame | None:
    """A frame for Cython's name of a function of the core: perf shows those as the compiler sees them."""
    found = MANGLED.match(name)
    if not found:
        return None
    length, rest = int(found[1]), found[2]
    module = rest[:length]
    return Frame(name, f"{module}.{'pyx' if module == '_core' else 'pxd'}")


def _in_core(frame: Frame) -> bool:
    return frame.base.endswith((".pxd", ".pyx")) or frame.base.startswith("_core.")


def in_core(stack: Stack) -> bool:
    """Whether the thread was inside the core."""
    return any(map(_in_core, stack))


def _waiting(stack: Stack) -> Work | None:
    """What a thread that sleeps, is about to, or wakes another one is waiting for."""
    leaf = list(reversed(stack))
    waits = False
    at = 0
    while at < len(leaf) and (not leaf[at].named or WAITS.fullmatch(leaf[at].name)):
        waits = waits or leaf[at].named
        at += 1
    if at == len(leaf):
        return Work.UNSORTED
    callers = [frame.name for frame in leaf[at : at + 8]]
    if any(HANDED_OVER.fullmatch(name) for name in callers[:3]):
        return Work.INTERPRETER
    if any(WAITS_IN_CORE.match(name) for name in callers[:1]) and in_core(stack):
        return Work.LOCK
    if callers[0] in ("PyThread_acquire_lock_timed", "PyThread_release_lock"):
        python = next((frame for frame in leaf[at:] if frame.python), None)
        return Work.LOCK if python is not None and python.base == "coarse.py" else Work.OTHER
    if (not waits and at < 2) or ALLOCATES.fullmatch(callers[0]):
        return None
    # Only the interpreter's own lock is left: it is made of a mutex and a condition variable, which the core and the
    # workloads do not use; the functions around it are among those that py-spy leaves out. Two nameless frames are the
    # C library waking somebody up within such a function: what else is called has a name, or calls nothing itself.
    return Work.INTERPRETER


@cache
def sort(stack: Stack) -> Work:
    """Say what a thread with this stack was doing."""
    waiting = _waiting(stack)
    if waiting is not None:
        return waiting
    inside = in_core(stack)
    for frame in reversed(stack):
        name = frame.name
        if not frame.named or frame.base in PASSED_OVER or name.startswith("std::"):
            continue
        if ALLOCATES.fullmatch(name):
            return Work.ALLOCATION
        if TAKES.fullmatch(name):
            return Work.TAKING
        if ORDER.fullmatch(name):
            return Work.ORDER
        if inside and NAMES.fullmatch(name):
            return Work.NAMES
        if frame.base in HEADERS:
            return HEADERS[frame.base]
        if frame.base.endswith(".pxd") or (_in_core(frame) and ADJACENCY.fullmatch(name)):
            return Work.ADJACENCY
        if _in_core(frame) or frame.python:
            return Work.PYTHON
    return Work.OTHER if any(frame.named for frame in stack) else Work.UNSORTED


@dataclass(frozen=True)
class Samples:
    """The samples of one run, taken of threads at work only."""

    count: Counter[Stack]
    left_out: int  # samples of other threads, and of threads that had not begun or had ended

    @property
    def total(self) -> int:
        return self.count.total()

    def by_work(self) -> Counter[Work]:
        found: Counter[Work] = Counter()
        for stack, count in self.count.items():
            found[sort(stack)] += count
        return found

    def running(self) -> int:
        """Those that do not wait for the interpreter: what shares are taken of."""
        return self.total - self.by_work()[Work.INTERPRETER]

    def allocating_in_core(self) -> int:
        return sum(
            count for stack, count in self.count.items() if in_core(stack) and sort(stack) is Work.ALLOCATION
        )

    def top(self, most: int) -> list[tuple[str, Work, int]]:
        """The frames at which most samples were found, without those waiting for the interpreter."""
        found: Counter[tuple[str, Work]] = Counter()
        for stack, count in self.count.items():
            work = sort(stack)
            if work is not Work.INTERPRETER:
                leaf = next((frame for frame in reversed(stack) if frame.named), stack[-1])
                found[str(leaf), work] += count
        return [(frame, work, count) for (frame, work), count in found.most_common(most)]


def _at_work(stack: Stack) -> bool:
    """Whether a thread was between the common start and the end: in `work` of one of the workloads."""
    return any(
        frame.base in ("graphs.py", "managed.py") and frame.name.rpartition(".")[2] == "work" for frame in stack
    )


def from_speedscope(document: dict[str, Any]) -> Samples:
    """Samples as ``py-spy record --format speedscope`` writes them."""
    frames = [Frame(f["name"], f["file"] or "", f["line"] or 0) for f in document["shared"]["frames"]]
    count: Counter[Stack] = Counter()
    left_out = 0
    for profile in document["profiles"]:
        for sample in profile["samples"]:
            stack = tuple(frames[i] for i in sample)
            if _at_work(stack):
                count[stack] += 1
            else:
                left_out += 1
    return Samples(count, left_out)


def from_perf(lines: Iterable[str]) -> Samples:
    """Samples as ``perf script -F pid,tid,ip,sym,dso`` prints them; the threads beside the first are those at work."""
    count: Counter[Stack] = Counter()
    left_out = 0
    for first_thread, stack in _perf_stacks(lines):
        if first_thread:
            left_out += 1
        else:
            count[stack] += 1
    return Samples(count, left_out)


def _perf_stacks(lines: Iterable[str]) -> Iterator[tuple[bool, Stack]]:
    header = re.compile(r"\s*(\d+)/(\d+)\s*:?\s*$")
    row = re.compile(r"\s+[0-9a-f]+ (.*) \((.*)\)$")
    first_thread = False
    frames: list[Frame] = []
    for line in [*lines, ""]:
        if found := header.match(line):
            first_thread = found[1] == found[2]
        elif found := row.match(line):
            name = re.sub(r"\+0x[0-9a-f]+$", "", found[1])
            frames.append(demangled(name) or Frame(name, found[2]))
        elif frames:
            yield first_thread, tuple(reversed(frames))
            frames = []

"""What proves the core in its debug build: native threads that do nothing but core operations, and schedules of such threads.

Built with FASTDAG_DEBUG=1 only, from the same headers as `fastdag._core`; `python -m tests.debug` builds and runs it.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from libcpp cimport bool as cpp_bool
from libcpp.vector cimport vector

from fastdag._adjacency cimport list_find_locked
from fastdag._atomics cimport acq_rel, acquire, atomic, mutex, release
from fastdag._batch cimport Batch, batch_promise, batch_publish
from fastdag._check cimport core_check
from fastdag._edges cimport Core, Rules
from fastdag._log cimport Log, log_switch
from fastdag._order cimport Order
from fastdag._readiness cimport readiness_at, status_of, watched_bit
from fastdag._storage cimport EdgeList, Vertex, list_labels, list_words, seen_at, vertex_at
from fastdag._types cimport Answer, Ref

from machine cimport (
    ADD, CHECK, CODES, DEPEND, DEPEND_ALL, KEEP, LABELS, LOG, NAMES, OPS, PLAIN_OPS, REGISTER, REMOVE, SET, UNWATCH, WATCH, Machine,
    Step, log_follows, machine_do, machine_free, machine_start, name_look,
)

cdef extern from *:
    """
    #include <barrier>
    #include <thread>
    #include <vector>
    template <class Body, class Shared> static void fastdag_threads(int n, Body body, Shared shared) {
        std::barrier<> start(n);
        std::vector<std::thread> threads;
        for (int i = 0; i < n; i++)
            threads.emplace_back([&start, body, shared, i] { start.arrive_and_wait(); body(shared, i); });
        for (auto &thread : threads)
            thread.join();
    }
    """
    ctypedef void (*Body)(void *, int) noexcept nogil
    void in_threads "fastdag_threads"(int, Body, void *) nogil

cdef struct Round:
    Machine *machine
    uint64_t seed
    int64_t operations       # of each thread
    bint statuses


cdef inline uint64_t random_next(uint64_t *state) noexcept nogil:
    """Splitmix64 (Steele, Lea, Flood 2014)."""
    cdef uint64_t x
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    x = state[0]
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef inline bint with_statuses(int op) noexcept nogil:
    return op > PLAIN_OPS


cdef void step_choose(Step *p, uint64_t *state, int op, int32_t names) noexcept nogil:
    """Names, and a label or status, at random."""
    cdef uint64_t x = random_next(state)
    p.op = op
    p.a = <int32_t>((x & 0xFFFF) % <uint64_t>names)
    p.b = <int32_t>((x >> 16 & 0xFFFF) % <uint64_t>(names - 1))
    p.b += p.b >= p.a
    p.third = <int32_t>((x >> 32 & 0xFFFF) % <uint64_t>names)
    if p.third == p.a or p.third == p.b:
        p.third = -1
    x >>= 48
    if op == DEPEND or op == DEPEND_ALL:
        p.c = 1 + <int32_t>(x % <uint64_t>(LABELS - 1))
    else:
        p.c = <int32_t>(x % <uint64_t>(CODES if with_statuses(op) else LABELS))


cdef int op_choose(uint64_t *state, bint statuses) noexcept nogil:
    cdef int first = PLAIN_OPS + 1 if statuses else 0
    cdef int last = OPS if statuses else PLAIN_OPS
    return first + <int>(random_next(state) % <uint64_t>(last - first))


cdef void round_run(void *shared, int thread) noexcept nogil:
    cdef Round *r = <Round *>shared
    cdef uint64_t state = r.seed + <uint64_t>thread * 1_000_003
    cdef Step p
    cdef int64_t[3] answer
    cdef int64_t i
    for i in range(r.operations):
        step_choose(&p, &state, op_choose(&state, r.statuses), r.machine.most)
        if p.op == CHECK and i & 63:
            continue                     # it takes as long as thousands of the others
        machine_do(r.machine, &p, answer)


cdef class _Owner:
    """A machine, freed with this object."""

    cdef Machine m

    def __cinit__(self, bint statuses, int names):
        machine_start(&self.m, statuses, names)

    def __dealloc__(self):
        machine_free(&self.m)

    def check(self):
        cdef int32_t id = -1
        cdef const char *broken
        with nogil:
            broken = core_check(&self.m.core, &id)
        if broken != NULL:
            raise AssertionError(f"vertex {id}: {broken.decode()}")
        if self.m.wrong.load(acquire):
            raise AssertionError(f"{self.m.wrong.load(acquire)} contradictions")


def stress(int threads, int rounds, int64_t operations, uint64_t seed, bint statuses=False, int names=64):
    """Native threads do random operations on one core; all invariants are checked after each round.

    Parameters
    ----------
    threads, rounds : int
    operations : int
        Of each thread in a round.
    statuses : bool
        Use a core with statuses, whose vertices and edges stay, as a `StatusGraph`'s do.
    names : int
        2 … 256; the fewer, the more the threads meet.

    Returns
    -------
    int
        Operations done.
    """
    if not 2 <= names <= NAMES:
        raise ValueError(f"names is {names}; 2 to {NAMES} are possible")
    cdef _Owner owner = _Owner(statuses, names)
    cdef Round r
    cdef int i
    r.machine = &owner.m
    r.operations = operations
    r.statuses = statuses
    for i in range(rounds):
        r.seed = seed + <uint64_t>i * 7919
        with nogil:
            in_threads(threads, round_run, &r)
        owner.check()
    return threads * rounds * operations


def relabel_in_a_full_log(int edges):
    """A batch gives edges other labels; meanwhile others have filled the log up to the room that it keeps for the batch.

    Returns
    -------
    tuple of int
        For how many entries the log had room before, and after; entries it still keeps room for; edges with the new label.
    """
    cdef _Owner owner = _Owner(True, NAMES)
    cdef Machine *m = &owner.m
    cdef Log *log = &m.core.board.log
    cdef int32_t *again = <int32_t *>malloc(3 * <size_t>edges * sizeof(int32_t))
    cdef Batch none
    cdef Answer told
    cdef Step step
    cdef Ref source, target
    cdef int64_t[3] answer
    cdef int64_t each, room
    cdef int i
    cdef int32_t relabelled = 0
    memset(&none, 0, sizeof(Batch))
    memset(&told, 0, sizeof(Answer))
    memset(&step, 0, sizeof(Step))
    step.op = REGISTER
    machine_do(m, &step, answer)
    step.a = NAMES - 1
    machine_do(m, &step, answer)
    for i in range(edges):
        step = Step(DEPEND, 0, i + 1, 1, -1)
        machine_do(m, &step, answer)
        name_look(m, 0, &source)
        name_look(m, i + 1, &target)
        again[3 * i] = source.id
        again[3 * i + 1] = target.id
        again[3 * i + 2] = 2
    log_switch(log, True)
    batch_promise(&m.core, edges, &each)
    step = Step(SET, NAMES - 1, 0, 0, -1)
    while log.room - log.promised - (log.last - log.first) >= 2:  # as much as one more change makes sure of
        step.c = 1 - step.c
        machine_do(m, &step, answer)
    room = log.room
    batch_publish(&m.core, &none, edges, again, each, Rules(True, True), &told)
    free(again)
    for i in range(edges):
        relabelled += list_labels(&vertex_at(&m.core.store, source.id).outs)[i] == 2
    return room, log.room, log.promised, relabelled


# --- invariants and ranks ------------------------------------------------------------------------------------------------

cdef void machine_step(Machine *m, int op, int32_t a, int32_t b, int32_t c) noexcept:
    cdef Step p
    cdef int64_t[3] answer
    p.op, p.a, p.b, p.c, p.third = op, a, b, c, -1
    machine_do(m, &p, answer)


def broken(str what, bint statuses=False):
    """What the check says of a graph of which something was broken on purpose; None where it notices nothing.

    Five vertices, whose ids are their names, and the edges 0 -> 1, 0 -> 2 and 4 -> 3, which are removed again for "rank".
    """
    cdef _Owner owner = _Owner(statuses, 5)
    cdef Core *c = &owner.m.core
    cdef Vertex *v
    cdef Vertex *w
    cdef Vertex *x
    cdef int32_t id, before
    for id in range(5):
        machine_step(&owner.m, REGISTER if statuses else KEEP, id, 0, 0)
    for source, target in (0, 1), (0, 2), (4, 3):
        machine_step(&owner.m, DEPEND if statuses else ADD, source, target, 1)
    v = vertex_at(&c.store, 0)
    w = vertex_at(&c.store, 1)
    x = vertex_at(&c.store, 3)
    if what == "life":
        v.born.store(0, release)
    elif what == "outs":
        v.outs.count = 1000
    elif what == "ins":
        w.ins.count = 1000
    elif what == "place":
        v.rank.store(0, release)
    elif what == "target":
        list_words(&v.outs)[0] = 1000
    elif what == "back":
        list_words(&w.ins)[0] = 2
    elif what == "twice":
        list_words(&v.outs)[1] = 1
    elif what == "label":
        list_labels(&w.ins)[0] = 2
    elif what == "order":
        v.rank.store(w.rank.load(acquire), release)
    elif what == "source":  # its vertex has a lower id than the edge's source, and is looked at first
        list_words(&x.ins)[0] = 1
    elif what == "counter":
        readiness_at(&c.board, 0).word.fetch_add(1, acq_rel)
    elif what == "vertices":
        c.store.settled.fetch_add(1, acq_rel)
    elif what == "edges":
        c.store.stripes[0][0].edges.fetch_add(1, acq_rel)
    elif what == "links":
        vertex_at(&c.store, vertex_at(&c.store, c.order.head).after).before = -1
    elif what == "ranks":  # of two neighbours in the order that no edge joins
        before = c.order.head
        while list_find_locked(&vertex_at(&c.store, before).outs, vertex_at(&c.store, before).after) >= 0:
            before = vertex_at(&c.store, before).after
        id = vertex_at(&c.store, before).after
        vertex_at(&c.store, id).rank.store(vertex_at(&c.store, before).rank.load(acquire), release)
    elif what == "rank":
        for source, target in (0, 1), (0, 2), (4, 3):
            machine_step(&owner.m, REMOVE, source, target, 0)
        vertex_at(&c.store, c.order.head).rank.store(0, release)
    elif what == "count":
        c.order.count += 1
    elif what == "log":
        c.board.log.promised = 1
    else:
        raise ValueError(f"nothing is called {what}")
    try:
        owner.check()
    except AssertionError as error:
        return str(error).partition(": ")[2]


def crowded(bint high, uint64_t seed, int operations=1000, int names=40):
    """Do random operations on a graph whose ranks follow each other without a gap, at the low or the high end of all there
    are, and check it after each of them."""
    cdef _Owner owner = _Owner(False, names)
    cdef Order *order = &owner.m.core.order
    cdef Step p
    cdef int64_t[3] answer
    cdef uint64_t rank
    cdef int32_t at
    cdef int i
    for i in range(operations):
        if i % 50 == 25:
            rank = ~<uint64_t>0 - <uint64_t>order.count if high else 1
            at = order.head
            while at >= 0:
                vertex_at(&owner.m.core.store, at).rank.store(rank, release)
                rank += 1
                at = vertex_at(&owner.m.core.store, at).after
        step_choose(&p, &seed, op_choose(&seed, False), names)
        machine_do(&owner.m, &p, answer)
        owner.check()


# --- schedules -----------------------------------------------------------------------------------------------------------

cdef extern from "history.h" nogil:
    enum:
        HISTORY_NAMES
        HISTORY_THREADS
        HISTORY_PER_THREAD
    ctypedef struct Model:
        unsigned char present, watched
        signed char[8][8] label
        signed char[8] status
    ctypedef struct Record:
        int32_t op, a, b, c, third
        int64_t start, end
        int64_t outcome
        int64_t[3] answer
    ctypedef struct Around "history::Around":
        Model least, most
        bint batch, changes
    int history_take "history::take"(Model &, const Record &, int, const Around &)
    bint explained "history::explained"(int, const int *, const Record (*)[8], const Model *, const Model *)

cdef extern from "schedule.h" nogil:
    cppclass fastdag_fibers:
        const char *failed
        int64_t steps
        void operation_begin()
        void operation_end()
        int64_t begun(int, int)
        int64_t ended(int, int)
    ctypedef struct Switch "fastdag_schedule::Switch":
        int64_t step
        int thread
    cppclass fastdag_schedule(fastdag_fibers):
        vector[Switch] switches
        int64_t used
        uint64_t random, period
        void run(int, Body, void *)

cdef extern from "states.h" nogil:
    cppclass fastdag_arena:
        cpp_bool filling
    cppclass fastdag_states(fastdag_fibers):
        fastdag_arena arena
        int64_t states, transitions
        vector[Switch] switches
        cpp_bool every_step
        void begin(int, Body, void *) except +
        cpp_bool next() except +

cdef struct Program:
    bint statuses
    int names
    int n_setup
    Step[16] setup           # done one after the other, before the threads begin
    int threads
    int[4] count             # operations of each thread
    Step[4][8] steps

cdef struct Play:            # one run of a program
    Program *program
    Machine machine
    fastdag_fibers *fibers
    Record[4][8] records


cdef void play_body(void *shared, int thread) noexcept nogil:
    cdef Play *play = <Play *>shared
    cdef Step step
    cdef Record *r
    cdef int i
    for i in range(play.program.count[thread]):
        play.fibers.operation_begin()
        step = play.program.steps[thread][i]
        r = &play.records[thread][i]
        r.op, r.a, r.b, r.c, r.third = step.op, step.a, step.b, step.c, step.third
        r.outcome = machine_do(&play.machine, &step, r.answer)
        play.fibers.operation_end()


cdef void model_read(Machine *m, Model *model) noexcept nogil:
    """The state that a machine is in; nothing runs."""
    cdef EdgeList *outs
    cdef Ref ref
    cdef int name, i, id
    memset(model, 0, sizeof(Model))
    for name in range(m.most):
        if not name_look(m, name, &ref) or seen_at(&m.core.store, ref.id) != ref.born:
            continue
        id = ref.id
        model.present |= <unsigned char>(1 << name)
        outs = &vertex_at(&m.core.store, id).outs
        for i in range(outs.count):
            model.label[name][m.name_of[list_words(outs)[i]].load(acquire)] = <signed char>(list_labels(outs)[i] + 1)
        if m.core.board.on:
            model.status[name] = <signed char>(status_of(&m.core.board, id) + 1)
            if readiness_at(&m.core.board, id).word.load(acquire) & watched_bit():
                model.watched |= <unsigned char>(1 << name)


cdef object play_begin(Play *play, Program *program, fastdag_fibers *fibers, Model *start):
    """Do what is done before the threads begin; None, or what is wrong."""
    cdef Record r
    cdef Around around
    cdef int i
    memset(<void *>play, 0, sizeof(Play))
    memset(start, 0, sizeof(Model))
    play.program = program
    play.fibers = fibers
    machine_start(&play.machine, program.statuses, program.names)
    for i in range(program.n_setup):
        memset(&r, 0, sizeof(Record))
        r.op, r.a, r.b, r.c = program.setup[i].op, program.setup[i].a, program.setup[i].b, program.setup[i].c
        r.third = program.setup[i].third
        r.outcome = machine_do(&play.machine, &program.setup[i], r.answer)
        memset(&around, 0, sizeof(Around))
        around.least = around.most = start[0]
        if history_take(start[0], r, 0, around) != 1:
            return f"operation {i} before the threads began was answered {r.outcome} {r.answer}"
    return None


cdef bint told(Play *play) noexcept:
    """Whether whoever watches a vertex, or logs everything, and never ceases to, is told of every change from then on."""
    cdef Program *program = play.program
    cdef Record *r
    cdef int t, i, name
    cdef int32_t status, state
    cdef bint everything = True
    cdef int64_t unwatched = 0
    for t in range(program.threads):
        for i in range(program.count[t]):
            r = &play.records[t][i]
            if r.op == UNWATCH:
                unwatched |= <int64_t>1 << r.a
            elif r.op == LOG and not r.c & 1:
                everything = False
    for t in range(program.threads):
        for i in range(program.count[t]):
            r = &play.records[t][i]
            if r.op == WATCH and not unwatched >> r.a & 1:
                if not log_follows(&play.machine, r.a, <int32_t>r.answer[0], <int32_t>r.answer[1], <uint64_t>r.answer[2]):
                    return False
            elif r.op == LOG and everything:
                for name in range(program.names):
                    status = <int32_t>(r.answer[1] >> (8 * name) & 0xFF) - 1
                    state = <int32_t>(r.answer[2] >> (8 * name) & 0xFF)
                    if not log_follows(&play.machine, name, status, state, <uint64_t>r.answer[0]):
                        return False
    return True


cdef object play_judge(Play *play, const Model *start):
    """All threads are over: None, or what is wrong."""
    cdef Program *program = play.program
    cdef Model end
    cdef int32_t id = -1
    cdef int t, i
    cdef const char *broken = core_check(&play.machine.core, &id)
    if broken != NULL:
        return f"vertex {id}: {broken.decode()}"
    if play.machine.wrong.load(acquire):
        return "the log has a gap, or an invariant does not hold in the middle of it all"
    model_read(&play.machine, &end)
    for t in range(program.threads):
        for i in range(program.count[t]):
            play.records[t][i].start = play.fibers.begun(t, i)
            play.records[t][i].end = play.fibers.ended(t, i)
    if not told(play):
        return "the log does not lead from what was answered when it began to what is there in the end"
    if not explained(program.threads, program.count, play.records, start, &end):
        return f"no order of the operations explains what they answered, from {start[0]} to {end}"
    return None


cdef object program_play(Program *program, Play *play, fastdag_schedule *schedule):
    """Run a program in a schedule: None, or what is wrong."""
    cdef Model start
    wrong = play_begin(play, program, schedule, &start)
    if wrong is None:
        schedule.run(program.threads, play_body, play)
        if schedule.failed != NULL:
            return schedule.failed.decode()  # what the threads hold stays as it is
        wrong = play_judge(play, &start)
    if wrong is None:
        machine_free(&play.machine)
    return wrong


cdef dict play_schedule(Play *play, vector[Switch] &switches, str wrong):
    cdef Program *program = play.program
    cdef Switch each
    return {
        "wrong": wrong,
        "switches": [(each.step, each.thread) for each in switches],
        "steps": play.fibers.steps,
        "setup": [program.setup[i] for i in range(program.n_setup)],
        "records": [[play.records[t][i] for i in range(program.count[t])] for t in range(program.threads)],
    }


cdef frozenset before(fastdag_fibers *fibers, int threads, const int *count):
    """Which operations were over before which began: ((thread, i), (other thread, j)) …"""
    return frozenset([
        ((t, i), (u, j))
        for t in range(threads) for i in range(count[t])
        for u in range(threads) for j in range(count[u])
        if t != u and fibers.ended(t, i) < fibers.begun(u, j)
    ])


cdef void program_begin(Program *program, bint statuses, int names, int edges, uint64_t *state) noexcept:
    """A graph to begin with: edges at random, some refused; where there are statuses, most of the names registered."""
    cdef int i, n = 0
    memset(program, 0, sizeof(Program))
    program.statuses = statuses
    program.names = names
    for i in range(names if statuses else 0):
        if random_next(state) & 7:
            step_choose(&program.setup[n], state, REGISTER, names)
            program.setup[n].a = i
            n += 1
    for i in range(edges):
        step_choose(&program.setup[n], state, DEPEND if statuses else ADD, names)
        n += 1
    program.n_setup = n


class ScheduleError(AssertionError):
    """A schedule in which something went wrong; `.schedule` says which, and what."""

    def __init__(self, schedule):
        super().__init__(schedule["wrong"], schedule)
        self.schedule = schedule


cdef class Threads:
    """Threads with a list of operations each, on a graph and on names that are drawn with a seed."""

    cdef Program program
    cdef readonly tuple arguments
    cdef readonly int64_t states, transitions

    def __cinit__(self, operations, uint64_t seed=1, int names=4, int edges=8):
        cdef uint64_t state = seed
        cdef int i, t, op
        cdef list numbers = [[NUMBERS[name] for name in thread] for thread in operations]
        if not numbers or not all(numbers):
            raise ValueError("every thread has an operation, or more")
        cdef bint statuses = with_statuses(numbers[0][0])
        if len({with_statuses(op) for thread in numbers for op in thread}) > 1:
            raise ValueError("some of the operations are for graphs with statuses, some for plain ones")
        if len(numbers) > HISTORY_THREADS or max(map(len, numbers)) > HISTORY_PER_THREAD or not 2 <= names <= HISTORY_NAMES:
            raise ValueError("too many threads, operations or names")
        self.arguments = operations, seed, names, edges
        program_begin(&self.program, statuses, names, edges, &state)
        self.program.threads = len(numbers)
        for t in range(self.program.threads):
            self.program.count[t] = len(numbers[t])
        for i in range(HISTORY_PER_THREAD):
            for t in range(self.program.threads):
                if i < self.program.count[t]:
                    step_choose(&self.program.steps[t][i], &state, numbers[t][i], names)

    def replay(self, switches):
        """Run one schedule: before a step a thread goes on, (step, thread) …; what happened."""
        cdef fastdag_schedule schedule
        cdef Switch each
        cdef Play *play = <Play *>malloc(sizeof(Play))
        for each.step, each.thread in switches:
            schedule.switches.push_back(each)
        try:
            wrong = program_play(&self.program, play, &schedule)
            return play_schedule(play, schedule.switches, wrong)
        finally:
            free(play)

    def search(self, bint every_step=False):
        """Go through all states of all interleavings (states.h).

        Returns
        -------
        dict
            By what the operations answered: a schedule, as for `replay`, and in which orders (`before`) that was.
        """
        cdef fastdag_states search
        cdef Model start
        cdef Play *play
        search.every_step = every_step
        search.arena.filling = True
        play = <Play *>malloc(sizeof(Play))
        wrong = play_begin(play, &self.program, &search, &start)
        search.arena.filling = False
        outcomes = {}
        if wrong is None:
            search.begin(self.program.threads, play_body, play)
        while wrong is None and search.next():
            wrong = search.failed.decode() if search.failed != NULL else play_judge(play, &start)
            if wrong is None:
                end = play_schedule(play, search.switches, None)
                _, orders = outcomes.setdefault(answers(end), (end["switches"], set()))
                orders.add(before(&search, self.program.threads, self.program.count))
        if wrong is not None:
            raise ScheduleError({"threads": self.arguments} | play_schedule(play, search.switches, wrong))
        self.states = search.states
        self.transitions = search.transitions
        return outcomes


def answers(schedule):
    """Of each thread's operations in a schedule, the outcome and what was told beside it."""
    return tuple([tuple([(r["outcome"], *r["answer"]) for r in thread]) for thread in schedule["records"]])


def random_schedules(int count, uint64_t seed, bint statuses, int threads=3, int operations=5, int names=5):
    """Run random programs, each in a random schedule of its own. Raises ScheduleError with the seed of one that goes wrong.

    Returns the number of steps in all. A seed that goes wrong is run again alone by `random_schedules(1, seed, …)`.
    """
    cdef Program program
    cdef Play *play = <Play *>malloc(sizeof(Play))
    cdef fastdag_schedule schedule
    cdef uint64_t state
    cdef int64_t steps = 0
    cdef int i, t, k
    if not (2 <= threads <= HISTORY_THREADS and operations <= HISTORY_PER_THREAD and 2 <= names <= HISTORY_NAMES):
        raise ValueError(f"{threads} threads with {operations} operations on {names} names are too many, or too few")
    try:
        for i in range(count):
            state = seed + <uint64_t>i
            program_begin(&program, statuses, names, 8, &state)
            program.threads = threads
            for t in range(threads):
                program.count[t] = operations
                for k in range(operations):
                    step_choose(&program.steps[t][k], &state, op_choose(&state, statuses), names)
            schedule.random = random_next(&state) | 1
            schedule.period = 2 + random_next(&state) % 30
            wrong = program_play(&program, play, &schedule)
            steps += schedule.steps
            if wrong is not None:
                raise ScheduleError(
                    {"seed": seed + <uint64_t>i, "statuses": statuses} | play_schedule(play, schedule.switches, wrong)
                )
    finally:
        free(play)
    return steps


# --- the search itself ---------------------------------------------------------------------------------------------------

cdef enum Instruction:       # on cell a, but for the last two
    LOAD
    STORE                    # b
    EXCHANGE                 # for b
    SWAP                     # b for c, if it is there
    WAIT                     # until it is not b
    NOTIFY                   # all who wait
    COUNT                    # in two steps, inside the mutex
    TRY_COUNT                # … if that is free

cdef enum:
    CELLS = 2
    INSTRUCTIONS = 4         # of a thread, at most

cdef struct Cells:           # what the threads share, and what they do
    atomic[int32_t] cells[CELLS]
    mutex lock
    int32_t counter
    int[2] count
    int32_t[2][INSTRUCTIONS][4] code
    int32_t[2][INSTRUCTIONS] answers
    fastdag_fibers *fibers


cdef void litmus_body(void *shared, int thread) noexcept nogil:
    cdef Cells *s = <Cells *>shared
    cdef int32_t *code
    cdef int32_t answer, wanted
    cdef int i
    for i in range(s.count[thread]):
        code = s.code[thread][i]
        answer = 0
        s.fibers.operation_begin()
        if code[0] == LOAD:
            answer = s.cells[code[1]].load(acquire)
        elif code[0] == STORE:
            s.cells[code[1]].store(code[2], release)
        elif code[0] == EXCHANGE:
            answer = s.cells[code[1]].exchange(code[2], acq_rel)
        elif code[0] == SWAP:
            wanted = code[2]
            answer = s.cells[code[1]].compare_exchange_weak(wanted, code[3], acq_rel)
        elif code[0] == WAIT:
            s.cells[code[1]].wait(code[2], acquire)
        elif code[0] == NOTIFY:
            s.cells[code[1]].notify_all()
        elif code[0] == COUNT or s.lock.try_lock():
            if code[0] == COUNT:
                s.lock.lock()
            answer = s.counter + 1
            s.cells[code[1]].load(acquire)
            s.counter = answer
            s.lock.unlock()
        s.answers[thread][i] = answer
        s.fibers.operation_end()


cdef class Litmus:
    """Two threads with a few instructions each, (name, numbers …), on two atomics that are 0, and a mutex.

    `.outcomes` is what was seen in the end, each with the orders (`before`) it was seen in.
    """

    cdef Cells program
    cdef readonly int64_t schedules
    cdef readonly dict outcomes

    def __cinit__(self, one, other):
        if not all(1 <= len(code) <= INSTRUCTIONS for code in (one, other)):
            raise ValueError(f"a thread has 1 to {INSTRUCTIONS} instructions")
        self.outcomes = {}
        memset(<void *>&self.program, 0, sizeof(Cells))
        for thread, code in enumerate((one, other)):
            self.program.count[thread] = len(code)
            for i, (name, *numbers) in enumerate(code):
                self.program.code[thread][i][0] = INSTRUCTIONS_BY_NAME[name]
                for k, number in enumerate(numbers):
                    self.program.code[thread][i][k + 1] = number

    cdef void _begin(self, Cells *s, fastdag_fibers *fibers):
        memset(<void *>s, 0, sizeof(Cells))
        s.count = self.program.count
        s.code = self.program.code
        s.fibers = fibers

    cdef void _end(self, Cells *s):
        stuck = s.fibers.failed.decode() if s.fibers.failed != NULL else None
        orders = self.outcomes.setdefault((
            stuck, tuple([tuple([s.answers[t][i] for i in range(s.count[t])]) for t in range(2)]),
            tuple([s.cells[i].load(acquire) for i in range(CELLS)]), s.counter,
        ), set())
        if stuck is None:
            orders.add(before(s.fibers, 2, s.count))

    def search(self):
        """Go through all states; how many."""
        cdef fastdag_states search
        search.arena.filling = True
        cdef Cells *s = <Cells *>malloc(sizeof(Cells))
        search.arena.filling = False
        self._begin(s, &search)
        search.begin(2, litmus_body, s)
        while search.next():
            self._end(s)
        return search.states

    def interleavings(self):
        """Run every schedule; how many."""
        cdef fastdag_schedule schedule
        for first in range(2):
            schedule.switches = [Switch(1, first)]
            self._interleavings(&schedule)
        return self.schedules

    cdef void _interleavings(self, fastdag_schedule *schedule):
        cdef int64_t at = schedule.switches.back().step
        cdef int64_t steps, before
        cdef Cells s
        self._begin(&s, schedule)
        schedule.run(2, litmus_body, &s)
        if schedule.used < <int64_t>schedule.switches.size() - 1:
            return  # nobody else could go on there: that schedule was run before
        self._end(&s)
        self.schedules += 1
        steps = schedule.steps
        for before in range(at + 1, steps + 1):
            schedule.switches.push_back(Switch(before, -1))
            self._interleavings(schedule)
            schedule.switches.pop_back()


INSTRUCTIONS_BY_NAME = {
    name: i
    for i, name in enumerate(["LOAD", "STORE", "EXCHANGE", "SWAP", "WAIT", "NOTIFY", "COUNT", "TRY_COUNT"])
}
PLAIN = ["ADD", "REMOVE", "LOOK", "OUTS", "INS", "DEGREES", "KEEP", "DROP", "PATH", "DOWN", "UP", "BATCH", "WHOLE", "NUMBER"]
WITH_STATUSES = [
    "REGISTER", "REGISTER_BOTH", "SET", "SET_BOTH", "SET_BOTH_FLIPS", "DEPEND", "DEPEND_ALL", "STATUS", "WATCH", "UNWATCH",
    "LOG", "WAITER", "SUBSCRIBER", "CHECK",
]
NUMBERS = {name: i for i, name in enumerate(PLAIN)} | {name: PLAIN_OPS + 1 + i for i, name in enumerate(WITH_STATUSES)}

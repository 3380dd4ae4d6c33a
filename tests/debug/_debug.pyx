"""What proves the core in its debug build: native threads that do nothing but core operations, and schedules of such threads.

Built with FASTDAG_DEBUG=1 only, from the same headers as `fastdag._core`; `python -m tests.debug` builds and runs it.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from libcpp cimport bool as cpp_bool
from libcpp.string cimport string
from libcpp.unordered_set cimport unordered_set
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
    ADD, CHECK, CODES, DEPEND, DEPEND_ALL, KEEP, LABELS, NAMES, OPS, PLAIN_OPS, REGISTER, REMOVE, SET, Machine, Step,
    machine_do, machine_free, machine_start, name_look,
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
    p.third = (p.a + p.b + 1) % names
    if p.third == p.a or p.third == p.b:
        p.third = -1
    x >>= 32
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
    bint explained_in_every_order "history::explained_in_every_order"(
        const int *, Record (*)[8], const Model *, const Model *, const fastdag_dpor &, unordered_set[string] &)
    uint32_t real_time "history::real_time"(const int *, const Record (*)[8])
    void real_times "history::real_times"(const int *, const Record (*)[8], const fastdag_dpor &, vector[uint32_t] &)

cdef extern from "schedule.h" nogil:
    cppclass fastdag_dpor:
        bint next()
    cppclass fastdag_schedule:
        vector[int64_t] preempt
        uint64_t random, period
        fastdag_dpor *dpor
        cpp_bool whole_locks
        int64_t steps
        int64_t switches
        const char *failed
        void run(int, int, Body, void *)
        void operation_begin()
        int64_t operation_first()

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
    fastdag_schedule *schedule
    Record[4][8] records


cdef void play_body(void *shared, int thread) noexcept nogil:
    cdef Play *play = <Play *>shared
    cdef Step step
    cdef Record *r
    cdef int i
    for i in range(play.program.count[thread]):
        step = play.program.steps[thread][i]
        r = &play.records[thread][i]
        r.op, r.a, r.b, r.c, r.third = step.op, step.a, step.b, step.c, step.third
        play.schedule.operation_begin()
        r.outcome = machine_do(&play.machine, &step, r.answer)
        r.start = play.schedule.operation_first()
        r.end = play.schedule.steps


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


cdef object program_play(
    Program *program, Play *play, fastdag_schedule *schedule, int first, unordered_set[string] *explained_before=NULL
):
    """Run a program in a schedule: None, or what is wrong."""
    cdef Model start, end
    cdef Record r
    cdef Around around
    cdef int32_t id = -1
    cdef int i
    cdef const char *broken
    cdef bint good
    memset(<void *>play, 0, sizeof(Play))
    memset(&start, 0, sizeof(Model))
    play.program = program
    play.schedule = schedule
    machine_start(&play.machine, program.statuses, program.names)
    for i in range(program.n_setup):
        memset(&r, 0, sizeof(Record))
        r.op, r.a, r.b, r.c = program.setup[i].op, program.setup[i].a, program.setup[i].b, program.setup[i].c
        r.third = program.setup[i].third
        r.outcome = machine_do(&play.machine, &program.setup[i], r.answer)
        memset(&around, 0, sizeof(Around))
        around.least = around.most = start
        if history_take(start, r, 0, around) != 1:
            return f"operation {i} before the threads began was answered {r.outcome} {r.answer}"
    schedule.run(program.threads, first, play_body, play)
    if schedule.failed != NULL:
        return schedule.failed.decode()  # what the threads hold stays as it is
    broken = core_check(&play.machine.core, &id)
    if broken != NULL:
        return f"vertex {id}: {broken.decode()}"
    if play.machine.wrong.load(acquire):
        return "the log has a gap, or an invariant does not hold in the middle of it all"
    model_read(&play.machine, &end)
    machine_free(&play.machine)
    if schedule.dpor != NULL:
        good = explained_in_every_order(
            program.count, play.records, &start, &end, schedule.dpor[0], explained_before[0])
    else:
        good = explained(program.threads, program.count, play.records, &start, &end)
    if not good:
        return f"no order of the operations explains what they answered, from {start} to {end}"
    return None


cdef dict schedule_dict(Program *program, Play *play, fastdag_schedule *schedule, int first, str wrong):
    return {
        "wrong": wrong,
        "first": first,
        "preempt": list(schedule.preempt),
        "whole_locks": schedule.whole_locks,
        "steps": schedule.steps,
        "setup": [program.setup[i] for i in range(program.n_setup)],
        "records": [[play.records[t][i] for i in range(program.count[t])] for t in range(program.threads)],
    }


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
    """A schedule in which something went wrong; `.schedule` says which, and what.

    Where all interleavings of its trace were checked, the times of its records are those of the one that went wrong.
    """

    def __init__(self, schedule):
        super().__init__(schedule["wrong"], schedule)
        self.schedule = schedule


cdef class Pair:
    """Two threads, one doing an operation three times, the other another one, or three in turn, on names drawn with a seed."""

    cdef Program program
    cdef Play *play
    cdef fastdag_schedule *schedule
    cdef readonly int64_t schedules, steps

    def __cinit__(self, int one, other, uint64_t seed, int names=4, int operations=3, int edges=8):
        cdef uint64_t state = seed
        cdef int i
        cdef tuple others = other if isinstance(other, tuple) else (other,)
        self.play = <Play *>malloc(sizeof(Play))
        self.schedule = new fastdag_schedule()
        program_begin(&self.program, with_statuses(one), names, edges, &state)
        self.program.threads = 2
        self.program.count[0] = self.program.count[1] = operations
        for i in range(operations):
            step_choose(&self.program.steps[0][i], &state, one, names)
            step_choose(&self.program.steps[1][i], &state, others[i % len(others)], names)

    def __dealloc__(self):
        free(self.play)
        del self.schedule

    def replay(self, int first, preempt, bint whole_locks=False):
        """Run one schedule; what happened."""
        self.schedule.preempt = preempt
        self.schedule.whole_locks = whole_locks
        wrong = program_play(&self.program, self.play, self.schedule, first)
        return schedule_dict(&self.program, self.play, self.schedule, first, wrong)

    def explore(self, int preemptions):
        """Run every schedule with at most so many preemptions: switches where the running thread could go on."""
        self.schedules = self.steps = 0
        self.schedule.preempt.clear()
        self.schedule.whole_locks = False
        self._explore(0, preemptions)
        self._explore(1, preemptions)
        return self.schedules

    def traces(self, int64_t most=0):
        """Run one schedule of every trace (dpor.h), or of so many; whether these were all.

        Threads that wait for a mutex take it in one step: what a mutex does inside is run by `Litmus`.
        """
        cdef fastdag_dpor dpor
        cdef unordered_set[string] explained_before
        self.schedules = self.steps = 0
        self.schedule.dpor = &dpor
        self.schedule.whole_locks = True
        try:
            while True:
                wrong = program_play(&self.program, self.play, self.schedule, 0, &explained_before)
                if wrong is not None:
                    raise ScheduleError(schedule_dict(&self.program, self.play, self.schedule, 0, wrong))
                self.schedules += 1
                self.steps += self.schedule.steps
                if not dpor.next():
                    return True
                if self.schedules == most:
                    return False
        finally:
            self.schedule.dpor = NULL

    cdef int _explore(self, int first, int left) except -1:
        cdef int64_t at = self.schedule.preempt.back() if self.schedule.preempt.size() else 0
        cdef int64_t steps, before
        wrong = program_play(&self.program, self.play, self.schedule, first)
        if wrong is not None:
            raise ScheduleError(schedule_dict(&self.program, self.play, self.schedule, first, wrong))
        if self.schedule.switches < <int64_t>self.schedule.preempt.size():
            return 0  # nobody else could go on there: that schedule was run before
        steps = self.schedule.steps
        self.schedules += 1
        self.steps += steps
        if left:
            for before in range(max(at + 1, 2), steps + 1):
                self.schedule.preempt.push_back(before)
                self._explore(first, left - 1)
                self.schedule.preempt.pop_back()
        return 0


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
            wrong = program_play(&program, play, &schedule, <int>(random_next(&state) % <uint64_t>threads))
            steps += schedule.steps
            if wrong is not None:
                raise ScheduleError(
                    {"seed": seed + <uint64_t>i, "statuses": statuses} | schedule_dict(&program, play, &schedule, 0, wrong)
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
    Record[2][8] records     # of each instruction its first and last step, and the answer
    fastdag_schedule *schedule


cdef void litmus_body(void *shared, int thread) noexcept nogil:
    cdef Cells *s = <Cells *>shared
    cdef int32_t *code
    cdef int32_t answer, wanted
    cdef int i
    for i in range(s.count[thread]):
        code = s.code[thread][i]
        answer = 0
        s.schedule.operation_begin()
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
        s.records[thread][i].answer[0] = answer
        s.records[thread][i].start = s.schedule.operation_first()
        s.records[thread][i].end = s.schedule.steps


cdef class Litmus:
    """Two threads with a few instructions each, (name, numbers …), on two atomics that are 0, and a mutex.

    `.outcomes` is what was seen in the end, each with the real-time orders (history.h) it was seen with.
    """

    cdef Cells program
    cdef fastdag_schedule *schedule
    cdef readonly int64_t schedules
    cdef readonly dict outcomes

    def __cinit__(self, one, other):
        if max(len(one), len(other)) > INSTRUCTIONS:
            raise ValueError(f"a thread has at most {INSTRUCTIONS} instructions")
        self.schedule = new fastdag_schedule()
        self.outcomes = {}
        memset(<void *>&self.program, 0, sizeof(Cells))
        for thread, code in enumerate((one, other)):
            self.program.count[thread] = len(code)
            for i, (name, *numbers) in enumerate(code):
                self.program.code[thread][i][0] = INSTRUCTIONS_BY_NAME[name]
                for k, number in enumerate(numbers):
                    self.program.code[thread][i][k + 1] = number

    def __dealloc__(self):
        del self.schedule

    cdef void _run(self, int first):
        cdef Cells s
        cdef vector[uint32_t] orders
        memset(<void *>&s, 0, sizeof(Cells))
        s.count = self.program.count
        s.code = self.program.code
        s.schedule = self.schedule
        self.schedule.run(2, first, litmus_body, &s)
        self.schedules += 1
        stuck = self.schedule.failed.decode() if self.schedule.failed != NULL else None
        if stuck is None and self.schedule.dpor != NULL:
            real_times(s.count, s.records, self.schedule.dpor[0], orders)
        elif stuck is None:
            orders.push_back(real_time(s.count, s.records))
        self.outcomes.setdefault((
            stuck, tuple(tuple(s.records[t][i].answer[0] for i in range(s.count[t])) for t in range(2)),
            tuple(s.cells[i].load(acquire) for i in range(CELLS)), s.counter,
        ), set()).update(orders)

    def traces(self, bint whole_locks=False):
        """Run one schedule of every trace; how many."""
        cdef fastdag_dpor dpor
        self.schedule.dpor = &dpor
        self.schedule.whole_locks = whole_locks
        self._run(0)
        while dpor.next():
            self._run(0)
        self.schedule.dpor = NULL
        return self.schedules

    def interleavings(self):
        """Run every schedule, step by step of the mutex too; how many."""
        self._interleavings(0)
        self._interleavings(1)
        return self.schedules

    cdef void _interleavings(self, int first):
        cdef int64_t at = self.schedule.preempt.back() if self.schedule.preempt.size() else 1
        cdef int64_t steps, before
        self._run(first)
        if self.schedule.switches < <int64_t>self.schedule.preempt.size():
            self.schedules -= 1  # nobody else could go on there: that schedule was run before
            return
        steps = self.schedule.steps
        for before in range(at + 1, steps + 1):
            self.schedule.preempt.push_back(before)
            self._interleavings(first)
            self.schedule.preempt.pop_back()


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

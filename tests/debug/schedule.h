// A deterministic scheduler for threads that are fibers of one thread: one runs at a time, and another one goes on only before
// an atomic operation, or where the running one would sleep. All that threads share in the core is atomic or guarded by a
// lock, and the locks are made of atomics, so that no other place for a switch could make a difference: between two of these
// points a thread meets nobody (ThreadSanitizer sees to the "all").
//
// Included by fastdag/_atomics.pxd, in the module fastdag._debug only: then the core's atomics are these.

#pragma once
#include "dpor.h"
#include <atomic>
#include <cstdint>
#include <pthread.h>
#include <ucontext.h>
#include <vector>

class fastdag_schedule {
public:
    // The schedule that the calling thread is a fiber of, or NULL: then atomics are plain ones.
    static inline thread_local fastdag_schedule *now = nullptr;

    std::vector<int64_t> preempt;   // before these steps, in rising order, another fiber goes on
    uint64_t random = 0;            // not 0: the state of a generator, which decides instead
    uint64_t period = 1;            // … to switch once in so many steps
    fastdag_dpor *dpor = nullptr;   // not NULL: it decides, and `preempt` becomes what it has decided
    bool whole_locks = false;       // a thread that waits for a mutex takes it in one step, once it is free
    int64_t steps = 0;              // so far: numbered 1, 2, 3 … in the order in which they are taken
    int64_t switches = 0;           // preemptions that another fiber could make use of
    int current = 0;
    const char *failed = nullptr;

    void run(int n, int first, void (*body)(void *, int), void *shared) {
        fibers.resize(n);
        body_ = body;
        shared_ = shared;
        next = 0;
        steps = streak = switches = 0;
        failed = nullptr;
        now = this;
        if (dpor) {
            dpor->begin();
            preempt.clear();
        }
        starting = true;
        for (current = 0; current < n; current++) {  // up to its first step, where it meets nobody
            Fiber &fiber = fibers[current];
            if (fiber.stack.empty())
                fiber.stack.resize(128 * 1024);
            fiber.sleeps_on = nullptr;
            fiber.wants = nullptr;
            fiber.done = false;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, reinterpret_cast<void (*)()>(enter), 0);
            swapcontext(&home, &fiber.context);
        }
        starting = false;
        current = first;
        if (dpor)
            current = choose();
        swapcontext(&home, &fibers[current].context);
        now = nullptr;
    }

    // Before a step of the running fiber, which touches this address; returns when the step is to be taken.
    void step(const void *address) {
        fibers[current].address = address;
        if (starting) {
            swapcontext(&fibers[current].context, &home);
            return;
        }
        if (!able(current)) {
            go_on(true);
            return;
        }
        bool change = ++streak > 5000;  // whoever waits for another one in a loop must let it go on
        if (steps > 3000000 || (dpor && change))
            fail("the threads wait for each other for ever, in a loop");
        if (dpor) {
            change = choose() != current;
            if (change)
                preempt.push_back(steps + 1);
        } else if (random) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            change |= random % period == 0;
        } else {
            for (; next < preempt.size() && preempt[next] <= steps + 1; next++)
                change |= preempt[next] == steps + 1;
        }
        if (change)
            go_on(false);
    }

    // After a step: what it did at its address.
    void stepped(fastdag_dpor::Effect effect) {
        steps++;
        Fiber &fiber = fibers[current];
        if (!fiber.first)
            fiber.first = steps;
        if (dpor && !dpor->taken(fiber.address, effect))
            fail("the same schedule does not take the same steps again");
    }

    // An operation of the running fiber begins; then, the number of the first step that it has taken.
    void operation_begin() { fibers[current].first = 0; }
    int64_t operation_first() const { return fibers[current].first; }

    void sleep() { fibers[current].sleeps_on = fibers[current].address; }  // in the next step

    bool wake(const void *address, bool all) {  // whether anybody slept
        bool any = false;
        for (Fiber &fiber : fibers)
            if (fiber.sleeps_on == address && (all || !any)) {
                fiber.sleeps_on = nullptr;
                any = true;
            }
        return any;
    }

    // Before the step that takes a mutex, which is free when this returns.
    void step_lock(const std::atomic<int> *word) {
        fibers[current].wants = word;
        step(word);
        fibers[current].wants = nullptr;
    }

private:
    struct Fiber {
        ucontext_t context;
        std::vector<char> stack;
        const void *address;            // of its next step
        const void *sleeps_on;
        const std::atomic<int> *wants;  // the mutex that it takes in its next step
        int64_t first;                  // see operation_first
        bool done;
    };
    std::vector<Fiber> fibers;
    ucontext_t home;
    void (*body_)(void *, int);
    void *shared_;
    size_t next;
    int64_t streak;
    bool starting;

    static void enter() {
        fastdag_schedule *s = now;
        s->body_(s->shared_, s->current);
        s->fibers[s->current].done = true;
        if (s->starting)
            setcontext(&s->home);
        s->go_on(true);
    }

    void fail(const char *why) {  // the fibers are left as they stand
        failed = why;
        setcontext(&home);
    }

    bool able(int i) const {
        const Fiber &fiber = fibers[i];
        return !fiber.done && !fiber.sleeps_on && !(fiber.wants && fiber.wants->load(std::memory_order_relaxed));
    }

    int choose() {
        const int chosen = dpor->choose(current, able(0), able(1), fibers[0].address, fibers[1].address);
        if (chosen < 0)
            fail("a race was reversed in vain");
        return chosen;
    }

    void go_on(bool must) {  // another fiber that can; when `must` is false and there is none, the same
        const int n = static_cast<int>(fibers.size()), from = current;
        const int turn = random ? static_cast<int>((random >> 20) % n) : 0;
        bool left = false;
        streak = 0;
        for (int i = 1; i <= n; i++) {
            const int to = (from + turn + i) % n;
            left |= !fibers[to].done;
            if (to != from && able(to)) {
                switches += !must;
                if (must && dpor)
                    choose();
                current = to;
                swapcontext(&fibers[from].context, &fibers[to].context);
                return;
            }
        }
        if (must && left)
            fail("all threads sleep");
        if (must)
            setcontext(&home);
    }
};

template <class T> class fastdag_atomic {
    std::atomic<T> value;

    template <class Operation> auto step(Operation operation) const {
        fastdag_schedule *schedule = fastdag_schedule::now;
        if (!schedule)
            return operation();
        schedule->step(this);
        const T before = value.load(std::memory_order_relaxed);
        const auto answer = operation();
        schedule->stepped(value.load(std::memory_order_relaxed) == before ? fastdag_dpor::READ : fastdag_dpor::WRITE);
        return answer;
    }

public:
    T load(std::memory_order o) const { return step([&] { return value.load(o); }); }
    void store(T x, std::memory_order o) { step([&] { return value.store(x, o), 0; }); }
    T exchange(T x, std::memory_order o) { return step([&] { return value.exchange(x, o); }); }
    bool compare_exchange_weak(T &old, T x, std::memory_order o) {
        return step([&] { return value.compare_exchange_strong(old, x, o); });
    }
    bool compare_exchange_strong(T &old, T x, std::memory_order o, std::memory_order p) {
        return step([&] { return value.compare_exchange_strong(old, x, o, p); });
    }
    T fetch_add(T x, std::memory_order o) { return step([&] { return value.fetch_add(x, o); }); }
    T fetch_sub(T x, std::memory_order o) { return step([&] { return value.fetch_sub(x, o); }); }
    T fetch_or(T x, std::memory_order o) { return step([&] { return value.fetch_or(x, o); }); }
    T fetch_and(T x, std::memory_order o) { return step([&] { return value.fetch_and(x, o); }); }
    void wait(T old, std::memory_order o) const {
        fastdag_schedule *schedule = fastdag_schedule::now;
        if (!schedule)
            return value.wait(old, o);
        for (bool same = true; same;) {  // looking and going to sleep are one step, as for a futex
            schedule->step(this);
            same = value.load(o) == old;
            if (same)
                schedule->sleep();
            schedule->stepped(same ? fastdag_dpor::SLEEP : fastdag_dpor::READ);
        }
    }
    void notify_one() { notify(false); }
    void notify_all() { notify(true); }

    // Take a mutex, once it is free, in one step; false where mutexes are to be taken as the core does.
    bool lock_whole() {
        fastdag_schedule *schedule = fastdag_schedule::now;
        if (!schedule || !schedule->whole_locks)
            return false;
        schedule->step_lock(&value);
        value.store(1, std::memory_order_relaxed);
        schedule->stepped(fastdag_dpor::LOCK);
        return true;
    }

private:
    void notify(bool all) {
        fastdag_schedule *schedule = fastdag_schedule::now;
        if (!schedule)
            return all ? value.notify_all() : value.notify_one();
        schedule->step(this);
        schedule->stepped(schedule->wake(this, all) ? fastdag_dpor::WAKE : fastdag_dpor::WAKE_NOBODY);
    }
};

// Each fiber has its own place among the readers of a lock.
static inline pthread_t fastdag_self() {
    if (!fastdag_schedule::now)
        return pthread_self();
    return static_cast<pthread_t>(fastdag_schedule::now->current + 1) << 12;
}
#define pthread_self fastdag_self

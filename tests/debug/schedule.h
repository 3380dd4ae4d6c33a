// Threads that are fibers of one thread: one runs at a time, and another one goes on only before an atomic operation, or where the
// running one would sleep. All that threads share in the core is atomic or guarded by a lock, and the locks are made of atomics, so
// that no other place for a switch could make a difference: between two of these points a thread meets nobody (ThreadSanitizer sees
// to the "all"). Who goes on is said by a list or a seed (`fastdag_schedule`), or all ways are tried (states.h).
//
// Included by fastdag/_atomics.pxd, in the module fastdag._debug only: then the core's atomics are these.

#ifndef FASTDAG_SCHEDULE_H  // not `#pragma once`: Cython makes copies
#define FASTDAG_SCHEDULE_H
#include <atomic>
#include <cstdint>
#include <ctime>
#include <pthread.h>
#include <ucontext.h>
#include <vector>

class fastdag_fibers {
public:
    // The threads that the calling thread runs as fibers, or NULL: then atomics are plain ones.
    static inline thread_local fastdag_fibers *now = nullptr;

    enum { OPERATIONS = 8 };        // of a thread, at most

    int64_t steps = 0;              // so far: numbered 1, 2, 3 … in the order in which they are taken
    int current = 0;
    const char *failed = nullptr;

    // Before a step of the running fiber, which touches this address; returns when the step is to be taken.
    virtual void step(const void *address) = 0;

    // After a step: whether it changed the value at its address, or who sleeps there.
    virtual void stepped(bool changed) = 0;

    // The running fiber begins an operation, or has ended it.
    virtual void operation_begin() = 0;
    virtual void operation_end() = 0;

    // When an operation began and when it ended. It was over before another one began if its end is less than that one's begin.
    int64_t begun(int thread, int operation) const { return fibers[thread].begun[operation]; }
    int64_t ended(int thread, int operation) const { return fibers[thread].ended[operation]; }

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

protected:
    struct Fiber {
        ucontext_t context;             // where it goes on
        const void *address;            // of its next step
        const void *sleeps_on;
        int64_t begun[OPERATIONS], ended[OPERATIONS];
        int operations;                 // that it has ended
        bool done;
        uint64_t order, hash[2];        // see states.h
    };
    enum : size_t { STACK = 128 * 1024 };
    std::vector<Fiber> fibers;
    std::vector<std::vector<char>> stacks;
    ucontext_t home;
    bool starting = false;

    ~fastdag_fibers() = default;

    // Begin n threads. Each runs until it stops for the first time, where it meets nobody.
    void start(int n, void (*body)(void *, int), void *shared) {
        fibers.assign(n, Fiber{});
        stacks.resize(n);
        body_ = body;
        shared_ = shared;
        steps = 0;
        failed = nullptr;
        starting = true;
        for (int i = 0; i < n; i++) {
            Fiber &fiber = fibers[i];
            if (stacks[i].empty())
                stacks[i].resize(STACK);
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = stacks[i].data();
            fiber.context.uc_stack.ss_size = STACK;
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, reinterpret_cast<void (*)()>(enter), 0);
            resume(i);
        }
        starting = false;
    }

    void resume(int i) {  // until it stops
        current = i;
        now = this;
        swapcontext(&home, &fibers[i].context);
        now = nullptr;
    }

    void stop() { swapcontext(&fibers[current].context, &home); }

    void fail(const char *why) {  // the fibers are left as they stand
        failed = why;
        setcontext(&home);
    }

    bool able(int i) const { return !fibers[i].done && !fibers[i].sleeps_on; }

    virtual void over() { setcontext(&home); }  // the running fiber has nothing more to do

private:
    void (*body_)(void *, int);
    void *shared_;

    static void enter() {
        fastdag_fibers *threads = now;
        threads->body_(threads->shared_, threads->current);
        threads->fibers[threads->current].done = true;
        threads->over();
    }
};

class fastdag_schedule final : public fastdag_fibers {
public:
    struct Switch {
        int64_t step;
        int thread;                 // -1: any other one
    };
    std::vector<Switch> switches;   // before this step that thread goes on, if it can; in rising order
    int64_t used = 0;               // … of these where the running one could have gone on, too
    uint64_t random = 0;            // not 0: the state of a generator, which decides instead
    uint64_t period = 1;            // … to switch once in so many steps

    void run(int n, void (*body)(void *, int), void *shared) {
        next = 0;
        streak = used = 0;
        start(n, body, shared);
        const int listed = named();
        resume(listed >= 0 ? listed : random % n);
    }

    void step(const void *address) override {
        fibers[current].address = address;
        if (starting) {
            stop();
            return;
        }
        if (steps > 3000000)
            fail("the threads wait for each other for ever, in a loop");
        bool change = ++streak > 5000;  // whoever waits for another one in a loop must let it go on
        if (random) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            change |= random % period == 0;
        }
        const bool listed = next < switches.size() && switches[next].step == steps + 1;
        if (change || listed || !able(current))
            go_on(named());
    }

    void stepped(bool) override {
        steps++;
        Fiber &fiber = fibers[current];
        if (!fiber.begun[fiber.operations])
            fiber.begun[fiber.operations] = steps;
    }

    void operation_begin() override {}
    void operation_end() override {
        Fiber &fiber = fibers[current];
        fiber.ended[fiber.operations++] = steps;
    }

private:
    size_t next;
    int64_t streak;

    void over() override {
        if (starting)
            setcontext(&home);
        go_on(named());
    }

    int named() {  // who goes on before the next step as the list says; -1: that is not said
        return next < switches.size() && switches[next].step == steps + 1 ? switches[next++].thread : -1;
    }

    void go_on(int to) {  // if not that one, another one that can; if there is none, the same
        const int n = static_cast<int>(fibers.size()), from = current;
        const int turn = random ? static_cast<int>((random >> 20) % n) : 0;
        streak = 0;
        if (to == from && able(to))
            return;
        for (int i = 1; i <= n && (to < 0 || to == from || !able(to)); i++)
            to = (from + turn + i) % n;
        if (to != from && able(to)) {
            used += able(from);
            current = to;
            swapcontext(&fibers[from].context, &fibers[to].context);
            return;
        }
        if (able(from))
            return;
        for (const Fiber &fiber : fibers)
            if (!fiber.done)
                fail("all threads sleep");
        setcontext(&home);
    }
};

template <class T> class fastdag_atomic {
    std::atomic<T> value;

    template <class Operation> auto step(Operation operation) const {
        fastdag_fibers *threads = fastdag_fibers::now;
        if (!threads)
            return operation();
        threads->step(this);
        const T before = value.load(std::memory_order_relaxed);
        const auto answer = operation();
        threads->stepped(value.load(std::memory_order_relaxed) != before);
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
        fastdag_fibers *threads = fastdag_fibers::now;
        if (!threads)
            return value.wait(old, o);
        for (bool same = true; same;) {  // looking and going to sleep are one step, as for a futex
            threads->step(this);
            same = value.load(o) == old;
            if (same)
                threads->sleep();
            threads->stepped(same);
        }
    }
    void notify_one() { notify(false); }
    void notify_all() { notify(true); }

private:
    void notify(bool all) {
        fastdag_fibers *threads = fastdag_fibers::now;
        if (!threads)
            return all ? value.notify_all() : value.notify_one();
        threads->step(this);
        threads->stepped(threads->wake(this, all));
    }
};

// Statistics, on which nobody acts: no steps, and no part of a state.
template <class T> struct fastdag_counter {
    T load(std::memory_order) const { return 0; }
    void store(T, std::memory_order) {}
    T fetch_add(T, std::memory_order) { return 0; }
};

// Each fiber has its own place among the readers of a lock. Their time stands still, or no state would be like another one.
static inline pthread_t fastdag_self() {
    if (!fastdag_fibers::now)
        return pthread_self();
    return static_cast<pthread_t>(fastdag_fibers::now->current + 1) << 12;
}
static inline int fastdag_clock(clockid_t clock, timespec *time) {
    if (!fastdag_fibers::now)
        return clock_gettime(clock, time);
    *time = {1, 0};
    return 0;
}
#define pthread_self fastdag_self
#define clock_gettime fastdag_clock

#endif

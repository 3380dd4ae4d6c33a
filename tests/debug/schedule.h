// A deterministic scheduler for threads that are fibers of one thread: one runs at a time, and another one goes on only before
// an atomic operation, or where the running one would sleep. All that threads share in the core is atomic or guarded by a
// lock, and the locks are made of atomics, so that no other place for a switch could make a difference: between two of these
// points a thread meets nobody (ThreadSanitizer sees to the "all").
//
// Included by fastdag/_atomics.pxd, in the module fastdag._debug only: then the core's atomics are these.

#pragma once
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
    int64_t steps = 0;              // so far
    int64_t switches = 0;           // preemptions that another fiber could make use of
    int current = 0;
    const char *failed = nullptr;

    void run(int n, int first, void (*body)(void *, int), void *shared) {
        fibers.resize(n);
        for (int i = 0; i < n; i++) {
            Fiber &fiber = fibers[i];
            if (fiber.stack.empty())
                fiber.stack.resize(128 * 1024);
            fiber.sleeps_on = nullptr;
            fiber.done = false;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, reinterpret_cast<void (*)()>(enter), 0);
        }
        body_ = body;
        shared_ = shared;
        next = 0;
        steps = streak = switches = 0;
        failed = nullptr;
        current = first;
        now = this;
        swapcontext(&home, &fibers[first].context);
        now = nullptr;
    }

    void step() {
        steps++;
        bool change = ++streak > 5000;  // whoever waits for another one in a loop must let it go on
        if (steps > 3000000)
            fail("the threads wait for each other for ever, in a loop");
        if (random) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            change |= random % period == 0;
        } else if (next < preempt.size() && steps >= preempt[next]) {
            next++;
            change = true;
        }
        if (change)
            go_on(false);
    }

    void sleep(const void *address) {
        fibers[current].sleeps_on = address;
        go_on(true);
    }

    void wake(const void *address, bool all) {
        for (Fiber &fiber : fibers)
            if (fiber.sleeps_on == address) {
                fiber.sleeps_on = nullptr;
                if (!all)
                    return;
            }
    }

private:
    struct Fiber {
        ucontext_t context;
        std::vector<char> stack;
        const void *sleeps_on;
        bool done;
    };
    std::vector<Fiber> fibers;
    ucontext_t home;
    void (*body_)(void *, int);
    void *shared_;
    size_t next;
    int64_t streak;

    static void enter() {
        fastdag_schedule *s = now;
        s->body_(s->shared_, s->current);
        s->fibers[s->current].done = true;
        s->go_on(true);
    }

    void fail(const char *why) {  // the fibers are left as they stand
        failed = why;
        setcontext(&home);
    }

    void go_on(bool must) {  // another fiber that can; when `must` is false and there is none, the same
        const int n = static_cast<int>(fibers.size()), from = current;
        const int turn = random ? static_cast<int>((random >> 20) % n) : 0;
        bool left = false;
        streak = 0;
        for (int i = 1; i <= n; i++) {
            const int to = (from + turn + i) % n;
            left |= !fibers[to].done;
            if (to != from && !fibers[to].done && !fibers[to].sleeps_on) {
                switches += !must;
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
    static void step() {
        if (fastdag_schedule::now)
            fastdag_schedule::now->step();
    }

public:
    T load(std::memory_order o) const { step(); return value.load(o); }
    void store(T x, std::memory_order o) { step(); value.store(x, o); }
    T exchange(T x, std::memory_order o) { step(); return value.exchange(x, o); }
    bool compare_exchange_weak(T &old, T x, std::memory_order o) { step(); return value.compare_exchange_strong(old, x, o); }
    bool compare_exchange_strong(T &old, T x, std::memory_order o, std::memory_order p) {
        step();
        return value.compare_exchange_strong(old, x, o, p);
    }
    T fetch_add(T x, std::memory_order o) { step(); return value.fetch_add(x, o); }
    T fetch_sub(T x, std::memory_order o) { step(); return value.fetch_sub(x, o); }
    T fetch_or(T x, std::memory_order o) { step(); return value.fetch_or(x, o); }
    T fetch_and(T x, std::memory_order o) { step(); return value.fetch_and(x, o); }
    void wait(T old, std::memory_order o) const {
        if (!fastdag_schedule::now)
            return value.wait(old, o);
        step();
        while (value.load(o) == old)  // looking and going to sleep are one step, as for a futex
            fastdag_schedule::now->sleep(this);
    }
    void notify_one() { step(); fastdag_schedule::now ? fastdag_schedule::now->wake(this, false) : value.notify_one(); }
    void notify_all() { step(); fastdag_schedule::now ? fastdag_schedule::now->wake(this, true) : value.notify_all(); }
};

// Each fiber has its own place among the readers of a lock.
static inline pthread_t fastdag_self() {
    if (!fastdag_schedule::now)
        return pthread_self();
    return static_cast<pthread_t>(fastdag_schedule::now->current + 1) << 12;
}
#define pthread_self fastdag_self

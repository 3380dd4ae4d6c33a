// Stateful model checking: every state that threads of the core can come to, in any interleaving of their steps, is gone through
// once (as in Godefroid 1997, "Model checking for programming languages using VeriSoft", but with states that are known again and
// put back, as in Musuvathi et al. 2002, "CMC: a pragmatic approach to model checking real code"). A state is all the memory of the
// program (arena.h), the live stacks and the registers of its fibers, and which operations were over before which began; it is known
// again by 127 bits of a hash. The search is depth first: from one state to the next by running one fiber up to its next stop, and
// back by a log of what this changed.
//
// A fiber stops where the order of threads can make a difference: before each operation, so that every real-time order is had, and
// before a step at an address that another thread may still touch, in this operation of its or a later one, where one of the two
// changes what is there. Whatever else it does commutes with all that others do meanwhile, so it is done at once: each such step
// is a persistent set (Godefroid 1996, "Partial-order methods for the verification of concurrent systems"). Which operation
// touches what is learnt: where a step touches what it was not known to touch, and another thread does too, the search begins
// anew. The last search met nothing that was not known, and that is enough: take the shortest sequence of others' steps whose last
// one meets a step that was passed over. All before it commute with that step, so the search, which went on from there, came to
// that last one too, and saw what it touches.
//
// Assumes
// - Steps are sequentially consistent, and what is not atomic is guarded by what is: a missing lock is a matter for ThreadSanitizer.
// - Nobody waits by looking again and again: whoever comes back to the same state, or takes 5,000 steps without a stop, fails.
// - Of several who sleep at a mutex the one with the lowest number is woken.

#pragma once
#include "arena.h"
#include "schedule.h"
#include <algorithm>

class fastdag_states final : public fastdag_fibers {
public:
    fastdag_arena arena;            // where the program allocates all that its threads share
    int64_t states = 0;             // that the last search went through
    int64_t transitions = 0;        // from one to another, in all searches
    std::vector<fastdag_schedule::Switch> switches;  // where it failed, or is: how a fastdag_schedule comes there
    bool every_step = false;        // a fiber stops before each step, for comparison

    fastdag_states() : shadow(fastdag_arena::map()) {}
    ~fastdag_states() { munmap(shadow, fastdag_arena::OWNERS * fastdag_arena::OF_OWNER); }

    void begin(int n, void (*body)(void *, int), void *shared) {
        start(n, body, shared);
        for (int i = 0; i < n; i++)
            hash_fiber(i);
        capture();
        undo.clear();
        enter_state(key());
    }

    // Go on to the next state in which no thread can go on, as all are over, or for the reason in `failed`; false: there is none.
    bool next() {
        if (failed && path.empty())
            return false;
        if (final) {
            capture();  // whoever looked at it may have changed something
            back();
        }
        final = false;
        failed = nullptr;
        while (!path.empty() && !final) {
            const int i = untried();
            if (i >= 0)
                go(i);
            else
                leave();
        }
        if (!final && !every_choice_was_had()) {
            failed = "a step was passed over where another thread touches the same address";
            return true;
        }
        tell();
        return final;
    }

    void step(const void *address) override {
        fibers[current].address = address;
        if (++streak > 5000)
            fail("the threads wait for each other for ever, in a loop");
        passes = !every_step && able(current) && !meets(address);
        if (!passes)
            stop();
    }

    void stepped(bool changed) override {
        steps++;
        const uint8_t bit = 1 << fibers[current].operations;
        Touched &touched = touches_at(fibers[current].address);
        if (passes)
            for (int o = 0; o < count(); o++) {
                uint8_t &earliest = (changed ? touched.passed_changing : touched.passed)[current][o];
                earliest = std::min<uint8_t>(earliest, fibers[o].operations);
            }
        passes = false;
        if ((touched.looked[current] & bit) && (!changed || (touched.changed[current] & bit)))
            return;
        touched.looked[current] |= bit;
        touched.changed[current] |= changed ? bit : 0;
        for (int o = 0; o < count(); o++)
            unknown |= o != current && (changed ? touched.looked[o] : touched.changed[o]);
    }

    void operation_begin() override {
        clear_stack();
        stop();
        Fiber &fiber = fibers[current];
        fiber.begun[fiber.operations] = moves();
        for (const Fiber &other : fibers)
            fiber.order = mix(fiber.order, other.operations);
    }

    void operation_end() override {
        Fiber &fiber = fibers[current];
        fiber.ended[fiber.operations++] = moves();
    }

private:
    enum : size_t { PIECE = 256 };  // bytes of the arena that are logged and hashed at once

    struct Key {
        uint64_t a, b;  // the last bit of b: the state is on the path; both 0: none
    };
    struct State {
        Key key, sum;   // of all, and of the arena
        size_t undo;    // length of the log
        int64_t steps;
        uint8_t able, tried;  // a bit a thread
        int chosen;     // the thread that goes on from here
    };
    enum { THREADS = fastdag_arena::OWNERS - 1, NEVER = OPERATIONS };
    struct Touched {
        uint8_t looked[THREADS] = {}, changed[THREADS] = {};  // by each thread: a bit an operation; who changes looks, too
        // A thread went on there without a stop; where the other one was then, at its earliest.
        uint8_t passed[THREADS][THREADS], passed_changing[THREADS][THREADS];
        Touched() { forget(); }
        void forget() {
            memset(passed, NEVER, sizeof passed);
            memset(passed_changing, NEVER, sizeof passed_changing);
        }
    };
    static_assert(OPERATIONS <= 8, "a bit an operation");

    std::vector<State> path;
    std::vector<char> undo;          // bytes, where they were, and how many; the newest last
    std::vector<Key> table = std::vector<Key>(1 << 12);  // the states that were seen, open addressing
    size_t seen = 0;
    std::unordered_map<const void *, Touched> touches;
    char *const shadow;              // the arena as it was captured
    fastdag_arena::Used shadow_used = {};
    Key sum = {};                    // of the arena as it was captured
    int64_t streak = 0;
    bool unknown = false, final = false;
    bool passes = false;             // the next step is passed over

    int count() const { return static_cast<int>(fibers.size()); }
    int64_t moves() const { return static_cast<int64_t>(path.size()); }

    Touched &touches_at(const void *address) {
        arena.filling = false;
        Touched &touched = touches[address];
        arena.filling = true;
        return touched;
    }

    // Whether another thread may still touch this address, so that it makes a difference who is first.
    bool meets(const void *address) const {
        const auto found = touches.find(address);
        if (found == touches.end())
            return false;
        const Touched &touched = found->second;
        const bool changes = touched.changed[current] >> fibers[current].operations & 1;
        for (int o = 0; o < count(); o++)
            if (o != current && (changes ? touched.looked[o] : touched.changed[o]) >> fibers[o].operations)
                return true;
        return false;
    }

    // What was passed over, looked at again with all that is known in the end.
    bool every_choice_was_had() const {
        for (const auto &[address, touched] : touches)
            for (int t = 0; t < count(); t++)
                for (int o = 0; o < count(); o++)
                    if (o != t && ((touched.changed[o] >> touched.passed[t][o]) | (touched.looked[o] >> touched.passed_changing[t][o])))
                        return false;
        return true;
    }

    // So that what calls have left on the stack makes no two states differ.
    __attribute__((noinline)) static void clear_stack() {
        const size_t own = 512, calls = 16 * 1024;
        memset(static_cast<char *>(__builtin_frame_address(0)) - own - calls, 0, calls);
    }

    int untried() const {
        for (int i = 0; i < count(); i++)
            if (path.back().able & ~path.back().tried & 1 << i)
                return i;
        return -1;
    }

    void go(int i) {
        path.back().tried |= 1 << i;
        path.back().chosen = i;
        for (Fiber &fiber : fibers)
            log(&fiber, &fiber, sizeof fiber);
        log(stack(i), stack(i), stack_size(i));
        streak = 0;
        arena.owner = i + 1;
        arena.filling = true;
        resume(i);
        arena.filling = false;
        transitions++;
        final = failed != nullptr;
        if (final)
            return;
        capture();
        if (unknown) {
            restart();
            return;
        }
        hash_fiber(i);
        const Key now = key();
        const Key *same = find(now);
        if (!same->a && !same->b) {
            enter_state(now);
        } else if (same->b & 1) {
            failed = "the threads wait for each other for ever, in a loop";
            final = true;
        } else
            back();
    }

    void enter_state(Key now) {
        State state = {now, sum, undo.size(), steps, 0, 0, -1};
        for (int i = 0; i < count(); i++)
            state.able |= able(i) << i;
        states++;
        final = !state.able;
        insert({now.a, now.b | !final});
        if (!final)
            path.push_back(state);
        else if (!std::all_of(fibers.begin(), fibers.end(), [](const Fiber &fiber) { return fiber.done; }))
            failed = "all threads sleep";
    }

    void leave() {
        find(path.back().key)->b &= ~uint64_t(1);
        path.pop_back();
        if (!path.empty())
            back();
    }

    void restart() {
        path.resize(1);
        back();
        const Key root = path[0].key;
        path.clear();
        std::fill(table.begin(), table.end(), Key{});
        seen = 0;
        states = 0;
        unknown = false;
        for (auto &[address, touched] : touches)
            touched.forget();
        enter_state(root);
    }

    // The schedule that leads here: a transition without a step, over the beginning of an operation, is none there.
    void tell() {
        switches.clear();
        for (size_t k = 0; k < path.size() && path[k].chosen >= 0; k++)
            if ((k + 1 < path.size() ? path[k + 1].steps : steps) != path[k].steps
                && (switches.empty() || switches.back().thread != path[k].chosen))
                switches.push_back({path[k].steps + 1, path[k].chosen});
    }

    // --- the log

    void log(void *where, const void *bytes, size_t size) {
        const size_t at = undo.size();
        undo.resize(at + size + sizeof where + sizeof size);
        memcpy(&undo[at], bytes, size);
        memcpy(&undo[at + size], &where, sizeof where);
        memcpy(&undo[at + size + sizeof where], &size, sizeof size);
    }

    void back() {  // to the newest state of the path
        while (undo.size() > path.back().undo) {
            char *where;
            size_t size;
            const size_t end = undo.size() - sizeof where - sizeof size;
            memcpy(&where, &undo[end], sizeof where);
            memcpy(&size, &undo[end + sizeof where], sizeof size);
            memcpy(where, &undo[end - size], size);
            if (arena.holds(where))
                memcpy(shadow + (where - arena.base), where, size);
            undo.resize(end - size);
        }
        shadow_used = arena.used;
        sum = path.back().sum;
        steps = path.back().steps;
    }

    // Log what has changed in the arena, and bring its hash up to date.
    void capture() {
        for (size_t owner = 0; owner < fastdag_arena::OWNERS; owner++)
            for (size_t k = 0; k < fastdag_arena::SIZES; k++) {
                uint64_t blocks = arena.used.blocks[owner][k] | shadow_used.blocks[owner][k];
                for (; blocks; blocks &= blocks - 1) {
                    const int i = std::countr_zero(blocks);
                    compare(fastdag_arena::start(owner, k, i), arena.most[owner][k][i]);
                }
            }
        if (memcmp(&shadow_used, &arena.used, sizeof shadow_used)) {
            log(&arena.used, &shadow_used, sizeof shadow_used);
            shadow_used = arena.used;
        }
    }

    void compare(size_t at, size_t size) {
        if (!memcmp(shadow + at, arena.base + at, size))
            return;
        if (size > PIECE) {
            const size_t half = std::bit_ceil(size) / 2;
            compare(at, half);
            compare(at + half, size - half);
            return;
        }
        const Key old = hash(shadow + at, size, at), now = hash(arena.base + at, size, at);
        sum = {sum.a - old.a + now.a, sum.b - old.b + now.b};
        log(arena.base + at, shadow + at, size);
        memcpy(shadow + at, arena.base + at, size);
    }

    // --- hashes

    static uint64_t mix(uint64_t x, uint64_t y) {
        const unsigned __int128 product
            = static_cast<unsigned __int128>(x ^ 0x9E3779B97F4A7C15) * (y ^ 0xD1342543DE82EF95);
        return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    }

    // Of a multiple of 16 bytes. Zeros count for nothing, as where no block is.
    static Key hash(const char *bytes, size_t size, uint64_t seed) {
        Key key = {mix(seed, 1), mix(seed, 2)};
        uint64_t any = 0;
        for (size_t at = 0; at < size; at += 16) {
            uint64_t one, other;
            memcpy(&one, bytes + at, 8);
            memcpy(&other, bytes + at + 8, 8);
            any |= one | other;
            key = {mix(key.a ^ one, other), mix(key.b ^ other, one + at)};
        }
        return any ? key : Key{0, 0};
    }

    // The live part of a fiber's stack; where it calls, its end is a multiple of 16.
    char *stack(int i) { return reinterpret_cast<char *>(fibers[i].context.uc_mcontext.gregs[REG_RSP]); }
    size_t stack_size(int i) { return stacks[i].data() + STACK - stack(i); }

    void hash_fiber(int i) {
        Fiber &fiber = fibers[i];
        Key key = fiber.done ? Key{0, 0} : hash(stack(i), stack_size(i), 0);
        auto add = [&key](uint64_t value) { key = {mix(key.a, value), mix(value, key.b)}; };
        if (!fiber.done)
            for (int reg : {REG_RIP, REG_RSP, REG_RBP, REG_RBX, REG_R12, REG_R13, REG_R14, REG_R15})
                add(fiber.context.uc_mcontext.gregs[reg]);
        add(fiber.order);
        add(fiber.operations);
        fiber.hash[0] = key.a;
        fiber.hash[1] = key.b;
    }

    Key key() const {
        const Key blocks = hash(reinterpret_cast<const char *>(&arena.used), sizeof arena.used, 1);
        Key key = {sum.a + blocks.a, sum.b + blocks.b};
        for (const Fiber &fiber : fibers) {
            const uint64_t asleep = reinterpret_cast<uint64_t>(fiber.sleeps_on);
            key = {mix(key.a + asleep, fiber.hash[0]), mix(key.b, fiber.hash[1] + asleep)};
        }
        key.b &= ~uint64_t(1);
        return key;
    }

    Key *find(Key key) {  // where it is, or would be
        size_t at = key.a & (table.size() - 1);
        while ((table[at].a || table[at].b) && (table[at].a != key.a || (table[at].b ^ key.b) & ~uint64_t(1)))
            at = (at + 1) & (table.size() - 1);
        return &table[at];
    }

    void insert(Key key) {
        if (2 * ++seen > table.size()) {
            std::vector<Key> old(2 * table.size());
            old.swap(table);
            for (const Key &each : old)
                if (each.a || each.b)
                    *find(each) = each;
        }
        *find(key) = key;
    }
};

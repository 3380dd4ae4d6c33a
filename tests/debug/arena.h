// Memory of a program whose states are searched (states.h): the same allocations get the same addresses in every order of the
// threads, what is not in use is zeroed, and all of it can be compared and put back. Included before everything else in
// fastdag._debug, whose core allocates here while `filling` is set, and from the heap else.

#ifndef FASTDAG_ARENA_H  // not `#pragma once`: Cython makes copies
#define FASTDAG_ARENA_H
#include <Python.h>
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <sys/mman.h>
#include <unordered_map>
#include <unordered_set>
#include <vector>

class fastdag_arena {
public:
    // The arena of the calling thread, or NULL.
    static inline thread_local fastdag_arena *now = nullptr;

    // Each owner, a thread or who sets the stage for them (0), has 64 blocks of each size: 64 bytes, 128 … 128 KiB. It gets the
    // first that is free, so that what others allocate makes no difference to it.
    enum : size_t { OWNERS = 5, SIZES = 12, SMALLEST = 64, BLOCKS = 64, OF_OWNER = SMALLEST * BLOCKS * ((1 << SIZES) - 1) };
    struct Used {
        uint64_t blocks[OWNERS][SIZES];  // a bit each
    };

    int owner = 0;
    bool filling = false;
    Used used = {};
    size_t most[OWNERS][SIZES][BLOCKS] = {};  // bytes of a block that were ever asked for, in sixteens
    char *const base;

    fastdag_arena() : base(map()) { now = this; }
    ~fastdag_arena() {
        now = nullptr;
        munmap(base, OWNERS * OF_OWNER);
    }
    fastdag_arena(const fastdag_arena &) = delete;

    static char *map() {
        void *memory = mmap(nullptr, OWNERS * OF_OWNER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            throw std::bad_alloc();
        return static_cast<char *>(memory);
    }

    bool holds(const void *block) const {
        return block >= base && block < base + OWNERS * OF_OWNER;
    }

    void *take(size_t size) {  // zeroed
        const int k = size <= SMALLEST ? 0 : std::bit_width(size - 1) - 6;
        const int i = k < int(SIZES) ? std::countr_one(used.blocks[owner][k]) : int(BLOCKS);
        if (i == int(BLOCKS))
            stop("the arena has no block that is large enough");
        char *block = base + start(owner, k, i);
        if (std::any_of(block, block + size, [](char byte) { return byte; }))
            stop("somebody has written to a block that was given back");
        used.blocks[owner][k] |= uint64_t(1) << i;
        most[owner][k][i] = std::max(most[owner][k][i], (size + 15) & ~size_t(15));
        return block;
    }

    void give(void *block) {
        const size_t at = static_cast<char *>(block) - base, in_owner = at % OF_OWNER;
        const int k = size_at(in_owner);
        const size_t i = (in_owner - start(0, k, 0)) / (SMALLEST << k);
        uint64_t &blocks = used.blocks[at / OF_OWNER][k];
        if (at != start(at / OF_OWNER, k, i) || !(blocks >> i & 1))
            stop("what is given back is no block that is in use");
        memset(block, 0, SMALLEST << k);
        blocks &= ~(uint64_t(1) << i);
    }

    size_t size(const void *block) const { return SMALLEST << size_at((static_cast<const char *>(block) - base) % OF_OWNER); }

    static size_t start(size_t owner, int k, size_t i) {
        return owner * OF_OWNER + SMALLEST * BLOCKS * ((size_t(1) << k) - 1) + i * (SMALLEST << k);
    }

private:
    [[noreturn]] static void stop(const char *why) {
        std::fprintf(stderr, "%s\n", why);
        std::abort();
    }

    static int size_at(size_t in_owner) { return std::bit_width(in_owner / (SMALLEST * BLOCKS) + 1) - 1; }
};

static inline bool fastdag_filling() { return fastdag_arena::now && fastdag_arena::now->filling; }

static inline void *fastdag_malloc(size_t size) {
    return fastdag_filling() ? fastdag_arena::now->take(size) : std::malloc(size);
}

static inline void *fastdag_calloc(size_t n, size_t size) {
    return fastdag_filling() ? fastdag_arena::now->take(n * size) : std::calloc(n, size);
}

static inline void fastdag_free(void *block) {
    if (fastdag_arena::now && fastdag_arena::now->holds(block))
        fastdag_arena::now->give(block);
    else
        std::free(block);
}

static inline void *fastdag_realloc(void *block, size_t size) {
    fastdag_arena *arena = fastdag_arena::now;
    if (block ? !arena || !arena->holds(block) : !fastdag_filling())
        return std::realloc(block, size);
    void *other = arena->take(size);
    if (block) {
        memcpy(other, block, std::min(size, arena->size(block)));
        arena->give(block);
    }
    return other;
}

#include "allocate.h"

#endif

// Allocations of the core, counted, and one of them failed at will: included before everything else in fastdag._core in the debug
// build. tests/debug/memory.py reads and sets these by their names. For one thread at a time.

#pragma once
#include <Python.h>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <new>
#include <vector>

extern "C" {
long fastdag_live = 0;   // blocks that were given out and not given back
long fastdag_fail = -1;  // so many more allocations succeed, then one fails; -1: none does
}

static bool fastdag_fails() { return fastdag_fail >= 0 && fastdag_fail-- == 0; }

static void *fastdag_counted(void *block) {
    if (block)
        __atomic_add_fetch(&fastdag_live, 1, __ATOMIC_RELAXED);
    return block;
}

static inline void *fastdag_malloc(size_t size) { return fastdag_fails() ? nullptr : fastdag_counted(std::malloc(size)); }

static inline void *fastdag_calloc(size_t n, size_t size) {
    return fastdag_fails() ? nullptr : fastdag_counted(std::calloc(n, size));
}

static inline void *fastdag_realloc(void *block, size_t size) {
    if (fastdag_fails())
        return nullptr;
    return block ? std::realloc(block, size) : fastdag_counted(std::malloc(size));
}

static inline void fastdag_free(void *block) {
    if (block)
        __atomic_sub_fetch(&fastdag_live, 1, __ATOMIC_RELAXED);
    std::free(block);
}

#ifdef FASTDAG_COVERAGE
extern "C" void __gcov_dump(void);
extern "C" void fastdag_dump_counts() { __gcov_dump(); }
#endif

#include "allocate.h"

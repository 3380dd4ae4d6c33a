"""Refuses one allocation of the interpreter while one call runs, and counts what is allocated and not given back.

Hooks of our own over all three allocators of the interpreter: those of `_testcapi` are not everywhere, refuse all threads,
and are put in and taken out by Python code, which asks for memory itself. Here nothing runs between arming and the call.

Built with the debug build of the core only; `interpreter.py` uses it.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

cdef extern from *:
    """
    #include <atomic>
    #include <dlfcn.h>
    #include <execinfo.h>
    static thread_local long fastdag_granted = -1;  // so many more requests are granted, then one is refused; -1: none is
    static std::atomic<long> fastdag_blocks;        // given out and not given back since the hooks are there
    static PyMemAllocatorEx fastdag_allocators[3];  // the interpreter's own
    static void *fastdag_stack[64];                 // of the request that was refused last
    static int fastdag_depth;

    static bool fastdag_refused() {
        if (fastdag_granted < 0 || fastdag_granted-- != 0)
            return false;
        fastdag_depth = backtrace(fastdag_stack, 64);
        return true;
    }

    // The function that an address lies in or, where it has no name, the file.
    static const char *fastdag_place(int i) {
        Dl_info info;
        if (!dladdr(fastdag_stack[i], &info))
            return "?";
        return info.dli_sname ? info.dli_sname : info.dli_fname;
    }

    static void *fastdag_given(void *block) {
        if (block)
            fastdag_blocks.fetch_add(1, std::memory_order_relaxed);
        return block;
    }

    static void *fastdag_malloc(void *real, size_t size) {
        auto a = (PyMemAllocatorEx *)real;
        return fastdag_refused() ? nullptr : fastdag_given(a->malloc(a->ctx, size));
    }

    static void *fastdag_calloc(void *real, size_t n, size_t size) {
        auto a = (PyMemAllocatorEx *)real;
        return fastdag_refused() ? nullptr : fastdag_given(a->calloc(a->ctx, n, size));
    }

    static void *fastdag_realloc(void *real, void *block, size_t size) {
        auto a = (PyMemAllocatorEx *)real;
        if (fastdag_refused())
            return nullptr;
        return block ? a->realloc(a->ctx, block, size) : fastdag_given(a->realloc(a->ctx, block, size));
    }

    static void fastdag_free(void *real, void *block) {
        auto a = (PyMemAllocatorEx *)real;
        if (block)
            fastdag_blocks.fetch_sub(1, std::memory_order_relaxed);
        a->free(a->ctx, block);
    }

    static void fastdag_hook() {
        PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
        for (int i = 0; i < 3; i++) {
            PyMem_GetAllocator(domains[i], &fastdag_allocators[i]);
            PyMemAllocatorEx hooked = {&fastdag_allocators[i], fastdag_malloc, fastdag_calloc, fastdag_realloc, fastdag_free};
            PyMem_SetAllocator(domains[i], &hooked);
        }
    }

    static PyObject *fastdag_starved(PyObject *call, PyObject *argument, long *granted) {
        PyGC_Collect();  // what the interpreter keeps for use again would be found instead of asked for
        fastdag_granted = *granted;
        PyObject *answer = PyObject_CallOneArg(call, argument);
        *granted = fastdag_granted;
        fastdag_granted = -1;
        return answer;
    }

    static long fastdag_count() {
        PyGC_Collect();
        return fastdag_blocks.load();
    }
    """
    void hook "fastdag_hook"()
    PyObject *starved "fastdag_starved"(PyObject *, PyObject *, long *)  # NULL with an exception set
    long count "fastdag_count"()
    const char *place "fastdag_place"(int)
    int depth "fastdag_depth"

hook()


cdef int raise_pending() except -1:
    return -1


def starve(call, argument, long n):
    """Call with the n-th request for memory refused, counted from 0.

    Returns
    -------
    (answer, error, refused)
        What the call returned, None where it raised; what it raised, None where it returned; whether it made so many
        requests that one was refused.
    """
    cdef PyObject *answer = starved(<PyObject *>call, <PyObject *>argument, &n)
    if answer != NULL:
        kept = <object>answer
        Py_DECREF(kept)
        return kept, None, n < 0
    try:
        raise_pending()
    except BaseException as error:
        return None, error, n < 0


def requester():
    """Who made the request that was refused last: functions, or files, from the allocator outwards."""
    return [place(i).decode() for i in range(depth)]


def blocks():
    """So many more blocks are in use than when the hooks were put in; what nothing refers to is collected first."""
    return count()

// Whatever allocates in this shared object does it by fastdag_malloc and its like, which stand before this is included.

#ifndef FASTDAG_ALLOCATE_H  // not `#pragma once`: Cython makes copies
#define FASTDAG_ALLOCATE_H

void *operator new(size_t size) {
    void *block = fastdag_malloc(size);
    if (!block)
        throw std::bad_alloc();
    return block;
}
void operator delete(void *block) noexcept { fastdag_free(block); }
void operator delete(void *block, size_t) noexcept { fastdag_free(block); }

#define malloc(size) fastdag_malloc(size)
#define calloc(n, size) fastdag_calloc(n, size)
#define realloc(block, size) fastdag_realloc(block, size)
#define free(block) fastdag_free(block)

#endif

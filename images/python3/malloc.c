/* The C heap of the interpreter, on WebAssembly's growing memory.

   The C library's allocator rounds every block up to a power of two and never
   joins free ones, so an interpreter runs out of a memory limit when a third
   of it is in use.  This one splits and joins: free chunks hang in bins by
   size (exact up to 496 bytes, then 16 bins per power of two), a bitmap finds
   the next bin that is not empty, and neighbours are joined when freed.

   A chunk is an 8-byte header and its payload; sizes are multiples of 16 and
   count the header; payloads lie at multiples of 16.  Each header has the size
   of the chunk before it (0: none, start of a region), so both neighbours can
   be reached.  A region ends with a fence, a used chunk of size 0.

   Memory that was never handed out is still zero: calloc does not touch it.
   Everything here depends on the calls made only, so that a run repeats. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PAGE 65536u
#define UNIT 16u
#define HEADER 8u
#define FREE 1u
#define MOST 0xf0000000u
#define EXACT 32u
#define BINS (EXACT + 23 * 16)

typedef struct chunk {
    uint32_t before;            /* size of the chunk before this one */
    uint32_t size;              /* of this one, or'ed with FREE */
    struct chunk *next, **link; /* free only: list of its bin */
} chunk;

extern unsigned char __heap_base;

static chunk *bins[BINS];
static uint32_t filled[(BINS + 31) / 32];
static chunk *fence;         /* the end of the newest region */
static uintptr_t used_up_to; /* zero from here on, but for fences */
static uintptr_t zero_from;  /* used_up_to before the last allocation */
static uint32_t heap_bytes;

static uint32_t size_of(const chunk *c)
{
    return c->size & ~FREE;
}

static chunk *after(const chunk *c)
{
    return (chunk *)((uintptr_t)c + size_of(c));
}

static chunk *chunk_of(void *payload)
{
    return (chunk *)((uintptr_t)payload - HEADER);
}

static void *payload_of(chunk *c)
{
    return (void *)((uintptr_t)c + HEADER);
}

static void raise_used(uintptr_t end)
{
    if (end > used_up_to)
        used_up_to = end;
}

static void set_size(chunk *c, uint32_t size, uint32_t state)
{
    c->size = size | state;
    after(c)->before = size;
}

static unsigned bin_of(uint32_t size)
{
    uint32_t units = size / UNIT;
    if (units < EXACT)
        return units;
    unsigned octave = 31 - (unsigned)__builtin_clz(units);
    return EXACT + (octave - 5) * 16 + (units >> (octave - 4) & 15);
}

static void insert(chunk *c)
{
    unsigned bin = bin_of(size_of(c));
    c->next = bins[bin];
    c->link = &bins[bin];
    if (c->next)
        c->next->link = &c->next;
    bins[bin] = c;
    filled[bin / 32] |= 1u << bin % 32;
    raise_used((uintptr_t)c + sizeof(chunk));
}

static void withdraw(chunk *c)
{
    unsigned bin = bin_of(size_of(c));
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    if (!bins[bin])
        filled[bin / 32] &= ~(1u << bin % 32);
}

/* Make a chunk free, joined with the free ones around it. */
static void release(chunk *c, uint32_t size)
{
    chunk *next = (chunk *)((uintptr_t)c + size);
    if (next->size & FREE) {
        withdraw(next);
        size += size_of(next);
    }
    if (c->before) {
        chunk *before = (chunk *)((uintptr_t)c - c->before);
        if (before->size & FREE) {
            withdraw(before);
            size += size_of(before);
            c = before;
        }
    }
    set_size(c, size, FREE);
    insert(c);
}

/* Use the first `size` bytes of a chunk (in no bin); free the rest. */
static void occupy(chunk *c, uint32_t have, uint32_t size)
{
    uint32_t rest = have - size;
    set_size(c, size, 0);
    if (rest) {
        after(c)->before = size;
        release(after(c), rest);
    }
}

/* Put the fence of a region at its end. */
static void close_region(uintptr_t end)
{
    fence = (chunk *)(end - HEADER);
    fence->size = 0;
}

/* Make new memory, up to its end, a region or part of the last one. */
static void add_memory(uintptr_t start, uintptr_t end)
{
    chunk *c = fence;
    heap_bytes += end - start;
    if (!fence || (uintptr_t)fence + HEADER != start) {
        start = (start + UNIT - 1) / UNIT * UNIT;
        c = (chunk *)(start + HEADER);
        c->before = 0;
    }
    close_region(end);
    uint32_t size = (uintptr_t)fence - (uintptr_t)c;
    chunk *before = (chunk *)((uintptr_t)c - c->before);
    int joins = c->before && before->size & FREE;
    release(c, size);
    if (joins) /* the old fence is in untouched memory now */
        memset(c, 0, HEADER);
}

static int grow(uint32_t pages)
{
    size_t page = __builtin_wasm_memory_size(0);
    if (page + pages >= PAGE) /* the end must have an address: no 4 GiB */
        return 0;
    page = __builtin_wasm_memory_grow(0, pages);
    if (page == (size_t)-1)
        return 0;
    add_memory(page * PAGE, (page + pages) * PAGE);
    return 1;
}

/* Get at least so many bytes more: an eighth of the heap if that can be. */
static int extend(uint32_t bytes)
{
    if (!fence) {
        uintptr_t start = (uintptr_t)&__heap_base;
        uintptr_t end = __builtin_wasm_memory_size(0) * PAGE;
        used_up_to = start;
        if (end - start >= 4 * UNIT) {
            add_memory(start, end);
            if (end - start >= bytes + 4 * UNIT)
                return 1;
        }
    }
    uint32_t need = bytes / PAGE + 1;
    uint32_t wish = heap_bytes / 8 / PAGE;
    wish = wish < 4 ? 4 : wish > 64 ? 64 : wish;
    return (wish > need && grow(wish)) || grow(need);
}

/* Take a chunk of at least this size out of the bins. */
static chunk *find(uint32_t size)
{
    unsigned bin = bin_of(size);
    chunk *c = bins[bin];
    if (c && size_of(c) >= size) {
        withdraw(c);
        return c;
    }
    bin++;
    uint32_t word = bin / 32;
    uint32_t bits = filled[word] & ~0u << bin % 32;
    while (!bits && ++word < sizeof filled / sizeof *filled)
        bits = filled[word];
    if (!bits)
        return NULL;
    c = bins[word * 32 + (unsigned)__builtin_ctz(bits)];
    withdraw(c);
    return c;
}

/* The size of the free chunk at the end of the heap, which growing extends. */
static uint32_t free_at_end(void)
{
    if (!fence || !fence->before)
        return 0;
    chunk *last = (chunk *)((uintptr_t)fence - fence->before);
    return last->size & FREE ? size_of(last) : 0;
}

static uint32_t chunk_size(size_t bytes)
{
    return (bytes + HEADER + UNIT - 1) & ~(UNIT - 1);
}

void *malloc(size_t bytes)
{
    if (bytes > MOST) {
        errno = ENOMEM;
        return NULL;
    }
    uint32_t size = chunk_size(bytes);
    chunk *c = find(size);
    while (!c) {
        uint32_t end = free_at_end();
        if (!extend(end < size ? size - end : size)) {
            errno = ENOMEM;
            return NULL;
        }
        c = find(size);
    }
    zero_from = used_up_to;
    occupy(c, size_of(c), size);
    raise_used((uintptr_t)c + size);
    return payload_of(c);
}

void free(void *payload)
{
    if (payload) {
        chunk *c = chunk_of(payload);
        release(c, size_of(c));
    }
}

void *calloc(size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes))
        bytes = MOST + 1;
    void *payload = malloc(bytes);
    if (payload) {
        uintptr_t start = (uintptr_t)payload;
        size_t dirty = zero_from > start ? zero_from - start : 0;
        memset(payload, 0, dirty < bytes ? dirty : bytes);
    }
    return payload;
}

/* Make a used chunk larger where it lies; 0 if it cannot be. */
static int stretch(chunk *c, uint32_t size)
{
    chunk *next = after(c);
    uint32_t have = size_of(c) + (next->size & FREE ? size_of(next) : 0);
    if (have < size) {
        chunk *end = (chunk *)((uintptr_t)c + have);
        if (end != fence || !extend(size - have))
            return 0;
        next = after(c);
        if (!(next->size & FREE) || size_of(c) + size_of(next) < size)
            return 0;
        have = size_of(c) + size_of(next);
    }
    if (next->size & FREE)
        withdraw(next);
    occupy(c, have, size);
    raise_used((uintptr_t)c + size);
    return 1;
}

void *realloc(void *payload, size_t bytes)
{
    if (!payload)
        return malloc(bytes);
    if (bytes > MOST) {
        errno = ENOMEM;
        return NULL;
    }
    chunk *c = chunk_of(payload);
    uint32_t size = chunk_size(bytes), old = size_of(c);
    if (size <= old) {
        occupy(c, old, size);
        return payload;
    }
    if (stretch(c, size))
        return payload;
    void *moved = malloc(bytes);
    if (moved) {
        memcpy(moved, payload, old - HEADER);
        free(payload);
    }
    return moved;
}

void *reallocarray(void *payload, size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes))
        bytes = MOST + 1;
    return realloc(payload, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    if (alignment <= UNIT)
        return malloc(bytes);
    if (bytes > MOST || alignment > MOST - bytes) {
        errno = ENOMEM;
        return NULL;
    }
    void *payload = malloc(bytes + alignment);
    if (!payload)
        return NULL;
    chunk *c = chunk_of(payload);
    uint32_t lead = -(uintptr_t)payload & (alignment - 1);
    if (lead) { /* a multiple of UNIT, so a chunk of its own */
        uint32_t size = size_of(c) - lead;
        chunk *aligned = (chunk *)((uintptr_t)c + lead);
        aligned->before = lead;
        set_size(aligned, size, 0);
        release(c, lead);
        c = aligned;
    }
    occupy(c, size_of(c), chunk_size(bytes));
    return payload_of(c);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return memalign(alignment, bytes);
}

int posix_memalign(void **payload, size_t alignment, size_t bytes)
{
    int before = errno;
    void *made = memalign(alignment, bytes);
    errno = before;
    if (!made)
        return ENOMEM;
    *payload = made;
    return 0;
}

void *valloc(size_t bytes)
{
    return memalign(PAGE, bytes);
}

size_t malloc_usable_size(void *payload)
{
    return payload ? size_of(chunk_of(payload)) - HEADER : 0;
}

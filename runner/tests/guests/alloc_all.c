/* Takes memory until there is none, touching all of it, says on stderr how
   much it got, and exits 3.  By malloc, or with "grow" by memory.grow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK (60 * 1024)
#define PAGE 65536

static unsigned long by_malloc(void)
{
    unsigned long taken = 0;
    volatile char *block;
    while ((block = malloc(BLOCK))) {
        for (long i = 0; i < BLOCK; i += 4096)
            block[i] = 1;
        taken += BLOCK;
    }
    return taken;
}

static unsigned long by_grow(void)
{
    unsigned long taken = 0;
    unsigned long page;
    while ((page = __builtin_wasm_memory_grow(0, 1)) != (unsigned long)-1) {
        volatile char *start = (volatile char *)(page * PAGE);
        for (long i = 0; i < PAGE; i += 4096)
            start[i] = 1;
        taken += PAGE;
    }
    return taken;
}

int main(int argc, char **argv)
{
    int grow = argc > 1 && strcmp(argv[1], "grow") == 0;
    unsigned long taken = grow ? by_grow() : by_malloc();
    dprintf(2, "out of memory after %lu bytes\n", taken);
    return 3;
}

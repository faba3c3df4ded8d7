/* Calls itself without end, keeping nothing in memory, so that the engine's
   own stack is what overflows; with "memory" the guest's own stack, which
   lies at the bottom of its memory, overflows first. With a number, so deep and
   back again. */
#include <stdlib.h>
#include <string.h>

static volatile int deepest = -1;
static volatile int sink;

static int down(int n)
{
    if (n == deepest)
        return 0;
    sink = n;
    return down(n + 1) + sink;
}

static int down_wide(int n)
{
    volatile char frame[4096];
    frame[n & 4095] = (char)n;
    if (n == deepest)
        return 0;
    return down_wide(n + 1) + frame[n & 4095];
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "memory") == 0)
        return down_wide(0);
    if (argc > 1) {
        deepest = atoi(argv[1]);
        down(0);
        return 0;
    }
    return down(0);
}

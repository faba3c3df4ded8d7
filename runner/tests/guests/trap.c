/* Traps: by an unreachable instruction, or as its first argument says:
   "divide" by zero, a "load" beyond memory, a "call" of the wrong type. */
#include <stdint.h>
#include <string.h>

static volatile int zero;
static volatile uintptr_t beyond = 0xfffffff0u;

static int two(int a, int b)
{
    return a + b;
}

static int (*volatile pair)(int, int) = two;

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "";
    if (strcmp(kind, "divide") == 0)
        return argc / zero;
    if (strcmp(kind, "load") == 0)
        return *(volatile int *)beyond;
    if (strcmp(kind, "call") == 0)
        return ((int (*)(double))(uintptr_t)pair)(1.0);
    __builtin_trap();
}

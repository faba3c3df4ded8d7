/* setjmp and longjmp, by the name of what is asked for: `loop N` jumps N times,
   `nest` through many frames and out of handlers, `stray` to where nobody is any
   more, `leave` ends from within. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static jmp_buf outer, inner;

__attribute__((noinline)) static void down(int depth, jmp_buf *to, int value)
{
    if (depth == 0)
        longjmp(*to, value);
    down(depth - 1, to, value);
}

static int loop(int turns)
{
    static volatile int turn;
    static volatile long total;
    for (turn = 0; turn < turns; turn++) {
        int value = setjmp(outer);
        if (!value)
            down(5, &outer, 7);
        total += value;
    }
    printf("%ld\n", total);
    return 0;
}

static int nest(void)
{
    static volatile int seen;
    int value = setjmp(outer);
    if (value) {
        printf("outer %d, inner seen %d times\n", value, seen);
        return 0;
    }
    switch (setjmp(inner)) {
    case 0:
        down(1000, &inner, 1);
        break;
    case 1:
        seen++;
        down(3, &inner, 2);
        break;
    default:
        seen++;
        /* 0 is told as 1. */
        down(10000, &outer, 0);
    }
    return 1;
}

__attribute__((noinline)) static void remember(void)
{
    if (setjmp(inner))
        puts("back in a function that has returned");
}

static int stray(void)
{
    remember();
    puts("before");
    fflush(stdout);
    longjmp(inner, 1);
}

static int leave(void)
{
    if (setjmp(outer))
        return 1;
    puts("left");
    exit(9);
}

int main(int argc, char **argv)
{
    const char *task = argc > 1 ? argv[1] : "nest";
    if (!strcmp(task, "loop"))
        return loop(argc > 2 ? atoi(argv[2]) : 1);
    if (!strcmp(task, "stray"))
        return stray();
    return strcmp(task, "leave") ? nest() : leave();
}

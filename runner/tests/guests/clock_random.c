/* Prints both clocks twice, and 16 random bytes in hex. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void show(const char *name, clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    printf("%s %lld.%09ld\n", name, (long long)now.tv_sec, now.tv_nsec);
}

int main(void)
{
    unsigned char bytes[16];
    for (int i = 0; i < 2; i++) {
        show("realtime", CLOCK_REALTIME);
        show("monotonic", CLOCK_MONOTONIC);
    }
    if (getentropy(bytes, sizeof bytes) < 0)
        return 1;
    printf("random ");
    for (unsigned i = 0; i < sizeof bytes; i++)
        printf("%02x", bytes[i]);
    return printf("\n") < 0;
}

/* Sleeps for days in no time, and prints what the clocks say then. */
#include <poll.h>
#include <stdio.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

static void show(const char *step)
{
    struct timespec real, monotonic;
    clock_gettime(CLOCK_REALTIME, &real);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    printf("%s: %lld.%09ld %lld.%09ld\n", step,
           (long long)real.tv_sec, real.tv_nsec,
           (long long)monotonic.tv_sec, monotonic.tv_nsec);
}

int main(void)
{
    show("start");
    sleep(3 * 86400);
    show("sleep");
    poll(NULL, 0, 1500);
    show("poll");
    struct timeval wait = {.tv_usec = 250000};
    select(0, NULL, NULL, NULL, &wait);
    show("select");
    struct timespec until = {.tv_sec = 946684800 + 4 * 86400};
    clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
    show("until");
    time_t begin = time(NULL);
    while (time(NULL) == begin)
        ;
    show("spin");
    return 0;
}

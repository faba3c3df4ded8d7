/* Cases of WASI preview 1: what a program is given, time, chance, waiting, its
   streams, and what there is not. */
#include "wasi_case.h"

#include <unistd.h>

/* Not in <wasi/api.h> any more, but importable. */
int32_t raise_signal(int32_t signal)
    __attribute__((__import_module__("wasi_snapshot_preview1"),
                   __import_name__("proc_raise")));

static void args(void)
{
    __wasi_size_t count, size;
    uint8_t *pointers[4], buffer[64];
    FINE(__wasi_args_sizes_get(&count, &size));
    TRUE(count == 3 && size == sizeof "name" + sizeof "args" + sizeof "a b c");
    FINE(__wasi_args_get(pointers, buffer));
    TRUE(!strcmp((char *)pointers[0], "name"));
    TRUE(!strcmp((char *)pointers[1], "args"));
    TRUE(!strcmp((char *)pointers[2], "a b c"));
    TRUE(pointers[1] == pointers[0] + 5);
}

static void environ_(void)
{
    __wasi_size_t count, size;
    uint8_t *pointers[4], buffer[64];
    FINE(__wasi_environ_sizes_get(&count, &size));
    TRUE(count == 2 && size == sizeof "a=text" + sizeof "b=x = y");
    FINE(__wasi_environ_get(pointers, buffer));
    TRUE(!strcmp((char *)pointers[0], "a=text"));
    TRUE(!strcmp((char *)pointers[1], "b=x = y"));
    TRUE(!strcmp(getenv("b"), "x = y"));
}

static void environ_empty(void)
{
    __wasi_size_t count = 9, size = 9;
    FINE(__wasi_environ_sizes_get(&count, &size));
    TRUE(count == 0 && size == 0);
    FINE(__wasi_environ_get(NULL, NULL));
}

static void clock_resolution(void)
{
    for (__wasi_clockid_t id = 0; id < 4; id++) {
        __wasi_timestamp_t step = 0;
        FINE(__wasi_clock_res_get(id, &step));
        TRUE(step == 1000);
    }
    __wasi_timestamp_t step;
    GIVES(__wasi_clock_res_get(4, &step), INVAL);
}

static void clock_time(void)
{
    __wasi_timestamp_t first, second, third, real;
    FINE(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &first));
    FINE(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &second));
    FINE(__wasi_clock_time_get(__WASI_CLOCKID_PROCESS_CPUTIME_ID, 0, &third));
    TRUE(second == first + 1000 && third == second + 1000);
    FINE(__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 0, &real));
    TRUE(real == UINT64_C(946684800000000000) + third + 1000);
    FINE(__wasi_clock_time_get(__WASI_CLOCKID_THREAD_CPUTIME_ID, 0, &third));
    GIVES(__wasi_clock_time_get(9, 0, &third), INVAL);
}

static void random_bytes(void)
{
    static uint8_t buffer[1 << 20];
    FINE(__wasi_random_get(buffer, 0));
    TRUE(buffer[0] == 0);
    FINE(__wasi_random_get(buffer, sizeof buffer));
    unsigned seen[256] = {0};
    for (size_t at = 0; at < sizeof buffer; at++)
        seen[buffer[at]]++;
    /* 4096 of each are expected; 64 is their standard deviation. */
    for (int value = 0; value < 256; value++)
        TRUE(seen[value] > 3600 && seen[value] < 4600);
    uint8_t more[64];
    FINE(__wasi_random_get(more, sizeof more));
    TRUE(memcmp(more, buffer, sizeof more) != 0);
}

static void yield(void)
{
    FINE(__wasi_sched_yield());
}

static void signals(void)
{
    for (int signal = 0; signal < 31; signal++)
        GIVES(raise_signal(signal), NOSYS);
}

static void leave(void)
{
    __wasi_proc_exit(33);
}

static void sockets(void)
{
    __wasi_fd_t fd, file = opened(ROOT, "/tmp/file", CREATE, READ);
    uint8_t byte = 0;
    __wasi_iovec_t in = {&byte, 1};
    __wasi_ciovec_t out = {&byte, 1};
    size_t count;
    __wasi_roflags_t flags;
    const __wasi_fd_t others[] = {0, 1, 2, ROOT, file};
    for (int which = 0; which < 5; which++) {
        __wasi_fd_t other = others[which];
        GIVES(__wasi_sock_accept(other, 0, &fd), NOTSOCK);
        GIVES(__wasi_sock_recv(other, &in, 1, 0, &count, &flags), NOTSOCK);
        GIVES(__wasi_sock_send(other, &out, 1, 0, &count), NOTSOCK);
        GIVES(__wasi_sock_shutdown(other, __WASI_SDFLAGS_RD), NOTSOCK);
    }
    GIVES(__wasi_sock_accept(77, 0, &fd), BADF);
    GIVES(__wasi_sock_recv(77, &in, 1, 0, &count, &flags), BADF);
    GIVES(__wasi_sock_send(77, &out, 1, 0, &count), BADF);
    GIVES(__wasi_sock_shutdown(77, __WASI_SDFLAGS_WR), BADF);
}

static __wasi_subscription_t until(__wasi_userdata_t name, uint64_t timeout,
                                   __wasi_subclockflags_t flags)
{
    __wasi_subscription_t one = {.userdata = name};
    one.u.tag = __WASI_EVENTTYPE_CLOCK;
    one.u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
    one.u.u.clock.timeout = timeout;
    one.u.u.clock.flags = flags;
    return one;
}

static __wasi_subscription_t ready(__wasi_userdata_t name, int tag,
                                   __wasi_fd_t fd)
{
    __wasi_subscription_t one = {.userdata = name};
    one.u.tag = tag;
    one.u.u.fd_read.file_descriptor = fd;
    return one;
}

static void poll_clock(void)
{
    __wasi_subscription_t asked[2] = {
        until(1, 2000000000, 0),
        until(2, 1000000000, 0),
    };
    __wasi_event_t events[2];
    __wasi_timestamp_t before, after;
    __wasi_size_t count;
    FINE(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &before));
    FINE(__wasi_poll_oneoff(asked, events, 2, &count));
    FINE(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &after));
    TRUE(count == 1 && events[0].userdata == 2 && events[0].error == 0);
    TRUE(events[0].type == __WASI_EVENTTYPE_CLOCK);
    TRUE(after - before >= 1000000000 && after - before < 1001000000);
    asked[0] = until(3, before, 1);
    FINE(__wasi_poll_oneoff(asked, events, 1, &count));
    TRUE(count == 1 && events[0].userdata == 3);
    asked[0].u.u.clock.id = 9;
    FINE(__wasi_poll_oneoff(asked, events, 1, &count));
    TRUE(count == 1 && events[0].error == __WASI_ERRNO_INVAL);
}

static void poll_streams(void)
{
    __wasi_subscription_t asked[4] = {
        until(1, 200000000, 0),
        ready(2, __WASI_EVENTTYPE_FD_READ, 0),
        ready(3, __WASI_EVENTTYPE_FD_WRITE, 1),
        ready(4, __WASI_EVENTTYPE_FD_WRITE, 2),
    };
    __wasi_event_t events[4];
    __wasi_size_t count;
    FINE(__wasi_poll_oneoff(asked, events, 4, &count));
    TRUE(count == 3);
    for (int which = 0; which < 3; which++) {
        TRUE(events[which].userdata == (unsigned)which + 2);
        TRUE(events[which].error == 0);
        TRUE(events[which].type == asked[which + 1].u.tag);
    }
    asked[0] = ready(5, __WASI_EVENTTYPE_FD_READ, 77);
    FINE(__wasi_poll_oneoff(asked, events, 1, &count));
    TRUE(count == 1 && events[0].error == __WASI_ERRNO_BADF);
}

static void poll_nonsense(void)
{
    __wasi_subscription_t asked = ready(1, 3, 0);
    __wasi_event_t event;
    __wasi_size_t count;
    GIVES(__wasi_poll_oneoff(&asked, &event, 0, &count), INVAL);
    GIVES(__wasi_poll_oneoff(&asked, &event, 1, &count), INVAL);
    GIVES(__wasi_poll_oneoff(&asked, &event, 1025, &count), INVAL);
}

static void streams(void)
{
    char text[16];
    size_t count;
    TRUE(fdstat_of(0).fs_rights_base & READ);
    TRUE(!(fdstat_of(0).fs_rights_base & WRITE));
    for (__wasi_fd_t fd = 1; fd < 3; fd++) {
        TRUE(fdstat_of(fd).fs_rights_base & WRITE);
        TRUE(!(fdstat_of(fd).fs_rights_base & READ));
    }
    for (__wasi_fd_t fd = 0; fd < 3; fd++) {
        TRUE(fdstat_of(fd).fs_filetype == __WASI_FILETYPE_CHARACTER_DEVICE);
        TRUE(!isatty(fd));
        FINE(__wasi_fd_sync(fd));
    }
    /* More than one buffer, one of them empty; all is read that there is. */
    __wasi_iovec_t parts[3] = {
        {(uint8_t *)text, 2}, {NULL, 0}, {(uint8_t *)text + 2, 14}};
    FINE(__wasi_fd_read(0, parts, 3, &count));
    TRUE(count == 6 && !memcmp(text, "stdin\n", 6));
    FINE(get(0, text, sizeof text, &count));
    TRUE(count == 0);
    FINE(put(2, "to stderr\n", &count));
    TRUE(count == 10);
    GIVES(put(0, "x", &count), BADF);
    GIVES(get(1, text, 1, &count), BADF);
    GIVES(put(77, "x", &count), BADF);
    GIVES(get(77, text, 1, &count), BADF);
}

static void streams_can_go(void)
{
    char text[4];
    size_t count;
    FINE(__wasi_fd_close(0));
    FINE(__wasi_fd_close(2));
    GIVES(get(0, text, 1, &count), BADF);
    GIVES(put(2, "x", &count), BADF);
    GIVES(__wasi_fd_close(0), BADF);
    __wasi_fd_t fd;
    FINE(__wasi_path_open(ROOT, 0, "/dev/stdin", 0, READ, 0, 0, &fd));
    TRUE(fd == 0);
    FINE(get(0, text, 3, &count));
    TRUE(count == 3 && !memcmp(text, "std", 3));
}

static const Case cases[] = {
    {"args", args},
    {"environ", environ_},
    {"environ_empty", environ_empty},
    {"clock_resolution", clock_resolution},
    {"clock_time", clock_time},
    {"random_bytes", random_bytes},
    {"yield_", yield},
    {"signals", signals},
    {"leave", leave},
    {"sockets", sockets},
    {"poll_clock", poll_clock},
    {"poll_streams", poll_streams},
    {"poll_nonsense", poll_nonsense},
    {"streams", streams},
    {"streams_can_go", streams_can_go},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}

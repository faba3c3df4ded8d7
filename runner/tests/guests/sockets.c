/* Tries each socket call of WASI on descriptors 0 to 10; exits 1 if any of
   them succeeds. */
#include <stdio.h>
#include <string.h>
#include <wasi/api.h>

static int worked;

static void report(const char *call, __wasi_fd_t fd, __wasi_errno_t error)
{
    printf("%s %u: %s\n", call, (unsigned)fd,
           error ? strerror(error) : "WORKED");
    worked += !error;
}

int main(void)
{
    char byte = 'x';
    __wasi_ciovec_t out = {(const unsigned char *)&byte, 1};
    __wasi_iovec_t in = {(unsigned char *)&byte, 1};
    for (__wasi_fd_t fd = 0; fd <= 10; fd++) {
        __wasi_fd_t accepted;
        __wasi_size_t count;
        __wasi_roflags_t flags;
        report("accept", fd, __wasi_sock_accept(fd, 0, &accepted));
        report("send", fd, __wasi_sock_send(fd, &out, 1, 0, &count));
        report("recv", fd, __wasi_sock_recv(fd, &in, 1, 0, &count, &flags));
        report("shutdown", fd, __wasi_sock_shutdown(fd, 3));
    }
    return worked != 0;
}

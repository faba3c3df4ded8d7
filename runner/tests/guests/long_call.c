/* One call of the host that takes long: 4 GiB of random bytes into 4 MiB of
   memory, again and again. Says "begun" on stderr before the first, and exits 0
   after as many of them as its argument says. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define MANY 1023

static char buffer[1 << 22];
static struct iovec vector[MANY];

int main(int argc, char **argv)
{
    long most = argc > 1 ? atol(argv[1]) : 1000000;
    int fd = open("/dev/urandom", O_RDONLY);
    for (int i = 0; i < MANY; i++) {
        vector[i].iov_base = buffer;
        vector[i].iov_len = sizeof buffer;
    }
    write(2, "begun", 5);
    for (long count = 0; count < most; count++)
        if (fd < 0 || readv(fd, vector, MANY) <= 0)
            return 1 + errno;
    return 0;
}

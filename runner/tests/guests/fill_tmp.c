/* Writes to one file in /tmp until that fails (or its argument's number is
   reached), and prints how much it held and why it stopped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char buffer[1 << 16];

int main(int argc, char **argv)
{
    unsigned long long most = argc > 1 ? strtoull(argv[1], 0, 10) : ~0ull;
    unsigned long long total = 0;
    int fd = open("/tmp/full", O_CREAT | O_WRONLY, 0666);
    ssize_t put = fd < 0 ? -1 : 0;
    memset(buffer, 'f', sizeof buffer);
    while (put >= 0 && total < most) {
        unsigned long long left = most - total;
        put = write(fd, buffer, left < sizeof buffer ? left : sizeof buffer);
        if (put > 0)
            total += (unsigned long long)put;
    }
    int error = put < 0 ? errno : 0;
    printf("%llu bytes, errno %d (%s)\n", total, error, strerror(error));
    return 0;
}

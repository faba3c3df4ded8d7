/* Reads the file named by its argument to the end, and prints its length. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char buffer[1 << 16];

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/dev/stdin";
    int fd = open(path, O_RDONLY);
    unsigned long long total = 0;
    ssize_t got = -1;
    if (fd >= 0)
        while ((got = read(fd, buffer, sizeof buffer)) > 0)
            total += (unsigned long long)got;
    if (got < 0) {
        dprintf(2, "%s: errno %d (%s)\n", path, errno, strerror(errno));
        return 1;
    }
    printf("%llu\n", total);
    return 0;
}

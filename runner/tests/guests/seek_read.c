/* For each pair of arguments OFFSET LENGTH, copies that range of /dev/input
   to standard output.  A negative OFFSET counts from the end. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char buffer[1 << 16];

static int copy(int fd, long long offset, long long length)
{
    if (lseek(fd, offset, offset < 0 ? SEEK_END : SEEK_SET) < 0)
        return -1;
    while (length > 0) {
        size_t want = sizeof buffer;
        if ((long long)want > length)
            want = (size_t)length;
        ssize_t got = read(fd, buffer, want);
        if (got <= 0)
            return (int)got;
        if (write(1, buffer, (size_t)got) != got)
            return -1;
        length -= got;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int fd = open("/dev/input", O_RDONLY);
    int failed = fd < 0;
    for (int i = 1; !failed && i + 1 < argc; i += 2)
        failed = copy(fd, atoll(argv[i]), atoll(argv[i + 1])) < 0;
    if (failed)
        dprintf(2, "/dev/input: errno %d (%s)\n", errno, strerror(errno));
    return failed;
}

/* For each pair of arguments OFFSET TEXT, writes TEXT at that offset of
   /dev/output. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int fd = open("/dev/output", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int failed = fd < 0;
    for (int i = 1; !failed && i + 1 < argc; i += 2) {
        ssize_t length = (ssize_t)strlen(argv[i + 1]);
        off_t offset = (off_t)atoll(argv[i]);
        failed = pwrite(fd, argv[i + 1], (size_t)length, offset) != length;
    }
    if (failed)
        dprintf(2, "/dev/output: errno %d (%s)\n", errno, strerror(errno));
    return failed;
}

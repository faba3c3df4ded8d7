/* Creates empty files in /tmp until that fails (or its argument's number is
   reached), and prints how many and why it stopped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long most = argc > 1 ? atol(argv[1]) : 10000000;
    long count = 0;
    int error = 0;
    char path[32];
    while (count < most) {
        snprintf(path, sizeof path, "/tmp/%07ld", count);
        int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0666);
        if (fd < 0) {
            error = errno;
            break;
        }
        close(fd);
        count++;
    }
    printf("%ld files, errno %d (%s)\n", count, error, strerror(error));
    return 0;
}

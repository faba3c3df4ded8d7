/* Gives one file in /tmp one name after another until that fails (or its
   argument's number of names is reached), and prints how many it has and why
   it stopped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long most = argc > 1 ? atol(argv[1]) : 100000000;
    long count = 0;
    int error = 0;
    char path[300];
    memset(path, 'n', sizeof path);
    memcpy(path, "/tmp/", 5);
    while (count < most) {
        snprintf(path + 200, sizeof path - 200, "%09ld", count);
        int fd = count ? link("/tmp/file", path)
                       : open("/tmp/file", O_CREAT | O_WRONLY, 0666);
        if (fd < 0) {
            error = errno;
            break;
        }
        count++;
    }
    printf("%ld names, errno %d (%s)\n", count, error, strerror(error));
    return 0;
}

/* Opens one file in /tmp over and over, closing none, until that fails or its
   argument's number is reached; prints how often and why it stopped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    long most = argc > 1 ? atol(argv[1]) : 10000000;
    long count = 0;
    int error = 0;
    while (count < most) {
        if (open("/tmp/file", O_CREAT | O_RDWR, 0666) < 0) {
            error = errno;
            break;
        }
        count++;
    }
    printf("%ld open, errno %d (%s)\n", count, error, strerror(error));
    return 0;
}

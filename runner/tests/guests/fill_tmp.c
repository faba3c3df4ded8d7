/* Writes to one file in /tmp until that fails, and prints how much it held
   and why it stopped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char buffer[1 << 16];

int main(void)
{
    unsigned long long total = 0;
    int fd = open("/tmp/full", O_CREAT | O_WRONLY, 0666);
    ssize_t put = -1;
    memset(buffer, 'f', sizeof buffer);
    while (fd >= 0 && (put = write(fd, buffer, sizeof buffer)) > 0)
        total += (unsigned long long)put;
    int error = put < 0 ? errno : 0;
    printf("%llu bytes, errno %d (%s)\n", total, error, strerror(error));
    return 0;
}

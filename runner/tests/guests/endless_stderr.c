/* Writes to standard error until that fails, and exits 4 then; or as many bytes
   as its argument says, and exits 0. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char buffer[1 << 12];

int main(int argc, char **argv)
{
    memset(buffer, 'e', sizeof buffer);
    if (argc > 1) {
        unsigned long left = strtoul(argv[1], 0, 10);
        buffer[0] = 'b';
        while (left > 0) {
            ssize_t put = write(2, buffer, left < sizeof buffer ? left : sizeof buffer);
            if (put < 0)
                return 4;
            buffer[0] = 'e';
            left -= (unsigned long)put;
        }
        return 0;
    }
    while (write(2, buffer, sizeof buffer) >= 0)
        continue;
    return 4;
}

/* The same input and output, in a VM and natively. Prints one number.
 *
 *   count SIZE          reads standard input to its end; how many bytes
 *   stdio SIZE          the same by the C library, whose own buffer makes reads
 *                       of other lengths
 *   loose SIZE          the same after one byte out of order, which ends the
 *                       channel's digest
 *   random COUNT SIZE   reads at places all over standard input
 *   write SIZE BYTES    writes so many bytes to standard output
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char buffer[4 << 20];

static long long count(size_t size)
{
    long long total = 0;
    ssize_t got;
    while ((got = read(0, buffer, size)) > 0) total += got;
    return got < 0 ? -1 : total;
}

static long long count_by_library(size_t size)
{
    long long total = 0;
    size_t got;
    while ((got = fread(buffer, 1, size, stdin)) > 0) total += (long long)got;
    return ferror(stdin) ? -1 : total;
}

static long long jump(long long number, size_t size)
{
    uint64_t state = 88172645463325252u;
    off_t length = lseek(0, 0, SEEK_END);
    long long total = 0;
    while (number-- > 0) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        off_t at = (off_t)((state >> 16) % (uint64_t)(length - (off_t)size));
        ssize_t got = pread(0, buffer, size, at);
        if (got < 0) return -1;
        total += got;
    }
    return total;
}

static long long fill(size_t size, long long bytes)
{
    memset(buffer, 'x', size);
    for (long long done = 0; done < bytes; done += (long long)size) {
        memcpy(buffer, &done, sizeof done);
        if (write(1, buffer, size) != (ssize_t)size) return -1;
    }
    return bytes;
}

int main(int argc, char **argv)
{
    if (argc < 3) return 64;
    size_t size = strtoul(argv[argc > 3 && *argv[1] == 'r' ? 3 : 2], NULL, 10);
    if (size == 0 || size > sizeof buffer) return 64;
    if (strcmp(argv[1], "write") == 0)
        return argc < 4 || fill(size, atoll(argv[3])) < 0;
    long long total = -1;
    if (strcmp(argv[1], "count") == 0) {
        total = count(size);
    } else if (strcmp(argv[1], "stdio") == 0) {
        total = count_by_library(size);
    } else if (strcmp(argv[1], "loose") == 0) {
        if (pread(0, buffer, 1, 0) == 1) total = count(size);
    } else if (strcmp(argv[1], "random") == 0 && argc > 3) {
        total = jump(atoll(argv[2]), size);
    }
    return total < 0 || printf("%lld\n", total) < 0;
}

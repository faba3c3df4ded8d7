/* Prints length, FNV-1a hash (64 bits) and path of standard input and of each
   file in /dev/in, in the order that the host gives. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned char buffer[1 << 16];

static int hash(const char *path)
{
    uint64_t state = 0xcbf29ce484222325u;
    unsigned long long total = 0;
    ssize_t got = -1;
    int fd = open(path, O_RDONLY);
    while (fd >= 0 && (got = read(fd, buffer, sizeof buffer)) > 0) {
        total += (unsigned long long)got;
        for (ssize_t i = 0; i < got; i++)
            state = (state ^ buffer[i]) * 0x100000001b3u;
    }
    if (got < 0) {
        printf("! %s: errno %d (%s)\n", path, errno, strerror(errno));
        return 1;
    }
    close(fd);
    printf("%llu %016llx %s\n", total, (unsigned long long)state, path);
    return 0;
}

int main(void)
{
    struct dirent *entry;
    char path[4096];
    int failures = hash("/dev/stdin");
    DIR *folder = opendir("/dev/in");
    while (folder && (entry = readdir(folder))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/dev/in/%s", entry->d_name);
        failures += hash(path);
    }
    return failures != 0;
}

/* What WASI has no word for, in the words of Lua 5.4; included before each of its
   files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* There are no processes: os.execute() says so, os.execute("x") fails. */
#define system(command) ((command) ? (errno = ENOSYS, -1) : 0)

/* Names and files of this VM's /tmp. */
#define LUA_TMPNAMBUFSIZE 32
#define lua_tmpnam(buffer, failed) ((failed) = wasi_name(buffer))
#define tmpfile() wasi_file()

static inline int wasi_name(char *buffer)
{
    for (unsigned number = 0; number < 100000; number++) {
        snprintf(buffer, LUA_TMPNAMBUFSIZE, "/tmp/lua_%05u", number);
        int fd = open(buffer, O_CREAT | O_EXCL | O_RDWR, 0600);
        if (fd >= 0)
            return close(fd);
        if (errno != EEXIST)
            break;
    }
    return -1;
}

static inline FILE *wasi_file(void)
{
    char name[LUA_TMPNAMBUFSIZE];
    FILE *file = wasi_name(name) ? NULL : fopen(name, "w+");
    if (file)
        unlink(name);
    return file;
}

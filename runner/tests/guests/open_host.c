/* Tries to open what only the host has; exits 1 if anything opens. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

static const char *const paths[] = {
    "/etc/passwd", "../etc/passwd", "../../etc/passwd",
    "/tmp/../../etc/passwd", "//etc/passwd", "/./etc/shadow",
    "/proc/self/maps", "/proc/self/root/etc/passwd", "/proc/1/environ",
    "/sys/kernel", "/dev/mem", "/dev/kmsg", "/dev/fd/0", "/root", "/home",
    "/work", "/srv/node", "/run", "/bin/sh", "/lib", "C:\\",
};

static int opened;

static void report(const char *how, const char *path, int error)
{
    printf("%s %s: %s\n", how, path, error ? strerror(error) : "OPENED");
    opened += !error;
}

/* Past the C library, which has its own idea of what a path is. */
static void open_raw(__wasi_fd_t folder, const char *path)
{
    __wasi_fd_t fd;
    __wasi_errno_t error = __wasi_path_open(
        folder, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, path, 0,
        __WASI_RIGHTS_FD_READ, 0, 0, &fd);
    report("raw", path, error);
    if (!error)
        (void)!__wasi_fd_close(fd);
}

int main(void)
{
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        int fd = open(paths[i], O_RDONLY);
        report("open", paths[i], fd < 0 ? errno : 0);
        if (fd >= 0)
            close(fd);
        fd = open(paths[i], O_RDONLY | O_DIRECTORY);
        report("folder", paths[i], fd < 0 ? errno : 0);
        if (fd >= 0)
            close(fd);
        open_raw(3, paths[i]);
    }
    return opened != 0;
}

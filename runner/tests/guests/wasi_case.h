/* What the cases of WASI preview 1 share: see runner/tests/wasi_conformance.rs.

   A guest holds several cases. Each is run in a VM of its own, named by argv[1];
   without a name, the guest lists them. A case calls the functions of WASI as they
   are, below libc, and ends at the first answer that is not the expected one. */
#ifndef WASI_CASE_H
#define WASI_CASE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

#define ROOT 3
#define ALL ((__wasi_rights_t)0x3fffffff)
#define READ __WASI_RIGHTS_FD_READ
#define WRITE __WASI_RIGHTS_FD_WRITE
#define CREATE __WASI_OFLAGS_CREAT
#define FOLDER __WASI_OFLAGS_DIRECTORY
#define FOLLOW __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW
/* What a folder may be opened for: all but what writes files. */
#define FOLDER_RIGHTS                                                          \
    (ALL & ~(WRITE | __WASI_RIGHTS_FD_DATASYNC | __WASI_RIGHTS_FD_ALLOCATE |   \
             __WASI_RIGHTS_FD_FILESTAT_SET_SIZE))

typedef struct {
    const char *name;
    void (*run)(void);
} Case;

static int checks;

static inline void check_at(int line, int fine, const char *what, int got)
{
    checks++;
    if (!fine) {
        printf("FAILED line %d: %s: got %d\n", line, what, got);
        exit(1);
    }
}

/* The call must answer with this error, or with 0. */
#define GIVES(call, errno_)                                                    \
    do {                                                                       \
        int got_ = (call);                                                     \
        check_at(__LINE__, got_ == __WASI_ERRNO_##errno_, #call " " #errno_,   \
                 got_);                                                        \
    } while (0)
#define FINE(call) GIVES(call, SUCCESS)
#define TRUE(condition) check_at(__LINE__, (condition), #condition, 0)

static inline int run_case(const Case *cases, int argc, char **argv)
{
    for (const Case *one = cases; one->name; one++) {
        if (argc < 2) {
            puts(one->name);
        } else if (!strcmp(one->name, argv[1])) {
            one->run();
            printf("ok %s: %d checks\n", one->name, checks);
            return 0;
        }
    }
    return argc < 2 ? 0 : 2;
}

static inline __wasi_fd_t opened(__wasi_fd_t at, const char *path,
                                 __wasi_oflags_t flags, __wasi_rights_t rights)
{
    __wasi_fd_t fd = 0;
    FINE(__wasi_path_open(at, 0, path, flags, rights, ALL, 0, &fd));
    TRUE(fd > 2);
    return fd;
}

/* The error of opening. */
static inline int opening(__wasi_fd_t at, __wasi_lookupflags_t follow,
                          const char *path, __wasi_oflags_t flags,
                          __wasi_rights_t rights)
{
    __wasi_fd_t fd = 0;
    int error = __wasi_path_open(at, follow, path, flags, rights, ALL, 0, &fd);
    return error ? error : __wasi_fd_close(fd);
}

/* A new empty folder in /tmp, opened for everything that a folder is for. */
static inline __wasi_fd_t new_folder(void)
{
    FINE(__wasi_path_create_directory(ROOT, "/tmp/case"));
    return opened(ROOT, "/tmp/case", FOLDER, FOLDER_RIGHTS);
}

static inline int put(__wasi_fd_t fd, const char *text, size_t *count)
{
    __wasi_ciovec_t part = {(const uint8_t *)text, strlen(text)};
    return __wasi_fd_write(fd, &part, 1, count);
}

static inline int get(__wasi_fd_t fd, char *buffer, size_t room, size_t *count)
{
    __wasi_iovec_t part = {(uint8_t *)buffer, room};
    return __wasi_fd_read(fd, &part, 1, count);
}

static inline void make_file(__wasi_fd_t at, const char *path, const char *text)
{
    size_t count = 0;
    __wasi_fd_t fd = opened(at, path, CREATE | __WASI_OFLAGS_EXCL, WRITE);
    FINE(put(fd, text, &count));
    TRUE(count == strlen(text));
    FINE(__wasi_fd_close(fd));
}

static inline __wasi_filestat_t stat_of(__wasi_fd_t fd)
{
    __wasi_filestat_t stat;
    FINE(__wasi_fd_filestat_get(fd, &stat));
    return stat;
}

static inline __wasi_filestat_t stat_at(__wasi_fd_t at,
                                        __wasi_lookupflags_t follow,
                                        const char *path)
{
    __wasi_filestat_t stat;
    FINE(__wasi_path_filestat_get(at, follow, path, &stat));
    return stat;
}

static inline __wasi_fdstat_t fdstat_of(__wasi_fd_t fd)
{
    __wasi_fdstat_t stat;
    FINE(__wasi_fd_fdstat_get(fd, &stat));
    return stat;
}

static inline int exists(__wasi_fd_t at, const char *path)
{
    __wasi_filestat_t stat;
    return __wasi_path_filestat_get(at, 0, path, &stat);
}

#endif

/* Cases of WASI preview 1: what can be done with a descriptor. */
#include "wasi_case.h"

static __wasi_fd_t new_file(__wasi_rights_t rights)
{
    return opened(ROOT, "/tmp/file", CREATE, rights);
}

static void preopened(void)
{
    __wasi_prestat_t stat;
    uint8_t name[5] = "????";
    FINE(__wasi_fd_prestat_get(ROOT, &stat));
    TRUE(stat.tag == __WASI_PREOPENTYPE_DIR && stat.u.dir.pr_name_len == 1);
    GIVES(__wasi_fd_prestat_dir_name(ROOT, name, 0), NAMETOOLONG);
    FINE(__wasi_fd_prestat_dir_name(ROOT, name, 5));
    TRUE(!memcmp(name, "/???", 4));
    __wasi_fd_t folder = new_folder();
    const __wasi_fd_t others[] = {0, 1, 2, folder, 77};
    for (int which = 0; which < 5; which++) {
        GIVES(__wasi_fd_prestat_get(others[which], &stat), BADF);
        GIVES(__wasi_fd_prestat_dir_name(others[which], name, 5), BADF);
    }
}

static void close_preopened(void)
{
    __wasi_fd_t folder = new_folder();
    __wasi_fdstat_t stat;
    FINE(__wasi_fd_close(ROOT));
    GIVES(__wasi_fd_fdstat_get(ROOT, &stat), BADF);
    TRUE(fdstat_of(folder).fs_filetype == __WASI_FILETYPE_DIRECTORY);
    make_file(folder, "file", "still works");
}

static void overwrite_preopened(void)
{
    __wasi_fd_t folder = new_folder();
    __wasi_filestat_t before = stat_of(folder);
    __wasi_fdstat_t stat;
    __wasi_prestat_t prestat;
    FINE(__wasi_fd_renumber(folder, ROOT));
    __wasi_filestat_t after = stat_of(ROOT);
    TRUE(before.dev == after.dev && before.ino == after.ino);
    GIVES(__wasi_fd_fdstat_get(folder, &stat), BADF);
    GIVES(__wasi_fd_prestat_get(ROOT, &prestat), BADF);
    FINE(__wasi_fd_close(ROOT));
}

static void renumber(void)
{
    __wasi_fd_t folder = new_folder();
    __wasi_fd_t from = opened(folder, "one", CREATE, READ | WRITE);
    __wasi_fd_t to = opened(folder, "two", CREATE, READ);
    __wasi_fdstat_t before = fdstat_of(from);
    uint64_t inode = stat_of(from).ino;
    FINE(__wasi_fd_renumber(from, to));
    GIVES(__wasi_fd_close(from), BADF);
    __wasi_fdstat_t after = fdstat_of(to);
    TRUE(!memcmp(&before, &after, sizeof before));
    TRUE(stat_of(to).ino == inode);
    GIVES(__wasi_fd_renumber(to, from), BADF);
    GIVES(__wasi_fd_renumber(from, to), BADF);
    GIVES(__wasi_fd_renumber(to, 1000000), BADF);
    FINE(__wasi_fd_renumber(to, to));
    FINE(__wasi_fd_close(to));
}

static void closed_descriptors(void)
{
    __wasi_fd_t fd = new_file(READ | WRITE);
    char byte;
    size_t count;
    __wasi_filesize_t at;
    __wasi_filestat_t stat;
    FINE(__wasi_fd_close(fd));
    GIVES(__wasi_fd_close(fd), BADF);
    GIVES(get(fd, &byte, 1, &count), BADF);
    GIVES(put(fd, "x", &count), BADF);
    GIVES(__wasi_fd_seek(fd, 0, __WASI_WHENCE_CUR, &at), BADF);
    GIVES(__wasi_fd_tell(fd, &at), BADF);
    GIVES(__wasi_fd_filestat_get(fd, &stat), BADF);
    GIVES(__wasi_fd_filestat_set_size(fd, 1), BADF);
    GIVES(__wasi_fd_filestat_set_times(fd, 0, 0, 0), BADF);
    GIVES(__wasi_fd_advise(fd, 0, 0, 0), BADF);
    GIVES(__wasi_fd_allocate(fd, 0, 1), BADF);
    GIVES(__wasi_fd_sync(fd), BADF);
    GIVES(__wasi_fd_datasync(fd), BADF);
    GIVES(__wasi_fd_fdstat_set_flags(fd, 0), BADF);
    GIVES(__wasi_fd_fdstat_set_rights(fd, 0, 0), BADF);
    GIVES(opening(fd, 0, "x", 0, READ), BADF);
}

static void append(void)
{
    __wasi_fd_t fd;
    char text[64];
    size_t count;
    __wasi_filesize_t at;
    FINE(__wasi_path_open(ROOT, 0, "/tmp/file", CREATE, READ | WRITE, 0,
                          __WASI_FDFLAGS_APPEND, &fd));
    TRUE(fdstat_of(fd).fs_flags == __WASI_FDFLAGS_APPEND);
    FINE(put(fd, "one", &count));
    FINE(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    FINE(put(fd, "two", &count));
    FINE(__wasi_fd_tell(fd, &at));
    TRUE(at == 6);
    /* At a place of its own, whatever the flag. */
    __wasi_ciovec_t part = {(const uint8_t *)"ONE", 3};
    FINE(__wasi_fd_pwrite(fd, &part, 1, 0, &count));
    TRUE(stat_of(fd).size == 6);
    FINE(__wasi_fd_fdstat_set_flags(fd, 0));
    TRUE(fdstat_of(fd).fs_flags == 0);
    FINE(__wasi_fd_seek(fd, 3, __WASI_WHENCE_SET, &at));
    FINE(put(fd, "TWO", &count));
    FINE(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    FINE(get(fd, text, sizeof text, &count));
    TRUE(count == 6 && !memcmp(text, "ONETWO", 6));
    GIVES(__wasi_fd_fdstat_set_flags(fd, 32), INVAL);
}

static void give_up_rights(void)
{
    __wasi_fd_t fd = new_file(READ | WRITE | __WASI_RIGHTS_FD_SEEK |
                              __WASI_RIGHTS_FD_TELL);
    char text[4];
    size_t count;
    __wasi_filesize_t at;
    FINE(put(fd, "text", &count));
    FINE(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    FINE(get(fd, text, 4, &count));
    __wasi_fdstat_t had = fdstat_of(fd);
    __wasi_rights_t left = had.fs_rights_base & ~(READ | WRITE);
    FINE(__wasi_fd_fdstat_set_rights(fd, left, 0));
    TRUE(fdstat_of(fd).fs_rights_base == left);
    TRUE(left & __WASI_RIGHTS_FD_SEEK);
    GIVES(get(fd, text, 4, &count), BADF);
    GIVES(put(fd, "x", &count), BADF);
    FINE(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    GIVES(__wasi_fd_fdstat_set_rights(fd, had.fs_rights_base, 0), NOTCAPABLE);
    FINE(__wasi_fd_fdstat_set_rights(fd, left & ~__WASI_RIGHTS_FD_SEEK, 0));
    GIVES(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at), NOTCAPABLE);
    FINE(__wasi_fd_tell(fd, &at));
}

static void truncation_rights(void)
{
    __wasi_fd_t folder = new_folder();
    make_file(folder, "file", "content");
    __wasi_fdstat_t had = fdstat_of(folder);
    TRUE(had.fs_filetype == __WASI_FILETYPE_DIRECTORY && had.fs_flags == 0);
    TRUE(!(had.fs_rights_base & __WASI_RIGHTS_FD_FILESTAT_SET_SIZE));
    FINE(opening(folder, 0, "file", __WASI_OFLAGS_TRUNC, 0));
    TRUE(stat_at(folder, 0, "file").size == 0);
    /* Of the descriptors that it opens, not of its own. */
    had.fs_rights_inheriting &= ~__WASI_RIGHTS_FD_FILESTAT_SET_SIZE;
    FINE(__wasi_fd_fdstat_set_rights(folder, had.fs_rights_base,
                                     had.fs_rights_inheriting));
    FINE(opening(folder, 0, "file", __WASI_OFLAGS_TRUNC, 0));
    __wasi_fd_t fd = opened(folder, "file", 0, WRITE);
    GIVES(__wasi_fd_filestat_set_size(fd, 3), NOTCAPABLE);
    had.fs_rights_base &= ~__WASI_RIGHTS_PATH_FILESTAT_SET_SIZE;
    FINE(__wasi_fd_fdstat_set_rights(folder, had.fs_rights_base,
                                     had.fs_rights_inheriting));
    TRUE(fdstat_of(folder).fs_rights_base == had.fs_rights_base);
    GIVES(opening(folder, 0, "file", __WASI_OFLAGS_TRUNC, 0), NOTCAPABLE);
    FINE(opening(folder, 0, "file", 0, READ));
}

static void on_a_folder(void)
{
    __wasi_fd_t fd = new_folder();
    char byte = 0;
    __wasi_iovec_t in = {(uint8_t *)&byte, 1};
    __wasi_ciovec_t out = {(uint8_t *)&byte, 1};
    size_t count;
    __wasi_filesize_t at;
    TRUE(stat_of(fd).filetype == __WASI_FILETYPE_DIRECTORY);
    GIVES(__wasi_fd_read(fd, &in, 1, &count), ISDIR);
    GIVES(__wasi_fd_pread(fd, &in, 1, 0, &count), ISDIR);
    GIVES(__wasi_fd_write(fd, &out, 1, &count), BADF);
    GIVES(__wasi_fd_pwrite(fd, &out, 1, 0, &count), BADF);
    for (int whence = 0; whence < 3; whence++)
        GIVES(__wasi_fd_seek(fd, 0, whence, &at), BADF);
    GIVES(__wasi_fd_tell(fd, &at), BADF);
    GIVES(__wasi_fd_allocate(fd, 0, 1), BADF);
    GIVES(__wasi_fd_filestat_set_size(fd, 0), BADF);
    FINE(__wasi_fd_sync(fd));
    FINE(__wasi_fd_datasync(fd));
    FINE(__wasi_fd_advise(fd, 0, 0, __WASI_ADVICE_NORMAL));
    TRUE(!(fdstat_of(fd).fs_rights_base & __WASI_RIGHTS_FD_SEEK));
}

static void advise(void)
{
    __wasi_fd_t fd = new_file(READ | WRITE);
    FINE(__wasi_fd_filestat_set_size(fd, 100));
    for (int advice = 0; advice < 6; advice++)
        FINE(__wasi_fd_advise(fd, 10, 50, advice));
    GIVES(__wasi_fd_advise(fd, 10, 50, 6), INVAL);
    TRUE(stat_of(fd).size == 100);
}

static void allocate(void)
{
    __wasi_fd_t fd = new_file(READ | WRITE);
    FINE(__wasi_fd_allocate(fd, 0, 100));
    TRUE(stat_of(fd).size == 100);
    FINE(__wasi_fd_allocate(fd, 10, 10));
    TRUE(stat_of(fd).size == 100);
    FINE(__wasi_fd_allocate(fd, 90, 20));
    TRUE(stat_of(fd).size == 110);
    GIVES(__wasi_fd_allocate(fd, 0, 0), INVAL);
    GIVES(__wasi_fd_allocate(fd, UINT64_MAX, 2), FBIG);
    GIVES(__wasi_fd_allocate(fd, 0, UINT64_C(1) << 40), NOSPC);
    __wasi_fd_t reading = opened(ROOT, "/tmp/file", 0, READ);
    GIVES(__wasi_fd_allocate(reading, 0, 200), BADF);
    TRUE(stat_of(fd).size == 110);
}

static void seek_and_tell(void)
{
    __wasi_fd_t fd = new_file(READ | WRITE);
    char text[100];
    size_t count;
    __wasi_filesize_t at = 9;
    memset(text, 'x', sizeof text);
    FINE(__wasi_fd_tell(fd, &at));
    TRUE(at == 0);
    __wasi_ciovec_t part = {(uint8_t *)text, 100};
    FINE(__wasi_fd_write(fd, &part, 1, &count));
    FINE(__wasi_fd_tell(fd, &at));
    TRUE(count == 100 && at == 100);
    FINE(__wasi_fd_seek(fd, -50, __WASI_WHENCE_CUR, &at));
    TRUE(at == 50);
    FINE(__wasi_fd_seek(fd, -10, __WASI_WHENCE_END, &at));
    TRUE(at == 90);
    FINE(__wasi_fd_seek(fd, 1000, __WASI_WHENCE_CUR, &at));
    TRUE(at == 1090);
    FINE(get(fd, text, 1, &count));
    TRUE(count == 0);
    GIVES(__wasi_fd_seek(fd, -2000, __WASI_WHENCE_CUR, &at), INVAL);
    GIVES(__wasi_fd_seek(fd, 0, 3, &at), INVAL);
    FINE(__wasi_fd_tell(fd, &at));
    TRUE(at == 1090);
    FINE(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    FINE(get(fd, text, sizeof text, &count));
    FINE(__wasi_fd_tell(fd, &at));
    TRUE(count == 100 && at == 100);
}

static void at_a_place(void)
{
    __wasi_fd_t fd = new_file(READ | WRITE);
    char text[8] = "";
    size_t count;
    __wasi_filesize_t at;
    __wasi_ciovec_t out[2] = {{(uint8_t *)"ab", 2}, {(uint8_t *)"cd", 2}};
    FINE(__wasi_fd_pwrite(fd, out, 2, 1, &count));
    TRUE(count == 4 && stat_of(fd).size == 5);
    __wasi_iovec_t in[2] = {{(uint8_t *)text + 4, 2}, {(uint8_t *)text, 4}};
    FINE(__wasi_fd_pread(fd, in, 2, 0, &count));
    TRUE(count == 5 && !memcmp(text, "bcd\0\0a", 6));
    FINE(__wasi_fd_pread(fd, in, 2, 5, &count));
    TRUE(count == 0);
    FINE(__wasi_fd_pread(fd, in, 0, 0, &count));
    TRUE(count == 0);
    FINE(__wasi_fd_tell(fd, &at));
    TRUE(at == 0);
}

static void seen_at_once(void)
{
    __wasi_fd_t writer = new_file(WRITE);
    __wasi_fd_t reader = opened(ROOT, "/tmp/file", 0, READ);
    char text[8];
    size_t count;
    FINE(get(reader, text, 8, &count));
    TRUE(count == 0);
    FINE(put(writer, "one", &count));
    FINE(get(reader, text, 8, &count));
    TRUE(count == 3 && !memcmp(text, "one", 3));
}

static void size(void)
{
    __wasi_fd_t fd = new_file(READ | WRITE);
    char text[8] = "";
    size_t count;
    FINE(put(fd, "content", &count));
    FINE(__wasi_fd_filestat_set_size(fd, 2));
    FINE(__wasi_fd_filestat_set_size(fd, 4));
    __wasi_iovec_t in = {(uint8_t *)text, 8};
    FINE(__wasi_fd_pread(fd, &in, 1, 0, &count));
    TRUE(count == 4 && !memcmp(text, "co\0\0", 4));
    GIVES(__wasi_fd_filestat_set_size(fd, UINT64_MAX), FBIG);
    __wasi_fd_t reading = opened(ROOT, "/tmp/file", 0, READ);
    GIVES(__wasi_fd_filestat_set_size(reading, 0), BADF);
    fd = opened(ROOT, "/tmp/file", CREATE | __WASI_OFLAGS_TRUNC, READ | WRITE);
    FINE(get(fd, text, 8, &count));
    TRUE(count == 0 && stat_of(fd).size == 0);
}

static void times(void)
{
    __wasi_fd_t fd = new_file(READ);
    __wasi_filestat_t before = stat_of(fd);
    __wasi_timestamp_t other = before.mtim - 100;
    FINE(__wasi_fd_filestat_set_times(fd, other, other,
                                      __WASI_FSTFLAGS_MTIM));
    __wasi_filestat_t after = stat_of(fd);
    TRUE(after.mtim == other && after.atim == before.atim);
    FINE(__wasi_fd_filestat_set_times(fd, other - 1, 0, __WASI_FSTFLAGS_ATIM));
    after = stat_of(fd);
    TRUE(after.mtim == other && after.atim == other - 1);
    TRUE(after.ctim >= before.ctim && after.size == before.size);
    GIVES(__wasi_fd_filestat_set_times(
              fd, 1, 2, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW),
          INVAL);
    GIVES(__wasi_fd_filestat_set_times(
              fd, 1, 2, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW),
          INVAL);
    GIVES(__wasi_fd_filestat_set_times(fd, 1, 2, 16), INVAL);
    TRUE(stat_of(fd).mtim == other);
    FINE(__wasi_fd_filestat_set_times(
        fd, 1, 2, __WASI_FSTFLAGS_MTIM_NOW | __WASI_FSTFLAGS_ATIM_NOW));
    after = stat_of(fd);
    TRUE(after.mtim >= before.mtim && after.atim == after.mtim);
}

static void without_a_name(void)
{
    __wasi_fd_t folder = new_folder();
    __wasi_fd_t fd = opened(folder, "file", CREATE, READ | WRITE);
    size_t count;
    FINE(put(fd, "kept", &count));
    FINE(__wasi_path_unlink_file(folder, "file"));
    TRUE(stat_of(fd).size == 4 && stat_of(fd).nlink == 0);
    make_file(folder, "file", "");
    TRUE(stat_of(fd).size == 4);
    FINE(__wasi_path_unlink_file(folder, "file"));
    FINE(__wasi_path_create_directory(folder, "sub"));
    __wasi_fd_t sub = opened(folder, "sub", FOLDER, FOLDER_RIGHTS);
    FINE(__wasi_path_remove_directory(folder, "sub"));
    GIVES(opening(sub, 0, "file", CREATE, WRITE), NOENT);
    FINE(__wasi_path_create_directory(folder, "sub"));
    TRUE(stat_of(sub).ino != stat_at(folder, 0, "sub").ino);
}

static const Case cases[] = {
    {"preopened", preopened},
    {"close_preopened", close_preopened},
    {"overwrite_preopened", overwrite_preopened},
    {"renumber", renumber},
    {"closed_descriptors", closed_descriptors},
    {"append", append},
    {"give_up_rights", give_up_rights},
    {"truncation_rights", truncation_rights},
    {"on_a_folder", on_a_folder},
    {"advise", advise},
    {"allocate", allocate},
    {"seek_and_tell", seek_and_tell},
    {"at_a_place", at_a_place},
    {"seen_at_once", seen_at_once},
    {"size", size},
    {"times", times},
    {"without_a_name", without_a_name},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}

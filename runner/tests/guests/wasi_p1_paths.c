/* Cases of WASI preview 1: opening, making, listing, moving, removing. */
#include "wasi_case.h"

/* With the length as it is, for names that hold a NUL. */
int32_t raw_open(int32_t fd, int32_t follow, int32_t path, int32_t length,
                 int32_t flags, int64_t rights, int64_t inheriting,
                 int32_t fd_flags, int32_t out)
    __attribute__((__import_module__("wasi_snapshot_preview1"),
                   __import_name__("path_open")));

static void create_directory(void)
{
    __wasi_fd_t at = new_folder();
    FINE(__wasi_path_create_directory(at, "sub"));
    FINE(__wasi_path_create_directory(at, "sub/slash/"));
    TRUE(stat_at(at, 0, "sub").filetype == __WASI_FILETYPE_DIRECTORY);
    GIVES(__wasi_path_create_directory(at, "sub"), EXIST);
    GIVES(__wasi_path_create_directory(at, "."), EXIST);
    GIVES(__wasi_path_create_directory(at, "none/sub"), NOENT);
    GIVES(__wasi_path_create_directory(at, ""), NOENT);
    make_file(at, "file", "");
    GIVES(__wasi_path_create_directory(at, "file"), EXIST);
    GIVES(__wasi_path_create_directory(at, "file/sub"), NOTDIR);
}

static void interesting_paths(void)
{
    __wasi_fd_t at = new_folder();
    FINE(__wasi_path_create_directory(at, "dir"));
    FINE(__wasi_path_create_directory(at, "dir/nested"));
    make_file(at, "dir/nested/file", "");
    FINE(opening(at, 0, "dir/.//nested/../../dir/nested/../nested///./file",
                 0, READ));
    GIVES(opening(at, 0, "dir/nested/file/", 0, READ), NOTDIR);
    GIVES(opening(at, 0, "dir/nested/file///", 0, READ), NOTDIR);
    GIVES(opening(at, 0, "dir/nested/file/.", 0, READ), NOTDIR);
    FINE(opening(at, 0, "dir/nested/", 0, READ));
    FINE(opening(at, 0, "dir/nested///", 0, READ));
    FINE(opening(at, 0, ".", 0, READ));
    FINE(opening(at, 0, "..", 0, READ));
    GIVES(opening(at, 0, "", 0, READ), NOENT);
    static char nul[] = "dir/nested/file\0", longest[5000];
    __wasi_fd_t fd;
    GIVES(raw_open(at, 0, (intptr_t)nul, sizeof nul - 1, 0, READ, 0, 0,
                   (intptr_t)&fd), INVAL);
    memset(longest, 'n', 255);
    FINE(opening(at, 0, longest, CREATE, WRITE));
    longest[255] = 'n';
    GIVES(opening(at, 0, longest, CREATE, WRITE), NAMETOOLONG);
    memset(longest, '/', 4999);
    GIVES(opening(at, 0, longest, 0, READ), NAMETOOLONG);
    longest[4096] = 0;
    FINE(opening(at, 0, longest, 0, READ));
}

/* Here there is nothing outside of the root to be kept from. */
static void outside_of_the_folder(void)
{
    __wasi_fd_t at = new_folder();
    make_file(at, "file", "");
    uint64_t inode = stat_at(at, 0, "file").ino;
    TRUE(stat_at(at, 0, "/tmp/case/file").ino == inode);
    TRUE(stat_at(at, 0, "../case/file").ino == inode);
    TRUE(stat_at(at, 0, "../../../../tmp/case/file").ino == inode);
    TRUE(stat_at(ROOT, 0, "..").ino == stat_of(ROOT).ino);
    GIVES(exists(at, "/etc/passwd"), NOENT);
    GIVES(exists(at, "../../../../etc/passwd"), NOENT);
    FINE(__wasi_path_symlink("/../../etc/passwd", at, "away"));
    GIVES(opening(at, FOLLOW, "away", 0, READ), NOENT);
}

static void open_missing(void)
{
    __wasi_fd_t at = new_folder();
    GIVES(opening(at, 0, "file", 0, READ), NOENT);
    GIVES(opening(at, 0, "file", __WASI_OFLAGS_TRUNC, WRITE), NOENT);
    GIVES(opening(at, 0, "sub/file", CREATE, WRITE), NOENT);
    GIVES(opening(at, 0, "sub", FOLDER, READ), NOENT);
    GIVES(opening(at, 0, "sub/", CREATE, WRITE), ISDIR);
    GIVES(opening(at, 0, "sub", CREATE | FOLDER, READ), INVAL);
    GIVES(exists(at, "file"), NOENT);
}

static void open_existing(void)
{
    __wasi_fd_t at = new_folder();
    make_file(at, "file", "kept");
    GIVES(opening(at, 0, "file", CREATE | __WASI_OFLAGS_EXCL, WRITE), EXIST);
    FINE(opening(at, 0, "file", CREATE, WRITE));
    GIVES(opening(at, 0, "file", FOLDER, READ), NOTDIR);
    GIVES(opening(at, 0, "file", 16, READ), INVAL);
    TRUE(stat_at(at, 0, "file").size == 4);
    FINE(opening(at, 0, "file", CREATE | __WASI_OFLAGS_TRUNC, WRITE));
    TRUE(stat_at(at, 0, "file").size == 0);
}

static void open_at_a_file(void)
{
    __wasi_fd_t at = new_folder();
    __wasi_fd_t file = opened(at, "file", CREATE, READ | WRITE);
    __wasi_filestat_t stat;
    GIVES(opening(file, 0, "x", CREATE, WRITE), NOTDIR);
    GIVES(opening(0, 0, "x", 0, READ), NOTDIR);
    GIVES(__wasi_path_filestat_get(file, 0, "x", &stat), NOTDIR);
    GIVES(__wasi_path_create_directory(file, "x"), NOTDIR);
    GIVES(__wasi_path_unlink_file(file, "x"), NOTDIR);
}

static void open_lots(void)
{
    __wasi_fd_t at = new_folder();
    for (int turn = 0; turn < 2000; turn++)
        FINE(opening(at, 0, "file", CREATE, WRITE));
    __wasi_fd_t last = at;
    int error;
    for (__wasi_fd_t fd;; last = fd)
        if ((error = __wasi_path_open(at, 0, "file", 0, READ, 0, 0, &fd)))
            break;
    TRUE(error == __WASI_ERRNO_NFILE && last > 50);
    FINE(__wasi_fd_close(last));
    TRUE(opened(at, "file", 0, READ) == last);
}

static void open_flags(void)
{
    __wasi_fd_t at = new_folder(), fd;
    make_file(at, "file", "");
    FINE(__wasi_path_open(at, 0, "file", 0, READ, 0, __WASI_FDFLAGS_NONBLOCK,
                          &fd));
    TRUE(fdstat_of(fd).fs_flags == __WASI_FDFLAGS_NONBLOCK);
    __wasi_fdflags_t sync = __WASI_FDFLAGS_APPEND | __WASI_FDFLAGS_SYNC;
    FINE(__wasi_path_open(at, 0, "file", 0, WRITE, 0, sync, &fd));
    TRUE(fdstat_of(fd).fs_flags == sync);
    GIVES(__wasi_path_open(at, 0, "file", 0, READ, 0, 32, &fd), INVAL);
}

static void open_the_root(void)
{
    __wasi_fdstat_t root = fdstat_of(ROOT);
    __wasi_fd_t fd;
    TRUE((root.fs_rights_base & FOLDER_RIGHTS & ~(READ | 0x24)) ==
         (FOLDER_RIGHTS & ~(READ | 0x24)));
    TRUE(root.fs_rights_inheriting == ALL);
    FINE(__wasi_path_open(ROOT, 0, ".", 0, root.fs_rights_base,
                          root.fs_rights_inheriting, 0, &fd));
    TRUE(fdstat_of(fd).fs_rights_base == root.fs_rights_base);
    FINE(__wasi_path_open(ROOT, 0, ".", 0, 0, 0, 0, &fd));
    FINE(__wasi_path_open(ROOT, 0, ".", FOLDER, 0, 0, 0, &fd));
    FINE(__wasi_path_open(ROOT, 0, ".", FOLDER, READ, 0, 0, &fd));
    GIVES(opening(ROOT, 0, ".", FOLDER, READ | WRITE), ISDIR);
    GIVES(opening(ROOT, 0, ".", CREATE, READ), ISDIR);
    GIVES(opening(ROOT, 0, ".", __WASI_OFLAGS_TRUNC, READ), ISDIR);
}

static void open_for_reading_or_writing(void)
{
    __wasi_fd_t at = new_folder();
    make_file(at, "file", "");
    char text[100];
    size_t count;
    __wasi_fd_t reading = opened(at, "file", 0, READ);
    TRUE((fdstat_of(reading).fs_rights_base & (READ | WRITE)) == READ);
    GIVES(put(reading, "x", &count), BADF);
    __wasi_fd_t writing = opened(at, "file", 0, WRITE);
    TRUE((fdstat_of(writing).fs_rights_base & (READ | WRITE)) == WRITE);
    GIVES(get(writing, text, 1, &count), BADF);
    FINE(put(writing, "written", &count));
    __wasi_fd_t both = opened(at, "file", 0, READ | WRITE);
    FINE(get(both, text, sizeof text, &count));
    TRUE(count == 7);
    FINE(put(both, " more", &count));
    TRUE(stat_of(both).size == 12);
    __wasi_fd_t neither = opened(at, "file", 0, 0);
    GIVES(put(neither, "x", &count), BADF);
    GIVES(get(neither, text, 1, &count), BADF);
    TRUE(stat_of(neither).size == 12);
}

static void rights_are_inherited(void)
{
    __wasi_fd_t at = new_folder(), fd;
    make_file(at, "file", "");
    __wasi_fdstat_t had = fdstat_of(at);
    FINE(__wasi_fd_fdstat_set_rights(at, had.fs_rights_base, READ));
    FINE(opening(at, 0, "file", 0, READ));
    GIVES(__wasi_path_open(at, 0, "file", 0, WRITE, 0, 0, &fd), NOTCAPABLE);
}

static void filestat(void)
{
    __wasi_fd_t at = new_folder();
    make_file(at, "file", "four");
    __wasi_filestat_t stat = stat_at(at, 0, "file");
    TRUE(stat.size == 4 && stat.nlink == 1 && stat.dev == 1 && stat.ino);
    TRUE(stat.filetype == __WASI_FILETYPE_REGULAR_FILE);
    FINE(__wasi_path_filestat_set_times(at, 0, "file", 0, stat.mtim - 100,
                                        __WASI_FSTFLAGS_MTIM));
    TRUE(stat_at(at, 0, "file").mtim == stat.mtim - 100);
    TRUE(stat_at(at, 0, "file").atim == stat.atim);
    GIVES(__wasi_path_filestat_set_times(
              at, 0, "file", 0, 1,
              __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW), INVAL);
    GIVES(__wasi_path_filestat_set_times(
              at, 0, "file", 0, 1,
              __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW), INVAL);
    GIVES(__wasi_path_filestat_set_times(at, 0, "none", 0, 0, 0), NOENT);
    TRUE(stat_at(at, 0, "file").mtim == stat.mtim - 100);
    GIVES(exists(at, "file/"), NOTDIR);
    GIVES(exists(at, "none"), NOENT);
    TRUE(stat_at(at, 0, "../case/").ino == stat_of(at).ino);
}

static void rename_(void)
{
    __wasi_fd_t at = new_folder();
    FINE(__wasi_path_create_directory(at, "source"));
    FINE(__wasi_path_rename(at, "source", at, "target"));
    GIVES(opening(at, 0, "source", FOLDER, READ), NOENT);
    FINE(opening(at, 0, "target", FOLDER, READ));
    FINE(__wasi_path_create_directory(at, "source"));
    FINE(__wasi_path_rename(at, "source", at, "target"));
    GIVES(exists(at, "source"), NOENT);
    FINE(__wasi_path_create_directory(at, "source"));
    make_file(at, "target/file", "");
    GIVES(__wasi_path_rename(at, "source", at, "target"), NOTEMPTY);
    GIVES(__wasi_path_rename(at, "source", at, "target/file"), NOTDIR);
    GIVES(__wasi_path_rename(at, "target", at, "target/sub"), INVAL);
    make_file(at, "one", "1");
    make_file(at, "two", "");
    FINE(__wasi_path_rename(at, "one", at, "two"));
    GIVES(exists(at, "one"), NOENT);
    TRUE(stat_at(at, 0, "two").size == 1);
    GIVES(__wasi_path_rename(at, "two", at, "source"), ISDIR);
    GIVES(__wasi_path_rename(at, "none", at, "two"), NOENT);
    FINE(__wasi_path_rename(at, "two", at, "two"));
    FINE(__wasi_path_rename(at, "two", ROOT, "tmp/moved"));
    TRUE(stat_at(ROOT, 0, "tmp/moved").size == 1);
}

static void rename_with_slashes(void)
{
    __wasi_fd_t at = new_folder();
    FINE(__wasi_path_create_directory(at, "source"));
    FINE(__wasi_path_rename(at, "source/", at, "target"));
    FINE(__wasi_path_rename(at, "target", at, "source/"));
    FINE(__wasi_path_rename(at, "source/", at, "target/"));
    make_file(at, "file", "");
    GIVES(__wasi_path_rename(at, "file/", at, "other"), NOTDIR);
    GIVES(__wasi_path_rename(at, "file", at, "other/"), NOTDIR);
    GIVES(__wasi_path_rename(at, "file/", at, "other/"), NOTDIR);
    FINE(exists(at, "file"));
}

static void remove_directory(void)
{
    __wasi_fd_t at = new_folder();
    FINE(__wasi_path_create_directory(at, "sub"));
    FINE(__wasi_path_remove_directory(at, "sub"));
    FINE(__wasi_path_create_directory(at, "sub"));
    FINE(__wasi_path_remove_directory(at, "sub/"));
    GIVES(__wasi_path_remove_directory(at, "sub"), NOENT);
    make_file(at, "file", "");
    GIVES(__wasi_path_remove_directory(at, "file"), NOTDIR);
    GIVES(__wasi_path_remove_directory(at, "file/"), NOTDIR);
    GIVES(__wasi_path_remove_directory(ROOT, "/tmp/case"), NOTEMPTY);
    GIVES(__wasi_path_remove_directory(ROOT, "/tmp"), BUSY);
}

static void unlink_file(void)
{
    __wasi_fd_t at = new_folder();
    FINE(__wasi_path_create_directory(at, "sub"));
    GIVES(__wasi_path_unlink_file(at, "sub"), ISDIR);
    GIVES(__wasi_path_unlink_file(at, "sub/"), ISDIR);
    make_file(at, "file", "");
    GIVES(__wasi_path_unlink_file(at, "file/"), NOTDIR);
    FINE(__wasi_path_unlink_file(at, "file"));
    GIVES(__wasi_path_unlink_file(at, "file"), NOENT);
}

typedef struct {
    __wasi_dirent_t head;
    char name[256];
} Entry;

/* Reads what fits into 256 bytes; the number of whole entries. */
static int list(__wasi_fd_t at, __wasi_dircookie_t from, Entry *entries,
                int *ended)
{
    uint8_t buffer[256];
    __wasi_size_t used, place = 0;
    int count = 0;
    FINE(__wasi_fd_readdir(at, buffer, sizeof buffer, from, &used));
    TRUE(used <= sizeof buffer);
    *ended = used < sizeof buffer;
    while (used - place >= sizeof(__wasi_dirent_t)) {
        Entry *entry = &entries[count];
        memcpy(&entry->head, buffer + place, sizeof entry->head);
        place += sizeof entry->head;
        if (used - place < entry->head.d_namlen)
            break;
        memcpy(entry->name, buffer + place, entry->head.d_namlen);
        entry->name[entry->head.d_namlen] = 0;
        place += entry->head.d_namlen;
        count++;
    }
    return count;
}

static void readdir_(void)
{
    __wasi_fd_t at = new_folder();
    Entry entries[10];
    int ended;
    TRUE(list(at, 0, entries, &ended) == 2 && ended);
    TRUE(!strcmp(entries[0].name, ".") && !strcmp(entries[1].name, ".."));
    TRUE(entries[0].head.d_ino == stat_of(at).ino);
    TRUE(entries[1].head.d_ino == stat_at(at, 0, "..").ino);
    make_file(at, "file", "");
    FINE(__wasi_path_symlink("file", at, "a link"));
    TRUE(list(at, 0, entries, &ended) == 4 && ended);
    TRUE(!strcmp(entries[2].name, "a link"));
    TRUE(entries[2].head.d_type == __WASI_FILETYPE_SYMBOLIC_LINK);
    TRUE(!strcmp(entries[3].name, "file"));
    TRUE(entries[3].head.d_type == __WASI_FILETYPE_REGULAR_FILE);
    TRUE(entries[3].head.d_ino == stat_at(at, 0, "file").ino);
    Entry again[10];
    TRUE(list(at, entries[1].head.d_next, again, &ended) == 2);
    TRUE(!strcmp(again[0].name, "a link"));
    TRUE(list(at, entries[3].head.d_next, again, &ended) == 0 && ended);
    uint8_t byte;
    __wasi_size_t used;
    FINE(__wasi_fd_readdir(at, &byte, 1, 0, &used));
    TRUE(used == 1);
    __wasi_fd_t file = opened(at, "file", 0, READ);
    GIVES(__wasi_fd_readdir(file, &byte, 1, 0, &used), NOTDIR);
}

static void readdir_lots(void)
{
    __wasi_fd_t at = new_folder();
    char name[16], last[16] = "";
    for (int number = 0; number < 1000; number++) {
        snprintf(name, sizeof name, "file.%d", number);
        FINE(opening(at, 0, name, CREATE, WRITE));
    }
    Entry entries[10];
    __wasi_dircookie_t from = 0;
    int total = 0, ended = 0;
    while (!ended) {
        int count = list(at, from, entries, &ended);
        for (int which = 0; which < count; which++) {
            from = entries[which].head.d_next;
            if (total++ < 2)
                continue;
            TRUE(strcmp(last, entries[which].name) < 0);
            strcpy(last, entries[which].name);
        }
    }
    TRUE(total == 1002);
}

static void read_only_tree(void)
{
    __wasi_fd_t fd = opened(ROOT, "/etc/motd", 0, READ);
    char text[16];
    size_t count;
    FINE(get(fd, text, sizeof text, &count));
    TRUE(count == 6 && !memcmp(text, "hello\n", 6));
    GIVES(put(fd, "x", &count), BADF);
    GIVES(__wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM), ROFS);
    GIVES(opening(ROOT, 0, "/etc/motd", 0, WRITE), ROFS);
    GIVES(opening(ROOT, 0, "/etc/motd", __WASI_OFLAGS_TRUNC, READ), ROFS);
    GIVES(opening(ROOT, 0, "/etc/new", CREATE, WRITE), ROFS);
    GIVES(__wasi_path_create_directory(ROOT, "/etc/new"), ROFS);
    GIVES(__wasi_path_create_directory(ROOT, "/etc"), EXIST);
    GIVES(__wasi_path_unlink_file(ROOT, "/etc/motd"), ROFS);
    GIVES(__wasi_path_remove_directory(ROOT, "/etc"), ROFS);
    GIVES(__wasi_path_rename(ROOT, "/etc/motd", ROOT, "/tmp/motd"), ROFS);
    GIVES(__wasi_path_link(ROOT, 0, "/etc/motd", ROOT, "/tmp/motd"), XDEV);
    GIVES(__wasi_path_symlink("x", ROOT, "/etc/other"), ROFS);
    GIVES(__wasi_path_filestat_set_times(ROOT, 0, "/etc/motd", 0, 0,
                                         __WASI_FSTFLAGS_MTIM), ROFS);
}

static const Case cases[] = {
    {"create_directory", create_directory},
    {"interesting_paths", interesting_paths},
    {"outside_of_the_folder", outside_of_the_folder},
    {"open_missing", open_missing},
    {"open_existing", open_existing},
    {"open_at_a_file", open_at_a_file},
    {"open_lots", open_lots},
    {"open_flags", open_flags},
    {"open_the_root", open_the_root},
    {"open_for_reading_or_writing", open_for_reading_or_writing},
    {"rights_are_inherited", rights_are_inherited},
    {"filestat", filestat},
    {"rename", rename_},
    {"rename_with_slashes", rename_with_slashes},
    {"remove_directory", remove_directory},
    {"unlink_file", unlink_file},
    {"readdir", readdir_},
    {"readdir_lots", readdir_lots},
    {"read_only_tree", read_only_tree},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}

/* Cases of WASI preview 1: hard links and symbolic links. */
#include "wasi_case.h"

static void same(__wasi_fd_t one, __wasi_fd_t two)
{
    __wasi_filestat_t a = stat_of(one), b = stat_of(two);
    TRUE(!memcmp(&a, &b, sizeof a));
    __wasi_fdstat_t c = fdstat_of(one), d = fdstat_of(two);
    TRUE(!memcmp(&c, &d, sizeof c));
}

static void hard_links(void)
{
    __wasi_fd_t at = new_folder();
    __wasi_fd_t file = opened(at, "file", CREATE, READ);
    FINE(__wasi_path_link(at, 0, "file", at, "link"));
    same(file, opened(at, "link", 0, READ));
    TRUE(stat_of(file).nlink == 2);
    FINE(__wasi_path_unlink_file(at, "link"));
    TRUE(stat_of(file).nlink == 1);
    FINE(__wasi_path_create_directory(at, "sub"));
    __wasi_fd_t sub = opened(at, "sub", FOLDER, FOLDER_RIGHTS);
    FINE(__wasi_path_link(at, 0, "file", sub, "link"));
    same(file, opened(sub, "link", 0, READ));
    GIVES(__wasi_path_link(at, 0, "file", sub, "link"), EXIST);
    GIVES(__wasi_path_link(at, 0, "file", at, "file"), EXIST);
    GIVES(__wasi_path_link(at, 0, "file", at, "sub"), EXIST);
    GIVES(__wasi_path_link(at, 0, "sub", at, "link"), PERM);
    GIVES(__wasi_path_link(at, 0, "file", at, "link/"), NOENT);
    GIVES(__wasi_path_link(at, 0, "file/", at, "link"), NOTDIR);
    GIVES(__wasi_path_link(at, 0, "none", at, "link"), NOENT);
    GIVES(__wasi_path_link(at, 0, "file", at, "none/link"), NOENT);
}

static void hard_links_to_symbolic_links(void)
{
    __wasi_fd_t at = new_folder();
    make_file(at, "file", "");
    FINE(__wasi_path_symlink("target", at, "symlink"));
    FINE(__wasi_path_link(at, 0, "symlink", at, "link"));
    TRUE(stat_at(at, 0, "link").filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
    GIVES(__wasi_path_link(at, 0, "file", at, "symlink"), EXIST);
    GIVES(__wasi_path_link(at, FOLLOW, "symlink", at, "other"), NOENT);
    FINE(__wasi_path_symlink("loop", at, "loop"));
    FINE(__wasi_path_link(at, 0, "loop", at, "loop-2"));
    GIVES(__wasi_path_link(at, FOLLOW, "loop", at, "other"), LOOP);
    make_file(at, "target", "x");
    FINE(__wasi_path_link(at, FOLLOW, "symlink", at, "other"));
    TRUE(stat_at(at, 0, "other").filetype == __WASI_FILETYPE_REGULAR_FILE);
}

static void symlink_create(void)
{
    __wasi_fd_t at = new_folder();
    make_file(at, "file", "x");
    FINE(__wasi_path_symlink("file", at, "to-file"));
    FINE(opening(at, FOLLOW, "to-file", 0, READ));
    TRUE(stat_at(at, FOLLOW, "to-file").size == 1);
    FINE(__wasi_path_create_directory(at, "sub"));
    FINE(__wasi_path_symlink("sub", at, "to-sub"));
    FINE(opening(at, FOLLOW, "to-sub", FOLDER, READ));
    make_file(at, "to-sub/file", "");
    FINE(exists(at, "sub/file"));
    FINE(__wasi_path_symlink("/tmp/case/file", at, "absolute"));
    FINE(opening(at, FOLLOW, "absolute", 0, READ));
    GIVES(__wasi_path_symlink("", at, "empty"), NOENT);
    GIVES(__wasi_path_symlink("x", at, "none/link"), NOENT);
}

static void symlink_with_slashes(void)
{
    __wasi_fd_t at = new_folder();
    GIVES(__wasi_path_symlink("source", at, "target/"), NOENT);
    FINE(__wasi_path_symlink("source", at, "target"));
    FINE(__wasi_path_unlink_file(at, "target"));
    FINE(__wasi_path_create_directory(at, "target"));
    GIVES(__wasi_path_symlink("source", at, "target/"), EXIST);
    GIVES(__wasi_path_symlink("source", at, "target"), EXIST);
    FINE(__wasi_path_remove_directory(at, "target"));
    make_file(at, "target", "");
    GIVES(__wasi_path_symlink("source", at, "target/"), EXIST);
    GIVES(__wasi_path_symlink("source", at, "target"), EXIST);
}

static void symlink_loop(void)
{
    __wasi_fd_t at = new_folder();
    FINE(__wasi_path_symlink("symlink", at, "symlink"));
    GIVES(opening(at, 0, "symlink", 0, READ), LOOP);
    GIVES(opening(at, FOLLOW, "symlink", 0, READ), LOOP);
    GIVES(opening(at, FOLLOW, "symlink", CREATE, WRITE), LOOP);
    GIVES(opening(at, 0, "symlink/x", 0, READ), LOOP);
    FINE(__wasi_path_symlink("two", at, "one"));
    FINE(__wasi_path_symlink("one", at, "two"));
    GIVES(opening(at, FOLLOW, "one", 0, READ), LOOP);
    FINE(__wasi_path_unlink_file(at, "symlink"));
}

static void symlink_filestat(void)
{
    __wasi_fd_t at = new_folder();
    make_file(at, "file", "x");
    FINE(__wasi_path_symlink("file", at, "symlink"));
    __wasi_filestat_t file = stat_at(at, 0, "file");
    __wasi_filestat_t link = stat_at(at, 0, "symlink");
    TRUE(link.filetype == __WASI_FILETYPE_SYMBOLIC_LINK && link.size == 4);
    FINE(__wasi_path_filestat_set_times(at, 0, "symlink", 0, link.mtim - 200,
                                        __WASI_FSTFLAGS_MTIM));
    TRUE(stat_at(at, 0, "symlink").mtim == link.mtim - 200);
    TRUE(stat_at(at, 0, "file").mtim == file.mtim);
    TRUE(stat_at(at, FOLLOW, "symlink").mtim == file.mtim);
    TRUE(stat_at(at, FOLLOW, "symlink").ino == file.ino);
    FINE(__wasi_path_filestat_set_times(at, FOLLOW, "symlink", 0, 77,
                                        __WASI_FSTFLAGS_MTIM));
    TRUE(stat_at(at, 0, "file").mtim == 77);
    TRUE(stat_at(at, 0, "symlink").mtim == link.mtim - 200);
}

static void dangling_symlink(void)
{
    __wasi_fd_t at = new_folder();
    __wasi_filestat_t stat;
    FINE(__wasi_path_symlink("target", at, "symlink"));
    GIVES(opening(at, 0, "symlink", FOLDER, READ), NOTDIR);
    GIVES(opening(at, 0, "symlink", 0, READ), LOOP);
    GIVES(opening(at, FOLLOW, "symlink", 0, READ), NOENT);
    GIVES(__wasi_path_filestat_get(at, FOLLOW, "symlink", &stat), NOENT);
    FINE(exists(at, "symlink"));
    GIVES(opening(at, FOLLOW, "symlink", CREATE | __WASI_OFLAGS_EXCL, WRITE),
          EXIST);
    FINE(opening(at, FOLLOW, "symlink", CREATE, WRITE));
    FINE(exists(at, "target"));
    FINE(__wasi_path_rename(at, "symlink", at, "moved"));
    TRUE(stat_at(at, 0, "moved").filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
}

static void nofollow(void)
{
    __wasi_fd_t at = new_folder();
    FINE(__wasi_path_create_directory(at, "target"));
    FINE(__wasi_path_symlink("target", at, "symlink"));
    GIVES(opening(at, 0, "symlink", FOLDER, READ), NOTDIR);
    GIVES(opening(at, 0, "symlink", 0, READ), LOOP);
    FINE(opening(at, FOLLOW, "symlink", FOLDER, READ));
    /* A slash behind it asks for what it leads to. */
    FINE(opening(at, 0, "symlink/", FOLDER, READ));
    GIVES(__wasi_path_remove_directory(at, "symlink"), NOTDIR);
    FINE(__wasi_path_remove_directory(at, "target"));
    make_file(at, "target", "");
    GIVES(opening(at, 0, "symlink", FOLDER, READ), NOTDIR);
    GIVES(opening(at, 0, "symlink", 0, READ), LOOP);
    GIVES(opening(at, 0, "symlink", 0, WRITE), LOOP);
    GIVES(opening(at, FOLLOW, "symlink", FOLDER, READ), NOTDIR);
    FINE(__wasi_path_unlink_file(at, "symlink"));
    FINE(exists(at, "target"));
}

static void readlink_(void)
{
    __wasi_fd_t at = new_folder();
    uint8_t text[11] = "??????????";
    __wasi_size_t used;
    make_file(at, "file", "");
    FINE(__wasi_path_symlink("target", at, "symlink"));
    FINE(__wasi_path_readlink(at, "symlink", text, 10, &used));
    TRUE(used == 6 && !memcmp(text, "target????", 10));
    memset(text, '?', sizeof text);
    FINE(__wasi_path_readlink(at, "symlink", text, 4, &used));
    TRUE(used == 4 && !memcmp(text, "targ??????", 10));
    FINE(__wasi_path_readlink(at, "symlink", text, 0, &used));
    TRUE(used == 0);
    GIVES(__wasi_path_readlink(at, "file", text, 4, &used), INVAL);
    GIVES(__wasi_path_readlink(at, ".", text, 4, &used), INVAL);
    GIVES(__wasi_path_readlink(at, "none", text, 4, &used), NOENT);
    FINE(__wasi_path_readlink(ROOT, "/etc/link", text, sizeof text, &used));
    TRUE(used == 4 && !memcmp(text, "motd", 4));
}

static const Case cases[] = {
    {"hard_links", hard_links},
    {"hard_links_to_symbolic_links", hard_links_to_symbolic_links},
    {"symlink_create", symlink_create},
    {"symlink_with_slashes", symlink_with_slashes},
    {"symlink_loop", symlink_loop},
    {"symlink_filestat", symlink_filestat},
    {"dangling_symlink", dangling_symlink},
    {"nofollow", nofollow},
    {"readlink", readlink_},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}

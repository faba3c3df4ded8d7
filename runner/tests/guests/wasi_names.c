/* Does with names what POSIX programs do: links, working directory, listing while
   deleting; one step a line, exits with the number of the first that failed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int number;

static void check(int fine, const char *step)
{
    number++;
    printf("%s %s\n", fine ? "ok" : "FAILED", step);
    if (!fine) {
        printf("errno %d (%s)\n", errno, strerror(errno));
        exit(number);
    }
}

static int touch(const char *path)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0666);
    return fd < 0 ? fd : close(fd);
}

static void links(void)
{
    char target[32] = "";
    struct stat one, two;
    check(!touch("/tmp/file"), "create");
    check(!link("/tmp/file", "/tmp/hard"), "hard link");
    check(!stat("/tmp/file", &one) && !stat("/tmp/hard", &two)
          && one.st_ino == two.st_ino && two.st_nlink == 2, "same file");
    check(!symlink("file", "/tmp/soft"), "symbolic link");
    check(readlink("/tmp/soft", target, sizeof target) == 4
          && !strcmp(target, "file"), "readlink");
    check(!lstat("/tmp/soft", &one) && S_ISLNK(one.st_mode), "lstat");
    check(!stat("/tmp/soft", &one) && S_ISREG(one.st_mode), "stat");
    check(open("/tmp/soft", O_RDONLY | O_NOFOLLOW) < 0 && errno == ELOOP,
          "do not follow");
    check(!unlink("/tmp/soft") && !unlink("/tmp/hard")
          && !unlink("/tmp/file"), "unlink");
}

static void working_directory(void)
{
    char path[PATH_MAX];
    struct stat status;
    check(getcwd(path, sizeof path) && !strcmp(path, "/"), "starts in /");
    check(!mkdir("/tmp/folder", 0777) && !chdir("/tmp/folder"), "chdir");
    check(!touch("here") && !stat("/tmp/folder/here", &status), "relative");
    check(!stat("../../../tmp/folder/./here", &status), "up and down");
    check(!truncate("here", 5) && !stat("here", &status)
          && status.st_size == 5, "truncate");
    check(!access("here", R_OK) && access("none", F_OK) < 0, "access");
    check(!chdir("/") && !remove("/tmp/folder/here")
          && !remove("/tmp/folder"), "remove");
    check(open("new", O_CREAT | O_WRONLY, 0666) < 0 && errno == EROFS,
          "/ is read-only");
}

static void listing(void)
{
    char path[64];
    int count = 0;
    check(!mkdir("/tmp/many", 0777), "mkdir");
    for (int file = 0; file < 60; file++) {
        snprintf(path, sizeof path, "/tmp/many/%02d-%030d", file, file);
        if (touch(path))
            check(0, path);
    }
    DIR *folder = opendir("/tmp/many");
    check(folder != NULL, "opendir");
    char last[64] = "";
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        if (strcmp(last, entry->d_name) >= 0)
            check(0, "order");
        strcpy(last, entry->d_name);
        count++;
        if (unlinkat(dirfd(folder), entry->d_name, 0))
            check(0, "unlink while listing");
    }
    check(count == 60, "saw all while deleting");
    closedir(folder);
    check(!rmdir("/tmp/many"), "nothing was left");
}

int main(void)
{
    links();
    working_directory();
    listing();
    return 0;
}

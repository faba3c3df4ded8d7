/* Does with files in /tmp what files are for, one step a line; exits with the
   number of the first step that failed. */
#include <errno.h>
#include <fcntl.h>
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

static void write_and_read(void)
{
    char text[16] = "";
    int fd = open("/tmp/folder/a", O_CREAT | O_EXCL | O_RDWR, 0666);
    check(fd >= 0, "create");
    check(write(fd, "0123456789", 10) == 10, "write");
    check(pwrite(fd, "AB", 2, 12) == 2, "write beyond the end");
    check(lseek(fd, 8, SEEK_SET) == 8, "seek");
    check(read(fd, text, sizeof text) == 6, "read to the end");
    check(!memcmp(text, "89\0\0AB", 6), "hole reads as zeros");
    check(ftruncate(fd, 4) == 0, "truncate");
    check(lseek(fd, 0, SEEK_END) == 4, "seek to the end");
    check(close(fd) == 0, "close");
    check(open("/tmp/folder/a", O_CREAT | O_EXCL | O_RDWR, 0666) < 0
          && errno == EEXIST, "exclusive create of an existing file");
    fd = open("/tmp/folder/a", O_WRONLY | O_APPEND);
    check(fd >= 0 && write(fd, "Z", 1) == 1, "append");
    close(fd);
}

static void rename_and_remove(void)
{
    struct stat status;
    char text[8] = "";
    check(rename("/tmp/folder/a", "/tmp/b") == 0, "rename");
    check(stat("/tmp/folder/a", &status) < 0 && errno == ENOENT,
          "old name is gone");
    check(stat("/tmp/b", &status) == 0 && status.st_size == 5
          && S_ISREG(status.st_mode), "stat");
    int fd = open("/tmp/b", O_RDONLY);
    check(unlink("/tmp/b") == 0, "unlink");
    check(read(fd, text, sizeof text) == 5 && !memcmp(text, "0123Z", 5),
          "read after unlink");
    close(fd);
    check(open("/tmp/b", O_RDONLY) < 0 && errno == ENOENT,
          "unlinked file is gone");
}

int main(void)
{
    struct stat status;
    check(mkdir("/tmp/folder", 0777) == 0, "mkdir");
    check(stat("/tmp/folder", &status) == 0 && S_ISDIR(status.st_mode),
          "stat of a directory");
    write_and_read();
    check(rmdir("/tmp/folder") < 0 && errno == ENOTEMPTY,
          "rmdir of a full directory");
    rename_and_remove();
    check(rmdir("/tmp/folder") == 0, "rmdir");
    return 0;
}

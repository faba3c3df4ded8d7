/* Lists the directory named by its argument (default /) and all below it, in
   the order that the host gives: type, size and path, one entry a line. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int failures;

static char type_of(const struct stat *entry)
{
    if (S_ISDIR(entry->st_mode))
        return 'd';
    if (S_ISREG(entry->st_mode))
        return 'f';
    return S_ISCHR(entry->st_mode) ? 'c' : '?';
}

static void list(const char *folder)
{
    struct dirent *entry;
    struct stat status;
    char path[4096];
    DIR *open_folder = opendir(folder);
    if (!open_folder) {
        printf("! %s: errno %d (%s)\n", folder, errno, strerror(errno));
        failures++;
        return;
    }
    while ((entry = readdir(open_folder))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(path, sizeof path, "%s/%s",
                 strcmp(folder, "/") ? folder : "", entry->d_name);
        if (stat(path, &status) < 0) {
            printf("! %s: errno %d (%s)\n", path, errno, strerror(errno));
            failures++;
            continue;
        }
        printf("%c %lld %s\n", type_of(&status), (long long)status.st_size,
               path);
        if (S_ISDIR(status.st_mode))
            list(path);
    }
    closedir(open_folder);
}

int main(int argc, char **argv)
{
    list(argc > 1 ? argv[1] : "/");
    return failures != 0;
}

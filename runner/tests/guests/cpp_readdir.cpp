// Lists the directory named by its argument (default /) and all below it:
// type, size and path, one entry a line.
#include <dirent.h>
#include <iostream>
#include <memory>
#include <string>
#include <sys/stat.h>

static bool list(const std::string &folder)
{
    std::unique_ptr<DIR, int (*)(DIR *)> open(opendir(folder.c_str()),
                                              closedir);
    bool fine = open != nullptr;
    while (dirent *entry = fine ? readdir(open.get()) : nullptr) {
        std::string name = entry->d_name;
        if (name == "." || name == "..")
            continue;
        std::string path = (folder == "/" ? "" : folder) + "/" + name;
        struct stat status;
        if (stat(path.c_str(), &status))
            return false;
        char type = S_ISDIR(status.st_mode)   ? 'd'
                    : S_ISREG(status.st_mode) ? 'f'
                                              : 'c';
        std::cout << type << ' ' << status.st_size << ' ' << path << '\n';
        if (type == 'd' && !list(path))
            return false;
    }
    return fine;
}

int main(int argc, char **argv)
{
    bool fine = list(argc > 1 ? argv[1] : "/");
    return std::cout.flush() && fine ? 0 : 1;
}

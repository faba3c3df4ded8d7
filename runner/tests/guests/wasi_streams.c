/* Looks at its streams as libc does: none is a terminal, stdout is buffered
   fully, an output opens with any mode that writes; one step a line, exits with
   the number of the first step that failed. Needs /dev/input and /dev/output. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
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

static void standard(void)
{
    struct stat status;
    for (int fd = 0; fd < 3; fd++) {
        check(!isatty(fd), "is no terminal");
        check(fstat(fd, &status) == 0 && S_ISCHR(status.st_mode),
              "is a character device");
        check(lseek(fd, 0, SEEK_CUR) < 0 && errno == ESPIPE, "cannot seek");
    }
    check(fstat(0, &status) == 0 && status.st_size == 6, "size of stdin");
    check(fcntl(0, F_GETFL) == O_RDONLY, "stdin is for reading");
    check(fcntl(1, F_GETFL) == O_WRONLY, "stdout is for writing");
    check(getchar() == 's' && ungetc('S', stdin) == 'S' && getchar() == 'S',
          "read stdin");
    FILE *again = fopen("/dev/stdin", "r");
    check(again && !isatty(fileno(again)), "open stdin by name");
    check(getc(again) == EOF, "libc had read it to its end");
    fclose(again);
    struct pollfd ready = {.fd = 1, .events = POLLOUT};
    check(poll(&ready, 1, -1) == 1 && ready.revents == POLLOUT, "poll stdout");
}

static void random_access(void)
{
    char text[8] = "";
    struct stat status;
    FILE *input = fopen("/dev/input", "r");
    check(input && fstat(fileno(input), &status) == 0
          && S_ISREG(status.st_mode) && status.st_size == 10, "stat input");
    check(fseek(input, -3, SEEK_END) == 0 && fread(text, 1, 8, input) == 3
          && !strcmp(text, "789"), "read the end of input");
    rewind(input);
    check(getc(input) == '0' && ftell(input) == 1, "read its start");
    check(!fopen("/dev/input", "r+") && errno == EACCES, "input is read-only");
    fclose(input);

    FILE *output = fopen("/dev/output", "w");
    check(output && fputs("hello world", output) >= 0 && !fclose(output),
          "write output");
    output = fopen("/dev/output", "r+");
    check(output && !fseek(output, 6, SEEK_SET) && fputs("WASI!", output) >= 0
          && !fclose(output), "write into output");
    output = fopen("/dev/output", "a");
    check(output && fputs("\n", output) >= 0 && !fclose(output),
          "append to output");
    check(stat("/dev/output", &status) == 0 && status.st_size == 12,
          "stat output");
    check(!fopen("/dev/output", "r") && errno == EACCES,
          "output is write-only");
}

static void vectors(void)
{
    char text[3][4] = {"", "", ""};
    int fd = open("/dev/input", O_RDONLY);
    struct iovec parts[3] = {{text[2], 3}, {text[0], 3}, {text[1], 3}};
    check(readv(fd, parts, 3) == 9 && !strcmp(text[2], "012")
          && !strcmp(text[0], "345") && !strcmp(text[1], "678"), "readv");
    check(pread(fd, text[0], 3, 1) == 3 && !strcmp(text[0], "123"), "pread");
    check(lseek(fd, 0, SEEK_CUR) == 9, "position after pread");
    close(fd);
}

int main(void)
{
    standard();
    random_access();
    vectors();
    return 0;
}

/* Prints the lines of standard input that contain the first argument, byte
   for byte.  Exits 0 if there are any, 1 if there are none, 2 on an error.

   The text is searched a buffer at a time, not a line at a time: only where
   the needle is found are the ends of its line looked for. */
#define _GNU_SOURCE /* memmem, memrchr */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int found;

/* Print the matching lines of text, which ends with a newline. */
static void search(const char *text, size_t length, const char *needle)
{
    size_t size = strlen(needle);
    const char *end = text + length;
    const char *hit;
    while (text < end && (hit = memmem(text, end - text, needle, size))) {
        const char *before = memrchr(text, '\n', hit - text);
        const char *start = before ? before + 1 : text;
        const char *stop = memchr(hit, '\n', end - hit);
        fwrite(start, 1, stop + 1 - start, stdout);
        found = 1;
        text = stop + 1;
    }
}

static int fail(const char *what)
{
    perror(what);
    return 2;
}

int main(int argc, char **argv)
{
    size_t room = 1 << 18, have = 0;
    char *buffer = malloc(room);
    if (argc != 2 || strchr(argv[1], '\n')) {
        fputs("usage: grep TEXT (one line)\n", stderr);
        return 2;
    }
    for (;;) {
        /* One byte is kept free for the newline that may be missing. */
        if (have + 1 == room)
            buffer = realloc(buffer, room *= 2);
        if (!buffer)
            return fail("grep: a line");
        ssize_t got = read(0, buffer + have, room - 1 - have);
        if (got < 0)
            return fail("grep: standard input");
        have += (size_t)got;
        if (got == 0 && have > 0)
            buffer[have++] = '\n';
        char *last = memrchr(buffer, '\n', have);
        size_t whole = last ? (size_t)(last + 1 - buffer) : 0;
        search(buffer, whole, argv[1]);
        have -= whole;
        memmove(buffer, buffer + whole, have);
        if (got == 0)
            break;
    }
    return fflush(stdout) ? fail("grep: standard output") : !found;
}

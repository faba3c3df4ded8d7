/* Sorts the lines of standard input by their bytes. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *one, const void *two)
{
    return strcmp(*(char *const *)one, *(char *const *)two);
}

int main(void)
{
    char **lines = NULL, *line = NULL;
    size_t count = 0, room = 0, size = 0;
    while (getline(&line, &size, stdin) > 0) {
        if (count == room) {
            room = room ? 2 * room : 64;
            lines = realloc(lines, room * sizeof *lines);
        }
        line[strcspn(line, "\n")] = 0;
        if (!lines || !(lines[count++] = strdup(line)))
            return 2;
    }
    qsort(lines, count, sizeof *lines, compare);
    for (size_t number = 0; number < count; number++)
        puts(lines[number]);
    return ferror(stdin) || fflush(stdout);
}

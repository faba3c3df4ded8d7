/* Touches argv[1] bytes, says so with one byte, and lives until its input ends. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    size_t bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    char *memory = malloc(bytes + 1);
    if (memory == NULL) return 1;
    memset(memory, 1, bytes + 1);
    if (write(STDOUT_FILENO, memory, 1) != 1) return 2;
    char byte;
    while (read(STDIN_FILENO, &byte, 1) == 1) {
    }
    return memory[bytes] == 1 ? 0 : 3;
}

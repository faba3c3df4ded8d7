/* Writes to standard input and reads from standard output, prints how each
   fails, and exits 1 if either works. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    char byte = 'x';
    int wrote = write(0, &byte, 1) >= 0;
    printf("write 0: %s\n", wrote ? "WORKED" : strerror(errno));
    int got = read(1, &byte, 1) >= 0;
    printf("read 1: %s\n", got ? "WORKED" : strerror(errno));
    return wrote || got;
}

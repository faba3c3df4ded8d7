/* Writes to standard output until that fails; exits 4 then. */
#include <string.h>
#include <unistd.h>

static char buffer[1 << 16];

int main(void)
{
    memset(buffer, 'x', sizeof buffer);
    while (write(1, buffer, sizeof buffer) >= 0)
        continue;
    return 4;
}

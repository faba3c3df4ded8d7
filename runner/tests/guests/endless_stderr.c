/* Writes to standard error until that fails; exits 4 then. */
#include <string.h>
#include <unistd.h>

static char buffer[1 << 12];

int main(void)
{
    memset(buffer, 'e', sizeof buffer);
    while (write(2, buffer, sizeof buffer) >= 0)
        continue;
    return 4;
}

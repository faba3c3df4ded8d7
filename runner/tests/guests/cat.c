/* Copies standard input to standard output. */
#include <unistd.h>

static char buffer[1 << 16];

int main(void)
{
    ssize_t got;
    while ((got = read(0, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0, put; done < got; done += put)
            if ((put = write(1, buffer + done, got - done)) < 0)
                return 2;
    return got < 0;
}

/* How many steps it takes each point of a grid to leave the circle. */
#include <stdint.h>
#include <stdio.h>

#define WIDTH 640
#define HEIGHT 480
#define LIMIT 2500

int main(void)
{
    uint64_t sum = 0;
    for (int row = 0; row < HEIGHT; row++)
        for (int column = 0; column < WIDTH; column++) {
            double x0 = -2.0 + column * (3.0 / WIDTH);
            double y0 = -1.2 + row * (2.4 / HEIGHT), x = 0, y = 0;
            int steps = 0;
            while (steps < LIMIT && x * x + y * y <= 4.0) {
                double next = x * x - y * y + x0;
                y = 2 * x * y + y0;
                x = next;
                steps++;
            }
            sum = sum * 31 + (uint64_t)steps;
        }
    return printf("%016llx\n", (unsigned long long)sum) < 0;
}

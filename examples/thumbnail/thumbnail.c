/* Shrinks a picture: binary PPM on standard input, binary PPM on standard
   output, no side longer than the number given as argument (default 64).
   Each pixel of the result is the mean of a square of the picture's pixels.
   The picture is read once, a row at a time, and never held as a whole. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SIDE 64
#define MAX_SIDE 65536

static int fail(const char *what)
{
    fprintf(stderr, "thumbnail: %s\n", what);
    return 1;
}

/* The next number of the header; 0 if there is none.  Comments begin with #
   and end with the line. */
static unsigned number(void)
{
    unsigned value = 0;
    int byte = getchar();
    while (byte == ' ' || (byte >= '\t' && byte <= '\r') || byte == '#') {
        if (byte == '#')
            while (byte != '\n' && byte != EOF)
                byte = getchar();
        byte = getchar();
    }
    for (; byte >= '0' && byte <= '9' && value <= MAX_SIDE; byte = getchar())
        value = value * 10 + (unsigned)(byte - '0');
    return value <= MAX_SIDE ? value : 0;
}

/* The least square that makes both sides fit. */
static unsigned square(unsigned width, unsigned height, unsigned side)
{
    unsigned longer = width > height ? width : height;
    return (longer + side - 1) / side;
}

static void put_means(const uint64_t *sums, unsigned width, unsigned step,
                      unsigned rows)
{
    for (unsigned x = 0; x < width; x += step) {
        unsigned columns = width - x < step ? width - x : step;
        for (unsigned colour = 0; colour < 3; colour++) {
            uint64_t sum = sums[x / step * 3 + colour];
            putchar((int)(sum / ((uint64_t)columns * rows)));
        }
    }
}

static int shrink(unsigned width, unsigned height, unsigned step)
{
    unsigned short_width = (width + step - 1) / step;
    size_t sums_bytes = (size_t)short_width * 3 * sizeof(uint64_t);
    unsigned char *row = malloc((size_t)width * 3);
    uint64_t *sums = calloc(1, sums_bytes);
    if (!row || !sums)
        return fail("out of memory");
    printf("P6\n%u %u\n255\n", short_width, (height + step - 1) / step);
    unsigned rows = 0;
    for (unsigned y = 0; y < height; y++) {
        if (fread(row, 3, width, stdin) != width)
            return fail("the picture ends early");
        for (unsigned x = 0; x < width; x++)
            for (unsigned colour = 0; colour < 3; colour++)
                sums[x / step * 3 + colour] += row[x * 3 + colour];
        if (++rows == step || y + 1 == height) {
            put_means(sums, width, step, rows);
            memset(sums, 0, sums_bytes);
            rows = 0;
        }
    }
    free(row);
    free(sums);
    return fflush(stdout) ? fail(strerror(errno)) : 0;
}

int main(int count, char **words)
{
    int side = count > 1 ? atoi(words[1]) : DEFAULT_SIDE;
    if (side < 1 || side > MAX_SIDE)
        return fail("the side is a number from 1 to 65536");
    if (getchar() != 'P' || getchar() != '6')
        return fail("standard input is not a binary PPM (P6)");
    unsigned width = number(), height = number(), most = number();
    if (!width || !height || most != 255)
        return fail("sides are 1 to 65536 and the largest value is 255");
    return shrink(width, height, square(width, height, (unsigned)side));
}

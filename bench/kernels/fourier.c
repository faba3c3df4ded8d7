/* A fast Fourier transform of 2^16 points, there and back. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BITS 16
#define POINTS (1 << BITS)
#define ROUNDS 12

static double real[POINTS], imaginary[POINTS];
/* Cosine and sine of a full turn by 2, 4, 8, and so on. */
static double cosines[BITS + 1], sines[BITS + 1];

static void prepare(void)
{
    cosines[1] = -1, sines[1] = 0;
    cosines[2] = 0, sines[2] = 1;
    for (int i = 3; i <= BITS; i++) {
        cosines[i] = sqrt((1 + cosines[i - 1]) / 2);
        sines[i] = sqrt((1 - cosines[i - 1]) / 2);
    }
}

static void transform(double sign)
{
    for (uint32_t i = 0, j = 0; i < POINTS; i++) {
        if (i < j) {
            double swap = real[i];
            real[i] = real[j], real[j] = swap;
            swap = imaginary[i];
            imaginary[i] = imaginary[j], imaginary[j] = swap;
        }
        uint32_t bit = POINTS / 2;
        for (; j & bit; bit /= 2) j ^= bit;
        j ^= bit;
    }
    for (int level = 1; level <= BITS; level++) {
        uint32_t size = 1u << level, half = size / 2;
        double c = 1, s = 0, dc = cosines[level], ds = sign * sines[level];
        for (uint32_t k = 0; k < half; k++) {
            for (uint32_t i = k; i < POINTS; i += size) {
                double x = real[i + half] * c - imaginary[i + half] * s;
                double y = real[i + half] * s + imaginary[i + half] * c;
                real[i + half] = real[i] - x;
                imaginary[i + half] = imaginary[i] - y;
                real[i] += x;
                imaginary[i] += y;
            }
            double next = c * dc - s * ds;
            s = c * ds + s * dc;
            c = next;
        }
    }
}

int main(void)
{
    uint64_t sum = 0, bits;
    prepare();
    for (int i = 0; i < POINTS; i++) real[i] = i * 37 % 1009 / 100.0;
    for (int round = 0; round < ROUNDS; round++) {
        transform(-1);
        transform(1);
        for (int i = 0; i < POINTS; i++) {
            real[i] /= POINTS;
            imaginary[i] /= POINTS;
        }
    }
    for (int i = 0; i < POINTS; i++) {
        memcpy(&bits, &real[i], sizeof bits);
        sum = sum * 31 + bits;
    }
    return printf("%016llx\n", (unsigned long long)sum) < 0;
}

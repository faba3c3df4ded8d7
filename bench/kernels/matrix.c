/* The product of two matrices of doubles, in blocks. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SIZE 512
#define BLOCK 64

static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];

static void multiply(void)
{
    for (int i0 = 0; i0 < SIZE; i0 += BLOCK)
        for (int k0 = 0; k0 < SIZE; k0 += BLOCK)
            for (int i = i0; i < i0 + BLOCK; i++)
                for (int k = k0; k < k0 + BLOCK; k++) {
                    double factor = a[i][k];
                    for (int j = 0; j < SIZE; j++)
                        c[i][j] += factor * b[k][j];
                }
}

int main(void)
{
    uint64_t sum = 0, bits;
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            a[i][j] = (i * 7 + j * 3) % 101 / 10.0;
            b[i][j] = (i * 5 + j * 11) % 97 / 7.0;
        }
    for (int round = 0; round < 16; round++) multiply();
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            memcpy(&bits, &c[i][j], sizeof bits);
            sum = sum * 31 + bits;
        }
    return printf("%016llx\n", (unsigned long long)sum) < 0;
}

/* Quicksort with a final insertion sort, of 32-bit numbers. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT (1 << 20)
#define ROUNDS 5

static uint32_t numbers[COUNT];
static uint64_t state = 88172645463325252u;

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static void quicksort(uint32_t *low, uint32_t *high)
{
    while (high - low > 16) {
        uint32_t a = *low, b = low[(high - low) / 2], c = *high, swap;
        uint32_t pivot = a < b ? (b < c ? b : a < c ? c : a)
                               : (a < c ? a : b < c ? c : b);
        uint32_t *i = low, *j = high;
        while (i <= j) {
            while (*i < pivot) i++;
            while (pivot < *j) j--;
            if (i <= j) {
                swap = *i, *i = *j, *j = swap;
                i++, j--;
            }
        }
        if (j - low < high - i) {
            quicksort(low, j);
            low = i;
        } else {
            quicksort(i, high);
            high = j;
        }
    }
    for (uint32_t *i = low + 1; i <= high; i++) {
        uint32_t value = *i, *j = i;
        for (; j > low && j[-1] > value; j--) *j = j[-1];
        *j = value;
    }
}

int main(void)
{
    uint64_t sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < COUNT; i++) numbers[i] = next();
        quicksort(numbers, numbers + COUNT - 1);
        for (int i = 0; i < COUNT; i++) {
            if (i && numbers[i - 1] > numbers[i]) return 1;
            sum = sum * 31 + numbers[i];
        }
    }
    return printf("%016llx\n", (unsigned long long)sum) < 0;
}

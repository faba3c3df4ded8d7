/* Pancakes: the most flips that any order of ten needs, over all orders. */
#include <stdio.h>

#define SIZE 10

int main(void)
{
    int order[SIZE], work[SIZE], count[SIZE];
    int most = 0, checksum = 0, turned = SIZE;
    for (long number = 0;; number++) {
        if (number == 0)
            for (int i = 0; i < SIZE; i++) order[i] = i;
        while (turned != 1) count[turned - 1] = turned, turned--;
        if (order[0] != 0) {
            int flips = 0, first;
            for (int i = 0; i < SIZE; i++) work[i] = order[i];
            while ((first = work[0]) != 0) {
                for (int low = 0, high = first; low < high; low++, high--) {
                    int swap = work[low];
                    work[low] = work[high];
                    work[high] = swap;
                }
                flips++;
            }
            if (flips > most) most = flips;
            checksum += number % 2 ? -flips : flips;
        }
        for (;; turned++) {
            if (turned == SIZE)
                return printf("%d %d\n", checksum, most) < 0;
            int first = order[0];
            for (int i = 0; i < turned; i++) order[i] = order[i + 1];
            order[turned] = first;
            if (--count[turned] > 0) break;
        }
    }
}

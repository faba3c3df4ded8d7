/* Primes below 32 million, by a sieve of odd numbers, in pieces that fit a
   cache. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define LIMIT 32000000u
#define ROOT 5657u
#define PIECE 32768u
#define ROUNDS 12

static uint8_t composite[PIECE];
static uint32_t primes[1024], next[1024];

int main(void)
{
    uint64_t count = 0, sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int known = 0;
        for (uint32_t n = 3; n <= ROOT; n += 2) {
            int i = 0;
            while (i < known && n % primes[i]) i++;
            if (i < known) continue;
            next[known] = n * n / 2;
            primes[known++] = n;
        }
        count = 1, sum += 2;
        for (uint32_t start = 0; start < LIMIT / 2; start += PIECE) {
            memset(composite, 0, sizeof composite);
            for (int i = 0; i < known; i++) {
                uint32_t at = next[i] - start, prime = primes[i];
                for (; at < PIECE; at += prime) composite[at] = 1;
                next[i] = at + start;
            }
            for (uint32_t i = start == 0; i < PIECE; i++)
                if (!composite[i] && start + i < LIMIT / 2) {
                    count++;
                    sum += 2 * (uint64_t)(start + i) + 1;
                }
        }
    }
    return printf("%llu %016llx\n", (unsigned long long)count,
                  (unsigned long long)sum) < 0;
}

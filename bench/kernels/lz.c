/* Packs 8 MiB in the manner of LZ4, unpacks it and compares. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH (8 << 20)
#define BITS 14
#define ROUNDS 6

static uint32_t read4(const uint8_t *at)
{
    uint32_t word;
    memcpy(&word, at, 4);
    return word;
}

static uint8_t *put_length(uint8_t *to, size_t length)
{
    for (; length >= 255; length -= 255) *to++ = 255;
    *to++ = (uint8_t)length;
    return to;
}

static uint8_t *put(uint8_t *to, const uint8_t *plain, size_t count,
                    size_t distance, size_t match)
{
    uint8_t *token = to++;
    *token = (uint8_t)((count < 15 ? count : 15) << 4);
    if (count >= 15) to = put_length(to, count - 15);
    memcpy(to, plain, count);
    to += count;
    if (!match) return to;
    *to++ = (uint8_t)distance;
    *to++ = (uint8_t)(distance >> 8);
    *token |= (uint8_t)(match - 4 < 15 ? match - 4 : 15);
    return match - 4 >= 15 ? put_length(to, match - 4 - 15) : to;
}

static size_t pack(const uint8_t *from, size_t length, uint8_t *to)
{
    static uint32_t last[1 << BITS];
    uint8_t *start = to;
    size_t plain = 0, at = 1;
    memset(last, 0, sizeof last);
    while (at + 12 < length) {
        uint32_t word = read4(from + at);
        uint32_t *slot = &last[word * 2654435761u >> (32 - BITS)];
        size_t before = *slot;
        *slot = (uint32_t)at;
        if (at - before > 65535 || read4(from + before) != word) {
            at++;
            continue;
        }
        size_t match = 4;
        while (at + match + 5 < length && from[before + match] == from[at + match])
            match++;
        to = put(to, from + plain, at - plain, at - before, match);
        plain = at += match;
    }
    return (size_t)(put(to, from + plain, length - plain, 0, 0) - start);
}

static size_t unpack(const uint8_t *from, size_t length, uint8_t *to)
{
    const uint8_t *end = from + length;
    uint8_t *start = to;
    while (from < end) {
        uint8_t token = *from++, more;
        size_t count = token >> 4, match = (token & 15) + 4;
        if (count == 15)
            do count += more = *from++;
            while (more == 255);
        memcpy(to, from, count);
        to += count, from += count;
        if (from >= end) break;
        size_t distance = from[0] | (size_t)from[1] << 8;
        from += 2;
        if (match == 19)
            do match += more = *from++;
            while (more == 255);
        const uint8_t *source = to - distance;
        while (match--) *to++ = *source++;
    }
    return (size_t)(to - start);
}

int main(void)
{
    uint8_t *data = malloc(LENGTH), *packed = malloc(LENGTH + LENGTH / 128);
    uint8_t *copy = malloc(LENGTH);
    uint64_t state = 88172645463325252u, sum = 0;
    if (!data || !packed || !copy) return 2;
    for (size_t at = 0; at < LENGTH;) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t count = (state >> 40 & 31) + 1, back = (state >> 20 & 0x7fff) + 1;
        int repeat = state >> 62 && back < at;
        for (; count && at < LENGTH; count--, at++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            data[at] = repeat ? data[at - back] : (uint8_t)(state >> 58) + 32;
        }
    }
    for (int round = 0; round < ROUNDS; round++) {
        data[round * 1000]++;
        size_t size = pack(data, LENGTH, packed);
        if (unpack(packed, size, copy) != LENGTH) return 1;
        if (memcmp(data, copy, LENGTH)) return 1;
        sum = sum * 31 + size;
        for (size_t i = 0; i < size; i += 97) sum = sum * 31 + packed[i];
    }
    return printf("%016llx\n", (unsigned long long)sum) < 0;
}

/* Finds words in a text of 16 MiB, by Horspool's skips. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH (16 << 20)

static const char *const words[] = {
    "needle", "storage node", "the quick brown", "zz", "object",
    "a rather long sentence that is nowhere", "qua", "channel",
};

static uint32_t count(const uint8_t *text, size_t length, const char *word)
{
    size_t size = strlen(word), skip[256];
    uint32_t found = 0;
    for (int i = 0; i < 256; i++) skip[i] = size;
    for (size_t i = 0; i + 1 < size; i++) skip[(uint8_t)word[i]] = size - 1 - i;
    uint8_t last = (uint8_t)word[size - 1];
    for (size_t at = size - 1; at < length;) {
        uint8_t byte = text[at];
        if (byte == last && !memcmp(text + at - size + 1, word, size - 1))
            found++;
        at += skip[byte];
    }
    return found;
}

int main(void)
{
    static const char *const parts[] = {
        "the ", "quick ", "brown ", "storage ", "node ", "needle", "object ",
        "qu", "azz ", "channel ", "lorem ", "ipsum ", "\n", "dolor ", "it ",
        "xyz ",
    };
    uint8_t *text = malloc(LENGTH + 16);
    uint64_t state = 88172645463325252u, sum = 0;
    if (!text) return 2;
    for (size_t at = 0; at < LENGTH;) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const char *part = parts[state >> 60];
        size_t size = strlen(part);
        memcpy(text + at, part, size);
        at += size;
    }
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            sum = sum * 31 + count(text, LENGTH, words[i]);
    return printf("%016llx\n", (unsigned long long)sum) < 0;
}

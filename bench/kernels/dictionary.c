/* Counts words in a hash table of strings that grows as it fills. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS 3000000

struct entry {
    char *word;
    uint32_t length, hash, count;
};

static struct entry *entries;
static uint32_t room = 1024, used;

static uint32_t hash_of(const char *word, uint32_t length)
{
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)word[i]) * 16777619u;
    return hash;
}

static struct entry *find(const char *word, uint32_t length, uint32_t hash)
{
    for (uint32_t at = hash;; at++) {
        struct entry *entry = &entries[at & (room - 1)];
        if (!entry->word
            || (entry->hash == hash && entry->length == length
                && !memcmp(entry->word, word, length)))
            return entry;
    }
}

static void grow(void)
{
    struct entry *old = entries;
    uint32_t count = room;
    room *= 2;
    entries = calloc(room, sizeof *entries);
    if (!entries) exit(2);
    for (uint32_t i = 0; i < count; i++)
        if (old[i].word)
            *find(old[i].word, old[i].length, old[i].hash) = old[i];
    free(old);
}

static void count(const char *word, uint32_t length)
{
    uint32_t hash = hash_of(word, length);
    struct entry *entry = find(word, length, hash);
    if (!entry->word) {
        char *copy = malloc(length);
        if (!copy) exit(2);
        memcpy(copy, word, length);
        *entry = (struct entry){copy, length, hash, 1};
        if (++used * 2 > room) grow();
    } else {
        entry->count++;
    }
}

int main(void)
{
    uint64_t state = 88172645463325252u, sum = 0;
    char word[32];
    entries = calloc(room, sizeof *entries);
    if (!entries) return 2;
    for (int i = 0; i < WORDS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t number = (uint32_t)(state >> 33) % (state >> 62 ? 40000 : 400000);
        uint32_t length = 0;
        do {
            word[length++] = (char)('a' + number % 26);
            word[length++] = "aeiou"[number % 5];
        } while (number /= 26);
        count(word, length);
    }
    for (uint32_t i = 0; i < room; i++)
        if (entries[i].word)
            sum += (uint64_t)entries[i].hash * entries[i].count;
    return printf("%u %016llx\n", used, (unsigned long long)sum) < 0;
}

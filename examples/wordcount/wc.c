/* Prints the lines, words and bytes of standard input (with -l, -w, -c only
   those), as POSIX wc counts them in the C locale: a word is a run of bytes that are not white space
   (GNU wc before 9.5 passes over words without a printable ASCII byte).

   Eight bytes are classified at once, each in its own lane of a 64-bit word
   (both WebAssembly and the usual native targets are little-endian). */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LANES(byte) (0x0101010101010101u * (byte))
#define HIGH LANES(0x80)

struct counts {
    uint64_t lines, words, bytes;
    uint64_t after_space; /* 0x80 if the byte before was white space */
};

/* The sum of the lanes whose high bit is set. */
static uint64_t marked(uint64_t lanes)
{
    return ((lanes >> 7) * LANES(1)) >> 56;
}

/* High bit set in each lane of 7-bit values that equals byte. */
static uint64_t equal(uint64_t low, unsigned char byte)
{
    return ~((low ^ LANES(byte)) + LANES(0x7f));
}

static void count_eight(struct counts *counts, uint64_t text)
{
    uint64_t low = text & ~HIGH;
    uint64_t ascii = ~text & HIGH;
    uint64_t from_tab = low + LANES(0x80 - '\t');
    uint64_t past_return = low + LANES(0x80 - '\r' - 1);
    uint64_t space = ((from_tab & ~past_return) | equal(low, ' ')) & ascii;
    uint64_t before = space << 8 | counts->after_space;
    counts->lines += marked(equal(low, '\n') & ascii);
    counts->words += marked(before & ~space & HIGH);
    counts->after_space = space >> 56;
}

static void count(struct counts *counts, const char *text, size_t length)
{
    uint64_t eight;
    size_t whole = length / 8 * 8;
    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&eight, text + i, 8);
        count_eight(counts, eight);
    }
    for (size_t i = whole; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        uint64_t space =
            byte == ' ' || (byte >= '\t' && byte <= '\r') ? 0x80 : 0;
        counts->lines += byte == '\n';
        counts->words += counts->after_space && !space;
        counts->after_space = space;
    }
    counts->bytes += length;
}

static char buffer[1 << 18];

/* The options that were given, of -l, -w and -c; all of them without any. */
static const char *asked(int argc, char **argv)
{
    static char letters[4];
    size_t count = 0;
    for (int i = 1; i < argc; i++) {
        const char *letter = argv[i];
        if (letter[0] != '-' || strspn(letter + 1, "lwc") + 1 != strlen(letter)
            || !letter[1]) {
            fprintf(stderr, "wc: %s: allowed are -l, -w, -c\n", letter);
            return NULL;
        }
        while (*++letter)
            if (!strchr(letters, *letter))
                letters[count++] = *letter;
    }
    return count ? letters : "lwc";
}

int main(int argc, char **argv)
{
    const char *letters = asked(argc, argv);
    struct counts counts = {0, 0, 0, 0x80};
    ssize_t got;
    if (!letters)
        return 2;
    while ((got = read(0, buffer, sizeof buffer)) > 0)
        count(&counts, buffer, (size_t)got);
    if (got < 0) {
        perror("wc: standard input");
        return 1;
    }
    const char *between = "";
    for (const char *letter = "lwc"; *letter; letter++) {
        if (!strchr(letters, *letter))
            continue;
        printf("%s%llu", between,
               (unsigned long long)(*letter == 'l'   ? counts.lines
                                    : *letter == 'w' ? counts.words
                                                     : counts.bytes));
        between = " ";
    }
    return puts("") < 0;
}

/* Matches lines by patterns with . * + ? ^ $ [a-z], backtracking. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES 40000
#define ROUNDS 3

static const char *const patterns[] = {
    "^[0-9]+ GET /[a-z]*/x", "user=[a-z]+[0-9]?$", "err.*code=5[0-9]*",
    "[a-f]+[0-9]*z", "^.*path.*user.*code", "status ?=? ?ok",
};

/* The end of the pattern's first unit. */
static const char *after(const char *pattern)
{
    if (*pattern != '[') return pattern + 1;
    while (*pattern != ']') pattern++;
    return pattern + 1;
}

static int fits(const char *pattern, char byte)
{
    if (!byte) return 0;
    if (*pattern == '.') return 1;
    if (*pattern != '[') return *pattern == byte;
    for (pattern++; *pattern != ']'; pattern++)
        if (pattern[1] == '-') {
            if (pattern[0] <= byte && byte <= pattern[2]) return 1;
            pattern += 2;
        } else if (*pattern == byte) {
            return 1;
        }
    return 0;
}

static const char *match(const char *pattern, const char *text)
{
    if (!*pattern) return text;
    if (*pattern == '$' && !pattern[1]) return *text ? NULL : text;
    const char *rest = after(pattern), *end;
    if (*rest == '*' || *rest == '+') {
        const char *most = text, *least = text + (*rest == '+');
        while (fits(pattern, *most)) most++;
        for (; most >= least; most--)
            if ((end = match(rest + 1, most))) return end;
        return NULL;
    }
    if (*rest == '?') {
        if (fits(pattern, *text) && (end = match(rest + 1, text + 1)))
            return end;
        return match(rest + 1, text);
    }
    return fits(pattern, *text) ? match(rest, text + 1) : NULL;
}

static size_t search(const char *pattern, const char *text)
{
    const char *end;
    if (*pattern == '^') {
        end = match(pattern + 1, text);
        return end ? (size_t)(end - text) + 1 : 0;
    }
    for (const char *at = text;; at++) {
        if ((end = match(pattern, at))) return (size_t)(end - at) + 1;
        if (!*at) return 0;
    }
}

int main(void)
{
    char *lines = malloc(LINES * 128), *end = lines;
    uint64_t sum = 0;
    if (!lines) return 2;
    for (int i = 0; i < LINES; i++)
        end += sprintf(end,
                       "%d GET /%s/%c status%sok path=/a/b%d err %x code=%d "
                       "user=%s%d",
                       i, i % 3 ? "some" : "other", "xyz"[i % 3],
                       i % 5 ? " = " : "=", i % 97, i * 40503u, i % 600,
                       i % 2 ? "mary" : "joe", i % 12) + 1;
    for (int round = 0; round < ROUNDS; round++)
        for (const char *line = lines; line < end; line += strlen(line) + 1)
            for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
                sum = sum * 31 + search(patterns[i], line);
    return printf("%016llx\n", (unsigned long long)sum) < 0;
}

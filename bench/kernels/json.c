/* Parses a JSON text of some megabytes into a tree, and adds the tree up. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS 40000
#define ROUNDS 30

enum kind { NUMBER, STRING, LIST, OBJECT, WORD };

struct value {
    enum kind kind;
    uint32_t length;
    double number;
    const char *text;
    struct value *first, *next;
};

static char *text, *at;
static struct value *pool;
static uint32_t used;

static void space(void)
{
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') at++;
}

static struct value *parse(void);

static void parse_string(struct value *value)
{
    value->kind = STRING;
    value->text = ++at;
    while (*at != '"') {
        if (*at == '\\') at++;
        if (!*at) exit(2);
        at++;
    }
    value->length = (uint32_t)(at++ - value->text);
}

static void parse_number(struct value *value)
{
    double number = 0, scale = 1;
    int negative = *at == '-';
    at += negative;
    while (*at >= '0' && *at <= '9') number = number * 10 + (*at++ - '0');
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++) {
            number = number * 10 + (*at - '0');
            scale *= 10;
        }
    value->kind = NUMBER;
    value->number = (negative ? -number : number) / scale;
}

static void parse_many(struct value *value, char end)
{
    struct value **place = &value->first;
    value->kind = end == ']' ? LIST : OBJECT;
    at++;
    for (space(); *at != end; space()) {
        struct value *one = parse();
        *place = one;
        if (end == '}') {
            space();
            if (*at++ != ':') exit(2);
            one->next = parse();
            one = one->next;
        }
        place = &one->next;
        value->length++;
        space();
        if (*at == ',') at++;
        else if (*at != end) exit(2);
    }
    at++;
}

static struct value *parse(void)
{
    struct value *value = &pool[used++];
    memset(value, 0, sizeof *value);
    space();
    switch (*at) {
    case '"': parse_string(value); break;
    case '[': parse_many(value, ']'); break;
    case '{': parse_many(value, '}'); break;
    case 't': at += 4, value->kind = WORD, value->number = 1; break;
    case 'f': at += 5, value->kind = WORD; break;
    case 'n': at += 4, value->kind = WORD; break;
    default: parse_number(value);
    }
    return value;
}

static uint64_t sum_of(const struct value *value)
{
    uint64_t sum = value->kind, bits;
    memcpy(&bits, &value->number, sizeof bits);
    sum = (sum * 31 + bits) * 31 + value->length;
    for (const struct value *one = value->first; one; one = one->next)
        sum = sum * 31 + sum_of(one);
    if (value->kind == STRING && value->length)
        sum += (uint8_t)value->text[value->length - 1];
    return sum;
}

int main(void)
{
    uint64_t sum = 0;
    char *end = text = malloc(RECORDS * 200);
    pool = malloc(sizeof *pool * RECORDS * 24);
    if (!text || !pool) return 2;
    *end++ = '[';
    for (int i = 0; i < RECORDS; i++)
        end += sprintf(end,
                       "%s\n {\"id\": %d, \"name\": \"user \\\"%x\\\"\", "
                       "\"score\": %d.%03d, \"tags\": [\"a%d\", \"b\", -%d], "
                       "\"active\": %s, \"parent\": null, \"at\": {\"x\": "
                       "%d, \"y\": -0.%d}}",
                       i ? "," : "", i, i * 40503u, i % 977, i % 1000, i % 7,
                       i % 13, i % 3 ? "true" : "false", i * 3, i % 9 + 1);
    strcpy(end, "]");
    for (int round = 0; round < ROUNDS; round++) {
        at = text, used = 0;
        sum = sum * 31 + sum_of(parse());
    }
    return printf("%u %016llx\n", used, (unsigned long long)sum) < 0;
}

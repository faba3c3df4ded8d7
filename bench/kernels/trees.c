/* Builds and adds up binary trees: the allocator's work. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define DEPTH 16
#define ROUNDS 60

struct node {
    struct node *left, *right;
    uint32_t value;
};

static uint32_t made;

static struct node *grow(int depth)
{
    struct node *node = malloc(sizeof *node);
    if (!node) exit(2);
    node->value = made++;
    node->left = depth ? grow(depth - 1) : NULL;
    node->right = depth ? grow(depth - 1) : NULL;
    return node;
}

static uint64_t sum_of(const struct node *node)
{
    uint64_t sum = node->value;
    if (node->left) sum = sum * 31 + sum_of(node->left);
    if (node->right) sum = sum * 37 + sum_of(node->right);
    return sum;
}

static void drop(struct node *node)
{
    if (!node) return;
    drop(node->left);
    drop(node->right);
    free(node);
}

int main(void)
{
    struct node *lasting = grow(DEPTH);
    uint64_t sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct node *tree = grow(DEPTH);
        sum = sum * 31 + sum_of(tree);
        drop(tree);
    }
    sum += sum_of(lasting);
    return printf("%u %016llx\n", made, (unsigned long long)sum) < 0;
}

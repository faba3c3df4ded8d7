"""Add the prices of the fruits that stdin names, one a line.

The program and its table are members of one tar: the node's image, which lies
over the system images at `/`.
"""

import sys

prices = {}
with open("/app/prices.csv", encoding="utf-8") as table:
    for line in table:
        fruit, price = line.strip().split(",")
        prices[fruit] = int(price)
total = 0
for line in sys.stdin:
    fruit = line.strip()
    total += prices[fruit]
    print(f"{fruit}: {prices[fruit]}")
print(f"total: {total}")

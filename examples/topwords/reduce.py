"""Add up lines of `word count` from stdin; print the ten most frequent."""

import sys

totals = {}
for line in sys.stdin:
    word, count = line.split()
    totals[word] = totals.get(word, 0) + int(count)
for count, word in sorted((-n, word) for word, n in totals.items())[:10]:
    print(word, -count)

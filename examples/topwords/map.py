"""Print each word of a text on stdin and how often it stands there."""

import sys

counts = {}
for line in sys.stdin:
    letters = "".join(c if c.isalpha() else " " for c in line.lower())
    for word in letters.split():
        counts[word] = counts.get(word, 0) + 1
for word, count in counts.items():
    print(word, count)

"""Count lines, definitions, classes and imports of a source on stdin."""

# Imports nothing more: loading modules would cost every VM more than counting.
import sys

lines = [line.lstrip() for line in sys.stdin]
found = dict.fromkeys(("def ", "class ", "import "), 0)
for line in lines:
    for word in found:
        found[word] += line.startswith(word)
items = [f'"{word.strip()}": {count}' for word, count in found.items()]
print(f'{{"lines": {len(lines)}, ' + ", ".join(items) + "}")

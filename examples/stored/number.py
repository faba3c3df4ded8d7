"""Print the lines of stdin with their numbers."""

import sys

for number, line in enumerate(sys.stdin, start=1):
    print(f"{number:6d}  {line}", end="")

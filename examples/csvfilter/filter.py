"""Keep the rows of a CSV table whose COLUMN is VALUE: filter.py COLUMN VALUE.

Reads the table on standard input, writes those rows to standard output and
says on standard error how many they are.  `tables` is a module of the job's
own image.
"""

import sys

from tables import read_table, write_table

column, value = sys.argv[1:]
rows = list(read_table(sys.stdin))
if not rows or column not in rows[0]:
    sys.exit(f"filter: the table has no column {column}")
kept = write_table(
    sys.stdout, list(rows[0]), (row for row in rows if row[column] == value)
)
print(f"filter: {kept} of {len(rows)} rows", file=sys.stderr)

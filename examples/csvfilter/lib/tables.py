"""Helpers for tables in CSV, shared by more than one program."""

import csv


def read_table(stream):
    """Yield a dictionary for each row; the first line names the columns."""
    yield from csv.DictReader(stream)


def write_table(stream, columns, rows):
    """Write the rows and return how many there were."""
    table = csv.DictWriter(stream, columns, lineterminator="\n")
    table.writeheader()
    count = 0
    for row in rows:
        table.writerow({name: row[name] for name in columns})
        count += 1
    return count

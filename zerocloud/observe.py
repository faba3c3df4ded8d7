"""Log fields: `key=value`, transaction and job first.

One info line per job, one per task.  Never bodies, tokens or guest output.
"""

from __future__ import annotations


def fields(**values: object) -> str:
    """`a=1 b="two words"`: None is left out, blanks and quotes are quoted."""
    return " ".join(
        f"{name}={_value(value)}"
        for name, value in values.items()
        if value is not None
    )


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    text = str(value)
    plain = text.isprintable() and not set(text) & set(' "=\\')
    if plain and text:
        return text
    escaped = text.encode("unicode_escape").decode("ascii")
    return '"' + escaped.replace('"', '\\"') + '"'

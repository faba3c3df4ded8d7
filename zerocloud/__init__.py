"""ZeroCloud: runs sandboxed programs next to the objects of Swift."""

__version__ = "0.1.0"

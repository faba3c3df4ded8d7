"""Bytes between processes: docs/protocol.md in code.  No I/O, no Swift."""

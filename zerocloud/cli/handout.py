"""What a job wrote → stdout, stderr, files; and the table of its nodes.

* immediate outputs: to stdout in node order (an immediate stderr to stderr),
  or each to a file NODE.DEVICE in a folder;
* the report as JSON: to stdout, instead of the outputs (it holds them);
* the table of nodes and the summary: to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import BinaryIO

from zerocloud.cli.table import printable, result_lines
from zerocloud.client import JobResult, OutputBytes, UsageError


def hand_out(result: JobResult, *, as_json: bool, folder: str | None) -> bool:
    """Write the outputs; returns whether one was too long for the report."""
    if as_json:
        text = json.dumps(result.report, indent=2) + "\n"
        write_all(sys.stdout.buffer, text.encode("utf-8"))
    for output in result.outputs:
        if output.data is None:
            sys.stderr.write(f"zerocloud: {_too_long(output)}\n")
        elif folder:
            _write_file(Path(folder), output, output.data)
        elif not as_json:
            to_stderr = output.device == "stderr"
            stream = sys.stderr if to_stderr else sys.stdout
            stream.flush()
            write_all(stream.buffer, output.data)
    return any(output.data is None for output in result.outputs)


def show_table(result: JobResult) -> None:
    """The table and the summary; last, where both are one terminal."""
    sys.stdout.flush()
    for line in result_lines(result):
        sys.stderr.write(line + "\n")


def write_all(stream: BinaryIO, data: bytes) -> None:
    """Write everything, or raise BrokenPipeError.

    Under PYTHONUNBUFFERED one write may do a part; the text layer above would
    not notice, nor that the reader has gone.
    """
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]
    stream.flush()


def make_directory(name: str) -> None:
    """Make a folder for outputs, before the job is run; UsageError."""
    try:
        os.makedirs(name, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error


def file_name(output: OutputBytes) -> str:
    """NODE.DEVICE as one path component, whatever the node is called."""
    node = output.node.replace("%", "%25").replace("/", "%2F")
    return f"{node}.{output.device}"


def _write_file(directory: Path, output: OutputBytes, data: bytes) -> None:
    path = directory / file_name(output)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _too_long(output: OutputBytes) -> str:
    return (
        f"{printable(output.node)} {output.device}: {output.size} bytes are "
        "too long for a report; use --raw, or give the device a path"
    )

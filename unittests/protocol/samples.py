"""Whole, valid documents that the protocol's tests bend."""

from __future__ import annotations

from typing import Any

from zerocloud.protocol.signing import TaskId, TaskRequest

KEY = b"k" * 32
OTHER_KEY = b"o" * 32
NOW = 1_700_000_000


def request(**changes: Any) -> TaskRequest:
    values: dict[str, Any] = {
        "path": "/sda/7/AUTH_a/c/o",
        "policy_index": 0,
        "task": TaskId("job1", "map-1", 1),
        "digest": "ab" * 32,
        "expires": NOW + 100,
        "pin": "1699999999.00000",
    }
    return TaskRequest(**{**values, **changes})


def task() -> dict[str, Any]:
    return {
        "version": 1,
        "job": "2f6e",
        "node": "map-1",
        "attempt": 1,
        "program": {"name": "swift://AUTH_a/bin/wc.wasm", "sha256": "1" * 64},
        "args": ["wc", "-l"],
        "env": [["LANG", "C.UTF-8"]],
        "images": [
            {"device": "image", "kind": "blob", "sha256": "2" * 64},
            {"device": "python3", "kind": "system", "sha256": "3" * 64},
        ],
        "inputs": [
            {
                "device": "stdin",
                "access": "sequential",
                "source": "local",
                "identity": {"path": "/a/c/ö", "bytes": 9, "version": "1.0"},
            },
            {
                "device": "input",
                "access": "random",
                "source": "stream",
                "bytes": 7,
                "identity": {"path": "/a/c/p", "bytes": 7, "version": "2.0"},
            },
        ],
        "outputs": [
            {
                "device": "stdout",
                "access": "sequential",
                "limit_bytes": 1073741824,
            }
        ],
        "limits": {
            "memory_bytes": 536870912,
            "wall_seconds": 30.0,
            "cpu_seconds": 30.0,
            "stderr_bytes": 65536,
        },
        "ok_exit": [0, 1],
        "clock_nanoseconds": 946684800000000000,
        "seed": "4" * 64,
        "inline_bytes": 65536,
    }


def report() -> dict[str, Any]:
    return {
        "version": 1,
        "outcome": {"kind": "exit", "code": 0, "message": ""},
        "wall_seconds": 0.004,
        "cpu_seconds": 0.002,
        "memory_peak_bytes": 1114112,
        "channels": [
            {
                "path": "/dev/stdin",
                "reads": 3,
                "read_bytes": 1024,
                "writes": 0,
                "write_bytes": 0,
                "size": 1024,
                "blake3": "5" * 64,
                "md5": None,
            }
        ],
        "stderr_tail": "",
        "limits_reached": ["memory_bytes"],
        "program_sha256": "6" * 64,
        "receipt": None,
    }

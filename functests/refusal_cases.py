"""Jobs that are wrong, by kind of fault, and what must be said about each.

`BOX` stands for the test's container, which holds `a` and `in/1` to `in/3`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CAT = "swift://~/BOX/bin/cat.wasm"


@dataclass(frozen=True)
class Case:
    """A job, and what must be said about it."""

    job: Any
    code: str
    words: tuple[str, ...]
    where: str | None = None


def node(*devices: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """One good group, but for what is given."""
    made = {"name": "n", "exec": {"path": CAT}, "devices": [*devices], **keys}
    return {k: v for k, v in made.items() if v is not ...}


def runs(**keys: Any) -> list[dict[str, Any]]:
    """A job of one group with that in its `exec`."""
    return [node(exec={"path": CAT, **keys})]


def dev(name: Any, path: Any = ..., **keys: Any) -> dict[str, Any]:
    """A device; `path` is of the test's container."""
    if isinstance(path, str) and "://" not in path:
        path = f"swift://~/BOX/{path}"
    made = {"name": name, "path": path, **keys}
    return {k: v for k, v in made.items() if v is not ...}


def whole(**keys: Any) -> dict[str, Any]:
    """A job in the object form."""
    made = {"version": 2, "nodes": [node()], **keys}
    return {k: v for k, v in made.items() if v is not ...}


DOCUMENTS = {
    "broken": Case(b'[{"name": "n",', "job_not_json", ("line 1", "column")),
    "nothing": Case(b"", "job_not_json", ("not JSON",)),
    "not UTF-8": Case(b'["\xff"]', "job_not_json", ("UTF-8", "byte 2")),
    "NaN": Case(b"[NaN]", "job_not_json", ("NaN",)),
    "two documents": Case(b"[] []", "job_not_json", ("Extra data",)),
    "a number": Case(b"42", "job_schema", ("job is 42", "a list of groups")),
    "a string": Case(b'"x"', "job_schema", ('"x"', "a list of groups")),
    "null": Case(b"null", "job_schema", ("null", "a list of groups")),
    "an empty list": Case([], "job_schema", ("no groups", "at least one")),
    "a list of numbers": Case([1], "job_schema", ("1", "name"), "/0"),
    "half a surrogate": Case(b'["\\ud800"]', "job_schema", ("surrogate",)),
    "nested deep": Case(
        b"[" * 5000 + b"]" * 5000, "job_schema", ("deeper than 32",)
    ),
    "a number of 5000 digits": Case(
        b'[{"count": ' + b"9" * 5000 + b"}]", "job_schema", ("100 digits",)
    ),
    "too large": Case(
        [node(location="x" * 70_000)],
        "job_too_large",
        ("65536", "max_job_bytes"),
    ),
    "too large in the object form": Case(
        whole(seed="x" * 2_000_000),
        "job_too_large",
        ("1048576", "max_stored_job_bytes"),
    ),
}

OBJECT_FORM = {
    "no version": Case(whole(version=...), "job_schema", ("version", "2")),
    "version 3": Case(whole(version=3), "job_schema", ("3", "allowed is 2")),
    "no nodes": Case(whole(nodes=...), "job_schema", ("nodes is missing",)),
    "nodes is no list": Case(
        whole(nodes={}), "job_schema", ("a list of groups",), "/nodes"
    ),
    "unknown key": Case(
        whole(node=[]), "job_schema", ('"node"', "nodes, seed and version")
    ),
    "limit unknown": Case(
        whole(limits={"walls": 1}),
        "job_schema",
        ('"walls"', "wall_seconds"),
        "/limits",
    ),
    "limit beyond the cap": Case(
        whole(limits={"wall_seconds": 301}),
        "job_limit",
        ("301", "300", "max_wall_seconds"),
        "/limits/wall_seconds",
    ),
    "limit negative": Case(
        whole(limits={"memory_bytes": -1}),
        "job_schema",
        ("memory_bytes", "-1", "from 65536"),
        "/limits/memory_bytes",
    ),
    "commit": Case(whole(commit="all"), "not_implemented", ("commit",)),
}

KEYS = {
    "unknown key": Case(
        [node(cuont=3)], "job_schema", ('"cuont"', "count", "exec"), "/0"
    ),
    "duplicate key": Case(
        b'[{"name": "n", "name": "m", "exec": {"path": "swift://~/c/o"}}]',
        "job_schema",
        ('"name"', "twice"),
        "/0",
    ),
    "no name": Case([node(name=...)], "job_schema", ("has no name",), "/0"),
    "no exec": Case([node(exec=...)], "job_schema", ("has no exec",), "/0"),
    "name is a number": Case(
        [node(name=5)], "job_schema", ("name is 5",), "/0/name"
    ),
    "name with a comma": Case(
        [node(name="a,b")], "job_schema", ('"a,b"', "none of"), "/0/name"
    ),
    "name with a line end": Case(
        [node(name="a\nb")], "job_schema", ("printable",), "/0/name"
    ),
    "devices is an object": Case(
        [node(devices={})], "job_schema", ("a list of",), "/0/devices"
    ),
    "two spellings": Case(
        [node(file_list=[])], "job_schema", ("file_list", "devices"), "/0"
    ),
    "count is text": Case(
        [node(count="3")],
        "job_schema",
        ('count is "3"', "whole number"),
        "/0/count",
    ),
    "count is true": Case(
        [node(count=True)], "job_schema", ("count is true",), "/0/count"
    ),
    "count is no whole number": Case(
        [node(count=1.5)], "job_schema", ("count is 1.5",), "/0/count"
    ),
    "count is negative": Case(
        [node(count=-1)], "job_schema", ("-1", "from 1 to 1000"), "/0/count"
    ),
    "count is zero": Case(
        [node(count=0)], "job_schema", ("0", "from 1 to 1000"), "/0/count"
    ),
    "count is huge": Case(
        [node(count=10**30)],
        "too_many_nodes",
        ("1000000000000", "1000", "max_nodes"),
    ),
    "count beside a wildcard": Case(
        [node(dev("stdin", "in/*"), count=2)],
        "job_rule",
        ("count", "wildcard", "stdin"),
        "/0/count",
    ),
    "too many nodes together": Case(
        [node(name="a", count=600), node(name="b", count=600)],
        "too_many_nodes",
        ("1200", "1000", "max_nodes"),
    ),
    "ok_exit is empty": Case(
        [node(ok_exit=[])], "job_schema", ("at least one",), "/0/ok_exit"
    ),
    "attach to no device": Case(
        [node(dev("stdout"), attach="stdin")],
        "job_rule",
        ("attach is stdin", "stdout", "default"),
        "/0/attach",
    ),
    "two groups of one name": Case(
        [node(), node()], "job_rule", ("group n", "twice"), "/1"
    ),
    "a group named as a node": Case(
        [node(name="m", count=2), node(name="m-2")],
        "job_rule",
        ("m-2", "group m"),
        "/1/name",
    ),
    "connect": Case(
        [node(name="a", connect=["b"]), node(name="b")],
        "not_implemented",
        ("connect", "not offered yet"),
        "/0/connect",
    ),
    "replicate": Case(
        [node(replicate=2)],
        "not_implemented",
        ("replicate", "0 and 1"),
        "/0/replicate",
    ),
}

PROGRAMS = {
    "no path": Case(
        [node(exec={"args": "x"})],
        "job_schema",
        ("has no path", "file://IMAGE:MEMBER"),
        "/0/exec",
    ),
    "exec is a list": Case(
        [node(exec=[])], "job_schema", ("exec is a list", "path"), "/0/exec"
    ),
    "unknown key": Case(
        runs(arguments="x"), "job_schema", ('"arguments"', "args"), "/0/exec"
    ),
    "path is a number": Case(
        runs(path=7), "job_schema", ("path is 7",), "/0/exec/path"
    ),
    "a host's file": Case(
        runs(path="/bin/sh"),
        "job_schema",
        ("/bin/sh", "no file of a host"),
        "/0/exec/path",
    ),
    "a host's file by URL, without an image": Case(
        runs(path="file:///bin/sh"),
        "job_rule",
        ("bin/sh", "files of a host cannot be reached"),
        "/0/exec/path",
    ),
    "a name that climbs": Case(
        runs(path="file://python3:../../bin/sh"),
        "job_schema",
        ("../../bin/sh",),
        "/0/exec/path",
    ),
    "http": Case(
        runs(path="http://localhost/x"),
        "job_schema",
        ("http://localhost/x", "swift://"),
        "/0/exec/path",
    ),
    "zvm": Case(
        runs(path="zvm://n"), "not_implemented", ("zvm://n",), "/0/exec/path"
    ),
    "a wildcard": Case(
        runs(path="swift://~/BOX/*.wasm"),
        "job_schema",
        ("wildcard", "one object"),
        "/0/exec/path",
    ),
    "an unknown image": Case(
        runs(path="file://cobol:run"),
        "unknown_image",
        ("cobol", "python3"),
        "/0/exec/path",
    ),
    "args is a number": Case(
        runs(args=3), "job_schema", ("args is 3",), "/0/exec/args"
    ),
    "args with an open quote": Case(
        runs(args="a 'b"), "job_schema", ("quote",), "/0/exec/args"
    ),
    "args with a line end": Case(
        runs(args=["a\nb"]), "job_schema", ("control",), "/0/exec/args/0"
    ),
    "env is a list": Case(
        runs(env=["A=1"]), "job_schema", ("env is a list",), "/0/exec/env"
    ),
    "env of a truth": Case(
        runs(env={"A": True}), "job_schema", ("A is true",), "/0/exec/env/A"
    ),
    "env of a name with =": Case(
        runs(env={"A=B": "1"}), "job_schema", ("A=B",), "/0/exec/env"
    ),
    "a missing object": Case(
        runs(path="swift://~/BOX/no.wasm"), "not_found", ("BOX/no.wasm",)
    ),
    "a missing container": Case(
        runs(path="swift://~/nobox/x.wasm"), "not_found", ("nobox/x.wasm",)
    ),
}

DEVICES = {
    "not an object": Case(
        [node("stdin")],  # type: ignore[arg-type] # the fault
        "job_schema",
        ('"stdin"', "name"),
        "/0/devices/0",
    ),
    "no name": Case(
        [node({"path": CAT})], "job_schema", ("has no name",), "/0/devices/0"
    ),
    "unknown": Case(
        [node(dev("sdtin"))],
        "job_schema",
        ("sdtin", "stdin", "python3"),
        "/0/devices/0",
    ),
    "a host's device": Case(
        [node(dev("/dev/sda"))],
        "job_schema",
        ("/dev/sda",),
        "/0/devices/0/name",
    ),
    "twice": Case(
        [node(dev("stdin", "a"), dev("stdin", "a"))],
        "job_rule",
        ("stdin", "twice"),
        "/0/devices/1",
    ),
    "unknown key": Case(
        [node(dev("stdin", "a", access="ro"))],
        "job_schema",
        ('"access"', "path"),
        "/0/devices/0",
    ),
    "path is null": Case(
        [node(dev("stdin", None))],
        "job_schema",
        ("path is null",),
        "/0/devices/0/path",
    ),
    "input without path": Case(
        [node(dev("input"))],
        "job_rule",
        ("input has no path", "needs one"),
        "/0/devices/0",
    ),
    "script without path": Case(
        [node(dev("script"))],
        "job_rule",
        ("script has no path", "needs one"),
        "/0/devices/0",
    ),
    "image without path": Case(
        [node(dev("image"))],
        "job_rule",
        ("image has no path", "needs one"),
        "/0/devices/0",
    ),
    "system image with a path": Case(
        [node(dev("python3", "a"))],
        "job_rule",
        ("python3 is a system image", "path"),
        "/0/devices/0",
    ),
    "a host's file to read": Case(
        [node(dev("stdin", "file:///etc/passwd"))],
        "job_schema",
        ("file:///etc/passwd", "objects only"),
        "/0/devices/0/path",
    ),
    "a host's file to write": Case(
        [node({"name": "stdout", "path": "/etc/cron.d/x"})],
        "job_schema",
        ("/etc/cron.d/x", "objects only"),
        "/0/devices/0/path",
    ),
    "the network": Case(
        [node(dev("stdout", "tcp://1.2.3.4:80"))],
        "job_schema",
        ("tcp://1.2.3.4:80", "objects only"),
        "/0/devices/0/path",
    ),
    "another node": Case(
        [node(dev("stdout", "zvm://b:/dev/stdin"))],
        "not_implemented",
        ("zvm://b:/dev/stdin", "not offered yet"),
        "/0/devices/0/path",
    ),
    "only an account": Case(
        [node(dev("stdin", "swift://~"))],
        "job_schema",
        ("the container is missing",),
        "/0/devices/0/path",
    ),
    "only a container": Case(
        [node(dev("stdin", "swift://~/BOX"))],
        "job_schema",
        ("a container is not an object",),
        "/0/devices/0/path",
    ),
    "a wildcard account": Case(
        [node(dev("stdin", "swift://*/BOX/a"))],
        "job_schema",
        ("the account has a wildcard",),
        "/0/devices/0/path",
    ),
    "content_type of an input": Case(
        [node(dev("stdin", "a", content_type="text/csv"))],
        "job_rule",
        ("content_type", "stdout, stderr and output"),
        "/0/devices/0/content_type",
    ),
    "content_type with a line end": Case(
        [node(dev("stdout", "o", content_type="text/plain\r\nX-A: b"))],
        "job_schema",
        ("TYPE/SUBTYPE",),
        "/0/devices/0/content_type",
    ),
    "meta of a number": Case(
        [node(dev("stdout", "o", meta={"A": 1}))],
        "job_schema",
        ("A is 1", "a string"),
        "/0/devices/0/meta/A",
    ),
    "meta with a line end": Case(
        [node(dev("stdout", "o", meta={"A": "b\r\nX: y"}))],
        "job_schema",
        ("control characters",),
        "/0/devices/0/meta/A",
    ),
    "min_size is negative": Case(
        [node(dev("stdout", "o", min_size=-1))],
        "job_schema",
        ("min_size is -1",),
        "/0/devices/0/min_size",
    ),
}

OBJECTS = {
    "input is missing": Case(
        [node(dev("stdin", "no"), dev("stdout"))], "not_found", ("BOX/no",)
    ),
    "container of an input is missing": Case(
        [node(dev("stdin", "swift://~/nobox/a"))], "not_found", ("nobox/a",)
    ),
    "image is missing": Case(
        [node(dev("image", "no.tar"))], "not_found", ("BOX/no.tar",)
    ),
    "script is missing": Case(
        [node(dev("script", "no.py"))], "not_found", ("BOX/no.py",)
    ),
    "one input of two is missing": Case(
        [node(dev("stdin", "a"), dev("input", "no"), dev("stdout", "o"))],
        "not_found",
        ("BOX/no",),
    ),
    "container of an output is missing": Case(
        [node(dev("stdin", "a"), dev("stdout", "swift://~/nobox/o"))],
        "not_found",
        ("nobox", "does not exist", "nobox/o"),
    ),
    "container of a wildcard is missing": Case(
        [node(dev("stdin", "swift://~/nobox/*"))], "not_found", ("nobox",)
    ),
    "wildcard matches nothing": Case(
        [node(dev("stdin", "*.csv"))],
        "no_match",
        ("BOX/*.csv", "stdin", "matches no object"),
        "/0/devices/0/path",
    ),
    "wildcard of containers matches nothing": Case(
        [node(dev("stdin", "swift://~/nobox*/*"))],
        "no_match",
        ("nobox*/*",),
        "/0/devices/0/path",
    ),
    "two wildcards are read": Case(
        [node(dev("stdin", "in/*"), dev("input", "in/*"))],
        "job_rule",
        ("stdin", "input", "one per group"),
        "/0/devices/1/path",
    ),
    "more stars are written than read": Case(
        [node(dev("stdin", "in/*"), dev("stdout", "out/*/*"))],
        "job_rule",
        ("stdout", "2 wildcards", "allowed are 1"),
        "/0/devices/1/path",
    ),
    "two devices write one object": Case(
        [node(dev("stdout", "o"), dev("output", "o"))],
        "job_rule",
        ("stdout", "output", "BOX/o", "one writer"),
    ),
    "two groups write one object": Case(
        [
            node(dev("stdout", "o"), name="first"),
            node(dev("stdout", "o"), name="second"),
        ],
        "job_rule",
        ("first", "second", "BOX/o", "one writer"),
    ),
    "all of a count write one object": Case(
        [node(dev("stdout", "o"), count=2)],
        "job_rule",
        ("2 nodes", "BOX/o"),
        "/0/devices/0/path",
    ),
    "all of a wildcard write one object": Case(
        [node(dev("stdin", "in/*"), dev("stdout", "o"))],
        "job_rule",
        ("n-1", "n-2", "BOX/o"),
    ),
}

TABLES = {
    "document": DOCUMENTS,
    "object form": OBJECT_FORM,
    "group": KEYS,
    "program": PROGRAMS,
    "device": DEVICES,
    "objects": OBJECTS,
}

"""Jobs without JSON (zerocloud/client/build.py)."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from zerocloud.client import UsageError, make_job
from zerocloud.client.build import describe_job
from zerocloud.client.sending import job_body

EACH, TO = "swift://~/texts/*", "swift://~/counts/*"
WC = "swift://~/programs/wc.wasm"


def members(job: Any) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(job)) as tar:
        return {
            info.name: tar.extractfile(info).read()  # type: ignore[union-attr]
            for info in tar
        }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_job_of_a_named_program_is_plain_json() -> None:
    assert make_job(WC, "-l", each=EACH, to=TO) == [
        {
            "name": "wc",
            "exec": {"path": WC, "args": ["-l"]},
            "devices": [
                {"name": "stdin", "path": EACH},
                {"name": "stdout", "path": TO},
            ],
        }
    ]


def test_job_with_everything_says_it_all() -> None:
    job = make_job(
        "file://python3:python",
        "-c",
        "print(1)",
        count=3,
        name="draw",
        env={"A": "1"},
        limits={"wall_seconds": 5},
        content_type="text/plain",
        to="swift://~/draws/*",
    )
    assert job == [
        {
            "name": "draw",
            "exec": {
                "path": "file://python3:python",
                "args": ["-c", "print(1)"],
                "env": {"A": "1"},
            },
            "devices": [
                {"name": "stdin"},
                {
                    "name": "stdout",
                    "path": "swift://~/draws/*",
                    "content_type": "text/plain",
                },
            ],
            "count": 3,
            "limits": {"wall_seconds": 5},
        }
    ]


def test_job_in_a_mode_is_in_the_object_form() -> None:
    (plain,) = make_job(WC, each=EACH, to=TO)
    job = make_job(WC, each=EACH, to=TO, determinism="strict")
    assert job == {"version": 2, "determinism": "strict", "nodes": [plain]}
    fuel = make_job(WC, limits={"fuel": 5}, determinism="strict")
    assert isinstance(fuel, dict)
    with pytest.raises(UsageError, match="fuel is counted in strict mode"):
        make_job(WC, limits={"fuel": 5}, determinism="default")
    with pytest.raises(UsageError, match="allowed is default and strict"):
        make_job(WC, determinism="lax")


def test_job_that_seeks_reads_its_object_as_input() -> None:
    [group] = make_job(WC, each=EACH, read_as="input")
    assert group["devices"][0] == {"name": "input", "path": EACH}  # type: ignore[index]


@pytest.mark.parametrize(
    ("first", "path", "words"),
    [
        ("#!file://python3:python -u", "file://python3:python", ["-u"]),
        ("#!file://perl5:perl -w '-I a b'\r", "file://perl5:perl",
         ["-w", "-I a b"]),
        ("#!swift://~/bin/sh.wasm", "swift://~/bin/sh.wasm", []),
        ("#!/usr/bin/env python3", "file://python3:python", []),
        ("import sys", "file://python3:python", []),
    ],
)  # fmt: skip
def test_job_of_a_script_carries_it_beside_the_job(
    folder: Path, first: str, path: str, words: list[str]
) -> None:
    content = f"{first}\nprint()\n".encode()
    (folder / "count.py").write_bytes(content)
    job = make_job("count.py", "a b", each=EACH)
    assert job_body(job)[1] == "application/x-tar"
    found = members(job)
    assert list(found) == ["boot/system.map", "job/count.py"]
    assert found["job/count.py"] == content
    [group] = json.loads(found["boot/system.map"])
    assert group["name"] == "count"
    assert group["exec"]["path"] == path
    assert group["exec"]["args"] == [*words, "/job/count.py", "a b"]


def test_job_of_a_script_is_the_same_bytes_each_time(folder: Path) -> None:
    (folder / "a.py").write_text("print(1)\n")
    first = make_job("a.py")
    (folder / "a.py").touch()
    assert make_job("a.py") == first


def test_job_of_a_local_program_runs_it_from_its_image(folder: Path) -> None:
    (folder / "wc.wasm").write_bytes(b"\0asm\1\0\0\0")
    made = describe_job(folder / "wc.wasm", ["-l"], each=EACH)
    assert made.document[0]["exec"] == {
        "path": "file://image:job/wc.wasm",
        "name": "wc.wasm",
        "args": ["-l"],
    }


def test_job_takes_local_files_along(folder: Path) -> None:
    (folder / "a.py").write_text("import helper\n")
    (folder / "helper.py").write_text("")
    (folder / "table.csv").write_text("1,2\n")
    job = make_job("a.py", files=["helper.py", folder / "table.csv"])
    assert list(members(job))[1:] == [
        "job/a.py",
        "job/helper.py",
        "job/table.csv",
    ]


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("swift://~/bin/a:b,c.wasm", "b-c"),
        ("file://python3:python", "python"),
        ("swift://~/c/...", "job"),
        ("swift://~/c/größe.wasm", "größe"),
    ],
)
def test_job_names_its_nodes_after_the_program(
    program: str, name: str
) -> None:
    assert describe_job(program).document[0]["name"] == name


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"each": "texts/*"}, "device stdin: path is \"texts/\\*\"; allowed"),
        ({"each": "swift://~/texts"}, "a container is not an object"),
        ({"to": "swift://~/a/*", "each": "swift://~/t/x", "count": 0},
         "count is 0; allowed"),
        ({"each": EACH, "count": 2}, "count and the wildcard"),
        ({"each": EACH, "to": "swift://~/c/*/*"}, "wildcards"),
        ({"limits": {"wall": 5}}, "key \"wall\" is not known; allowed are"),
        ({"env": {"A=B": "1"}}, "A=B"),
        ({"name": "a/b"}, "a/b"),
        ({"content_type": "text"}, "content_type"),
        ({"read_as": "output"}, "allowed are stdin and input"),
        ({"files": ["x"]}, "beside a local program only"),
        ({"limits": {"wall_seconds": {1}}}, "not JSON serializable"),
    ],
)  # fmt: skip
def test_job_that_makes_no_sense_is_refused_here(
    options: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make_job(WC, **options)
    assert text.replace("\\*", "*") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.txt", "hello", "a.txt is no program: allowed are a Python"),
        ("a.sh", "#!/bin/sh\n", "nothing here runs '/bin/sh'; allowed is"),
        ("a.py", "#!file://python3:python 'x\n", "has an open quote"),
        ("a.py", "#!file://:python\n", "this makes no job: "),
        ("a b.py", "", "letters, digits and . _ - only"),
    ],
)
def test_job_of_a_file_that_is_no_program_says_what_is(
    folder: Path, name: str, content: str, text: str
) -> None:
    (folder / name).write_text(content)
    with pytest.raises(UsageError) as caught:
        make_job(name)
    assert text in str(caught.value)


def test_job_of_a_missing_file_names_it(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.py: No such file"):
        make_job("none.py")


def test_job_with_two_files_of_one_name_is_refused(folder: Path) -> None:
    (folder / "a.py").write_text("")
    (folder / "d").mkdir()
    (folder / "d" / "a.py").write_text("")
    with pytest.raises(UsageError, match="have one name"):
        make_job("a.py", files=["d/a.py"])

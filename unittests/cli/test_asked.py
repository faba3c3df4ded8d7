"""Jobs without JSON on the command line (zerocloud/cli/asked.py)."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from unittests.client.endpoint import Endpoint
from zerocloud.cli import exit as status
from zerocloud.cli.asked import Asked, asked_of
from zerocloud.cli.main import main, parse

Captured = pytest.CaptureFixture[str]

EACH, TO = "swift://~/texts/*", "swift://~/counts/*"
WC = "swift://~/programs/wc.wasm"
PLAIN = "print('hello')\n"
OURS = f"#!file://python3:python -u\n{PLAIN}"
JOB = [{"name": "a", "exec": {"path": "file://fake:cat"}}]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("plain.py").write_text(PLAIN)
    Path("ours").write_text(OURS)
    Path("wc.wasm").write_bytes(b"\0asm\1\0\0\0")
    Path("job.json").write_text(json.dumps(JOB))
    return tmp_path


def asked(*words: str) -> Asked:
    return asked_of(parse(["run", *words]))


def group(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = asked(*words).document[0]
    return found


def shown(capsys: Captured, *words: str) -> Any:
    assert main(["run", "--show-job", *words]) == status.SUCCESS
    return json.loads(capsys.readouterr().out)


def test_options_and_what_follows_the_dashes_make_a_job(
    capsys: Captured,
) -> None:
    line = ["--program", WC, "--each", EACH, "--to", TO, "--", "-l", "--to"]
    assert shown(capsys, *line) == [
        {
            "name": "wc",
            "exec": {"path": WC, "args": ["-l", "--to"]},
            "devices": [
                {"name": "stdin", "path": EACH},
                {"name": "stdout", "path": TO},
            ],
        }
    ]


def test_every_option_is_in_the_job() -> None:
    assert group(
        *("--program", WC, "--count", "2", "--name", "n"),
        *("--env", "A=1=2", "--env", "B=", "--content-type", "text/csv"),
        *("--limit", "wall_seconds=0.5", "--limit", "memory_bytes=1048576"),
    ) == {
        "name": "n",
        "count": 2,
        "exec": {"path": WC, "env": {"A": "1=2", "B": ""}},
        "limits": {"wall_seconds": 0.5, "memory_bytes": 1048576},
        "devices": [
            {"name": "stdin"},
            {"name": "stdout", "content_type": "text/csv"},
        ],
    }
    assert group("--program", WC, "--each", EACH, "--as", "input")["devices"][
        0
    ] == {"name": "input", "path": EACH}


def test_strict_job_is_in_the_object_form() -> None:
    made = asked("--program", WC, "--strict", "--limit", "fuel=5").document
    assert (made["version"], made["determinism"]) == (2, "strict")
    assert made["nodes"][0]["limits"] == {"fuel": 5}
    assert asked("--program", WC, "--strict", "--count", "3").nodes == 3
    # A mode is part of what makes a job, like the other options.
    made = asked("plain.py", "--strict")
    assert made.document["determinism"] == "strict"
    assert isinstance(made.job, bytes)


def test_script_without_options_travels_as_it_is() -> None:
    assert asked("ours").job == OURS.encode()
    assert asked("job.json").job == json.dumps(JOB).encode()


@pytest.mark.parametrize(
    ("words", "args"),
    [
        (["plain.py"], ["/job/plain.py"]),
        (["ours", "--", "a", "b"], ["-u", "/job/ours", "a", "b"]),
        (["ours", "--each", EACH], ["-u", "/job/ours"]),
    ],
)
def test_script_with_options_or_a_plain_one_travels_in_a_tar(
    words: list[str], args: list[str]
) -> None:
    found = asked(*words)
    assert found.document[0]["exec"]["args"] == args
    assert isinstance(found.job, bytes)
    with tarfile.open(fileobj=io.BytesIO(found.job)) as tar:
        assert tar.getnames()[0] == "boot/system.map"


def test_show_job_of_local_files_says_that_they_go_along(
    capsys: Captured,
) -> None:
    assert main(["run", "--show-job", "wc.wasm", "--with", "ours"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["exec"]["path"] == "file://image:job/wc.wasm"
    assert [line.split()[1] for line in err.splitlines()] == [
        "/job/wc.wasm",
        "/job/ours",
    ]


def test_show_job_of_a_json_job_prints_it(capsys: Captured) -> None:
    assert shown(capsys, "job.json") == JOB


def test_show_job_sends_nothing_and_needs_no_account(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("ST_KEY", "wrong")
    Path("plain.py").write_text(PLAIN)
    assert shown(capsys, "plain.py")
    assert endpoint.requests == []


@pytest.mark.usefixtures("empty_stdin")
def test_script_is_sent_with_its_arguments_and_run(
    endpoint: Endpoint, capsys: Captured
) -> None:
    Path("plain.py").write_text(PLAIN)
    assert main(["run", "plain.py", "--quiet", "--", "--words", "x"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        "/job/plain.py",
        "--words",
        "x",
    ]


@pytest.mark.usefixtures("empty_stdin")
def test_script_can_be_stored_with_its_tar(
    endpoint: Endpoint, capsys: Captured
) -> None:
    Path("plain.py").write_text(PLAIN)
    line = ["run", "plain.py", "--store-as", "swift://~/jobs/p", "--quiet"]
    assert main(line) == 0
    kind, content = endpoint.objects["swift://AUTH_test/jobs/p"]
    assert (kind, content[257:262]) == ("application/x-tar", b"ustar")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["job.json", "--each", EACH], "no script or program, so it says"),
        (["job.json", "--", "-l"], "says by itself what -- ARGUMENTS says"),
        (["job.json", "--program", WC], "JOB and --program are given"),
        (["--source", WC, "--each", EACH], "--each makes a job, and --source"),
        (["--source", WC, "--", "a"], "-- ARGUMENTS makes a job, and"),
        (["--source", WC, "--show-job"], "shows what is here"),
        (["--program", WC, "--each", "texts/*"], 'path is "texts/*"; allowed'),
        (["--program", WC, "--env", "A"], "--env 'A' is not NAME=VALUE"),
        (["--program", WC, "--env", "=A"], "--env '=A' is not NAME=VALUE"),
        (["--program", WC, "--limit", "wall=5"],
         "--limit wall is not known; allowed are wall_seconds, cpu_seconds"),
        (["--program", WC, "--limit", "wall_seconds=5s"],
         "--limit wall_seconds is '5s'; allowed is a number of seconds"),
        (["--program", WC, "--limit", "memory_bytes=-1"], "memory_bytes"),
        (["--program", WC, "--with", "ours"], "beside a local program only"),
        (["--program", "wc.wasm", "--count", "0"], "count is 0; allowed"),
        (["--program", WC, "--payload", "ours"], "--payload is for stored"),
        (["plain.py", "--with", "none"], "none: No such file"),
        (["--", "-l"], "nothing to run: give a JOB file, --program"),
    ],
)  # fmt: skip
def test_line_that_makes_no_sense_exits_2_and_sends_nothing(
    endpoint: Endpoint,
    capsys: Captured,
    folder: Path,
    words: list[str],
    text: str,
) -> None:
    assert main(["run", *words]) == status.USAGE
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1
    assert endpoint.requests == []


def test_words_after_a_job_that_lack_the_dashes_are_refused(
    capsys: Captured,
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "plain.py", "word"])
    assert caught.value.code == status.USAGE
    err = capsys.readouterr().err
    assert "unrecognized arguments: word" in err
    assert "meant for the program comes after --" in err


def test_words_after_dashes_are_refused_where_nothing_takes_them(
    capsys: Captured,
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["version", "--", "word"])
    assert caught.value.code == status.USAGE
    assert "unrecognized arguments: -- word" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("document", "nodes"),
    [
        ([{"name": "a"}, {"name": "b", "count": 3}], 4),
        ({"version": 2, "nodes": [{"name": "a", "count": 2}]}, 2),
        ([{"devices": [{"name": "stdin", "path": EACH}]}], None),
        ([{"count": 2, "devices": [{"name": "stdout", "path": TO}]}], 2),
        ([{"count": "many"}], 1),
        ({"nodes": 5}, None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_nodes_are_known_where_no_wildcard_decides(
    document: Any, nodes: int | None
) -> None:
    assert Asked("x", document=document).nodes == nodes

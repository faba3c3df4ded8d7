"""`zerocloud run` and `info` against a real cluster, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from functests.commands import Command
from functests.support import Account
from zerocloud.cluster import Cluster

SCRIPT = "#!file://python3:python\nprint('hello')\n"
PYTHON = {"path": "file://python3:python"}


@pytest.fixture
def zerocloud(cluster: Cluster, tmp_path: Path) -> Command:
    return Command(cluster, tmp_path)


def save(folder: Path, name: str, job: object) -> str:
    text = job if isinstance(job, str) else json.dumps(job)
    (folder / name).write_text(text)
    return name


def test_run_script_prints_its_output_and_where_it_ran(
    zerocloud: Command, tmp_path: Path
) -> None:
    done = zerocloud("run", save(tmp_path, "hello.py", SCRIPT))
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr
    lines = done.stderr.decode().splitlines()
    assert lines[1].startswith("script ")
    assert " exit 0 " in lines[1]
    assert " succeeded: 1 node, 1 server" in lines[2]


def test_run_job_over_objects_reads_in_place_and_answers_in_order(
    zerocloud: Command, tmp_path: Path, account: Account
) -> None:
    for name in ("b", "a", "c"):
        account.put(name, name.encode() * 1000)
    job = [
        {
            "name": "n",
            "exec": {
                **PYTHON,
                "args": ["-c", "print(input()[:3])"],
            },
            "devices": [
                {"name": "python3"},
                {"name": "stdin", "path": account.path("*")},
                {"name": "stdout"},
            ],
        }
    ]
    done = zerocloud("run", save(tmp_path, "job.json", job))
    assert (done.returncode, done.stdout) == (0, b"aaa\nbbb\nccc\n")
    assert "2.9 KiB read in place, 0 B streamed" in done.stderr.decode()


def test_run_output_dir_and_json_hand_out_files_and_report(
    zerocloud: Command, tmp_path: Path
) -> None:
    name = save(tmp_path, "hello.py", SCRIPT)
    done = zerocloud("run", "--output-dir", "out", "--json", "--quiet", name)
    report = json.loads(done.stdout)
    assert report["status"] == "succeeded"
    assert report["nodes"][0]["outcome"]["code"] == 0
    assert (tmp_path / "out" / "script.stdout").read_bytes() == b"hello\n"
    assert done.stderr == b""


def test_run_binary_output_arrives_byte_for_byte(
    zerocloud: Command, tmp_path: Path
) -> None:
    script = (
        "#!file://python3:python\nimport sys\n"
        "sys.stdout.buffer.write(bytes(range(256)) * 100)\n"
    )
    done = zerocloud("run", "--quiet", save(tmp_path, "s.py", script))
    assert done.stdout == bytes(range(256)) * 100


def test_run_failing_script_exits_1_and_shows_its_traceback(
    zerocloud: Command, tmp_path: Path
) -> None:
    script = "#!file://python3:python\nraise SystemExit(1 / 0)\n"
    done = zerocloud("run", save(tmp_path, "s.py", script))
    assert done.returncode == 1
    text = done.stderr.decode()
    assert " exit 1 " in text
    assert "ZeroDivisionError" in text
    assert "1 failed, nothing was stored" in text


def test_run_unknown_image_exits_3_and_names_what_there_is(
    zerocloud: Command, tmp_path: Path
) -> None:
    script = "#!file://perl5:perl\nprint 1;\n"
    done = zerocloud("run", save(tmp_path, "s.pl", script))
    assert done.returncode == 3
    text = done.stderr.decode()
    assert "perl5" in text
    assert "python3" in text
    assert text.count("\n") == 1


def test_run_missing_object_exits_3_and_names_it(
    zerocloud: Command, tmp_path: Path, account: Account
) -> None:
    path = account.path("none")
    job = [
        {
            "name": "n",
            "exec": PYTHON,
            "devices": [{"name": "python3"}, {"name": "stdin", "path": path}],
        }
    ]
    done = zerocloud("run", save(tmp_path, "job.json", job))
    assert done.returncode == 3
    assert f"{account.container}/none" in done.stderr.decode()


def test_run_payload_reaches_a_job_that_is_stored_on_the_way(
    zerocloud: Command, tmp_path: Path, account: Account
) -> None:
    job = [
        {
            "name": "upper",
            "exec": {
                **PYTHON,
                "args": [
                    "-c",
                    "import sys; print(sys.stdin.read().upper(), end='')",
                ],
            },
            "devices": [
                {"name": "python3"},
                {"name": "stdin"},
                {"name": "stdout"},
            ],
        }
    ]
    name, stored = save(tmp_path, "job.json", job), account.path("upper.json")
    done = zerocloud("run", name, "--store-as", stored, stdin=b"some words\n")
    assert (done.returncode, done.stdout) == (0, b"SOME WORDS\n"), done.stderr
    assert json.loads(account.get("upper.json")) == job
    (tmp_path / "data").write_bytes(b"again\n")
    done = zerocloud("run", "--source", stored, "--payload", "data")
    assert (done.returncode, done.stdout) == (0, b"AGAIN\n"), done.stderr
    done = zerocloud("run", name, stdin=b"lost?\n")
    assert done.returncode == 2
    assert b"add --store-as" in done.stderr


def test_info_names_the_images_and_limits(zerocloud: Command) -> None:
    done = zerocloud("info")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "python3" in text
    assert "wall_seconds" in text
    assert json.loads(zerocloud("info", "--json").stdout)

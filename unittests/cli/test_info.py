"""`zerocloud info` and `zerocloud version`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unittests.client.endpoint import Endpoint
from zerocloud import __version__
from zerocloud.cli import exit as status
from zerocloud.cli.info import flat, info_lines
from zerocloud.cli.main import main
from zerocloud.cli.version import zvm_line

Captured = pytest.CaptureFixture[str]


FULL = {
    "version": "0.1.0",
    "modes": ["1.0"],
    "job_versions": [1, 2],
    "job_schema": "/zerocloud/job.schema.json",
    "system_images": [{"name": "python3", "sha256": "ab" * 32}],
    "local_reads": True,
    "determinism": {"default": "default", "allowed": ["default", "strict"]},
    "limits": {
        "defaults": {"wall_seconds": 30.0, "memory_bytes": 536870912},
        "caps": {"wall_seconds": 300.0, "memory_bytes": 2147483648},
        "max_nodes": 1000,
        "max_job_bytes": 65536,
    },
}


def test_info_is_tables_for_people() -> None:
    lines = info_lines(FULL, "http://h:8080/v1/AUTH_a")
    text = "\n".join(line.rstrip() for line in lines)
    assert (
        text
        == f"""\
endpoint          http://h:8080
account           AUTH_a
zerocloud         0.1.0
forms of jobs     1 (a list of groups), 2 (an object)
their schema      /zerocloud/job.schema.json
modes             1.0
objects are read  in place
determinism       default (allowed: default, strict)

system image  sha256
python3       {"ab" * 32}

limit of a node    default      cap
wall_seconds          30 s    300 s
memory_bytes     512.0 MiB  2.0 GiB

limit of a job      most
max_nodes           1000
max_job_bytes   64.0 KiB"""
    )


def test_info_of_another_version_loses_nothing() -> None:
    document = {
        "modes": "1.0",
        "local_reads": "often",
        "system_images": [],
        "job_versions": [3],
        "limits": {"defaults": 5, "max_nodes": 2, "of": {"later": 1}},
        "queues": [{"name": "a\x1b[2J"}],
    }
    lines = list(info_lines(document, "http://h/v1/AUTH_a"))
    text = "\n".join(lines)
    for found in (
        "modes: 1.0",
        "local_reads: often",
        "forms of jobs  3",
        "defaults           5",
        "limits.of.later: 1",
        "queues.0.name: a\\x1b[2J",
    ):
        assert found in text
    assert "max_nodes          2" in text


def test_info_prints_tables_or_the_document(
    endpoint: Endpoint, capsys: Captured
) -> None:
    endpoint.info["zerocloud"] = FULL
    assert main(["info"]) == status.SUCCESS
    assert capsys.readouterr().out.startswith(
        f"endpoint          {endpoint.url}"
    )
    assert main(["info", "--json"]) == status.SUCCESS
    assert json.loads(capsys.readouterr().out) == FULL


def test_info_without_the_filter_exits_3(
    endpoint: Endpoint, capsys: Captured
) -> None:
    endpoint.info = {"swift": {}}
    assert main(["info"]) == status.REFUSED
    assert "a Swift without ZeroCloud" in capsys.readouterr().err


def test_flat_joins_nested_keys() -> None:
    document = {
        "caps": {"wall_seconds": 300},
        "modes": ["1.0"],
        "images": [{"name": "python3"}],
    }
    assert list(flat(document)) == [
        ("caps.wall_seconds", "300"),
        ("modes", "1.0"),
        ("images.0.name", "python3"),
    ]


def test_version_names_itself_and_the_runner_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    zvm = tmp_path / "zvm"
    zvm.write_text('#!/bin/sh\necho zvm 7.7.7 "($1)"\n')
    zvm.chmod(0o755)
    monkeypatch.setenv("ZEROCLOUD_ZVM", str(zvm))
    assert main(["version"]) == status.SUCCESS
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"zerocloud {__version__}"
    assert lines[1] == "zvm 7.7.7 (--version)"
    assert any(line.startswith("swift 2.") for line in lines)


@pytest.mark.parametrize("content", ["", "#!/bin/sh\nexit 3\n"])
def test_version_of_a_runner_that_cannot_run_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    zvm = tmp_path / "zvm"
    zvm.write_text(content)
    zvm.chmod(0o755 if content else 0o644)
    monkeypatch.setenv("ZEROCLOUD_ZVM", str(zvm))
    assert zvm_line() == f"zvm unusable: {zvm} --version fails"

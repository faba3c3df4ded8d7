"""The command line of `zerocloud cluster`, as settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zerocloud.cli.cluster import asked_of
from zerocloud.cli.main import build_parser, main
from zerocloud.cluster.settings import SettingsError


def asked(*words: str) -> dict[str, Any]:
    line = ["cluster", "--dir", "/d", *words]
    return asked_of(build_parser().parse_args(line))


def test_cluster_without_options_asks_for_nothing() -> None:
    assert asked() == {"proxy_options": {}, "executor_options": {}}


def test_cluster_options_are_what_is_asked() -> None:
    line = (
        "--nodes 2 --replicas 1 --port 8080 --proxies 3 --mode process "
        "--encrypt --no-filters --keep-confs --proxy-option local_reads=false "
        "--executor-option slots=1 --executor-option cache_dir=/c=d"
    )
    assert asked(*line.split()) == {
        "nodes": 2,
        "replicas": 1,
        "port": 8080,
        "proxies": 3,
        "mode": "process",
        "encrypt": True,
        "filters": False,
        "keep_confs": True,
        "proxy_options": {"local_reads": "false"},
        "executor_options": {"slots": "1", "cache_dir": "/c=d"},
    }


def test_cluster_constraints_of_swift_are_what_is_asked() -> None:
    found = asked("--swift-constraint", "max_file_size=1000000")
    assert found["swift_constraints"] == {"max_file_size": "1000000"}


def test_cluster_constraint_that_swift_has_not_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["cluster", "--dir", str(tmp_path / "c")]
    assert main([*line, "--swift-constraint", "max_files=1"]) == 2
    assert capsys.readouterr().err.startswith(
        "zerocloud cluster: Swift has no constraint 'max_files'; allowed are "
    )


def test_cluster_option_without_a_value_is_refused() -> None:
    with pytest.raises(SettingsError, match="'slots' is not NAME=VALUE"):
        asked("--executor-option", "slots")


def test_cluster_whose_line_is_at_fault_exits_with_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = main(["cluster", "--dir", "/d", "--proxy-option", "x"])
    assert status == 2
    assert capsys.readouterr().err == (
        "zerocloud cluster: option 'x' is not NAME=VALUE\n"
    )


def test_cluster_without_a_folder_is_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cluster"])
    assert caught.value.code == 2
    assert "--dir" in capsys.readouterr().err

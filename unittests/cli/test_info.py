"""`zerocloud info` and `zerocloud version`."""

from __future__ import annotations

import json

import pytest

from unittests.client.endpoint import serving
from zerocloud import __version__
from zerocloud.cli import exit as status
from zerocloud.cli.info import flat
from zerocloud.cli.main import main

Captured = pytest.CaptureFixture[str]


def test_info_prints_keys_and_values(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    with serving() as endpoint:
        for name, value in endpoint.variables().items():
            monkeypatch.setenv(name, value)
        assert main(["info"]) == status.SUCCESS
        assert capsys.readouterr().out == (
            f"account: {endpoint.storage_url}\nmax_nodes: 1000\n"
        )
        assert main(["info", "--json"]) == status.SUCCESS
        assert json.loads(capsys.readouterr().out) == {"max_nodes": 1000}


def test_info_without_the_filter_exits_3(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    with serving() as endpoint:
        endpoint.info = {"swift": {}}
        for name, value in endpoint.variables().items():
            monkeypatch.setenv(name, value)
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


def test_version_names_itself_first(capsys: Captured) -> None:
    assert main(["version"]) == status.SUCCESS
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"zerocloud {__version__}"
    assert any(line.startswith("swift 2.") for line in lines)

"""`zerocloud paths`: the one place that decides, told to scripts."""

from __future__ import annotations

import pytest

from zerocloud.cli import exit as status
from zerocloud.cli import paths
from zerocloud.cli.main import main


def test_paths_prints_all_places(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZEROCLOUD_ZVM", "/opt/zvm")
    monkeypatch.setenv("ZEROCLOUD_CACHE", "/c")
    assert main(["paths"]) == status.SUCCESS
    lines = dict(
        line.split(" ", 1) for line in capsys.readouterr().out.splitlines()
    )
    assert list(lines) == ["zvm", "guests", "images", "cache"]
    assert lines["zvm"] == "/opt/zvm"
    assert lines["cache"] == "/c"


def test_paths_prints_the_named_one_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZEROCLOUD_CACHE", "/c d")
    assert main(["paths", "cache"]) == status.SUCCESS
    assert capsys.readouterr().out == "/c d\n"


def test_paths_of_what_is_not_built_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(paths._PLACES, "guests", lambda: None)
    assert main(["paths", "guests"]) == status.USAGE
    assert "guests: not built: `make build`" in capsys.readouterr().err
    assert main(["paths"]) == status.SUCCESS
    assert "guests not built" in capsys.readouterr().out


def test_paths_of_an_unknown_thing_names_what_there_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["paths", "nothing"])
    assert "zvm" in capsys.readouterr().err

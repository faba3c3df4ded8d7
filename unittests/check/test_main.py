"""The command: what it prints, and its exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unittests.check.conftest import KEY, Make, proxy_text
from zerocloud.check.main import main
from zerocloud.cluster.installation import find_zvm
from zerocloud.config import read_executor_settings, read_proxy_settings


def test_command_without_a_conf_is_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "name a --proxy-conf, an --object-conf" in capsys.readouterr().err


@pytest.mark.parametrize("timeout", ["0", "soon", "1e9", "nan"])
def test_command_with_a_bad_timeout_is_usage(
    capsys: pytest.CaptureFixture[str], timeout: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--proxy-conf", "x", "--timeout", timeout])
    assert caught.value.code == 2
    assert "no number of seconds from 0.01 to 600" in capsys.readouterr().err


def test_conf_that_cannot_be_read_exits_2_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.conf"
    assert main(["--object-conf", str(path)]) == 2
    said = capsys.readouterr()
    assert said.err == (
        f"zerocloud-check: {path} cannot be read: No such file or directory\n"
    )
    assert said.out == ""


def test_fault_exits_1_and_says_how_to_mend_it(
    make_conf: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = make_conf(proxy_text())
    assert main(["--proxy-conf", str(conf.path)]) == 1
    text = capsys.readouterr().out
    assert "FAIL  servers   rings: /nowhere holds no object*.ring.gz" in text
    assert "mend: copy the rings there" in text
    assert text.endswith("1 of 4 to mend\n")
    assert KEY not in text


def test_json_is_one_document_with_the_same_findings(
    make_conf: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = make_conf(proxy_text())
    assert main(["--proxy-conf", str(conf.path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    assert document["fit"] is False
    levels = [f["level"] for f in document["findings"]]
    assert levels == ["ok", "ok", "ok", "fail"]
    assert set(document["findings"][0]) == {
        "check", "level", "subject", "said", "mend",
    }  # fmt: skip


def test_quiet_prints_what_is_to_be_mended_only(
    make_conf: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = make_conf(proxy_text())
    main(["--proxy-conf", str(conf.path), "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["FAIL", "    ", "1 of"]


def test_installed_prints_lines_that_the_conf_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if find_zvm() is None:
        pytest.skip("the runner is not built; functests/test_operations.py "
                    "runs it")  # fmt: skip
    assert main(["--installed"]) == 0
    node, _, proxy = capsys.readouterr().out.partition("# [filter:zerocloud]")
    lines = [
        dict(
            line.split(" = ", 1) for line in part.splitlines() if " = " in line
        )
        for part in (node, proxy)
    ]
    executor = read_executor_settings({"cluster_key": KEY, **lines[0]})
    settings = read_proxy_settings({"cluster_key": KEY, **lines[1]})
    assert executor.zvm.is_file()
    names = [name for name, _ in executor.system_images]
    assert names == [image.name for image in settings.system_images]

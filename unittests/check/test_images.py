"""System images of a node against what proxies promise."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from unittests.check.conftest import KEY, failed, only
from unittests.fakes.tars import tar_of
from zerocloud.check.images import check_images
from zerocloud.config import ExecutorSettings, read_executor_settings


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    path = tmp_path / "py.tar"
    path.write_bytes(tar_of(("python", b"program")))
    return path


def settings(*words: str) -> ExecutorSettings:
    return read_executor_settings(
        {"cluster_key": KEY, "system_images": " ".join(words)}
    )


def digest(tar: Path) -> str:
    return hashlib.sha256(tar.read_bytes()).hexdigest()


def test_image_that_is_promised_is_well(tar: Path) -> None:
    promised = {"py": digest(tar), "alias": digest(tar)}
    here = settings(f"py={tar}", f"alias={tar}")
    findings = list(check_images(here, promised, "proxy.conf"))
    assert [f.level for f in findings] == ["ok", "ok"]


def test_image_without_a_proxy_says_the_line_for_its_conf(tar: Path) -> None:
    [found] = check_images(settings(f"py={tar}"), None, "")
    assert found.level == "ok"
    assert f"py={digest(tar)}" in found.said


def test_image_with_another_digest_is_told_with_both(tar: Path) -> None:
    promised = {"py": "a" * 64}
    found = only(check_images(settings(f"py={tar}"), promised, "proxy.conf"))
    assert digest(tar) in found.said
    assert "proxy.conf promises " + "a" * 64 in found.said


def test_image_that_is_promised_but_not_here_is_told(tar: Path) -> None:
    promised = {"py": digest(tar), "perl": "b" * 64}
    found = only(check_images(settings(f"py={tar}"), promised, "proxy.conf"))
    assert found.subject == "perl"


def test_image_that_nobody_promises_is_a_note(tar: Path) -> None:
    [found] = check_images(settings(f"py={tar}"), {}, "proxy.conf")
    assert found.level == "note"
    assert digest(tar) in found.mend


def test_image_that_is_missing_or_no_tar_is_told(tar: Path) -> None:
    tar.write_bytes(b"no tar")
    assert only(check_images(settings(f"py={tar}"), None, "")).said == (
        "is no tar"
    )
    tar.unlink()
    [found] = failed(check_images(settings(f"py={tar}"), None, ""))
    assert found.said == "cannot be read: No such file or directory"


def test_two_files_of_a_name_are_well_when_one_is_promised(
    tar: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "new.tar"
    newer.write_bytes(tar_of(("python", b"newer")))
    here = settings(f"py={tar}", f"py={newer}")
    for promised, levels in (
        (digest(tar), ["ok", "note"]),
        (digest(newer), ["note", "ok"]),
        ("a" * 64, ["fail", "fail"]),
    ):
        findings = check_images(here, {"py": promised}, "proxy.conf")
        assert [f.level for f in findings] == levels

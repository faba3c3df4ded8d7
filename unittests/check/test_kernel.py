"""Features and limits: the real ones here, and each one missing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from unittests.check.conftest import KEY, failed, only
from zerocloud.check import kernel
from zerocloud.check.kernel import FEATURES, Feature
from zerocloud.config import ExecutorSettings, read_executor_settings


def settings(**options: str) -> ExecutorSettings:
    return read_executor_settings({"cluster_key": KEY, **options})


def refuse() -> None:
    raise OSError(errno.ENOSYS, "Function not implemented")


def test_features_of_this_kernel_are_asked_for_and_given_up() -> None:
    before = len(os.listdir("/proc/self/fd"))
    findings = {f.subject: f.level for f in kernel.check_features()}
    assert len(os.listdir("/proc/self/fd")) == before
    assert findings["memfd_create"] == findings["pidfd_open"] == "ok"
    assert set(findings) == {"memfd_create", "pidfd_open", "landlock",
                             "seccomp"}  # fmt: skip


@pytest.mark.parametrize("name", [f.name for f in FEATURES])
def test_feature_that_is_missing_is_told(name: str) -> None:
    planted = tuple(
        Feature(f.name, refuse if f.name == name else f.ask, f.needed, f.why)
        for f in FEATURES
    )
    [bad] = [f for f in kernel.check_features(planted) if f.level != "ok"]
    assert bad.subject == name
    assert "ENOSYS" in bad.said
    assert bad.mend
    needed = name != "landlock"
    assert bad.level == ("fail" if needed else "note")


def test_nameless_files_are_tried_where_they_will_be(tmp_path: Path) -> None:
    [found] = kernel.check_nameless_files(tmp_path)
    assert found.level == "ok"
    assert list(tmp_path.iterdir()) == []


def test_nameless_files_that_are_refused_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_nameless(path: Path, flags: int, mode: int) -> int:
        assert flags & os.O_TMPFILE == os.O_TMPFILE
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "open", refuse_nameless)
    [found] = kernel.check_nameless_files(tmp_path)
    assert found.level == "note"
    assert "ENOTSUP" in found.said
    assert "put state_dir on" in found.mend


def test_xattrs_of_a_disk_are_looked_at(tmp_path: Path) -> None:
    [found] = kernel.check_xattrs(tmp_path)
    assert (found.level, found.check) == ("ok", "kernel")


def test_file_system_without_xattrs_is_told() -> None:
    found = only(kernel.check_xattrs(Path("/proc")))
    assert "the file system has none" in found.said


def test_disk_that_cannot_be_looked_at_is_a_note(tmp_path: Path) -> None:
    [found] = kernel.check_xattrs(tmp_path / "none")
    assert found.level == "note"


@pytest.mark.parametrize(
    ("soft", "fits"), [(2431, False), (2432, True), (-1, True)]
)
def test_open_files_must_do_for_slots_and_clients(
    soft: int, fits: bool
) -> None:
    limits = (soft, 524288, "the object server")
    findings = list(kernel.check_open_files(settings(slots="4"), 1024, limits))
    assert (not failed(findings)) is fits
    if not fits:
        assert "4 slots and 1024 clients need 2432" in findings[0].said
        assert "LimitNOFILE=32768" in findings[0].mend


def test_limits_are_those_of_this_session_without_a_server() -> None:
    soft, hard, whose = kernel.file_limits(Path("/nowhere/object.conf"))
    assert whose == "this session"
    assert 0 < soft <= hard or soft == -1


def test_queue_must_leave_connections_for_storage() -> None:
    assert not failed(kernel.check_queue(settings(), 1024))
    found = only(kernel.check_queue(settings(queue="1016"), 1024))
    assert "1024 tasks may hold a connection each" in found.said

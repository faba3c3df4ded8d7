"""state_dir and cache_dir: each fault planted in real folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unittests.check.conftest import KEY, Make, failed, object_text, only
from zerocloud.check.folders import User, check_folders, server_user
from zerocloud.config import ExecutorSettings, read_executor_settings

ME = User("me", os.geteuid())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return path


def settings(state: Path, **options: str) -> ExecutorSettings:
    return read_executor_settings(
        {
            "cluster_key": KEY,
            "state_dir": str(state),
            "reserve_bytes": "0",
            **options,
        }
    )


def test_folder_of_its_own_with_room_is_well(state: Path) -> None:
    [found] = check_folders(settings(state), ME)
    assert found.level == "ok"
    (state / "cache").mkdir(mode=0o700)
    assert len(list(check_folders(settings(state), ME))) == 2


def test_folder_that_is_missing_is_told_with_the_command(
    state: Path,
) -> None:
    state.rmdir()
    found = only(check_folders(settings(state), ME))
    assert found.said == "does not exist"
    assert found.mend == f"install -d -o me -m 0700 {state}"


def test_cache_of_its_own_that_is_missing_is_told(
    state: Path, tmp_path: Path
) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    found = only(check_folders(settings(state, cache_dir=elsewhere), ME))
    assert found.subject == f"cache_dir {elsewhere}"


def test_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    found = only(check_folders(settings(path), ME))
    assert found.said == "is no folder"


def test_folder_of_somebody_else_is_told(state: Path) -> None:
    other = User("swift", os.geteuid() + 1)
    found = only(check_folders(settings(state), other))
    assert f"belongs to user {os.geteuid()}" in found.said
    assert found.mend == f"chown -R swift {state}"


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o500, 0o000])
def test_folder_with_a_wrong_mode_is_told(state: Path, mode: int) -> None:
    state.chmod(mode)
    found = failed(check_folders(settings(state), ME))
    assert f"has mode {mode:04o}" in found[0].said
    assert found[0].mend == f"chmod 0700 {state}"
    state.chmod(0o700)


def test_disk_below_the_reserve_is_told(state: Path) -> None:
    free = os.statvfs(state).f_bavail * os.statvfs(state).f_frsize
    fits = settings(state, reserve_bytes=str(free // 2))
    assert not failed(check_folders(fits, ME))
    full = settings(state, reserve_bytes=str(free * 2))
    found = only(check_folders(full, ME))
    assert "are kept for Swift (reserve_bytes)" in found.said


def test_user_is_the_one_that_the_conf_names(make_conf: Make) -> None:
    root = make_conf(object_text(defaults="user = root"))
    assert server_user(root) == User("root", 0)


def test_user_without_a_name_in_the_conf_is_swift_or_who_asks(
    make_conf: Make,
) -> None:
    user = server_user(make_conf(object_text(defaults="user = nobody-here")))
    assert user.name == "swift" or user.uid == os.geteuid()

"""Nameless files, and the disk's reserve."""

from __future__ import annotations

import os

import pytest

from zerocloud.errors import TaskRefused
from zerocloud.executor import staging
from zerocloud.executor.staging import Staging


@pytest.fixture(params=[True, False], ids=["O_TMPFILE", "unlinked"])
def staged(request, tmp_path):
    made = Staging(tmp_path, 0)
    made._nameless = request.param
    return made


def test_file_has_no_name_from_birth(staged, tmp_path):
    fd = staged.open()
    try:
        staging.write_all(fd, b"bytes")
        assert os.pread(fd, 9, 0) == b"bytes"
        assert list((tmp_path / "staging").iterdir()) == []
        assert os.fstat(fd).st_mode & 0o777 == 0o600
    finally:
        os.close(fd)


def test_folder_is_for_the_owner_only(staged, tmp_path):
    os.close(staged.open())
    assert (tmp_path / "staging").stat().st_mode & 0o777 == 0o700


def test_file_that_would_touch_the_reserve_is_refused(tmp_path):
    state = os.statvfs(tmp_path)
    free = state.f_bavail * state.f_frsize
    made = Staging(tmp_path, free // 2)
    os.close(made.open(free // 4))
    with pytest.raises(TaskRefused, match="a reserve of") as caught:
        made.open(free)
    assert (caught.value.code, caught.value.status) == ("disk_full", 507)
    assert str(tmp_path) not in caught.value.message

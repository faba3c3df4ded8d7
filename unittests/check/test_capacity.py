"""Caps that do not fit the machine."""

from __future__ import annotations

from pathlib import Path

from unittests.check.conftest import KEY, failed, only
from zerocloud.check.capacity import check_disk, check_memory
from zerocloud.config import ExecutorSettings, read_executor_settings

GIB = 1 << 30


def settings(**options: object) -> ExecutorSettings:
    texts = {name: str(value) for name, value in options.items()}
    return read_executor_settings({"cluster_key": KEY, **texts})


def test_memory_of_this_machine_is_half_by_default() -> None:
    [found] = check_memory(settings())
    assert found.subject == "memory_bytes"
    assert found.level in ("ok", "fail")
    [found] = check_memory(settings(), 8 * GIB)
    assert found.said == (
        f"{4 * GIB} of {8 * GIB} bytes for programs together"
    )


def test_memory_beyond_the_machines_is_told() -> None:
    assert not failed(check_memory(settings(memory_bytes=8 * GIB), 8 * GIB))
    found = only(check_memory(settings(memory_bytes=8 * GIB + 1), 8 * GIB))
    assert f"the machine, or its control group, has {8 * GIB}" in found.said


def test_memory_that_takes_no_usual_task_is_told() -> None:
    # 512 MiB by default, and 80 MiB for the VM.
    usual = 592 << 20
    assert not failed(check_memory(settings(memory_bytes=usual), 8 * GIB))
    found = only(check_memory(settings(memory_bytes=usual - 1), 8 * GIB))
    assert f"needs {usual}" in found.said
    assert failed(check_memory(settings(), GIB))


def test_cache_beyond_its_disk_is_a_note(tmp_path: Path) -> None:
    small = {"cache_bytes": 1 << 20, "artefact_bytes": 1 << 20,
             "reserve_bytes": 0}  # fmt: skip
    [found] = check_disk(settings(cache_dir=tmp_path, **small))
    assert found.level == "ok"
    large = {**small, "cache_bytes": 1 << 40, "reserve_bytes": 1 << 40}
    [found] = check_disk(settings(cache_dir=tmp_path / "new", **large))
    assert found.level == "note"
    assert "lower cache_bytes" in found.mend

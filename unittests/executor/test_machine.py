"""What memory the machine has: the least of all that limits it."""

from __future__ import annotations

import os

from zerocloud.executor.machine import default_memory_bytes, memory_bytes

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
GIB = 1 << 30


def group(folder, text, name="memory.max"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def mine(tmp_path, line):
    path = tmp_path / "cgroup"
    path.write_text(line)
    return path


def test_memory_without_groups_is_the_machines(tmp_path):
    assert memory_bytes(tmp_path, tmp_path / "missing") == MACHINE


def test_memory_of_a_group_and_of_those_around_it_counts(tmp_path):
    groups = tmp_path / "fs"
    group(groups / "a", f"{MACHINE // 4}\n")
    group(groups / "a" / "b", "max\n")
    line = mine(tmp_path, "0::/a/b\n")
    assert memory_bytes(groups, line) == MACHINE // 4


def test_memory_of_the_containers_own_root_counts(tmp_path):
    groups = tmp_path / "fs"
    group(groups, f"{MACHINE // 8}\n")
    line = mine(tmp_path, "0::/outside/of/here\n")
    assert memory_bytes(groups, line) == MACHINE // 8


def test_memory_of_the_first_version_counts(tmp_path):
    groups = tmp_path / "fs"
    name = "memory.limit_in_bytes"
    group(groups / "memory" / "a", f"{MACHINE // 2}\n", name)
    line = mine(tmp_path, "3:cpu:/a\n4:memory:/a\n")
    assert memory_bytes(groups, line) == MACHINE // 2


def test_memory_limit_beyond_the_machine_is_none(tmp_path):
    groups = tmp_path / "fs"
    group(groups / "a", f"{2 * MACHINE}\n")
    assert memory_bytes(groups, mine(tmp_path, "0::/a\n")) == MACHINE


def test_default_is_half_of_what_there_is():
    assert default_memory_bytes() == memory_bytes() // 2

"""zvm and zvm-compile: the built ones, and scripts that stand for bad ones."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from unittests.check.conftest import KEY, failed, only
from zerocloud import __version__
from zerocloud.check import runner
from zerocloud.check.finding import Finding
from zerocloud.check.runner import check_daemon, check_runner
from zerocloud.cluster.installation import find_zvm
from zerocloud.config import ExecutorSettings, read_executor_settings
from zerocloud.protocol import daemon

VERSION = f"{__version__} (wasmtime 48.0.0, some-target)"


def settings(zvm: Path, **options: str) -> ExecutorSettings:
    return read_executor_settings(
        {"cluster_key": KEY, "zvm": str(zvm), **options}
    )


@pytest.fixture
def binaries(tmp_path: Path) -> Path:
    """Scripts that answer as a good pair does; the path of zvm."""
    plant(tmp_path / "zvm", f'echo "zvm {VERSION}"')
    plant(tmp_path / "zvm-compile", f'echo "zvm-compile {VERSION}"')
    return tmp_path / "zvm"


def plant(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_pair_that_answers_and_compiles_is_well(binaries: Path) -> None:
    assert [f.level for f in check_runner(settings(binaries))] == ["ok"] * 3


def test_built_runner_is_well() -> None:
    zvm = find_zvm()
    if zvm is None:
        pytest.skip(
            "the runner is not built; functests/test_check.py needs it"
        )
    findings = list(check_runner(settings(zvm)))
    assert not failed(findings)
    assert [f.said for f in findings[-2:]] == ["compiles", "runs a VM"]


@pytest.mark.parametrize("name", ["zvm", "zvm-compile"])
def test_binary_that_is_missing_or_no_program_is_told(
    binaries: Path, name: str
) -> None:
    path = binaries.with_name(name)
    path.chmod(0o644)
    found = only(check_runner(settings(binaries)))
    assert (found.subject, found.said) == (
        str(path),
        "is no program that can run",
    )
    path.unlink()
    assert only(check_runner(settings(binaries))).subject == str(path)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 1", "does not say its version (status 1)"),
        ("echo something else", "does not say its version (status 0)"),
        ("kill -9 $$", "does not say its version (status -9)"),
    ],
)
def test_binary_that_does_not_answer_is_told(
    binaries: Path, script: str, said: str
) -> None:
    plant(binaries, script)
    assert only(check_runner(settings(binaries))).said == said


def test_binary_of_another_machine_is_told(binaries: Path) -> None:
    binaries.write_bytes(b"\x7fELF of another machine")
    assert "does not run" in only(check_runner(settings(binaries))).said


def test_binary_that_hangs_is_told(
    binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SECONDS", 0.1)
    plant(binaries, "exec sleep 20")
    assert "timed out" in only(check_runner(settings(binaries))).said


def test_pair_of_two_versions_is_told(binaries: Path) -> None:
    plant(binaries, f'echo "zvm {VERSION.replace("48", "47")}"')
    found = failed(check_runner(settings(binaries)))
    assert "zvm refuses what that compiler makes" in found[0].said
    assert "47.0.0" in found[0].said


def test_pair_of_another_version_than_the_filter_is_told(
    binaries: Path,
) -> None:
    for path in (binaries, binaries.with_name("zvm-compile")):
        path.write_text(path.read_text().replace(__version__, "9.9.9"))
    found = only(check_runner(settings(binaries)))
    assert f"the filter is {__version__}" in found.said


def test_compiler_that_fails_is_told_with_its_words(binaries: Path) -> None:
    plant(
        binaries,
        f'test "$1" = --version && echo "zvm {VERSION}" && exit 0\n'
        'echo "out of memory: $*" >&2; exit 70',
    )
    found = only(check_runner(settings(binaries, compile_seconds="7")))
    assert found.subject == str(binaries.with_name("zvm-compile"))
    assert found.said.startswith(
        "does not compile (status 70): out of memory: compile --cache "
    )
    assert found.said.endswith(" --memory-bytes 2147483648 --seconds 7 -")
    assert "compile_memory_bytes" in found.mend


def test_compilation_is_thrown_away(
    binaries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plant(
        binaries,
        f'test "$1" = --version && echo "zvm {VERSION}" && exit 0\n'
        'touch "$3/artefact"',
    )
    before = sorted(tmp_path.iterdir())
    assert [f.level for f in check_runner(settings(binaries))] == ["ok"] * 3
    assert sorted(tmp_path.iterdir()) == before


def test_daemon_that_nobody_serves_is_told(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    path = folder / "zvm.sock"
    named = settings(tmp_path / "zvm", zvm_socket=str(path))
    assert only(check_daemon(named)).said == "No such file or directory"
    kind = socket.SOCK_SEQPACKET  # docs/protocol.md
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(str(tmp_path / "s"))
        (tmp_path / "s").rename(path)
        assert only(check_daemon(named)).said == "Connection refused"
    assert list(check_daemon(settings(tmp_path / "zvm"))) == []


def served(tmp_path: Path, answer: bytes, **options: str) -> Finding:
    """What is found of a socket whose server answers so to a hello."""
    path = tmp_path / "zvm.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(100) == daemon.hello().data
                connection.send(answer)

        server = threading.Thread(target=serve)
        server.start()
        named = settings(tmp_path / "zvm", zvm_socket=str(path), **options)
        [found] = check_daemon(named)
        server.join(10)
    path.unlink()
    return found


def welcome(**said: object) -> bytes:
    return b"H" + bytes(7) + json.dumps({"version": 1, **said}).encode()


@pytest.mark.parametrize("answer", [b"nonsense", b"H" + bytes(7) + b"[]"])
def test_socket_that_no_zvm_serves_is_told(
    tmp_path: Path, answer: bytes
) -> None:
    found = served(tmp_path, answer)
    assert found.level == "fail"
    assert found.said.startswith("is served by no zvm: ")
    refused = b"E" + bytes(7) + b'{"error": "x"}'
    assert "is served by no zvm" in served(tmp_path, refused).said


def test_daemon_is_well_as_long_as_nothing_is_asked_of_it(
    tmp_path: Path,
) -> None:
    for said in ({}, {"user_ids": "same", "landlock": False}):
        found = served(tmp_path, welcome(**said))
        assert (found.level, found.said) == ("ok", "is served")


def test_daemon_with_other_ids_than_the_conf_asks_for_is_told(
    tmp_path: Path,
) -> None:
    def ids(asked: str, said: str) -> Finding:
        return served(tmp_path, welcome(user_ids=said), vm_uid=asked)

    assert ids("100-200", "100-200").level == "ok"
    assert ids("7", "7-7").level == "ok"
    assert ids("same", "same").level == "ok"
    found = ids("100-200", "same")
    assert found.level == "fail"
    assert found.said.startswith(
        "its VMs run with user ids same, not 100-200; "
    )
    assert "--vm-uid 100-200" in found.mend
    silent = served(tmp_path, welcome(), vm_uid="same")
    assert "with user ids None, not same" in silent.said


def test_daemon_without_landlock_is_told_if_the_conf_asks_for_it(
    tmp_path: Path,
) -> None:
    asked = {"require_landlock": "true"}
    assert served(tmp_path, welcome(landlock=True), **asked).level == "ok"
    for said in ({"landlock": False}, {}):
        found = served(tmp_path, welcome(**said), **asked)
        assert found.level == "fail"
        assert found.said.startswith("its VMs run without Landlock; ")
        assert "--require-landlock" in found.mend


def test_runner_is_tried_with_the_lock_down_that_the_conf_asks_for(
    binaries: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    plant(
        binaries,
        f'test "$1" = --version && echo "zvm {VERSION}" && exit 0\n'
        f'echo "$*" >> {said}; '
        'case "$*" in *" 7-9 "*|"run --vm-uid 8-9 "*) exit 70;; esac',
    )
    both = {"vm_uid": "5-6", "require_landlock": "on"}
    assert not failed(check_runner(settings(binaries, **both)))
    lines = said.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["compile", "run"]
    assert all(" --vm-uid 5-6 --require-landlock " in line for line in lines)
    for ids, expected in (
        ("7-9", "does not compile (status 70): "),
        ("8-9", "runs no VM (status 70): "),
    ):
        found = only(check_runner(settings(binaries, vm_uid=ids)))
        assert found.said == expected
        assert "vm_uid" in found.mend


def test_built_runner_with_ids_is_well_if_they_can_be_had() -> None:
    zvm = find_zvm()
    if zvm is None:
        pytest.skip(
            "the runner is not built; functests/test_check.py needs it"
        )
    assert not failed(check_runner(settings(zvm, vm_uid="same")))
    found = failed(check_runner(settings(zvm, vm_uid="50000-60000")))
    if os.geteuid() == 0:
        assert not found
    else:
        assert "only root may change its user" in found[0].said

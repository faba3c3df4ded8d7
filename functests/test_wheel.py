"""The wheel: in an environment of its own it does what a checkout does.

Built once by `make wheel`'s own tool, installed by pip into a fresh virtual
environment, and used with a PATH that has its commands and nothing else: no
compiler, no cargo, no git.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from functests.support import wait_until
from zerocloud.cluster.installation import user_cache

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 200
START_SECONDS = 30


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel, and a folder to work in."""

    folder: Path
    work: Path

    def environ(self, **more: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "ZEROCLOUD_CACHE")
        }
        return {**kept, "PATH": str(self.folder / "bin"), **more}

    def run(
        self, *command: str, stdin: bytes = b"", **more: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one of its commands in the folder; it must succeed."""
        done = subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=self.work,
            env=self.environ(**more),
            input=stdin,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
        return done

    def path(self, name: str) -> Path:
        """What `zerocloud paths NAME` says."""
        return Path(self.run("zerocloud", "paths", name).stdout.decode()[:-1])


def build(out: Path, environ: Mapping[str, str], umask: int) -> Path:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/build_wheel"), "--out", str(out)],
        env=environ,
        umask=umask,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"), os.environ, 0o022)


@pytest.fixture(scope="module")
def installed(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    folder = tmp_path_factory.mktemp("wheel") / "env"
    work = folder.parent / "work"
    work.mkdir()
    # Python puts the current folder first where it is told to run a module.
    (work / "swift.py").write_text("raise SystemExit('the wrong swift')")
    (work / "zerocloud.py").write_text("raise SystemExit('the wrong one')")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "pip"), "install", "-q"]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", str(wheel)],
        cwd=work,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return Installed(folder, work)


def test_wheel_holds_commands_that_run_images_and_guests(wheel: Path) -> None:
    assert wheel.name.startswith("zerocloud-")
    assert "-py3-none-manylinux_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        modes = {
            entry.filename.partition("/")[2]: entry.external_attr >> 16
            for entry in archive.infolist()
        }
    for name in ("scripts/zvm", "scripts/zvm-compile"):
        assert stat.S_IMODE(modes[name]) == 0o755
    assert "images/python3.tar" in modes
    assert "guests/wc.wasm" in modes
    assert "guests/spin.wasm" not in modes  # those of tests stay at home
    assert "licenses/LICENSE" in modes
    assert "licenses/NOTICES.txt" in modes
    assert not any("test_" in name for name in modes)


def test_wheel_names_no_folder_of_its_builder(
    wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    folders = (ROOT, cargo, user_cache())
    named = [str(folder).encode() for folder in folders]
    found = [
        path.relative_to(tmp_path)
        for path in tmp_path.rglob("*")
        if path.is_file() and any(name in path.read_bytes() for name in named)
    ]
    assert found == []


def test_wheel_and_archive_built_again_have_the_same_bytes(
    wheel: Path, tmp_path: Path
) -> None:
    environ = {**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    again = build(tmp_path, environ, 0o077)
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()
    (first,) = wheel.parent.glob("*.tar.gz")
    (second,) = tmp_path.glob("*.tar.gz")
    assert first.read_bytes() == second.read_bytes()


def test_source_archive_has_what_a_build_needs_and_nothing_built(
    wheel: Path,
) -> None:
    (path,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        members = {m.name.partition("/")[2]: m for m in archive}
    for name in (
        "runner/Cargo.lock", "runner/src/sys.rs", "images/python3/recipe.json",
        "tools/_build/zig.py", "examples/wordcount/wc.c", "setup.py",
        "runner/tests/guests/hello.c", "unittests/conftest.py", "LICENSE",
    ):  # fmt: skip
        assert name in members
    assert members["tools/build_runner"].mode == 0o755
    built = (".wasm", ".tar", ".pyc", "/zvm")
    assert [name for name in members if name.endswith(built)] == []


def test_demo_from_the_wheel_does_what_it_does_in_a_checkout(
    installed: Installed, tmp_path: Path
) -> None:
    done = installed.run(
        "zerocloud", "demo", "--objects", "12", TMPDIR=str(tmp_path)
    )
    text = done.stdout.decode()
    assert text.count("curl ") >= 3
    assert "natively: equal" in text
    assert "12 objects in container demo-counts, one for each" in text
    assert list(tmp_path.iterdir()) == []


def test_cluster_and_run_from_the_wheel(
    installed: Installed, tmp_path: Path
) -> None:
    env = tmp_path / "c" / "env"
    command = [str(installed.folder / "bin" / "zerocloud"), "cluster"]
    with subprocess.Popen(
        [
            *command,
            "--dir",
            str(env.parent),
            "--nodes",
            "1",
            "--replicas",
            "1",
        ],
        cwd=installed.work,
        env=installed.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as cluster:
        try:
            assert wait_until(env.exists, START_SECONDS)
            shutil.copy(ROOT / "examples/hello/hello.py", installed.work)
            done = installed.run(
                "zerocloud", "run", "--env-file", str(env), "hello.py"
            )
        finally:
            cluster.send_signal(signal.SIGTERM)
    assert cluster.returncode == 0
    assert done.stdout.startswith(b"hello from Python 3.")


def test_entry_points_of_the_wheel_are_the_filters(
    installed: Installed,
) -> None:
    code = (
        "from importlib.metadata import distribution as d\n"
        "points = d('zerocloud').entry_points\n"
        "for p in points.select(group='paste.filter_factory'):\n"
        "    print(p.name, callable(p.load()))\n"
    )
    done = installed.run("python", "-P", "-c", code)
    lines = sorted(done.stdout.decode().splitlines())
    assert lines == ["executor True", "zerocloud True"]


def test_check_of_the_wheel_prints_its_own_places_for_conf_files(
    installed: Installed,
) -> None:
    text = installed.run("zerocloud-check", "--installed").stdout.decode()
    assert f"zvm = {installed.path('zvm')}\n" in text
    assert str(installed.path("images") / "python3.tar") in text


def test_zvm_of_the_wheel_compiles_and_runs_a_program(
    installed: Installed, tmp_path: Path
) -> None:
    guest = installed.path("guests") / "wc.wasm"
    assert guest.is_relative_to(installed.folder)
    assert installed.path("zvm") == installed.folder / "bin" / "zvm"
    # An empty cache: so zvm-compile has to do its part.
    done = installed.run(
        "zvm",
        "run",
        str(guest),
        stdin=b"a b\nc\n",
        ZEROCLOUD_CACHE=str(tmp_path),
    )
    assert done.stdout == b"2 3 6\n"


def test_zvm_of_the_wheel_runs_python_from_its_image(
    installed: Installed,
) -> None:
    layer = installed.path("images") / "python3.tar"
    assert layer.is_relative_to(installed.folder)
    done = installed.run(
        "zvm", "run", "--layer", str(layer), "python", "-c", "print(6 * 7)"
    )
    assert done.stdout == b"42\n"

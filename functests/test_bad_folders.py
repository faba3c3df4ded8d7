"""Staging and cache that are full, read-only, missing or tampered with.

A damaged cache costs a copy or a compilation, never a wrong answer; a disk
that takes nothing is 507 and says so, and everything works again as soon as
it does.  Nothing outside of the cache is read or written, whatever somebody
planted there.

The disks that are full and read-only are real ones, in memory: the cluster
runs in a mount namespace of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from functests.conftest import leaving_nothing, with_container
from functests.jobs import STDOUT, group, guest, put_guest, reads, writes
from functests.refusing import error_of
from functests.support import Account
from unittests.fakes.tars import tar_of
from zerocloud.cluster import Cluster, ClusterSettings
from zerocloud.headers import SOURCE

MIB = 1024 * 1024
DISK_MIB = 24
NO_RETRIES = {"task_attempts": "1"}
CAT = guest("cat")


class Own:
    """A cluster of one node with folders of the test's own."""

    def __init__(self, box: Account, folder: Path) -> None:
        self.box = box
        self.cache = folder / "cache"
        self.staging = folder / "state" / "staging"
        self.victim = folder / "victim"
        self.victim.write_bytes(b"precious")

    @property
    def log(self) -> str:
        """What the servers have said."""
        return (self.box.cluster.folder.log / "cluster.log").read_text()

    def job(self) -> list[dict[str, Any]]:
        """A program, an object, and an image that holds a program."""
        devices = (reads(self.box.path("a")), STDOUT)
        image = reads(self.box.path("image.tar"), "image")
        return [
            group(self.box.path("bin/cat.wasm"), *devices, name="blob"),
            group("file://image:bin/cat", *devices, image, name="member"),
        ]

    def check_serves(self) -> None:
        """Both ways to a program, with the right bytes."""
        answer = self.box.post_job(self.job())
        assert answer.content == b"hellohello", answer.text

    def files(self, pattern: str) -> list[Path]:
        """Files of the cache, which are there."""
        found = sorted(p for p in self.cache.glob(pattern) if p.is_file())
        assert found, f"nothing is at {pattern}"
        return found


def settings_in(folder: Path) -> ClusterSettings:
    return ClusterSettings(
        nodes=1,
        replicas=1,
        proxy_options=NO_RETRIES,
        executor_options={
            "cache_dir": str(folder / "cache"),
            "state_dir": str(folder / "state"),
            "reserve_bytes": "0",
            "slots": "2",
        },
    )


def fill(box: Account) -> None:
    box.put("a", b"hello")
    box.put("image.tar", tar_of(("bin/cat", CAT + b"\x00\x03\x02in")))
    put_guest(box, "cat")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """A cluster whose folders a test may spoil; it serves afterwards."""
    folder = tmp_path_factory.mktemp("own")
    with Cluster(folder / "it", settings_in(folder)) as cluster:
        for box in with_container(Account(cluster)):
            fill(box)
            made = Own(box, folder)
            made.check_serves()
            yield made


@pytest.fixture(autouse=True)
def victim_is_untouched(request: pytest.FixtureRequest) -> Iterator[None]:
    """No link leads out of the cache, and nothing is left."""
    if "own" not in request.fixturenames:
        yield
        return
    own: Own = request.getfixturevalue("own")
    with leaving_nothing(own.box.cluster, own.box):
        yield
        own.check_serves()
    assert own.victim.read_bytes() == b"precious"


def flip(path: Path) -> None:
    """Damage the middle of a file, in place."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))
    path.chmod(mode)


def cut(path: Path) -> None:
    os.chmod(path, 0o600)
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.unlink()
    path.touch()


def to_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[3] / "victim")


def to_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_another(path: Path) -> None:
    path.unlink()
    path.write_bytes(tar_of(("bin/cat", guest("hello"))))


DAMAGES = [flip, cut, empty, to_a_link, to_a_pipe, to_another]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "kind", ["blobs/*/*", "derived/*", "programs/*.cwasm", "programs/*.mac"]
)
def test_file_of_the_cache_that_is_damaged_is_made_anew(
    own: Own, damage: Callable[[Path], None], kind: str
) -> None:
    if damage is to_a_link and kind.startswith("programs"):
        victim = own.victim
        for path in own.files(kind):
            path.unlink()
            path.symlink_to(victim)
    else:
        for path in own.files(kind):
            damage(path)
    for artefact in own.cache.glob("programs/*.cwasm"):
        if kind == "derived/*":
            # Without the artefact it is needed.
            artefact.unlink()
        elif kind == "programs/*.mac":
            # Another time of change: zvm is asked again.
            os.utime(artefact, (0, 0))

    own.check_serves()
    own.check_serves()


def test_damage_is_told_to_the_operator(own: Own) -> None:
    for path in own.files("blobs/*/*"):
        flip(path)

    own.check_serves()

    assert "is removed: its bytes are not those of its digest" in own.log


@pytest.mark.parametrize("ending", ["draft", "mac.draft", "lock"])
def test_link_planted_where_the_compiler_writes_leads_nowhere(
    own: Own, ending: str
) -> None:
    for artefact in own.files("programs/*.cwasm"):
        planted = artefact.with_suffix(f".{ending}")
        planted.unlink(missing_ok=True)
        planted.symlink_to(own.victim)
        artefact.unlink()

    own.check_serves()


def test_key_that_is_another_makes_artefacts_worthless(own: Own) -> None:
    key = own.cache / "programs" / "key"
    key.write_bytes(os.urandom(32))
    for artefact in own.files("programs/*.cwasm"):
        os.utime(artefact, (0, 0))

    own.check_serves()


@pytest.mark.parametrize("name", ["cache", "cache/programs", "state/staging"])
def test_folder_that_is_missing_is_made_again(own: Own, name: str) -> None:
    shutil.rmtree(own.cache.parent / name)

    own.check_serves()


def test_cache_that_others_may_write_is_not_used(own: Own) -> None:
    programs = own.cache / "programs"
    programs.chmod(0o777)
    own.box.put("new.wasm", CAT + b"\x00\x04\x03new")
    try:
        error = error_of(own.box, [group(own.box.path("new.wasm"))])
    finally:
        programs.chmod(0o700)

    assert (error.status, error.may_retry) == (503, True)
    assert "new.wasm" in error.message
    assert "must belong to user" in own.log
    assert own.box.post_job([group(own.box.path("new.wasm"))]).ok


@pytest.mark.parametrize("what", ["staging", "cache/blobs", "cache/derived"])
def test_folder_that_is_a_file_is_said(own: Own, what: str) -> None:
    folder = own.staging if what == "staging" else own.cache.parent / what
    shutil.rmtree(folder)
    folder.touch()
    own.box.put("other.tar", tar_of(("bin/cat", CAT + os.urandom(8))))
    job = own.job()
    job[1]["devices"][2]["path"] = own.box.path("other.tar")
    try:
        error = error_of(own.box, job)
    finally:
        folder.unlink()

    assert (error.status, error.code) == (507, "disk_full"), error
    assert "cannot be written: " in error.message


class InMemory(Cluster):
    """A cluster whose folders lie on a small disk of its own."""

    def __init__(self, folder: Path, settings: ClusterSettings) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir()
        super().__init__(folder / "it", settings)

    def _command(self) -> list[str]:
        mount = (
            f'mount -t tmpfs -o size={DISK_MIB}m none "$0" && exec "$@"',
            str(self.disk),
        )
        return [*NAMESPACE, "sh", "-c", *mount, *super()._command()]

    @property
    def seen(self) -> Path:
        """The disk, as this process can see it."""
        return Path(f"/proc/{self.pid}/root{self.disk}")

    @contextmanager
    def read_only(self, folder: str) -> Iterator[None]:
        """Let a folder of the disk be on another, which takes nothing."""
        path = str(self.disk / folder)
        self._inside("mount", "-t", "tmpfs", "-o", "ro", "none", path)
        try:
            yield
        finally:
            self._inside("umount", path)

    def _inside(self, *command: str) -> None:
        namespace = ("nsenter", "-t", str(self.pid), "-U", "-m")
        whole = [*namespace, "--preserve-credentials", *command]
        subprocess.run(whole, check=True)


NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InMemory]:
    """One node with 24 MiB for staging and cache."""
    if subprocess.run([*NAMESPACE, "true"], check=False).returncode:
        pytest.skip("the kernel gives this user no namespace of its own")
    folder = tmp_path_factory.mktemp("small")
    with InMemory(folder, settings_in(folder / "disk")) as cluster:
        yield cluster


@pytest.fixture
def tight(small: InMemory) -> Iterator[Account]:
    """A container there; the disk is writable, and as full as before."""
    for box in with_container(Account(small)):
        fill(box)
        check_copies(box)
        with leaving_nothing(small, box):
            yield box
        check_copies(box)


def copying(box: Account, program: str = "bin/cat.wasm") -> list[Any]:
    """A job that needs little room."""
    devices = (reads(box.path("a")), STDOUT)
    limits = {"output_bytes": MIB}
    return [group(box.path(program), *devices, limits=limits)]


def check_copies(box: Account) -> None:
    answer = box.post_job(copying(box))
    assert answer.content == b"hello", answer.text


def test_output_that_could_fill_the_disk_is_refused(tight: Account) -> None:
    program = put_guest(tight, "endless_output")
    job = [
        group(
            program,
            writes(tight.path("o")),
            limits={"output_bytes": 8 * DISK_MIB * MIB},
        )
    ]
    before = tight.listing()

    error = error_of(tight, job)

    assert (error.status, error.code) == (507, "disk_full")
    assert f"needed are {8 * DISK_MIB * MIB}" in error.message
    assert tight.listing() == before


def test_input_that_is_larger_than_the_disk_is_said(tight: Account) -> None:
    job = copying(tight)
    del job[0]["devices"][0]["path"]
    tight.request(
        "PUT",
        f"{tight.container}/job",
        {"Content-Type": "application/json"},
        json=job,
    ).raise_for_status()

    error = error_of(
        tight,
        bytes(2 * DISK_MIB * MIB),
        {SOURCE: tight.path("job")},
    )

    assert (error.status, error.code) == (507, "disk_full")
    assert "bytes free; needed are" in error.message


def test_image_that_is_larger_than_the_disk_is_said(tight: Account) -> None:
    tight.put("large.tar", tar_of(("x", os.urandom(2 * DISK_MIB * MIB))))
    job = copying(tight)
    job[0]["devices"].append(reads(tight.path("large.tar"), "image"))

    error = error_of(tight, job)

    assert (error.status, error.code) == (507, "disk_full")
    assert "bytes free; needed are" in error.message


def test_disk_that_is_full_to_the_last_byte_is_said(
    tight: Account, small: InMemory
) -> None:
    tight.put("new.wasm", CAT + b"\x00\x04\x03new")
    filler = small.seen / "filler"
    with filler.open("wb") as file:
        state = os.statvfs(small.seen)
        free = state.f_bavail * state.f_frsize
        os.posix_fallocate(file.fileno(), 0, free)
    try:
        error = error_of(tight, copying(tight, "new.wasm"))
        check_answers_of_swift(tight)
    finally:
        filler.unlink()

    assert error.status in (503, 507)
    assert error.may_retry
    assert tight.post_job(copying(tight, "new.wasm")).content == b"hello"


def check_answers_of_swift(box: Account) -> None:
    """Storage goes on, as its disks are others."""
    box.put("meanwhile", b"stored")
    assert box.get("meanwhile") == b"stored"


@pytest.mark.parametrize("folder", ["state/staging", "cache/blobs"])
def test_disk_that_is_read_only_is_said(
    tight: Account, small: InMemory, folder: str
) -> None:
    tight.put("new.wasm", CAT + b"\x00\x05\x04" + folder[:4].encode())
    with small.read_only(folder):
        error = error_of(tight, copying(tight, "new.wasm"))
        check_answers_of_swift(tight)

    assert (error.status, error.code) == (507, "disk_full"), error
    assert "cannot be written: Read-only file system" in error.message
    assert tight.post_job(copying(tight, "new.wasm")).content == b"hello"

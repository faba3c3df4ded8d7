"""Programs and images: read once as the user, sent once per server."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections import Counter

import pytest

from unittests.scheduler.conftest import Cluster, group
from unittests.scheduler.swift_fake import FakePipeline, FakeSwift
from zerocloud.errors import ClusterError, JobError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.blobs import BlobCache, Blobs, Wanted
from zerocloud.scheduler.content import collect, inflated

MEGABYTE = 1024 * 1024


def tar_of(**members: bytes) -> bytes:
    """A tar with these members, `/` written as two underscores."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def image(path: str) -> dict[str, str]:
    return {"name": "image", "path": f"swift://~/{path}"}


def test_program_is_sent_once_per_server(cluster: Cluster) -> None:
    cluster.run([group("name", count=40)])

    sent = Counter(server for server, _ in cluster.nodes.uploads)
    assert sorted(sent.values()) == [1, 1, 1, 1]


def test_program_is_read_once_per_job(cluster: Cluster) -> None:
    cluster.run([group("name", count=40)])

    reads = [e for e in cluster.swift.log if e.startswith("GET")]
    assert reads == ["GET swift://AUTH_a/bin/prog.wasm"]


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_program_and_image_are_read_again(
    cluster: Cluster, *, packed: bool
) -> None:
    tar = tar_of(a=b"data")
    cluster.swift.put("in/i.tar", gzip.compress(tar) if packed else tar)
    cluster.swift.damage.update({"prog.wasm": 2, "i.tar": 2})

    cluster.run([group("name", devices=[image("in/i.tar")])])

    [ran] = cluster.nodes.ran
    program = hashlib.sha256(b"\0asm program").hexdigest()
    assert ran.task.program.sha256 == program
    assert ran.task.images[0].sha256 == hashlib.sha256(tar).hexdigest()


def test_program_damaged_everywhere_runs_nowhere(cluster: Cluster) -> None:
    cluster.swift.damage["prog.wasm"] = 99

    with pytest.raises(ClusterError, match=r"prog\.wasm is damaged") as caught:
        cluster.run([group("name")])

    assert caught.value.code == "input_failed"
    assert cluster.nodes.ran == []
    cluster.swift.damage.clear()
    assert cluster.run([group("name")]).body == b"n"


def test_image_that_is_not_damaged_but_bad_is_the_users(
    cluster: Cluster,
) -> None:
    cluster.swift.put("in/i.tar", gzip.compress(b"x" * 100)[:-9])

    with pytest.raises(JobError) as caught:
        cluster.run([group("name", devices=[image("in/i.tar")])])

    assert caught.value.code == "image_invalid"


def test_program_in_memory_is_used_only_after_asking_swift(
    cluster: Cluster,
) -> None:
    cluster.run([group("name")])
    cluster.swift.put("bin/prog.wasm", b"\0asm other", timestamp="1700000009")
    cluster.run([group("name")])

    first, second = cluster.nodes.ran
    assert first.task.program.sha256 != second.task.program.sha256
    assert second.task.program.sha256 == (
        hashlib.sha256(b"\0asm other").hexdigest()
    )


def test_program_in_memory_is_of_no_use_without_the_right_to_read_it(
    cluster: Cluster,
) -> None:
    cluster.run([group("name")])
    swift = cluster.swift
    blobs = Blobs(
        FakePipeline(swift, "eve", "AUTH_e"), cluster.service.cache, MEGABYTE
    )
    path = next(iter(cluster.service.cache._kept)).path

    with pytest.raises(JobError) as caught:
        blobs.fetch([Wanted(path, image=False)])

    assert caught.value.code == "forbidden"


def test_server_that_lost_its_blobs_gets_them_again(cluster: Cluster) -> None:
    cluster.run([group("name", count=8)])
    cluster.nodes.blobs.clear()
    cluster.nodes.uploads.clear()

    done = cluster.run([group("name", count=8)])

    assert done.headers["X-Zerovm-Job-Status"] == "succeeded"
    assert {server for server, _ in cluster.nodes.uploads}


def test_server_that_dies_with_the_upload_leaves_it_to_the_next(
    cluster: Cluster,
) -> None:
    cluster.nodes.first(2, "die before A")

    done = cluster.run([group("name", count=12)])

    assert done.headers["X-Zerovm-Job-Status"] == "succeeded"
    sent = Counter(server for server, _ in cluster.nodes.uploads)
    assert set(sent.values()) == {1}


def test_user_image_is_sent_as_a_plain_tar(cluster: Cluster) -> None:
    tar = tar_of(bin__x=b"program")
    cluster.swift.put("img/plain.tar", tar)
    cluster.swift.put("img/packed.tgz", gzip.compress(tar))

    cluster.run([group("name", devices=[image("img/plain.tar")])])
    cluster.run([group("name", devices=[image("img/packed.tgz")])])

    plain, packed = (r.task.images[0] for r in cluster.nodes.ran)
    assert plain.sha256 == packed.sha256 == hashlib.sha256(tar).hexdigest()
    assert (plain.device, plain.kind) == ("image", "blob")


def test_system_image_travels_by_digest(cluster: Cluster) -> None:
    job = [group("name", devices=[{"name": "python3"}])]
    job[0]["exec"] = {"path": "file://python3:python", "name": "name"}

    cluster.run(job)

    [ran] = cluster.nodes.ran
    assert ran.task.images[0].kind == "system"
    assert ran.task.images[0].sha256 == "ab" * 32
    assert ran.task.program.member == "python"
    assert cluster.nodes.uploads == []


def test_inflated_image_beyond_the_limit_is_refused_while_inflating(
    cluster: Cluster,
) -> None:
    bomb = gzip.compress(bytes(8 * MEGABYTE))
    cluster.swift.put("img/bomb", bomb)
    cluster.options["max_blob_bytes"] = str(MEGABYTE)

    with pytest.raises(JobError, match="max_blob_bytes") as caught:
        cluster.run([group("name", devices=[image("img/bomb")])])

    assert caught.value.code == "input_too_large"
    assert cluster.nodes.ran == []


def test_large_blob_is_let_go_of_with_its_job(cluster: Cluster) -> None:
    cluster.swift.put("bin/large", b"x" * (9 * MEGABYTE))
    cluster.swift.put("bin/small", b"x")
    blobs = Blobs(FakePipeline(cluster.swift), BlobCache(), 99 * MEGABYTE)
    large, small = (
        Wanted(ObjectPath("AUTH_a", "bin", name), image=False)
        for name in ("large", "small")
    )
    blobs.fetch([large, small])
    contents = [blobs.content(blobs.digest(w.path)) for w in (large, small)]

    blobs.close()

    assert contents[1] is not None
    assert contents[1].read() == b"x"
    assert contents[0] is not None
    with pytest.raises(ValueError, match="closed file"):
        contents[0].read()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 1000])
def test_inflated_passes_on_what_is_not_gzip(size: int) -> None:
    data = b"x" * size

    assert b"".join(inflated([data[:1], data[1:]], "x")) == data


@pytest.mark.parametrize("cut", [10, 20, -1])
def test_inflated_refuses_gzip_that_ends_early(cut: int) -> None:
    packed = gzip.compress(b"hello" * 100)

    with pytest.raises(JobError, match="is cut off") as caught:
        list(inflated([packed[:cut]], "x"))

    assert caught.value.code == "image_invalid"


def test_inflated_refuses_broken_gzip() -> None:
    packed = bytearray(gzip.compress(b"hello" * 100))
    packed[12] ^= 0xFF

    with pytest.raises(JobError, match="gzip data"):
        list(inflated([bytes(packed)], "x"))


def test_inflated_makes_no_large_pieces() -> None:
    packed = gzip.compress(bytes(4 * MEGABYTE))

    assert max(map(len, inflated([packed], "x"))) <= 256 * 1024


def test_collect_keeps_bytes_and_digest() -> None:
    content, sha256 = collect([b"ab", b"c"], 3, RuntimeError)

    assert content.read() == content.read() == b"abc"
    assert sha256 == hashlib.sha256(b"abc").hexdigest()


def test_cache_drops_the_least_recently_used() -> None:
    swift = FakeSwift()
    paths = [swift.put(f"bin/{n}", bytes(40) + str(n).encode()) for n in "abc"]
    cache = BlobCache(limit_bytes=100)
    wanted = [Wanted(path, image=False) for path in paths]

    def fetch(item: Wanted) -> None:
        Blobs(FakePipeline(swift), cache, MEGABYTE).fetch([item])

    for item in (wanted[0], wanted[1], wanted[0], wanted[2]):
        fetch(item)

    assert cache.get(wanted[0]) is not None
    assert cache.get(wanted[1]) is None


def test_missing_program_is_named(cluster: Cluster) -> None:
    job = [group("name")]
    job[0]["exec"]["path"] = "swift://~/bin/none.wasm"

    with pytest.raises(JobError, match=r"bin/none\.wasm does not") as caught:
        cluster.run(job)

    assert caught.value.status == 404

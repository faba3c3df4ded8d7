"""What a program finds where: the user's image over the system's, in order.

One cluster with two more system images, `low` and `high`, of made-up files.
Python reads them; the programs of the table answer who they are.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from functests.conftest import started, warm_up, with_container
from functests.jobs import STDOUT, group, guest, reads, writes
from functests.support import Account
from unittests.fakes.tars import tar_of
from zerocloud.cluster import Cluster, ClusterSettings
from zerocloud.cluster.installation import InstalledImage, find_images

# Which of the tars a name comes from is told by what is in it.
LOW = tar_of(
    ("who", b"low"),
    ("only-low", b"low"),
    ("etc/low", b"1"),
    ("etc/both", b"low"),
    ("place", b"a file of low"),
    ("tree/of/low", b"1"),
    ("link", "->only-low"),
    ("bin/tool", guest("hello")),
    ("bin/low-tool", guest("hello")),
)
HIGH = tar_of(
    ("who", b"high"),
    ("etc/high", b"1"),
    ("etc/both", b"high"),
    ("bin/tool", guest("exit_code")),
)
MINE = tar_of(
    ("who", b"mine"),
    ("etc/mine", b"1"),
    ("place/now/a", b"folder"),
    ("tree", b"a file of mine"),
    (".wh.only-low", b""),
    ("bin/tool", guest("cat")),
)
LAYERS: dict[str, dict[str, Any]] = {
    name: {"name": name} for name in ("low", "high", "python3")
}
# One line: a job's arguments hold no control characters.
LOOK = (
    "import json, os, sys; print(json.dumps(["
    "sorted(os.listdir(path)) if os.path.isdir(path) else "
    "open(path).read() if os.path.exists(path) else None "
    "for path in sys.argv[1:]]))"
)


def words(images: list[tuple[str, object]]) -> str:
    """An option `system_images`."""
    return " ".join(f"{name}={value}" for name, value in images)


def python3() -> InstalledImage:
    """The system image that is installed."""
    return next(image for image in find_images() if "python3" in image.names)


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the system images low, high and python3."""
    folder = tmp_path_factory.mktemp("layered")
    python = python3()
    tars: list[tuple[str, Path]] = [("python3", python.tar)]
    for name, data in (("low", LOW), ("high", HIGH)):
        (folder / f"{name}.tar").write_bytes(data)
        tars.append((name, folder / f"{name}.tar"))
    digests: list[tuple[str, object]] = [
        ("python3", python.sha256),
        ("low", sha256(LOW).hexdigest()),
        ("high", sha256(HIGH).hexdigest()),
    ]
    settings = ClusterSettings(
        proxy_options={"system_images": words(digests)},
        executor_options={"system_images": words([*tars])},
    )
    with started(folder / "cluster", settings) as cluster:
        warm_up(cluster)
        yield cluster


@pytest.fixture
def box(layered: Cluster) -> Iterator[Account]:
    """An account with the user's image."""
    for account in with_container(Account(layered)):
        account.put("mine.tar", MINE)
        account.put("mine.tar.gz", gzip.compress(MINE))
        yield account


def devices(box: Account, names: str) -> list[dict[str, Any]]:
    """The layers of that order; `mine` is the user's image, `zip` its gzip."""
    table = {
        **LAYERS,
        "mine": reads(box.path("mine.tar"), "image"),
        "zip": reads(box.path("mine.tar.gz"), "image"),
    }
    return [table[name] for name in names.split()]


# Layers in the order of the job, what is looked at, what is found.
OVERLAYS: dict[str, tuple[str, dict[str, object]]] = {
    "a system image": ("low python3", {"who": "low", "etc/mine": None}),
    "the first device lies on top": (
        "high low python3",
        {"who": "high", "etc/both": "high", "only-low": "low"},
    ),
    "the other order": (
        "low high python3",
        {"who": "low", "etc/both": "low", "only-low": "low"},
    ),
    "the user's image lies over all, wherever it stands": (
        "low high python3 mine",
        {"who": "mine", "etc/both": "low"},
    ),
    "the user's image first": (
        "mine low high python3",
        {"who": "mine", "etc/both": "low"},
    ),
    "an image that is gzip": ("zip low python3", {"who": "mine"}),
    "folders are merged": (
        "mine high low python3",
        {"etc": ["both", "high", "low", "mine"]},
    ),
    "a folder over a file": (
        "mine low python3",
        {"place": ["now"], "place/now/a": "folder"},
    ),
    "a file over a folder": (
        "mine low python3",
        {"tree": "a file of mine", "tree/of/low": None},
    ),
    "a link of a lower layer": ("mine low python3", {"link": "low"}),
    # Layers are laid over each other as tar members, not as OCI layers.
    "no whiteouts: it is a file like any other": (
        "mine low python3",
        {"only-low": "low", ".wh.only-low": ""},
    ),
    "what is not declared is not there": (
        "python3",
        {"who": None, "etc/both": None},
    ),
}


@pytest.mark.parametrize("case", sorted(OVERLAYS))
def test_image_files_are_found_in_their_order(box: Account, case: str) -> None:
    layers, expected = OVERLAYS[case]

    answer = box.post_job(
        [
            group(
                "file://python3:python",
                *devices(box, layers),
                STDOUT,
                args=["-c", LOOK, *(f"/{name}" for name in expected)],
            )
        ]
    )

    assert answer.status_code == 200, answer.text
    assert json.loads(answer.content) == list(expected.values())


HELLO, CAT, EXIT = b"hello\n", b"what came in", b""
# The path in `exec`, the layers, what the found program answers.
PROGRAMS: dict[str, tuple[str, str, bytes]] = {
    "the user's image first": ("file://bin/tool", "low high mine", CAT),
    "then the system images in the job's order": (
        "file://bin/tool",
        "low high",
        HELLO,
    ),
    "the other order": ("file://bin/tool", "high low", EXIT),
    "the next image that has it": ("file://bin/low-tool", "mine low", HELLO),
    "a named system image": ("file://low:bin/tool", "mine high low", HELLO),
    "the user's image by name": ("file://image:bin/tool", "low mine", CAT),
    "an image that no device mounts": ("file://low:bin/tool", "", HELLO),
    "a slash in front": ("file:///bin/tool", "low", HELLO),
    "an image that is gzip": ("file://bin/tool", "zip low", CAT),
}


@pytest.mark.parametrize("case", sorted(PROGRAMS))
def test_program_is_searched_in_the_images(box: Account, case: str) -> None:
    path, layers, expected = PROGRAMS[case]
    box.put("in", CAT)

    answer = box.post_job(
        [
            group(
                path,
                *devices(box, layers),
                reads(box.path("in")),
                STDOUT,
                args=["0"],
            )
        ]
    )

    assert (answer.status_code, answer.content) == (200, expected)


def test_program_is_not_searched_beyond_the_image_that_is_named(
    box: Account,
) -> None:
    answer = box.post_job(
        [group("file://high:bin/low-tool", *devices(box, "low high"), STDOUT)]
    )

    assert answer.status_code == 404
    assert "searched were high" in answer.text


def test_posted_tar_is_the_image_of_each_node_that_has_no_other(
    box: Account,
) -> None:
    job = [
        group(
            "file://python3:python",
            *devices(box, layers),
            STDOUT,
            name=name,
            args=["-c", LOOK, "/who", "/posted"],
        )
        for name, layers in (("a", "low python3"), ("b", "mine low python3"))
    ]
    posted = tar_of(
        ("boot/system.map", json.dumps(job).encode()),
        ("who", b"posted"),
        ("posted", b"yes"),
    )

    answer = box.post_job(posted, {"Content-Type": "application/x-tar"})

    assert answer.status_code == 200, answer.text
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == [["posted", "yes"], ["mine", None]]


def test_two_images_of_one_job_are_kept_apart(box: Account) -> None:
    """Each group has its own; neither sees the other's."""
    box.put("other.tar", tar_of(("who", b"other")))
    job = [
        group(
            "file://python3:python",
            reads(box.path(f"{name}.tar"), "image"),
            *devices(box, "python3"),
            STDOUT,
            name=name,
            args=["-c", LOOK, "/who", "/etc/mine"],
        )
        for name in ("mine", "other")
    ]

    answer = box.post_job(job)

    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == [["mine", "1"], ["other", None]]


def test_image_is_fetched_again_when_nodes_have_lost_it(
    box: Account, layered: Cluster
) -> None:
    job = [
        group(
            "file://image:bin/tool",
            *devices(box, "mine"),
            reads(box.path("in")),
            STDOUT,
        )
    ]
    box.put("in", CAT)
    assert box.post_job(job).content == CAT
    conf = layered.folder.conf(layered.nodes[0].server("object")).read_text()
    [cache] = re.findall(r"^cache_dir = (.*)$", conf, re.MULTILINE)
    digest = sha256(MINE).hexdigest()
    (Path(cache) / "blobs" / digest[:2] / digest).unlink()

    assert box.post_job(job).content == CAT


# Scripts.

SCRIPT = (
    b"import sys\n"
    b"print(len(open('/dev/script').read()), sys.stdin.read(), sys.argv[1:])\n"
)


@pytest.mark.parametrize("wildcard", [False, True])
def test_script_device_is_read_by_its_interpreter(
    box: Account, wildcard: bool
) -> None:
    """As one object, or as one node per script."""
    for name in ("a.py", "b.py"):
        box.put(f"scripts/{name}", SCRIPT)
    box.put("in", b"input")
    path = "scripts/*" if wildcard else "scripts/a.py"

    report = box.run(
        [
            group(
                "file://python3:python",
                reads(box.path(path), "script"),
                reads(box.path("in")),
                *devices(box, "python3"),
                writes(box.path("out/*")),
                args=["/dev/script", "one", "two"],
            )
        ]
    )

    assert report["status"] == "succeeded", report
    made = box.listing(prefix="out/")
    assert made == (["out/a.py", "out/b.py"] if wildcard else ["out/n"])
    line = f"{len(SCRIPT)} input ['one', 'two']\n".encode()
    assert [box.get(name) for name in made] == [line] * len(made)


# Placement.

ATTACHED = ["stdin", "input", "script", "image"]


@pytest.mark.parametrize("device", ATTACHED)
def test_node_runs_beside_the_object_it_is_attached_to(
    box: Account, device: str
) -> None:
    """What it is attached to is read in place, the others are streamed."""
    for name in ("stdin", "input", "script"):
        box.put(name, SCRIPT)
    read = [reads(box.path(name), name) for name in ("input", "script")]
    read.append(reads(box.path("stdin")))
    layers = devices(box, "mine python3")

    report = box.run(
        [
            group(
                "file://python3:python",
                *read,
                *layers,
                STDOUT,
                attach=device,
                args=["/dev/script"],
            )
        ]
    )

    assert report["status"] == "succeeded", report
    ways = {
        entry["device"]: entry["source"]
        for entry in report["nodes"][0]["io"]
        if entry["device"] in ("stdin", "input", "script")
    }
    # An image is sent as a blob wherever the node runs.
    assert ways == {
        name: "local" if name == device else "stream" for name in ways
    }
    assert len(ways) == 3


@pytest.mark.parametrize("device", ["stdout", "output"])
def test_node_attached_to_what_it_writes_runs_anywhere(
    box: Account, device: str
) -> None:
    box.put("in", CAT)

    report = box.run(
        [
            group(
                "file://image:bin/tool",
                *devices(box, "mine"),
                reads(box.path("in")),
                writes(box.path("out"), "stdout"),
                writes(box.path("out2"), "output"),
                attach=device,
            )
        ]
    )

    [read] = [e for e in report["nodes"][0]["io"] if e["device"] == "stdin"]
    assert read["source"] == "stream"
    assert box.get("out") == CAT


def test_groups_of_one_location_share_a_server(box: Account) -> None:
    for number in range(6):
        box.put(f"in/{number}", CAT)

    def servers(**more: str) -> list[str]:
        report = box.run(
            [
                group(
                    "file://image:bin/tool",
                    *devices(box, "mine"),
                    reads(box.path(f"in/{number}")),
                    STDOUT,
                    name=f"n{number}",
                    **more,
                )
                for number in range(6)
            ]
        )
        assert report["status"] == "succeeded"
        return [node["server"] for node in report["nodes"]]

    assert len(set(servers(location="here"))) == 1
    assert len(set(servers())) > 1

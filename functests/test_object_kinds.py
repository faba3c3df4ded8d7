"""Jobs read every kind of object as a GET does, however they read it.

The table of object_kinds.py on three clusters: as it is by default, with
reading in place switched off, and encrypted at rest.  By name and by wildcard:
the same bytes, and the report says truly whether they were read in place.
"""

from __future__ import annotations

import base64
import http.client
import time
import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from functests.conftest import started, with_container
from functests.jobs import STDOUT, group, guest, reads, writes
from functests.object_kinds import KINDS, Kind, Makers
from functests.support import (
    Account,
    assert_nothing_left,
    residue,
    wait_until,
)
from functests.test_job_inputs import pattern, source_of
from zerocloud.cluster import Cluster, ClusterSettings

OFF = {"local_reads": "false"}
LEFT_SECONDS = 3.0
SETTINGS = {
    "by default": ClusterSettings(),
    "streamed": ClusterSettings(proxy_options=OFF),
    "encrypted": ClusterSettings(encrypt=True),
}


@pytest.fixture(scope="module", params=SETTINGS)
def world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """One cluster after another."""
    folder = tmp_path_factory.mktemp("kinds")
    with started(folder, SETTINGS[request.param]) as running:
        for account in with_container(Account(running)):
            account.create("programs")
            account.put("cat", guest("cat"), "programs")
        yield running


def in_place(cluster: Cluster, kind: Kind) -> bool:
    """Whether jobs on this cluster read such an object in place."""
    if cluster.settings == SETTINGS["streamed"]:
        return False
    # Swift encrypts no empty bodies.
    encrypted = cluster.settings.encrypt and kind.bytes
    return kind.in_place and not encrypted


@pytest.fixture(scope="module")
def users(world: Cluster) -> Iterator[tuple[Account, Account]]:
    """Two users with an account each."""
    account = Account(world).log_in()
    other = Account(world, "test2:tester2", "testing2").log_in()
    yield account, other
    account.close()
    other.close()


@pytest.fixture
def make(
    users: tuple[Account, Account], request: pytest.FixtureRequest
) -> Iterator[Makers]:
    """Makers of objects in a container, of a policy if it has a parameter.

    Afterwards no process, descriptor or file is left.
    """
    account, other = users
    policy = getattr(request, "param", "")
    headers = {"X_Storage_Policy": policy} if policy else {}
    account.container = account.create(f"c-{uuid.uuid4().hex[:12]}", **headers)
    for user in users:
        user.session.close()
    before = residue(account.cluster)
    yield Makers(account, other)
    for user in users:
        user.session.close()
    assert_nothing_left(account.cluster, before, LEFT_SECONDS)


def cat(account: Account, path: str, name: str, **more: Any) -> dict[str, Any]:
    program = account.path("cat", "programs")
    return group(program, reads(path), STDOUT, name=name, **more)


def answered(node: dict[str, Any]) -> bytes:
    """The bytes of a node's one output in the report."""
    [output] = node["outputs"]
    if "text" in output:
        return str(output["text"]).encode()
    return base64.b64decode(output["base64"])


@pytest.mark.parametrize(
    ("kind", "make"),
    [(name, kind.policy) for name, kind in KINDS.items()],
    ids=KINDS,
    indirect=["make"],
)
def test_object_is_read_as_a_get_reads_it(make: Makers, kind: str) -> None:
    account = make.account
    KINDS[kind].make(make, "in/the object")
    stored = account.get("in/the object")
    assert len(stored) == KINDS[kind].bytes

    report = account.run(
        [
            cat(account, account.path("in/the object"), "named"),
            cat(account, account.path("in/*"), "found"),
        ]
    )

    assert report["status"] == "succeeded"
    named, found = report["nodes"]
    local = in_place(account.cluster, KINDS[kind])
    for node in (named, found):
        assert answered(node) == stored
        assert source_of(node) == ("local" if local else "stream")
        sizes = (node["in_place_bytes"], node["streamed_bytes"])
        assert sizes == ((len(stored), 0) if local else (0, len(stored)))
        notes = node["executor"]
        assert (notes["local_bytes"], notes["streamed_bytes"]) == sizes
    assert named["digests"]["stdin"] == found["digests"]["stdin"]


REFUSED = {
    "gone": (lambda make: None, 404, "not_found"),
    "link to nothing": (
        lambda make: make.put("in/o", X_Symlink_Target="no/thing"),
        404,
        "not_found",
    ),
}


@pytest.mark.parametrize("way", REFUSED)
def test_object_that_a_get_does_not_find_is_not_found(
    make: Makers, way: str
) -> None:
    arrange, status, code = REFUSED[way]
    arrange(make)
    account = make.account

    answer = account.post_job(
        [cat(account, account.path("in/o"), "n")],
        {"Accept": "application/json"},
    )

    assert account.head("in/o").status_code == 404
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert f"{account.container}/in/o does not exist" in error["message"]


def test_expired_object_is_not_found_by_name(make: Makers) -> None:
    account = make.account
    make.put("in/o", b"x", X_Delete_At=str(int(time.time()) + 1))
    assert wait_until(lambda: account.head("in/o").status_code == 404)

    named = account.post_job([cat(account, account.path("in/o"), "n")])
    found = account.post_job([cat(account, account.path("in/*"), "n")])

    full = f"swift://{account.name}/{account.container}/in/o"
    assert named.status_code == 404
    assert named.text.strip() == f"object {full} does not exist"
    # The listing has it until Swift's expirer comes by.
    assert found.status_code == 409
    assert full in found.text
    assert "(deleted, or expired)" in found.text


def test_link_to_an_account_that_allows_nothing_is_forbidden(
    make: Makers,
) -> None:
    account = make.account
    box = make.box(make.other)
    make.other.put("target", b"a secret", box)
    make.put(
        "in/o",
        X_Symlink_Target=f"{box}/target",
        X_Symlink_Target_Account=make.other.name,
    )

    for path in ("in/o", "in/*"):
        answer = account.post_job([cat(account, account.path(path), "n")])
        assert answer.status_code == 403, answer.text
        assert f"{account.container}/in/o is not allowed" in answer.text
        assert box not in answer.text


@pytest.mark.parametrize("open_to_other", [False, True])
def test_large_object_is_read_by_who_may_read_its_segments(
    make: Makers, *, open_to_other: bool
) -> None:
    """Being allowed to read the manifest is not enough, as for a GET."""
    account, other = make.account, make.other
    readers = {"X-Container-Read": other.user}
    parts = make.box()
    if open_to_other:
        account.request("POST", parts, readers).raise_for_status()
    account.request("POST", account.container, readers).raise_for_status()
    account.request("POST", "programs", readers).raise_for_status()
    etag = account.put("1", b"a segment", parts)
    make.manifest("in/o", [{"path": f"/{parts}/1", "etag": etag}])
    full = account.path("in/o").replace("~", account.name)
    program = account.path("cat", "programs").replace("~", account.name)

    answer = other.post_job([group(program, reads(full), STDOUT)])

    if open_to_other:
        assert answer.text == "a segment"
    else:
        assert answer.status_code == 403
        assert f"{parts}/1, a segment of {full}, is not" in answer.text


@pytest.mark.parametrize("how", ["loop", "chain", "other version"])
def test_link_that_a_get_cannot_follow_is_a_409_that_names_it(
    make: Makers, how: str
) -> None:
    account = make.account
    box = account.container
    if how == "loop":
        make.put("back", X_Symlink_Target=f"{box}/in/o")
        make.put("in/o", X_Symlink_Target=f"{box}/back")
    elif how == "chain":
        make.put("target", b"far")
        names = ["target", "a", "b", "c", "in/o"]
        for target, name in pairwise(names):
            make.put(name, X_Symlink_Target=f"{box}/{target}")
    else:
        etag = make.put("target", b"then")
        make.put(
            "in/o",
            X_Symlink_Target=f"{box}/target",
            X_Symlink_Target_Etag=etag,
        )
        make.put("target", b"now")
    assert account.head("in/o").status_code == 409

    for path in ("in/o", "in/*"):
        answer = account.post_job(
            [cat(account, account.path(path), "n")],
            {"Accept": "application/json"},
        )
        assert answer.status_code == 409, answer.text
        error = answer.json()["error"]
        assert error["code"] == "object_broken"
        assert f"{box}/in/o cannot be read as it is" in error["message"]
        assert not error["may_retry"]


# Names.

NAMES = [
    "a b",
    " blank at both ends ",
    "a/b/c",
    "/slash first",
    "slash last/",
    "//two//slashes//",
    "100%",
    "%41%00%2F%zz",
    'it\'s "quoted" `so`',
    "back\\slash",
    "\N{GRINNING FACE}\N{FAMILY} \N{REGIONAL INDICATOR SYMBOL LETTER D}",
    "u\u0308mlaut and ümlaut",
    "new\nline\r\nand\ttab",
    "\x01\x1b[31m\x7f",
    "\u0085\u2028\u202e\ufeff",
    ".hidden",
    "..",
    ".",
    "./a",
    "../../etc/passwd",
    "a/../b/./c",
    "~",
    "swift://a/b/c",
    "?a=b&c#d;e,f|g",
    "<&amp;>",
    "${HOME} $(id) {a,b} [a-z] ^x$",
    "-rf",
    "x" * 1024,
    "ä" * 512,
]


@pytest.fixture(scope="module")
def named(cluster: Cluster) -> Iterator[Account]:
    """An account with the program in a container of its own."""
    account = Account(cluster).log_in()
    account.create("programs")
    account.put("cat", guest("cat"), "programs")
    yield account
    account.delete("cat", "programs")
    account.request("DELETE", "programs")
    account.close()


def sent(
    account: Account, method: str, box: str, name: str, data: bytes = b""
) -> bytes:
    """A request for exactly this name: `requests` would take dots away."""
    url = urlsplit(account.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port)
    connection.request(
        method,
        f"{url.path}/{quote(box)}/{quote(name)}",
        data,
        {"X-Auth-Token": account.token},
    )
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert 200 <= answer.status < 300, (method, name, answer.status, body)
    return body


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[1:25])
def test_name_is_read_and_written_as_it_is(named: Account, name: str) -> None:
    """By name and by wildcard, as input and as output."""
    token = uuid.uuid4().hex[:8]
    boxes = [named.create(f"n-{token}-{kind}") for kind in ("in", "a", "b")]
    source, first, second = boxes
    data = pattern(70_000)
    sent(named, "PUT", source, name, data)
    program = named.path("cat", "programs")
    job = [
        group(
            program,
            reads(named.path(name, source)),
            writes(named.path(name, first)),
            name="named",
        ),
        group(
            program,
            reads(named.path("*", source)),
            writes(named.path("*", second)),
            name="found",
        ),
    ]
    if name.endswith("/"):
        # A place holder for a folder: never matched by a wildcard.
        answer = named.post_job(job)
        assert answer.status_code == 400
        assert "matches no object" in answer.text
        job.pop()

    report = named.run(job)

    assert report["status"] == "succeeded"
    for box, node in zip((first, second), report["nodes"], strict=False):
        assert source_of(node) == "local"
        assert named.listing(box) == [name]
        assert sent(named, "GET", box, name) == data
        assert node["outputs"][0]["path"] == (
            f"swift://{named.name}/{box}/{name}"
        )
        sent(named, "DELETE", box, name)
    sent(named, "DELETE", source, name)
    for box in boxes:
        assert named.request("DELETE", box).status_code == 204


CONTAINERS = [
    "a b",
    "100% %41",
    'it\'s "quoted"',
    "\N{GRINNING FACE} \u0308",
    "new\nline",
    "..c",
    ".hidden",
    "?a=b&c#d;e,f",
    "ä" * 128,
]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("box", CONTAINERS, ids=lambda name: ascii(name)[1:25])
def test_container_is_read_and_written_as_it_is(
    named: Account, box: str
) -> None:
    """By name and by a wildcard that lists containers."""
    named.create(box)
    program = named.path("cat", "programs")
    pattern_of_box = f"{box[:-1]}*"
    named.put("in/o", b"hello", box)

    report = named.run(
        [
            group(
                program,
                reads(named.path("in/o", box)),
                writes(named.path("named", box)),
                name="named",
            ),
            group(
                program,
                reads(named.path("in/*", pattern_of_box)),
                writes(named.path("found/*", pattern_of_box)),
                name="found",
            ),
        ]
    )

    assert report["status"] == "succeeded"
    assert named.listing(box) == ["found/o", "in/o", "named"]
    assert named.get("named", box) == named.get("found/o", box) == b"hello"
    for name in named.listing(box):
        named.delete(name, box)
    assert named.request("DELETE", quote(box)).status_code == 204

"""The object beside us: read in place only when its bytes are its bytes."""

from __future__ import annotations

import pytest
from swift.common import exceptions

from unittests.executor.harness import STAMP, Conversation, document, source
from zerocloud.errors import TaskRefused
from zerocloud.executor.localobject import parse_path
from zerocloud.protocol import frames

PATH = "/sda/0/a/c/o"
PROGRAM = b"fake cat"


def talk_to(node, data=b"object", path=PATH, **more):
    (node.folder / "o").write_bytes(data)
    inputs = [source("stdin", "local", len(data))]
    return Conversation(
        node, document(PROGRAM, inputs=inputs), path=path, **more
    )


def refused(talk) -> tuple[int, str]:
    assert talk.begin() != 200
    assert talk.error["may_retry"]
    return talk.status, talk.error["code"]


def test_object_is_read_in_place(node):
    talk = talk_to(node, b"in place")
    assert talk.begin() == 200
    talk.until(frames.ACCEPTED)
    talk.send_stream(frames.BLOB, 0, PROGRAM)
    talk.finish()
    assert talk.outputs == {0: b"in place"}
    assert talk.report.executor.local_bytes == 8


def test_object_replaced_while_queued_is_read_as_it_was(node):
    talk = talk_to(node, b"old bytes")
    assert talk.begin() == 200
    (node.folder / "new").write_bytes(b"new bytes")
    (node.folder / "new").rename(node.folder / "o")
    talk.until(frames.ACCEPTED)
    talk.send_stream(frames.BLOB, 0, PROGRAM)
    assert talk.finish().outputs == {0: b"old bytes"}


def test_object_for_two_inputs_has_two_offsets(node):
    (node.folder / "o").write_bytes(b"twice")
    both = [source("stdin", "local", 5), source("input", "local", 5)]
    program = b"fake cat cat"
    talk = Conversation(node, document(program, inputs=both), path=PATH)
    assert talk.begin() == 200
    talk.until(frames.ACCEPTED)
    talk.send_stream(frames.BLOB, 0, program)
    talk.finish()
    assert [c.read_bytes for c in talk.report.channels[:2]] == [5, 5]
    assert talk.report.executor.local_bytes == 10


def test_object_of_another_version_is_a_conflict_with_its_time(node):
    talk = talk_to(node, pin="1700000001.00000")
    assert refused(talk) == (409, "object_changed")
    assert talk.error["timestamp"] == STAMP


def test_object_with_a_pin_that_is_no_time_is_a_bad_request(node):
    talk = talk_to(node, pin="yesterday")
    assert talk.begin() == 400
    assert "X-Zerocloud-Pin is 'yesterday'" in talk.error["message"]


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("X-Static-Large-Object", "a static large object"),
        ("X-Object-Manifest", "a dynamic large object"),
        ("X-Object-Sysmeta-Symlink-Target", "a symlink"),
        ("X-Object-Sysmeta-Crypto-Body-Meta", "encrypted"),
        ("X-Object-Transient-Sysmeta-Crypto-Meta", "encrypted"),
    ],
)
def test_object_that_is_not_its_bytes_is_not_local(node, header, text):
    node.server.metadata = {header: "x"}
    talk = talk_to(node)
    assert refused(talk) == (422, "not_local")
    assert text in talk.error["message"]


def test_object_of_another_length_is_not_local(node):
    talk = talk_to(node, b"object")
    (node.folder / "o").write_bytes(b"longer object")
    assert refused(talk) == (422, "not_local")
    assert "13 bytes on the disk, not 6" in talk.error["message"]


def test_object_with_user_metadata_is_local(node):
    node.server.metadata = {"X-Object-Meta-Crypto-Body-Meta": "mine"}
    talk = talk_to(node)
    assert talk.begin() == 200
    talk.vanish()


def test_object_of_an_unknown_policy_is_not_local(node):
    assert refused(talk_to(node, policy_index=9)) == (422, "not_local")


def test_object_with_local_reads_off_is_not_local(make_node):
    node = make_node(local_reads="no")
    assert refused(talk_to(node)) == (422, "not_local")


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (exceptions.DiskFileNotExist(), 404, "not_found"),
        (exceptions.DiskFileDeleted(), 404, "not_found"),
        (exceptions.DiskFileQuarantined(), 404, "not_found"),
        (exceptions.DiskFileDeviceUnavailable(), 507, "disk_full"),
        (exceptions.DiskFileXattrNotSupported(), 507, "disk_full"),
        (exceptions.DiskFileCollision(), 422, "not_local"),
        (exceptions.DiskFileStateChanged(), 503, "busy"),
        (OSError(5, "input/output error"), 503, "busy"),
    ],
)
def test_object_that_cannot_be_opened_says_why(node, fault, status, code):
    node.server.fault = fault
    assert refused(talk_to(node)) == (status, code)


def test_object_that_is_missing_is_not_found(node):
    talk = talk_to(node)
    (node.folder / "o").unlink()
    assert refused(talk) == (404, "not_found")


def test_local_input_without_an_object_is_a_bad_request(node):
    talk = talk_to(node, path="/sda/0")
    assert talk.begin() == 400
    assert "no object in the path" in talk.error["message"]


def test_path_keeps_slashes_and_unicode_of_the_object():
    wsgi = "/d/7/a/c/x/ö/".encode().decode("latin-1")
    name = parse_path(wsgi)
    assert name is not None
    assert (name.disk, name.partition, name.object) == ("d", "7", "x/ö/")


def test_path_of_a_partition_names_no_object():
    assert parse_path("/d/7") is None


@pytest.mark.parametrize(
    "path", ["", "/d", "/d/7/a", "/d/7/a/c", "d/7", "/\xff"]
)
def test_path_of_neither_is_refused(path):
    with pytest.raises(TaskRefused, match="path is"):
        parse_path(path)

"""Images of a task: the right ones, as tars, with their environment."""

from __future__ import annotations

import gzip
import json
import os
from hashlib import sha256

import pytest

from unittests.executor.harness import (
    Conversation,
    blob_path,
    document,
    run,
    source,
    wait_until,
)
from unittests.fakes.tars import description, tar_of
from zerocloud.errors import TaskRefused
from zerocloud.executor.blobs import BlobStore
from zerocloud.protocol import frames

PROGRAM = b"fake layers env"


def image(device: str, kind: str, data: bytes) -> dict[str, str]:
    digest = sha256(data).hexdigest()
    return {"device": device, "kind": kind, "sha256": digest}


@pytest.fixture
def python(make_node, tmp_path):
    """A node with a system image, and the image."""
    tar = tar_of(description(PY="1", LANG="C"), ("bin/py", b"fake print:py"))
    (tmp_path / "python.tar").write_bytes(tar)
    names = ("python3", "python")
    words = " ".join(f"{n}={tmp_path / 'python.tar'}" for n in names)
    return make_node(system_images=words), tar


def outputs(talk) -> bytes:
    return talk.finish().outputs[0]


def test_blob_image_is_a_layer(node):
    tar = tar_of(("x", b"1"))
    images = [image("image", "blob", tar)]
    talk = run(node, PROGRAM, blobs=(tar,), images=images)
    assert len(talk.need) == 2
    assert outputs(talk) == b'["image"][]'
    again = run(node, PROGRAM, images=images)
    assert again.need == []
    assert outputs(again) == b'["image"][]'


def test_gzipped_image_is_inflated_once(node):
    tar = gzip.compress(tar_of(description(A="b")))
    images = [image("image", "blob", tar)]
    for _ in range(2):
        talk = run(node, PROGRAM, blobs=(tar,), images=images)
        assert outputs(talk) == b'["image"][["A", "b"]]'


def test_gzipped_image_evicted_is_inflated_again(node, tmp_path):
    tar = gzip.compress(tar_of(("x", b"1")))
    images = [image("image", "blob", tar)]
    outputs(run(node, PROGRAM, blobs=(tar,), images=images))
    [inflated] = (node.settings.cache_dir / "derived").iterdir()
    inflated.unlink()
    assert outputs(run(node, PROGRAM, images=images)) == b'["image"][]'


def test_system_image_is_a_layer_under_each_of_its_names(python):
    node, tar = python
    for name in ("python3", "python"):
        talk = run(node, PROGRAM, images=[image(name, "system", tar)])
        assert outputs(talk).startswith(f'["{name}"]'.encode())


def test_environment_of_the_task_goes_before_the_images(python):
    node, tar = python
    top = tar_of(description(LANG="top", TOP="1"))
    images = [image("image", "blob", top), image("python3", "system", tar)]
    talk = run(
        node, PROGRAM, blobs=(top,), images=images, env=[["TOP", "task"]]
    )
    assert outputs(talk) == (
        b'["image", "python3"][["PY", "1"], ["LANG", "top"], ["TOP", "task"]]'
    )


def refused(node, **changes) -> tuple[int, str, str]:
    talk = Conversation(node, document(PROGRAM, **changes))
    talk.begin()
    assert talk.error["may_retry"]
    return talk.status, talk.error["code"], talk.error["message"]


def test_system_image_of_another_digest_is_refused_to_try_elsewhere(python):
    node, tar = python
    asked = image("python3", "system", b"another tar")
    status, code, text = refused(node, images=[asked])
    assert (status, code) == (422, "unknown_image")
    assert sha256(tar).hexdigest() in text
    assert str(node.folder) not in text


def test_system_image_unknown_here_is_refused_to_try_elsewhere(node):
    status, code, text = refused(node, images=[image("py", "system", b"")])
    assert (status, code) == (422, "unknown_image")
    assert text == "system image py is not known on this storage node"


def test_system_image_replaced_is_noticed(python):
    node, tar = python
    talk = run(node, PROGRAM, images=[image("python3", "system", tar)])
    talk.finish()
    new = tar_of(("x", b"new"))
    (node.folder / "python.tar").write_bytes(new)
    asked = image("python3", "system", tar)
    assert refused(node, images=[asked])[1] == "unknown_image"


def test_name_with_two_files_is_the_one_that_the_task_wants(
    make_node, tmp_path
):
    tars = [tar_of(description(V=v)) for v in ("old", "new")]
    for number, tar in enumerate(tars):
        (tmp_path / f"{number}.tar").write_bytes(tar)
    gone = f"py={tmp_path / 'gone.tar'}"
    words = [gone, *(f"py={tmp_path / name}" for name in ("0.tar", "1.tar"))]
    node = make_node(system_images=" ".join(words))
    for tar, version in zip(tars, ("old", "new"), strict=True):
        talk = run(node, PROGRAM, images=[image("py", "system", tar)])
        assert outputs(talk) == f'["py"][["V", "{version}"]]'.encode()
    asked = image("py", "system", b"a third")
    status, code, text = refused(node, images=[asked])
    assert (status, code) == (422, "unknown_image")
    assert all(sha256(tar).hexdigest() in text for tar in tars)


def failed(node, tar: bytes) -> str:
    images = [image("image", "blob", tar)]
    talk = Conversation(node, document(PROGRAM, images=images))
    talk.begin()
    talk.until(frames.ACCEPTED)
    blobs = {sha256(b).hexdigest(): b for b in (PROGRAM, tar)}
    for stream, digest in enumerate(talk.need):
        talk.send_stream(frames.BLOB, stream, blobs[digest])
    talk.finish()
    assert talk.error["code"] == "image_invalid"
    return str(talk.error["message"])


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"version": 2, "name": "i", "env": {}}, "image.version is 2"),
        ({"version": 1, "name": "i", "env": {"A": 1}}, "env.A is 1"),
        ({"version": 1, "name": "i"}, "image has no env"),
        ({"version": 1, "name": "i", "env": {"A=B": ""}}, "without ="),
        ({"version": 1, "name": "i", "env": {"": "x"}}, "without ="),
        ({"version": 1, "name": "i", "env": {"A\0": ""}}, "without ="),
        ({"version": 1, "name": "i", "env": {"A": "\0"}}, "without NUL"),
        ({"version": 1, "name": "i", "env": {"A": "\ud800"}}, "allowed is"),
    ],
)
def test_image_with_a_bad_description_is_refused(node, env, text):
    data = json.dumps(env).encode()
    tar = tar_of((".zerocloud/image.json", data))
    assert text in failed(node, tar)


def test_image_that_is_no_tar_is_refused(node):
    assert "image image: not a usable tar" in failed(node, b"#!/bin/sh\n")


def test_image_that_inflates_beyond_the_limit_is_refused(make_node):
    node = make_node(max_blob_bytes="100000")
    tar = gzip.compress(tar_of(("x", bytes(200_000))))
    images = [image("image", "blob", tar)]
    talk = run(node, PROGRAM, blobs=(tar,), images=images).finish()
    assert talk.error["code"] == "input_too_large"


def test_program_is_found_in_a_system_image(python):
    node, tar = python
    images = [image("python3", "system", tar)]
    for _ in range(2):
        talk = run(
            node,
            b"",
            images=images,
            program={"name": "py", "member": "bin/py", "image": "python3"},
        )
        assert talk.need == []
        assert outputs(talk) == b"py"


def test_program_is_searched_in_order(python):
    node, tar = python
    top = tar_of(("bin/py", b"fake print:mine"))
    images = [image("image", "blob", top), image("python3", "system", tar)]
    for wanted, expected in ((None, b"mine"), ("python3", b"py")):
        program = {"name": "py", "member": "bin/py", "image": wanted}
        talk = run(node, b"", blobs=(top,), images=images, program=program)
        assert outputs(talk) == expected


TEMPLATED = {
    "version": 1,
    "name": "i",
    "env": {"PY": "1"},
    "templates": [
        {
            "program": "bin/py",
            "module": "warm",
            "options": ["-c"],
            "variables": "PY",
        }
    ],
}


@pytest.mark.parametrize(
    ("settings", "change", "members", "expected"),
    [
        ({}, {}, ("warm",), b"warm"),
        ({}, {"args": ["n", "-O"]}, ("warm",), b"cold"),
        ({}, {"env": [["PY", "2"]]}, ("warm",), b"cold"),
        ({}, {}, (), b"cold"),
        ({"use_templates": "false"}, {}, ("warm",), b"cold"),
    ],
    ids=["chosen", "option", "variable", "missing", "off"],
)
def test_template_of_a_system_image_stands_for_its_program(
    *, make_node, tmp_path, settings, change, members, expected
):
    tar = templated(*members)
    (tmp_path / "i.tar").write_bytes(tar)
    node = make_node(system_images=f"i={tmp_path / 'i.tar'}", **settings)
    program = {"name": "py", "member": "./bin/py", "image": None}
    images = [image("i", "system", tar)]
    talk = run(node, b"", images=images, program=program, **change)
    assert outputs(talk) == expected


def test_template_of_a_users_image_is_not_taken(node):
    tar = templated("warm")
    program = {"name": "py", "member": "bin/py", "image": None}
    images = [image("image", "blob", tar)]
    talk = run(node, b"", blobs=(tar,), images=images, program=program)
    assert outputs(talk) == b"cold"


def templated(*modules: str) -> bytes:
    """An image that says that its program has a template."""
    return tar_of(
        (".zerocloud/image.json", json.dumps(TEMPLATED).encode()),
        ("bin/py", b"fake print:cold"),
        *((name, b"fake print:warm") for name in modules),
    )


def test_program_in_no_image_names_member_and_images(python):
    node, tar = python
    program = {"name": "x", "member": "bin/x", "image": None}
    images = [image("python3", "system", tar)]
    talk = run(node, b"", images=images, program=program).finish()
    assert talk.error == {
        "code": "program_not_found",
        "message": "program bin/x is not in the images: searched were python3",
        "may_retry": False,
    }


def test_program_evicted_is_made_again(python):
    node, tar = python
    program = {"name": "py", "member": "bin/py", "image": None}
    images = [image("python3", "system", tar)]
    for _ in range(2):
        talk = run(node, b"", images=images, program=program)
        assert outputs(talk) == b"py"
        for folder in ("programs", "derived"):
            for path in (node.settings.cache_dir / folder).iterdir():
                path.unlink()


def test_program_blob_evicted_is_asked_for_again(node):
    run(node, b"fake print:x").finish()
    for path in node.settings.cache_dir.rglob("*"):
        if path.is_file():
            path.unlink()
    talk = run(node, b"fake print:x")
    assert len(talk.need) == 1
    assert outputs(talk) == b"x"


def test_program_is_compiled_once_for_many(node):
    program = b"fake slow print:x"
    talks = [Conversation(node, document(program)) for _ in range(3)]
    for talk in talks:
        assert talk.begin() == 200
    for talk in talks:
        talk.until(frames.ACCEPTED)
        for stream, _ in enumerate(talk.need):
            talk.send_stream(frames.BLOB, stream, program)
    for talk in talks:
        assert outputs(talk) == b"x"
    artefacts = list((node.settings.cache_dir / "programs").iterdir())
    assert len(artefacts) == 1


def test_image_that_others_would_evict_stays_while_its_task_waits(node):
    """And one that an operator removes by hand is read nevertheless."""
    tar = tar_of(("x", b"1"))
    changes = {
        "images": [image("image", "blob", tar)],
        "inputs": [source("stdin", "stream", 5)],
    }
    talk = Conversation(node, document(PROGRAM, **changes))
    assert talk.begin() == 200
    talk.until(frames.ACCEPTED)
    known = {sha256(blob).hexdigest(): blob for blob in (PROGRAM, tar)}
    for stream, digest in enumerate(talk.need):
        talk.send_stream(frames.BLOB, stream, known[digest])
    assert wait_until(lambda: os.path.exists(blob_path(node, tar)))
    with pytest.raises(TaskRefused, match="all of them in use"):
        BlobStore(node.settings.cache_dir, 1, 0).make_room(0)
    assert os.path.exists(blob_path(node, tar))
    os.unlink(blob_path(node, tar))
    talk.send_stream(frames.DATA, 0, b"12345")
    assert outputs(talk) == b'["image"][]'
    # The next task is sent it again.
    again = run(node, PROGRAM, (b"12345",), blobs=(tar,), **changes)
    assert len(again.need) == 1
    assert outputs(again) == b'["image"][]'


def test_program_removed_by_hand_while_its_task_waits_may_be_retried(node):
    changes = {"inputs": [source("stdin", "stream", 5)]}
    talk = Conversation(node, document(PROGRAM, **changes))
    talk.begin()
    talk.until(frames.ACCEPTED)
    talk.send_stream(frames.BLOB, 0, PROGRAM)
    assert wait_until(lambda: os.path.exists(blob_path(node, PROGRAM)))
    os.unlink(blob_path(node, PROGRAM))
    talk.send_stream(frames.DATA, 0, b"12345")
    talk.finish()
    assert (talk.error["code"], talk.error["may_retry"]) == ("internal", True)
    assert outputs(run(node, PROGRAM, (b"12345",), **changes)) == b"[][]"

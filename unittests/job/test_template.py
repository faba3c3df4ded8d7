"""Scripts that are POSTed by themselves."""

from __future__ import annotations

import io
import tarfile

import pytest

from unittests.job.samples import ACCOUNT, CAPS, IMAGES, path
from zerocloud.errors import JobError
from zerocloud.job.expand import PlanContext, build_plan
from zerocloud.job.plan import Image, Input, Node, Output, Program
from zerocloud.job.template import ScriptJob, parse_script

SCRIPT = b"#!file://python3:bin/python\nprint('hello')\n"


def _parse(body: bytes) -> ScriptJob:
    return parse_script(body, account=ACCOUNT, caps=CAPS)


def _node(body: bytes, *, payload: bool = False) -> Node:
    context = PlanContext(
        ACCOUNT, posted_image=True, payload=payload, system_images=IMAGES
    )
    (node,) = build_plan(_parse(body).job, {}, context=context).nodes
    return node


def test_script_becomes_one_node_with_its_image() -> None:
    node = _node(SCRIPT, payload=True)
    assert (node.index, node.name) == (1, "script")
    assert node.program == Program(member="bin/python", image="python3")
    assert node.argv == ("python", "script")
    assert node.inputs == (Input("stdin", "sequential", payload=True),)
    assert node.outputs == (
        Output("stdout", "sequential", None, "text/plain"),
    )
    assert node.images == (
        Image("image", posted=True),
        Image("python3", system="python3"),
    )
    assert (node.attach, node.limits) == (None, CAPS.defaults)


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        (b"#!file://python3:python -u", ("python", "-u", "script")),
        (
            b"#! file://python3:python \t-c  'a b' \"c\"  ",
            ("python", "-c", "a b", "c", "script"),
        ),
        (b"#!file://python3:python\r", ("python", "script")),
        (b"#!swift://~/bin/my.wasm x", ("my.wasm", "x", "script")),
        (b"#!swift://~/bin/dir/", ("dir", "script")),
        (b"#!swift://~/bin//", ("script", "script")),
    ],
)
def test_first_line_gives_program_and_arguments(
    line: bytes, argv: tuple[str, ...]
) -> None:
    assert _node(line + b"\nbody").argv == argv


def test_interpreter_may_be_an_object() -> None:
    node = _node(b"#!swift://~/bin/py.wasm\n")
    assert node.program == Program(path=path("bin", "py.wasm"))
    assert [i.posted for i in node.images] == [True]


def test_script_is_the_only_member_of_a_tar_that_is_always_the_same() -> None:
    body = SCRIPT + bytes(range(256)) * 100
    first, second = _parse(body).image_tar, _parse(body).image_tar
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        (member,) = tar.getmembers()
        content = tar.extractfile(member)
        assert content is not None
        assert content.read() == body
    assert (member.name, member.mode) == ("script", 0o755)
    assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
    assert (member.uname, member.gname) == ("", "")


def test_first_line_may_have_4096_bytes_and_no_more() -> None:
    head = b"#!file://python3:python "
    args = b"a" * (4095 - len(head))
    assert len(_node(head + args + b"\n").argv[1]) == len(args)
    with pytest.raises(JobError, match="within its first 4096 bytes"):
        _parse(head + args + b"a\n")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "it does not start with #!"),
        (b"print(1)\n", "it does not start with #!"),
        (b"\n#!file://python3:python\n", "it does not start with #!"),
        (b"#!file://python3:python", "its first line does not end"),
        (b"#!" + b"a" * 10**6, "its first line does not end"),
        (b"#!\n", "its first line names no interpreter"),
        (b"#!  \t \n", "its first line names no interpreter"),
        (b"#!\xff\n", "its first line is not UTF-8"),
        (b"#!file://python3:python a\0b\n", "has control characters"),
        (b"#!file://python3:python 'a\n", "the arguments 'a have an open"),
        (b"#!/usr/bin/env python3\n", 'interpreter is "/usr/bin/env"; allow'),
        (b"#!python3\n", 'interpreter is "python3"; allowed'),
        (b"#!file://python\n", "interpreter file://python names no system"),
        (b"#!file:///etc/passwd\n", "names no system image"),
        (b"#!file://image:x\n", "names no system image"),
        (b"#!file://python3:\n", "names no file of an image"),
        (b"#!swift://~/bin\n", "a container is not an object"),
        (b"#!swift://~/bin/*\n", "has a wildcard"),
        (b"#!zvm://a:b\n", '"zvm://a:b" is not offered yet'),
    ],
)
def test_script_without_an_interpreter_of_ours_is_400(
    body: bytes, problem: str
) -> None:
    with pytest.raises(JobError) as caught:
        _parse(body)
    error = caught.value
    assert (error.code, error.status) == ("bad_script", 400)
    assert error.message.startswith("the script cannot be run: ")
    assert problem in error.message
    assert "allowed is #!file://IMAGE:PROGRAM of a system" in error.message


def test_script_for_an_unknown_image_is_told_which_there_are() -> None:
    with pytest.raises(JobError) as caught:
        _node(b"#!file://perl:perl\n")
    assert caught.value.code == "unknown_image"
    assert "program file://perl:perl names no" in caught.value.message
    assert "python and python3" in caught.value.message

"""Devices: names, keys, and what each kind may have."""

from __future__ import annotations

from typing import Any

import pytest

from unittests.job.samples import (
    ACCOUNT,
    group,
    parse,
    path,
    refused,
    with_device,
)
from zerocloud.job.devices import KINDS, Device
from zerocloud.job.wildcards import Pattern


def _device(**keys: Any) -> Device:
    return parse(with_device(**keys)).groups[0].devices[0]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_device_of_the_service_is_read_with_a_path(name: str) -> None:
    device = _device(name=name, path="swift://~/c/o")
    assert (device.name, device.kind) == (name, KINDS[name])
    assert device.path == path("c", "o")
    assert device.where == "/0/devices/0"


def test_device_under_old_keys_is_read() -> None:
    job = [group(file_list=[{"device": "stdin"}])]
    assert [d.name for d in parse(job).groups[0].devices] == ["stdin"]


def test_device_path_with_stars_is_a_pattern() -> None:
    device = _device(name="stdin", path="swift://./c*/a*b")
    assert device.path == Pattern(ACCOUNT, "c*", "a*b")
    assert device.wildcard == device.path


def test_device_that_writes_a_pattern_reads_no_wildcard() -> None:
    device = _device(name="stdout", path="swift://~/c/*")
    assert device.path == Pattern(ACCOUNT, "c", "*")
    assert device.wildcard is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'path is ""; allowed is swift://'),
        (None, "path is null; allowed is swift://"),
        (["swift://~/c/o"], "path is a list; allowed is swift://"),
        ("c/o", "a device reads and writes objects only"),
        ("file:///etc/passwd", "a device reads and writes objects only"),
        ("tcp://host:1", "a device reads and writes objects only"),
        ("swif://~/c/o", "a device reads and writes objects only"),
        ("swift://~/c", "a container is not an object"),
        ("swift://*/c/o", "the account has a wildcard"),
        ("swift://~/c/a\0", "the object has a NUL character"),
    ],
)
@pytest.mark.parametrize("name", ["stdin", "stdout", "image"])
def test_device_path_that_is_no_object_is_refused(
    name: str, text: object, problem: str
) -> None:
    error = refused(with_device(name=name, path=text))
    assert (error.code, error.where) == ("job_schema", "/0/devices/0/path")
    assert error.message.startswith(f"group wc: device {name}: path")
    assert problem in error.message


def test_device_path_to_a_node_is_not_implemented() -> None:
    error = refused(with_device(name="stdout", path="zvm://reduce:stdin"))
    assert (error.code, error.status) == ("not_implemented", 501)
    assert '"zvm://reduce:stdin" connects nodes' in error.message


@pytest.mark.parametrize("name", ["input", "script"])
def test_device_that_needs_a_path_is_refused_without(name: str) -> None:
    error = refused(with_device(name=name))
    assert (error.code, error.where) == ("job_rule", "/0/devices/0")
    assert error.message == (
        f"group wc: device {name} has no path; {name} needs one"
    )


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr", "output"])
def test_device_that_needs_no_path_is_read_without(name: str) -> None:
    assert _device(name=name).path is None


@pytest.mark.parametrize(
    "name", ["a", "a-1", "python2.7", "größe", "a b", "(x)", "a" * 128, "..."]
)
def test_name_of_printable_text_is_read(name: str) -> None:
    assert _device(name=name).name == name
    assert parse([group(name)]).groups[0].name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        None,
        7,
        "a,b",
        "a;b",
        "a:b",
        "a/b",
        "a*",
        'a"b',
        "a\\b",
        " a",
        "a ",
        ".",
        "..",
        "a\nb",
        "a\0",
        "a\x7f",
        "a\u2028b",
        "a\u202eb",
        "a" * 129,
        "ö" * 65,
    ],
)
def test_name_that_would_corrupt_lists_is_refused(name: object) -> None:
    allowed = "allowed is 1 to 128 bytes of printable characters, but none"
    error = refused(with_device(name=name))
    assert (error.code, error.where) == ("job_schema", "/0/devices/0/name")
    assert allowed in error.message
    error = refused([{**group(), "name": name}])
    assert (error.code, error.where) == ("job_schema", "/0/name")
    assert allowed in error.message


def test_device_without_name_is_refused_by_its_place() -> None:
    error = refused([group(devices=[{"name": "stdin"}, {"path": "x:"}])])
    assert error.where == "/0/devices/1/path"
    error = refused([group(devices=[{"name": "stdin"}, {}])])
    assert (error.code, error.where) == ("job_schema", "/0/devices/1")
    assert error.message == "group wc: device 1 has no name"


def test_device_with_both_spellings_of_name_is_refused() -> None:
    error = refused(with_device(device="stdin", name="stdin"))
    assert (error.code, error.where) == ("job_schema", "/0/devices/0")
    assert "has name and device; allowed is one" in error.message


def test_device_named_twice_in_a_group_is_refused() -> None:
    twice = [{"name": "stdin"}, {"name": "stdout"}, {"name": "stdin"}]
    error = refused([group(devices=twice)])
    assert (error.code, error.where) == ("job_rule", "/0/devices/2")
    assert "device stdin is there twice; allowed is once" in error.message
    parse([group("a", devices=twice[:2]), group("b", devices=twice[:2])])


def test_device_with_unknown_key_lists_the_known_ones() -> None:
    error = refused(with_device(name="stdin", pth="swift://~/c/o"))
    assert (error.code, error.where) == ("job_schema", "/0/devices/0")
    assert error.message == (
        'group wc: device stdin: key "pth" is not known; allowed are '
        "content_type, device, meta, min_size, mode, name and path"
    )


@pytest.mark.parametrize("raw", ["stdin", None, 3, ["stdin"]])
def test_device_of_another_type_is_refused(raw: object) -> None:
    error = refused([group(devices=[raw])])
    assert (error.code, error.where) == ("job_schema", "/0/devices/0")
    assert "allowed is an object with the keys content_type" in error.message


@pytest.mark.parametrize("raw", ["stdin", None, 3, {}])
def test_devices_of_another_type_are_refused(raw: object) -> None:
    error = refused([group(devices=raw)])
    assert (error.code, error.where) == ("job_schema", "/0/devices")
    assert "allowed is a list of devices" in error.message


@pytest.mark.parametrize("key", ["content_type", "meta", "min_size"])
@pytest.mark.parametrize("name", ["stdin", "input", "image", "script"])
def test_device_that_reads_has_no_keys_of_outputs(name: str, key: str) -> None:
    value = {"content_type": "a/b", "meta": {}, "min_size": 0}[key]
    keys = {"name": name, "path": "swift://~/c/o", key: value}
    error = refused(with_device(**keys))
    assert (error.code, error.where) == ("job_rule", f"/0/devices/0/{key}")
    assert f"device {name} has {key}; allowed for the" in error.message


def test_device_that_writes_has_all_keys_of_outputs() -> None:
    device = _device(
        name="output",
        content_type="text/csv; charset=utf-8",
        meta={"Owner": "größe", "b": ""},
        min_size=2**63 - 1,
        mode="pipe",
    )
    assert device.content_type == "text/csv; charset=utf-8"
    assert device.meta == (("Owner", "größe"), ("b", ""))
    assert device.min_size == 2**63 - 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        1,
        None,
        "text",
        "text/",
        "/x",
        "a b/c",
        "a/b\nc: d",
        "a/ö",
        "a/b;ö",
        "a/" + "b" * 255,
    ],
)
def test_content_type_that_is_none_is_refused(text: object) -> None:
    error = refused(with_device(name="stdout", content_type=text))
    assert error.code == "job_schema"
    assert error.where == "/0/devices/0/content_type"
    assert "allowed is TYPE/SUBTYPE with optional parameters" in error.message


@pytest.mark.parametrize(
    "text", ["message/http", "message/cgi", "Message/CGI ; a=b"]
)
def test_content_type_that_speaks_http_is_not_implemented(text: str) -> None:
    error = refused(with_device(name="stdout", content_type=text))
    assert (error.code, error.status) == ("not_implemented", 501)
    assert text in error.message
    _device(name="stdout", content_type="message/rfc822")


@pytest.mark.parametrize(
    ("meta", "where", "problem"),
    [
        ([], "", "meta is a list; allowed is an object of strings"),
        ({"a": 1}, "/a", "meta.a is 1; allowed is a string of at most 256"),
        ({"a": None}, "/a", "meta.a is null; allowed is a string of at mos"),
        ({"a": "x\r\ny"}, "/a", "without control characters"),
        ({"a": "ö" * 129}, "/a", "allowed is a string of at most 256 bytes"),
        ({"": "x"}, "", 'name "" is no header name'),
        ({"a b": "x"}, "", 'name "a b" is no header name'),
        ({"a:b": "x"}, "", 'name "a:b" is no header name'),
        ({"ö": "x"}, "", 'name "ö" is no header name'),
        ({"a" * 129: "x"}, "", "is no header name"),
        ({"Ab": "x", "aB": "y"}, "/aB", "the name is there twice"),
        ({"a-b": "x", "a_b": "y"}, "/a_b", "the name is there twice"),
        ({f"k{i}": "" for i in range(91)}, "", "91 items of 263 bytes; Swi"),
        (
            {f"k{i}": "x" * 256 for i in range(16)},
            "",
            "16 items of 4134 bytes; Swift allows 90 items of 4096 bytes",
        ),
    ],
)
def test_meta_that_swift_would_not_keep_is_refused(
    meta: object, where: str, problem: str
) -> None:
    error = refused(with_device(name="stdout", meta=meta))
    assert error.code == "job_schema"
    assert error.where == f"/0/devices/0/meta{where}"
    assert problem in error.message


def test_meta_at_swifts_limits_is_read() -> None:
    meta = {f"k{i:02}": "v" * 42 for i in range(90)}
    assert len(_device(name="stdout", meta=meta).meta) == 90


@pytest.mark.parametrize("size", [-1, 2**63, 1.0, "1", True, None])
def test_min_size_that_is_no_length_is_refused(size: object) -> None:
    error = refused(with_device(name="stdout", min_size=size))
    assert (error.code, error.where) == ("job_schema", "/0/devices/0/min_size")
    assert "allowed is a whole number from 0 to 9223372036854" in error.message


@pytest.mark.parametrize("mode", ["", "FILE", None, [], 1, "r"])
def test_mode_that_is_none_is_refused(mode: object) -> None:
    error = refused(with_device(name="stdin", mode=mode))
    assert (error.code, error.where) == ("job_schema", "/0/devices/0/mode")
    assert "allowed is one of file, char, pipe, block" in error.message


@pytest.mark.parametrize("mode", ["file", "char", "pipe", "block"])
def test_mode_changes_nothing(mode: str) -> None:
    assert _device(name="stdin", mode=mode) == _device(name="stdin")

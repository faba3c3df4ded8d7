"""Bytes → JSON values: what Python's reader lets pass and a job must not."""

from __future__ import annotations

import pytest

from unittests.job.samples import refused
from zerocloud.errors import JobError
from zerocloud.job.document import (
    Value,
    listed,
    load_document,
    plain,
    pointer_token,
    shown,
)


def _error(document: bytes) -> JobError:
    with pytest.raises(JobError) as caught:
        load_document(document)
    return caught.value


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (b"", "job is not JSON: Expecting value (line 1, column 1)"),
        (b"hello", "job is not JSON: Expecting value (line 1, column 1)"),
        (b"[1,\n2", "job is not JSON: Expecting ',' delimiter (line 2, "),
        (b"[] []", "job is not JSON: Extra data (line 1, column 4)"),
        (b'["\xff"]', "job is not UTF-8: invalid start byte at byte 2"),
        (b"[NaN]", "job is not JSON: NaN is no number"),
        (b"[-Infinity]", "job is not JSON: -Infinity is no number"),
        (b'["a\nb"]', "job is not JSON: Invalid control character"),
        ('["a"]'.encode("utf-16"), "job is not UTF-8"),
    ],
)
def test_document_not_json_is_422(document: bytes, text: str) -> None:
    error = _error(document)
    assert (error.code, error.status) == ("job_not_json", 422)
    assert error.message.startswith(text)


@pytest.mark.parametrize(
    ("document", "where", "text"),
    [
        (b'[{"a": 1, "a": 1}]', "/0", 'job at /0: key "a" is there twice'),
        (
            b'[{"b": [0, {"x": {"y": 1, "y": 2}}]}]',
            "/0/b/1/x",
            'job at /0/b/1/x: key "y" is there twice',
        ),
        (b'["\\ud800"]', "/0", 'job at /0: "\\ud800" has half of a surrogate'),
        (b'{"a": "x\\udfffy"}', "/a", "has half of a surrogate pair"),
        (b'{"\\udc00": 1}', "", 'job: key "\\udc00" has half of'),
        (b"[1e999]", "/0", ": a number is too large"),
        (b"[[-1e999]]", "/0/0", ": a number is too large"),
        (b"[" + b"9" * 101 + b"]", "/0", "allowed are 100 digits"),
        (b"[" + b"9" * 5000 + b"]", "/0", "allowed are 100 digits"),
        (b'{"' + b"k" * 257 + b'": 1}', "", "has 257 characters; allowed "),
        (b"[" * 33 + b"]" * 33, "/0" * 32, "nested deeper than 32 levels"),
        (b"[" * 10**5, "", "job: nested deeper than 32 levels"),
        (b'{"a":' * 10**5, "", "job: nested deeper than 32 levels"),
    ],
)
def test_document_with_traps_is_refused_where_it_is(
    document: bytes, where: str, text: str
) -> None:
    error = _error(document)
    assert (error.code, error.where) == ("job_schema", where)
    assert text in error.message


def test_document_with_allowed_extremes_is_read() -> None:
    document = b"\xef\xbb\xbf" + b"[" * 32 + b"9" * 100 + b"]" * 32
    assert load_document(document) is not None
    assert load_document('["😀", "\\ud83d\\ude00"]'.encode()) == ["😀", "😀"]
    assert load_document(b'{"' + b"k" * 256 + b'": 1.5}') == {"k" * 256: 1.5}


def test_document_with_many_values_under_a_long_key_is_quick() -> None:
    document = b'{"' + b"k" * 256 + b'": [' + b"0," * 200_000 + b"0]}"
    assert len(load_document(document)["k" * 256]) == 200_001


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a", '"a"'),
        ('a"\\', '"a\\"\\\\"'),
        ("a\nb\x00\x9f\u202e", '"a\\nb\\x00\\x9f\\u202e"'),
        ("größe", '"größe"'),
        ("x" * 100, f'"{"x" * 100}"'),
        ("x" * 101, f'"{"x" * 99}…"'),
        ("\x00" * 50, '"' + ("\\x00" * 25)[:99] + '…"'),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ([1], "a list"),
        ({}, "an object"),
    ],
)
def test_shown_value_is_escaped_and_short(raw: object, text: str) -> None:
    assert shown(raw) == text


def test_plain_text_has_no_quotes_around_it() -> None:
    assert plain("a\tb") == "a\\tb"


def test_pointer_token_escapes_as_rfc_6901_and_can_be_encoded() -> None:
    assert pointer_token("a/b~c") == "a~1b~0c"
    assert pointer_token("\ud800").encode() == b"\\ud800"


@pytest.mark.parametrize(
    ("words", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b")],
)
def test_listed_words_read_as_english(words: list[str], text: str) -> None:
    assert listed(words) == text


@pytest.mark.parametrize("raw", [True, 1.0, "1", None, 0, 11, 10**99])
def test_whole_number_of_another_type_or_range_is_refused(
    raw: object,
) -> None:
    with pytest.raises(JobError, match="allowed is a whole number from 1 to"):
        Value(raw).whole(1, 10)


def test_whole_number_at_both_ends_is_given() -> None:
    assert [Value(1).whole(1, 10), Value(10).whole(1, 10)] == [1, 10]


@pytest.mark.parametrize("raw", [True, "1", None, 0.4, 2, 10**99])
def test_number_of_another_type_or_range_is_refused(raw: object) -> None:
    with pytest.raises(JobError, match=r"allowed is a number from 0\.5 to 1"):
        Value(raw).number(0.5, 1)


def test_deep_job_is_refused_before_anything_else() -> None:
    assert refused(b"[" * 60_000).status == 400

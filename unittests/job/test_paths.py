"""`swift://` paths: literal names, Swift's lengths, never URL-decoded."""

from __future__ import annotations

import pytest

from unittests.job.samples import ACCOUNT
from zerocloud.errors import JobError
from zerocloud.job.document import Value
from zerocloud.job.paths import ObjectPath, name_problem, parse_object_path


def _parse(text: object) -> ObjectPath:
    return parse_object_path(Value(text, "/p", "path"), account=ACCOUNT)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("swift://~/c/o", (ACCOUNT, "c", "o")),
        ("swift://./c/o", (ACCOUNT, "c", "o")),
        ("swift://AUTH_b/c/d/e", ("AUTH_b", "c", "d/e")),
        ("swift://~/c/a%41b", (ACCOUNT, "c", "a%41b")),
        ("swift://~/c/a?b#c&d=e", (ACCOUNT, "c", "a?b#c&d=e")),
        ("swift://~/c/ a b ", (ACCOUNT, "c", " a b ")),
        ("swift://~/c/a\nb\x7f", (ACCOUNT, "c", "a\nb\x7f")),
        ("swift://~/c//a//", (ACCOUNT, "c", "/a//")),
        ("swift://~/./..", (ACCOUNT, ".", "..")),
        ("swift://~~/c/o", ("~~", "c", "o")),
        ("swift://~/größe/日本", (ACCOUNT, "größe", "日本")),
        ("swift://~/" + "c" * 256 + "/o", (ACCOUNT, "c" * 256, "o")),
        ("swift://~/c/" + "ö" * 512, (ACCOUNT, "c", "ö" * 512)),
        ("swift://~/c/a*b", (ACCOUNT, "c", "a*b")),
    ],
)
def test_path_of_any_swift_name_is_literal(
    text: str, names: tuple[str, str, str]
) -> None:
    assert _parse(text) == ObjectPath(*names)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "path is null; allowed is swift://ACCOUNT/CONTAINER/OBJECT"),
        ("", 'path is ""; allowed is swift://'),
        ("a/b/c", 'path is "a/b/c"; allowed is swift://'),
        ("SWIFT://~/c/o", "allowed is swift://"),
        ("swift:/~/c/o", "allowed is swift://"),
        ("swift://", 'path is "swift://"; the account is missing'),
        ("swift:///c/o", "the account is missing"),
        ("swift://~", "the container is missing"),
        ("swift://~//o", "the container is missing"),
        ("swift://~/c", "a container is not an object; allowed is"),
        ("swift://~/c/", "a container is not an object; allowed is"),
        ("swift://*/c/o", "the account has a wildcard; allowed is one"),
        ("swift://AUTH_*/c/o", "the account has a wildcard"),
        ("swift://" + "a" * 257 + "/c/o", "the account has 257 bytes; allo"),
        ("swift://~/" + "c" * 257 + "/o", "the container has 257 bytes; al"),
        ("swift://~/c/" + "ö" * 513, "the object has 1026 bytes; allowed a"),
        ("swift://~/c/a\0b", "the object has a NUL character"),
        ("swift://~/c\0/a", "the container has a NUL character"),
    ],
)
def test_path_that_is_no_object_is_refused(text: object, problem: str) -> None:
    with pytest.raises(JobError) as caught:
        _parse(text)
    assert caught.value.code == "job_schema"
    assert caught.value.where == "/p"
    assert problem in caught.value.message


def test_names_with_a_slash_in_the_container_have_a_problem() -> None:
    problem = name_problem(ObjectPath("a", "b/c", "d"))
    assert problem == "the container has a slash; Swift allows none"
    assert name_problem(ObjectPath("a", "b", "c/d")) is None


def test_path_forms_quote_and_wsgi_keep_every_character() -> None:
    path = ObjectPath("a", "c d", "ö/%")
    assert str(path) == "swift://a/c d/ö/%"
    assert path.quoted == "/a/c%20d/%C3%B6/%25"
    assert path.wsgi == "/a/c d/\xc3\xb6/%"

"""`exec`: programs, arguments, environment."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unittests.job.samples import (
    ACCOUNT,
    PROGRAM,
    group,
    parse,
    path,
    refused,
    with_exec,
)
from zerocloud.job.plan import Program
from zerocloud.job.program import Exec, split_words


def _exec(**keys: object) -> Exec:
    return parse(with_exec(**keys)).groups[0].exec


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("swift://~/bin/wc", Program(path=path("bin", "wc"))),
        ("swift://./bin/a/b c", Program(path=path("bin", "a/b c"))),
        ("file://python3:python", Program(member="python", image="python3")),
        (
            "file://python2.7:/bin//./py",
            Program(member="bin/py", image="python2.7"),
        ),
        ("file://image:x", Program(member="x", image="image")),
        ("file://bin/x", Program(member="bin/x")),
        ("file:///etc/passwd", Program(member="etc/passwd")),
        ("file:///bin/a:b", Program(member="bin/a:b")),
        ("file://bin/a:b", Program(member="bin/a:b")),
        ("file://img:a:b", Program(member="a:b", image="img")),
    ],
)
def test_program_path_of_each_form_is_read(
    text: str, program: Program
) -> None:
    assert _exec(path=text).program == program


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/etc/passwd", "no file of a host can be named"),
        ("wc", "no file of a host can be named"),
        ("http://host/x", "no file of a host can be named"),
        ("tcp://host:1", "no file of a host can be named"),
        ("cache://e/a/c/o", "allowed is swift://ACCOUNT/CONTAINER/OBJECT, f"),
        ("FILE://x", "allowed is swift://"),
        ("", 'path is ""; allowed is swift://'),
        (7, "path is 7; allowed is swift://"),
        (None, "path is null; allowed is"),
        ("file://", "names no file of an image"),
        ("file://:x", "allowed is swift://"),
        ("file://img:", "names no file of an image"),
        ("file://img:/", "names no file of an image"),
        ("file://bin/", "names no file of an image"),
        ("file://../etc/passwd", "without .."),
        ("file://img:a/../../b", "without .."),
        ("file://a\nb", "without control characters"),
        ("swift://~/bin/a\nb", "without control characters"),
        ("swift://~/bin/*", "has a wildcard; a program is one object"),
        ("swift://*/bin/x", "has a wildcard"),
        ("swift://~/bin", "a container is not an object"),
    ],
)
def test_program_path_of_no_form_is_400(text: object, problem: str) -> None:
    error = refused(with_exec(path=text))
    assert (error.code, error.where) == ("job_schema", "/0/exec/path")
    assert error.message.startswith("group wc: exec: path")
    assert problem in error.message


def test_program_on_another_node_is_not_implemented() -> None:
    error = refused(with_exec(path="zvm://a:stdin"))
    assert (error.code, error.status) == ("not_implemented", 501)
    assert "zvm://a:stdin" in error.message


def test_exec_without_path_is_refused() -> None:
    error = refused([group(exec={"args": "x"})])
    assert (error.code, error.where) == ("job_schema", "/0/exec")
    assert "exec has no path; allowed is swift://" in error.message


@pytest.mark.parametrize(
    ("raw", "args"),
    [
        ("", ()),
        ("  ", ()),
        (" a  b ", ("a", "b")),
        ("'a b' \"c d\"", ("a b", "c d")),
        ("a'b'\"c\"d", ("abcd",)),
        ("''", ("",)),
        (r"a\ b \\ \'", ("a b", "\\", "'")),
        (r'"a\"b\\c\d"', ('a"b\\c\\d',)),
        (r'"\$HOME\`"', ("$HOME`",)),
        (r"'a\b'", ("a\\b",)),
        ("$HOME *.txt ~ # x; y", ("$HOME", "*.txt", "~", "#", "x;", "y")),
        ("größe 日本", ("größe", "日本")),
        ([], ()),
        (["a b", "", "c'"], ("a b", "", "c'")),
    ],
)
def test_args_are_split_as_a_shell_does_or_taken_as_listed(
    raw: object, args: tuple[str, ...]
) -> None:
    assert _exec(args=raw).args == args


@given(st.text(alphabet="ab '\"\\#é", max_size=20))
def test_words_split_as_the_standard_library_does(text: str) -> None:
    try:
        expected = shlex.split(text)
    except ValueError:
        expected = None
    assert split_words(text) == expected


@given(st.lists(st.text(alphabet="ab $`'\"\\é*", max_size=6)))
def test_words_quoted_for_a_shell_come_back(words: list[str]) -> None:
    assert split_words(shlex.join(words)) == words


def test_words_of_a_long_text_are_split_quickly() -> None:
    text = "a" * 500_000 + ' "' + "\\\\" * 200_000 + '"'
    words = split_words(text)
    assert words is not None
    assert list(map(len, words)) == [500_000, 200_000]


@pytest.mark.parametrize(
    ("raw", "where", "problem"),
    [
        ("'a", "", "every quote closed"),
        ('a "b', "", "every quote closed"),
        ("a\\", "", "no backslash at the end"),
        ("a\tb", "", "text without control characters"),
        (["a\nb"], "/0", "text without control characters"),
        (["a", "b\0"], "/1", "text without control characters"),
        ([1], "/0", "args[0] is 1; allowed is a string"),
        (1, "", "args is 1; allowed is a string, or a list of strings"),
        ({}, "", "args is an object; allowed is a string, or"),
        (None, "", "args is null; allowed is a string, or"),
    ],
)
def test_args_that_are_no_words_are_refused(
    raw: object, where: str, problem: str
) -> None:
    error = refused(with_exec(args=raw))
    assert error.code == "job_schema"
    assert error.where == f"/0/exec/args{where}"
    assert problem in error.message


def test_env_keeps_order_and_makes_numbers_text() -> None:
    env = {
        "B": "x\ny\t,;=",
        "A": 1,
        "big": 10**30,
        "f": 1.5,
        "e": 1e5,
        "empty": "",
        "größe": "ö",
        "a b": "c",
    }
    assert _exec(env=env).env == (
        ("B", "x\ny\t,;="),
        ("A", "1"),
        ("big", "1" + "0" * 30),
        ("f", "1.5"),
        ("e", "100000.0"),
        ("empty", ""),
        ("größe", "ö"),
        ("a b", "c"),
    )


@pytest.mark.parametrize(
    ("env", "where", "problem"),
    [
        ([], "", "env is a list; allowed is an object of strings and num"),
        ({"A=B": "x"}, "", 'name "A=B" is not allowed'),
        ({"": "x"}, "", 'name "" is not allowed'),
        ({"A\n": "x"}, "", 'name "A\\n" is not allowed'),
        ({"A\0": "x"}, "", "is not allowed"),
        ({"A": "x\0"}, "/A", 'env.A is "x\\x00"; allowed is text without N'),
        ({"A": True}, "/A", "env.A is true; allowed is a string or a number"),
        ({"A": None}, "/A", "env.A is null; allowed is a string or a number"),
        ({"a/b": ["x"]}, "/a~1b", "env.a/b is a list; allowed is a string "),
    ],
)
def test_env_that_no_process_can_have_is_refused(
    env: object, where: str, problem: str
) -> None:
    error = refused(with_exec(env=env))
    assert error.code == "job_schema"
    assert error.where == f"/0/exec/env{where}"
    assert problem in error.message


def test_exec_name_is_kept_and_may_hold_any_printable_text() -> None:
    assert _exec(name="my, prog: a/b").name == "my, prog: a/b"
    assert _exec().name is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", 'name is ""; allowed is a string that is not empty'),
        (1, "name is 1; allowed is a string that is not empty"),
        ("a\nb", 'name is "a\\nb"; allowed is text without control'),
    ],
)
def test_exec_name_that_is_no_text_is_refused(
    name: object, problem: str
) -> None:
    error = refused(with_exec(name=name))
    assert (error.code, error.where) == ("job_schema", "/0/exec/name")
    assert problem in error.message


def test_exec_with_unknown_key_lists_the_known_ones() -> None:
    error = refused(with_exec(arg="x"))
    assert error.where == "/0/exec"
    assert error.message == (
        'group wc: exec: key "arg" is not known; allowed are args, env, name '
        "and path"
    )


@pytest.mark.parametrize("raw", [None, "x", [], 1])
def test_exec_of_another_type_is_refused(raw: object) -> None:
    error = refused([group(exec=raw)])
    assert (error.code, error.where) == ("job_schema", "/0/exec")
    assert "allowed is an object with the keys args, env" in error.message


def test_program_says_itself_as_it_was_written() -> None:
    assert str(_exec(path=PROGRAM).program) == f"swift://{ACCOUNT}/bin/wc.wasm"
    assert str(_exec(path="file://img:x").program) == "file://img:x"
    assert str(_exec(path="file:///x").program) == "file://x"

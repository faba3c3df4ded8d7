"""Conf files, read as Paste reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from paste.deploy.loadwsgi import appconfig

from unittests.check.conftest import Make
from zerocloud.check.conf import ConfUnreadable, read_conf

TEXT = """\
[DEFAULT]
swift_dir = /etc/swift
node_timeout = 3
log_name = proxy

[pipeline:main]
pipeline = zc proxy-server

[app:proxy-server]
use = egg:swift#proxy

[filter:zc]
use = egg:zerocloud#zerocloud
node_timeout = 7
set log_name = other
concurrency : 9
# max_nodes = 1
; max_nodes = 2
Case_Sensitive = yes
"""


def test_filter_is_found_by_what_it_uses_whatever_its_name(
    make_conf: Make,
) -> None:
    conf = make_conf(TEXT)
    assert conf.find(("zerocloud#zerocloud",)) == "zc"
    assert conf.find(("zerocloud#executor",)) is None
    assert conf.factory("proxy-server") == "swift#proxy"
    assert conf.pipeline == ["zc", "proxy-server"]


def test_filter_is_given_what_paste_gives_it(make_conf: Make) -> None:
    # Paste itself, over the same file, is the judge.
    text = TEXT.replace("[filter:zc]", "[app:zc]")
    used = "paste.app_factory = zerocloud.middleware:filter_factory"
    conf = make_conf(text.replace("use = egg:zerocloud#zerocloud", used))
    given = appconfig(f"config:{conf.path}", "zc")
    # What Paste and, once it is imported, Swift add by themselves.
    added = ("here", "__file__", "__name__")
    given = {k: v for k, v in given.items() if k not in added}

    assert make_conf(TEXT).effective("zc") == given
    assert given["node_timeout"] == "3"
    assert given["log_name"] == "other"


def test_option_that_the_defaults_overrule_is_told(make_conf: Make) -> None:
    assert make_conf(TEXT).shadowed("zc") == ["node_timeout"]


def test_own_options_are_those_that_the_section_says(make_conf: Make) -> None:
    assert make_conf(TEXT).own("zc") == {
        "node_timeout": "7",
        "log_name": "other",
        "concurrency": "9",
        "Case_Sensitive": "yes",
    }


def test_conf_folder_is_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "10.conf").write_text("[filter:a]\nx = 1\ny = 1\n")
    (tmp_path / "20.conf").write_text("[filter:a]\nx = 2\n")
    (tmp_path / "note.txt").write_text("no conf")
    assert read_conf(tmp_path).own("a") == {"x": "2", "y": "1"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cluster_key = hunter2\n", "is no conf file"),
        (b"[a]\nhunter2 without a sign\n", "is no conf file"),
        (b"\xff\xfe", "cannot be read: it is not text"),
        (b"", "holds no section"),
    ],
)
def test_conf_that_is_none_is_an_error_without_its_words(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "bad.conf"
    path.write_bytes(content)
    with pytest.raises(ConfUnreadable, match=said) as caught:
        read_conf(path)
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_conf_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfUnreadable, match="No such file or directory"):
        read_conf(tmp_path / "none.conf")

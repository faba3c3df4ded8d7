"""Values, names and keys in conf files; no finding shows a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from unittests.check.conftest import (
    KEY,
    Make,
    failed,
    object_text,
    only,
    proxy_text,
)
from zerocloud.check import options
from zerocloud.check.host import Host
from zerocloud.config import read_executor_settings, read_proxy_settings
from zerocloud.protocol.signing import key_id

OTHER = "fedcba9876543210fedcba9876543210"


def look(make_conf: Make, proxy: str = "", executor: str = "") -> Host:
    return Host(
        proxy_conf=make_conf(proxy, "proxy.conf") if proxy else None,
        object_conf=make_conf(executor, "object.conf") if executor else None,
        proxy_url=None,
        timeout_seconds=1,
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max_nodes = many", "max_nodes is 'many'; allowed is a whole number"),
        ("max_node = 7", "max_node is not an option of this filter"),
        ("cluster_key = short", "cluster_key has 5 characters"),
        ("system_images = py", "system_images has 'py'; allowed is NAME="),
    ],
)
def test_bad_option_of_the_proxy_is_told(
    make_conf: Make, line: str, said: str
) -> None:
    key = "" if line.startswith("cluster") else f"cluster_key = {KEY}\n"
    host = look(make_conf, proxy_text(ours=f"{key}{line}\n"))
    found = [f for f in failed(host.findings()) if f.check == "options"]
    assert said in found[0].said


def test_misspelled_option_says_the_nearest(make_conf: Make) -> None:
    conf = make_conf(object_text(ours="slot = 4\nzzz = 1\n"))
    first, second = failed(options.check_names(conf, "executor", "executor"))
    assert first.mend == "write slots instead"
    assert second.mend == "take zzz out"


def test_option_that_the_defaults_overrule_is_told(make_conf: Make) -> None:
    conf = make_conf(object_text(defaults="slots = 2", ours="slots = 4\n"))
    found = only(options.check_names(conf, "executor", "executor"))
    assert (
        found.said == "slots also stands in [DEFAULT], which overrules it here"
    )
    good = object_text(defaults="slots = 2", ours="set slots = 4\n")
    conf = make_conf(good)
    assert not failed(options.check_names(conf, "executor", "executor"))
    assert conf.effective("executor")["slots"] == "4"


def test_policy_that_swift_conf_has_not_is_told(
    make_conf: Make, tmp_path: Path
) -> None:
    (tmp_path / "swift.conf").write_text(
        "[storage-policy:0]\nname = gold\naliases = yellow, shiny\n"
    )
    conf = make_conf(proxy_text())
    settings = read_proxy_settings(
        {"cluster_key": KEY, "standalone_policies": "gold shiny tin"}
    )
    found = only(options.check_policies(settings, conf, tmp_path))
    assert found.said.startswith("tin is no storage policy")
    assert found.mend == "name one of: gold, yellow, shiny"


def test_key_is_shown_by_its_id_alone(make_conf: Make) -> None:
    conf = make_conf(proxy_text())
    settings = read_proxy_settings({"cluster_key": KEY})
    [finding] = options.check_key(settings, conf)
    assert finding.level == "ok"
    assert key_id(KEY.encode()) in finding.said
    assert KEY not in str(finding)


@pytest.mark.parametrize("weak", ["a" * 20, "password" + "p" * 10, "12" * 10])
def test_key_that_can_be_guessed_is_told(make_conf: Make, weak: str) -> None:
    settings = read_proxy_settings({"cluster_key": weak})
    found = only(options.check_key(settings, make_conf(proxy_text())))
    assert "few different characters" in found.said
    assert weak not in str(found)


def test_conf_that_everybody_may_read_is_told(make_conf: Make) -> None:
    conf = make_conf(proxy_text())
    conf.path.chmod(0o644)
    settings = read_proxy_settings({"cluster_key": KEY})
    found = only(options.check_key(settings, conf))
    assert "mode 0644" in found.said
    assert found.mend == f"chmod 0640 {conf.path}"
    conf.path.chmod(0o640)
    assert not failed(options.check_key(settings, conf))


def test_two_keys_at_a_time_are_worth_a_note(make_conf: Make) -> None:
    settings = read_executor_settings(
        {"cluster_key": KEY, "previous_cluster_key": OTHER}
    )
    _, second = options.check_key(settings, make_conf(object_text()))
    assert second.level == "note"
    assert key_id(OTHER.encode()) in second.said


def test_keys_of_the_two_confs_must_fit() -> None:
    proxy = read_proxy_settings({"cluster_key": KEY})
    same = read_executor_settings({"cluster_key": KEY})
    rotating = read_executor_settings(
        {"cluster_key": OTHER, "previous_cluster_key": KEY}
    )
    other = read_executor_settings({"cluster_key": OTHER})
    assert not failed(options.check_same_key(proxy, same))
    assert not failed(options.check_same_key(proxy, rotating))
    found = only(options.check_same_key(proxy, other))
    assert key_id(KEY.encode()) in found.said
    assert KEY not in str(found)
    assert OTHER not in str(found)


def test_conf_without_our_filter_is_told(make_conf: Make) -> None:
    text = proxy_text("tempauth copy dlo versioned_writes proxy-server")
    found = only(look(make_conf, text).findings())
    assert (
        "no filter section has `use = egg:zerocloud#zerocloud`" in found.said
    )

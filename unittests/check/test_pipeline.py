"""The filter's place: each way to get it wrong, and what to do."""

from __future__ import annotations

import pytest

from unittests.check.conftest import (
    PIPELINE,
    Make,
    failed,
    object_text,
    only,
    proxy_text,
)
from zerocloud.check.pipeline import check_executor, check_proxy


def test_filter_where_the_sample_has_it_is_well(make_conf: Make) -> None:
    findings = list(check_proxy(make_conf(proxy_text()), "zerocloud"))
    assert [f.level for f in findings] == ["ok"]
    findings = list(check_executor(make_conf(object_text()), "executor"))
    assert [f.level for f in findings] == ["ok"]


@pytest.mark.parametrize(
    "name",
    [
        "copy", "slo", "dlo", "versioned_writes", "symlink", "keymaster",
        "encryption", "container-quotas", "account-quotas",
    ],
)  # fmt: skip
def test_filter_that_jobs_must_pass_but_stands_left_is_named(
    make_conf: Make, name: str
) -> None:
    pipeline = PIPELINE.replace(f" {name}", "")
    pipeline = pipeline.replace("zerocloud", f"{name} zerocloud")
    found = only(check_proxy(make_conf(proxy_text(pipeline)), "zerocloud"))
    assert found.said == f"{name} stands left of zerocloud"
    assert found.mend == f"move {name} right of zerocloud"


@pytest.mark.parametrize("name", ["copy", "dlo", "versioned_writes"])
def test_filter_that_swift_would_insert_left_must_be_listed(
    make_conf: Make, name: str
) -> None:
    pipeline = PIPELINE.replace(f" {name}", "")
    found = only(check_proxy(make_conf(proxy_text(pipeline)), "zerocloud"))
    assert found.said.startswith(f"{name} is not listed")
    assert f"[filter:{name}]" in found.mend


def test_filter_left_of_authentication_is_told(make_conf: Make) -> None:
    pipeline = PIPELINE.replace("tempauth zerocloud", "zerocloud tempauth")
    first, second = failed(
        check_proxy(make_conf(proxy_text(pipeline)), "zerocloud")
    )
    assert first.said == "tempauth stands right of zerocloud"
    assert second.said.startswith("no authentication stands left")


def test_filter_with_a_section_but_no_place_is_told(make_conf: Make) -> None:
    text = proxy_text().replace(
        f"pipeline = {PIPELINE}",
        "pipeline = " + PIPELINE.replace("zerocloud ", ""),
    )
    found = only(check_proxy(make_conf(text), "zerocloud"))
    assert found.said == "zerocloud has a section, but is not in the pipeline"
    text = object_text("healthcheck object-server")
    found = only(check_executor(make_conf(text), "executor"))
    assert "is not in the pipeline" in found.said
    assert "right before the object server" in found.mend


def test_executor_that_is_not_last_is_told(make_conf: Make) -> None:
    text = object_text("executor healthcheck object-server")
    found = only(check_executor(make_conf(text), "executor"))
    assert found.said == "executor does not stand right before object-server"


def test_name_without_a_section_is_told(make_conf: Make) -> None:
    text = object_text("recon executor object-server")
    found = only(check_executor(make_conf(text), "executor"))
    assert found.said.startswith("recon is in the pipeline, but has no sect")


def test_sections_are_known_by_what_they_use(make_conf: Make) -> None:
    text = proxy_text().replace("tempauth zerocloud", "who jobs")
    text = text.replace("[filter:tempauth]", "[filter:who]")
    text = text.replace("[filter:zerocloud]", "[filter:jobs]")
    findings = list(check_proxy(make_conf(text), "jobs"))
    assert [f.level for f in findings] == ["ok"]

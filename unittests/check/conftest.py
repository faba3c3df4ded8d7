"""Conf files in a folder, for the checks to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from zerocloud.check.conf import Conf, read_conf
from zerocloud.check.finding import Finding

KEY = "0123456789abcdef0123456789abcdef"
PIPELINE = (
    "catch_errors gatekeeper cache tempauth zerocloud copy slo dlo "
    "versioned_writes symlink keymaster encryption proxy-server"
)
Make = Callable[..., Conf]


def proxy_text(pipeline: str = PIPELINE, ours: str = "") -> str:
    """A proxy's conf with a section for each name of the pipeline."""
    text = "[DEFAULT]\nswift_dir = /nowhere\n"
    text += f"[pipeline:main]\npipeline = {pipeline}\n"
    for name in pipeline.split():
        kind = "app" if name == "proxy-server" else "filter"
        used = {"zerocloud": "zerocloud#zerocloud"}.get(
            name, f"swift#{name.replace('-', '_')}"
        )
        text += f"[{kind}:{name}]\nuse = egg:{used}\n"
        if name == "zerocloud":
            text += ours or f"cluster_key = {KEY}\n"
    return text


def object_text(
    pipeline: str = "healthcheck executor object-server",
    ours: str = "",
    defaults: str = "",
) -> str:
    """An object server's conf."""
    return (
        f"[DEFAULT]\n{defaults}\n[pipeline:main]\npipeline = {pipeline}\n"
        "[app:object-server]\nuse = egg:swift#object\n"
        "[filter:healthcheck]\nuse = egg:swift#healthcheck\n"
        f"[filter:executor]\nuse = egg:zerocloud#executor\n"
        f"cluster_key = {KEY}\n{ours}"
    )


@pytest.fixture
def make_conf(tmp_path: Path) -> Make:
    def make(text: str, name: str = "some.conf") -> Conf:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o600)
        return read_conf(path)

    return make


def failed(findings: Iterable[Finding]) -> list[Finding]:
    """Those to be mended; each says how."""
    found = [f for f in findings if f.level == "fail"]
    assert all(f.mend for f in found)
    return found


def only(findings: Iterable[Finding]) -> Finding:
    """The one that is to be mended."""
    [finding] = failed(findings)
    return finding

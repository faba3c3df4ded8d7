"""The manifest: the same document that the runner's tests read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zerocloud.errors import ProtocolError
from zerocloud.protocol.manifest import (
    Manifest,
    ManifestChannel,
    ManifestFile,
    ManifestLayer,
    ManifestLimits,
)

FIXTURES = Path(__file__).parents[2] / "runner" / "tests" / "fixtures"


def build(document: dict[str, Any]) -> Manifest:
    """The dataclasses that must serialise to `document`."""
    fields = {k: v for k, v in document.items() if k != "version"}
    fields.update(
        program=ManifestFile(**document["program"]),
        args=tuple(document["args"]),
        env=tuple((name, value) for name, value in document["env"]),
        layers=tuple(ManifestLayer(**x) for x in document["layers"]),
        channels=tuple(ManifestChannel(**x) for x in document["channels"]),
        limits=ManifestLimits(**document["limits"]),
    )
    return Manifest(**fields)


def small() -> Manifest:
    return Manifest(
        job="j",
        node="n",
        program=ManifestFile(0, "1" * 64, "wc"),
        args=("wc",),
        env=(("A", "b"),),
        layers=(),
        channels=(
            ManifestChannel("/dev/stdin", "read", "sequential", 1, "id", 9),
        ),
        limits=ManifestLimits(65536, 1.5, 1.0, 0),
        clock_nanoseconds=1,
        seed="2" * 64,
    )


def test_manifest_document_has_the_published_keys():
    document = json.loads(small().to_json())
    assert document["version"] == 1
    assert document["program"]["descriptor"] == 0
    assert document["env"] == [["A", "b"]]
    assert document["channels"][0]["limit_calls"] == 2**32
    assert document["limits"]["stack_bytes"] == 8 * 1024 * 1024
    assert build(document) == small()


def test_manifest_with_nan_is_not_written():
    document = json.loads(small().to_json())
    document["limits"]["wall_seconds"] = float("nan")
    with pytest.raises(ProtocolError, match="not expressible as JSON"):
        build(document).to_json()


def test_manifest_fixtures_of_the_runner_are_written_alike():
    fixtures = sorted(FIXTURES.glob("manifest*.json"))
    assert fixtures, "runner/tests/fixtures has no manifest*.json"
    for path in fixtures:
        document = json.loads(path.read_bytes())
        assert json.loads(build(document).to_json()) == document, path.name

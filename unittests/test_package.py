"""`import zerocloud` is cheap, and has the SDK's names when asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

import zerocloud
import zerocloud.client

HEAVY = (
    "requests",
    "urllib3",
    "swift",
    "swiftclient",
    "eventlet",
    "openstack",
)


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has after this code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_package_alone_loads_neither_sdk_nor_swift() -> None:
    loaded = loaded_after("import zerocloud; zerocloud.__version__")
    assert "zerocloud" in loaded
    assert not [name for name in loaded if name.startswith("zerocloud.")]
    assert not loaded & set(HEAVY)


def test_package_client_loads_the_sdk_without_what_is_heavy() -> None:
    loaded = loaded_after("from zerocloud import Client")
    assert "zerocloud.client.session" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("name", zerocloud.client.__all__)
def test_package_has_each_name_of_the_sdk(name: str) -> None:
    assert getattr(zerocloud, name) is getattr(zerocloud.client, name)


def test_package_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        zerocloud.Clint  # noqa: B018 - the access is the test

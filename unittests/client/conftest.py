"""Fixtures of the SDK's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from unittests.client.endpoint import TOKEN, Endpoint, serving
from zerocloud.client import Client, Login


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as running:
        yield running


@pytest.fixture
def client(endpoint: Endpoint) -> Client:
    return Client(Login(endpoint.storage_url, TOKEN))

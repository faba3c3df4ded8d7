"""Options of an account (zerocloud/cli/account.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unittests.client.endpoint import TOKEN, Endpoint
from unittests.fakes.fake_keystone import keystone_serving
from zerocloud.cli import exit as status
from zerocloud.cli.account import client_of
from zerocloud.cli.main import main, parse
from zerocloud.client.transport import Tls


def test_account_by_options_of_keystone_reaches_the_endpoint(
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """clouds.yaml, Keystone, the chosen endpoint, /info: all over HTTP."""
    with keystone_serving() as keystone:
        keystone.next_token = TOKEN
        keystone.endpoints = {
            ("RegionTwo", "internal"): f"{endpoint.url}/v1/AUTH_pid"
        }
        Path("clouds.yaml").write_text(
            json.dumps(
                {
                    "clouds": {
                        "mine": {
                            "auth": {
                                "auth_url": f"{keystone.url}/v3",
                                "username": "ada",
                                "password": "lovelace-1815",
                                "project_name": "engines",
                                "user_domain_name": "Default",
                                "project_domain_name": "Default",
                            }
                        }
                    }
                }
            )
        )
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "clouds.yaml")
        line = ["info", "--os-cloud", "mine", "--os-region-name", "RegionTwo"]
        assert main([*line, "--os-interface", "internal"]) == status.SUCCESS
        assert "AUTH_pid" in capsys.readouterr().out
        assert main([*line[:3], "--os-region-name", "Mars"]) == (
            status.NO_CONNECTION
        )
        assert "in region 'Mars'" in capsys.readouterr().err


def test_account_options_of_https_reach_the_client(
    endpoint: Endpoint,
) -> None:
    client = client_of(parse(["info", "--os-cacert", "/ca.pem"]))
    assert client.login.tls == Tls(verify="/ca.pem")
    client = client_of(parse(["info", "--insecure", "--os-cacert", "/ca"]))
    assert client.login.tls == Tls(verify=False)


def test_account_of_an_env_file_ignores_the_environment(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (f"export {k}={v}\n" for k, v in endpoint.variables().items())
    Path("env").write_text("".join(lines))
    monkeypatch.setenv("ST_AUTH", "http://127.0.0.1:9/auth")
    monkeypatch.setenv("OS_CACERT", "/elsewhere.pem")
    client = client_of(parse(["info", "--env-file", "env"]))
    assert client.login.storage_url == endpoint.storage_url
    assert client.login.tls == Tls()


def test_account_interface_that_is_unknown_is_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["info", "--os-interface", "secret"])
    assert caught.value.code == status.USAGE
    assert "public" in capsys.readouterr().err

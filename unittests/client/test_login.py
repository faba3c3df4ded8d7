"""Credentials and env files (zerocloud/client/login.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from unittests.client.endpoint import TOKEN, Endpoint
from zerocloud.client import (
    Client,
    ConnectError,
    Login,
    LoginError,
    log_in,
    read_env_file,
)
from zerocloud.client.transport import Transport


def test_login_v1_right_key_returns_url_and_token(endpoint: Endpoint) -> None:
    login = log_in(endpoint.variables(), Transport())
    assert login == Login(endpoint.storage_url, TOKEN)
    assert login.account == "AUTH_test"


def test_login_v1_wrong_key_is_refused_without_showing_it(
    endpoint: Endpoint,
) -> None:
    variables = {**endpoint.variables(), "ST_KEY": "sesame-open"}
    with pytest.raises(LoginError) as caught:
        log_in(variables, Transport())
    assert "refuses user 'test:tester'" in str(caught.value)
    assert "sesame-open" not in str(caught.value)


def test_login_v1_without_key_names_what_is_missing(
    endpoint: Endpoint,
) -> None:
    variables = endpoint.variables()
    del variables["ST_KEY"]
    with pytest.raises(LoginError, match="ST_KEY not set; allowed are"):
        log_in(variables, Transport())
    assert endpoint.requests == []


def test_login_v1_url_that_is_no_auth_service_says_so(
    endpoint: Endpoint,
) -> None:
    variables = {**endpoint.variables(), "ST_AUTH": f"{endpoint.url}/info"}
    with pytest.raises(LoginError, match="without a storage URL and token"):
        log_in(variables, Transport())


def test_login_storage_url_and_token_are_used_without_a_request(
    endpoint: Endpoint,
) -> None:
    variables = {
        **endpoint.variables(),
        "OS_STORAGE_URL": "http://h/v1/AUTH_x/",
        "OS_AUTH_TOKEN": "tk",
    }
    assert log_in(variables, Transport()) == Login("http://h/v1/AUTH_x", "tk")
    assert endpoint.requests == []


def test_login_nothing_set_names_the_ways() -> None:
    with pytest.raises(LoginError, match="no credentials are set; allowed"):
        log_in({"HOME": "/"}, Transport())


def test_login_url_with_another_scheme_is_refused() -> None:
    variables = {"ST_AUTH": "ftp://h/", "ST_USER": "u", "ST_KEY": "k"}
    with pytest.raises(LoginError, match="ST_AUTH is 'ftp://h/'; allowed"):
        log_in(variables, Transport())


def test_login_service_down_says_where_and_why() -> None:
    variables = {
        "ST_AUTH": "http://127.0.0.1:9/auth",
        "ST_USER": "u",
        "ST_KEY": "k",
    }
    with pytest.raises(ConnectError) as caught:
        log_in(variables, Transport())
    assert str(caught.value) == (
        "cannot reach http://127.0.0.1:9: Connection refused"
    )


@pytest.mark.parametrize(
    ("variables", "account"),
    [
        ({}, "AUTH_test"),
        ({"OS_PROJECT_NAME": "AUTH_other"}, "AUTH_other"),
        ({"OS_STORAGE_URL": "http://h/v1/AUTH_x"}, "AUTH_x"),
    ],
)
def test_login_v1_by_os_auth_type_needs_no_keystone(
    endpoint: Endpoint, variables: dict[str, str], account: str
) -> None:
    given = endpoint.variables()
    login = log_in(
        {
            "OS_AUTH_TYPE": "v1password",
            "OS_AUTH_URL": given["ST_AUTH"],
            "OS_USERNAME": given["ST_USER"],
            "OS_PASSWORD": given["ST_KEY"],
            **variables,
        }
    )
    assert (login.account, login.token) == (account, TOKEN)


def test_login_v1_by_os_auth_type_names_its_own_variables(
    endpoint: Endpoint,
) -> None:
    variables = {
        "OS_AUTH_TYPE": "v1password",
        "OS_AUTH_URL": endpoint.variables()["ST_AUTH"],
        "OS_USERNAME": "test:tester",
    }
    with pytest.raises(LoginError, match="OS_PASSWORD not set; allowed are"):
        log_in(variables)
    variables["OS_PASSWORD"] = "open-sesame"
    with pytest.raises(LoginError, match="OS_USERNAME and OS_PASSWORD") as no:
        log_in(variables)
    assert "open-sesame" not in str(no.value)


def test_login_v1_comes_before_a_cloud_of_the_environment(
    endpoint: Endpoint,
) -> None:
    """`. DIR/env` means that cluster, whatever ~/.bashrc exports."""
    login = log_in({**endpoint.variables(), "OS_CLOUD": "production"})
    assert login.storage_url == endpoint.storage_url


@pytest.mark.parametrize("key", ["open\nsesame", " open-sesame", "a\rsesame"])
def test_login_v1_key_that_fits_no_header_is_refused_without_showing_it(
    endpoint: Endpoint, key: str
) -> None:
    with pytest.raises(LoginError, match="ST_KEY has control") as caught:
        log_in({**endpoint.variables(), "ST_KEY": key})
    assert "sesame" not in str(caught.value)
    assert endpoint.requests == []


def test_login_v1_password_in_a_url_is_not_shown(endpoint: Endpoint) -> None:
    url = endpoint.variables()["ST_AUTH"].replace("//", "//u:open-sesame@")
    for broken in (url, url.replace("http:", "ftp:"), f"{url}x"):
        with pytest.raises((LoginError, ConnectError)) as caught:
            log_in({"ST_AUTH": broken, "ST_USER": "u", "ST_KEY": "k"})
        assert "open-sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://h:port/", "h/v1/AUTH_a"]
)
def test_login_storage_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(LoginError, match=r"OS_STORAGE_URL is .*; allowed"):
        log_in({"OS_STORAGE_URL": url, "OS_AUTH_TOKEN": "tk"})


def test_login_repr_hides_the_token() -> None:
    assert "secret-token" not in repr(Login("http://h/v1/a", "secret-token"))


def test_env_file_exports_are_read(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text(
        "# a comment\n"
        "export ST_AUTH=http://h/auth/v1.0\n"
        "\n"
        "export ST_USER='test:tester'\n"
        'ST_KEY="two words"  # with a remark\n'
        "export AWS_SECRET_ACCESS_KEY='a$b`c'\n"
    )
    assert read_env_file(path) == {
        "ST_AUTH": "http://h/auth/v1.0",
        "ST_USER": "test:tester",
        "ST_KEY": "two words",
        "AWS_SECRET_ACCESS_KEY": "a$b`c",
    }


@pytest.mark.parametrize(
    "line",
    [
        "export A=$(touch /tmp/x)",
        "export A=`id`",
        'export A="$HOME"',
        "rm -rf /",
        "export A='open",
        "export A=1 B=2",
        "export 1A=2",
        "unset A",
    ],
)
def test_env_file_anything_else_is_refused_with_its_line(
    tmp_path: Path, line: str
) -> None:
    path = tmp_path / "env"
    path.write_text(f"export GOOD=1\n{line}\n")
    with pytest.raises(LoginError, match="line 2 is not understood"):
        read_env_file(path)


def test_env_file_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoginError, match=r"none: No such file"):
        read_env_file(tmp_path / "none")


def test_env_file_huge_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_bytes(b"#" * (64 * 1024 + 1))
    with pytest.raises(LoginError, match="larger than 65536 bytes"):
        read_env_file(path)


def test_client_from_env_file_logs_in_by_the_file_alone(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_STORAGE_URL", "http://elsewhere/v1/AUTH_no")
    monkeypatch.setenv("OS_AUTH_TOKEN", "no")
    path = tmp_path / "env"
    path.write_text(
        "".join(f"export {k}={v}\n" for k, v in endpoint.variables().items())
    )
    client = Client.from_environment(path)
    assert client.login.storage_url == endpoint.storage_url

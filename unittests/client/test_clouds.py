"""Keystone and clouds.yaml (zerocloud/client/clouds.py), over real HTTP."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unittests.client.endpoint import KEY, TOKEN, USER, serving
from unittests.fakes.fake_keystone import FakeKeystone, keystone_serving
from zerocloud.client import Client, ConnectError, Login, LoginError, log_in
from zerocloud.client.transport import Tls

PASSWORD = "lovelace-1815"
ENGINES = "http://swift.example/RegionOne/public/v1/AUTH_pid-engines"


@pytest.fixture
def keystone() -> Iterator[FakeKeystone]:
    with keystone_serving() as running:
        yield running


def by_password(keystone: FakeKeystone, **more: str) -> dict[str, str]:
    return {
        "OS_AUTH_URL": keystone.url,
        "OS_USERNAME": "ada",
        "OS_PASSWORD": PASSWORD,
        "OS_PROJECT_NAME": "engines",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        **more,
    }


def refused(variables: dict[str, str], cloud: str | None = None) -> str:
    """The text of the LoginError, which must not hold a secret."""
    with pytest.raises(LoginError) as caught:
        log_in(variables, cloud=cloud)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("path", ["", "/", "/v3", "/v3/"])
def test_keystone_password_gives_token_and_url_of_the_project(
    keystone: FakeKeystone, path: str
) -> None:
    variables = by_password(keystone, OS_AUTH_URL=keystone.url + path)
    assert log_in(variables) == Login(ENGINES, "token-1")


def test_keystone_ids_and_the_old_word_tenant_are_understood(
    keystone: FakeKeystone,
) -> None:
    login = log_in(
        {
            "OS_AUTH_URL": keystone.url,
            "OS_USER_ID": "uid-ada",
            "OS_PASSWORD": PASSWORD,
            "OS_TENANT_ID": "pid-notes",
        }
    )
    assert login.account == "AUTH_pid-notes"


def test_keystone_domain_id_default_is_understood(
    keystone: FakeKeystone,
) -> None:
    variables = by_password(keystone, OS_DEFAULT_DOMAIN="default")
    for name in ("OS_USER_DOMAIN_NAME", "OS_PROJECT_DOMAIN_NAME"):
        del variables[name]
    variables["OS_USER_DOMAIN_ID"] = "default"
    variables["OS_PROJECT_DOMAIN_ID"] = "default"
    assert log_in(variables).storage_url == ENGINES


@pytest.mark.parametrize(
    "identity",
    [
        {"OS_APPLICATION_CREDENTIAL_ID": "cred-1"},
        {
            "OS_APPLICATION_CREDENTIAL_NAME": "robot",
            "OS_USERNAME": "ada",
            "OS_USER_DOMAIN_NAME": "Default",
        },
    ],
)
def test_keystone_application_credential_needs_no_project(
    keystone: FakeKeystone, identity: dict[str, str]
) -> None:
    login = log_in(
        {
            "OS_AUTH_TYPE": "v3applicationcredential",
            "OS_AUTH_URL": keystone.url,
            "OS_APPLICATION_CREDENTIAL_SECRET": "robot-secret",
            **identity,
        }
    )
    assert login == Login(ENGINES, "token-1")


@pytest.mark.parametrize("variable", ["OS_TOKEN", "OS_AUTH_TOKEN"])
def test_keystone_token_is_exchanged_for_one_of_the_project(
    keystone: FakeKeystone, variable: str
) -> None:
    keystone.tokens["of-before"] = ("ada", "")
    login = log_in(
        {
            "OS_AUTH_TYPE": "v3token",
            "OS_AUTH_URL": f"{keystone.url}/v3",
            variable: "of-before",
            "OS_PROJECT_NAME": "notes",
            "OS_PROJECT_DOMAIN_ID": "default",
        }
    )
    assert login.account == "AUTH_pid-notes"
    assert login.token != "of-before"


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"OS_REGION_NAME": "RegionTwo"}, "RegionTwo/public"),
        ({"OS_INTERFACE": "internal"}, "RegionOne/internal"),
        ({"OS_ENDPOINT_TYPE": "internalURL"}, "RegionOne/internal"),
        (
            {"OS_REGION_NAME": "RegionTwo", "OS_INTERFACE": "admin"},
            "RegionTwo/admin",
        ),
    ],
)
def test_keystone_region_and_interface_choose_the_endpoint(
    keystone: FakeKeystone, variables: dict[str, str], place: str
) -> None:
    login = log_in(by_password(keystone, **variables))
    assert login.storage_url == (
        f"http://swift.example/{place}/v1/AUTH_pid-engines"
    )


def test_keystone_region_that_is_not_there_names_those_that_are(
    keystone: FakeKeystone,
) -> None:
    text = refused(by_password(keystone, OS_REGION_NAME="Mars"))
    assert "no object-store endpoint in region 'Mars'" in text.replace(
        "has not an", "no"
    )
    assert "RegionOne public" in text
    assert "RegionTwo admin" in text


def test_keystone_without_swift_says_so(keystone: FakeKeystone) -> None:
    keystone.services = ("identity",)
    text = refused(by_password(keystone))
    assert text.endswith("interface 'public'; it has none")


def test_keystone_storage_url_replaces_the_catalogs(
    keystone: FakeKeystone,
) -> None:
    variables = by_password(keystone, OS_STORAGE_URL="http://near/v1/AUTH_x")
    assert log_in(variables) == Login("http://near/v1/AUTH_x", "token-1")


@pytest.mark.parametrize(
    ("changed", "who"),
    [
        ({"OS_PASSWORD": "open-sesame"}, "user 'ada'"),
        ({"OS_USERNAME": "eve"}, "user 'eve'"),
        ({"OS_PROJECT_NAME": "secret-project"}, "user 'ada'"),
        ({"OS_USER_DOMAIN_NAME": "Other"}, "user 'ada'"),
        (
            {
                "OS_AUTH_TYPE": "v3applicationcredential",
                "OS_APPLICATION_CREDENTIAL_ID": "cred-1",
                "OS_APPLICATION_CREDENTIAL_SECRET": "open-sesame",
                "OS_PROJECT_NAME": "",
            },
            "application credential 'cred-1'",
        ),
        ({"OS_AUTH_TYPE": "v3token", "OS_TOKEN": "open-sesame"}, "the token"),
    ],
)
def test_keystone_refusal_says_who_and_shows_no_secret(
    keystone: FakeKeystone, changed: dict[str, str], who: str
) -> None:
    text = refused(by_password(keystone, **changed))
    assert text.startswith(f"{keystone.url} refuses {who} [401]; check")
    assert PASSWORD not in text
    assert "open-sesame" not in text


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (
            "OS_PROJECT_NAME",
            "is not for a project, so it leads to no account; OS_PROJECT_NAME",
        ),
        ("OS_AUTH_URL", "no credentials are set"),
        ("OS_PASSWORD", "OS_PASSWORD not set; OS_AUTH_TYPE 'password' needs"),
    ],
)
def test_keystone_variable_that_is_missing_is_named(
    keystone: FakeKeystone, missing: str, named: str
) -> None:
    variables = by_password(keystone)
    del variables[missing]
    assert named in refused(variables)


def test_keystone_unknown_auth_type_names_the_known(
    keystone: FakeKeystone,
) -> None:
    text = refused(by_password(keystone, OS_AUTH_TYPE="v3magic"))
    assert "auth_type 'v3magic' is not known; allowed are password" in text


@pytest.mark.parametrize("path", ["", "/v3"])
def test_keystone_down_is_a_connect_error(path: str) -> None:
    with pytest.raises(ConnectError, match=r"cannot reach http://127.0.0.1:9"):
        log_in(
            {
                "OS_AUTH_URL": f"http://127.0.0.1:9{path}",
                "OS_USERNAME": "u",
                "OS_PASSWORD": PASSWORD,
                "OS_PROJECT_NAME": "p",
            }
        )


def test_keystone_url_that_is_no_keystone_says_what_failed(
    keystone: FakeKeystone,
) -> None:
    variables = by_password(keystone, OS_AUTH_URL=f"{keystone.url}/nowhere")
    text = refused(variables)
    assert text.startswith(f"login at {keystone.url}/nowhere failed: ")
    assert PASSWORD not in text


def test_keystone_url_of_v1_auth_says_so_and_does_not_hang() -> None:
    """keystoneauth1 by itself would wait for ever."""
    with serving() as endpoint:
        given = endpoint.variables()
        text = refused(
            {
                "OS_AUTH_URL": given["ST_AUTH"],
                "OS_USERNAME": given["ST_USER"],
                "OS_PASSWORD": given["ST_KEY"],
                "OS_PROJECT_NAME": "p",
            }
        )
    assert text.startswith(
        f"{given['ST_AUTH']} is no Keystone: it answers 401"
    )
    assert "set OS_AUTH_TYPE=v1password" in text


def test_keystone_password_in_the_url_is_not_shown() -> None:
    url = "http://u:open-sesame@127.0.0.1:9/v3"
    variables = {"OS_AUTH_URL": url, "OS_USERNAME": "u", "OS_PASSWORD": "p"}
    with pytest.raises((ConnectError, LoginError)) as caught:
        log_in({**variables, "OS_PROJECT_NAME": "p"})
    assert "open-sesame" not in str(caught.value)


def test_keystone_without_openstacksdk_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, keystone: FakeKeystone
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    text = refused(by_password(keystone))
    assert "pip install 'zerocloud[keystone]'" in text
    assert "ST_AUTH, ST_USER and ST_KEY" in text
    assert keystone.requests == []
    assert "cloud 'prod' needs openstacksdk" in refused({}, "prod")


class TestCloudsYaml:
    """Clouds of files: with OS_CLIENT_CONFIG_FILE, or found."""

    @staticmethod
    def clouds(keystone: FakeKeystone, secret: str = "") -> str:
        line = f"\n          password: {secret}" if secret else ""
        return f"""\
    clouds:
      mine:
        region_name: RegionTwo
        interface: internal
        auth:
          auth_url: {keystone.url}/v3
          username: ada{line}
          project_name: engines
          user_domain_name: Default
          project_domain_name: Default
      robot:
        auth_type: v3applicationcredential
        auth:
          auth_url: {keystone.url}/v3
          application_credential_id: cred-1
          application_credential_secret: robot-secret
    """

    def test_cloud_by_name_gives_its_region_and_interface(
        self, keystone: FakeKeystone, tmp_path: Path
    ) -> None:
        file = tmp_path / "my.yaml"
        file.write_text(self.clouds(keystone, PASSWORD))
        given = {"OS_CLIENT_CONFIG_FILE": str(file)}
        login = log_in(given, cloud="mine")
        assert login.storage_url == (
            "http://swift.example/RegionTwo/internal/v1/AUTH_pid-engines"
        )
        assert log_in({**given, "OS_CLOUD": "robot"}).storage_url == ENGINES

    def test_cloud_takes_region_and_interface_of_the_environment_only(
        self, keystone: FakeKeystone, tmp_path: Path
    ) -> None:
        file = tmp_path / "my.yaml"
        file.write_text(self.clouds(keystone, PASSWORD))
        given = {
            "OS_CLIENT_CONFIG_FILE": str(file),
            "OS_REGION_NAME": "RegionTwo",
            "OS_INTERFACE": "admin",
            "OS_USERNAME": "not-asked-for",
        }
        assert "/RegionTwo/admin/" in log_in(given, cloud="mine").storage_url
        assert "/RegionTwo/admin/" in log_in(given, cloud="robot").storage_url

    def test_cloud_with_a_region_of_its_own_refuses_another(
        self, keystone: FakeKeystone, tmp_path: Path
    ) -> None:
        file = tmp_path / "my.yaml"
        file.write_text(self.clouds(keystone, PASSWORD))
        given = {
            "OS_CLIENT_CONFIG_FILE": str(file),
            "OS_REGION_NAME": "RegionOne",
        }
        assert "Valid choices are RegionTwo" in refused(given, "mine")

    def test_cloud_that_is_named_wins_over_other_credentials(
        self, keystone: FakeKeystone, tmp_path: Path
    ) -> None:
        file = tmp_path / "my.yaml"
        file.write_text(self.clouds(keystone))
        given = {
            "OS_CLIENT_CONFIG_FILE": str(file),
            "OS_STORAGE_URL": "",
            "ST_AUTH": "http://127.0.0.1:9/auth",
            "ST_USER": "u",
            "ST_KEY": "k",
        }
        assert log_in(given, cloud="robot").storage_url == ENGINES

    @pytest.mark.parametrize("place", [".", "home/.config/openstack"])
    def test_cloud_is_found_on_the_search_path_with_its_secret_apart(
        self, keystone: FakeKeystone, tmp_path: Path, place: str
    ) -> None:
        """In a process of its own: the path is fixed when it is loaded."""
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "clouds.yaml").write_text(self.clouds(keystone))
        (folder / "secure.yaml").write_text(
            f"clouds: {{mine: {{auth: {{password: {PASSWORD}}}}}}}\n"
        )
        script = (
            "from zerocloud import Client\n"
            "print(Client.from_environment(cloud='mine').login.storage_url)\n"
        )
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OS_", "ST_", "XDG_"))
        }
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={**environment, "HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert "/RegionTwo/internal/" in done.stdout

    def test_cloud_of_v1password_logs_in_at_a_swift_of_ones_own(
        self, tmp_path: Path
    ) -> None:
        with serving() as endpoint:
            file = tmp_path / "my.yaml"
            file.write_text(
                "clouds:\n  small:\n    auth_type: v1password\n    auth:\n"
                f"      auth_url: {endpoint.url}/auth/v1.0\n"
                f"      username: {USER}\n      password: {KEY}\n"
            )
            login = log_in({"OS_CLIENT_CONFIG_FILE": str(file)}, cloud="small")
            assert login == Login(endpoint.storage_url, TOKEN)
            file.write_text(file.read_text().replace(KEY, "open-sesame"))
            text = refused({"OS_CLIENT_CONFIG_FILE": str(file)}, "small")
            assert "open-sesame" not in text
            assert endpoint.url in text

    def test_cloud_that_is_unknown_names_file_and_clouds(
        self, keystone: FakeKeystone, tmp_path: Path
    ) -> None:
        file = tmp_path / "my.yaml"
        file.write_text(self.clouds(keystone))
        given = {"OS_CLIENT_CONFIG_FILE": str(file)}
        assert refused(given, "yours") == (
            f"{file} has no cloud 'yours'; it has mine, robot"
        )

    def test_cloud_without_a_file_says_where_it_looked(
        self, tmp_path: Path
    ) -> None:
        given = {"OS_CLIENT_CONFIG_FILE": str(tmp_path / "none.yaml")}
        text = refused(given, "mine")
        assert text.startswith("cloud 'mine': no clouds.yaml was found")
        assert "~/.config/openstack/clouds.yaml" in text

    @pytest.mark.parametrize(
        "password", ["*open-sesame", "'open-sesame", "{open-sesame", "@open"]
    )
    def test_cloud_of_a_broken_file_gets_its_line_and_no_secret(
        self,
        keystone: FakeKeystone,
        tmp_path: Path,
        password: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        file = tmp_path / "my.yaml"
        file.write_text(self.clouds(keystone, password))
        with caplog.at_level(logging.WARNING):
            text = refused({"OS_CLIENT_CONFIG_FILE": str(file)}, "mine")
        assert f"{file} is no YAML, line " in text
        assert "sesame" not in text
        assert caplog.text == ""

    @pytest.mark.parametrize(
        "content",
        [
            "- a list\n",
            "clouds: 5\n",
            "clouds: {mine: 5}\n",
            "clouds: {mine: {auth: open-sesame}}\n",
            "clouds: {mine: {auth: {auth_url: 'http://{open-sesame}'}}}\n",
            "clouds: {mine: {region_name: '{password}', password: sesame}}\n",
            "clouds: {mine: {auth: {username: u, password: open-sesame}}}\n",
        ],
    )
    def test_cloud_of_another_shape_is_an_error_without_secrets(
        self, tmp_path: Path, content: str
    ) -> None:
        file = tmp_path / "my.yaml"
        file.write_text(content)
        text = refused({"OS_CLIENT_CONFIG_FILE": str(file)}, "mine")
        assert "sesame" not in text
        assert "mine" in text or str(file) in text

    def test_cloud_settings_of_tls_reach_the_login(
        self, keystone: FakeKeystone, tmp_path: Path
    ) -> None:
        file = tmp_path / "my.yaml"
        text = self.clouds(keystone, PASSWORD)
        file.write_text(
            text.replace("interface:", "verify: false\n        interface:")
        )
        given = {"OS_CLIENT_CONFIG_FILE": str(file)}
        assert log_in(given, cloud="mine").tls == Tls(verify=False)
        login = log_in({**given, "OS_CACERT": "/ca.pem"}, cloud="robot")
        assert login.tls == Tls(verify="/ca.pem")
        assert Client(login).login.tls.verify == "/ca.pem"

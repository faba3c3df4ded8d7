"""Every v1 way to log in, on real Swift: options, variables, clouds.yaml."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from functests.commands import Command
from zerocloud.cli import exit as status
from zerocloud.cluster import Cluster


def clouds(cluster: Cluster, **more: str) -> str:
    """clouds.yaml (JSON is YAML) with the cluster as the cloud `small`."""
    auth = {
        "auth_url": cluster.env["ST_AUTH"],
        "username": cluster.env["ST_USER"],
        "password": cluster.env["ST_KEY"],
        **more,
    }
    small = {"auth_type": "v1password", "auth": auth}
    return json.dumps({"clouds": {"small": small, "other": {}}})


def by_os_variables(cluster: Cluster) -> dict[str, str]:
    return {
        "OS_AUTH_TYPE": "v1password",
        "OS_AUTH_URL": cluster.env["ST_AUTH"],
        "OS_USERNAME": cluster.env["ST_USER"],
        "OS_PASSWORD": cluster.env["ST_KEY"],
    }


def by_swift_auth(cluster: Cluster) -> dict[str, str]:
    """What `eval "$(swift auth)"` sets."""
    swift = str(Path(sys.executable).parent / "swift")
    done = subprocess.run(
        [swift, "auth"],
        env={**cluster.env, "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = (
        line.removeprefix("export ").partition("=")
        for line in done.stdout.splitlines()
    )
    return {name: value.strip("'\"") for name, _, value in pairs}


def hello(zerocloud: Command, *options: str) -> None:
    """A job runs, for the account AUTH_test."""
    script = zerocloud.save("s.py", "print('hello')\n")
    done = zerocloud("run", *options, script)
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr
    assert b"AUTH_test" in zerocloud("info", *options).stdout


@pytest.mark.parametrize("way", [by_os_variables, by_swift_auth])
def test_login_by_variables_runs_a_job(
    cluster: Cluster, tmp_path: Path, way: object
) -> None:
    assert callable(way)
    variables: Mapping[str, str] = way(cluster)
    hello(Command(cluster, tmp_path, variables))


def test_login_by_env_file_runs_a_job(
    cluster: Cluster, tmp_path: Path
) -> None:
    zerocloud = Command(cluster, tmp_path, {})
    hello(zerocloud, "--env-file", str(cluster.folder.env))


@pytest.mark.parametrize("by_option", [True, False])
def test_login_by_clouds_yaml_here_runs_a_job(
    cluster: Cluster, tmp_path: Path, by_option: bool
) -> None:
    variables = {} if by_option else {"OS_CLOUD": "small"}
    zerocloud = Command(cluster, tmp_path, variables)
    zerocloud.save("clouds.yaml", clouds(cluster))
    hello(zerocloud, *(["--os-cloud", "small"] if by_option else []))


def test_login_by_secure_yaml_in_the_home_runs_a_job(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The password stands in secure.yaml alone."""
    variables = {"OS_CLOUD": "small", "HOME": str(tmp_path)}
    zerocloud = Command(cluster, tmp_path, variables)
    folder = tmp_path / ".config" / "openstack"
    folder.mkdir(parents=True)
    (folder / "clouds.yaml").write_text(clouds(cluster, password=""))
    secret = {"small": {"auth": {"password": cluster.env["ST_KEY"]}}}
    (folder / "secure.yaml").write_text(json.dumps({"clouds": secret}))
    hello(zerocloud)


@pytest.mark.parametrize("way", ["variables", "cloud"])
def test_login_with_a_wrong_key_exits_5_and_shows_none(
    cluster: Cluster, tmp_path: Path, way: str
) -> None:
    variables = {**by_os_variables(cluster), "OS_PASSWORD": "open-sesame"}
    if way == "cloud":
        variables = {"OS_CLOUD": "small"}
    zerocloud = Command(cluster, tmp_path, variables)
    zerocloud.save("clouds.yaml", clouds(cluster, password="open-sesame"))
    done = zerocloud("info")
    assert (done.returncode, done.stdout) == (status.NO_CONNECTION, b"")
    text = done.stderr.decode()
    assert text.count("\n") == 1
    assert "test:tester" in text
    assert "sesame" not in text


def test_login_with_an_old_token_exits_5_and_says_so(
    cluster: Cluster, tmp_path: Path
) -> None:
    variables = {**by_swift_auth(cluster), "OS_AUTH_TOKEN": "AUTH_tk0ld"}
    zerocloud = Command(cluster, tmp_path, variables)
    done = zerocloud("run", zerocloud.save("s.py", "print(1)\n"))
    assert done.returncode == status.NO_CONNECTION
    assert b"log in again [401]" in done.stderr
    assert b"AUTH_tk0ld" not in done.stderr

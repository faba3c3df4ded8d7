"""Runner, images and cache are found where they are installed or built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zerocloud.cluster.installation import (
    InstalledImage,
    command_folders,
    find_guest,
    find_images,
    find_zvm,
    user_cache,
)
from zerocloud.cluster.settings import StartError


def describe(place: Path, name: str, **more: object) -> None:
    place.mkdir(exist_ok=True)
    document = {"name": name, "aliases": [], "sha256": "ab" * 32, **more}
    (place / f"{name}.json").write_text(json.dumps(document))


def test_zvm_named_by_the_environment_wins() -> None:
    assert find_zvm({"ZEROCLOUD_ZVM": "/opt/zvm"}) == Path("/opt/zvm")


@pytest.mark.parametrize(
    ("package", "folder"),
    [
        ("/v/lib/python3.11/site-packages/zerocloud", "/v/bin"),
        (
            "/usr/local/lib/python3.11/dist-packages/zerocloud",
            "/usr/local/bin",
        ),
        ("/target/zerocloud", "/target/bin"),
    ],
)
def test_commands_are_where_pip_puts_them(package: str, folder: str) -> None:
    assert Path(folder) in command_folders(Path(package))


def test_package_at_the_root_has_a_folder_of_commands_too() -> None:
    assert command_folders(Path("/zerocloud")) == (Path("/bin"), Path("/bin"))


def test_guest_is_the_first_that_is_built(tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.mkdir()
    (built / "wc.wasm").write_bytes(b"")
    places = (tmp_path / "none", built)
    assert find_guest("wc", places) == built / "wc.wasm"
    assert find_guest("nothing", places) is None


def test_images_of_the_first_place_that_has_any(tmp_path: Path) -> None:
    built = tmp_path / "built"
    describe(built, "python3", aliases=["python", "python2.7"], extra=1)
    (built / "python3.tar").write_bytes(b"")
    assert find_images((tmp_path / "none", built)) == (
        InstalledImage(
            "python3",
            ("python", "python2.7"),
            "ab" * 32,
            built / "python3.tar",
        ),
    )


def test_images_not_built_are_none(tmp_path: Path) -> None:
    assert find_images((tmp_path,)) == ()


def test_image_without_its_tar_is_refused(tmp_path: Path) -> None:
    describe(tmp_path, "python3")
    with pytest.raises(StartError, match=r"image python3 has no .*\.tar"):
        find_images((tmp_path,))


def test_image_description_that_is_damaged_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "python3.json").write_text('{"name": "python3"}')
    with pytest.raises(StartError, match=r"is unusable .*`make build`"):
        find_images((tmp_path,))


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"ZEROCLOUD_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/zerocloud"),
        ({}, str(Path.home() / ".cache/zerocloud")),
    ],
)
def test_cache_is_where_the_environment_says(
    environ: dict[str, str], folder: str
) -> None:
    assert user_cache(environ) == Path(folder).resolve()

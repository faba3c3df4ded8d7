"""What the build tools promise: same bytes, pinned sources, no root."""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from _build import library, progress, recipe, sources, workshop, zig
from _build.cache import place_copy, place_text
from _build.layer import write_layer


def make_tree(root: Path, names: list[str]) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}")


def test_layer_of_equal_trees_is_byte_identical(tmp_path: Path) -> None:
    names = ["b/two", "a/one", ".hidden/x", "python"]
    make_tree(tmp_path / "left", names)
    make_tree(tmp_path / "right", names[::-1])
    (tmp_path / "right" / "python").chmod(0o600)
    layers = [tmp_path / "left.tar", tmp_path / "right.tar"]
    for layer in layers:
        size = write_layer(tmp_path / layer.stem, layer)
        assert size == layer.stat().st_size
    assert layers[0].read_bytes() == layers[1].read_bytes()


def test_layer_is_sorted_and_tells_nothing_of_its_maker(
    tmp_path: Path,
) -> None:
    make_tree(tmp_path / "root", ["z", "usr/lib/m.py"])
    write_layer(tmp_path / "root", tmp_path / "root.tar")
    with tarfile.open(tmp_path / "root.tar") as layer:
        entries = layer.getmembers()
    assert [entry.name for entry in entries] == [
        "usr",
        "usr/lib",
        "usr/lib/m.py",
        "z",
    ]
    assert {(e.uid, e.gid, e.uname, e.gname, e.mtime) for e in entries} == {
        (0, 0, "", "", 0)
    }
    assert [entry.mode for entry in entries] == [0o755, 0o755, 0o644, 0o644]


def test_layer_with_symlink_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path / "root", ["a"])
    (tmp_path / "root" / "link").symlink_to("a")
    with pytest.raises(ValueError, match="neither a file nor a directory"):
        write_layer(tmp_path / "root", tmp_path / "root.tar")
    assert not (tmp_path / "root.tar").exists()


def test_place_copy_of_same_content_keeps_the_file(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"one")
    target = tmp_path / "out" / "target"
    place_copy(tmp_path / "source", target)
    inode = target.stat().st_ino
    place_copy(tmp_path / "source", target)
    assert target.stat().st_ino == inode
    (tmp_path / "source").write_bytes(b"two")
    place_copy(tmp_path / "source", target)
    assert target.read_bytes() == b"two"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_place_text_writes_and_replaces(tmp_path: Path) -> None:
    place_text("a", tmp_path / "x" / "text")
    place_text("b", tmp_path / "x" / "text")
    assert (tmp_path / "x" / "text").read_text() == "b"


def pinned(content: bytes) -> sources.Source:
    archive = sources.Archive("x.tar", hashlib.sha256(content).hexdigest(), "")
    return sources.Source("x", "x", "ZEROCLOUD_X_SOURCE", (archive,))


def test_named_source_with_pinned_digest_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_bytes(b"good")
    monkeypatch.setenv("ZEROCLOUD_X_SOURCE", str(tmp_path / "mine"))
    assert sources.fetch(pinned(b"good"), print) == tmp_path / "mine"


def test_named_source_with_other_digest_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_bytes(b"evil")
    monkeypatch.setenv("ZEROCLOUD_X_SOURCE", str(tmp_path / "mine"))
    with pytest.raises(zig.BuildError, match=r"mine has SHA-256 .* pinned is"):
        sources.fetch(pinned(b"good"), print)


def test_fetched_file_with_other_digest_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "fetched").write_bytes(b"evil")
    archive = pinned(b"good").archives[0]
    with pytest.raises(OSError, match=archive.sha256):
        sources.keep(tmp_path / "fetched", archive, tmp_path)
    assert not (tmp_path / "x.tar").exists()


def test_source_entries_come_from_both_forms_of_apt_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.list").write_text(
        "# deb http://mirror.example/commented stable main\n"
        "deb [arch=amd64] http://mirror.example/a stable main\n"
        "deb http://vendor.example/b vendor-stable-suite main\n"
    )
    (tmp_path / "two.sources").write_text(
        "Types: deb\n# a note\nURIs: http://mirror.example/c\n"
        "Suites: stable stable-updates\nComponents: main\n\n"
        "Types: deb\nURIs: http://vendor.example/d\n"
        "Suites: nodistro\nComponents: main\n"
    )
    monkeypatch.setattr(
        sources, "list_files", lambda: sorted(tmp_path.iterdir())
    )
    lines, stanzas = sources.source_entries()
    assert lines == [
        "deb-src [arch=amd64] http://mirror.example/a stable main"
    ]
    assert stanzas == [
        "Types: deb-src\nURIs: http://mirror.example/c\n"
        "Suites: stable stable-updates\nComponents: main"
    ]


def test_settings_do_not_tell_where_they_were_built(tmp_path: Path) -> None:
    shop = workshop.Workshop(
        tmp_path,
        zig.Zig(Path("zig"), "0"),
        "/opt/python3.11",
        {},
        progress.Progress("x", {}),
    )
    text = (
        "# made by CPython's build\nbuild_time_vars = "
        f"{{'B': '{tmp_path}/build', 'A': 1, 'P': '/opt/python3.11 -S'}}\n"
    )
    assert library.neutral_settings(shop, text) == (
        "build_time_vars = {\n 'A': 1,\n 'B': '/build/build',\n"
        " 'P': '/usr/bin/python3.11 -S',\n}\n"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1, "5 s"), (44, "45 s"), (60, "1 min"), (101, "1 min 40 s")],
)
def test_duration_reads_like_speech(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said


def write_recipe(folder: Path, archive: Path) -> Path:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    archives = [{"file": archive.name, "sha256": digest}]
    document = {
        "name": "program",
        "sources": [
            {
                "name": "x",
                "package": "x",
                "environment": "ZEROCLOUD_X_SOURCE",
                "archives": archives,
            }
        ],
        "unpack": "src/*.[ch]",
        "leave_out": ["main2.c"],
        "include": "own.h",
        "flags": ["-DX"],
        "libraries": ["y"],
    }
    (folder / "own.h").write_text("")
    path = folder / "recipe.json"
    path.write_text(json.dumps(document))
    return path


def write_archive(path: Path, *names: str) -> None:
    with tarfile.open(path, "w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))


def test_recipe_unpacks_what_it_names_and_leaves_out_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a.c", "a.h", "main2.c", "main.c", "Makefile", "deep/b.c")
    write_archive(
        tmp_path / "x.tar", "x-1/README", *(f"x-1/src/{n}" for n in names)
    )
    path = write_recipe(tmp_path, tmp_path / "x.tar")
    monkeypatch.setenv("ZEROCLOUD_X_SOURCE", str(tmp_path / "x.tar"))
    folder = tmp_path / "work"
    folder.mkdir()

    compiled = recipe.unpack(path, folder, print)

    assert compiled == ["-include", "own.h", "a.c", "main.c"]
    assert sorted(f.name for f in folder.iterdir()) == [
        "a.c", "a.h", "main.c", "main2.c", "own.h",
    ]  # fmt: skip
    assert (folder / "a.c").read_text() == "x-1/src/a.c"
    assert recipe.name_of(path) == "program"
    assert recipe.name_of(tmp_path / "own.h") == ""
    assert recipe.flags(path) == ["-w", "-DX", "-ly"]
    assert recipe.files(path) == [path, tmp_path / "own.h"]


def test_recipe_with_another_source_than_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "x.tar", "x-1/src/a.c")
    path = write_recipe(tmp_path, tmp_path / "x.tar")
    write_archive(tmp_path / "y.tar", "x-1/src/evil.c")
    monkeypatch.setenv("ZEROCLOUD_X_SOURCE", str(tmp_path / "y.tar"))
    with pytest.raises(zig.BuildError, match=r"y.tar has SHA-256 .* pinned"):
        recipe.unpack(path, tmp_path, print)


def test_recipe_of_lua_pins_a_source_and_names_a_header() -> None:
    root = Path(__file__).resolve().parents[2]
    path = root / "examples/lua/source/recipe.json"
    (source,) = sources.parse_sources(json.loads(path.read_text())["sources"])
    assert all(len(one.sha256) == 64 for one in source.archives)
    assert all(file.is_file() for file in recipe.files(path))

"""CPython's standard library, and all else of the image beside the program.

Runs beside the build of the interpreter: compiling the modules needs only the
machine's own Python.  The result does not depend on where or when it is made.
"""

import ast
import fnmatch
import json
import shutil
import subprocess

from .workshop import Workshop, run
from .zig import ROOT, BuildError

RECIPE = ROOT / "images" / "python3"
PYTHON = "3.11"
LIBRARY = f"usr/local/lib/python{PYTHON}"


def start_library(shop: Workshop) -> "subprocess.Popen[bytes]":
    """Copy the standard library; begin to compile it to .pyc beside.

    The .pyc files are never checked against their sources (both are read-only
    in the layer), which saves a look at each source's time.  One process in
    sorted order: what marshal writes depends on what was compiled before.
    """
    target = shop.folder / "root" / LIBRARY
    left_out = shop.recipe["leave_out"]

    def ignore(_folder: str, names: list[str]) -> list[str]:
        return [
            name
            for name in names
            if any(fnmatch.fnmatch(name, pattern) for pattern in left_out)
        ]

    shutil.copytree(shop.folder / "python" / "Lib", target, ignore=ignore)
    with (shop.folder / "library.log").open("wb") as log:
        return subprocess.Popen(
            compile_command(shop, []),
            cwd=shop.folder,
            env=shop.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def compile_command(shop: Workshop, names: list[str]) -> list[str]:
    """Return the command that compiles the library, or named files of it."""
    places = [f"root/{LIBRARY}/{name}" for name in names]
    return [
        "nice", shop.python, "-I", "-m", "compileall", "-q",
        "--invalidation-mode", "unchecked-hash", "-s", "root", "-p", "/",
        *(places or [f"root/{LIBRARY}"]),
    ]  # fmt: skip


def finish_library(shop: Workshop, modules: "subprocess.Popen[bytes]") -> None:
    """Put everything in its place below root/."""
    if modules.wait():
        log = (shop.folder / "library.log").read_text(errors="replace")
        raise BuildError(f"compiling the standard library failed:\n{log}")
    root = shop.folder / "root"
    built = shop.folder / "build"
    shutil.copy(built / "python.wasm", root / "python")
    name = "_sysconfigdata__wasi_wasm32-wasi.py"
    place = (built / "pybuilddir.txt").read_text()
    (root / LIBRARY / name).write_text(
        neutral_settings(shop, (built / place / name).read_text())
    )
    run(shop, compile_command(shop, [name]), shop.folder)
    image = root / ".zerocloud" / "image.json"
    image.parent.mkdir()
    image.write_text(json.dumps(shop.recipe["image"], indent=1) + "\n")
    licences = root / "usr/local/share/licenses"
    licences.mkdir(parents=True)
    for name in ("python", "zlib", "bzip2"):
        shutil.copy(shop.folder / name / "LICENSE", licences / name)


def neutral_settings(shop: Workshop, text: str) -> str:
    """Rewrite _sysconfigdata so that it does not tell where it was built.

    Parsed and printed anew: the original's line breaks depend on the length
    of the paths in it.
    """
    places = {
        str(shop.folder): "/build",
        str(RECIPE): "/build",
        shop.python: f"/usr/bin/python{PYTHON}",
    }
    settings = ast.literal_eval(text[text.index("{") :])
    lines = []
    for name, value in sorted(settings.items()):
        said = repr(value)
        for place, neutral in places.items():
            said = said.replace(place, neutral)
        lines.append(f" {name!r}: {said},\n")
    return f"build_time_vars = {{\n{''.join(lines)}}}\n"

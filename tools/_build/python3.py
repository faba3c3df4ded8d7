"""CPython's sources become a tar layer with an interpreter for WASI.

A cross build: the machine's own python3.11 stands in where CPython's build
runs Python, and zig compiles.  It happens in one folder of the cache, without
root, and nothing of the machine gets in: no header, no library, no path, no
date.  What is linked into the interpreter beside CPython (zlib, bzip2, the
heap, thread-specific data) is told in images/python3/README.md.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from .layer import write_layer
from .library import PYTHON, RECIPE, finish_library, start_library
from .sources import fetch, parse_sources
from .workshop import Workshop, run
from .zig import BuildError

PARALLEL = 2
# Seconds of each step on two cores, for the estimates.
STEPS = {
    "fetching sources": 6.0,
    "unpacking": 8.0,
    "compiling libraries": 10.0,
    "configuring": 55.0,
    "compiling": 80.0,
    "linking": 5.0,
    "packing": 3.0,
}
# CPython's configure prints about this many lines here.
CONFIGURE_LINES = 872
# Room for every recursion limit of CPython; see README.md.
STACK_BYTES = 8 << 20
FLAGS = "-w -fno-sanitize=undefined"
# For CPython's code: names that zig's C library leaves out, and old C that
# clang refuses by now.
CORE_FLAGS = "-Dpthread_exit=exit -DSOCK_RAW=3 -Wno-error=int-conversion"
LIBRARIES = {
    "zlib": (
        "libz.a",
        "adler32 compress crc32 deflate gzclose gzlib gzread gzwrite infback "
        "inffast inflate inftrees trees uncompr zutil",
        "-DHAVE_UNISTD_H",
    ),
    "bzip2": (
        "libbz2.a",
        "blocksort huffman crctable randtable compress decompress bzlib",
        "-DBZ_STRICT_ANSI",
    ),
}


def build_python() -> str:
    """Return the machine's python3.11; BuildError if there is none."""
    if sys.version_info[:2] == (3, 11):
        return os.path.realpath(
            getattr(sys, "_base_executable", sys.executable)
        )
    found = shutil.which("python3.11")
    if not found:
        raise BuildError(
            "python3.11 is missing (CPython's cross build runs it): "
            "apt-get install python3.11"
        )
    return found


def build(shop: Workshop, layer: Path) -> None:
    """Build the image's layer; raises BuildError with the log's tail."""
    progress = shop.progress
    progress.start("fetching sources")
    archives = {
        source.name: fetch(source, progress.say)
        for source in parse_sources(shop.recipe["sources"])
    }
    progress.start("unpacking")
    for name, archive in archives.items():
        unpack(archive, shop.folder / name)
    patch(shop.folder / "python")
    write_entry(shop)
    write_tools(shop)
    modules = start_library(shop)
    try:
        progress.start("compiling libraries")
        compile_libraries(shop)
        progress.start("configuring")
        configure(shop)
        progress.start("compiling")
        make(shop)
        finish_library(shop, modules)
    finally:
        modules.kill()
        modules.wait()
    progress.start("packing")
    write_layer(shop.folder / "root", layer)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive, without its own top folder."""
    with tarfile.open(archive) as source:
        for entry in source:
            _, _, name = entry.name.partition("/")
            if name and (entry.isfile() or entry.isdir()):
                entry.name = name
                source.extract(entry, folder, set_attrs=False)
                if entry.isfile():
                    os.chmod(
                        folder / name, 0o755 if entry.mode & 64 else 0o644
                    )
                    # make must not think that generated files are old.
                    os.utime(folder / name, (0, 0))


def patch(source: Path) -> None:
    """Change CPython where no option reaches; each must match once."""
    for change in json.loads((RECIPE / "changes.json").read_text()):
        path = source / change["file"]
        text = path.read_text()
        if text.count(change["old"]) != 1:
            raise BuildError(
                f"changes.json: {change['old']!r} is not in "
                f"{change['file']} once"
            )
        path.write_text(text.replace(change["old"], change["new"]))
        os.utime(path, (0, 0))


def write_entry(shop: Workshop) -> None:
    """Put our entry in the place of CPython's, with the image's environment.

    Lists of `"NAME=VALUE"`: JSON's strings are C's, for what is allowed here.
    """
    programs = shop.folder / "python" / "Programs"
    variables = sorted(shop.recipe["image"]["env"].items())
    texts = [json.dumps(f"{name}={value}") for name, value in variables]
    header = f"#define IMAGE_ENVIRON {', '.join(texts)}\n"
    (programs / "image_environ.h").write_text(header)
    shutil.copy(RECIPE / "template.c", programs / "python.c")
    shutil.copy(RECIPE / "ending.c", programs)
    for name in ("image_environ.h", "ending.c", "python.c"):
        os.utime(programs / name, (0, 0))


def write_tools(shop: Workshop) -> None:
    """Write cc, ar and ranlib for WASI as small scripts into bin/."""
    folder = shop.folder / "bin"
    folder.mkdir()
    for tool in ("cc", "ar", "ranlib"):
        command = " ".join(f"'{part}'" for part in shop.zig.command(tool))
        script = folder / f"wasi-{tool}"
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)


def compile_libraries(shop: Workshop) -> None:
    """Compile zlib, bzip2, and the recipe's own C files."""
    flags = ["-O2", *FLAGS.split()]
    for name, (library, units, define) in LIBRARIES.items():
        folder = shop.folder / name
        for unit in units.split():
            command = ["wasi-cc", *flags, define, "-c", f"{unit}.c"]
            run(shop, command, folder)
        objects = [f"{unit}.o" for unit in units.split()]
        run(shop, ["wasi-ar", "rcsD", library, *objects], folder)
    for name in ("malloc", "threads"):
        shutil.copy(RECIPE / f"{name}.c", shop.folder)
        # No builtins: what the heap is made of must not be turned into calls
        # of the heap.
        command = ["wasi-cc", *flags, "-fno-builtin", "-c", f"{name}.c"]
        run(shop, command, shop.folder)


def configure(shop: Workshop) -> None:
    """Run CPython's configure for wasm32-wasi, in build/."""
    folder = shop.folder / "build"
    folder.mkdir()
    settings = {
        "CONFIG_SITE": str(RECIPE / "config.site"),
        "CC": "wasi-cc",
        "AR": "wasi-ar",
        "RANLIB": "wasi-ranlib",
        "PKG_CONFIG": "false",
        "OPT": "-DNDEBUG -fwrapv -O2",
        "CFLAGS": FLAGS,
        "CFLAGS_NODIST": CORE_FLAGS,
        "ZLIB_CFLAGS": "-I../zlib",
        "ZLIB_LIBS": "-L../zlib -lz",
        "BZIP2_CFLAGS": "-I../bzip2",
        "BZIP2_LIBS": "-L../bzip2 -lbz2",
    }
    command = [
        "env",
        *(f"{name}={value}" for name, value in settings.items()),
        "../python/configure",
        "--host=wasm32-unknown-wasi",
        "--build=x86_64-pc-linux-gnu",
        f"--with-build-python={shop.python}",
        "--prefix=/usr/local",
        "--disable-ipv6",
        "--disable-test-modules",
        # Off by default on WASI, for the sake of a small module; half the
        # memory and more speed here.
        "--with-pymalloc",
        "--enable-big-digits=30",
    ]
    run(shop, command, folder, r"^checking", CONFIGURE_LINES)


def make(shop: Workshop) -> None:
    """Compile and link the interpreter, and write _sysconfigdata."""
    folder = shop.folder / "build"
    link = f"-s -Wl,-z,stack-size={STACK_BYTES} ../malloc.o ../threads.o"
    command = ["make", f"CONFIGURE_LDFLAGS_NODIST={link}"]
    plan = subprocess.run(
        [*command, "-n", "python.wasm"],
        cwd=folder,
        env=shop.environment(),
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    compiles = r"^wasi-cc .*-c "
    total = len(re.findall(compiles, plan, re.MULTILINE))
    parts = ["libpython" + PYTHON + ".a", f"-j{PARALLEL}"]
    run(shop, [*command, *parts], folder, compiles, total)
    shop.progress.start("linking")
    run(shop, [*command, "python.wasm"], folder)
    run(shop, [*command, "pybuilddir.txt"], folder)

"""Exceptions in guests: setjmp in C, and C++ with its own.

clang turns both into WebAssembly's exceptions, in their standardized form only
if told.  What a program then needs beside it comes from zig's own sources: the
C library has longjmp but no tag to throw it with, and the C++ library is built
without all that throws.
"""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from .cache import cache_folder
from .zig import ZIG_VERSION, BuildError, Zig

# After zig's own `-mcpu`, of which the last one counts.
FEATURE = "-mcpu=lime1+exception_handling"
STANDARD = ("-mllvm", "-wasm-use-legacy-eh=false")
FLAGS = {
    "cc": (FEATURE, "-mllvm", "-wasm-enable-sjlj", *STANDARD),
    "c++": (FEATURE, "-fwasm-exceptions", *STANDARD),
}
TAG = "\t.tagtype\t{0} i32\n\t.globl\t{0}\n{0}:\n"
TAGS = {"cc": "__c_longjmp", "c++": "__cpp_exception"}
INCLUDES = ("libcxxabi/include", "libcxxabi/src", "libunwind/include",
            "libunwind/src")  # fmt: skip
# Of zig's `lib`: the parts of libc++abi and libunwind that throw and catch.
SOURCES = (
    ("c++", "libcxxabi/src/cxa_exception.cpp", "libcxx/src"),
    ("c++", "libcxxabi/src/cxa_personality.cpp", "libcxx/src"),
    ("cc", "libunwind/src/Unwind-wasm.c", ""),
)
DEFINES = (
    "-D_LIBCPP_BUILDING_LIBRARY",
    "-D_LIBCXXABI_BUILDING_LIBRARY",
    "-D_LIBCXXABI_HAS_NO_THREADS",
    "-D_LIBUNWIND_HIDE_SYMBOLS",
)


def runtime(zig: Zig, tool: str) -> list[str]:
    """Return what to link to a program with exceptions, made once."""
    known = repr((ZIG_VERSION, FLAGS, TAG, TAGS, SOURCES, DEFINES)).encode()
    digest = hashlib.sha256(known).hexdigest()[:32]
    kept = cache_folder("guests") / f"exceptions-{digest}"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            fresh = Path(folder) / "fresh"
            fresh.mkdir()
            _make(zig, fresh)
            try:
                os.replace(fresh, kept)
            except OSError:
                # Another one was as quick.
                if not kept.exists():
                    raise
    objects = [str(kept / f"{TAGS[tool]}.o")]
    if tool == "c++":
        objects += [str(kept / f"{Path(s).stem}.o") for _, s, _ in SOURCES]
    return objects


def _make(zig: Zig, folder: Path) -> None:
    """Compile the parts into a folder."""
    lib = zig.program.parent / "lib"
    for name in TAGS.values():
        text = folder / f"{name}.s"
        text.write_text(TAG.format(name))
        _compile(zig, "cc", [FEATURE, str(text)], folder / f"{name}.o")
    for tool, source, extra in SOURCES:
        folders = [*INCLUDES, *([extra] if extra else [])]
        arguments = [*FLAGS["c++"], *(f"-I{lib / one}" for one in folders)]
        # No warning of somebody else's code is ours to look at.
        arguments += [*DEFINES, "-O2", "-w", "-fno-ident", str(lib / source)]
        out = folder / f"{Path(source).stem}.o"
        _compile(zig, tool, arguments, out)


def _compile(zig: Zig, tool: str, arguments: list[str], out: Path) -> None:
    done = subprocess.run(
        [*zig.command(tool), *arguments, "-c", "-o", str(out)],
        env=zig.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"exceptions: {out.name}: {done.stderr.strip()}")

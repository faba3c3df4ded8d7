"""What setup.cfg cannot say: the parts of a wheel that are compiled.

A wheel holds, beside the Python package, `zvm` and `zvm-compile` as commands
(`bin/` of the environment), the system images in `zerocloud/images/` and the
guests of the examples in `zerocloud/guests/`; zerocloud/installation.py finds
them there.  The tools in `tools/` make them, or take them from the cache; so
a build from the source distribution needs Rust 1.95, gcc, make and Python
3.11, and one of a wheel's installation nothing.

An editable installation (tools/setup makes one) has none of it: it finds what
`make build` puts into `build/`.

Equal sources give equal bytes: times are the commit's, modes are set here,
and what is compiled depends on nothing of the machine.
"""

import gzip
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

# isort: off
# setuptools provides distutils, which Python has no more.
from setuptools import setup
from distutils.command.build_scripts import build_scripts

# isort: on
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.dist import Distribution

ROOT = Path(__file__).resolve().parent
PROGRAMS = ("zvm", "zvm-compile")
TOOLS = ("build_runner", "build_guests", "build_images", "build_notices")
NOTICES = "NOTICES.txt"
# What a statically linked program asks of its machine is a kernel; the oldest
# C library that a supported Python still has.
STATIC_TAG = "manylinux_2_17"


def source_date() -> str:
    """The time of the sources, in seconds: the commit's.

    An unpacked source distribution has it as its files' time.
    """
    named = os.environ.get("SOURCE_DATE_EPOCH")
    if named:
        return named
    if (ROOT / ".git").exists():
        told = subprocess.run(
            ["git", "log", "-1", "--format=%ct"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if not told.returncode and told.stdout.strip():
            return told.stdout.strip()
    packed = ROOT / "PKG-INFO"
    return str(int((packed if packed.exists() else ROOT).stat().st_mtime))


def example_guests() -> list[str]:
    """The C programs of the examples, which a wheel carries compiled."""
    return sorted(path.stem for path in ROOT.glob("examples/*/*.c"))


class BuildPackage(build_py):
    """Adds the images and the guests to the package."""

    def run(self) -> None:
        if is_editable(self.distribution):
            super().run()
            return
        # Of an earlier build there may be modules that are no more.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        for tool in TOOLS:
            names = example_guests() if tool == "build_guests" else []
            command = [sys.executable, str(ROOT / "tools" / tool), *names]
            subprocess.run(command, cwd=ROOT, check=True)
        package = Path(self.build_lib, "zerocloud")
        for folder, names in (
            ("images", ["python3.tar", "python3.json"]),
            ("guests", [f"{name}.wasm" for name in example_guests()]),
        ):
            (package / folder).mkdir()
            for name in names:
                source = ROOT / "build" / folder / name
                shutil.copyfile(source, package / folder / name)


class BuildPrograms(build_scripts):
    """Copies the programs as they are: they are no scripts."""

    def run(self) -> None:
        Path(self.build_dir).mkdir(parents=True, exist_ok=True)
        if is_editable(self.distribution):
            return
        for name in PROGRAMS:
            target = Path(self.build_dir, name)
            shutil.copyfile(ROOT / "build" / "bin" / name, target)
            target.chmod(0o755)

    def get_source_files(self) -> list[str]:
        return []  # a source distribution has none of what is built


class PlatformWheel(bdist_wheel):
    """A wheel for any Python 3, of one kind of machine."""

    def get_tag(self) -> tuple[str, str, str]:
        if is_editable(self.distribution):
            return "py3", "none", "any"
        return "py3", "none", platform_tag()

    def write_wheelfile(self, wheelfile_base: str, *rest: object) -> None:
        """Write the last file; then no mode depends on the builder's umask."""
        super().write_wheelfile(wheelfile_base, *rest)
        if not is_editable(self.distribution):
            licences = Path(wheelfile_base, "licenses")
            shutil.copyfile(ROOT / "build" / NOTICES, licences / NOTICES)
        for path in Path(self.bdist_dir).rglob("*"):
            if path.is_file():
                program = path.parent.name == "scripts"
                path.chmod(0o755 if program else 0o644)


def platform_tag() -> str:
    """What the programs ask of a machine, as a wheel says it."""
    machine = platform.machine()
    found = [needed_glibc(ROOT / "build" / "bin" / p) for p in PROGRAMS]
    dynamic = [version for version in found if version]
    if not dynamic:
        return f"{STATIC_TAG}_{machine}"
    major, minor = max(dynamic)
    return f"manylinux_{major}_{minor}_{machine}"


def needed_glibc(program: Path) -> "tuple[int, int] | None":
    """The newest version of the C library that it names; None if static."""
    content = program.read_bytes()
    named = re.findall(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)", content)
    versions = [(int(major), int(minor)) for major, minor in named]
    loader = b"\0/lib64/ld-linux" in content or b"/lib/ld-linux" in content
    return max(versions) if loader and versions else None


class SourceArchive(sdist):
    """A source distribution whose bytes are those of its files alone."""

    def make_archive(self, base_name: str, *rest: object, **more: object):
        """Write `base_name`.tar.gz from the folder of that name."""
        if rest[0] != "gztar":
            return super().make_archive(base_name, *rest, **more)
        path = Path(f"{base_name}.tar.gz")
        folder = Path(str(more.get("base_dir") or Path(base_name).name))
        with (
            path.open("wb") as file,
            gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT)
            as archive,
        ):  # fmt: skip
            for entry in sorted([folder, *folder.rglob("*")]):
                archive.add(entry, recursive=False, filter=plain)
        return str(path)


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member that says nothing of who packed it, and when."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = int(os.environ["SOURCE_DATE_EPOCH"])
    runs = entry.isdir() or entry.mode & 0o100
    entry.mode = 0o755 if runs else 0o644
    return entry


class WithPrograms(Distribution):
    """Has compiled parts, though no extension module."""

    def has_ext_modules(self) -> bool:
        return True


def is_editable(distribution: Distribution) -> bool:
    """Whether `pip install -e` asks."""
    return "editable_wheel" in distribution.commands


os.environ["SOURCE_DATE_EPOCH"] = source_date()
os.umask(0o022)
setup(
    distclass=WithPrograms,
    cmdclass={
        "build_py": BuildPackage,
        "build_scripts": BuildPrograms,
        "bdist_wheel": PlatformWheel,
        "sdist": SourceArchive,
    },
    scripts=[f"build/bin/{name}" for name in PROGRAMS],
)

"""A program and its template: two starts, one result.

The image python3 has its interpreter twice: as a program, and started up to
its safe point (images/python3/template.c).  A storage node chooses; here each
script runs both ways, by `zvm run`, and must not be able to tell.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from functests.conftest import started, with_container
from functests.jobs import STDOUT, group
from functests.support import Account
from zerocloud.cluster import ClusterSettings

ROOT = Path(__file__).resolve().parents[1]
IMAGE = ROOT / "build" / "images" / "python3.tar"
ZVM = ROOT / "build" / "bin" / "zvm"
TEMPLATE = ".zerocloud/templates/python"
SEED = "5b" * 32

# What only the start decides, and what it might spoil.
SCRIPTS = {
    "arguments": "import sys; print(sys.argv, sys.orig_argv, sys.executable)",
    "environment": "import os; print(dict(os.environ), os.environb, "
    "os.getenv('A'), os.environ == {**os.environ}); os.environ['B'] = 'b'; "
    "os.putenv('C', 'c'); print(os.getenv('B'), sorted(os.environ))",
    "flags": "import sys; print(sys.flags, sys.warnoptions, sys._xoptions)",
    "modules": "import sys; print(list(sys.modules), sys.path, "
    "sys.meta_path, sys.path_hooks, list(sys.path_importer_cache))",
    "main": "print(globals().keys(), __name__, __builtins__, __spec__, "
    "__loader__, __package__, __doc__)",
    "addresses": "print([id(o) for o in (object(), [], {}, print, int, "
    "lambda: 0, None)], object())",
    "sets": "print({str(n) for n in range(50)}, {object, int, print, str})",
    "time": "import time, datetime; print(time.time_ns(), "
    "time.monotonic_ns(), time.process_time_ns(), datetime.datetime.now(), "
    "time.tzname, time.localtime(0))",
    "chance": "import random, uuid, secrets, os, tempfile; "
    "print(random.random(), uuid.uuid4(), secrets.token_hex(), "
    "os.urandom(5), hash('x'), tempfile.mktemp())",
    "streams": "import sys, os; print(sys.stdin, sys.stdout, sys.stderr, "
    "sys.stdin is sys.__stdin__, sys.stdout.line_buffering, "
    "sys.stdin.buffer.raw, sys.stdin.seekable(), os.isatty(0), "
    "sys.stdin.read(), os.fstat(0).st_mode)",
    "streams mixed": "import sys, os; sys.stdout.write('a'); "
    "os.write(1, b'b'); sys.stderr.write('c\\n'); sys.stdout.flush(); "
    "print(sys.stdin.readline(), next(sys.stdin), file=sys.stderr)",
    "files": "import os; f = open('/tmp/a', 'w+'); print(f.fileno(), "
    "f.write('x'), os.listdir('/tmp'), os.getcwd(), os.stat('/tmp/a'))",
    "imports": "import json, csv, re, hashlib, zlib, decimal, asyncio, "
    "unittest, email, sys; print(len(sys.modules)); "
    "print(json.dumps({'a': [1, 2.5, None]}), re.sub('a', 'b', 'aa'))",
    "tracebacks": "def f(n):\n  return f(n - 1) if n else 1 / 0\nf(3)",
    "recursion": "def f(): f()\ntry: f()\nexcept RecursionError as e: "
    "print(e)",
    "leaving": "import atexit, sys\nclass A:\n  def __del__(self): "
    "print('gone', self.n)\na = A(); a.n = 1; b = A(); b.n = 2; b.b = b\n"
    "atexit.register(print, 'end'); sys.exit(7)",
    "exit text": "raise SystemExit('why')",
    "warnings": "import warnings; warnings.warn('careful'); "
    "print(warnings.filters); open('/tmp/a', 'w')",
    "memory": "import gc; print(gc.get_count(), gc.isenabled(), "
    "len(gc.get_objects())); x = [bytearray(10**6) for _ in range(50)]; "
    "print(id(x[-1]))",
    "locale": "import locale, sys; print(locale.getlocale(), "
    "sys.getfilesystemencoding(), locale.getpreferredencoding(), "
    "ascii(open('/tmp/\\xe4', 'w').name))",
    "signals": "import signal, threading, faulthandler; "
    "print(signal.getsignal(2), threading.current_thread(), "
    "faulthandler.is_enabled())",
}


# What a script leaves behind that acts when the interpreter ends, and what was
# not written yet.
_A = "class A:\n  def __del__(self): print('gone')\n"
ENDINGS = {
    "nothing": "pass",
    "unwritten text": "import sys; print('a', end=''); sys.stderr.write('b')",
    "unwritten bytes": "import sys; sys.stdout.buffer.write(b'a')",
    "exit function": "import atexit; atexit.register(print, 'end')",
    "exit function leaves": _A + "import atexit, sys\n"
    "atexit.register(lambda: setattr(sys, 'a', A()))",
    "finalizer": _A + "a = A()",
    "finalizer in a cycle": _A + "a = A(); a.a = a; del a",
    "finalizer without a dict": "class A:\n  __slots__ = ()\n"
    "  def __del__(self): print('gone')\na = A()",
    "finalizer in the library": _A + "import os; os.a = A()",
    "finalizer in builtins": _A + "import builtins; builtins.a = A()",
    "finalizer in a container": _A + "a = [{'a': (A(),)}, A]",
    "finalizer that fails": "class A:\n  def __del__(self): 1 / 0\na = A()",
    "generator": "def g():\n  try: yield\n  finally: print('closed')\n"
    "g = g(); next(g)",
    "coroutine": "async def f(): pass\nc = f()",
    "weak reference": "import weakref\nclass A: pass\na = A()\n"
    "r = weakref.ref(a, lambda r: print('called'))",
    "weak finalizer": "import weakref\nclass A: pass\na = A()\n"
    "weakref.finalize(a, print, 'finalized')",
    "books are kept": "import collections.abc as c, weakref\n"
    "class A: pass\na = A(); w = weakref.WeakSet([a])\n"
    "print(isinstance(a, c.Sized), len(w))",
    "another stdout": "import sys, io\n"
    "sys.stdout = io.TextIOWrapper(open(1, 'wb', closefd=False))\n"
    "print('late')",
    "stdout kept from": "import sys, io\nprint('first')\n"
    "sys.stdout = io.StringIO(); print('second')",
    "no stdout": "import sys; print('a'); sys.stdout = None",
    "closed stdout": "import sys; print('a'); sys.stdout.close()",
    "open file": "f = open('/tmp/x', 'w'); f.write('x')",
    "warned of": "import warnings; warnings.simplefilter('always')\n"
    "f = open('/tmp/x', 'w', encoding='ascii'); f.write('x')",
    "exit status": _A + "a = A(); raise SystemExit(3)",
    "trouble": _A + "a = A(); 1 / 0",
}


@dataclass(frozen=True)
class Ways:
    """Folders in which `python` is the program, and the template."""

    cold: Path
    warm: Path


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Ways:
    """Both modules, out of the image."""
    folders = [tmp_path_factory.mktemp(name) for name in ("cold", "warm")]
    with tarfile.open(IMAGE) as image:
        for folder, member in zip(folders, ("python", TEMPLATE), strict=True):
            module = image.extractfile(member)
            assert module is not None
            (folder / "python").write_bytes(module.read())
    return Ways(*folders)


def run(
    home: Path, args: list[str], *options: str, stdin: bytes = b""
) -> tuple[int, bytes, bytes]:
    """Exit status, output and errors of one run; argv[0] is `python`."""
    done = subprocess.run(
        [
            str(ZVM), "run", "--seed", SEED, *options,
            "--layer", str(IMAGE), "python", *args,
        ],
        cwd=home,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def run_both(
    ways: Ways, args: list[str], *options: str, stdin: bytes = b"1\n2\n3\n"
) -> tuple[int, bytes, bytes]:
    """Run both ways, which must be equal."""
    cold = run(ways.cold, args, *options, stdin=stdin)
    warm = run(ways.warm, args, *options, stdin=stdin)
    assert warm == cold
    return warm


@pytest.mark.parametrize("name", ENDINGS)
def test_what_a_script_leaves_behind_acts_as_it_does_natively(
    ways: Ways, name: str
) -> None:
    native = subprocess.run(
        [sys.executable, "-I", "-c", ENDINGS[name]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )

    status, output, errors = run_both(ways, ["-c", ENDINGS[name]], stdin=b"")

    assert (status, output) == (native.returncode, native.stdout)
    # Addresses of objects are the process's.
    assert re.sub(rb"0x[0-9a-f]+", b"", errors) == re.sub(
        rb"0x[0-9a-f]+", b"", native.stderr
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_cannot_tell_how_it_was_started(ways: Ways, name: str) -> None:
    options = ("--env", "A=1", "--env", "TZ=Europe/Berlin", "--env", "E=")
    status, output, errors = run_both(
        ways, ["-c", SCRIPTS[name], "x", "-O"], *options
    )

    assert status in (0, 1, 7)
    assert output or errors
    assert b"SyntaxError" not in errors


def layer(folder: Path, files: dict[str, str]) -> str:
    """A tar of these files."""
    path = folder / "layer.tar"
    with tarfile.open(path, "w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return str(path)


@pytest.mark.parametrize(
    "args",
    [
        ["app/main.py", "--all", "-c"],
        ["/app/main.py"],
        ["-m", "app.main", "x"],
        ["-mapp.main"],
        ["-"],
        [],
        ["app"],
        ["missing.py"],
        ["-m", "missing"],
        ["-cprint(1)", "a"],
    ],
    ids=str,
)
def test_every_way_to_name_a_program_is_the_same(
    ways: Ways, tmp_path: Path, args: list[str]
) -> None:
    script = (
        "import sys, helper\n"
        "print(sys.argv, sys.path[0], __name__, __file__, __spec__)\n"
    )
    files = {
        "app/main.py": script,
        "app/__main__.py": script,
        "app/helper.py": "print('helper of', __name__)\n",
        "helper.py": "print('helper at the root')\n",
    }

    run_both(
        ways,
        args,
        "--layer",
        layer(tmp_path, files),
        stdin=b"import sys; print(sys.argv, __name__, sys.stdin.read())",
    )


def test_modules_that_a_users_image_adds_are_found(
    ways: Ways, tmp_path: Path
) -> None:
    library = "usr/local/lib/python3.11"
    files = {
        f"{library}/extra.py": "print('extra')\n",
        f"{library}/site-packages/packed/__init__.py": "print('packed')\n",
        f"{library}/site-packages/more.pth": "/opt/more\n",
        "opt/more/further.py": "print('further')\n",
        f"{library}/site-packages/sitecustomize.py": "print('custom')\n",
    }

    status, output, errors = run_both(
        ways,
        ["-c", "import extra, packed, further, sys; print(sys.path)"],
        "--layer",
        layer(tmp_path, files),
    )

    assert (status, errors) == (0, b"")
    words = [b"custom", b"extra", b"packed", b"further"]
    assert output.split(b"\n")[:4] == words


def test_node_starts_python_from_its_template_unless_told_not_to(
    tmp_path: Path, ways: Ways
) -> None:
    receipts = {}
    for use, home in (("true", ways.warm), ("false", ways.cold)):
        settings = ClusterSettings(
            nodes=1, replicas=1, executor_options={"use_templates": use}
        )
        with started(tmp_path / use, settings) as cluster:
            for account in with_container(Account(cluster)):
                plain, optimised = nodes(account)
        assert plain["program_sha256"] == sha256_of(home / "python")
        assert optimised["program_sha256"] == sha256_of(ways.cold / "python")
        receipts[use] = [plain["receipt"], optimised["receipt"]]

    assert receipts["true"] == receipts["false"]
    assert None not in receipts["true"]


def nodes(account: Account) -> Iterator[Any]:
    """What the report says of a plain script, and of one with -O."""
    for args in (["-c", "print(1)"], ["-O", "-c", "print(1)"]):
        job = [group("file://python3:python", STDOUT, args=args)]
        answer = account.post_job(job, {"Accept": "application/json"})
        [node] = answer.json()["nodes"]
        assert node["outputs"][0]["text"] == "1\n"
        yield node


def sha256_of(path: Path) -> str:
    """The digest by which a report names a program."""
    done = subprocess.run(
        ["sha256sum", os.fspath(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[0]

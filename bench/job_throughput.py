"""One VM per object over 600 objects, beside downloading and computing there.

The other way is `swift download` with its default threads and then the same
program, compiled natively, once per file on all cores.  Both ways must give
the same counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.common import (
    GUESTS,
    ROOT,
    Account,
    interleave,
    job,
    median,
    process_cluster,
    say,
)

OBJECTS = 600


def source_files() -> list[Path]:
    """600 source files of the Python standard library, in name order."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(
        path
        for path in library.rglob("*.py")
        if "site-packages" not in path.parts
    )
    if len(files) < OBJECTS:
        raise RuntimeError(f"{library} has only {len(files)} source files")
    return files[:OBJECTS]


def download_and_count(env: dict[str, str], program: Path) -> list[str]:
    """`swift download`, then the native program per file on all cores."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                str(Path(sys.executable).parent / "swift"),
                "download", "sources", "-q", "-D", folder,
            ],
            check=True,
            env={**os.environ, **env},
        )  # fmt: skip
        names = sorted(os.listdir(folder))

        def count(name: str) -> str:
            with open(Path(folder) / name, "rb") as source:
                return subprocess.run(
                    [str(program)],
                    stdin=source,
                    capture_output=True,
                    check=True,
                    text=True,
                ).stdout.strip()

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(count, names))


def upload(account: Account, files: list[Path]) -> None:
    """Put the program and the files into the account."""
    account.put("sources")
    account.put("bench")
    account.put("bench", "wc.wasm", (GUESTS / "wc.wasm").read_bytes())
    for number, path in enumerate(files):
        account.put("sources", f"{number:04d}.py", path.read_bytes())


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Interleave both ways; the ratio of medians is the figure."""
    rounds = 1 if quick else 5
    compiler = shutil.which("gcc")
    if not compiler:
        raise RuntimeError("gcc is missing: apt-get install gcc")
    files = source_files()
    with (
        tempfile.TemporaryDirectory() as folder,
        process_cluster() as (account, cluster),
    ):
        native = Path(folder) / "wc"
        source = ROOT / "examples" / "wordcount" / "wc.c"
        subprocess.run(
            [compiler, "-O2", "-o", str(native), str(source)], check=True
        )
        say(f"uploading {len(files)} objects")
        upload(account, files)
        env = dict(cluster.env)
        task = job("swift://~/bench/wc.wasm", "swift://~/sources/*")
        answers: dict[str, list[str]] = {}

        def in_place() -> None:
            answers["job"] = account.run(task).text.strip().split("\n")

        def download() -> None:
            answers["download"] = download_and_count(env, native)

        say(f"{rounds} rounds")
        samples = interleave({"job": in_place, "download": download}, rounds)
        if answers["job"] != answers["download"]:
            raise RuntimeError("the two ways gave different counts")
    figures = {
        "objects": OBJECTS,
        "bytes": sum(path.stat().st_size for path in files),
        "in_place_s": round(median(samples["job"]), 3),
        "download_and_compute_s": round(median(samples["download"]), 3),
        "in_place_over_download": round(
            median(samples["download"]) / median(samples["job"]), 2
        ),
    }
    return figures, samples

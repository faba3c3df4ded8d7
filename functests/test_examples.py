"""README and examples: their own commands, against native answers.

The ```sh blocks of README.md and of examples/*/README.md run, a shell for each
file, at the root of the repository, as a reader would type them, on the
session's cluster.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from functests.support import Account
from zerocloud.cluster import Cluster

ROOT = Path(__file__).parent.parent
TEXTS = sorted((ROOT / "docs").glob("*.md"))
TIMEOUT_SECONDS = 240

Run = Callable[[str], subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(cluster: Cluster, tmp_path: Path) -> Run:
    """Run the commands of an example's README."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OS_", "ST_"))
    }
    tools = str(Path(sys.executable).parent)
    variables = {
        **inherited,
        **cluster.env,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
    }

    def run_readme(folder: str) -> subprocess.CompletedProcess[bytes]:
        path = ROOT / folder / "README.md"
        commands = "".join(blocks(path, "sh"))
        commands = commands.replace("/tmp/", f"{tmp_path}/")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done

    return run_readme


def blocks(path: Path, language: str) -> list[str]:
    """What stands between ```LANGUAGE and ```."""
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def answer(done: subprocess.CompletedProcess[bytes], uploads: int) -> str:
    """The output after the lines that `swift upload` prints."""
    lines = done.stdout.decode().splitlines(keepends=True)
    return "".join(lines[uploads:])


def test_hello_prints_what_python_prints(run: Run) -> None:
    lines = run("examples/hello").stdout.decode().splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"hello from Python 3\.\d+\.\d+\S* on wasi", lines[0])
    assert lines[1] == lines[0]  # the same by curl
    assert lines[2] == "hello 0 1 2"


def wc(data: bytes) -> str:
    lines, words = data.count(b"\n"), len(data.split())
    return f"{lines} {words} {len(data)}\n"


def natively_wc() -> str:
    return "".join(wc(path.read_bytes()) for path in TEXTS)


def test_readme_runs_as_it_stands(
    run: Run,
    cluster: Cluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = run(".")
    lines = done.stdout.decode().splitlines(keepends=True)
    assert lines[0] == "hello\n"
    # By curl, then by zerocloud with the job, then without one.
    lengths = [len(path.read_text(encoding="utf-8")) for path in TEXTS]
    assert "".join(lines[2 + len(TEXTS) : -2]) == (
        natively_wc() * 3 + "".join(f"{length}\n" for length in lengths)
    )
    # Then without a cluster, of another text.
    assert lines[-2:] == [wc((ROOT / "LICENSE").read_bytes()), "42\n"]
    (sdk,) = blocks(ROOT / "README.md", "python")
    sdk = sdk.replace("/tmp/job.json", str(tmp_path / "job.json"))
    exec(sdk.replace("/tmp/zc/env", str(cluster.folder.env)), {})
    outputs = [line.encode() for line in natively_wc().splitlines(True)]
    assert capsys.readouterr().out == f"succeeded {outputs}\n"


def test_wordcount_counts_like_wc(run: Run) -> None:
    done = run("examples/wordcount")
    assert answer(done, uploads=1 + len(TEXTS)) == natively_wc()
    assert f"{len(TEXTS)} nodes" in done.stderr.decode()


def test_pycount_stores_an_answer_for_each_source(
    run: Run, cluster: Cluster
) -> None:
    done = run("examples/pycount")
    account = Account(cluster)
    account.log_in()
    sources = sorted((ROOT / "zerocloud" / "job").glob("*.py"))
    names = [f"zerocloud/job/{path.stem}.json" for path in sources]
    # Other documentation, tried on the same cluster, counts into it as well.
    found = account.listing("counts")
    assert [n for n in found if n.startswith("zerocloud/job/")] == names
    for path, name in zip(sources, names, strict=True):
        counted = json.loads(account.get(name, "counts"))
        assert counted == natively_counted(path), name
    plan = ROOT / "zerocloud" / "job" / "plan.py"
    last = done.stdout.decode().splitlines()[-1]
    assert json.loads(last) == natively_counted(plan)


def natively_counted(path: Path) -> dict[str, int]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    counted = {"lines": len(lines)}
    for word in ("def", "class", "import"):
        counted[word] = sum(
            line.lstrip().startswith(f"{word} ") for line in lines
        )
    return counted


def test_grep_prints_matching_lines_and_takes_none_as_success(
    run: Run,
) -> None:
    done = run("examples/grep")
    expected = "".join(
        line
        for path in TEXTS
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
        if "protocol" in line
    )
    assert answer(done, uploads=1 + len(TEXTS)) == expected


def test_topwords_reduces_what_the_first_job_counted(run: Run) -> None:
    totals: Counter[str] = Counter()
    for path in TEXTS:
        text = path.read_text(encoding="utf-8").lower()
        letters = "".join(c if c.isalpha() else " " for c in text)
        totals.update(letters.split())
    ten = sorted((-count, word) for word, count in totals.items())[:10]
    expected = "".join(f"{word} {-count}\n" for count, word in ten)
    done = run("examples/topwords")
    assert answer(done, uploads=2 + len(TEXTS)) == expected


def test_stored_job_numbers_the_lines_of_its_payload(run: Run) -> None:
    lines = (ROOT / "LICENSE").read_text().splitlines(keepends=True)
    once = "".join(f"{n:6d}  {line}" for n, line in enumerate(lines, 1))
    done = run("examples/stored")
    assert answer(done, uploads=2) == once * 2  # by zerocloud, then by curl


def test_image_runs_the_program_on_the_data_in_the_tar(run: Run) -> None:
    done = run("examples/image")
    assert answer(done, uploads=3) == (
        "pear: 45\npear: 45\nquince: 120\ntotal: 210\n"
    )


def test_csvfilter_keeps_what_the_same_program_keeps_here(
    run: Run, cluster: Cluster
) -> None:
    run("examples/csvfilter")
    folder = ROOT / "examples" / "csvfilter"
    account = Account(cluster).log_in()
    tables = sorted((folder / "orders").iterdir())
    assert account.listing("paid") == [path.name for path in tables]
    for path in tables:
        here = subprocess.run(
            [sys.executable, str(folder / "filter.py"), "state", "paid"],
            env={"PYTHONPATH": str(folder / "lib")},
            input=path.read_bytes(),
            capture_output=True,
            check=True,
        )
        assert account.get(path.name, "paid") == here.stdout
    account.close()


def test_lua_sums_what_can_be_summed(run: Run) -> None:
    done = run("examples/lua")
    expected = ""
    for path in sorted((ROOT / "examples/csvfilter/orders").iterdir()):
        fields = [
            line.split(",")[-1] for line in path.read_text().splitlines()
        ]
        numbers = [float(f) for f in fields if re.fullmatch(r"[\d.]+", f)]
        others = len(fields) - len(numbers)
        expected += (
            f"{sum(numbers):.2f} in total, {others} lines without a number\n"
        )
    assert answer(done, uploads=5) == expected


def test_thumbnail_is_the_mean_of_squares(
    run: Run, cluster: Cluster, tmp_path: Path
) -> None:
    run("examples/thumbnail")
    account = Account(cluster).log_in()
    assert account.listing("thumbnails") == ["1.ppm", "2.ppm", "3.ppm"]
    head = account.head("1.ppm", "thumbnails")
    assert head.headers["Content-Type"] == "image/x-portable-pixmap"
    for name in account.listing("thumbnails"):
        picture = (tmp_path / "photos" / name).read_bytes()
        assert account.get(name, "thumbnails") == natively_small(picture, 64)
    second = account.get("2.ppm", "thumbnails")
    assert (tmp_path / "small.ppm").read_bytes() == second
    account.close()


def natively_small(picture: bytes, side: int) -> bytes:
    _, sides, _, pixels = picture.split(b"\n", 3)
    width, height = map(int, sides.split())
    step = -(-max(width, height) // side)
    out = bytearray()
    for top in range(0, height, step):
        rows = range(top, min(top + step, height))
        for left in range(0, width, step):
            columns = range(left, min(left + step, width))
            for colour in range(3):
                found = [
                    pixels[(y * width + x) * 3 + colour]
                    for y in rows
                    for x in columns
                ]
                out.append(sum(found) // len(found))
    small = b"%d %d" % (-(-width // step), -(-height // step))
    return b"P6\n" + small + b"\n255\n" + out


def test_scan_sees_every_byte_of_a_large_object(run: Run) -> None:
    done = run("examples/scan")
    assert answer(done, uploads=2) == f"{64 * 1024 * 1024} {0:016x}\n"
    assert "64.0 MiB read in place, 0 B streamed" in done.stderr.decode()

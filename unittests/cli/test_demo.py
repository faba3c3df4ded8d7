"""The demo's parts that need no cluster (zerocloud/cli/demo_jobs.py …)."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from unittests.client.endpoint import node
from zerocloud.cli import exit as status
from zerocloud.cli.demo_jobs import (
    COUNT_SCRIPT,
    COUNTS,
    JOBS,
    PROGRAMS,
    SOURCES,
    upload_commands,
    wc_totals,
    where_and_how_much,
)
from zerocloud.cli.demo_place import PREFIX, demo_folder
from zerocloud.cli.demo_times import GUESS, StepTimes
from zerocloud.cli.main import main
from zerocloud.cli.sources import (
    SourceFile,
    Totals,
    count_natively,
    find_sources,
)
from zerocloud.cli.waiting import Progress, progress_text, waiting
from zerocloud.client.result import parse_result
from zerocloud.job.description import parse_job
from zerocloud.job.limits import JobCaps
from zerocloud.job.template import parse_script


def test_demo_documents_are_jobs() -> None:
    count, wc, hello = (job.content() for job in JOBS)
    for document in (count, wc):
        job = parse_job(document, account="AUTH_a", caps=JobCaps())
        assert len(job.groups) == 1
    assert parse_script(hello, account="AUTH_a", caps=JobCaps())


def test_demo_curl_commands_send_the_files_of_the_package() -> None:
    for job in JOBS:
        words = shlex.split(job.curl().replace("\\\n", " "))
        assert words[0] == "curl"
        assert "X-Zerovm-Execute: 1.0" in words
        sent = words[words.index("--data-binary") + 1]
        assert Path(sent.removeprefix("@")).read_bytes() == job.content()


def test_demo_documents_name_the_containers_that_are_made() -> None:
    text = b"".join(job.content() for job in JOBS).decode()
    for container in (SOURCES, PROGRAMS, COUNTS):
        assert f"swift://~/{container}/" in text


def test_demo_upload_commands_quote_what_a_shell_would_read() -> None:
    source = SourceFile(Path("/a b/c.py"), "c.py", 1)
    *_, last = upload_commands(Path("/w.wasm"), source)
    assert last.startswith("curl -T '/a b/c.py' ")
    assert last.endswith('"$URL/demo-source/c.py"')


def test_demo_count_script_counts_a_source() -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(COUNT_SCRIPT)],
        input=b"import os\n\nclass A:\n    def f(self):\n        pass\n",
        capture_output=True,
        check=True,
    )
    assert done.stdout == (
        b'{"lines": 5, "def": 1, "class": 1, "import": 1}\n'
    )


def test_demo_folder_is_removed_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(KeyboardInterrupt), demo_folder() as folder:
        (folder / "file").write_text("x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_demo_folder_of_a_killed_demo_is_removed_and_of_another_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    abandoned = tmp_path / f"{PREFIX}killed"
    abandoned.mkdir()
    (abandoned / "file").write_text("x")
    (tmp_path / "other").mkdir()
    with demo_folder() as first, demo_folder() as second:
        assert first.exists()
        assert sorted(tmp_path.iterdir()) == sorted(
            [first, second, tmp_path / "other"]
        )


def test_step_times_are_those_of_the_last_run(tmp_path: Path) -> None:
    times = StepTimes(tmp_path / "cache" / "t.json", 100)
    times.record("count", 50.0)
    times.record("wc", 0.2)  # too short to tell anything
    times.save()
    again = StepTimes(tmp_path / "cache" / "t.json", 200)
    assert again.seconds("count") == pytest.approx(100.0)
    assert again.left("count") == pytest.approx(100 + 200 * GUESS["wc"])


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"start": "x"}', '{"start": -1}', '{"start": 3}']
)
def test_step_times_that_are_damaged_are_the_guess(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    assert StepTimes(path, 1).seconds("start") == GUESS["start"]


def test_demo_totals_are_the_sums_over_all_answers() -> None:
    nodes = [node("wc-1", b"1 2 30\n", 0), node("wc-2", b"10 20 5\n", 0)]
    result = parse_result({"job": "j", "status": "succeeded", "nodes": nodes})
    assert wc_totals(result) == Totals(11, 22, 35)


def test_demo_says_where_vms_ran_and_what_moved() -> None:
    first, second = node("a-1", b"", 0), node("a-2", b"", 0)
    first["in_place_bytes"] = 1024
    second["streamed_bytes"] = 9
    second["io"] = [
        {"device": "stdout", "write_bytes": 7},
        {"device": "script", "source": "stream", "size": 9},
    ]
    second["server"] = "c3d4"
    result = parse_result(
        {"job": "j", "status": "succeeded", "nodes": [first, second]}
    )
    assert list(where_and_how_much(result, 1.5, {"c3d4": "10.0.0.1"})) == [
        "1.5 s for 2 VMs: 1 on 10.0.0.1, 1 on a1b2",
        "1.0 KiB read in place; over the network 9 B in (script), 7 B out",
    ]


def test_sources_leave_tests_out_while_there_are_enough(
    tmp_path: Path,
) -> None:
    for name in ("b.py", "a.py", "pkg/c.py", "test/t.py", "a.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x\n")
    names = [file.name for file in find_sources(3, tmp_path)]
    assert names == ["a.py", "b.py", "pkg/c.py"]
    names = [file.name for file in find_sources(9, tmp_path)]
    assert names == ["a.py", "b.py", "pkg/c.py", "test/t.py"]


def test_sources_of_this_python_are_enough_for_the_demo() -> None:
    assert len(find_sources(640)) >= 600


def test_count_natively_counts_like_wc(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"one  two\n\tthree\x0bfour\nlast")
    (tmp_path / "b.py").write_bytes(b"")
    files = find_sources(2, tmp_path)
    assert count_natively(files) == Totals(2, 5, 25)


def test_demo_without_a_build_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("zerocloud.cli.demo.find_zvm", lambda: None)
    assert main(["demo"]) == status.USAGE
    err = capsys.readouterr().err
    assert "not built: the runner zvm" in err
    assert "run `make build`" in err


def test_progress_says_how_much_is_left() -> None:
    assert progress_text("uploading", 120, 640, 2.0) == (
        "uploading 120 of 640, about 9 s left"
    )
    assert progress_text("uploading", 640, 640, 9.0) == "uploading 640 of 640"


def test_progress_into_a_log_is_sparing() -> None:
    log = io.StringIO()
    progress = Progress("uploading", 3, log)
    for _ in range(3):
        progress.step()
    progress.close()
    assert log.getvalue() == ""


def test_waiting_into_a_log_says_nothing() -> None:
    log = io.StringIO()
    with waiting("running", log, quiet=False):
        pass
    assert log.getvalue() == ""

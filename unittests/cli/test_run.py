"""`zerocloud run` (zerocloud/cli/run.py, main.py, exit.py)."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unittests.client.endpoint import Endpoint
from zerocloud.cli import exit as status
from zerocloud.cli.handout import write_all
from zerocloud.cli.main import main

Captured = pytest.CaptureFixture[bytes]

CAT = [
    {
        "name": "cat",
        "exec": {"path": "file://fake:cat"},
        "devices": [{"name": "stdin"}, {"name": "stdout"}],
    }
]
FAIL = [{"name": "bad", "exec": {"path": "file://fake:fail"}}]
SCRIPT = "#!file://python3:python\nprint('hello')\n"


def write(name: str, job: object) -> str:
    text = job if isinstance(job, str) else json.dumps(job)
    Path(name).write_text(text)
    return name


@pytest.mark.usefixtures("endpoint", "empty_stdin")
class TestOutputs:
    def test_run_script_prints_output_and_table_apart(
        self, capfdbinary: Captured
    ) -> None:
        assert main(["run", write("s.py", SCRIPT)]) == status.SUCCESS
        out, err = capfdbinary.readouterr()
        assert out == b"print('hello')\n"
        lines = err.decode().splitlines()
        assert lines[0].split()[:3] == ["node", "server", "outcome"]
        assert lines[1].split()[:4] == ["script", "a1b2", "exit", "0"]
        assert lines[2].startswith("job j-1 succeeded: 1 node, 1 server")

    def test_run_quiet_prints_the_output_only(
        self, capfdbinary: Captured
    ) -> None:
        assert main(["run", "--quiet", write("s.py", SCRIPT)]) == 0
        assert capfdbinary.readouterr() == (b"print('hello')\n", b"")

    def test_run_json_prints_the_report_instead(
        self, capfdbinary: Captured
    ) -> None:
        assert main(["run", "--json", write("s.py", SCRIPT)]) == 0
        document = json.loads(capfdbinary.readouterr().out)
        assert document["nodes"][0]["name"] == "script"

    def test_run_output_dir_writes_node_dot_device(
        self, capfdbinary: Captured
    ) -> None:
        job = [{**CAT[0], "name": "a/b"}]
        options = ["--output-dir", "out/deep", write("j.json", job)]
        assert main(["run", *options]) == 0
        assert capfdbinary.readouterr().out == b""
        assert [p.name for p in Path("out/deep").iterdir()] == ["a%2Fb.stdout"]

    def test_run_raw_streams_the_output_without_a_table(
        self, capfdbinary: Captured
    ) -> None:
        assert main(["run", "--raw", write("s.py", SCRIPT)]) == 0
        assert capfdbinary.readouterr() == (b"print('hello')\n", b"")

    def test_run_raw_failed_job_exits_1_and_says_how(
        self, capfdbinary: Captured
    ) -> None:
        options = ["--raw", write("j.json", FAIL)]
        assert main(["run", *options]) == status.JOB_FAILED
        assert capfdbinary.readouterr().err == (
            b"zerocloud: job j-1 failed: exit 3\n"
        )

    def test_run_output_too_long_for_the_report_exits_6_and_names_raw(
        self, endpoint: Endpoint, capfdbinary: Captured
    ) -> None:
        endpoint.report_bytes = 5
        options = ["--quiet", write("s.py", SCRIPT)]
        assert main(["run", *options]) == status.OUTPUT_TOO_LONG
        assert capfdbinary.readouterr() == (
            b"",
            b"zerocloud: script stdout: 15 bytes are too long for a report; "
            b"use --raw, or give the device a path\n",
        )

    def test_run_failed_job_exits_1_and_shows_its_stderr(
        self, capfdbinary: Captured
    ) -> None:
        assert main(["run", write("j.json", FAIL)]) == status.JOB_FAILED
        err = capfdbinary.readouterr().err.decode()
        assert "exit 3" in err
        assert "stderr of bad, its last lines:\n  it broke\n" in err
        assert "1 failed, nothing was stored" in err


@pytest.mark.usefixtures("empty_stdin")
class TestExitStatuses:
    def test_run_refused_job_exits_3_in_one_line(
        self, endpoint: Endpoint, capfdbinary: Captured
    ) -> None:
        job = [{"name": "x", "exec": {"path": "file://fake:no"}}]
        assert main(["run", write("j.json", job)]) == status.REFUSED
        assert capfdbinary.readouterr().err == (
            b"zerocloud: no program file://fake:no (at /0/exec/path) "
            b"[404 program_not_found]\n"
        )

    def test_run_on_a_failing_cluster_exits_4(
        self, endpoint: Endpoint, capfdbinary: Captured
    ) -> None:
        endpoint.broken = "503 Service Unavailable"
        assert main(["run", write("s.py", SCRIPT)]) == status.CLUSTER_FAILED
        assert b"all slots are full" in capfdbinary.readouterr().err

    def test_run_without_the_filter_exits_3(
        self, endpoint: Endpoint, capfdbinary: Captured
    ) -> None:
        endpoint.info = {"swift": {}}
        assert main(["run", write("s.py", SCRIPT)]) == status.REFUSED
        assert b"a Swift without ZeroCloud" in capfdbinary.readouterr().err

    def test_run_with_a_wrong_key_exits_5(
        self,
        endpoint: Endpoint,
        monkeypatch: pytest.MonkeyPatch,
        capfdbinary: Captured,
    ) -> None:
        monkeypatch.setenv("ST_KEY", "wrong")
        assert main(["run", write("s.py", SCRIPT)]) == status.NO_CONNECTION
        assert b"check ST_USER and ST_KEY" in capfdbinary.readouterr().err

    def test_run_with_nobody_there_exits_5(
        self,
        endpoint: Endpoint,
        monkeypatch: pytest.MonkeyPatch,
        capfdbinary: Captured,
    ) -> None:
        monkeypatch.setenv("ST_AUTH", "http://127.0.0.1:9/auth/v1.0")
        assert main(["run", write("s.py", SCRIPT)]) == status.NO_CONNECTION
        assert capfdbinary.readouterr().err == (
            b"zerocloud: cannot reach http://127.0.0.1:9: Connection refused\n"
        )

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ([], b"nothing to run"),
            (["j", "--source", "swift://~/c/o"], b"allowed is one of them"),
            (["--store-as", "swift://~/c/o"], b"nothing to run"),
            (["j", "--payload", "d"], b"--payload is for stored jobs"),
            (["none.json"], b"none.json: No such file"),
            (["--source", "jobs/j"], b"not the name of an object"),
            (["j", "--raw", "--json"], b"neither --json nor --output-dir"),
            (["text"], b"text is nothing to run; allowed are a job in"),
            (["j", "--output-dir", "text"], b"text: File exists"),
        ],
    )
    def test_run_that_makes_no_sense_exits_2_and_says_why(
        self,
        endpoint: Endpoint,
        capfdbinary: Captured,
        options: list[str],
        text: bytes,
    ) -> None:
        write("j", CAT)
        write("text", "just words")
        assert main(["run", *options]) == status.USAGE
        assert text in capfdbinary.readouterr().err
        assert "POST /v1/AUTH_test" not in endpoint.requests

    def test_run_unknown_option_exits_2(self) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["run", "--no-such"])
        assert caught.value.code == status.USAGE


class TestPayload:
    def test_run_source_reads_stdin_that_is_a_file(
        self,
        endpoint: Endpoint,
        monkeypatch: pytest.MonkeyPatch,
        capfdbinary: Captured,
    ) -> None:
        store(endpoint)
        with open(write("data", "from a file")) as data:
            monkeypatch.setattr("sys.stdin", data)
            assert main(["run", "--source", "swift://~/jobs/j"]) == 0
        assert capfdbinary.readouterr().out == b"from a file"

    @pytest.mark.usefixtures("empty_stdin")
    def test_run_source_reads_the_payload_file(
        self, endpoint: Endpoint, capfdbinary: Captured
    ) -> None:
        store(endpoint)
        options = ["--payload", write("data", "named")]
        assert main(["run", "--source", "swift://~/jobs/j", *options]) == 0
        assert capfdbinary.readouterr().out == b"named"

    def test_run_store_as_stores_then_sends_a_pipe(
        self,
        endpoint: Endpoint,
        monkeypatch: pytest.MonkeyPatch,
        capfdbinary: Captured,
    ) -> None:
        options = [write("j", CAT), "--store-as", "swift://~/new/j"]
        reading, writing = os.pipe()
        os.write(writing, b"piped")
        os.close(writing)
        with open(reading) as pipe:
            monkeypatch.setattr("sys.stdin", pipe)
            assert main(["run", *options]) == 0
        assert capfdbinary.readouterr().out == b"piped"
        assert "swift://AUTH_test/new/j" in endpoint.objects

    def test_run_local_job_that_wants_stdin_says_what_to_do(
        self,
        endpoint: Endpoint,
        monkeypatch: pytest.MonkeyPatch,
        capfdbinary: Captured,
    ) -> None:
        with open(write("data", "lost?")) as data:
            monkeypatch.setattr("sys.stdin", data)
            assert main(["run", write("j", CAT)]) == status.USAGE
        err = capfdbinary.readouterr().err
        assert b"add --store-as swift://~/C/O to store it first" in err
        assert endpoint.requests == []

    def test_run_local_job_that_reads_no_stdin_ignores_it(
        self,
        endpoint: Endpoint,
        monkeypatch: pytest.MonkeyPatch,
        capfdbinary: Captured,
    ) -> None:
        with open(write("data", "unrelated")) as data:
            monkeypatch.setattr("sys.stdin", data)
            assert main(["run", write("s.py", SCRIPT)]) == 0
        assert endpoint.bodies == [SCRIPT.encode()]


def store(endpoint: Endpoint) -> None:
    endpoint.objects["swift://AUTH_test/jobs/j"] = (
        "application/json",
        json.dumps(CAT).encode(),
    )


def test_write_all_goes_on_after_a_short_write() -> None:
    class Trickle(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data)[:3])

    stream = Trickle()
    write_all(stream, b"0123456789")
    assert stream.getvalue() == b"0123456789"


def test_main_reader_gone_ends_without_a_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "zerocloud.cli.main", "version"],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert done.returncode == status.OUTPUT_CLOSED
    assert done.stderr == b""

"""Jobs without JSON: `zerocloud run` with options, against native answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from functests.commands import Command
from functests.jobs import guest, put_guest
from functests.support import Account
from zerocloud.cluster import Cluster

TEXTS = {
    "b c.txt": b"one two\nthree\n" * 100,
    "a/é%41.txt": b"four",
    "z": b"",
}
COUNT = """\
import sys
data = sys.stdin.buffer.read()
print(len(data.split()), *sys.argv[1:])
"""


@pytest.fixture
def zerocloud(cluster: Cluster, tmp_path: Path) -> Command:
    return Command(cluster, tmp_path)


@pytest.fixture
def texts(account: Account) -> Account:
    for name, content in TEXTS.items():
        account.put(f"texts/{name}", content)
    return account


def words() -> list[int]:
    """Of each text, in the order of the listing, counted here."""
    return [len(TEXTS[name].split()) for name in sorted(TEXTS)]


def test_script_once_prints_what_it_prints(zerocloud: Command) -> None:
    """A file that any Python would run, with no line for us in it."""
    script = "#!/usr/bin/env python3\nimport sys\nprint(sys.argv, 6 * 7)\n"
    done = zerocloud("run", zerocloud.save("a.py", script), "--", "-x", "y z")
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"['/job/a.py', '-x', 'y z'] 42\n"


def test_script_beside_each_object_answers_in_their_order(
    zerocloud: Command, texts: Account
) -> None:
    line = ["--each", texts.path("texts/*"), zerocloud.save("c.py", COUNT)]
    done = zerocloud("run", *line, "--", "--as", "words")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == [
        f"{count} --as words" for count in words()
    ]
    assert "0 B streamed" in done.stderr.decode()


def test_stored_program_stores_each_answer_under_the_objects_name(
    zerocloud: Command, texts: Account
) -> None:
    done = zerocloud(
        "run",
        *("--program", put_guest(texts, "wc")),
        *("--each", texts.path("texts/*")),
        *("--to", texts.path("counts/*.wc")),
        *("--content-type", "text/plain", "--", "-w"),
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert "3 objects stored" in done.stderr.decode()
    stored = [int(texts.get(f"counts/{name}.wc")) for name in sorted(TEXTS)]
    assert stored == words()
    head = texts.head("counts/z.wc")
    assert head.headers["Content-Type"].startswith("text/plain")


def test_local_program_runs_without_being_stored(
    zerocloud: Command, texts: Account
) -> None:
    before = texts.listing()
    program = zerocloud.save("wc.wasm", guest("wc"))
    done = zerocloud(
        "run", "--each", texts.path("texts/*"), program, "--", "-w"
    )
    assert done.returncode == 0, done.stderr
    assert [int(line) for line in done.stdout.split()] == words()
    assert texts.listing() == before


def test_script_finds_what_was_sent_along_and_seeks_in_its_object(
    zerocloud: Command, texts: Account
) -> None:
    script = """\
import os, helper
with open("/dev/input", "rb") as data:
    data.seek(-6, os.SEEK_END)
    print(helper.shout(data.read().decode().strip()))
print(open("/job/table.csv").read(), os.environ["WHO"])
"""
    helper = "def shout(text):\n    return text.upper()\n"
    done = zerocloud(
        "run",
        *("--each", texts.path("texts/b c.txt"), "--as", "input"),
        *("--with", zerocloud.save("helper.py", helper)),
        *("--with", zerocloud.save("table.csv", "1,2")),
        *("--env", "WHO=me", "--limit", "wall_seconds=20"),
        zerocloud.save("s.py", script),
    )
    assert (done.returncode, done.stdout) == (0, b"THREE\n1,2 me\n"), (
        done.stderr
    )


def test_count_makes_so_many_nodes(zerocloud: Command) -> None:
    script = zerocloud.save("r.py", "import random\nprint(random.random())\n")
    done = zerocloud("run", "--count", "3", "--name", "draw", script)
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 3
    assert b"draw-3 " in done.stderr


def test_limit_that_is_named_holds(zerocloud: Command) -> None:
    script = zerocloud.save("s.py", "while True:\n    pass\n")
    done = zerocloud("run", "--limit", "cpu_seconds=0.5", script)
    assert done.returncode == 1
    assert b"limit cpu_seconds" in done.stderr


def test_job_that_is_shown_is_the_job_that_runs(
    zerocloud: Command, texts: Account
) -> None:
    line = ["--program", put_guest(texts, "wc"), "--each"]
    line += [texts.path("texts/*"), "--", "-w"]
    shown = zerocloud("run", "--show-job", *line)
    assert (shown.returncode, shown.stderr) == (0, b"")
    json.loads(shown.stdout)
    job = zerocloud.save("job.json", shown.stdout)
    assert zerocloud("run", job).stdout == zerocloud("run", *line).stdout


def test_script_stored_as_a_job_reads_the_payload(
    zerocloud: Command, account: Account
) -> None:
    stored = account.path("jobs/count")
    script = zerocloud.save("c.py", COUNT)
    done = zerocloud(
        "run", script, "--store-as", stored, "--", "!", stdin=b"a b c"
    )
    assert (done.returncode, done.stdout) == (0, b"3 !\n"), done.stderr
    done = zerocloud("run", "--source", stored, stdin=b"d")
    assert (done.returncode, done.stdout) == (0, b"1 !\n"), done.stderr


def test_failing_script_shows_its_own_lines(
    zerocloud: Command, texts: Account
) -> None:
    script = zerocloud.save("bad.py", "x = 1\nraise ValueError(x)\n")
    line = ["--each", texts.path("texts/*"), "--to", texts.path("never/*")]
    done = zerocloud("run", *line, script)
    assert done.returncode == 1
    text = done.stderr.decode()
    assert 'File "/job/bad.py", line 2' in text
    assert "raise ValueError(x)" in text
    assert "3 failed, nothing was stored" in text
    assert texts.listing(prefix="never/") == []


def test_pattern_that_matches_nothing_exits_3_and_names_it(
    zerocloud: Command, account: Account
) -> None:
    pattern = account.path("none/*")
    script = zerocloud.save("c.py", COUNT)
    done = zerocloud("run", "--each", pattern, script)
    assert done.returncode == 3
    assert f"{account.container}/none/*" in done.stderr.decode()
    assert b"no_match" in done.stderr

"""What operators see: counters on a real statsd, logs without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from functests.conftest import started, with_container
from functests.jobs import STDOUT, group, put_guest, reads, writes
from functests.statsd import Statsd
from functests.support import Account, wait_until
from zerocloud.cluster import Cluster, ClusterSettings
from zerocloud.observe import (
    EXECUTOR_COUNTERS,
    EXECUTOR_PREFIX,
    PROXY_COUNTERS,
    PROXY_PREFIX,
)

# Nobody else's words: each stands in one place that logs must not quote.
SECRETS = {
    place: f"hunter2-{place}-7f3a91"
    for place in (
        "env", "argument", "stdin", "stdout", "stderr", "script", "payload",
        "key", "value", "password",
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def statsd() -> Iterator[Statsd]:
    listening = Statsd()
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def counted(
    tmp_path_factory: pytest.TempPathFactory, statsd: Statsd
) -> Iterator[Cluster]:
    """A cluster whose filters count, with a cache that begins empty."""
    folder = tmp_path_factory.mktemp("counted")
    to = {"log_statsd_host": "127.0.0.1", "log_statsd_port": str(statsd.port)}
    settings = ClusterSettings(
        nodes=2,
        replicas=2,
        proxy_options=to,
        executor_options={**to, "cache_dir": str(folder / "cache")},
    )
    with started(folder / "cluster", settings) as running:
        yield running


@pytest.fixture
def there(counted: Cluster) -> Iterator[Account]:
    yield from with_container(Account(counted))


def test_jobs_and_tasks_are_counted_on_a_real_statsd(
    there: Account, statsd: Statsd
) -> None:
    there.put("in/a", b"12345")
    there.put("in/b", b"67890")
    cat = put_guest(there, "cat")
    job = [group(cat, reads(there.path("in/*")), STDOUT)]
    for _ in range(2):
        assert there.run(job)["status"] == "succeeded"
    failing = [group(put_guest(there, "exit_code"), STDOUT, args=["3"])]
    assert there.run(failing)["status"] == "failed"
    spin = {
        "version": 2,
        "limits": {"wall_seconds": 0.2},
        "nodes": [group(put_guest(there, "spin"), STDOUT)],
    }
    assert there.run(spin)["status"] == "failed"
    assert there.post_job([{"no": "job"}]).status_code == 400

    counts, timings = statsd.counts, statsd.timings
    wanted = {
        "zerocloud.jobs": 5,
        "zerocloud.jobs.succeeded": 2,
        "zerocloud.jobs.failed": 2,
        "zerocloud.jobs.refused.job_schema": 1,
        "zerocloud.nodes": 6,
        "zerocloud.nodes.failed": 2,
        "zerocloud.bytes.in_place": 20,
        "zerocloud.bytes.output": 20,
        "zerocloud-executor.tasks": 6,
        "zerocloud-executor.tasks.outcome.exit": 5,
        "zerocloud-executor.tasks.outcome.limit": 1,
        "zerocloud-executor.tasks.nonzero": 1,
        "zerocloud-executor.bytes.in_place": 20,
        "zerocloud-executor.bytes.staged": 20,
    }
    wait_until(lambda: all(counts[k] >= v for k, v in wanted.items()))
    assert {name: counts[name] for name in wanted} == wanted
    programs = [f"zerocloud-executor.programs.{w}" for w in
                ("compiled", "cached")]  # fmt: skip
    assert sum(counts[name] for name in programs) == 6
    assert all(counts[name] for name in programs)
    for name in ("tasks.queue", "tasks.run", "programs.compile"):
        assert timings[f"zerocloud-executor.{name}.timing"]
    assert len(timings["zerocloud.jobs.total.timing"]) == 4


def test_every_counter_that_is_sent_is_documented(
    there: Account, statsd: Statsd
) -> None:
    there.put("in/a", b"x")
    put_guest(there, "cat")
    there.run(
        [group(there.path("bin/cat.wasm"), reads(there.path("in/a")), STDOUT)]
    )
    tables = {PROXY_PREFIX: PROXY_COUNTERS, EXECUTOR_PREFIX: EXECUTOR_COUNTERS}
    wait_until(lambda: len({n.partition(".")[0] for n in statsd.names}) == 2)
    for sent in sorted(statsd.names):
        prefix, _, name = sent.partition(".")
        starred = f"{name.rpartition('.')[0]}.*"
        assert name in tables[prefix] or starred in tables[prefix], sent


def test_logs_hold_no_secret_of_any_job(
    cluster: Cluster, account: Account
) -> None:
    run_jobs_with_secrets(account)

    texts = {
        path.name: path.read_text("utf-8", "replace")
        for path in cluster.folder.log.iterdir()
    }
    whole = "".join(texts.values())
    assert "outcome=exit" in whole  # they are the logs of these jobs
    assert "code=job_schema" in whole
    found = [place for place, s in SECRETS.items() if s in whole]
    assert found == []
    assert account.token not in whole
    # Swift shows the first 16 characters of a token, by default.
    assert account.token[17:] not in whole
    key = (cluster.folder.root / "key").read_text("ascii").strip()
    assert key not in whole


def run_jobs_with_secrets(account: Account) -> None:
    """Good, failing and refused jobs with SECRETS wherever users put them."""
    account.put("in/secret", SECRETS["stdin"].encode())
    cat = put_guest(account, "cat")
    echo = put_guest(account, "args_env")
    account.run([group(cat, reads(account.path("in/secret")), STDOUT)])
    told = group(echo, STDOUT, args=[SECRETS["argument"]])
    told["exec"]["env"] = {"PASSWORD": SECRETS["env"]}
    account.run([told])
    told["exec"]["args"] = ["\x01" + SECRETS["argument"]]
    assert account.post_job([told]).status_code == 400
    script = (
        "#!file://python3:python\n"
        f"# {SECRETS['script']}\nimport sys\n"
        f"print('{SECRETS['stdout']}')\n"
        f"print('{SECRETS['stderr']}', file=sys.stderr)\n"
        "raise SystemExit(1 / 0)\n"
    )
    text = {"Content-Type": "text/x-script"}
    assert account.post_job(script, text).status_code == 200
    broken = account.post_job(f"#!{SECRETS['script']}\n", text)
    assert broken.status_code == 400
    for wrong in (
        [{SECRETS["key"]: 1}],
        [{"name": "n", "exec": {"path": SECRETS["value"]}}],
        [{"name": SECRETS["value"] * 100, "exec": {"path": "x"}}],
    ):
        assert account.post_job(wrong).status_code == 400
    assert account.post_job(
        f'{{"{SECRETS["key"]}', {"Content-Type": "application/json"}
    ).status_code in (400, 422)  # fmt: skip
    stored = [group(cat, {"name": "stdin"}, STDOUT)]
    account.put("job", json.dumps(stored), Content_Type="application/json")
    sent = account.post_job(
        SECRETS["payload"],
        {
            "X-Zerovm-Source": account.path("job"),
            "Cookie": f"password={SECRETS['password']}",
        },
    )
    assert sent.text == SECRETS["payload"]
    # One that fails while its output is stored: the text comes from Swift.
    lost = group(cat, reads(account.path("in/secret")),
                 writes("swift://~/none/o"))  # fmt: skip
    assert account.post_job([lost]).status_code >= 400


def test_job_and_task_are_one_line_each_with_the_same_names(
    cluster: Cluster, account: Account
) -> None:
    program = put_guest(account, "hello")
    report = account.run([group(program, STDOUT, count=3)])
    job = report["job"]

    def lines() -> list[str]:
        log = (cluster.folder.log / "cluster.log").read_text("utf-8")
        return [line for line in log.splitlines() if f"job={job}" in line]

    wait_until(lambda: len(lines()) >= 4)
    found = [line.partition(" INFO: ")[2] for line in lines()]
    assert len(found) == 4
    pattern = re.compile(rf"(job|task) txn=(tx\S+) job={job} (\S+=\S+ ?)+")
    matches = [pattern.match(line) for line in found]
    assert all(matches), found
    kinds = sorted(m[1] for m in matches if m)
    assert kinds == ["job", "task", "task", "task"]
    assert len({m[2] for m in matches if m}) == 1


def test_log_folder_is_for_the_owner_alone(cluster: Cluster) -> None:
    folder: Path = cluster.folder.log
    assert folder.stat().st_mode & 0o077 == 0

"""`zerocloud demo`: a Swift cluster here, real objects, three jobs.

Starts the embedded cluster in a temporary folder, uploads the Python standard
library's own sources, runs one POST each of a Python script per object, a C
program per object and a script by itself, says what ran where, and stops
everything.  What the C program counted is compared with the same count done
natively; the demo fails when they differ.  With `--keep` the cluster stays
until Ctrl-C.

Nothing is left behind: the folder is removed and the cluster ends with this
process, however it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from zerocloud.cli import exit as status
from zerocloud.cli.demo_jobs import (
    COUNT_SCRIPT,
    COUNTS,
    JOBS,
    PROGRAMS,
    SOURCES,
    DemoJob,
    wc_totals,
    where_and_how_much,
    write_files,
)
from zerocloud.cli.sources import (
    SourceFile,
    Store,
    count_natively,
    find_sources,
)
from zerocloud.cli.table import result_lines, size_text
from zerocloud.cli.waiting import Progress, waiting
from zerocloud.client import (
    Client,
    ClientError,
    JobResult,
    UsageError,
    read_env_file,
)
from zerocloud.cluster import Cluster, ClusterSettings, StartError
from zerocloud.cluster.installation import (
    CLONE,
    PACKAGE,
    find_images,
    find_zvm,
)

OBJECTS = 640
STEPS = 5
MEMORY = Path("/dev/shm")  # noqa: S108 - each run has a folder of its own
MEMORY_BYTES = 2 * 1024**3
EPILOG = f"""\
examples:
  zerocloud demo
      everything, in a minute; leaves nothing behind
  zerocloud demo --keep
      the same, and the cluster stays until Ctrl-C, to try things on it
  zerocloud demo --objects 50
      a smaller one

Its files are in memory (/dev/shm) where there is room, else, or where TMPDIR
says so, in a folder of its own there.

{
    status.statuses_help(
        status.SUCCESS,
        status.JOB_FAILED,
        status.USAGE,
        status.CLUSTER_FAILED,
        status.NO_CONNECTION,
        status.INTERRUPTED,
    )
}
read on: README.md, examples/README.md
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg] # generic only in type stubs
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="start a cluster, run three jobs on real objects, stop it",
        description=(
            "Start a small Swift cluster in a temporary folder, upload the "
            "Python standard\nlibrary's sources, run three jobs beside them, "
            "and stop everything. Prints the\ncurl command of each job."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the cluster running until Ctrl-C, to try it by hand",
    )
    parser.add_argument(
        "--objects",
        type=int,
        default=OBJECTS,
        metavar="N",
        help=f"how many files to upload at most (default {OBJECTS})",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; 1 when a job failed or an answer was wrong."""
    wc = _check_built()
    if args.objects < 1:
        raise UsageError(f"--objects is {args.objects}; allowed is 1 or more")
    _end_by_exception()
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="zerocloud-demo-", dir=_place()
                )
            )
        )
        sys.stdout.write(
            "ZeroCloud: programs run beside the objects of OpenStack Swift\n"
        )
        cluster = _start(folder, stack)
        client = Client.from_environment(cluster.folder.env)
        _explain(client, cluster)
        demo = _Demo(client, Store(client.login), folder)
        files = demo.upload(args.objects, wc)
        succeeded = demo.run_jobs(files)
        if succeeded:
            _say(f"all done in {time.monotonic() - begin:.0f} s")
        if args.keep:
            _stay(folder, cluster)
        else:
            _say("everything is stopped and removed; to try the commands")
            _say("yourself, keep the cluster: zerocloud demo --keep")
    return status.SUCCESS if succeeded else status.JOB_FAILED


class _Demo:
    def __init__(self, client: Client, store: Store, folder: Path) -> None:
        self._client = client
        self._store = store
        self._folder = folder

    def upload(self, wanted: int, wc: Path) -> list[SourceFile]:
        """Store the sources and the programs; returns the sources."""
        files = find_sources(wanted)
        total = size_text(sum(file.size for file in files))
        _step(2, f"uploading {len(files)} objects, {total}: Python sources")
        begin = time.monotonic()
        for container in (SOURCES, PROGRAMS, COUNTS):
            self._store.make_container(container)
        self._store.put(PROGRAMS, "wc.wasm", wc.read_bytes())
        self._store.put(PROGRAMS, "count.py", COUNT_SCRIPT)
        progress = Progress("uploading", len(files), sys.stderr)
        try:
            self._store.upload(SOURCES, files, lambda _: progress.step())
        finally:
            progress.close()
        _say(f"{time.monotonic() - begin:.1f} s, to container {SOURCES}")
        return files

    def run_jobs(self, files: list[SourceFile]) -> bool:
        """Run all three; returns whether all succeeded and were right."""
        write_files(self._folder)
        count, wc, hello = JOBS
        result = self._run(3, count)
        right = result.succeeded and self._show_counts(files)
        result = self._run(4, wc)
        right = result.succeeded and _show_totals(result, files) and right
        result = self._run(5, hello)
        for output in result.outputs:
            _say((output.data or b"").decode("utf-8", "replace").rstrip())
        return result.succeeded and right

    def _run(self, step: int, job: DemoJob) -> JobResult:
        _step(step, job.title)
        _say(job.curl(self._folder))
        begin = time.monotonic()
        with waiting("      running", sys.stderr, quiet=False):
            result = self._client.submit(job.content)
        seconds = time.monotonic() - begin
        for line in where_and_how_much(result, seconds):
            _say(line)
        if not result.succeeded:
            for line in result_lines(result):
                _say(line)
        return result

    def _show_counts(self, files: list[SourceFile]) -> bool:
        """Show a few of the stored answers; whether there is one for each."""
        names = self._store.names(COUNTS)
        for file in files[:: max(1, len(files) // 3)][:3]:
            name = f"{file.name}.json"
            answer = json.loads(self._store.get(COUNTS, name))
            _say(f"{COUNTS}/{name}: {json.dumps(answer)}")
        expected = sorted(f"{file.name}.json" for file in files)
        if sorted(names) != expected:
            _say(f"WRONG: {len(names)} objects in {COUNTS}")
            return False
        _say(f"{len(names)} objects in container {COUNTS}, one for each")
        return True


def _show_totals(result: JobResult, files: list[SourceFile]) -> bool:
    """Compare the sums with the same count done natively."""
    for node in result.nodes[:3]:
        data = b"".join(output.data or b"" for output in node.outputs)
        _say(f"{node.name}: {data.decode('utf-8', 'replace').strip()}")
    here, there = count_natively(files), wc_totals(result)
    _say(
        f"together {there.lines} lines, {there.words} words, {there.size} "
        f"bytes; counted natively: {'equal' if here == there else here}"
    )
    return here == there


def _check_built() -> Path:
    """The C program; UsageError when something is not built yet."""
    missing = []
    if find_zvm() is None:
        missing.append("the runner zvm")
    if not find_images():
        missing.append("the system image python3")
    found = [
        place
        for place in (
            PACKAGE / "guests" / "wc.wasm",
            CLONE / "build" / "guests" / "wc.wasm",
        )
        if place.is_file()
    ]
    if not found:
        missing.append("the guest program wc.wasm")
    if missing:
        raise UsageError(f"not built: {', '.join(missing)}; run `make build`")
    return found[0]


def _place() -> Path | None:
    """Memory, where Swift can use it; else None, the system's choice.

    The demo keeps 15 000 small files for a minute.  On a disk that is told
    of every freed block at once (ext4 with `discard`) removing them takes
    longer than everything else.  TMPDIR, if set, decides.
    """
    if os.environ.get("TMPDIR"):
        return None
    try:
        usage = os.statvfs(MEMORY)
        if usage.f_bavail * usage.f_frsize < MEMORY_BYTES:
            return None
        with tempfile.NamedTemporaryFile(dir=MEMORY) as probe:
            # Swift keeps an object's metadata so; tmpfs learnt it in 6.6.
            os.setxattr(probe.name, "user.zerocloud", b"x" * 4000)
    except OSError:  # not there, not ours, or without such attributes
        return None
    return MEMORY


def _start(folder: Path, stack: contextlib.ExitStack) -> Cluster:
    settings = ClusterSettings(mode="process")
    _step(
        1,
        f"starting Swift: a proxy, {settings.nodes} storage nodes on "
        f"127.0.0.1 to 127.0.0.{settings.nodes}, {settings.replicas} replicas",
    )
    begin = time.monotonic()
    try:
        cluster = stack.enter_context(Cluster(folder / "cluster", settings))
    except StartError as error:
        raise ClientError(f"the cluster did not start: {error}") from error
    _say(f"{time.monotonic() - begin:.1f} s")
    return cluster


def _explain(client: Client, cluster: Cluster) -> None:
    variables = read_env_file(cluster.folder.env)
    _say("to do by hand what follows, log in once:")
    _say(
        f"  curl -i -H 'X-Auth-User: {variables['ST_USER']}' "
        f"-H 'X-Auth-Key: {variables['ST_KEY']}' {variables['ST_AUTH']}"
    )
    _say("and set what it answers:")
    _say(f"  URL={client.login.storage_url} TOKEN={client.login.token}")


def _stay(folder: Path, cluster: Cluster) -> None:
    """Say how to use the cluster, then wait for Ctrl-C or SIGTERM."""
    env = cluster.folder.env
    with contextlib.suppress(KeyboardInterrupt):
        _say("\nthe cluster stays until Ctrl-C; from another terminal:")
        _say(f"  . {env}; swift list {SOURCES}")
        _say(f"  zerocloud run --env-file {env} {folder / JOBS[1].file}")
        _say(f"  zerocloud info --env-file {env}")
        signal.pause()


def _end_by_exception() -> None:
    """Let SIGTERM unwind, so that the cluster and the folder go."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def _step(number: int, text: str) -> None:
    sys.stdout.write(f"\n[{number}/{STEPS}] {text}\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    for line in text.split("\n"):
        sys.stdout.write(f"      {line}".rstrip() + "\n")
    sys.stdout.flush()

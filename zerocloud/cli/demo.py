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
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from zerocloud.cli import exit as status
from zerocloud.cli.demo_jobs import (
    COUNT,
    COUNT_SCRIPT,
    COUNTS,
    HELLO,
    PROGRAMS,
    SOURCES,
    WC,
    DemoJob,
    login_commands,
    upload_commands,
    wc_totals,
    where_and_how_much,
)
from zerocloud.cli.demo_place import demo_folder
from zerocloud.cli.demo_times import StepTimes
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
    find_guest,
    find_images,
    find_zvm,
    user_cache,
)
from zerocloud.scheduler.taskdoc import colocation

OBJECTS = 640
STEPS = 5
EXAMPLES = 3
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
    files = find_sources(args.objects)
    times = StepTimes(user_cache() / "demo-times.json", len(files))
    begin = time.monotonic()
    _print("ZeroCloud: programs run beside the objects of OpenStack Swift")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(demo_folder())
        cluster = _start(folder, stack, times)
        demo = _Demo(cluster, times)
        demo.upload(files, wc)
        succeeded = demo.run_jobs(files)
        took = time.monotonic() - begin
        times.save()
        if args.keep:
            _stay(cluster)
        _print("", f"stopping the cluster after {took:.0f} s")
    if succeeded:
        _print("done: every job succeeded; nothing runs or is left behind")
    else:
        _print("done, but not all went well: see above")
    if not args.keep:
        command = f"{_command()} demo --keep"
        _print(f"to try its commands by hand, keep the cluster: {command}")
    return status.SUCCESS if succeeded else status.JOB_FAILED


class _Demo:
    def __init__(self, cluster: Cluster, times: StepTimes) -> None:
        self._client = Client.from_environment(cluster.folder.env)
        self._store = Store(self._client.login)
        self._addresses = _addresses(cluster)
        self._times = times
        env = read_env_file(cluster.folder.env)
        _say("By hand, while it runs: log in, and set what it answers")
        user, key = env["ST_USER"], env["ST_KEY"]
        _show(*login_commands(env["ST_AUTH"], user, key))
        _show(f"URL={self._client.login.storage_url}")
        _show(f"TOKEN={self._client.login.token}")

    def upload(self, files: list[SourceFile], wc: Path) -> None:
        """Store the sources and the programs."""
        total = size_text(sum(file.size for file in files))
        _step(
            2,
            f"upload {len(files)} objects, {total}: the Python standard "
            "library's sources",
            self._times.left("upload"),
        )
        _show(*upload_commands(wc, files[0]))
        _say("and so on")
        begin = time.monotonic()
        for container in (SOURCES, PROGRAMS, COUNTS):
            self._store.make_container(container)
        self._store.put(PROGRAMS, "wc.wasm", wc.read_bytes())
        self._store.put(PROGRAMS, "count.py", COUNT_SCRIPT.read_bytes())
        progress = Progress("uploading", len(files), sys.stderr)
        try:
            self._store.upload(SOURCES, files, lambda _: progress.step())
        finally:
            progress.close()
        seconds = time.monotonic() - begin
        self._times.record("upload", seconds)
        _say(f"{seconds:.1f} s, into container {SOURCES}")

    def run_jobs(self, files: list[SourceFile]) -> bool:
        """Run all three; returns whether all succeeded and were right."""
        result = self._run(3, COUNT)
        right = result.succeeded and self._show_counts(files)
        result = self._run(4, WC)
        right = result.succeeded and _show_totals(result, files) and right
        result = self._run(5, HELLO)
        for output in result.outputs:
            _show((output.data or b"").decode("utf-8", "replace").rstrip())
        return result.succeeded and right

    def _run(self, number: int, job: DemoJob) -> JobResult:
        step = job.file.stem
        known = step != HELLO.file.stem
        _step(number, job.title, self._times.left(step) if known else 0)
        _show(job.curl())
        begin = time.monotonic()
        about = ""
        if known and self._times.seconds(step) >= 1:
            about = f" (about {self._times.seconds(step):.0f} s)"
        with waiting(f"      running{about}", sys.stderr, quiet=False):
            result = self._client.submit(job.content())
        seconds = time.monotonic() - begin
        if known:
            self._times.record(step, seconds)
        for line in where_and_how_much(result, seconds, self._addresses):
            _say(line)
        if not result.succeeded:
            for line in result_lines(result):
                _say(line)
        return result

    def _show_counts(self, files: list[SourceFile]) -> bool:
        """Show a few of the stored answers; whether there is one for each."""
        names = self._store.names(COUNTS)
        expected = sorted(f"{file.name}.json" for file in files)
        if sorted(names) != expected:
            _say(f"WRONG: {len(names)} objects in {COUNTS}")
            return False
        _say(
            f"{len(names)} objects in container {COUNTS}, one for each; some:"
        )
        for file in files[:: max(1, len(files) // EXAMPLES)][:EXAMPLES]:
            name = f"{file.name}.json"
            answer = json.loads(self._store.get(COUNTS, name))
            _show(f"{name} {json.dumps(answer)}")
        return True


def _show_totals(result: JobResult, files: list[SourceFile]) -> bool:
    """Compare the sums with the same count done natively."""
    here, there = count_natively(files), wc_totals(result)
    _say(
        f"{there.lines} lines, {there.words} words, {there.size} bytes in "
        f"all; counted natively: {'equal' if here == there else here}"
    )
    for node, file in zip(result.nodes[:EXAMPLES], files, strict=False):
        data = b"".join(output.data or b"" for output in node.outputs)
        _show(f"{file.name} {data.decode('utf-8', 'replace').strip()}")
    return here == there


def _check_built() -> Path:
    """The C program; UsageError when something is not built yet."""
    missing = []
    if find_zvm() is None:
        missing.append("the runner zvm")
    if not find_images():
        missing.append("the system image python3")
    wc = find_guest("wc")
    if wc is None:
        missing.append("the guest program wc.wasm")
    if wc is None or missing:
        raise UsageError(f"not built: {', '.join(missing)}; run `make build`")
    return wc


def _start(
    folder: Path, stack: contextlib.ExitStack, times: StepTimes
) -> Cluster:
    settings = ClusterSettings(mode="process")
    _step(
        1,
        f"start Swift: a proxy, {settings.nodes} storage servers, "
        f"{settings.replicas} replicas of each object",
        times.left("start"),
    )
    begin = time.monotonic()
    try:
        cluster = stack.enter_context(Cluster(folder / "cluster", settings))
    except StartError as error:
        raise ClientError(f"the cluster did not start: {error}") from error
    seconds = time.monotonic() - begin
    times.record("start", seconds)
    _say(f"{seconds:.1f} s; it serves at {cluster.url}")
    return cluster


def _addresses(cluster: Cluster) -> Mapping[str, str]:
    """Reports name servers by a keyed hash; here we have the key."""
    key = cluster.folder.key().encode()
    return {
        colocation(key, f"{server.ip}:{server.port}"): server.ip
        for node in cluster.nodes
        for server in node.servers
        if server.kind == "object"
    }


def _stay(cluster: Cluster) -> None:
    """Say how to use the cluster, then wait for Ctrl-C or SIGTERM."""
    env, command = cluster.folder.env, _command()
    with contextlib.suppress(KeyboardInterrupt):
        _print("", "the cluster stays until Ctrl-C; from another terminal:")
        _show(f". {env}; swift list {SOURCES}")
        _show(f"{command} run --env-file {env} {WC.file}")
        _show(f"{command} info --env-file {env}")
        signal.pause()


def _command() -> str:
    """How the caller can start `zerocloud`."""
    if found := shutil.which("zerocloud"):
        ours = Path(sys.executable).parent
        if Path(found).parent == ours:
            return "zerocloud"
    beside = Path(sys.executable).parent / "zerocloud"
    with contextlib.suppress(ValueError):
        return str(beside.relative_to(Path.cwd()))
    return str(beside)


def _end_by_exception() -> None:
    """Let signals unwind, so that the cluster and the folder go.

    Only the first one counts: who is impatient must not stop the removal.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_number: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, stop)


def _step(number: int, text: str, seconds_left: float) -> None:
    left = f" (about {seconds_left:.0f} s left)" if seconds_left >= 1 else ""
    _print("", f"[{number}/{STEPS}] {text}{left}")


def _say(text: str) -> None:
    """What is to be read."""
    _print(*_indented(text, "      "))


def _show(*texts: str) -> None:
    """What could be typed, or was answered."""
    for text in texts:
        _print(*_indented(text, "        "))


def _indented(text: str, margin: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield f"{margin}{line}".rstrip()


def _print(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

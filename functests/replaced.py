"""One server of a cluster, replaced by another one on its port.

    python -m functests.replaced SWIFT_DIR CONF IP PORT [PROTOCOL]

For nodes that are not as the others: without our filter, older, newer, full,
with another key.  The cluster's own server is killed before; this one ends
when its standard input does.  PROTOCOL is the version of tasks that it speaks.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from functests.support import wait_until
from zerocloud.cluster import Cluster

START_SECONDS = 20.0


@contextmanager
def replaced(
    cluster: Cluster,
    number: int,
    *,
    pipeline: str = "",
    protocol: str = "",
    **options: str,
) -> Iterator[None]:
    """Serve storage node `number`'s objects with a changed conf.

    `pipeline` replaces the conf's, keywords are options of the executor.
    The node's own object server is gone afterwards.
    """
    server = cluster.nodes[number - 1].server("object")
    conf = cluster.folder.conf(server)
    text = conf.read_text()
    if pipeline:
        text = re.sub(r"(?m)^pipeline = .*$", f"pipeline = {pipeline}", text)
    for name, value in options.items():
        text = re.sub(rf"(?m)^{name} = .*\n", "", text)
        text = text.replace(
            "[filter:executor]\n", f"[filter:executor]\n{name} = {value}\n"
        )
    changed = conf.with_suffix(".changed.conf")
    changed.write_text(text)
    pid = cluster.pids[server.name]
    if Path(f"/proc/{pid}").exists():
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not _listens(server.ip, server.port))
    with (cluster.folder.log / "replaced.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "functests.replaced"),
                *(str(cluster.folder.swift), str(changed)),
                *(server.ip, str(server.port), protocol),
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    try:
        assert wait_until(
            lambda: _listens(server.ip, server.port), START_SECONDS
        ), (cluster.folder.log / "replaced.log").read_text()
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(START_SECONDS)


def _listens(ip: str, port: int) -> bool:
    try:
        socket.create_connection((ip, port), 1).close()
    except OSError:
        return False
    return True


def main(arguments: list[str]) -> None:
    """Serve until the standard input ends."""
    swift_dir, conf, ip, port, protocol = arguments
    from zerocloud.cluster.serve import Bound, prepare, serve  # noqa: PLC0415
    from zerocloud.protocol import signing  # noqa: PLC0415

    if protocol:
        signing.VERSIONS = (protocol,)
    prepare(Path(swift_dir))
    deadline = time.monotonic() + START_SECONDS
    while True:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ip, int(port)))
            break
        except OSError:
            # The one before still has connections there.
            listener.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    listener.listen(1024)
    serve([Bound("replaced", Path(conf), listener)], 0, os.dup(1))


if __name__ == "__main__":
    main(sys.argv[1:])

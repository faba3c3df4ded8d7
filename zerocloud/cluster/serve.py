"""Serve some Swift servers in this process until told to stop.

Swift's own `run_wsgi` is not used: it loads each app twice, reads policies
and constraints from /etc/swift whatever the conf says, and serves one app per
process.  This does what it does (patch, load, serve), for any number of apps,
on sockets that the supervisor has bound already.

Runs in a process forked for it; never returns.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

# These four are imported for the processes forked later: they share memory.
import swift.account.server
import swift.container.server
import swift.obj.server
import swift.proxy.server  # noqa: F401
from swift.common import constraints, storage_policy, utils
from swift.common.concurrency import (
    GreenPool,
    Timeout,
    greenio,
    hubs,
    spawn,
    trampoline,
    wsgi,
)
from swift.common.http_protocol import SwiftHttpProtocol
from swift.common.utils import NullLogger
from swift.common.wsgi import loadapp

# What requests in flight may take once the cluster stops.
GRACE_SECONDS = 0.5
CLIENT_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Bound:
    """One server to run: its conf, and the socket it listens on."""

    name: str
    conf: Path
    listener: socket.socket


def prepare(swift_dir: Path) -> None:
    """Point Swift at a folder's swift.conf; inherited through fork.

    Both reloads are needed: Swift reads them at import, from /etc/swift.
    """
    utils.set_swift_dir(str(swift_dir))
    constraints.reload_constraints()
    storage_policy.reload_storage_policies()


def serve(servers: Sequence[Bound], control: int, ready: int) -> NoReturn:
    """Serve until `control` reaches end of file, then end this process.

    Writes `ready` to the descriptor `ready` when every app is loaded, or
    why it is not.
    """
    try:
        os.environ["TZ"] = "UTC+0"  # as Swift does: no stat of localtime
        time.tzset()
        utils.monkey_patch()
        hubs.use_hub(utils.get_hub())
        warnings.filterwarnings(
            "ignore", message="capitalize_response_headers is disabled"
        )
        running = [_start(server) for server in servers]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - see below
        # Whatever a filter or Swift raises at start: the supervisor's to
        # tell, and the log's to keep.
        traceback.print_exc()
        os.write(ready, f"{type(error).__name__}: {error}".encode()[:4000])
        os._exit(1)
    os.write(ready, b"ready")
    os.close(ready)
    trampoline(control, read=True)
    for acceptor, _ in running:
        # Before the sockets are closed, or accept() fails with EBADF.
        acceptor.kill()
    with Timeout(GRACE_SECONDS, False):
        for _, pool in running:
            pool.waitall()
    os._exit(0)


def _start(server: Bound) -> tuple[Any, Any]:
    app = loadapp(str(server.conf), global_conf={"log_name": server.name})
    pool = GreenPool(size=1024)
    acceptor = spawn(
        wsgi.server,
        greenio.GreenSocket(server.listener),
        app,
        NullLogger(),
        custom_pool=pool,
        protocol=SwiftHttpProtocol,
        socket_timeout=CLIENT_TIMEOUT_SECONDS,
        # S3 clients need "ETag", not "Etag".
        capitalize_response_headers=False,
        url_length_limit=constraints.MAX_REQUEST_LINE,
    )
    return acceptor, pool

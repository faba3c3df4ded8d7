"""`zerocloud cluster`, from its settings to its end.

The story in order: lock the folder, settle the settings, build what a new
folder lacks, write the confs, serve.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from zerocloud.cluster import confs
from zerocloud.cluster.daemons import Daemons, DaemonSpec
from zerocloud.cluster.folder import Folder, Server
from zerocloud.cluster.installation import find_images, find_zvm, user_cache
from zerocloud.cluster.settings import ClusterSettings, StartError, settle
from zerocloud.config import MIN_KEY_LENGTH, read_executor_settings
from zerocloud.errors import ConfigError


def run_cluster(
    root: Path,
    asked: Mapping[str, Any],
    announce: TextIO,
    lifeline: int | None = None,
) -> None:
    """Run a cluster on the folder `root` until told to stop.

    Blocks.  Raises StartError when it cannot start.
    """
    before = time.monotonic()
    folder = Folder(root)
    cleaned = folder.acquire()
    if cleaned:
        print(f"cluster: {cleaned}", file=sys.stderr, flush=True)
    stored = folder.stored()
    settings = settle(asked, stored)
    servers = folder.servers(settings)
    # Swift takes half a second to import: not before it is needed, and not
    # for the command line's other subcommands.
    from zerocloud.cluster.rings import (  # noqa: PLC0415
        build_rings,
        write_constraints,
    )
    from zerocloud.cluster.supervisor import Supervisor  # noqa: PLC0415

    if stored is None:
        build_rings(folder, settings, servers)
        folder.finish(settings)
    write_constraints(folder, settings)
    _refresh(folder, settings, servers)
    shown = exports(servers)

    def serves() -> None:
        took = time.monotonic() - before
        print(_announcement(folder, settings, shown, took), file=announce)
        announce.flush()

    groups = _groups(settings, servers)
    daemons = _daemons(folder, settings)
    Supervisor(folder, groups, lifeline, daemons).run(shown, serves)


def _refresh(
    folder: Folder, settings: ClusterSettings, servers: Sequence[Server]
) -> None:
    """Write what every start writes anew: confs, an empty cache."""
    folder.key()  # made now, whether a conf needs it or not
    shutil.rmtree(folder.run, ignore_errors=True)
    for path in (folder.etc, folder.log, folder.run):
        path.mkdir(mode=0o700, exist_ok=True)
    if settings.keep_confs:
        _check_kept(folder, servers)
        return
    _write_confs(folder, settings, servers)
    if settings.filters:
        for number in range(1, settings.nodes + 1):
            (folder.node(number) / "zerocloud").mkdir(
                mode=0o700, exist_ok=True
            )


def _write_confs(
    folder: Folder, settings: ClusterSettings, servers: Sequence[Server]
) -> None:
    installation = find_installation(settings)
    for old in folder.etc.iterdir():
        old.unlink()
    for server in servers:
        text = confs.server_conf(server, folder, settings, installation)
        folder.write_text(folder.conf(server), text)


def _check_kept(folder: Folder, servers: Sequence[Server]) -> None:
    for server in servers:
        if not folder.conf(server).is_file():
            raise StartError(
                f"{folder.conf(server)} is not there to be kept; start once "
                "without --keep-confs, so that it is written"
            )


def find_installation(settings: ClusterSettings) -> confs.Installation:
    """Runner, images and cache of this machine; StartError without zvm."""
    zvm = find_zvm()
    if settings.filters and (zvm is None or not os.access(zvm, os.X_OK)):
        raise StartError(
            f"the runner zvm is not there ({zvm or 'nowhere found'}): "
            "`make build` builds it; $ZEROCLOUD_ZVM names another; "
            "--no-filters runs plain Swift"
        )
    return confs.Installation(
        zvm=zvm,
        images=find_images() if settings.filters else (),
        cache=user_cache(),
    )


def _daemons(folder: Folder, settings: ClusterSettings) -> Daemons:
    """The runner's daemons, unless the executor has other orders."""
    if not settings.filters or "zvm_socket" in settings.executor_options:
        return Daemons([])
    zvm = find_installation(settings).zvm
    if zvm is None:
        return Daemons([])
    return Daemons(
        [
            DaemonSpec(
                name=f"zvm-{number}",
                zvm=zvm,
                socket=folder.daemon(number),
                log=folder.log / f"zvm-{number}.log",
                options=_lockdown_words(settings),
            )
            for number in range(1, settings.nodes + 1)
        ]
    )


def _lockdown_words(settings: ClusterSettings) -> tuple[str, ...]:
    """The executor's wishes, which a daemon has to fulfil.

    A bad one is for the object server to say, which does not start.
    """
    try:
        read = read_executor_settings(
            {"cluster_key": "-" * MIN_KEY_LENGTH}
            | {k: str(v) for k, v in settings.executor_options.items()}
        )
    except ConfigError:
        return ()
    return tuple(read.lockdown_words)


def _groups(
    settings: ClusterSettings, servers: Sequence[Server]
) -> list[tuple[str, Sequence[Server]]]:
    if settings.mode == "single":
        return [("cluster", servers)]
    return [(server.name, [server]) for server in servers]


def exports(servers: Sequence[Server]) -> dict[str, str]:
    """What DIR/env exports: for swift, for S3 clients, for ourselves."""
    proxies = [s for s in servers if s.kind == "proxy"]
    urls = [f"http://{s.ip}:{s.port}" for s in proxies]
    user = next(iter(confs.USERS))
    key = confs.USERS[user].split()[0]
    account = user.partition(":")[0]
    return {
        "ST_AUTH": f"{urls[0]}/auth/v1.0",
        "ST_USER": user,
        "ST_KEY": key,
        "STORAGE_URL": f"{urls[0]}/v1/AUTH_{account}",
        "ZEROCLOUD_URL": urls[0],
        "ZEROCLOUD_URLS": " ".join(urls),
        "ZEROCLOUD_CLUSTER_PID": str(os.getpid()),
        "AWS_ENDPOINT_URL": urls[0],
        "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _announcement(
    folder: Folder,
    settings: ClusterSettings,
    shown: Mapping[str, str],
    seconds: float,
) -> str:
    images = " ".join(i.name for i in find_images()) or "none"
    kind = f"system images: {images}" if settings.filters else "plain Swift"
    if settings.keep_confs:
        kind = f"conf files as they were in {folder.etc}"
    return (
        f"cluster serves at {shown['ZEROCLOUD_URLS']} after {seconds:.1f} s\n"
        f"  {settings.nodes} storage nodes, {settings.replicas} replicas, "
        f"mode {settings.mode}, {kind}\n"
        f"  . {shlex.quote(str(folder.env))}\n"
        "  Ctrl-C stops it"
    )

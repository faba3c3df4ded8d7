"""Rings and swift.conf of a new cluster.

Policies: 0 `replicated` (the default), 1 `erasure` (absent when there are too
few disks), 2 `single`.  Placement has a fixed seed, so that clusters of the
same shape place the same way.  Written once per folder and never again: data
on the disks lies where these rings say.  Only the constraints in swift.conf
follow the settings of each start.
"""

from __future__ import annotations

import secrets

from pyeclib.ec_iface import ALL_EC_TYPES
from swift.common.constraints import DEFAULT_CONSTRAINTS
from swift.common.ring import RingBuilder

from zerocloud.cluster.folder import Folder, Server
from zerocloud.cluster.settings import (
    ClusterSettings,
    Erasure,
    SettingsError,
    disk_names,
    erasure_for,
)

PART_POWER = 8
SEED = 1

_CONSTRAINTS = "\n[swift-constraints]"
_EC_TYPE = "isa_l_rs_vand"
_EC_FALLBACK = "liberasurecode_rs_vand"


def build_rings(
    folder: Folder, settings: ClusterSettings, servers: tuple[Server, ...]
) -> None:
    """Write swift.conf, every ring, and the empty disks."""
    folder.swift.mkdir(mode=0o700, exist_ok=True)
    for number in range(1, settings.nodes + 1):
        for disk in disk_names(number):
            (folder.disks(number) / disk).mkdir(parents=True, exist_ok=True)
    erasure = erasure_for(settings.disks)
    folder.write_text(folder.swift / "swift.conf", _swift_conf(erasure))
    replicas = {
        "account": settings.replicas,
        "container": settings.replicas,
        "object": settings.replicas,
        "object-2": 1,
    }
    if erasure is not None:
        replicas["object-1"] = erasure.data + erasure.parity
    for name, count in replicas.items():
        kind = name.partition("-")[0]
        _build_ring(
            folder, name, count, [s for s in servers if s.kind == kind]
        )


def write_constraints(folder: Folder, settings: ClusterSettings) -> None:
    """Put the settings' constraints into swift.conf; SettingsError."""
    for name in settings.swift_constraints:
        if name not in DEFAULT_CONSTRAINTS:
            raise SettingsError(
                f"Swift has no constraint {name!r}; allowed are "
                + ", ".join(sorted(DEFAULT_CONSTRAINTS))
            )
    path = folder.swift / "swift.conf"
    text = path.read_text("utf-8").partition(_CONSTRAINTS)[0]
    if settings.swift_constraints:
        text += f"{_CONSTRAINTS}\n"
    for name, value in settings.swift_constraints.items():
        text += f"{name} = {value}\n"
    folder.write_text(path, text)


def _build_ring(
    folder: Folder, name: str, replicas: int, servers: list[Server]
) -> None:
    builder = RingBuilder(PART_POWER, replicas, 0)
    for server in servers:
        for disk in disk_names(server.number):
            builder.add_dev(
                {
                    "region": 1,
                    "zone": server.number,
                    "ip": server.ip,
                    "port": server.port,
                    "replication_ip": server.ip,
                    "replication_port": server.port,
                    "device": disk,
                    "weight": 100,
                }
            )
    builder.rebalance(seed=SEED)
    builder.get_ring().save(str(folder.swift / f"{name}.ring.gz"))


def _swift_conf(erasure: Erasure | None) -> str:
    text = f"""\
[swift-hash]
swift_hash_path_prefix = {secrets.token_hex(16)}
swift_hash_path_suffix = {secrets.token_hex(16)}

[storage-policy:0]
name = replicated
default = yes

[storage-policy:2]
name = single
"""
    if erasure is None:
        return text
    coder = _EC_TYPE if _EC_TYPE in ALL_EC_TYPES else _EC_FALLBACK
    return (
        text
        + f"""
[storage-policy:1]
name = erasure
policy_type = erasure_coding
ec_type = {coder}
ec_num_data_fragments = {erasure.data}
ec_num_parity_fragments = {erasure.parity}
"""
    )

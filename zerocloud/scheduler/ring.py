"""The only reader of Swift's rings: which storage servers hold what.

Turns an object's name and policy into targets (a disk on a storage server),
and a policy's name into all of its servers.  It decides nothing: order and
choice are placement.py's.  Swift's own error limiting is asked and told, so
that a dead server costs the next job nothing.
"""

from __future__ import annotations

from typing import Any

from swift.common.storage_policy import POLICIES, REPL_POLICY

from zerocloud.errors import ConfigError
from zerocloud.job.paths import ObjectPath
from zerocloud.scheduler.placement import Target


class Rings:
    """The object rings of a proxy application."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy

    def is_replicated(self, policy_index: int) -> bool:
        """Whether each server holds whole objects."""
        policy = POLICIES.get_by_index(policy_index)
        return policy is not None and policy.policy_type == REPL_POLICY

    def policy_name(self, policy_index: int) -> str:
        """The policy's name, or its number when it is gone."""
        policy = POLICIES.get_by_index(policy_index)
        return str(policy.name) if policy is not None else str(policy_index)

    def primaries(
        self, policy_index: int, path: ObjectPath
    ) -> tuple[Target, ...]:
        """Where the object's replicas belong."""
        ring = self._proxy.get_object_ring(policy_index)
        partition, nodes = ring.get_nodes(
            path.account, path.container, path.object
        )
        return tuple(_target(n, int(partition), policy_index) for n in nodes)

    def everywhere(self, names: tuple[str, ...]) -> tuple[Target, ...]:
        """All disks of the named policies; of all when none is named."""
        policies = [p for p in POLICIES if not names or p.name in names]
        targets: dict[Target, None] = {}
        for policy in policies:
            ring = self._proxy.get_object_ring(policy.idx)
            for node in ring.devs:
                # A removed disk leaves a hole; one without weight is on its
                # way out.
                if node is not None and node.get("weight", 1) > 0:
                    targets[_target(node, 0, policy.idx)] = None
        return tuple(targets)

    def is_suspect(self, target: Target) -> bool:
        """Whether Swift has seen too many failures there of late."""
        return bool(self._proxy.error_limited(_node(target)))

    def report_failure(self, target: Target, what: str) -> None:
        """Let Swift count a server that cannot be reached."""
        self._proxy.error_occurred(_node(target), what)


def check_policies(names: tuple[str, ...]) -> None:
    """ConfigError unless every storage policy exists."""
    for name in names:
        if POLICIES.get_by_name(name) is None:
            known = ", ".join(p.name for p in POLICIES)
            raise ConfigError(
                f"standalone_policies has {name!r}; allowed are {known}"
            )


def _target(node: dict[str, Any], partition: int, policy_index: int) -> Target:
    return Target(
        ip=str(node["ip"]),
        port=int(node["port"]),
        device=str(node["device"]),
        partition=partition,
        policy_index=policy_index,
    )


def _node(target: Target) -> dict[str, Any]:
    return {
        "ip": target.ip,
        "port": target.port,
        "device": target.device,
        "replication_ip": target.ip,
        "replication_port": target.port,
    }

"""The filter's place in the pipeline, and its neighbours'.

Right of authentication: jobs need to know who asks.  Left of all that gives an
object its meaning: a job's own requests must pass it.  `copy`, `dlo` and
`versioned_writes` must be listed, as Swift inserts missing ones itself, right
after authentication, which is left of us.
"""

from __future__ import annotations

from collections.abc import Iterator

from zerocloud.check.conf import Conf
from zerocloud.check.finding import Finding, fail, ok

PROXY_FACTORIES = (
    "zerocloud#zerocloud",
    "zerocloud.middleware:filter_factory",
)
EXECUTOR_FACTORIES = (
    "zerocloud#executor",
    "zerocloud.executor.service:filter_factory",
)

# By what `use` names, the name in the pipeline being the operator's choice.
AUTH = {
    "swift#tempauth",
    "swift#keystoneauth",
    "keystonemiddleware#auth_token",
    "keystonemiddleware.auth_token:filter_factory",
    "swift#s3api",
    "swift#s3token",
    "swift#tempurl",
}
RIGHT = {
    "swift#copy": "copy",
    "swift#dlo": "dlo",
    "swift#slo": "slo",
    "swift#versioned_writes": "versioned_writes",
    "swift#symlink": "symlink",
    "swift#encryption": "encryption",
    "swift#keymaster": "keymaster",
    "swift#kmip_keymaster": "kmip_keymaster",
    "swift#kms_keymaster": "kms_keymaster",
    "swift#container_quotas": "container_quotas",
    "swift#account_quotas": "account_quotas",
}
NEEDED = ("swift#copy", "swift#dlo", "swift#versioned_writes")


def check_proxy(conf: Conf, name: str) -> Iterator[Finding]:
    """The place of `name`, our filter's section, in a proxy's pipeline."""
    pipeline = conf.pipeline
    if name not in pipeline:
        yield _absent(conf, name, "right before copy")
        return
    yield from _sections(conf)
    place = pipeline.index(name)
    kinds = [conf.factory(entry) for entry in pipeline]
    faults = [
        _fault(conf, f"{entry} stands right of {name}",
               f"move {entry} left of {name}")
        for entry, kind in zip(pipeline[place:], kinds[place:], strict=True)
        if kind in AUTH
    ]  # fmt: skip
    faults += [
        _fault(conf, f"{entry} stands left of {name}",
               f"move {entry} right of {name}")
        for entry, kind in zip(pipeline[:place], kinds[:place], strict=True)
        if kind in RIGHT
    ]  # fmt: skip
    faults += [
        _fault(
            conf,
            f"{RIGHT[kind]} is not listed, so that Swift inserts it left of "
            f"{name}",
            f"add {RIGHT[kind]} to the pipeline right of {name}, with its "
            f"section [filter:{RIGHT[kind]}]",
        )
        for kind in NEEDED
        if kind not in kinds
    ]
    if not any(kind in AUTH for kind in kinds[:place]):
        faults.append(
            _fault(
                conf,
                f"no authentication stands left of {name}; jobs without a "
                "user are refused",
                f"put tempauth or keystoneauth left of {name}",
            )
        )
    yield from faults or [
        ok("pipeline", str(conf.path), f"{name} stands where it must")
    ]


def check_executor(conf: Conf, name: str) -> Iterator[Finding]:
    """The place of our filter in an object server's pipeline."""
    pipeline = conf.pipeline
    if name not in pipeline:
        yield _absent(conf, name, "right before the object server")
        return
    yield from _sections(conf)
    if pipeline.index(name) != len(pipeline) - 2:
        yield _fault(
            conf,
            f"{name} does not stand right before {pipeline[-1]}",
            f"move {name} to the last place before {pipeline[-1]}",
        )
        return
    yield ok("pipeline", str(conf.path), f"{name} stands where it must")


def _sections(conf: Conf) -> Iterator[Finding]:
    for entry in conf.pipeline:
        if not conf.factory(entry):
            yield fail(
                "pipeline",
                str(conf.path),
                f"{entry} is in the pipeline, but has no section that says "
                "what it is",
                f"add [filter:{entry}] with its `use`, or take {entry} out",
            )


def _absent(conf: Conf, name: str, where: str) -> Finding:
    return _fault(
        conf,
        f"{name} has a section, but is not in the pipeline",
        f"write {name} into `pipeline` of [pipeline:main], {where}",
    )


def _fault(conf: Conf, said: str, mend: str) -> Finding:
    return fail("pipeline", str(conf.path), said, mend)

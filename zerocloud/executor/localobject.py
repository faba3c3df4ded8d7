"""The object beside us: a descriptor of its file, if the file is the object.

The only user of DiskFile.  `_fp` and `_data_file` of Swift's DiskFile are
private, there is no public way to a descriptor; they are used in one function
here, and a diskfile without `_fp` is simply not read locally.

An object whose stored bytes are not its bytes (erasure coded, encrypted, a
large object's manifest, a symlink) is refused with `not_local`; the proxy then
streams it through its own pipeline.  The descriptor is a snapshot: Swift
replaces files and never changes them.  Whether the file's bytes are still
those that were stored is for verify.py to find out; `reread` lets Swift's own
reader look, which puts what is damaged into quarantine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from swift.common.exceptions import (
    DiskFileCollision,
    DiskFileDeviceUnavailable,
    DiskFileError,
    DiskFileNotExist,
    DiskFileQuarantined,
    DiskFileXattrNotSupported,
)
from swift.common.storage_policy import POLICIES, REPL_POLICY
from swift.common.utils import Timestamp

from zerocloud.errors import TaskRefused
from zerocloud.executor.duplex import breathe

_NOT_THE_BYTES = {
    "X-Static-Large-Object": "a static large object",
    "X-Object-Manifest": "a dynamic large object",
    "X-Object-Sysmeta-Symlink-Target": "a symlink",
}
_CRYPTO_PREFIXES = (
    "X-Object-Sysmeta-Crypto-",
    "X-Object-Transient-Sysmeta-Crypto-",
)


@dataclass(frozen=True)
class ObjectName:
    """The object of a request's path, in Unicode."""

    disk: str
    partition: str
    account: str
    container: str
    object: str


@dataclass(frozen=True)
class LocalObject:
    """An open object; whoever opened it closes `fd`.

    `etag` is the MD5 that its bytes should have; `reread()` has Swift's
    reader compare the two, and quarantine the file when they differ.
    """

    fd: int
    bytes: int
    etag: str
    reread: Callable[[], None]


class ObjectChanged(TaskRefused):
    """Another version of the object is here than the proxy resolved."""

    def __init__(self, timestamp: str, pin: str) -> None:
        super().__init__(
            "object_changed",
            f"the object here is of {timestamp}; wanted is {pin}",
            status=409,
            may_retry=True,
        )
        self.timestamp = timestamp

    def as_dict(self) -> dict[str, Any]:
        """With the version that is here."""
        return {**super().as_dict(), "timestamp": self.timestamp}


def not_local(why: str) -> TaskRefused:
    """The refusal that means: stream it."""
    return TaskRefused(
        "not_local",
        f"the object cannot be read here: {why}",
        status=422,
        may_retry=True,
    )


def parse_path(path: str) -> ObjectName | None:
    """The object in `/disk/partition[/account/container/object]`.

    `path` is a WSGI string.  None without an object; TaskRefused when it is
    neither.
    """
    try:
        parts = path.encode("latin-1").decode("utf-8").split("/", 5)
    except UnicodeError:
        parts = []
    if len(parts) not in (3, 6) or parts[0] or not all(parts[1:]):
        raise TaskRefused(
            "bad_request",
            f"path is {path!r:.200}; allowed is /disk/partition or "
            "/disk/partition/account/container/object",
            status=400,
            may_retry=False,
        )
    return ObjectName(*parts[1:]) if len(parts) == 6 else None


def open_local(
    server: Any, name: ObjectName, policy_index: int, pin: str
) -> LocalObject:
    """The object's file, if it is the object and of the version `pin`.

    `server` is Swift's ObjectController.  Raises TaskRefused: 404 no object,
    409 another version, 422 `not_local`, 507 the disk.
    """
    policy = POLICIES.get_by_index(policy_index)
    if policy is None or policy.policy_type != REPL_POLICY:
        raise not_local("its storage policy does not keep whole objects")

    def find() -> Any:
        return server.get_diskfile(
            name.disk,
            name.partition,
            name.account,
            name.container,
            name.object,
            policy=policy,
        )

    try:
        diskfile = find()
        with diskfile.open(current_time=Timestamp.now()):
            return _snapshot(diskfile, pin, lambda: _reread(find))
    except (DiskFileError, OSError, ValueError) as error:
        _refuse(error)


def _reread(find: Callable[[], Any]) -> None:
    """Read the object as Swift does for a GET: to its end, with its MD5.

    The file may have been replaced since it was opened; then this reads the
    new one, and nothing happens to it.
    """
    try:
        diskfile = find()
        with diskfile.open(current_time=Timestamp.now()):
            reader = diskfile.reader(keep_cache=True)
        for _ in reader:
            breathe()
    except (DiskFileError, OSError, ValueError):
        # Gone, in quarantine already, or not readable at all: Swift has
        # said so in its log, and the task is refused in any case.
        return


def _snapshot(
    diskfile: Any, pin: str, reread: Callable[[], None]
) -> LocalObject:
    here = diskfile.data_timestamp
    try:
        wanted = Timestamp(pin)
    except ValueError:
        raise TaskRefused(
            "bad_request",
            f"X-Zerocloud-Pin is {pin!r:.80}; allowed is a timestamp",
            status=400,
            may_retry=False,
        ) from None
    if here != wanted:
        raise ObjectChanged(here.internal, wanted.internal)
    metadata = diskfile.get_metadata()
    for header in metadata:
        if header in _NOT_THE_BYTES:
            raise not_local(f"it is {_NOT_THE_BYTES[header]}")
        if header.startswith(_CRYPTO_PREFIXES):
            raise not_local("it is encrypted")
    file = getattr(diskfile, "_fp", None)
    if file is None:
        raise not_local("this kind of storage has no plain files")
    flags = os.O_RDONLY | os.O_CLOEXEC
    fd = os.open(f"/proc/self/fd/{file.fileno()}", flags)
    etag = str(metadata.get("ETag", ""))
    return LocalObject(fd, diskfile.content_length, etag, reread)


def _refuse(error: Exception) -> NoReturn:
    if isinstance(error, (DiskFileNotExist, DiskFileQuarantined)):
        # Deleted and expired are kinds of the first.
        code, status, text = "not_found", 404, "no such object is here"
    elif isinstance(error, DiskFileDeviceUnavailable):
        code, status, text = "disk_full", 507, "the disk is not available"
    elif isinstance(error, DiskFileXattrNotSupported):
        code, status, text = "disk_full", 507, "the disk has no attributes"
    elif isinstance(error, DiskFileCollision):
        code, status, text = "not_local", 422, "another object is in its place"
    else:
        code, status, text = "busy", 503, "the object cannot be opened now"
    raise TaskRefused(code, text, status=status, may_retry=True) from error

"""state_dir and cache_dir: there, whose, closed to others, with room."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zerocloud.check.conf import Conf
from zerocloud.check.finding import Finding, fail, note, ok
from zerocloud.config import ExecutorSettings


@dataclass(frozen=True)
class User:
    """Whom the object server runs as."""

    name: str
    uid: int


def server_user(conf: Conf) -> User:
    """`user` of [DEFAULT], Swift's default `swift`, else who asks.

    The last is for clusters that run as whoever started them.
    """
    for name in (conf.defaults.get("user", "").strip(), "swift"):
        try:
            return User(name, pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue  # no such user here
    uid = os.geteuid()
    try:
        return User(pwd.getpwuid(uid).pw_name, uid)
    except KeyError:
        return User(str(uid), uid)


def check_folders(settings: ExecutorSettings, user: User) -> Iterator[Finding]:
    """Both folders; one that is made on demand may be missing."""
    yield from _check("state_dir", settings.state_dir, settings, user)
    below = settings.cache_dir.parent == settings.state_dir
    if below and not os.path.lexists(settings.cache_dir):
        return  # made with the first program
    yield from _check("cache_dir", settings.cache_dir, settings, user)


def _check(
    option: str, folder: Path, settings: ExecutorSettings, user: User
) -> Iterator[Finding]:
    subject = f"{option} {folder}"
    make = f"install -d -o {user.name} -m 0700 {folder}"
    try:
        state = folder.stat()
    except FileNotFoundError:
        yield fail("folders", subject, "does not exist", make)
        return
    except OSError as error:
        yield note(
            "folders",
            subject,
            f"cannot be looked at ({error.strerror})",
            f"run this as {user.name}",
        )
        return
    if not stat.S_ISDIR(state.st_mode):
        yield fail("folders", subject, "is no folder", f"move it away; {make}")
        return
    faults = [
        *_rights(subject, folder, state, user),
        *_room(subject, folder, settings),
    ]
    yield from faults or [ok("folders", subject, "is there, with room")]


def _rights(
    subject: str, folder: Path, state: os.stat_result, user: User
) -> Iterator[Finding]:
    if state.st_uid != user.uid:
        yield fail(
            "folders",
            subject,
            f"belongs to user {state.st_uid}; the object server runs as "
            f"{user.name} ({user.uid})",
            f"chown -R {user.name} {folder}",
        )
    mode = stat.S_IMODE(state.st_mode)
    if mode & 0o022 or mode & 0o700 != 0o700:
        yield fail(
            "folders",
            subject,
            f"has mode {mode:04o}; its owner must be able to write there, and "
            "nobody else",
            f"chmod 0700 {folder}",
        )
    if os.geteuid() == user.uid and not os.access(folder, os.W_OK | os.X_OK):
        yield fail(
            "folders",
            subject,
            "cannot be written",
            "mount its file system for writing, and chmod 0700 the folder",
        )


def _room(
    subject: str, folder: Path, settings: ExecutorSettings
) -> Iterator[Finding]:
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < settings.reserve_bytes:
        yield fail(
            "folders",
            subject,
            f"has {free} bytes free; {settings.reserve_bytes} are kept for "
            "Swift (reserve_bytes), so that every task is refused",
            "make room on the disk, or put the folder on another",
        )
    if not disk.f_favail and disk.f_files:
        yield fail(
            "folders", subject, "has no inode left", "remove files there"
        )

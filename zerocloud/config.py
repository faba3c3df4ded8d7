"""Conf dictionaries of the two filters → frozen records.

Parsed once, when the server starts.  A bad value raises ConfigError with the
option's name, the value and what is allowed, so that the server does not
start; so does a name that is no option, as a limit that is misspelled would
not hold.  Units are in the names.  The samples in etc/ list every option with
its default and range, docs/configuration.md too (tests hold both to the
tables here).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zerocloud.errors import ConfigError
from zerocloud.job.limits import (
    GIB,
    MIB,
    MODES,
    Determinism,
    JobCaps,
    Limits,
)

TRUE_WORDS = {"true", "1", "yes", "on", "t", "y"}
FALSE_WORDS = {"false", "0", "no", "off", "f", "n"}


Kind = Literal[
    "flag", "whole", "seconds", "text", "words", "path", "key", "ids", "mode"
]

# What Swift puts into each section, and what its loggers take from there.
SWIFTS_PREFIXES = ("__", "log_", "statsd_")


@dataclass(frozen=True)
class Option:
    """What an option may be: its default as text, its range if it has one."""

    name: str
    kind: Kind
    default: str
    low: float | None = None
    high: float | None = None

    @property
    def unit(self) -> str:
        """`bytes`, `seconds`, or nothing for a count and for texts."""
        if self.kind == "seconds":
            return "seconds"
        return "bytes" if self.name.endswith("_bytes") else ""


class _Reader:
    """Reads options out of a conf dict, remembering which were read."""

    def __init__(self, conf: Mapping[str, str]) -> None:
        self._conf = conf
        self.options: list[Option] = []

    def _text(self, option: Option) -> str:
        self.options.append(option)
        return str(self._conf.get(option.name, option.default)).strip()

    def text(self, name: str, default: str) -> str:
        return self._text(Option(name, "text", default))

    def path(self, name: str, default: str) -> Path:
        """An absolute path; an empty one only as the default."""
        value = self._text(Option(name, "path", default))
        if not value.startswith("/") and value != default:
            raise ConfigError(
                f"{name} is {value!r}; allowed is an absolute path"
            )
        return Path(value)

    def flag(self, name: str, *, default: bool) -> bool:
        word = "true" if default else "false"
        value = self._text(Option(name, "flag", word)).lower()
        if value in TRUE_WORDS:
            return True
        if value in FALSE_WORDS:
            return False
        raise ConfigError(f"{name} is {value!r}; allowed is true or false")

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        value = self._text(Option(name, "whole", str(default), low, high))
        try:
            number = int(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ConfigError(
                f"{name} is {value!r}; allowed is a whole number from {low} "
                f"to {high}"
            )
        return number

    def seconds(
        self, name: str, default: float, low: float, high: float
    ) -> float:
        value = self._text(Option(name, "seconds", f"{default:g}", low, high))
        try:
            number = float(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ConfigError(
                f"{name} is {value!r}; allowed is a number of seconds from "
                f"{low:g} to {high:g}"
            )
        return number

    def mode(self, name: str, default: Determinism) -> Determinism:
        """A mode of determinism."""
        return _mode(name, self._text(Option(name, "mode", default)))

    def words(self, name: str, default: str = "") -> tuple[str, ...]:
        return tuple(self._text(Option(name, "words", default)).split())

    def ids(self, name: str) -> str:
        """User ids as zvm's `--vm-uid` takes them; empty is zvm's choice."""
        value = self._text(Option(name, "ids", ""))
        if value in ("", "same"):
            return value
        found = _IDS.fullmatch(value)
        first = int(found[1]) if found else 0
        last = int(found[2] or first) if found else 0
        if not 0 < first <= last <= MAX_ID or first <= NOBODYS_ID <= last:
            raise ConfigError(
                f"{name} is {value!r}; allowed is FIRST-LAST, user ids from "
                f"1 to {MAX_ID} without {NOBODYS_ID}, or the word same"
            )
        return value

    def key(self, name: str, *, required: bool) -> bytes:
        value = self._text(Option(name, "key", ""))
        if not value and not required:
            return b""
        if len(value) < MIN_KEY_LENGTH:
            raise ConfigError(
                f"{name} has {len(value)} characters; needed are at least "
                f"{MIN_KEY_LENGTH} (the same on every proxy and storage node)"
            )
        return value.encode("utf-8")


MIN_KEY_LENGTH = 16
# The kernel's words for "unchanged"; the second one in 16 bits.
MAX_ID = 2**32 - 2
NOBODYS_ID = 2**16 - 1
_IDS = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")
MAX_BYTES = 1024 * GIB
MAX_FUEL = 10**15
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;[\x20-\x7e]*)?")


@dataclass(frozen=True)
class SystemImage:
    """A system image as the proxy knows it: name and digest of the tar."""

    name: str
    sha256: str


@dataclass(frozen=True)
class ProxySettings:
    """Options of the proxy filter (etc/proxy-server.conf.sample)."""

    cluster_key: bytes
    previous_cluster_key: bytes
    job_caps: JobCaps
    system_images: tuple[SystemImage, ...]
    local_reads: bool
    newest_inputs: bool
    default_content_type: str
    standalone_policies: tuple[str, ...]
    blob_bytes: int
    input_bytes: int
    connect_timeout: float
    node_timeout: float
    upload_timeout: float
    task_attempts: int
    concurrency: int
    listing_limit: int
    report_immediate_bytes: int
    inline_bytes: int
    header_bytes: int

    def image(self, name: str) -> SystemImage | None:
        """The system image of that name (aliases are names too)."""
        for image in self.system_images:
            if image.name == name:
                return image
        return None


@dataclass(frozen=True)
class ExecutorSettings:
    """Options of the executor filter (etc/object-server.conf.sample)."""

    cluster_key: bytes
    previous_cluster_key: bytes
    zvm: Path
    zvm_socket: Path | None
    vm_uid: str
    require_landlock: bool
    state_dir: Path
    cache_dir: Path
    system_images: tuple[tuple[str, Path], ...]
    slots: int
    queue: int
    queue_seconds: float
    memory_bytes: int
    staging_bytes: int
    local_reads: bool
    verify_local_reads: bool
    verified_seconds: float
    use_templates: bool
    caps: Limits
    blob_bytes: int
    input_bytes: int
    cache_bytes: int
    artefact_bytes: int
    reserve_bytes: int
    compile_seconds: float
    compile_memory_bytes: int
    idle_timeout: float

    @property
    def lockdown_words(self) -> list[str]:
        """What zvm's command lines say of the lock-down."""
        words = ["--vm-uid", self.vm_uid] if self.vm_uid else []
        return words + ["--require-landlock"] * self.require_landlock


def _limits(reader: _Reader, prefix: str, base: Limits) -> Limits:
    return Limits(
        wall_seconds=reader.seconds(
            f"{prefix}wall_seconds", base.wall_seconds, 0.01, 86400
        ),
        cpu_seconds=reader.seconds(
            f"{prefix}cpu_seconds", base.cpu_seconds, 0.01, 86400
        ),
        memory_bytes=reader.whole(
            f"{prefix}memory_bytes", base.memory_bytes, 65536, 4 * GIB
        ),
        output_bytes=reader.whole(
            f"{prefix}output_bytes", base.output_bytes, 0, MAX_BYTES
        ),
        stderr_bytes=reader.whole(
            f"{prefix}stderr_bytes", base.stderr_bytes, 0, 16 * MIB
        ),
        fuel=reader.whole(f"{prefix}fuel", base.fuel, 1, MAX_FUEL),
    )


def _mode(name: str, word: str) -> Determinism:
    for mode in MODES:
        if word == mode:
            return mode
    raise ConfigError(
        f"{name} has {word!r}; allowed are {' and '.join(MODES)}"
    )


def _job_caps(reader: _Reader) -> JobCaps:
    base = JobCaps()
    caps = JobCaps(
        job_bytes=reader.whole(
            "max_job_bytes", base.job_bytes, 1024, 64 * MIB
        ),
        stored_job_bytes=reader.whole(
            "max_stored_job_bytes", base.stored_job_bytes, 1024, 64 * MIB
        ),
        nodes=reader.whole("max_nodes", base.nodes, 1, 100_000),
        defaults=_limits(reader, "default_", base.defaults),
        caps=_limits(reader, "max_", base.caps),
        allowed_determinism=tuple(
            _mode("allowed_determinism", word)
            for word in reader.words(
                "allowed_determinism", " ".join(base.allowed_determinism)
            )
        ),
        determinism=reader.mode("determinism", base.determinism),
    )
    if caps.determinism not in caps.allowed_determinism:
        raise ConfigError(
            f"determinism is {caps.determinism!r}; allowed is one of "
            f"allowed_determinism, which is "
            f"{' '.join(caps.allowed_determinism)!r}"
        )
    for name in vars(caps.defaults):
        low, high = getattr(caps.defaults, name), getattr(caps.caps, name)
        if low > high:
            raise ConfigError(
                f"default_{name} is {low:g}; allowed is at most max_{name}, "
                f"which is {high:g}"
            )
    return caps


def _proxy_image(word: str) -> SystemImage:
    name, _, digest = word.partition("=")
    if not name or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ConfigError(
            f"system_images has {word!r}; allowed is NAME=SHA256 with 64 "
            "lower-case hex digits, one word per image"
        )
    return SystemImage(name, digest)


def _proxy_images(reader: _Reader) -> tuple[SystemImage, ...]:
    images = tuple(
        _proxy_image(word) for word in reader.words("system_images")
    )
    known: dict[str, SystemImage] = {}
    for image in images:
        if known.setdefault(image.name, image) != image:
            raise ConfigError(
                f"system_images has {image.name!r} twice, and not the same; "
                "allowed is one digest for a name"
            )
    return images


def _content_type(reader: _Reader) -> str:
    name = "default_content_type"
    value = reader.text(name, "application/octet-stream")
    if not _MEDIA_TYPE.fullmatch(value):
        raise ConfigError(
            f"{name} is {value!r}; allowed is a media type such as text/plain"
        )
    return value


def read_proxy_settings(conf: Mapping[str, str]) -> ProxySettings:
    """Parse the proxy filter's options; raises ConfigError."""
    return _proxy_settings(_Reader(conf))


def _proxy_settings(reader: _Reader) -> ProxySettings:
    return ProxySettings(
        cluster_key=reader.key("cluster_key", required=True),
        previous_cluster_key=reader.key(
            "previous_cluster_key", required=False
        ),
        job_caps=_job_caps(reader),
        system_images=_proxy_images(reader),
        local_reads=reader.flag("local_reads", default=True),
        newest_inputs=reader.flag("newest_inputs", default=False),
        default_content_type=_content_type(reader),
        standalone_policies=reader.words("standalone_policies"),
        blob_bytes=reader.whole("max_blob_bytes", 1 * GIB, 1024, MAX_BYTES),
        input_bytes=reader.whole("max_input_bytes", 5 * GIB, 0, MAX_BYTES),
        connect_timeout=reader.seconds("connect_timeout", 1.0, 0.05, 60),
        node_timeout=reader.seconds("node_timeout", 10.0, 1, 600),
        upload_timeout=reader.seconds("upload_timeout", 3600, 1, 86400),
        task_attempts=reader.whole("task_attempts", 4, 1, 20),
        concurrency=reader.whole("concurrency", 256, 1, 10_000),
        listing_limit=reader.whole("listing_limit", 10_000, 1, 10_000),
        report_immediate_bytes=reader.whole(
            "report_immediate_bytes", 100 * MIB, 0, 1 * GIB
        ),
        inline_bytes=reader.whole("inline_bytes", 64 * 1024, 0, 16 * MIB),
        header_bytes=reader.whole("header_bytes", 8192, 256, 65536),
    )


def _executor_image(word: str) -> tuple[str, Path]:
    name, _, path = word.partition("=")
    if not name or not path.startswith("/"):
        raise ConfigError(
            f"system_images has {word!r}; allowed is NAME=/PATH/OF.tar, one "
            "word per image"
        )
    return name, Path(path)


def _path_or_none(path: Path) -> Path | None:
    return path if path.is_absolute() else None


def read_executor_settings(conf: Mapping[str, str]) -> ExecutorSettings:
    """Parse the executor filter's options; raises ConfigError."""
    return _executor_settings(_Reader(conf))


def _executor_settings(reader: _Reader) -> ExecutorSettings:
    state = reader.path("state_dir", "/var/lib/zerocloud")
    cache = reader.path("cache_dir", "")
    return ExecutorSettings(
        cluster_key=reader.key("cluster_key", required=True),
        previous_cluster_key=reader.key(
            "previous_cluster_key", required=False
        ),
        zvm=reader.path("zvm", "/usr/bin/zvm"),
        zvm_socket=_path_or_none(reader.path("zvm_socket", "")),
        vm_uid=reader.ids("vm_uid"),
        require_landlock=reader.flag("require_landlock", default=False),
        state_dir=state,
        cache_dir=cache if cache.is_absolute() else state / "cache",
        system_images=tuple(
            _executor_image(word) for word in reader.words("system_images")
        ),
        slots=reader.whole("slots", 8, 1, 10_000),
        # Queued tasks hold connections of the object server: well below
        # its max_clients (1024), so that storage is always reachable.
        queue=reader.whole("queue", 768, 0, 100_000),
        queue_seconds=reader.seconds("queue_seconds", 600, 1, 86400),
        memory_bytes=reader.whole("memory_bytes", 0, 0, MAX_BYTES),
        staging_bytes=reader.whole("staging_bytes", 256 * GIB, MIB, MAX_BYTES),
        local_reads=reader.flag("local_reads", default=True),
        verify_local_reads=reader.flag("verify_local_reads", default=True),
        verified_seconds=reader.seconds(
            "verified_seconds", 86400, 0, 366 * 86400
        ),
        use_templates=reader.flag("use_templates", default=True),
        caps=_limits(reader, "max_", JobCaps().caps),
        blob_bytes=reader.whole("max_blob_bytes", 1 * GIB, 1024, MAX_BYTES),
        input_bytes=reader.whole("max_input_bytes", 5 * GIB, 0, MAX_BYTES),
        cache_bytes=reader.whole("cache_bytes", 10 * GIB, MIB, MAX_BYTES),
        artefact_bytes=reader.whole("artefact_bytes", 2 * GIB, MIB, MAX_BYTES),
        reserve_bytes=reader.whole("reserve_bytes", 1 * GIB, 0, MAX_BYTES),
        compile_seconds=reader.seconds("compile_seconds", 120, 1, 3600),
        compile_memory_bytes=reader.whole(
            "compile_memory_bytes", 2 * GIB, 64 * MIB, 64 * GIB
        ),
        idle_timeout=reader.seconds("idle_timeout", 60, 5, 3600),
    )


def options_of() -> dict[str, tuple[Option, ...]]:
    """Every option per filter (`proxy`, `executor`), in the readers' order."""
    key = {"cluster_key": "x" * MIN_KEY_LENGTH}
    proxy, executor = _Reader(key), _Reader(key)
    _proxy_settings(proxy)
    _executor_settings(executor)
    return {
        "proxy": tuple(proxy.options),
        "executor": tuple(executor.options),
    }


def option_tables() -> dict[str, list[tuple[str, str]]]:
    """Every option and its default as text, per filter, for the samples."""
    return {
        kind: [(option.name, option.default) for option in options]
        for kind, options in options_of().items()
    }


def unknown_options(kind: str, names: Iterable[str]) -> dict[str, str]:
    """Names that are no options of the filter, each with the nearest one.

    The nearest is empty when none is near.  What Swift puts into a section,
    and what its loggers read from there, is known.
    """
    known = [option.name for option in options_of()[kind]]
    return {
        name: next(iter(difflib.get_close_matches(name, known, 1)), "")
        for name in names
        if name not in known and not name.startswith(SWIFTS_PREFIXES)
    }


def check_names(kind: str, names: Iterable[str]) -> None:
    """ConfigError for a name in the filter's own section that is no option."""
    for name, near in unknown_options(kind, names).items():
        hint = f"did you mean {near}?" if near else "it has none like it"
        raise ConfigError(
            f"{name} is not an option of this filter; {hint} "
            "(docs/configuration.md lists all)"
        )

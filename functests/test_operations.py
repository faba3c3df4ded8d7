"""docs/operations.md, followed word for word on a Swift without ZeroCloud.

One story in the page's order: every box is run or applied, on every host that
it is for, and a job runs through each proxy after each step that restarts
something.  A box that the story does not reach fails it.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from functests.conftest import started, with_container
from functests.jobs import STDOUT, group, put_guest, reads
from functests.operations_page import Box, Host, boxes
from functests.statsd import Statsd
from functests.support import Account, wait_until
from zerocloud.cluster import Cluster, ClusterSettings
from zerocloud.cluster.installation import find_images
from zerocloud.cluster.processes import raise_descriptor_limit

PLAIN = ClusterSettings(nodes=2, replicas=2, proxies=2, filters=False)
# Between Install and Uninstall, in the page's order.
SECTIONS = [
    "The key", "System images", "Storage policies", "Upgrade",
    "What to watch", "Folders",
]  # fmt: skip
# Where jobs must run while some hosts are done and others are not.
MIXED = ("The key", "System images")
Words = dict[str, str]


class Operator:
    """Follows the page on the hosts of a cluster."""

    def __init__(self, root: Path, cluster: Cluster, words: Words) -> None:
        self.cluster = cluster
        self._left = [box for box in boxes() if box.language != "text"]
        self._restarts = 0
        self._cache = root / "cache"
        self._cache.mkdir(mode=0o700)
        settings = cluster.settings
        self.storage = [
            self._host(root / f"storage-{n}", "object", n, words)
            for n in range(1, settings.nodes + 1)
        ]
        self.proxies = [
            self._host(root / f"proxy-{n}", "proxy", n, words)
            for n in range(1, settings.proxies + 1)
        ]

    def _host(
        self, folder: Path, kind: str, number: int, words: Words
    ) -> Host:
        conf = self.cluster.folder.etc / f"{kind}-{number}.conf"
        mine = {
            f"/etc/swift/{kind}-server.conf": str(conf),
            "/var/lib/zerocloud": str(folder / "state"),
            **words,
        }
        return Host(folder, conf, mine, dict(self.cluster.env))

    @property
    def hosts(self) -> list[Host]:
        """All of them."""
        return [*self.storage, *self.proxies]

    def _hosts_of(self, box: Box) -> list[Host]:
        if box.place in ("storage", "object-server.conf"):
            return self.storage
        if box.place in ("proxy", "proxy-server.conf"):
            return self.proxies
        assert box.place in ("once", "user"), box.place
        return self.proxies[:1]

    def follow(self, section: str, between: Callable[[], None]) -> list[str]:
        """Every box of the section; `between` after every restart."""
        said = []
        while self._left and self._left[0].section == section:
            box = self._left.pop(0)
            hosts = self._hosts_of(box)
            for host in hosts:
                if box.language == "sh":
                    said.append(host.run(box))
                    self._share_cache(box, host)
                else:
                    host.edit(box)
                mixed = section in MIXED or host is hosts[-1]
                if mixed and self._restarted():
                    between()
            if "zerocloud.key" in box.text:
                self.learn_key("KEY", box)
        return said

    def learn_key(self, word: str, draw: Box) -> None:
        """Draw a key as the box does; the word stands for it from now on."""
        [host] = self._hosts_of(draw)
        path = host.folder / "zerocloud.key"
        path.unlink(missing_ok=True)
        host.run(draw)
        assert path.stat().st_mode & 0o077 == 0
        key = path.read_text("ascii").strip()
        assert len(key) == 64
        for other in self.hosts:
            other.words[f" = {word}\n"] = f" = {key}\n"

    def _share_cache(self, box: Box, host: Host) -> None:
        # The hosts are one machine here: Python is compiled for all of them
        # at once ("servers of one installation may share" cache_dir).
        if "install -d" in box.text:
            (host.folder / "state" / "cache").symlink_to(self._cache)

    def _restarted(self) -> bool:
        """Restart the cluster when a host was told to; whether it was."""
        asked = sum(host.restarts for host in self.hosts)
        if asked == self._restarts:
            return False
        self._restarts = asked
        self.cluster.stop()
        self.cluster.settings = replace(PLAIN, filters=True, keep_confs=True)
        self.cluster.start()
        return True

    @property
    def left(self) -> list[Box]:
        """Boxes that were not reached."""
        return self._left

    @property
    def installed(self) -> bool:
        """Whether every conf has its filter."""
        return all("zerocloud#" in h.conf.read_text() for h in self.hosts)


def page_words(root: Path, cluster: Cluster, statsd: Statsd) -> Words:
    """What the page says of a usual installation, and what it is here."""
    images = root / "images"
    images.mkdir()
    [python] = [i for i in find_images() if i.name == "python3"]
    shutil.copy(python.tar, images / "python3-old.tar")
    new = images / "python3-new.tar"
    shutil.copy(python.tar, new)
    with tarfile.open(new, "a") as tar:
        tar.addfile(tarfile.TarInfo("etc/newer"))
    return {
        "-o swift": f"-o {pwd.getpwuid(os.geteuid()).pw_name}",
        "https://swift.example.org": cluster.url,
        "/srv/images": str(images),
        "NEWDIGEST": hashlib.sha256(new.read_bytes()).hexdigest(),
        "8125": str(statsd.port),
    }


@pytest.fixture
def statsd() -> Iterator[Statsd]:
    listening = Statsd()
    yield listening
    listening.close()


@pytest.fixture
def operator(tmp_path: Path, statsd: Statsd) -> Iterator[Operator]:
    # zerocloud-check looks at its own limit, as no unit started the servers.
    raise_descriptor_limit()
    with started(tmp_path / "it", PLAIN) as cluster:
        words = page_words(tmp_path, cluster, statsd)
        yield Operator(tmp_path, cluster, words)


@pytest.fixture
def account(operator: Operator) -> Iterator[Account]:
    yield from with_container(Account(operator.cluster))


def run_everywhere(operator: Operator, account: Account) -> None:
    """A job over two objects through each proxy, read in place."""
    account.log_in()  # a restart forgets tokens
    program = account.path("bin/cat.wasm")
    job = [group(program, reads(account.path("in/*")), STDOUT)]
    for url in operator.cluster.urls:
        account.url = f"{url}/v1/{account.name}"
        report = account.run(job)
        assert report["status"] == "succeeded"
        assert report["totals"]["in_place_bytes"] == 10
    account.url = operator.cluster.storage_url


def is_offered(account: Account) -> bool:
    info = account.session.get(f"{account.cluster.url}/info", timeout=10)
    return "zerocloud" in info.json()


def sections_of(conf: str) -> str:
    """A conf without empty lines, which nobody minds."""
    return "\n".join(line for line in conf.splitlines() if line)


@pytest.mark.timeout(600)
def test_page_is_followed_word_for_word(
    operator: Operator, account: Account, statsd: Statsd
) -> None:
    before = {h.conf: sections_of(h.conf.read_text()) for h in operator.hosts}
    account.put("in/1", b"12345")
    account.put("in/2", b"67890")
    put_guest(account, "cat")
    assert not is_offered(account)

    def jobs_run() -> None:
        if operator.installed:
            run_everywhere(operator, account)

    said = operator.follow("Install", jobs_run)
    assert said[-1].endswith("hello\n")
    assert sum("nothing to mend" in text for text in said) == 4
    draw = next(box for box in boxes() if box.place == "once")
    operator.learn_key("NEWKEY", draw)
    for section in SECTIONS:
        operator.follow(section, jobs_run)
        run_everywhere(operator, account)
    assert wait_until(lambda: statsd.counts["zerocloud.jobs"] >= 2)

    operator.follow("Uninstall", lambda: None)
    account.log_in()
    assert not is_offered(account)
    assert account.get("in/1") == b"12345"
    # A plain POST to the account, which runs nothing.
    assert account.post_job([group("file://x:y")]).status_code == 204
    assert operator.left == []
    for host in operator.hosts:
        after = sections_of(host.conf.read_text())
        added = set(after.split("\n")) - set(before[host.conf].split("\n"))
        assert {line.partition(" ")[0] for line in added} <= {
            "log_statsd_host",
            "log_statsd_port",
        }
    for host in operator.storage:
        asked = [x for x in host.asked if x.startswith("pip")]
        assert [x.split()[1] for x in asked] == [
            "install",
            "install",
            "uninstall",
        ]
        assert not (host.folder / "state").exists()

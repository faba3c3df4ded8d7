"""Outputs → objects, after every node has succeeded, as the user.

Each stored output is PUT through the pipeline with its length and MD5, so that
ACLs, quotas, versions, encryption, policies and listings are as for any
client.  Outputs that were small are at the proxy already; the others are
fetched from their storage node and flow through.  What is longer than Swift's
longest object becomes a large one (largeoutput.py): its segments with the
other outputs, its manifest after all of them.

Nothing is PUT when any node failed.  The PUTs themselves are not one
transaction yet: when one fails after others went through, those stay, and the
error says how many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from zerocloud.errors import ClusterError, JobError
from zerocloud.job.paths import ObjectPath
from zerocloud.job.plan import Output
from zerocloud.scheduler.concurrency import gather
from zerocloud.scheduler.content import collect
from zerocloud.scheduler.exchange import Finished
from zerocloud.scheduler.largeoutput import (
    Large,
    LargeOutputs,
    SegmentWriter,
    segments_container,
)
from zerocloud.scheduler.subrequest import Reply
from zerocloud.scheduler.transport import ConnectionLost

PUTS_AT_ONCE = 8
REASON_CHARACTERS = 200

# Statuses under 500 that speak of a moment, not of the request.
_TRANSIENT = frozenset((408, 409, 429, 499))


@dataclass(frozen=True)
class Published:
    """An output that is an object now."""

    path: ObjectPath
    etag: str
    bytes: int


class Commit:
    """Publishes the outputs of one job."""

    def __init__(
        self,
        writer: SegmentWriter,
        job_id: str,
        policy_name: Callable[[ObjectPath], str],
        log: Callable[[str], None],
    ) -> None:
        self._writer = writer
        self._large = LargeOutputs(writer, job_id, policy_name, log)
        self._keys: dict[ObjectPath, tuple[int, str]] = {}
        self.published: dict[tuple[int, str], Published] = {}
        self._total = 0

    def publish(self, results: Sequence[Finished]) -> None:
        """Store all outputs; raises JobError or ClusterError naming one."""
        todo = [r for r in results if stored(r)]
        self._total = sum(len(stored(r)) for r in todo)
        try:
            gather(self._publish_node, todo, PUTS_AT_ONCE)
            self._large.publish(self._large_published)
        except BaseException:
            self._large.clean_up()
            raise

    def _publish_node(self, finished: Finished) -> None:
        for output in stored(finished):
            content = finished.contents.get(output.device)
            if content is not None:
                self._put(finished, output, content.chunks())
        if finished.held is not None:
            self._publish_held(finished)

    def _publish_held(self, finished: Finished) -> None:
        """Fetch what the storage node holds; it can be asked only once."""
        held, finished.held = finished.held, None
        if held is None:
            return
        try:
            for position, chunks in held.fetch(finished.wanted()):
                output = finished.node.outputs[position]
                if output.path is not None:
                    self._put(finished, output, chunks)
                else:
                    self._keep(finished, output, chunks)
                # Swift need not read beyond the announced length; the frame
                # that ends the output must be taken in all the same.
                for _ in chunks:
                    pass
        except ConnectionLost as error:
            raise ClusterError(
                "node_lost",
                f"node {finished.node.name}: its storage node went away "
                f"before its outputs were stored; {self._extent()}",
                where=finished.node.name,
            ) from error
        finally:
            held.give_up()

    def _keep(
        self, finished: Finished, output: Output, chunks: Iterator[bytes]
    ) -> None:
        size = finished.size(output) or 0
        content, _ = collect(
            chunks, size, lambda: ConnectionLost("an output is too long")
        )
        finished.contents[output.device] = content

    def _put(
        self, finished: Finished, output: Output, chunks: Iterator[bytes]
    ) -> None:
        channel = finished.channel(output.device)
        if channel is None or output.path is None:
            return
        key = finished.node.index, output.device
        table = {
            "Content-Type": wsgi_text(output.content_type),
            **{
                f"X-Object-Meta-{wsgi_text(name)}": wsgi_text(value)
                for name, value in output.meta
            },
        }
        size, md5 = channel.size, channel.md5
        if self._large.is_large(size):
            label = f"{finished.node.index}/{output.device}"
            large = Large(output.path, size, md5, table, label)
            self._keys[output.path] = key
            self._large.store_segments(large, _Body(chunks))
            return
        table["Content-Length"] = str(size)
        if md5 is not None:
            table["ETag"] = md5
        reply = self._writer.put(output.path, _Body(chunks), table)
        if not reply.ok:
            raise self._refused(output.path, reply)
        etag = reply.headers.get("Etag", "").strip('"') or md5 or ""
        self.published[key] = Published(output.path, etag, size)

    def _large_published(self, output: Large, reply: Reply) -> None:
        """Note a manifest that is stored; raise for one that is not."""
        if not reply.ok:
            doubt = ""
            if reply.status >= 500:
                doubt = (
                    "; it may be stored all the same, so its segments in "
                    f"{segments_container(output)} are left"
                )
            raise self._refused(output.path, reply, doubt)
        etag = reply.headers.get("Etag", "").strip('"')
        key = self._keys[output.path]
        self.published[key] = Published(output.path, etag, output.bytes)

    def _refused(
        self, path: ObjectPath, reply: Reply, more: str = ""
    ) -> JobError | ClusterError:
        text = (
            f"output {path} could not be stored: Swift answered "
            f"{reply.status}{_reason(reply)}{more}; {self._extent()}"
        )
        if reply.status < 500 and reply.status not in _TRANSIENT:
            return JobError("output_refused", text)
        return ClusterError("output_failed", text)

    def _extent(self) -> str:
        """How much of the job's outputs can be seen already."""
        done = len(self.published)
        if not done:
            return "no output of the job was reported as stored"
        return f"{done} of {self._total} outputs of the job are stored already"


def stored(finished: Finished) -> list[Output]:
    """The node's outputs that become objects."""
    return [
        output
        for output in finished.node.stored_outputs
        if finished.size(output) is not None
    ]


def wsgi_text(text: str) -> str:
    """A header's text as WSGI has it: UTF-8 bytes read as latin-1."""
    return text.encode("utf-8").decode("latin-1")


def _reason(reply: Reply) -> str:
    """Swift's own words, without its markup and cut short."""
    text = reply.text.replace("</h1>", ": ").replace("<p>", "")
    for mark in ("<html>", "<h1>", "</p>", "</html>"):
        text = text.replace(mark, "")
    words = " ".join(text.split())[:REASON_CHARACTERS]
    return f" ({words})" if words else ""


class _Body:
    """Chunks as the `read` of a request's body."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Some bytes, at most `size`; b"" only at the end."""
        if size < 0:
            return self._chunk[self._at :] + b"".join(self._chunks)
        while self._at == len(self._chunk):
            self._chunk, self._at = next(self._chunks, b""), 0
            if not self._chunk:
                return b""
        data = self._chunk[self._at : self._at + size]
        self._at += len(data)
        return data

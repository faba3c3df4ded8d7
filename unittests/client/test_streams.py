"""Reading and saving answers and objects (zerocloud/client/streams.py)."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from unittests.client.endpoint import Endpoint
from unittests.client.test_session import CAT, SCRIPT
from zerocloud.client import (
    AnswerError,
    Client,
    ConnectError,
    RefusedError,
    StoredOutput,
    UsageError,
)
from zerocloud.client.streams import save_chunks

NAME = "swift://AUTH_test/texts/a b é%.txt"
LONG = bytes(range(256)) * 8000


@pytest.fixture
def stored(endpoint: Endpoint) -> Endpoint:
    endpoint.objects[NAME] = ("text/plain", LONG)
    return endpoint


def test_object_by_name_streams_with_its_size_and_type(
    client: Client, stored: Endpoint
) -> None:
    with client.open_object("swift://~/texts/a b é%.txt") as stream:
        assert (stream.size, stream.content_type) == (len(LONG), "text/plain")
        parts = list(stream.chunks)
    assert b"".join(parts) == LONG
    assert len(parts) > 1


def test_object_by_a_jobs_output_is_read_while_it_is_the_same(
    client: Client, stored: Endpoint, tmp_path: Path
) -> None:
    etag = hashlib.md5(LONG).hexdigest()
    output = StoredOutput("n", "stdout", NAME, etag, len(LONG))
    assert client.download(output, tmp_path / "f") == len(LONG)
    stored.objects[NAME] = ("text/plain", b"another")
    with pytest.raises(RefusedError, match="is not what the job stored") as no:
        client.download(output, tmp_path / "f")
    assert no.value.status == 412
    assert (tmp_path / "f").read_bytes() == LONG


def test_object_that_is_missing_is_named(client: Client) -> None:
    with (
        pytest.raises(
            RefusedError, match=r"swift://~/c/o: Not Found: No such"
        ),
        client.open_object("swift://~/c/o"),
    ):
        pass


@pytest.mark.parametrize(
    "name", ["texts/a", "swift://~/texts", "swift:///c/o"]
)
def test_object_name_that_is_none_is_refused_here(
    client: Client, endpoint: Endpoint, name: str
) -> None:
    with pytest.raises(UsageError, match="not the name of an object"):
        client.download(name, "f")
    assert endpoint.requests == []


def test_object_damaged_on_its_way_is_found_and_not_saved(
    client: Client, stored: Endpoint, tmp_path: Path
) -> None:
    stored.damage = lambda content: b"X" + content[1:]
    with pytest.raises(AnswerError, match="is not what is stored"):
        client.download(NAME, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_object_of_segments_has_no_md5_to_compare(
    client: Client, stored: Endpoint, tmp_path: Path
) -> None:
    stored.more_headers = {
        "X-Static-Large-Object": "True",
        "Etag": '"' + "0" * 32 + '"',
    }
    assert client.download(NAME, tmp_path / "f") == len(LONG)


def test_answer_that_breaks_off_is_an_error_and_saves_nothing(
    client: Client, stored: Endpoint, tmp_path: Path
) -> None:
    client.info()
    stored.missing_bytes = 10
    with pytest.raises(ConnectError, match="broke off"):
        client.download(NAME, tmp_path / "f")
    with (
        pytest.raises(ConnectError, match="broke off"),
        client.submit_raw(SCRIPT) as answer,
    ):
        answer.save(tmp_path / "g")
    assert list(tmp_path.iterdir()) == []


def test_answer_is_saved_to_a_file_or_read_whole(
    client: Client, tmp_path: Path
) -> None:
    client.store_job("swift://~/jobs/cat", CAT)
    source = "swift://~/jobs/cat"
    with client.submit_raw(source=source, payload=LONG) as answer:
        assert answer.save(tmp_path / "f") == len(LONG)
    assert (tmp_path / "f").read_bytes() == LONG
    with client.submit_raw(source=source, payload=LONG) as answer:
        assert answer.read() == LONG


class TestSaving:
    def test_save_replaces_a_file_at_the_end_only(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"old")

        def chunks() -> Iterator[bytes]:
            yield b"new"
            assert path.read_bytes() == b"old"
            yield b"er"

        assert save_chunks(chunks(), str(path)) == 5
        assert path.read_bytes() == b"newer"
        assert os.listdir(tmp_path) == ["f"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ConnectError])
    def test_save_that_is_stopped_leaves_the_old_file(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"old")

        def chunks() -> Iterator[bytes]:
            yield b"new"
            raise error("stop")

        with pytest.raises(error):
            save_chunks(chunks(), path)
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["f"]

    def test_save_has_the_rights_that_open_would_give(
        self, tmp_path: Path
    ) -> None:
        save_chunks([b"x"], tmp_path / "ours")
        (tmp_path / "theirs").write_bytes(b"x")
        ours, theirs = (
            (tmp_path / name).stat().st_mode for name in ("ours", "theirs")
        )
        assert ours == theirs

    def test_save_through_a_link_keeps_the_link(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("real")
        save_chunks([b"x"], tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == b"x"

    def test_save_to_what_is_no_file_writes_into_it(
        self, tmp_path: Path
    ) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        assert save_chunks([b"through"], pipe) == 7
        assert os.read(reading, 100) == b"through"
        os.close(reading)
        assert pipe.is_fifo()

    def test_save_to_an_open_file_goes_on_after_a_short_write(self) -> None:
        class Trickle(io.BytesIO):
            def write(self, data: object) -> int:
                return super().write(bytes(data)[:3])  # type: ignore[call-overload]

        stream = Trickle()
        assert save_chunks([b"0123456789"], stream) == 10
        assert stream.getvalue() == b"0123456789"

    def test_save_where_nothing_can_be_made_names_the_path(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "none" / "f"
        with pytest.raises(UsageError, match="none/f: No such file"):
            save_chunks([b"x"], path)
        with pytest.raises(UsageError, match="Is a directory"):
            save_chunks([b"x"], tmp_path)


class TestOnSent:
    def sent(
        self, client: Client, payload: object
    ) -> list[tuple[int, object]]:
        client.store_job("swift://~/jobs/cat", CAT)
        seen: list[tuple[int, object]] = []
        result = client.submit(
            source="swift://~/jobs/cat",
            payload=payload,  # type: ignore[arg-type]
            on_sent=lambda done, total: seen.append((done, total)),
        )
        assert result.outputs[0].size == len(LONG)
        return seen

    def test_on_sent_of_a_file_counts_up_to_its_size(
        self, client: Client, tmp_path: Path
    ) -> None:
        (tmp_path / "f").write_bytes(LONG)
        seen = self.sent(client, tmp_path / "f")
        assert seen[-1] == (len(LONG), len(LONG))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert len(seen) > 2

    def test_on_sent_of_bytes_counts_up_to_their_number(
        self, client: Client
    ) -> None:
        seen = self.sent(client, LONG)
        assert seen[-1] == (len(LONG), len(LONG))
        assert len(seen) > 2

    def test_on_sent_of_a_stream_knows_no_total(self, client: Client) -> None:
        seen = self.sent(client, io.BytesIO(LONG))
        assert seen[-1] == (len(LONG), None)
        assert len(seen) > 2

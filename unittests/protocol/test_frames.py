"""Frames: what one side writes the other reads, and nothing else."""

from __future__ import annotations

import io

import pytest

from zerocloud.errors import ProtocolError
from zerocloud.protocol import frames
from zerocloud.protocol.frames import (
    FrameOpener,
    FrameSigner,
    StreamEnded,
    encode_frame,
    frame_key,
    read_frame,
)

KEY = frame_key(b"k" * 32, "0123abcd " + "0" * 64)


def dribble(data: bytes, step: int = 1):
    stream = io.BytesIO(data)
    return lambda size: stream.read(min(size, step))


def test_down_frames_written_are_read_back():
    data = encode_frame(b"A", 0, b"{}") + encode_frame(b"D", 65535, b"\0\xff")
    read = io.BytesIO(data).read
    assert read_frame(read) == frames.Frame(b"A", 0, b"{}")
    assert read_frame(read) == frames.Frame(b"D", 65535, b"\0\xff")


def test_down_frame_in_single_bytes_is_joined():
    frame = read_frame(dribble(encode_frame(b"R", 1, b"report")))
    assert frame.payload == b"report"


def test_down_stream_end_between_frames_is_told_apart():
    with pytest.raises(StreamEnded, match="the stream has ended"):
        read_frame(io.BytesIO(b"").read)


@pytest.mark.parametrize("kept", [1, 6, 8])
def test_down_stream_end_within_a_frame_is_refused(kept):
    data = encode_frame(b"D", 0, b"abc")[:kept]
    with pytest.raises(ProtocolError, match="ended within a frame") as caught:
        read_frame(io.BytesIO(data).read)
    assert not isinstance(caught.value, StreamEnded)


@pytest.mark.parametrize("kind", [b"T", b"G", b"?", b"\0"])
def test_down_frame_of_unknown_kind_is_refused(kind):
    data = frames.HEADER.pack(kind, 0, 0)
    with pytest.raises(ProtocolError, match="unknown kind"):
        read_frame(io.BytesIO(data).read)


def test_frame_too_long_is_refused_before_it_is_read():
    data = frames.HEADER.pack(b"D", 0, frames.MAX_PAYLOAD + 1)
    with pytest.raises(ProtocolError, match="1048577 bytes; allowed are"):
        read_frame(io.BytesIO(data).read)


def test_frame_too_long_is_not_written():
    with pytest.raises(ProtocolError, match="allowed are 1048576"):
        encode_frame(b"D", 0, bytes(frames.MAX_PAYLOAD + 1))


def test_up_frames_sealed_are_opened():
    signer, opener = FrameSigner(KEY), FrameOpener(KEY)
    data = signer.seal(b"T", 0, b"{}") + signer.seal(b"P")
    read = io.BytesIO(data).read
    assert opener.read_frame(read) == frames.Frame(b"T", 0, b"{}")
    assert opener.read_frame(read) == frames.Frame(b"P", 0, b"")


@pytest.mark.parametrize("position", [0, 1, 7, 8, -1])
def test_up_frame_with_a_changed_byte_is_refused(position):
    data = bytearray(FrameSigner(KEY).seal(b"D", 3, b"abc"))
    data[position] ^= 1
    with pytest.raises(ProtocolError, match=r"wrong MAC|unknown kind"):
        FrameOpener(KEY).read_frame(io.BytesIO(bytes(data)).read)


def test_up_frames_swapped_are_refused():
    signer, opener = FrameSigner(KEY), FrameOpener(KEY)
    first, second = signer.seal(b"D", 0, b"1"), signer.seal(b"D", 0, b"2")
    with pytest.raises(ProtocolError, match="wrong MAC"):
        opener.read_frame(io.BytesIO(second + first).read)


def test_up_frame_under_another_signature_is_refused():
    other = frame_key(b"k" * 32, "0123abcd " + "1" * 64)
    data = FrameSigner(other).seal(b"G")
    with pytest.raises(ProtocolError, match="wrong MAC"):
        FrameOpener(KEY).read_frame(io.BytesIO(data).read)


def test_up_frame_of_a_down_kind_is_refused():
    data = FrameSigner(KEY).seal(b"Z")
    with pytest.raises(ProtocolError, match="unknown kind b'Z'"):
        FrameOpener(KEY).read_frame(io.BytesIO(data).read)

"""gRPC-Web: trailers in the body, base64 text."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import Malformed
from protogw.wire.grpc_web import OK_FRAME, TextReader, encode_text, trailer_frame


def decode(pieces: list[bytes]) -> bytes:
    reader = TextReader()
    out = b"".join([reader.feed(piece) for piece in pieces])
    reader.end()
    return out


def test_trailers_are_a_header_block_in_an_envelope() -> None:
    assert OK_FRAME == b"\x80\0\0\0\x10grpc-status: 0\r\n"
    frame = trailer_frame([(b"grpc-status", b"5"), (b"x-a", b"b")])
    assert frame[5:] == b"grpc-status: 5\r\nx-a: b\r\n"


@given(st.lists(st.binary(max_size=20), max_size=6), st.lists(st.integers(0, 300), max_size=10))
def test_chunks_of_base64_decode_however_they_are_cut(chunks: list[bytes], cuts: list[int]) -> None:
    text = b"".join(encode_text(chunk) for chunk in chunks)
    edges = [0, *sorted(cut for cut in cuts if cut <= len(text)), len(text)]
    assert decode([text[start:end] for start, end in itertools.pairwise(edges)]) == b"".join(chunks)


@pytest.mark.parametrize("text", [b"AAA!", b"A===", b"====", b"AA=A", b"AAAA\r\n==", b"=AAA", "ÄÄÄÄ".encode(), b"AA-_"])
def test_text_that_is_not_base64_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed, match="base64"):
        decode([text])


def test_text_that_ends_within_a_quantum_is_refused() -> None:
    with pytest.raises(Malformed, match="quantum"):
        decode([b"AAAAAA"])


@given(st.lists(st.binary(max_size=30), max_size=5))
def test_any_bytes_decode_or_are_malformed(pieces: list[bytes]) -> None:
    try:
        decode(pieces)
    except Malformed:
        pass


def test_many_padded_chunks_take_linear_time() -> None:
    text = base64.b64encode(b"a") * 100_000
    assert decode([text]) == b"a" * 100_000

"""Compression aside: what is large is done in a thread, so that others go on; what it comes to is the same."""

from __future__ import annotations

import asyncio
import gzip
import os
import threading
from collections.abc import Awaitable, Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw import aside
from protogw.aside import DECODED_AT_ONCE, ENCODED_AT_ONCE, compressed, decompressed, opened
from protogw.call import Encoding, Payload
from protogw.errors import BodyTooLarge, InvalidRequest, Malformed
from protogw.frontends.enveloped import sealed
from protogw.wire import zstd
from protogw.wire.content import decompress
from protogw.wire.envelope import EnvelopeReader
from protogw.wire.message_encoding import open_message

LARGE = 3 * DECODED_AT_ONCE
BOMB = gzip.compress(bytes(LARGE))


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each piece of work, whether it was done beside the loop."""
    seen: list[bool] = []
    main = threading.get_ident()

    def watched(work: Callable[..., bytes]) -> Callable[..., bytes]:
        def run(*args: object) -> bytes:
            seen.append(threading.get_ident() != main)
            return work(*args)

        return run

    for name in ("decompress", "open_message", "compress"):
        monkeypatch.setattr(aside, name, watched(getattr(aside, name)))
    return seen


async def test_small_bodies_are_done_at_once(threads: list[bool]) -> None:
    squeezed = await compressed(b"x" * 1000, b"gzip")
    assert await decompressed(squeezed, b"gzip", LARGE) == b"x" * 1000
    assert await opened(1, squeezed, b"gzip", LARGE, Malformed) == b"x" * 1000
    assert await opened(0, bytes(100), b"", LARGE, Malformed) == bytes(100)
    assert threads == [False] * 4


async def test_large_bodies_are_done_aside(threads: list[bool]) -> None:
    data = os.urandom(LARGE)
    squeezed = await compressed(data, b"gzip")
    assert await decompressed(squeezed, b"gzip", LARGE) == data
    assert await opened(1, squeezed, b"gzip", LARGE, Malformed) == data
    assert threads == [True] * 3


async def test_a_small_body_that_becomes_large_is_done_aside(threads: list[bool]) -> None:
    assert await decompressed(BOMB, b"gzip", LARGE) == bytes(LARGE)
    assert await opened(1, BOMB, b"gzip", LARGE, Malformed) == bytes(LARGE)
    assert await decompressed(brotli.compress(bytes(LARGE)), b"br", LARGE) == bytes(LARGE)
    assert await decompressed(zstd.compress(bytes(LARGE)), b"zstd", LARGE) == bytes(LARGE)
    assert threads == [False, True] * 4


@pytest.mark.parametrize("limit", [1000, LARGE - 1])
async def test_a_bomb_is_refused_at_the_limit(limit: int) -> None:
    works: list[Callable[[], Awaitable[bytes]]] = [
        lambda: decompressed(BOMB, b"gzip", limit),
        lambda: opened(1, BOMB, b"gzip", limit, Malformed),
    ]
    for work in works:
        with pytest.raises(BodyTooLarge, match=str(limit)):
            await work()


async def test_what_is_no_gzip_is_refused_alike() -> None:
    with pytest.raises(InvalidRequest):
        await decompressed(b"x" * LARGE, b"gzip", LARGE)
    with pytest.raises(Malformed):
        await opened(1, b"x" * LARGE, b"gzip", LARGE, Malformed)


async def test_others_go_on_meanwhile_and_a_cancelled_caller_goes_at_once() -> None:
    task = asyncio.create_task(compressed(os.urandom(100 * ENCODED_AT_ONCE), b"gzip"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@given(st.binary(max_size=500), st.sampled_from([b"", b"gzip", b"br", b"zstd"]))
async def test_what_is_sealed_opens_again(data: bytes, coding: bytes) -> None:
    reader = EnvelopeReader(1000, Malformed)
    reader.push(await sealed(Payload(data, Encoding.PROTO), Encoding.PROTO, coding, False))
    found = reader.next()
    assert found is not None
    flags, message = found
    assert reader.empty
    assert flags == (1 if coding and len(data) >= 128 else 0)
    assert open_message(flags, message, coding, 1000, Malformed) == data
    assert await decompressed(b"", coding, 10) == decompress(b"", coding, 10) == b""

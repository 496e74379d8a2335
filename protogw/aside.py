"""Compression of what is large, in threads beside the event loop: zlib, brotli and zstd let go of the interpreter
meanwhile.

A bomb of a few hundred bytes makes as much work as the limit allows, a fifth of a second for 64 MiB, in which every
other call would wait. What is small is done at once: a thread would cost it more than the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec

from protogw.errors import BodyTooLarge, GatewayError
from protogw.wire.content import compress, decompress
from protogw.wire.message_encoding import open_message

P = ParamSpec("P")

DECODED_AT_ONCE = 1 << 20
"""Bytes that come out in some 3 ms."""
ENCODED_AT_ONCE = 64 << 10
"""Bytes that go in in some 3 ms."""
_THREADS = 2

_threads = ThreadPoolExecutor(_THREADS, "compression")


async def _aside(work: Callable[P, bytes], *args: P.args, **_: P.kwargs) -> bytes:
    """A caller that is cancelled goes at once; work that has begun ends by itself, within its limit."""
    return await asyncio.get_running_loop().run_in_executor(_threads, work, *args)


async def decompressed(data: bytes, coding: bytes, limit: int) -> bytes:
    """As content.decompress."""
    if len(data) <= DECODED_AT_ONCE:
        try:
            return decompress(data, coding, min(limit, DECODED_AT_ONCE))
        except BodyTooLarge:
            if limit <= DECODED_AT_ONCE:
                raise
    return await _aside(decompress, data, coding, limit)


async def opened(flags: int, data: bytes, coding: bytes, limit: int, fault: type[GatewayError]) -> bytes:
    """As message_encoding.open_message."""
    if len(data) <= DECODED_AT_ONCE:
        try:
            return open_message(flags, data, coding, min(limit, DECODED_AT_ONCE), fault)
        except BodyTooLarge:
            if limit <= DECODED_AT_ONCE:
                raise
    return await _aside(open_message, flags, data, coding, limit, fault)


async def encoded(work: Callable[[bytes], bytes], data: bytes) -> bytes:
    """As `work`, which encodes."""
    return work(data) if len(data) <= ENCODED_AT_ONCE else await _aside(work, data)


async def compressed(data: bytes, coding: bytes) -> bytes:
    """As content.compress."""
    if len(data) <= ENCODED_AT_ONCE:
        return compress(data, coding)
    return await _aside(compress, data, coding)

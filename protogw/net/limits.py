"""The bounds of every downstream and upstream connection, in one value. Bytes and seconds throughout."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Defaults are strict; a listener's `limits` relaxes or tightens them by name."""

    header_bytes: int = 64 << 10
    header_count: int = 200
    target_bytes: int = 16 << 10
    concurrent_streams: int = 100
    connections: int = 20_000
    idle_s: float = 300.0
    """A connection without a request, or a stream without progress in either direction, ends after this."""
    header_timeout_s: float = 10.0
    """From a request's first byte (or the accept) to the end of its header section."""
    handshake_timeout_s: float = 10.0
    min_rate: int = 100
    """Bytes a second below which an unfinished request body counts as stalled (judged over `header_timeout_s`)."""
    stream_window: int = 256 << 10
    """Request bytes buffered per stream before the client must wait."""
    connection_window: int = 1 << 20
    write_buffer: int = 256 << 10
    """Answer bytes buffered per stream or connection before the writer must wait."""

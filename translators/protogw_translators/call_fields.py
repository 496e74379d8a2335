"""What a call's metadata becomes as fields of an HTTP/1.1 request, and who asks, where whole replies are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogw.wire.forwarded import forwarded
from protogw.wire.http import HOP_BY_HOP, Header
from protogw.wire.http1_chunked import encode_fields

if TYPE_CHECKING:
    from protogw.call import Call, Metadata
    from protogw.wire.http import Peer

_BLOCKS_KEPT = 256
_BLOCK_BYTES = 4096

_OWN = HOP_BY_HOP | frozenset(
    (
        b"host",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"accept",
        b"content-type",
        b"content-length",
        # A client's own socket ends here.
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        # A call needs its whole reply: what makes 304 and 206 of one is not passed on.
        b"if-none-match",
        b"if-modified-since",
        b"if-range",
        b"range",
    )
)
"""Fields of the metadata that are not sent."""


class CallFields:
    """Encodes calls' metadata; calls that share it are encoded once."""

    def __init__(self, user_agent: str) -> None:
        self._user_agent: Header = (b"user-agent", user_agent.encode())
        self.guarded: frozenset[bytes] = frozenset()
        """Names that no message may set."""
        self._blocks: dict[tuple[int, str, bool, tuple[Header, ...], bytes], tuple[Metadata, bytes]] = {}

    def block(self, call: Call) -> bytes:
        """The metadata as fields, and who asks."""
        metadata, peer = call.metadata, call.peer
        authority = call.head.authority if call.head is not None else b""
        # By identity: Metadata is never changed, and is held here, so its id cannot come to mean another.
        key = (id(metadata), peer.host, peer.tls, peer.forwarded, authority)
        found = self._blocks.get(key)
        if found is not None:
            return found[1]
        block = encode_fields(self.fields(metadata, peer, authority))
        if len(block) <= _BLOCK_BYTES:
            if len(self._blocks) >= _BLOCKS_KEPT:
                self._blocks.clear()
            self._blocks[key] = (metadata, block)
        return block

    def with_own(self, call: Call, own: Sequence[Header]) -> bytes:
        """The same with the request's own fields in place of the metadata's; cookies are joined."""
        if self.guarded:
            own = [pair for pair in own if pair[0].replace(b"_", b"-") not in self.guarded]
        authority = call.head.authority if call.head is not None else b""
        names = {name for name, _ in own}
        fields: list[Header] = []
        cookies: list[bytes] = []
        for pair in (*self.fields(call.metadata, call.peer, authority), *own):
            if pair[0] == b"cookie":
                cookies.append(pair[1])
            elif pair[0] not in names:
                fields.append(pair)
        fields += [pair for pair in own if pair[0] != b"cookie"]
        if cookies:
            fields.append((b"cookie", b"; ".join(cookies)))
        return encode_fields(fields)

    def fields(self, metadata: Metadata, peer: Peer, authority: bytes) -> list[Header]:
        """The same as pairs."""
        fields = [pair for pair in metadata.pairs if pair[0] not in _OWN]
        if metadata.get(b"user-agent") is None:
            fields.append(self._user_agent)
        fields.extend(forwarded(peer, authority))
        return fields

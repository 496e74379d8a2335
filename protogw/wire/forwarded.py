"""The gateway's own account of who asked for what, for the service behind (the de-facto X-Forwarded-* fields).

What a client says of itself in them has been left behind (wire.metadata, wire.http1): no proxy before the gateway is
trusted yet, so the address is always that of the connection.
"""

from __future__ import annotations

from protogw.wire.http import Header, Peer


def forwarded(peer: Peer, authority: bytes) -> tuple[Header, ...]:
    """The fields that every request upstream carries; `authority` is the one that the client asked for."""
    fields = (
        (b"x-forwarded-for", peer.host.encode()),
        (b"x-forwarded-proto", b"https" if peer.tls else b"http"),
    )
    return (*fields, (b"x-forwarded-host", authority)) if authority else fields

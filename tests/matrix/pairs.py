"""What every pair of a front end and a translator carries, and what it cannot: read by the matrix tests, which hold it
to be true, and by the support matrix in the README."""

from __future__ import annotations

from dataclasses import dataclass

from protogw.assembly import KINDS

SHAPES = ("unary", "server stream", "client stream", "bidi")


@dataclass(frozen=True, slots=True)
class Limit:
    """A call shape that a pair does not carry: the code a caller gets, and why, in a few words."""

    code: int
    why: str


_REST_BIDI = Limit(12, "a REST service answers once the request has ended")

_GRAPHQL = Limit(12, "GraphQL has no streams from the client")

_FRONTS = ("rest", "grpc", "grpc-web", "connect", "websocket")

LIMITS: dict[tuple[str, str], dict[str, Limit]] = {
    **{(front, "rest"): {"bidi": _REST_BIDI} for front in _FRONTS},
    **{(front, "graphql"): {"client stream": _GRAPHQL, "bidi": _GRAPHQL} for front in _FRONTS},
}
"""By front end and translator. What is not here works."""

FRONT_LIMITS = {"graphql": "it has no way to stream a request"}
"""What a front end's own protocol cannot carry, whatever the service speaks."""

LIMITS.update(
    {
        (front, translator): dict.fromkeys(("client stream", "bidi"), Limit(12, why))
        for front, why in FRONT_LIMITS.items()
        for translator in KINDS.translators
        if translator != "http"
    }
)

HALF_DUPLEX = {
    "grpc-web": "bidi needs HTTP/2, which browsers give no page for this",
    "connect": "bidi needs HTTP/2",
}
"""What a front end's own protocol says of its streams."""

NO_TRAILERS = frozenset(("rest", "graphql", "websocket"))
"""Translators whose services have no trailers to give."""

TRAILERS_DROPPED = frozenset(("graphql",))
"""Front ends whose clients have no place for trailers."""

OPAQUE = "http"
"""The kind on both sides that carries requests without knowing methods; it pairs with itself alone."""


def fronts() -> tuple[str, ...]:
    return tuple(kind for kind in KINDS.front_ends if kind != OPAQUE)


def translators() -> tuple[str, ...]:
    return tuple(kind for kind in KINDS.translators if kind != OPAQUE)


def limit(front: str, translator: str, shape: str) -> Limit | None:
    """Why this pair does not carry the shape, or None."""
    return LIMITS.get((front, translator), {}).get(shape)

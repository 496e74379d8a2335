"""Credentials in the queries of requests, which no log may show: found by the names of parameters, and cut out."""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_lowercase, ascii_uppercase
from typing import Final
from urllib.parse import unquote_to_bytes

SECRET_PARAMETERS = frozenset(
    (
        b"access-token",
        b"access_token",
        b"api-key",
        b"api_key",
        b"apikey",
        b"assertion",
        b"auth",
        b"authorization",
        b"client_assertion",
        b"client_secret",
        b"code",
        b"credential",
        b"credentials",
        b"id_token",
        b"jwt",
        b"key",
        b"passwd",
        b"password",
        b"pwd",
        b"private_token",
        b"refresh_token",
        b"secret",
        b"session",
        b"sessionid",
        b"sig",
        b"signature",
        b"token",
        b"x-amz-credential",
        b"x-amz-security-token",
        b"x-amz-signature",
        b"x-api-key",
        b"x-goog-signature",
    )
)
"""Query parameters whose values are never logged, lower case (the OAuth RFCs', and those in common use)."""

_secret: Final[set[bytes]] = set(SECRET_PARAMETERS)


def keep_out(names: Iterable[bytes]) -> None:
    """Never log the values of these either, in no log of this process: policies find credentials there."""
    _secret.update(name.lower() for name in names)


def redacted(query: bytes) -> bytes:
    """The query with the values of secret parameters cut out: `token`, and `token[0]` or `user[token]` as well."""
    if _PERCENT not in query:
        # Nearly always there is none. Parted finer here than anybody reads it, in the one step that is due anyway.
        names = [piece.partition(b"=")[0].strip() for piece in query.translate(_FOLDED).split(b"&")]
        if _secret.isdisjoint(names):
            return query
    parts = query.split(b"&")
    for index, part in enumerate(parts):
        start = 0
        for piece in part.split(b";"):
            name, equals, _ = piece.partition(b"=")
            if equals and _is_secret(name):
                # All of the part: a semicolon ends a value for some readers only.
                parts[index] = part[: start + len(name)] + b"=***"
                break
            start += len(piece) + 1
    return b"&".join(parts)


def _is_secret(name: bytes) -> bool:
    read = unquote_to_bytes(name.replace(b"+", b" ")).lower()
    return not _secret.isdisjoint([one.strip() for one in read.replace(b"]", b"[").split(b"[")])


(_PERCENT,) = b"%"
_FOLDED: Final = bytes.maketrans(b";[]+" + ascii_uppercase.encode(), b"&&& " + ascii_lowercase.encode())
"""Lower case, with what parts some readers' names as what parts parameters."""

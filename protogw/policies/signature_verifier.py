"""Verifies the one signature of a request that counts (RFC 9421), by a library; knows no call."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import http_sf
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import (
    ECDSA_P256_SHA256,
    ECDSA_P384_SHA384,
    ED25519,
    HMAC_SHA256,
    RSA_PSS_SHA512,
    RSA_V1_5_SHA256,
)
from http_message_signatures.exceptions import HTTPMessageSignaturesException

from protogw.identity import Identity
from protogw.policies.signature_keys import Known
from protogw.wire.http import RequestHead

MOST_SIGNATURES: Final = 8
"""More in one request are not looked at."""

_ALGORITHMS: Final[Mapping[str, Any]] = {
    one.algorithm_id: one
    for one in (HMAC_SHA256, ED25519, RSA_PSS_SHA512, RSA_V1_5_SHA256, ECDSA_P256_SHA256, ECDSA_P384_SHA384)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signature that holds: whose it is, and what it is over."""

    identity: Identity
    key: str
    covered: frozenset[str]
    nonce: str | None


class _Fields:
    """A request's fields, each line by itself."""

    def __init__(self, head: RequestHead) -> None:
        self._pairs = [(name.decode(), value.decode("latin-1")) for name, value in head.headers]

    def items(self) -> list[tuple[str, str]]:
        return self._pairs

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._pairs))


class _Request:
    """A request as the verifier reads it."""

    def __init__(self, head: RequestHead, *, secure: bool) -> None:
        scheme = "https" if secure else "http"
        target = head.path + (b"?" + head.query if head.query else b"")
        self.method = head.method.decode("latin-1")
        self.url = f"{scheme}://{head.authority.decode('latin-1')}{target.decode('latin-1')}"
        self.headers = _Fields(head)


class _Keys(HTTPSignatureKeyResolver):
    """The one key that a signature named."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def resolve_public_key(self, key_id: str) -> Any:
        return self._known.material


class Verifier:
    """Verifies by fixed rules of time and tag."""

    def __init__(self, *, max_age_s: float, leeway_s: float, tag: str | None) -> None:
        self._age = datetime.timedelta(seconds=max_age_s)
        self._skew = datetime.timedelta(seconds=leeway_s)
        self._tag = tag

    def verified(
        self, head: RequestHead, *, secure: bool, keys: Mapping[str, Known], body: bytes | None
    ) -> Signed | str:
        """What was signed, or in a few words for the log why that does not hold. With a `body`, a digest of it must be
        covered unless it is empty."""
        try:
            request = _Request(head, secure=secure)
            known = self._named(request, keys)
            verifier = HTTPMessageVerifier(signature_algorithm=_ALGORITHMS[known.algorithm], key_resolver=_Keys(known))
            verifier.max_clock_skew = self._skew
            (found,) = verifier.verify(request, max_age=self._age, expect_tag=self._tag, body=body)
        except (HTTPMessageSignaturesException, ValueError) as error:
            return str(error)
        return Signed(
            identity=known.identity,
            key=str(found.parameters["keyid"]),
            covered=frozenset(str(name).strip('"') for name in found.covered_components),
            nonce=found.nonce,
        )

    def _named(self, request: _Request, keys: Mapping[str, Known]) -> Known:
        """The key that the one signature which counts names."""
        written = ", ".join(value for name, value in request.headers.items() if name == "signature-input")
        inputs: Any = http_sf.parse(written.encode("latin-1"), tltype="dictionary")
        if len(inputs) > MOST_SIGNATURES:
            raise ValueError("too many signatures")
        tag = self._tag
        named = [params.get("keyid") for _, params in inputs.values() if tag is None or params.get("tag") == tag]
        if len(named) != 1 or not isinstance(named[0], str):
            raise ValueError("not exactly one signature with a keyid counts")
        known = keys.get(named[0])
        if known is None:
            raise ValueError("the key is not known")
        return known

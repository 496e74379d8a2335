"""Keys that verify tokens: each with the algorithms that it may be used with, which no token has a say in.

A key's own `alg` (RFC 7517 section 4.4) settles it; without one its type does. An RSA key can so never be a secret for
an HMAC, and `none` is no algorithm of any key.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from protogw.policies.tokens.compact import Compact, TokenFault

if TYPE_CHECKING:
    from joserfc.jwk import Key

MOST_KEYS: Final = 100
_MOST_TRIED = 4
"""Keys that a token is tried with that names none."""
_LEAST_RSA, _MOST_RSA = 2048, 8192
_LEAST_SECRET = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Bytes (RFC 7518 section 3.2)."""

_CURVES = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
    ("OKP", "Ed448"): ("EdDSA", "Ed448"),
}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}

ASYMMETRIC: Final = (*_RSA, "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448")
ALGORITHMS: Final = (*ASYMMETRIC, *_LEAST_SECRET)


class KeyFault(Exception):
    """Keys that cannot be used; the message says why and holds nothing of them."""


class UnknownKey(TokenFault):
    """No key has the name that the token gives for its own."""


class VerifyingKey:
    """One key. `kid` is None for one that verifies whatever name a token gives."""

    __slots__ = ("_key", "_signs", "algorithms", "kid", "print")

    def __init__(self, key: Key, kid: str | None, algorithms: Collection[str]) -> None:
        from joserfc.jws import JWSRegistry

        self.kid = kid
        self.algorithms = frozenset(algorithms)
        self.print = (kid, key.thumbprint(), self.algorithms)
        """What tells it from every other."""
        self._key = key
        self._signs = {name: JWSRegistry.algorithms[name] for name in algorithms}

    def holds(self, token: Compact) -> bool:
        """Whether it has signed this. The token's algorithm is one of its own."""
        try:
            return self._signs[token.algorithm].verify(token.signed, token.signature, self._key)
        except (ValueError, TypeError):  # a signature of another length than the algorithm's
            return False

    def __repr__(self) -> str:
        return f"<VerifyingKey {self.kid or '(no name)'} {', '.join(sorted(self.algorithms))}>"


class KeyRing:
    """The keys of one issuer."""

    def __init__(self, keys: Iterable[VerifyingKey] = ()) -> None:
        self.keys = tuple(keys)

    def verify(self, token: Compact) -> None:
        """Raises UnknownKey when none of its keys is the token's, TokenFault when the signature does not hold."""
        named = [key for key in self.keys if key.kid is None or token.kid is None or key.kid == token.kid]
        if not named:
            raise UnknownKey("the token's key is not known")
        fitting = [key for key in named if token.algorithm in key.algorithms]
        if not fitting:
            raise TokenFault("the token's algorithm is not its key's")
        if not any(key.holds(token) for key in fitting[:_MOST_TRIED]):
            if token.kid is None and any(key.kid is not None for key in self.keys):
                raise UnknownKey("the token's signature does not hold")
            raise TokenFault("the token's signature does not hold")

    def same(self, other: KeyRing) -> bool:
        return {key.print for key in self.keys} == {key.print for key in other.keys}

    def __len__(self) -> int:
        return len(self.keys)


def ring_of(data: bytes, *, algorithms: Collection[str] = (), secrets: bool = False) -> KeyRing:
    """The signing keys of a JSON Web Key Set (RFC 7517 section 5), or of one key alone; raises KeyFault.

    Keys of unknown types and those for other uses are passed over, as that section says. `algorithms` are the only ones
    wanted, if there are any. Symmetric keys are taken with `secrets` only: a set that anybody may fetch holds none.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise KeyFault("not JSON") from None
    entries = found.get("keys", [found] if "kty" in found else None) if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise KeyFault("not a set of keys: there is no list `keys`")
    if len(entries) > MOST_KEYS:
        raise KeyFault(f"more than {MOST_KEYS} keys")
    made = [key for entry in entries if (key := _of_entry(entry, algorithms, secrets)) is not None]
    if not made:
        raise KeyFault("none of its keys can verify tokens")
    return KeyRing(made)


def _of_entry(entry: Any, algorithms: Collection[str], secrets: bool) -> VerifyingKey | None:
    """One entry's key, None when it is not for us."""
    if not isinstance(entry, dict):
        return None
    kind, kid, alg = entry.get("kty"), entry.get("kid"), entry.get("alg")
    names = _PUBLIC.get(kind) if isinstance(kind, str) else None
    if names is None or entry.get("use", "sig") != "sig" or not isinstance(kid, str | None):
        return None
    operations = entry.get("key_ops")
    if isinstance(operations, list) and "verify" not in operations:
        return None
    if kind == "oct" and not secrets:
        return None
    # Only what is public: of a private key that has slipped into a set, the rest is not even read.
    values = {"kty": kind, **{name: entry.get(name) for name in names}}
    if not all(isinstance(value, str) for value in values.values()):
        return None
    try:
        key = _imported(values)
        fitting = _fitting(key, values, alg)
    except KeyFault:
        return None
    fitting = [one for one in fitting if not algorithms or one in algorithms]
    return VerifyingKey(key, kid, fitting) if fitting else None


def _imported(values: Mapping[str, Any]) -> Key:
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weak keys: those are refused below
        try:
            return import_key(dict(values))
        except (JoseError, ValueError, TypeError, OverflowError) as error:
            raise KeyFault("not a key") from error


def _fitting(key: Key, values: Mapping[str, Any], alg: object) -> list[str]:
    """The algorithms that this key may be used with; raises KeyFault for a weak key."""
    kind = str(values["kty"])
    if kind == "RSA":
        size = int(getattr(key.raw_value, "key_size", 0))
        if not _LEAST_RSA <= size <= _MOST_RSA:
            raise KeyFault(f"an RSA key has {_LEAST_RSA} to {_MOST_RSA} bits")
        known: tuple[str, ...] = _RSA
    elif kind == "oct":
        size = len(key.raw_value) if isinstance(key.raw_value, bytes) else 0
        known = tuple(name for name, least in _LEAST_SECRET.items() if size >= least)
        if not known:
            raise KeyFault(f"a secret has at least {_LEAST_SECRET['HS256']} bytes")
        if alg is None:
            known = known[:1]
    else:
        known = _CURVES.get((kind, str(values.get("crv"))), ())
    if alg is None:
        return list(known)
    # A key for EdDSA may say so by either of its names (RFC 9864).
    return [name for name in known if name == alg or (kind == "OKP" and alg in known)]


def key_of_secret(secret: str, algorithms: Collection[str] = ()) -> VerifyingKey:
    """A key for HMACs, HS256 unless others are asked for; raises KeyFault for one that is too short."""
    from joserfc.jwk import OctKey

    wanted = list(algorithms) or ["HS256"]
    data = secret.encode()
    for name in wanted:
        if name not in _LEAST_SECRET:
            raise KeyFault(f"{name} is no algorithm for a secret")
        if len(data) < _LEAST_SECRET[name]:
            raise KeyFault(f"a secret for {name} has at least {_LEAST_SECRET[name]} bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return VerifyingKey(OctKey.import_key(data), None, wanted)
        except ValueError as error:
            raise KeyFault("is a public key, which is no secret") from error


def key_of_pem(text: str, algorithms: Collection[str] = ()) -> VerifyingKey:
    """A public key in PEM, or the one of a certificate; raises KeyFault."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    data = text.encode()
    try:
        if b"BEGIN CERTIFICATE" in data:
            found: Any = x509.load_pem_x509_certificate(data).public_key()
            data = found.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        elif b"PRIVATE KEY" in data:
            raise KeyFault("is a private key: only its public part verifies tokens, and only that belongs here")
    except ValueError as error:
        raise KeyFault("is no certificate in PEM") from error
    for kind in (RSAKey, ECKey, OKPKey):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                key: Any = kind.import_key(data)
            except Exception:  # noqa: BLE001 (the library tells one type of key from another by many exceptions)
                continue
        values = key.as_dict(private=False)
        fitting = [name for name in _fitting(key, values, None) if not algorithms or name in algorithms]
        if not fitting:
            raise KeyFault(f"is a key for none of {', '.join(algorithms)}")
        return VerifyingKey(key, None, fitting)
    raise KeyFault("is no public key in PEM")

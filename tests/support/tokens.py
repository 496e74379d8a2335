"""An issuer of tokens, as it is and as forgers imitate it; and a fetcher whose answers a test writes."""

from __future__ import annotations

import base64
import hmac
import json
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from protogw.fetching import Fetched, FetchError
from protogw.policies.tools import PolicyTools
from protogw.stores.registry import Stores

ISSUER = "https://idp.example"
AUDIENCE = "api"
JWKS = "https://idp.example/jwks.json"
VALID_S = 6 * 3600
"""How long tokens hold: longer than all tests take, since some are made when tests are collected."""
SECRET = "a secret that has thirty-two bytes!"


def key(kid: str = "one", kind: str = "RSA") -> Key:
    """A private key of this name, the same for every test of a process."""
    return _key(kid, kind)


@cache
def _key(kid: str, kind: str) -> Key:
    made: Key
    if kind == "RSA":
        made = RSAKey.generate_key(2048, {"kid": kid})
    elif kind == "EC":
        made = ECKey.generate_key("P-256", {"kid": kid})
    else:
        made = OKPKey.generate_key("Ed25519", {"kid": kid})
    return made


def pem(private: Key) -> str:
    """Its public part."""
    public: Any = private.get_op_key("verify")
    return str(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    )


def jwks(*keys: Key, **more: Any) -> bytes:
    return json.dumps({"keys": [{**one.as_dict(private=False), **more} for one in keys]}).encode()


def claims(**more: Any) -> dict[str, Any]:
    """What a good token says; a claim of None is left out."""
    now = int(time.time())
    found = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "exp": now + VALID_S,
        "nbf": now - 10,
        "iat": now - 10,
        **more,
    }
    return {name: value for name, value in found.items() if value is not None}


def token(private: Key | None = None, *, header: Mapping[str, Any] | None = None, **more: Any) -> bytes:
    """A token that the issuer has signed."""
    private = private or key()
    algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519", "oct": "HS256"}[private.key_type]
    head = {"alg": algorithm, "typ": "JWT", "kid": private.kid, **(header or {})}
    return signed({name: value for name, value in head.items() if value is not None}, claims(**more), private)


def signed(header: Mapping[str, Any], said: Mapping[str, Any], private: Key) -> bytes:
    """Signed as the header says, whatever else that says."""
    return raw(header, json.dumps(said).encode(), private)


def raw(header: Mapping[str, Any] | bytes, body: bytes, private: Key, algorithm: str | None = None) -> bytes:
    from joserfc.jws import JWSRegistry

    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    name = algorithm or (str(header["alg"]) if not isinstance(header, bytes) else "RS256")
    data = encoded(head) + b"." + encoded(body)
    return data + b"." + encoded(JWSRegistry.algorithms[name].sign(data, private))


def forged(header: Mapping[str, Any], said: Mapping[str, Any], secret: bytes) -> bytes:
    """Signed with HMAC-SHA256 and these very bytes."""
    data = encoded(json.dumps(header).encode()) + b"." + encoded(json.dumps(said).encode())
    return data + b"." + encoded(hmac.digest(secret, data, "sha256"))


def encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def secret_of(text: str | bytes) -> OctKey:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return OctKey.import_key(text, {"kid": "secret"})


class Web:
    """Stands in for a Fetcher: what is at each address, and what was asked for."""

    def __init__(self, pages: Mapping[str, bytes | int | Exception] | None = None) -> None:
        self.pages = dict(pages or {})
        self.asked: list[str] = []
        self.sent: list[tuple[Mapping[str, str], bytes | None]] = []
        self.answer: Callable[[str, bytes | None], bytes | int | Exception] | None = None

    async def fetch(self, url: str, **how: Any) -> Fetched:
        self.asked.append(url)
        self.sent.append((how.get("headers") or {}, how.get("body")))
        found = self.answer(url, how.get("body")) if self.answer is not None else self.pages.get(url, 404)
        if isinstance(found, Exception):
            raise found
        if isinstance(found, int):
            return Fetched(found, {"location": "http://169.254.169.254/"}, b"")
        return Fetched(200, {}, found)


DOWN = FetchError("nobody answers")


def tools(web: Web | None = None, policies: Mapping[str, object] | None = None, name: str = "login") -> PolicyTools:
    fetcher: Any = web or Web()
    return PolicyTools(name, Stores(), fetcher, {}, policies or {})


__all__ = ["AUDIENCE", "DOWN", "ISSUER", "JWKS", "SECRET", "Web", "claims", "encoded", "jwks", "jwt", "key", "pem"]

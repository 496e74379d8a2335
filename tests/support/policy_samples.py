"""For every kind of policy, settings under which a bare call is refused, and settings under which one goes on: what the
contract tests of policies and front ends are made of."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protogw.errors import Code
from tests.support.introspected import endpoint
from tests.support.tokens import forged


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One kind of policy. `passing` lets a call with these `headers` through; `refusing` answers a call without any
    headers with `code` (None for a kind that refuses nothing). `before` is how many calls pass before it refuses.
    `passing` is None for a kind that lets nothing through that comes in clear text."""

    passing: Mapping[str, Any] | None
    refusing: Mapping[str, Any] | None = None
    code: Code | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    before: int = 0
    others: Mapping[str, Any] = field(default_factory=dict)
    """Further policies, by name, that its settings refer to."""


_KEY = "a-key-of-some-length"
_SECRET = "a secret that has thirty-two bytes!"
_TOKEN = forged({"alg": "HS256"}, {"sub": "ann"}, _SECRET.encode()).decode()

_HASH = "$argon2id$v=19$m=8,t=1,p=1$ks22XTG/XJxEOpc73WvL0w$BunEoVBJTpFwK32wKMj4IUAsooGgvGakR+b+yfnaPUU"
_KEYS = {"keys": [{"consumer": "shop", "key": _KEY}]}

_SIGNER = {"id": "k", "consumer": "shop", "algorithm": "hmac-sha256", "secret": "a-secret-of-thirty-two-characters"}

SAMPLES: Mapping[str, Sample] = {
    "anonymous": Sample(passing={}),
    "any_of": Sample(
        passing={"policies": ["some-keys", "some-users"]},
        headers={"x-api-key": _KEY},
        refusing={"policies": ["some-keys", "some-users"]},
        code=Code.UNAUTHENTICATED,
        others={"some-keys": {"api_key": _KEYS}, "some-users": {"basic": {"users": [{"name": "ann", "hash": _HASH}]}}},
    ),
    "api_key": Sample(
        passing={"keys": [{"consumer": "shop", "key": _KEY}]},
        headers={"x-api-key": _KEY},
        refusing={"keys": [{"consumer": "shop", "key": _KEY}]},
        code=Code.UNAUTHENTICATED,
    ),
    "basic": Sample(
        passing={"users": [{"name": "ann", "hash": _HASH}]},
        headers={"authorization": "Basic " + base64.b64encode(b"ann:a password").decode()},
        refusing={"users": [{"name": "ann", "hash": _HASH}]},
        code=Code.UNAUTHENTICATED,
    ),
    "cache": Sample(passing={"ttl": "1m"}),
    "cors": Sample(passing={"origins": ["https://app.example"]}),
    "deprecated": Sample(
        passing={"since": "2020-01-01", "sunset": "2999-01-01", "refuse": True},
        refusing={"since": "2020-01-01", "sunset": "2020-02-01", "refuse": True},
        code=Code.UNIMPLEMENTED,
    ),
    "python": Sample(
        passing={"class": "tests.support.tenants:Tenant", "settings": {"header": "x-tenant"}},
        headers={"x-tenant": "a"},
        refusing={"class": "tests.support.tenants:Tenant"},
        code=Code.PERMISSION_DENIED,
    ),
    "introspection": Sample(
        passing={"url": endpoint()},
        headers={"authorization": "Bearer opaque"},
        refusing={"url": endpoint()},
        code=Code.UNAUTHENTICATED,
    ),
    "jwt": Sample(
        passing={"secret": _SECRET, "require_exp": False},
        headers={"authorization": f"Bearer {_TOKEN}"},
        refusing={"secret": _SECRET, "require_exp": False},
        code=Code.UNAUTHENTICATED,
    ),
    "mtls": Sample(passing=None, refusing={}, code=Code.UNAUTHENTICATED),
    "authorize": Sample(
        passing={"rules": [{"anonymous": True}]},
        refusing={"rules": [{"scopes": "echo.call"}]},
        code=Code.UNAUTHENTICATED,
    ),
    "forward_auth": Sample(
        passing={"http": "http://127.0.0.1:1/", "on_error": "open"},
        refusing={"http": "http://127.0.0.1:1/"},
        code=Code.UNAVAILABLE,
    ),
    "http_signature": Sample(
        passing={"keys": [_SIGNER], "max_age": "36500d", "body": False, "covers": ["x-signed"]},
        headers={
            "x-signed": "1",
            "signature-input": 'a=("x-signed");created=1600000000;keyid="k"',
            "signature": "a=:IaotjTzdSCxhCJFtiIReOUHlrxuzNNvwkjAmdfTcLJA=:",
        },
        refusing={"keys": [_SIGNER]},
        code=Code.UNAUTHENTICATED,
    ),
    "ip_filter": Sample(
        passing={"allow": "127.0.0.0/8"},
        refusing={"deny": "127.0.0.0/8"},
        code=Code.PERMISSION_DENIED,
    ),
    "opa": Sample(
        passing={"url": "http://127.0.0.1:1/v1/data/gateway/allow", "on_error": "open"},
        refusing={"url": "http://127.0.0.1:1/v1/data/gateway/allow"},
        code=Code.UNAVAILABLE,
    ),
    "quota": Sample(
        passing={"limit": "1000/day", "store": ":memory:"},
        refusing={"limit": "1/day", "store": ":memory:"},
        code=Code.RESOURCE_EXHAUSTED,
        before=1,
    ),
    "rate_limit": Sample(
        passing={"rate": "1000/s"},
        refusing={"rate": "1/h"},
        code=Code.RESOURCE_EXHAUSTED,
        before=1,
    ),
    "retry": Sample(passing={"attempts": 3}),
    "adaptive": Sample(passing={}),
    "compress": Sample(passing={}),
    "concurrency": Sample(passing={"limit": 100}),
    "fault": Sample(passing={"headers": True}, refusing={"abort": {}}, code=Code.UNAVAILABLE),
    "hedge": Sample(passing={"delay": "10s"}),
    "maintenance": Sample(passing={"bypass": "127.0.0.1"}, refusing={}, code=Code.UNAVAILABLE),
    "shed": Sample(passing={"lag": "10s", "in_flight": 1000}),
    "size": Sample(passing={"request": "1MiB", "reply": "1MiB"}, refusing={"request": 0}, code=Code.RESOURCE_EXHAUSTED),
    "timeout": Sample(passing={"total": "60s", "idle": "60s"}),
    "transform": Sample(passing={"request": {"metadata": {"remove": ["x-gone"]}}}),
    "validate": Sample(passing={}),
}

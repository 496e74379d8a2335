"""For every kind of policy, settings under which a bare call is refused, and settings under which one goes on: what the
contract tests of policies and front ends are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protogw.errors import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One kind of policy. `passing` lets a call with these `headers` through; `refusing` answers a call without any
    headers with `code` (None for a kind that refuses nothing). `before` is how many calls pass before it refuses."""

    passing: Mapping[str, Any]
    refusing: Mapping[str, Any] | None = None
    code: Code | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    before: int = 0
    others: Mapping[str, Any] = field(default_factory=dict)
    """Further policies, by name, that its settings refer to."""


_KEY = "a-key-of-some-length"

SAMPLES: Mapping[str, Sample] = {
    "api_key": Sample(
        passing={"keys": [{"consumer": "shop", "key": _KEY}]},
        headers={"x-api-key": _KEY},
        refusing={"keys": [{"consumer": "shop", "key": _KEY}]},
        code=Code.UNAUTHENTICATED,
    ),
    "cors": Sample(passing={"origins": ["https://app.example"]}),
    "python": Sample(
        passing={"class": "tests.support.tenants:Tenant", "settings": {"header": "x-tenant"}},
        headers={"x-tenant": "a"},
        refusing={"class": "tests.support.tenants:Tenant"},
        code=Code.PERMISSION_DENIED,
    ),
    "rate_limit": Sample(
        passing={"rate": "1000/s"},
        refusing={"rate": "1/h"},
        code=Code.RESOURCE_EXHAUSTED,
        before=1,
    ),
    "retry": Sample(passing={"attempts": 3}),
}

"""What is said of settings of policies that are wrong: once, at its place, and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protogw.assembly import KINDS
from protogw.config import ConfigError, load
from tests.support.gateway import config_of, written


@pytest.mark.parametrize(
    ("policy", "path", "said"),
    [
        ({"authorize": {"rules": [{"groups": "a", "wehn": "true"}]}}, "rules[0].wehn", 'did you mean "when"?'),
        ({"authorize": {"rules": []}}, "rules", "must not be empty"),
        (
            {"api_key": {"keys": [{"consumer": "a", "key": "short"}]}},
            "keys[0].key",
            "must have at least 16 characters",
        ),
        ({"introspection": {"url": "https://x", "client_secret": "s"}}, "", "has a client_secret and no client_id"),
        (
            {"authorize": {"rules": [{"when": 'identity.clams.tenant == "a"'}]}},
            "rules[0].when",
            "identity has no clams, but claims, consumer, groups, issuer, key, metadata, scheme, scopes, subject",
        ),
        ({"rate_limit": {"rate": "1/s", "store": "redis:/x"}}, "store", "write redis://HOST:6379/0"),
        ({"cache": {"store": "redes://x"}}, "store", "is not a store"),
        ({"adaptive": {"min": 10, "max": 5}}, "", "min 10 is more than max 5"),
    ],
)
def test_a_wrong_setting_is_told_once_and_where_it_is(tmp_path: Path, policy: Any, path: str, said: str) -> None:
    config = config_of({"x": {"http": ["127.0.0.1:1"]}}, policies={"one": policy}, use=["one"])
    with pytest.raises(ConfigError) as caught:
        load(written(config, tmp_path), KINDS)
    (fault,) = caught.value.faults
    (kind,) = policy
    assert fault.path == ".".join(part for part in ("policies.one", kind, path) if part)
    assert said in fault.message
    assert fault.line
    assert "short" not in fault.message

"""What is secret, of the config's and of clients', is in no message, log line or representation."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Any

import pytest

from protogw.call import Call, Metadata, Reply
from protogw.errors import GatewayError
from protogw.policies import POLICIES
from protogw.wire.http import Peer
from tests.support.policy_samples import SAMPLES
from tests.support.tokens import DOWN, ISSUER, JWKS, Web, key, token, tools

CANARY = "canary-that-must-never-sing-0123456789"


async def forward(call: Call) -> Reply:
    return Reply()


def header(name: str, value: str | bytes) -> Call:
    data = value if isinstance(value, bytes) else value.encode()
    return Call(None, Metadata(((name.encode(), data),)), front_end="any", peer=Peer("192.0.2.1", 1), started=0.0)


BASIC = base64.b64encode(f"ann:{CANARY}".encode())
USERS = SAMPLES["basic"].refusing or {}
CASES: dict[str, tuple[str, dict[str, Any], Callable[[], Call]]] = {
    "an API key": ("api_key", {"keys": [{"consumer": "a", "key": "k" * 16}]}, lambda: header("x-api-key", CANARY)),
    "an API key of the config": ("api_key", {"keys": [{"consumer": "a", "key": CANARY}]}, lambda: header("x", "y")),
    "a token": ("jwt", {"secret": "s" * 32}, lambda: header("authorization", f"Bearer {CANARY}")),
    "a token's claims": (
        "jwt",
        {"issuer": ISSUER, "jwks": JWKS},
        lambda: header("authorization", b"Bearer " + token(key("two"), sub=CANARY, iss=CANARY)),
    ),
    "a token's kid": (
        "jwt",
        {"issuer": ISSUER, "jwks": JWKS},
        lambda: header("authorization", b"Bearer " + token(key("two"), header={"kid": CANARY})),
    ),
    "a shared secret": ("jwt", {"secret": CANARY}, lambda: header("authorization", "Bearer x.y.z")),
    "an opaque token": ("introspection", {"url": ISSUER}, lambda: header("authorization", f"Bearer {CANARY}")),
    "a client's secret": (
        "introspection",
        {"url": ISSUER, "client_id": "a", "client_secret": CANARY},
        lambda: header("authorization", "Bearer x"),
    ),
    "a password": ("basic", dict(USERS), lambda: header("authorization", b"Basic " + BASIC)),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_secret_is_nowhere(case: str, caplog: pytest.LogCaptureFixture) -> None:
    kind, written, made = CASES[case]
    caplog.set_level(logging.DEBUG)
    part: Any = POLICIES[kind]
    settings = part.Settings.model_validate(written)
    policy = part(settings)
    policy.equip(tools(Web({JWKS: DOWN, ISSUER: DOWN})))
    with pytest.raises(GatewayError) as caught:
        await policy(made(), forward)
    error = caught.value
    said = [
        str(error),
        repr(error),
        repr(error.status),
        repr(error.headers),
        repr(policy),
        repr(settings),
        str(settings),
    ]
    for text in (*said, caplog.text):
        assert CANARY not in text
        assert BASIC.decode() not in text

"""The simplest signed request: a GET whose method alone is covered (RFC 9421), by HMAC and without a library."""

from __future__ import annotations

import base64
import hmac
import time
from typing import Any

_SECRET = "a secret of more than thirty-two characters"

POLICY: dict[str, Any] = {
    "http_signature": {
        "keys": [{"id": "k", "consumer": "shop", "algorithm": "hmac-sha256", "secret": _SECRET}],
        "covers": "@method",
        "nonce": True,
    }
}
"""A policy that takes them, each with a nonce."""


def signature(nonce: str) -> dict[str, str]:
    """The fields of one."""
    told = f'("@method");created={int(time.time())};keyid="k";nonce="{nonce}"'
    base = f'"@method": GET\n"@signature-params": {told}'.encode()
    value = base64.b64encode(hmac.digest(_SECRET.encode(), base, "sha256")).decode()
    return {"signature-input": f"s={told}", "signature": f"s=:{value}:"}

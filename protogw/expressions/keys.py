"""Values as keys: of limits, of what sticks together, of whatever is counted apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, Protocol

import orjson

from protogw.call import Call, Payload
from protogw.expressions.roots import QUICK, address

MAX_KEY: Final = 256
"""Characters of a key."""


class Key(Protocol):
    """Reads a value of a call as text."""

    def __call__(self, call: Call, payload: Payload | None = None) -> str: ...


def _quick(read: Callable[[Call, Payload | None], str]) -> Key:
    def key(call: Call, payload: Payload | None = None) -> str:
        return kept(read(call, payload))

    return key


def _consumer(call: Call, payload: Payload | None = None) -> str:
    """The commonest of them, in one step."""
    identity = call.identity
    if identity is None:
        return ""
    return kept(identity.consumer)


QUICK_KEYS: Final[Mapping[str, Key]] = {
    **{name: _quick(read) for name, read in QUICK.items()},
    "identity.consumer": _consumer,
    "peer.address": address,
}
"""The same as keys. An address is short and ASCII as it is."""


def kept(value: str) -> str:
    """A key as it is kept: by the 100,000, in stores that take UTF-8, and a client may choose it. Of one that is long,
    or has half a surrogate pair (a policy of the user's may find anything), a digest."""
    if len(value) <= MAX_KEY:
        if value.isascii():
            return value
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    return f"sha256:{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"


def printed(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError:
        # Half a surrogate pair, which this escapes.
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

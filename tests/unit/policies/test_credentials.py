"""Where credentials are found: the quick ways come to what a plain reading of field after field comes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import Call, Metadata
from protogw.errors import Unauthenticated
from protogw.policies.credentials import Places
from protogw.wire.http import Header, Peer

NAMES = [b"x-api-key", b"authorization", b"cookie", b"x_api_key", b"other"]
VALUES = [b"", b"v1", b"v2", b"Bearer t", b"bearer  u ", b"k=1; z=2", b"k=1", b"z=1;k=2;k=3", b" ; ", b'k="q"']
FIELDS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=5).map(tuple)


def plainly(places: tuple[str, ...], scheme: bytes, fields: tuple[Header, ...]) -> tuple[set[bytes], list[Header]]:
    """The credentials, and the fields without them."""
    headers = {place.partition(".")[2].encode() for place in places if place.startswith("header.")}
    cookies = {place.partition(".")[2].encode() for place in places if place.startswith("cookie.")}
    found: set[bytes] = set()
    kept: list[Header] = []
    for name, value in fields:
        if name in headers:
            before, _, after = value.partition(b" ") if scheme else (b"", b"", value)
            if before.lower() == scheme and after.strip():
                found.add(after.strip() if scheme else after)
                continue
        elif name == b"cookie" and cookies:
            pairs = [part.partition(b"=") for part in value.split(b";")]
            found |= {
                text.strip().strip(b'"') for cookie, equals, text in pairs if equals and cookie.strip() in cookies
            } - {b""}
            value = b";".join(b"".join(pair) for pair in pairs if pair[0].strip() not in cookies).strip()
            if not value:
                continue
        kept.append((name, value))
    return found, kept


@pytest.mark.parametrize(
    ("places", "scheme"),
    [
        (("header.x-api-key",), ""),
        (("header.authorization",), "Bearer"),
        (("header.x-api-key", "header.authorization"), ""),
        (("header.x-api-key", "cookie.k"), ""),
        (("cookie.k",), ""),
        (("header.x-api-key", "query.key"), ""),
    ],
)
@given(fields=FIELDS)
def test_every_way_of_taking_finds_the_same(places: tuple[str, ...], scheme: str, fields: tuple[Header, ...]) -> None:
    one = Places(places, scheme)
    found, kept = plainly(places, scheme.lower().encode(), fields)
    # The second time what was kept of equal metadata is used, and the third.
    equal = Metadata(fields)
    for take in (one.take_new, one.take, one.take, one.take):
        call = Call(None, equal, front_end="rest", peer=Peer("192.0.2.1", 1), started=0.0)
        if len(found) > 1:
            with pytest.raises(Unauthenticated, match="differ"):
                take(call)
            continue
        assert take(call) == next(iter(found), None)
        assert call.metadata.pairs == (tuple(kept) if found else fields)

"""Keys by discovery and by address: what an issuer may say of where its keys are, and that work ends in good order."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.policies.tokens.compact import Compact, TokenFault
from protogw.policies.tokens.keys import KeyFault, ring_of
from protogw.policies.tokens.sources import DiscoveredKeys, Fetched, UrlKeys
from tests.support.tokens import DOWN, ISSUER, JWKS, Web, jwks, key, secret_of, token

DOCUMENT = ISSUER + "/.well-known/openid-configuration"


def discovered(web: Web, *hosts: str, issuer: str = ISSUER) -> DiscoveredKeys:
    fetcher: Any = web
    return DiscoveredKeys("test", issuer, (), hosts, fetcher=fetcher, tls=None, refresh_s=600, again_s=30)


def document(**more: Any) -> bytes:
    return json.dumps({"issuer": ISSUER, "jwks_uri": JWKS, **more}).encode()


async def test_the_issuer_says_where_its_keys_are() -> None:
    web = Web({DOCUMENT: document(), JWKS: jwks(key())})
    source = discovered(web)
    ring = await source.ready()
    assert ring is not None
    ring.verify(Compact(token()))
    assert web.asked == [DOCUMENT, JWKS]
    await source.renewed()
    assert web.asked == [DOCUMENT, JWKS, JWKS]


async def test_keys_that_have_moved_are_found_again() -> None:
    moved = ISSUER + "/new"
    web = Web({DOCUMENT: document(), JWKS: jwks(key())})
    source = discovered(web)
    await source.ready()
    web.pages = {DOCUMENT: document(jwks_uri=moved), JWKS: 404, moved: jwks(key("two"))}
    for _ in range(2):
        source._asked_s = None
        ring = await source.renewed()
    assert ring is not None
    ring.verify(Compact(token(key("two"))))


@pytest.mark.parametrize(
    "said",
    [
        document(issuer="https://evil.example"),
        document(issuer=ISSUER + "/"),
        document(jwks_uri="https://evil.example/jwks.json"),
        document(jwks_uri="https://idp.example.evil.example/jwks.json"),
        document(jwks_uri="https://idp.example@169.254.169.254/jwks.json"),
        document(jwks_uri="http://idp.example/jwks.json"),
        document(jwks_uri="file:///etc/passwd"),
        document(jwks_uri="https://[::1/"),
        document(jwks_uri=7),
        b"<html>",
        b"[]",
        b"[" * 10_000,
    ],
)
async def test_an_issuer_sends_the_gateway_nowhere(said: bytes) -> None:
    web = Web({DOCUMENT: said})
    assert await discovered(web).ready() is None
    assert web.asked == [DOCUMENT]


async def test_keys_may_be_on_a_host_that_the_config_names() -> None:
    elsewhere = "https://keys.example/jwks.json"
    web = Web({DOCUMENT: document(jwks_uri=elsewhere), elsewhere: jwks(key())})
    assert await discovered(web, "keys.example").ready() is not None


async def test_redirects_are_not_followed() -> None:
    web = Web({DOCUMENT: 302})
    assert await discovered(web).ready() is None
    assert web.asked == [DOCUMENT]


async def test_keys_that_are_not_there_are_asked_for_until_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protogw.policies.tokens.sources.FIRST_S", 0.001)
    web: Any = Web({JWKS: DOWN})
    source = UrlKeys("test", JWKS, (), fetcher=web, tls=None, refresh_s=600, again_s=30)
    task = asyncio.get_running_loop().create_task(source.run())
    assert await source.ready() is None
    web.pages[JWKS] = jwks(key())
    async with asyncio.timeout(5):
        while source.ring is None:  # noqa: ASYNC110 (it has no event)
            await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_caller_that_gives_up_takes_the_keys_from_no_other() -> None:
    gate = asyncio.Event()

    class Slow(Fetched):
        async def _get(self) -> Any:
            await gate.wait()
            return ring_of(jwks(key()))

    web: Any = Web()
    source = Slow("test", web, None, 600, 30)
    first, second = (asyncio.ensure_future(source.ready()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert await second is not None
    assert source.fetches == 1


def test_only_signing_keys_are_taken_from_a_set() -> None:
    short = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
    entries = [
        *json.loads(jwks(key(), use="enc"))["keys"],
        *json.loads(jwks(key(), key_ops=["encrypt"]))["keys"],
        *json.loads(jwks(key(), alg="RSA-OAEP"))["keys"],
        secret_of("s" * 40).as_dict(private=True),
        {"kty": "new"},
        {"kty": ["RSA"]},
        {"kty": "EC", "crv": "P-256", "x": 1, "y": "AA"},
        short,
        "text",
        key("two").as_dict(private=True),
    ]
    ring = ring_of(json.dumps({"keys": entries}).encode())
    assert [one.kid for one in ring.keys] == ["two"]


def test_a_keys_own_algorithm_settles_it() -> None:
    ring = ring_of(jwks(key(), alg="RS512"))
    with pytest.raises(TokenFault, match="algorithm"):
        ring.verify(Compact(token()))
    assert ring_of(jwks(key("ed", "OKP"), alg="EdDSA")).keys[0].algorithms == {"EdDSA", "Ed25519"}


ENTRIES = st.dictionaries(st.sampled_from(["kty", "n", "e", "crv", "x", "y", "k", "kid", "alg", "use"]), st.text())


@given(data=st.binary(max_size=200) | st.lists(ENTRIES).map(lambda entries: json.dumps({"keys": entries}).encode()))
def test_no_bytes_are_keys_by_accident(data: bytes) -> None:
    with pytest.raises(KeyFault):
        ring_of(data)

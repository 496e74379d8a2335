"""Tokens: what holds, everything that must not, and what a token says of its bearer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.call import Call, Metadata, Reply
from protogw.errors import Code, GatewayError, Unauthenticated
from protogw.policies.jwt import Jwt
from protogw.policies.jwt_settings import JwtSettings
from protogw.wire.http import HTTP_1_1, Header, Peer, RequestHead
from tests.support.tokens import (
    AUDIENCE,
    DOWN,
    ISSUER,
    JWKS,
    SECRET,
    VALID_S,
    Web,
    claims,
    encoded,
    forged,
    jwks,
    key,
    pem,
    raw,
    secret_of,
    signed,
    token,
    tools,
)


def policy(web: Web | None = None, **settings: Any) -> Jwt:
    if not settings.keys() & {"issuer", "issuers", "secret", "key", "jwks"}:
        settings = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": JWKS, **settings}
    made = Jwt(JwtSettings.model_validate(settings))
    made.equip(tools(web or Web({JWKS: jwks(key())})))
    return made


def call(*headers: Header, query: bytes = b"") -> Call:
    head = RequestHead(b"GET", b"/v1/x", query, b"gw.test", headers, HTTP_1_1)
    return Call(None, Metadata(headers), front_end="rest", peer=Peer("192.0.2.1", 1), started=0.0, head=head)


def bearing(text: bytes) -> Call:
    return call((b"authorization", b"Bearer " + text))


async def forward(call: Call) -> Reply:
    return Reply()


async def never(call: Call) -> Reply:
    raise AssertionError("a call that should have been refused goes on")


async def refused(one: Jwt, text: bytes) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await one(bearing(text), never)
    assert text.decode("latin-1") not in caught.value.message
    return caught.value


async def test_a_token_says_who_calls() -> None:
    made = bearing(
        token(
            scope="read write",
            scp=["admin"],
            realm_access={"roles": ["staff", 5, "boss"]},
            azp="app",
            aud=["other", AUDIENCE],
        )
    )
    await policy(groups="realm_access.roles", consumer="azp", headers={"x-user": "sub"})(made, forward)
    who = made.identity
    assert (who.subject, who.issuer, who.consumer, who.scheme) == ("ann", ISSUER, "app", "jwt")
    assert who.scopes == {"read", "write", "admin"}
    assert who.groups == {"staff", "boss"}
    assert who.claims["azp"] == "app"
    assert who.expires_at == who.claims["exp"]
    assert made.metadata.pairs == ((b"x-user", b"ann"),)


@pytest.mark.parametrize("kind", ["RSA", "EC", "OKP"])
async def test_keys_of_every_type_verify(kind: str) -> None:
    made = bearing(token(key("k", kind)))
    await policy(Web({JWKS: jwks(key("other"), key("k", kind))}))(made, forward)
    assert made.identity.subject == "ann"


async def test_a_call_without_a_token_is_told_what_is_wanted() -> None:
    for made in (call(), call((b"authorization", b"Basic YTpi")), call((b"authorization", b"Bearer "))):
        with pytest.raises(Unauthenticated) as caught:
            await policy(realm="books")(made, never)
        assert caught.value.headers == ((b"www-authenticate", b'Bearer realm="books"'),)


NOW = int(time.time())
RSA_PEM = pem(key()).encode()
UNSIGNED = encoded(b'{"alg":"none"}') + b"." + encoded(json.dumps(claims()).encode()) + b"."
GOOD = token()
HEAD, BODY, MARK = GOOD.split(b".")
PUBLIC = key().as_dict(private=False)

FORGED: dict[str, tuple[bytes, str]] = {
    "no signature": (UNSIGNED, "form"),
    "alg none": (raw({"alg": "none"}, json.dumps(claims()).encode(), key(), "RS256"), "algorithm is not its key's"),
    "alg NONE": (raw({"alg": "NONE"}, json.dumps(claims()).encode(), key(), "RS256"), "algorithm is not its key's"),
    "alg nOnE": (raw({"alg": "nOnE"}, json.dumps(claims()).encode(), key(), "RS256"), "algorithm is not its key's"),
    "no alg": (raw({"kid": "one"}, json.dumps(claims()).encode(), key(), "RS256"), "names no algorithm"),
    "alg is a list": (raw({"alg": ["RS256"]}, json.dumps(claims()).encode(), key(), "RS256"), "names no algorithm"),
    "HS256 with the RSA key": (forged({"alg": "HS256"}, claims(), RSA_PEM), "algorithm is not its key's"),
    "HS256 with the RSA key, named": (
        forged({"alg": "HS256", "kid": "one"}, claims(), RSA_PEM),
        "algorithm is not its key's",
    ),
    "another algorithm of the key's type": (
        raw({"alg": "RS256", "kid": "one"}, json.dumps(claims()).encode(), key(), "PS256"),
        "signature does not hold",
    ),
    "another's key of the same name": (token(key("two"), header={"kid": "one"}), "signature does not hold"),
    "another's key": (token(key("two")), "key is not known"),
    "another's key, not named": (token(key("two"), header={"kid": None}), "signature does not hold"),
    "a key in its header": (
        token(key("two"), header={"jwk": key("two").as_dict(private=False)}),
        "key is not known",
    ),
    "a key elsewhere": (token(key("two"), header={"jku": "https://evil.example/jwks"}), "key is not known"),
    "a certificate elsewhere": (token(key("two"), header={"x5u": "https://evil.example/c"}), "key is not known"),
    "kid is a path": (token(key("two"), header={"kid": "../../../../dev/null"}), "key is not known"),
    "kid is SQL": (token(key("two"), header={"kid": "x' UNION SELECT 'k"}), "key is not known"),
    "kid is a number": (token(header={"kid": 1}), "header is malformed"),
    "an unknown extension": (token(header={"crit": ["x"], "x": 1}), "extension"),
    "an unencoded payload": (token(header={"crit": ["b64"], "b64": False}), "extension"),
    "an empty signature": (HEAD + b"." + BODY + b".", "form"),
    "another's claims": (HEAD + b"." + encoded(json.dumps(claims(sub="eve")).encode()) + b"." + MARK, "does not hold"),
    "a signature that is cut": (GOOD[:-10], "does not hold"),
    "padding": (GOOD + b"==", "form"),
    "a fourth part": (GOOD + b".AA", "form"),
    "two parts": (HEAD + b"." + BODY, "form"),
    "no base64": (GOOD.replace(b".", b".!", 1), "form"),
    "expired": (token(exp=NOW - 1), "has expired"),
    "expired long ago": (token(exp=0), "has expired"),
    "never expires": (token(exp=None), "never expires"),
    "exp is null": (raw({"alg": "RS256"}, b'{"exp":null,"iss":"%b"}' % ISSUER.encode(), key()), "exp is no time"),
    "exp is a text": (token(exp="never"), "exp is no time"),
    "exp is true": (token(exp=True), "exp is no time"),
    "exp is beyond all time": (token(exp=10**18), "exp is no time"),
    "exp is infinite": (
        raw({"alg": "RS256"}, b'{"exp":1e999,"iss":"%b"}' % ISSUER.encode(), key()),
        "cannot be read",
    ),
    "exp is Infinity": (raw({"alg": "RS256"}, b'{"exp":Infinity}', key()), "cannot be read"),
    "not valid yet": (token(nbf=NOW + 3600), "not valid yet"),
    "nbf is a list": (token(nbf=[1]), "nbf is no time"),
    "another issuer": (token(iss="https://evil.example"), "issuer is not trusted"),
    "no issuer": (token(iss=None), "issuer is not trusted"),
    "the issuer as a list": (token(iss=[ISSUER]), "issuer is not trusted"),
    "the issuer with a slash": (token(iss=ISSUER + "/"), "issuer is not trusted"),
    "another audience": (token(aud="other"), "another audience"),
    "no audience": (token(aud=None), "another audience"),
    "the audience in an object": (token(aud={"api": 1}), "another audience"),
    "no subject": (token(sub=None), "has no sub"),
    "a subject that is none": (token(sub=7), "has no sub"),
    "a claim twice": (
        raw({"alg": "RS256"}, json.dumps(claims()).encode()[:-1] + b',"sub":"eve"}', key()),
        "cannot be read",
    ),
    "alg twice": (
        raw(b'{"alg":"none","alg":"RS256"}', json.dumps(claims()).encode(), key()),
        "cannot be read",
    ),
    "half a character": (token(sub="a\ud800"), "cannot be read"),
    "claims are a list": (raw({"alg": "RS256"}, b"[]", key()), "cannot be read"),
    "claims are not UTF-8": (raw({"alg": "RS256"}, b'{"sub":"\xff"}', key()), "cannot be read"),
    "claims are deep": (raw({"alg": "RS256"}, b"[" * 9000, key()), "cannot be read"),
    "a number of many digits": (raw({"alg": "RS256"}, b'{"exp":' + b"9" * 9000 + b"}", key()), "cannot be read"),
    "oversized": (token(more="x" * 20_000), "longer than"),
    "100 KB": (b"a" * 100_000, "longer than"),
    "nothing of a token": (b"hello", "form"),
}


@pytest.mark.parametrize("name", FORGED)
async def test_what_is_no_good_token_is_refused(name: str) -> None:
    text, said = FORGED[name]
    error = await refused(policy(), text)
    assert said in error.message
    challenge = dict(error.headers)[b"www-authenticate"]
    if "longer" not in said:
        assert challenge.startswith(b'Bearer realm="protogw", error="invalid_token", error_description="')


@given(data=st.data())
async def test_no_token_that_was_changed_passes(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    how = data.draw(st.sampled_from(["replace", "insert", "drop", "swap"]))
    byte = data.draw(st.binary(min_size=1, max_size=3))
    changed = {
        "replace": GOOD[:at] + byte + GOOD[at + len(byte) :],
        "insert": GOOD[:at] + byte + GOOD[at:],
        "drop": GOOD[:at] + GOOD[at + 1 :],
        "swap": GOOD[:at] + GOOD[at : at + 2][::-1] + GOOD[at + 2 :],
    }[how]
    if changed.strip() == GOOD:
        return
    with pytest.raises(Unauthenticated):
        await KEPT(bearing(changed), never)


@given(text=st.binary(max_size=300))
async def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(Unauthenticated):
        await KEPT(bearing(text), never)


@given(last=st.sampled_from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
async def test_a_signature_has_one_spelling(last: int) -> None:
    changed = GOOD[:-1] + bytes((last,))
    if changed != GOOD:
        await refused(KEPT, changed)


KEPT = policy(key=pem(key()))


@pytest.mark.parametrize(
    ("settings", "made"),
    [
        ({"leeway": "30s"}, lambda: token(exp=int(time.time()) - 10)),
        ({"leeway": "30s"}, lambda: token(nbf=int(time.time()) + 10)),
        ({"require_exp": False}, lambda: token(exp=None)),
        ({"typ": "at+jwt"}, lambda: token(header={"typ": "application/AT+jwt"})),
        ({"require": ["a.b", "c"]}, lambda: token(a={"b": 0}, c=False)),
        ({"subject": "client_id"}, lambda: token(sub=None, client_id="app")),
    ],
    ids=["exp within the leeway", "nbf within the leeway", "no exp", "typ", "required claims", "another subject"],
)
async def test_what_settings_allow(settings: dict[str, Any], made: Callable[[], bytes]) -> None:
    await policy(**settings)(bearing(made()), forward)


@pytest.mark.parametrize(
    ("settings", "made", "said"),
    [
        ({"leeway": "30s"}, lambda: token(exp=int(time.time()) - 40), "expired"),
        ({"typ": "at+jwt"}, token, "another type"),
        ({"typ": "at+jwt"}, lambda: token(header={"typ": None}), "another type"),
        ({"require": ["a.b"]}, lambda: token(a={}), "has no a.b"),
        ({"algorithms": ["PS256"]}, token, "algorithm is not its key's"),
        ({"subject": "a"}, token, "has no a"),
    ],
    ids=["beyond the leeway", "typ", "no typ", "required claims", "algorithms", "subject"],
)
async def test_what_settings_refuse(settings: dict[str, Any], made: Callable[[], bytes], said: str) -> None:
    with pytest.raises(Unauthenticated, match=said):
        await policy(key=pem(key()), issuer=ISSUER, **settings)(bearing(made()), never)


async def test_a_secret_verifies_hmacs_only() -> None:
    one = policy(secret=SECRET)
    await one(bearing(token(secret_of(SECRET))), forward)
    assert "algorithm" in (await refused(one, GOOD)).message
    other = signed({"alg": "HS512"}, claims(), secret_of(SECRET))
    assert "algorithm" in (await refused(one, other)).message


async def test_each_issuer_has_its_own_keys_and_audience() -> None:
    other = "https://other.example"
    one = policy(
        Web({JWKS: jwks(key())}),
        issuers=[
            {"issuer": ISSUER, "jwks": JWKS, "audience": "api"},
            {"issuer": other, "key": pem(key("two")), "audience": "b"},
        ],
    )
    await one(bearing(token()), forward)
    made = bearing(token(key("two"), iss=other, aud="b"))
    await one(made, forward)
    assert made.identity.issuer == other
    await refused(one, token(key("two"), aud="b"))
    await refused(one, token(iss=other, aud="b"))
    await refused(one, token(key("two"), iss=other, aud="api"))


@pytest.mark.parametrize(
    ("of_all", "of_one", "of_other", "named"),
    [
        ("azp", {}, {}, ("shop", "shop")),
        (None, {"consumer": "azp"}, {}, ("shop", "")),
        ("azp", {}, {"consumer": "off"}, ("shop", "")),
        ("azp", {"consumer": "client_id"}, {}, ("web", "shop")),
    ],
)
async def test_each_issuer_may_have_its_own_claim_that_names_the_consumer(
    of_all: str | None, of_one: dict[str, Any], of_other: dict[str, Any], named: tuple[str, str]
) -> None:
    other = "https://other.example"
    one = policy(
        issuers=[
            {"issuer": ISSUER, "key": pem(key()), "audience": AUDIENCE, **of_one},
            {"issuer": other, "key": pem(key("two")), "audience": AUDIENCE, **of_other},
        ],
        consumer=of_all,
    )
    found = []
    for signer, issuer in ((key(), ISSUER), (key("two"), other)):
        made = bearing(token(signer, iss=issuer, azp="shop", client_id="web"))
        await one(made, forward)
        found.append(made.identity.consumer)
    assert tuple(found) == named


async def test_a_verified_token_is_remembered_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    one = policy()
    text = token()
    first, second = bearing(text), bearing(text)
    await one(first, forward)
    await one(second, forward)
    assert first.identity is second.identity
    later = time.time() + VALID_S + 1
    monkeypatch.setattr("protogw.policies.jwt.time.time", lambda: later)
    assert "expired" in (await refused(one, text)).message


async def test_tokens_are_forgotten_with_the_key_that_signed_them() -> None:
    web = Web({JWKS: jwks(key())})
    one = policy(web, refresh_unknown="1s")
    await one(bearing(GOOD), forward)
    web.pages[JWKS] = jwks(key("two"))
    await one(bearing(token(key("two"))), forward)
    await refused(one, GOOD)


async def test_a_new_key_is_fetched_once_and_unknown_ones_seldom() -> None:
    web = Web({JWKS: jwks(key())})
    one = policy(web)
    await one(bearing(token()), forward)
    web.pages[JWKS] = jwks(key(), key("two"))
    await asyncio.gather(*(one(bearing(token(key("two"), jti=str(number))), forward) for number in range(20)))
    assert web.asked == [JWKS, JWKS]
    for number in range(1000):
        await refused(one, token(key("three"), header={"kid": f"random {number}"}))
    assert web.asked == [JWKS, JWKS]


async def test_without_keys_calls_are_refused_as_unavailable() -> None:
    web = Web({JWKS: DOWN})
    one = policy(web)
    for _ in range(3):
        with pytest.raises(GatewayError) as caught:
            await one(bearing(GOOD), never)
        assert caught.value.status.code is Code.UNAVAILABLE
    assert one.lacks is not None
    assert web.asked == [JWKS]
    with pytest.raises(Unauthenticated):
        await one(call(), never)


async def test_keys_stay_while_they_cannot_be_fetched() -> None:
    web = Web({JWKS: jwks(key())})
    one = policy(web)
    await one(bearing(token()), forward)
    assert one.lacks is None
    for broken in (DOWN, 500, 302, b"<html>", b'{"keys":[]}'):
        web.pages[JWKS] = broken
        one._trusted[0].source._asked_s = None  # type: ignore[attr-defined]
        await refused(one, token(key("two")))
        await one(bearing(token(jti=repr(broken))), forward)


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (lambda: call((b"x-token", b"Bearer " + GOOD)), True),
        (lambda: call((b"cookie", b"session=" + GOOD)), True),
        (lambda: call(query=b"access_token=" + GOOD), True),
        (lambda: call((b"x-token", b"Bearer " + GOOD), (b"cookie", b"session=" + GOOD)), True),
        (lambda: call((b"x-token", b"Bearer " + GOOD), (b"cookie", b"session=" + token(sub="eve"))), False),
    ],
    ids=["header", "cookie", "query", "twice the same", "two that differ"],
)
async def test_every_place_is_looked_at(made: Callable[[], Call], found: bool) -> None:
    one = policy(**{"in": ["header.x-token", "query.access_token", "cookie.session"]})
    asked = made()
    if not found:
        with pytest.raises(Unauthenticated):
            await one(asked, never)
        return
    await one(asked, forward)
    assert asked.identity.subject == "ann"
    assert GOOD not in repr(asked.metadata).encode()


async def test_keys_of_a_file_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protogw.policies.tokens.sources.FILE_S", 0.005)
    file = tmp_path / "keys.json"
    file.write_bytes(jwks(key()))
    one = policy(jwks=str(file))
    task = asyncio.get_running_loop().create_task(one.run())
    await one(bearing(token()), forward)
    file.write_bytes(b"{")
    await asyncio.sleep(0.03)
    await one(bearing(token(jti="again")), forward)
    file.write_bytes(jwks(key("two")))
    async with asyncio.timeout(5):
        while True:
            try:
                await one(bearing(token(key("two"))), forward)
                break
            except Unauthenticated:
                await asyncio.sleep(0.005)
    await refused(one, token())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "says nothing of whose tokens"),
        ({"issuer": "just a name"}, "neither jwks, key nor secret"),
        ({"issuer": ISSUER, "jwks": JWKS, "secret": SECRET}, "has both jwks and secret"),
        ({"issuer": ISSUER, "issuers": [{"issuer": "https://b.example"}]}, "issuers too"),
        ({"issuers": [{"key": "x"}]}, "needs an issuer"),
        ({"issuers": [{"issuer": ISSUER}, {"issuer": ISSUER}]}, "same issuer twice"),
        ({"jwks": "ftp://idp.example/jwks"}, "is not an address"),
        ({"jwks": "https://user:pw@idp.example/jwks"}, "is not an address"),
        ({"jwks": "/no/such/file"}, "cannot be read"),
        ({"secret": SECRET, "leeway": "2m"}, "less than or equal to 60"),
        ({"secret": SECRET, "algorithms": ["none"]}, "Input should be"),
        ({"secret": SECRET, "realm": 'a"b'}, "should match pattern"),
        ({"secret": SECRET, "in": "body.token"}, "is not a place"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        JwtSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"secret": "short"}, "secret: a secret for HS256 has at least 32 bytes"),
        ({"secret": SECRET, "algorithms": ["RS256"]}, "secret: RS256 is no algorithm for a secret"),
        ({"key": "no key"}, "key: is no public key in PEM"),
        ({"key": pem(key()), "algorithms": ["ES256"]}, "key: is a key for none of ES256"),
    ],
)
def test_keys_that_are_none_are_found_at_load(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        policy(**settings)


def test_a_private_key_does_not_belong_into_the_config() -> None:
    private = key().as_pem(private=True).decode()
    with pytest.raises(ValueError, match="only its public part"):
        policy(key=private)


def test_a_public_key_is_no_secret() -> None:
    with pytest.raises(ValueError, match="is no secret"):
        policy(secret=pem(key()))

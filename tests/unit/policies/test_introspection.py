"""Tokens whose issuer is asked: what its answers mean, how often it is asked, and what happens when it is silent."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import urllib.parse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.call import Call, Metadata, Reply
from protogw.errors import Code, GatewayError, Unauthenticated
from protogw.fetching import Fetched
from protogw.policies.introspection import Introspection, IntrospectionSettings
from protogw.wire.http import Peer
from tests.support.tokens import DOWN, VALID_S, Web, tools

URL = "https://idp.example/introspect"


def answer(**more: Any) -> bytes:
    expires = int(time.time()) + VALID_S
    said = {"active": True, "sub": "ann", "client_id": "app", "scope": "read", "exp": expires, **more}
    return json.dumps({name: value for name, value in said.items() if value is not None}).encode()


def policy(web: Web, **settings: Any) -> Introspection:
    made = Introspection(IntrospectionSettings.model_validate({"url": URL, **settings}))
    made.equip(tools(web))
    return made


def call(token: bytes = b"opaque") -> Call:
    fields = ((b"authorization", b"Bearer " + token),)
    return Call(None, Metadata(fields), front_end="rest", peer=Peer("192.0.2.1", 1), started=0.0)


async def forward(call: Call) -> Reply:
    return Reply()


async def test_an_active_token_says_who_calls() -> None:
    made = call()
    await policy(Web({URL: answer(groups=["staff"])}))(made, forward)
    who = made.identity
    assert (who.subject, who.consumer, who.scopes, who.groups) == ("ann", "app", {"read"}, {"staff"})
    assert who.expires_at == who.claims["exp"]


@pytest.mark.parametrize(("consumer", "named"), [("aud", "api"), ("nothing", ""), ("off", ""), (False, "")])
async def test_what_names_the_consumer_is_a_setting(consumer: str | bool, named: str) -> None:
    made = call()
    await policy(Web({URL: answer(aud="api")}), consumer=consumer)(made, forward)
    assert made.identity.consumer == named


@pytest.mark.parametrize("how", ["basic", "post"])
async def test_the_issuer_is_told_who_asks(how: str) -> None:
    web = Web({URL: answer()})
    await policy(web, client_id="gate:way", client_secret="s&c", client_auth=how)(call(b"a+b="), forward)
    headers, body = web.sent[0]
    assert body is not None
    form = dict(urllib.parse.parse_qsl(body.decode()))
    assert (form["token"], form["token_type_hint"]) == ("a+b=", "access_token")
    if how == "post":
        assert (form["client_id"], form["client_secret"]) == ("gate:way", "s&c")
        assert "authorization" not in headers
    else:
        assert headers["authorization"] == "Basic " + base64.b64encode(b"gate%3Away:s%26c").decode()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(active=False), "not active"),
        (answer(active=None), "not active"),
        (answer(active="true"), "not active"),
        (answer(active=1), "not active"),
        (answer(exp=1), "expired"),
        (answer(exp="x"), "no time"),
        (answer(nbf=int(time.time()) + VALID_S), "not valid yet"),
        (answer(sub=None), "has no sub"),
        (answer(sub=["ann"]), "has no sub"),
        (answer(iss="https://evil.example"), "not trusted"),
        (answer(iss="https://idp.example", aud="other"), "another audience"),
    ],
    ids=range(11),
)
async def test_other_tokens_are_refused(said: bytes, reason: str) -> None:
    web = Web({URL: said})
    settings = {"issuer": "https://idp.example", "audience": "api"} if "iss" in json.loads(said) else {}
    one = policy(web, **settings)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match=reason):
            await one(call(), forward)
    assert len(web.asked) == 1


async def test_when_the_token_was_made_is_the_issuers_business() -> None:
    one = policy(Web({URL: answer(iat="yesterday")}))
    await one(call(), forward)


@pytest.mark.parametrize("broken", [DOWN, 500, 401, 302, b"<html>", b"[]", b"[" * 5000])
async def test_while_the_issuer_cannot_say_calls_are_refused_as_unavailable(broken: Any) -> None:
    web = Web({URL: answer()})
    one = policy(web)
    await one(call(b"remembered"), forward)
    web.pages[URL] = broken
    await one(call(b"remembered"), forward)
    with pytest.raises(GatewayError) as caught:
        await one(call(), forward)
    assert caught.value.status.code is Code.UNAVAILABLE
    web.pages[URL] = answer()
    await one(call(), forward)


async def test_the_issuer_is_asked_once_for_all_who_come_together() -> None:
    gate = asyncio.Event()

    class Slow(Web):
        async def fetch(self, url: str, **how: Any) -> Fetched:
            await gate.wait()
            return await super().fetch(url, **how)

    web = Slow({URL: answer()})
    one = policy(web)
    tasks = [asyncio.ensure_future(one(call(), forward)) for _ in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    gate.set()
    await asyncio.gather(*tasks[1:])
    assert len(web.asked) == 1


async def test_an_answer_holds_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    web = Web({URL: answer()})
    one = policy(web, remember="60s")
    await one(call(), forward)
    await one(call(), forward)
    assert len(web.asked) == 1
    loop = asyncio.get_running_loop()
    later = loop.time() + 61
    monkeypatch.setattr(loop, "time", lambda: later)
    web.pages[URL] = answer(active=False)
    with pytest.raises(Unauthenticated):
        await one(call(), forward)


async def test_an_answer_does_not_hold_beyond_the_tokens_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    web = Web({URL: answer()})
    one = policy(web)
    await one(call(), forward)
    later = time.time() + VALID_S + 1
    monkeypatch.setattr("protogw.policies.introspection.time.time", lambda: later)
    with pytest.raises(Unauthenticated, match="expired"):
        await one(call(), forward)


VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=3)


@given(said=st.dictionaries(st.sampled_from(["active", "sub", "exp", "scope", "aud"]), VALUES))
async def test_whatever_the_issuer_answers_a_call_goes_on_as_somebody_or_is_refused(said: dict[str, Any]) -> None:
    made = call()
    try:
        await policy(Web({URL: json.dumps(said).encode()}))(made, forward)
    except GatewayError:
        assert made.identity is None
    else:
        assert said["active"] is True
        assert made.identity.subject == said["sub"]


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "idp.example"},
        {"client_id": "gw", "client_secret": "a\r\nb"},
        {"client_id": None, "client_secret": "a secret of nobody's"},
        {"remember": "0s"},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        policy(Web(), **settings)

"""What policies that find out who calls have in common: what services are told, and streams that outlive them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.errors import Unauthenticated
from protogw.identity import Identity
from protogw.policies.api_key import ApiKey, ApiKeySettings
from protogw.policies.authentication import Authentication, AuthenticationSettings, claim
from protogw.policies.base import PolicySettings
from protogw.policies.identity_headers import Stripped, clashes, written_by
from protogw.wire.http import Header, Peer
from tests.support.rpc import CHAT, UNARY


class Said(Authentication):
    """Vouches for whoever `x-said` is in its book."""

    kind: ClassVar[str] = "said"
    Settings: ClassVar[type[PolicySettings]] = AuthenticationSettings

    def __init__(self, book: dict[bytes, Identity], **settings: Any) -> None:
        super().__init__(AuthenticationSettings.model_validate(settings))
        self.book = book

    def wanted(self) -> Unauthenticated:
        return Unauthenticated("say who you are", "Said")

    async def authenticate(self, call: Call) -> Identity | None:
        said = call.metadata.get(b"x-said")
        if said is None:
            return None
        if said not in self.book:
            raise Unauthenticated("nobody", "Said")
        return self.book[said]


def ann(**more: Any) -> Identity:
    return Identity(subject="ann", scheme="said", **more)


def call(*headers: Header, streams: bool = False, **attributes: Any) -> Call:
    made = Call(
        CHAT if streams else UNARY,
        Metadata(headers),
        front_end="any",
        peer=Peer("192.0.2.1", 1),
        started=0.0,
        payloads=_none() if streams else None,
    )
    made.attributes = attributes or None
    return made


async def _none() -> AsyncIterator[Payload]:
    return
    yield Payload(b"", Encoding.PROTO)


async def forward(call: Call) -> Reply:
    return Reply()


async def never_answering(call: Call) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError("not reached")


ANN = (b"x-said", b"ann")


async def test_services_are_told_who_calls() -> None:
    told = {
        "x-user": "subject",
        "x-groups": "groups",
        "x-mail": "email",
        "x-city": "address.city",
        "x-role": "https://example.com/role",
        "x-vip": "vip",
        "x-none": "nothing.here",
    }
    claims = {
        "email": "ann@example.com",
        "address": {"city": "Zürich\r\nx: 1"},
        "https://example.com/role": "boss",
        "vip": True,
    }
    policy = Said({b"ann": ann(groups=frozenset(("b", "a,c")), claims=claims)}, headers=told)
    made = call(ANN, (b"x_user", b"eve"), (b"x-user", b"eve"))
    await policy(made, forward)
    assert dict(made.metadata.pairs) == {
        b"x-said": b"ann",
        b"x-user": b"ann",
        b"x-groups": b"a%2Cc,b",
        b"x-mail": b"ann@example.com",
        b"x-city": b"Z%C3%BCrich%0D%0Ax: 1",
        b"x-role": b"boss",
        b"x-vip": b"true",
    }
    assert policy.written_headers == {name.encode() for name in told}


async def test_calls_with_equal_heads_share_what_services_are_told() -> None:
    policy = Said({b"ann": ann()}, headers={"x-user": "subject"})
    first, second = call(ANN), call()
    second.metadata = first.metadata
    await policy(first, forward)
    await policy(second, forward)
    assert first.metadata is second.metadata


@pytest.mark.parametrize("name", ["host", "Authorization", "grpc-user", "x user", "x-forwarded-for", "x-user-bin", ""])
def test_fields_that_mean_something_to_a_protocol_are_no_identity_headers(name: str) -> None:
    with pytest.raises(ValidationError, match=r"is not|is a field"):
        AuthenticationSettings.model_validate({"headers": {name: "subject"}})


HALVES = st.characters(categories=["Cs"])
"""Half a surrogate pair each, which a policy of the user's may find."""


@given(value=st.text(st.characters() | HALVES))
async def test_no_claim_breaks_out_of_its_field(value: str) -> None:
    policy = Said({b"ann": ann(claims={"v": value, "list": [value, value]})}, headers={"x-v": "v", "x-l": "list"})
    made = call(ANN)
    await policy(made, forward)
    for _, text in made.metadata.pairs:
        assert all(0x20 <= byte < 0x7F for byte in text)
    assert len((made.metadata.get(b"x-l") or b",").split(b",")) == 2


def test_a_claims_name_may_have_dots() -> None:
    assert claim({"a": {"b": 1}, "c.d": 2}, ["a", "b"]) == 1
    assert claim({"a": {"b": 1}, "c.d": 2}, ["c", "d"]) == 2
    assert claim({"a": []}, ["a", "b"]) is None


def test_identity_headers_are_removed_under_every_spelling() -> None:
    policies = [Said({}, headers={"X_User": "subject"}), Said({}, headers={"x-groups": "groups"}), object()]
    names = written_by(policies)
    assert names == {b"x-user", b"x-groups"}
    stripped = Stripped(names)
    made = call((b"x-user", b"eve"), (b"x_user", b"eve"), (b"x-user-2", b"ok"), (b"x_groups", b"root"), (b"a", b"b"))
    stripped.clean(made)
    assert made.metadata.pairs == ((b"x-user-2", b"ok"), (b"a", b"b"))
    clean = call((b"a", b"b"))
    before = clean.metadata
    stripped.clean(clean)
    assert clean.metadata is before


def test_a_credential_is_not_looked_for_where_another_policy_writes() -> None:
    keys = ApiKey(ApiKeySettings.model_validate({"in": "header.X_User", "keys": [{"consumer": "a", "key": "k" * 16}]}))
    writer = Said({}, headers={"x-user": "subject"})
    assert clashes({"keys": keys, "said": writer}) == [
        "policies.keys: looks for its credential in x_user, which said writes: what clients send there is removed"
    ]
    assert clashes({"keys": keys, "other": Said({}, headers={"x-other": "subject"})}) == []


async def _run(policy: Said, made: Call) -> BaseException | Reply:
    """What comes of the call, with the task cancelled as front ends expect it."""
    try:
        return await policy(made, never_answering)
    except asyncio.CancelledError as error:
        return made.cut or error
    finally:
        made.ended()


async def test_a_stream_ends_when_its_credential_expires() -> None:
    policy = Said({b"ann": ann(expires_at=time.time() + 0.02)})
    found = await asyncio.gather(asyncio.create_task(_run(policy, call(ANN, streams=True))))
    assert isinstance(found[0], Unauthenticated)
    assert found[0].message == "the credential has expired"
    assert found[0].headers == ((b"www-authenticate", b"Said"),)


@pytest.mark.parametrize("settings", [{}, {"on_expiry": "ignore"}])
async def test_what_does_not_outlive_its_credential_is_not_watched(settings: dict[str, Any]) -> None:
    policy = Said({b"ann": ann(expires_at=time.time() + 60)}, **settings)
    made = call(ANN, streams=bool(settings))
    await policy(made, forward)
    assert made.watched is None


async def test_the_watch_ends_with_the_call() -> None:
    policy = Said({b"ann": ann(expires_at=time.time() + 60)})
    made = call(ANN, streams=True)
    await policy(made, forward)
    watched = made.watched
    assert isinstance(watched, asyncio.TimerHandle)
    made.ended()
    assert watched.cancelled()


async def test_of_two_credentials_the_one_that_expires_first_ends_the_stream() -> None:
    now = time.time()
    late, early = (Said({b"ann": ann(expires_at=now + seconds)}) for seconds in (3600, 60))
    for policies in ((late, early), (early, late)):
        made = call(ANN, streams=True)
        for policy in policies:
            policy.admit(made, policy.book[b"ann"])
        watched = made.watched
        assert isinstance(watched, asyncio.TimerHandle)
        assert watched.when() - asyncio.get_running_loop().time() < 100
        made.ended()


@pytest.mark.parametrize("who", ["ann", "bob", "nobody"])
async def test_a_stream_goes_on_if_the_same_caller_is_vouched_for_anew(who: str) -> None:
    now = time.time()
    book = {
        b"ann": ann(expires_at=now + 0.02),
        b"newer ann": ann(expires_at=now + 3600),
        b"newer bob": Identity(subject="bob", scheme="said", expires_at=now + 3600),
    }
    policy = Said(book, on_expiry="reauthenticate")
    renewed = Metadata(((b"x-said", f"newer {who}".encode()),))
    made = call(ANN, streams=True, renewed=lambda: renewed)
    task = asyncio.create_task(_run(policy, made))
    if who == "ann":
        async with asyncio.timeout(5):
            while made.identity is not book[b"newer ann"]:  # noqa: ASYNC110 (it has no event)
                await asyncio.sleep(0.005)
        assert isinstance(made.watched, asyncio.TimerHandle)
        task.cancel()
        assert isinstance((await asyncio.gather(task))[0], asyncio.CancelledError)
    else:
        assert isinstance((await asyncio.gather(task))[0], Unauthenticated)

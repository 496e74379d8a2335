"""API keys: where they are found, whom they stand for, that they go no further, and files that change."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw import consumers
from protogw.call import Call, Metadata, Reply
from protogw.consumers import Consumers
from protogw.errors import Unauthenticated
from protogw.policies import api_key
from protogw.policies.api_key import ApiKey, ApiKeySettings
from protogw.policies.credentials import MAX_BYTES, Places
from protogw.wire.http import HTTP_1_1, Header, Peer, RequestHead
from tests.support.counted import Counted

KEY = "a-key-of-some-length"
DIGEST = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
ENTRY = {"consumer": "shop", "hash": DIGEST, "groups": ["staff"], "scopes": ["read"]}


def policy(**settings: Any) -> ApiKey:
    return ApiKey(ApiKeySettings.model_validate({"keys": [ENTRY], **settings}))


def call(*headers: Header, query: bytes = b"") -> Call:
    head = RequestHead(b"GET", b"/v1/x", query, b"gw.test", headers, HTTP_1_1)
    return Call(None, Metadata(headers), front_end="rest", peer=Peer("192.0.2.1", 1), started=0.0, head=head)


async def forward(call: Call) -> Reply:
    return Reply()


async def test_a_known_key_says_who_calls() -> None:
    made = call((b"x-api-key", KEY.encode()))
    await policy()(made, forward)
    assert made.identity.consumer == "shop"
    assert made.identity.groups == {"staff"}
    assert made.identity.scopes == {"read"}


async def test_the_key_goes_no_further_unless_it_should() -> None:
    made = call((b"x-api-key", KEY.encode()), (b"accept", b"*/*"))
    await policy()(made, forward)
    assert made.metadata.pairs == ((b"accept", b"*/*"),)
    kept = call((b"x-api-key", KEY.encode()))
    await policy(hide=False)(kept, forward)
    assert kept.metadata.get(b"x-api-key") == KEY.encode()


async def test_calls_with_equal_heads_share_what_goes_on() -> None:
    one, equal = policy(), Metadata(((b"x-api-key", KEY.encode()),))
    calls = [call() for _ in range(4)]
    for made in calls:
        made.metadata = equal
        await one(made, forward)
    # Heads that are met once leave nothing behind.
    assert calls[2].metadata is calls[3].metadata
    assert [made.identity.consumer for made in calls] == ["shop"] * 4


@pytest.mark.parametrize(
    "made",
    [
        call((b"cookie", b"a=1; key=" + KEY.encode() + b"; b=2")),
        call(query=b"page=2&api%5fkey=" + KEY.encode().replace(b"-", b"%2D")),
        call((b"x-key", KEY.encode()), query=b"api_key=" + KEY.encode()),
    ],
    ids=["cookie", "query", "twice the same"],
)
async def test_every_place_is_looked_at(made: Call) -> None:
    one = policy(**{"in": ["header.X-Key", "query.api_key", "cookie.key"]})
    assert one.query_names == {b"api_key"}
    await one(made, forward)
    assert made.identity.consumer == "shop"
    assert KEY.encode() not in repr(made.metadata).encode()
    assert KEY.encode() not in (made.attributes or {}).get("query", b"")


async def test_what_is_around_a_key_stays() -> None:
    one = policy(**{"in": ["query.k", "cookie.k"]})
    made = call((b"cookie", b"a=1; k=" + KEY.encode() + b"; b=2"), query=b"page=2&k=" + KEY.encode() + b"&size=3")
    await one(made, forward)
    assert made.metadata.get(b"cookie") == b"a=1; b=2"
    assert (made.attributes or {})["query"] == b"page=2&size=3"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ((), "is needed"),
        (((b"x-api-key", b""),), "is needed"),
        (((b"x-api-key", b"another key altogether"),), "not known"),
        (((b"x-api-key", KEY.encode() + b" "),), "not known"),
        (((b"x-api-key", KEY.encode()), (b"x-api-key", b"another")), "differ"),
        (((b"x-api-key", b"k" * (MAX_BYTES + 1)),), "longer than"),
        (((b"x-api-key", DIGEST.encode()),), "not known"),
        (((b"authorization", b"Bearer " + KEY.encode()),), "is needed"),
    ],
)
async def test_calls_without_a_known_key_are_refused(headers: tuple[Header, ...], said: str) -> None:
    reached = False

    async def never(call: Call) -> Reply:
        nonlocal reached
        reached = True
        return Reply()

    with pytest.raises(Unauthenticated, match=said) as caught:
        await policy()(call(*headers), never)
    assert not reached
    assert KEY not in caught.value.message
    assert (b"www-authenticate", b"ApiKey") in caught.value.headers


def test_one_key_is_not_two_consumers() -> None:
    with pytest.raises(ValueError, match="warehouse has the same key as shop"):
        policy(keys=[ENTRY, {"consumer": "warehouse", "key": KEY}])


async def test_a_key_is_good_until_it_expires() -> None:
    one = policy(keys=[{**ENTRY, "expires": 1.0}])
    with pytest.raises(Unauthenticated, match="expired"):
        await one(call((b"x-api-key", KEY.encode())), forward)


async def test_a_changed_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_key, "WATCH_S", 0.005)
    file = tmp_path / "keys.yaml"
    file.write_text(f"- {{ consumer: old, hash: '{DIGEST}' }}\n")
    one = policy(keys=[], file=file)
    task = asyncio.get_running_loop().create_task(one.run())

    equal = Metadata(((b"x-api-key", KEY.encode()),))

    async def consumer() -> str:
        made = call()
        made.metadata = equal  # as equal heads share it: nothing that is kept of it may outlive the file
        await one(made, forward)
        found: str = made.identity.consumer
        return found

    async def known() -> bool:
        try:
            await consumer()
        except Unauthenticated:
            return False
        return True

    assert await consumer() == "old"
    file.write_text("- { consumer: [broken\n")
    os.utime(file, ns=(1, 1))
    file.write_text(f"- {{ consumer: fresh, hash: '{DIGEST}' }}\n")
    async with asyncio.timeout(5):
        while await consumer() != "fresh":  # noqa: ASYNC110 (a file has no event)
            await asyncio.sleep(0.002)
    # A key that was good before is not any more.
    file.write_text("[]\n")
    async with asyncio.timeout(5):
        while await known():  # noqa: ASYNC110 (a file has no event)
            await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_whom_consumers_make_of_a_key_changes_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "WATCH_S", 0.005)
    file = tmp_path / "consumers.yaml"
    file.write_text("shop: { groups: [old] }\n")
    known = Consumers(file)
    task = asyncio.get_running_loop().create_task(known.run())

    class Tools(Counted):
        consumers = known

    one = policy()
    one.equip(Tools())  # type: ignore[arg-type]
    equal = Metadata(((b"x-api-key", KEY.encode()),))

    async def groups() -> frozenset[str]:
        made = call()
        made.metadata = equal
        await one(made, forward)
        found: frozenset[str] = made.identity.groups
        return found

    assert await groups() == {"staff", "old"}
    file.write_text("shop: { groups: [fresh] }\n")
    async with asyncio.timeout(5):
        while await groups() != {"staff", "fresh"}:  # noqa: ASYNC110 (a file has no event)
            await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_equal_metadata_with_another_query_is_another_credential() -> None:
    one = policy(**{"in": ["query.key", "header.x-api-key"]})
    equal = Metadata(((b"x-api-key", KEY.encode()),))
    first = call(query=b"")
    first.metadata = equal
    await one(first, forward)
    second = call(query=b"key=another-key-of-some-length")
    second.metadata = equal
    with pytest.raises(Unauthenticated, match="differ"):
        await one(second, forward)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- { consumer: [a\n", ":1|:2"),
        ("- { consumer: a, hash: md5:12 }\n", "0: .*sha256"),
        ("- { consumer: a }\n", "either key or hash"),
        (f"- {{ consumer: a, key: {KEY}, colour: red }}\n", "0.colour"),
        ("just text", "tuple"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        policy(keys=[], file=file)
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"keys": []},
        {"in": ["body.key"]},
        {"in": []},
        {"keys": [{"consumer": "a", "key": "short"}]},
        {"keys": [{"consumer": "a", "key": KEY, "hash": DIGEST}]},
        {"keys": [{"consumer": "", "key": KEY}]},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ApiKeySettings.model_validate({"keys": [ENTRY], **settings})


FIELDS = st.lists(st.tuples(st.sampled_from([b"x-key", b"cookie", b"accept"]), st.binary(max_size=40)), max_size=6)


@given(FIELDS, st.binary(max_size=60))
def test_whatever_is_sent_is_a_credential_none_or_a_refusal(fields: list[Header], query: bytes) -> None:
    places = Places(("header.x-key", "cookie.key", "query.key"))
    made = call(*fields, query=query)
    try:
        found = places.take(made)
    except Unauthenticated:
        return
    if found is not None:
        assert all(value != found for name, value in made.metadata.pairs if name == b"x-key")


async def test_refusals_are_counted_by_their_reason() -> None:
    tools = Counted()
    made = policy()
    made.equip(tools)  # type: ignore[arg-type]
    for fields in ((), ((b"x-api-key", b"not-the-key-at-all"),)):
        with pytest.raises(Unauthenticated):
            await made(call(*fields), forward)
    assert tools.told("auth_failures") == {("missing",): 1, ("refused",): 1}

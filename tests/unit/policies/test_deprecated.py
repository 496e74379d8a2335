"""Deprecated APIs say so with every answer, and end at their sunset if so wished."""

from __future__ import annotations

import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from pydantic import ValidationError

from protogw.call import Call, Reply
from protogw.errors import Code, NotOffered
from protogw.policies.deprecated import Deprecated, DeprecatedSettings
from protogw.testing import Forwarded, call_of

NOON = datetime.datetime(2027, 1, 31, 12, tzinfo=datetime.UTC).timestamp()


def policy(now: float = 0.0, **settings: Any) -> Deprecated:
    return Deprecated(DeprecatedSettings.model_validate({"since": "2026-06-30", **settings}), lambda: now)


async def fields(made: Deprecated) -> dict[str, str]:
    reply = await made(call_of("Unary", {"text": "x"}), Forwarded())
    return {name.decode(): value.decode() for name, value in reply.metadata}


async def test_answers_say_since_when() -> None:
    # The example of RFC 9745 section 2.1: 2023-06-30T23:59:59Z is @1688169599.
    assert await fields(policy(since="2023-06-30T23:59:59Z")) == {"deprecation": "@1688169599"}
    assert await fields(policy(since=datetime.date(2023, 6, 30))) == {"deprecation": "@1688083200"}


async def test_answers_say_until_when_and_where_to_read_about_it() -> None:
    made = policy(
        sunset="2027-01-31T13:00:00+01:00",
        link="https://shop.example/deprecations",
        sunset_link="https://shop.example/end",
        successor="https://api.shop.example/v2",
    )
    found = await fields(made)
    assert found["sunset"] == "Sun, 31 Jan 2027 12:00:00 GMT"
    assert parsedate_to_datetime(found["sunset"]).timestamp() == NOON
    assert found["link"] == (
        '<https://shop.example/deprecations>; rel="deprecation", <https://shop.example/end>; rel="sunset", '
        '<https://api.shop.example/v2>; rel="successor-version"'
    )


@pytest.mark.parametrize("refuse", [False, True])
@pytest.mark.parametrize(("now", "over"), [(NOON - 1, False), (NOON, True)])
async def test_it_ends_at_its_sunset_if_so_wished(refuse: bool, now: float, over: bool) -> None:
    made = policy(now, sunset="2027-01-31T12:00:00Z", refuse=refuse, successor="https://v2.example")
    forwarded = Forwarded()
    if not (refuse and over):
        assert isinstance(await made(call_of(), forwarded), Reply)
        return
    with pytest.raises(NotOffered, match=r"come to its end; use https://v2\.example") as raised:
        await made(call_of(), forwarded)
    assert forwarded.calls == []
    assert (raised.value.status.code, raised.value.http_status) == (Code.UNIMPLEMENTED, 410)
    assert dict(raised.value.headers)[b"sunset"] == b"Sun, 31 Jan 2027 12:00:00 GMT"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"since": "soon"}, "is not a date"),
        ({"since": 5}, "is not a date"),
        ({"refuse": True}, "refuse needs a sunset"),
        ({"sunset_link": "https://a.example"}, "sunset_link needs a sunset"),
        ({"sunset": "2020-01-01"}, "lies before since"),
        ({"link": "https://a.example/\r\nx: y"}, "is not a URL"),
        ({"successor": 'https://a.example/>; rel="x"'}, "is not a URL"),
    ],
)
def test_bad_settings_are_told(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        policy(**settings)


async def test_a_refusal_from_behind_passes() -> None:
    async def refusing(_: Call) -> Reply:
        raise NotOffered("nothing here")

    with pytest.raises(NotOffered, match="nothing here"):
        await policy()(call_of(), refusing)

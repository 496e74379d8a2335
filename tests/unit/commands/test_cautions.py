"""What `protogw check` warns of: subjects that several issuers may share, taken for callers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from protogw.assembly import KINDS, build
from protogw.commands.cautions import cautions
from protogw.config import load
from tests.support.gateway import config_of, written
from tests.support.processes import ROOT

SECRET = "s" * 32
A = {"issuer": "https://a.example", "secret": SECRET, "audience": "api"}
B = {"issuer": "https://b.example", "secret": SECRET, "audience": "api"}
POLICIES: dict[str, Any] = {
    "one": {"jwt": A},
    "other": {"jwt": B},
    "both": {"jwt": {"issuers": [A, B]}},
    "keys": {"api_key": {"keys": [{"consumer": "ann", "key": "k" * 32}]}},
    "guest": {"anonymous": {}},
    "asks": {"forward_auth": {"http": "http://127.0.0.1/"}},
    "either": {"any_of": ["one", "other"]},
    "some": {"any_of": ["one", "keys"]},
    "mixed": {"any_of": ["either", "keys"]},
    "certs": {"mtls": {}},
    "certs-or-keys": {"any_of": ["certs", "keys"]},
    "open": {"any_of": ["one", "guest"]},
}
FAIR = {"rate_limit": {"rate": "1/second", "by": "identity.subject"}}
ISSUER = "write identity.key"
TENANT = "tests.support.tenants:Tenant"


@pytest.mark.parametrize(
    ("admin", "warned"),
    [
        ("127.0.0.1:1", False),
        ("localhost:1", False),
        ("[::1]:1", False),
        ("off", False),
        ("0.0.0.0:1", True),
        ("[::]:1", True),
        ("192.0.2.1:1", True),
        ("gateway.example:1", True),
    ],
)
async def test_an_admin_address_that_others_reach_is_told(admin: str, warned: bool, tmp_path: Path) -> None:
    assert [one.partition(":")[0] for one in of_config(tmp_path, admin=admin)] == ["admin"] * warned


async def told(folder: Path, use: list[str], policy: Any = FAIR, **more: Any) -> list[str]:
    policies = {**POLICIES, "fair": policy}
    return of_config(folder, policies=policies, use=use, **more)


def of_config(folder: Path, **config: Any) -> list[str]:
    loaded = load(written(config_of({"up": {"http": ["http://127.0.0.1:1"]}}, **config), folder), KINDS)
    gateway = build(loaded)
    try:
        return cautions(loaded, gateway.policies)
    finally:
        gateway.stop()


@pytest.mark.parametrize(
    ("use", "who", "remedy"),
    [
        (["both", "fair"], '"https://a.example" and "https://b.example"', ISSUER),
        (["either", "fair"], '"https://a.example" and "https://b.example"', ISSUER),
        (["either", "asks", "fair"], '"https://a.example" and "https://b.example"', ISSUER),
        (["some", "fair"], '"https://a.example" and api_key', ISSUER),
        (["mixed", "fair"], '"https://a.example" and "https://b.example" and api_key', ISSUER),
    ],
)
async def test_a_subject_of_several_issuers_is_no_key(use: list[str], who: str, remedy: str, tmp_path: Path) -> None:
    assert await told(tmp_path, use) == [
        f"policies.fair.rate_limit.by: callers of {who} may have the same subject: {remedy}"
    ]


@pytest.mark.parametrize(
    "use",
    [
        ["one", "fair"],
        ["one", "other", "fair"],  # the last says who calls
        ["both", "keys", "fair"],
        ["open", "fair"],
    ],
)
async def test_a_subject_of_one_issuer_is_a_key(use: list[str], tmp_path: Path) -> None:
    assert await told(tmp_path, use) == []


BEFORE = "is empty in use, where no policy before it finds out who calls: all callers are one"


@pytest.mark.parametrize(
    ("use", "policy", "said"),
    [
        (["fair"], FAIR, f"rate_limit.by: identity.subject {BEFORE}"),
        (["pages", "fair", "both"], FAIR, f"rate_limit.by: identity.subject {BEFORE}"),
        (["fair"], {"concurrency": {"limit": 1, "by": "identity.key"}}, f"concurrency.by: identity.key {BEFORE}"),
        (["fair"], {"quota": {"limit": "1/day", "store": ":memory:"}}, f"quota.by: identity.consumer {BEFORE}"),
        (["asks", "fair"], FAIR, ""),
        (["guest", "fair"], FAIR, ""),
        (["own", "fair"], FAIR, ""),
        (["fair"], {"rate_limit": {"rate": "1/s", "by": 'identity.subject + "|" + peer.address'}}, ""),
        (["fair"], {"rate_limit": {"rate": "1/s"}}, ""),
        (["fair"], {"quota": {"limit": "1/day", "store": ":memory:", "by": "peer.address"}}, ""),
    ],
)
async def test_callers_whom_nobody_has_found_out_yet_are_one(
    use: list[str], policy: Any, said: str, tmp_path: Path
) -> None:
    more = {"pages": {"cors": {"origins": ["https://a.example"]}}, "own": {"python": {"class": TENANT}}}
    policies = {**POLICIES, **more, "fair": policy}
    assert of_config(tmp_path, policies=policies, use=use) == ([f"policies.fair.{said}"] if said else [])


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (["kept", "one"], ["one"]),
        (["one", "kept", "near"], ["near"]),
        (["kept", "fair", "either", "near"], ["either", "near"]),
        (["one", "near", "kept", "fair"], []),
        (["one", "near"], []),
    ],
)
async def test_what_lets_calls_in_is_passed_by_behind_a_cache(use: list[str], told: list[str], tmp_path: Path) -> None:
    more = {"kept": {"cache": {"ttl": "1s"}}, "near": {"ip_filter": {"allow": ["10.0.0.0/8"]}}}
    more["fair"] = {"rate_limit": {"rate": "1/s"}}
    said = "stands behind kept, whose kept answers are given without asking it"
    assert of_config(tmp_path, policies={**POLICIES, **more}, use=use) == [f"use: {name} {said}" for name in told]


async def test_a_policy_on_several_routes_counts_the_callers_of_all(tmp_path: Path) -> None:
    routes = [
        {"match": {"path": "/a"}, "to": "up", "use": ["other", "fair"]},
        {"match": {"path": "/b"}, "to": "up", "use": ["other"]},
    ]
    assert len(await told(tmp_path, ["one", "fair"], routes=routes)) == 1
    assert await told(tmp_path, ["one"], routes=routes) == []


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"quota": {"limit": "1/day", "store": ":memory:", "by": "identity.subject"}}, "quota.by"),
        ({"concurrency": {"limit": 1, "by": "identity.subject"}}, "concurrency.by"),
        ({"rate_limit": {"rate": "1/s", "by": 'identity.scheme + "|" + identity.subject'}}, "rate_limit.by"),
        (
            {"authorize": {"rules": [{"match": "a.B/C", "scopes": "a"}, {"when": 'identity.subject == "ann"'}]}},
            "authorize.rules[1].when",
        ),
        (
            {"transform": {"request": {"metadata": {"set": {"x-user": {"from": "identity.subject"}}}}}},
            "transform.request.metadata.set.x-user",
        ),
    ],
)
async def test_every_expression_of_a_policy_is_looked_at(policy: Any, path: str, tmp_path: Path) -> None:
    (said,) = await told(tmp_path, ["both", "fair"], policy)
    assert said.startswith(f"policies.fair.{path}: callers of ")


@pytest.mark.parametrize(
    "by",
    [
        "identity.key",
        'identity.issuer + "|" + identity.subject',
        "identity.consumer",
        "header.subject",
        "identity.claims.subject",
        "peer.address",
    ],
)
async def test_what_tells_callers_apart_is_taken(by: str, tmp_path: Path) -> None:
    assert await told(tmp_path, ["both", "fair"], {"rate_limit": {"rate": "1/second", "by": by}}) == []


@pytest.mark.parametrize(
    ("headers", "count"), [({"x-user": "subject"}, 1), ({"x-user": "subject", "x-from": "issuer"}, 0), ({}, 0)]
)
async def test_a_service_is_told_whose_subject_it_is(headers: dict[str, str], count: int, tmp_path: Path) -> None:
    policy = {"jwt": {"issuers": [A, B], "headers": headers}}
    said = await told(tmp_path, ["fair"], policy)
    assert len(said) == count
    assert all(one.startswith("policies.fair.jwt.headers.x-user: issuers may have equal subjects") for one in said)
    assert await told(tmp_path, ["fair"], {"jwt": {**A, "headers": headers}}) == []


@pytest.mark.parametrize(("use", "count"), [("either", 1), ("some", 1), ("both", 0), ("one", 0), ("open", 0)])
async def test_clients_who_share_a_stream_are_told_apart(use: str, count: int, tmp_path: Path) -> None:
    route = {"match": {"call": "chat.v1.Chat/Talk"}, "use": use, "fan_in": {"identify": "identity", "reply_key": "to"}}
    said = await told(tmp_path, [], routes=[route])
    assert len(said) == count
    for one in said:
        assert one.startswith("routes[0].fan_in.identify: callers of ")
        assert one.endswith("may have the same subject, and get each other's replies")
    by_connection = {**route, "fan_in": {"reply_key": "to"}}
    assert await told(tmp_path, [], routes=[by_connection]) == []


async def test_tokens_of_an_issuer_without_an_audience_are_warned_of(tmp_path: Path) -> None:
    taken = "not written, so tokens that were made for other services are taken too (RFC 8725 section 3.9)"
    bare = {"issuer": "https://c.example", "secret": SECRET}
    assert await told(tmp_path, ["fair"], {"jwt": bare}) == [f"policies.fair.jwt.audience: {taken}"]
    assert await told(tmp_path, ["fair"], {"jwt": {"issuers": [A, bare]}}) == [
        f"policies.fair.jwt.issuers[1].audience: {taken}"
    ]


PAGES = [
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "docs/adr").glob("*.md"),
    *(ROOT / "examples").rglob("*.md"),
    ROOT / "README.md",
]
BLOCKS = [block for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]
BLOCKS += [path.read_text() for path in (ROOT / "examples").rglob("*.yaml")]


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"issuers": [A, B], "consumer": "azp"}, 1),
        ({"issuers": [{**A, "consumer": "azp"}, B], "consumer": "client_id"}, 1),
        ({"issuers": [A, {**B, "consumer": "off"}], "consumer": "azp"}, 0),
        ({"issuers": [{**A, "consumer": "azp"}, B]}, 0),
        ({"issuers": [{**A, "consumer": "azp"}, {**B, "consumer": "azp"}]}, 0),
        ({"issuers": [A, B]}, 0),
        ({**A, "consumer": "azp"}, 0),
    ],
)
async def test_consumers_that_several_issuers_may_name_are_warned_of(
    settings: dict[str, Any], count: int, tmp_path: Path
) -> None:
    said = await told(tmp_path, ["fair"], {"jwt": settings})
    assert len(said) == count
    assert all(one.startswith("policies.fair.jwt.consumer: tokens of each issuer may name") for one in said)


ASKED: dict[str, Any] = {"url": "https://idp.example/introspect"}
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$" + "A" * 43


async def told_of_asked(folder: Path, settings: dict[str, Any], policies: dict[str, Any], **more: Any) -> list[str]:
    return of_config(folder, policies={"asked": {"introspection": {**ASKED, **settings}}, **policies}, **more)


@pytest.mark.parametrize(
    "other",
    [
        POLICIES["keys"],
        {"jwt": {**A, "consumer": "azp"}},
        {"jwt": {"issuers": [{**A, "consumer": "azp"}, B]}},
        {"mtls": {"consumers": {"dns:shop.example": "shop"}}},
        {"anonymous": {"consumer": "guests"}},
        {"basic": {"users": [{"name": "ann", "hash": HASH, "consumer": "shop"}]}},
        {"introspection": {**ASKED, "consumer": "client_id"}},
    ],
)
async def test_an_issuer_that_names_consumers_unasked_beside_others_is_warned_of(other: Any, tmp_path: Path) -> None:
    (told_so,) = await told_of_asked(tmp_path, {}, {"other": other})
    assert told_so == (
        "policies.asked.introspection.consumer: its answers' client_id names consumers, as policies.other does too, "
        "so this issuer may name one of theirs: write consumer: off, or consumer: client_id if that is meant"
    )
    for said in ("off", "client_id"):
        assert await told_of_asked(tmp_path, {"consumer": said}, {"other": other}) == []


async def test_an_issuer_that_names_consumers_of_the_config_unasked_is_warned_of(tmp_path: Path) -> None:
    consumers = {"shop": {"groups": ["paying"]}}
    (said,) = await told_of_asked(tmp_path, {}, {}, consumers=consumers)
    assert said.startswith("policies.asked.introspection.consumer: ")
    assert "as consumers does too" in said
    assert await told_of_asked(tmp_path, {"consumer": "off"}, {}, consumers=consumers) == []


@pytest.mark.parametrize(
    "other",
    [
        {"jwt": A},
        {"mtls": {}},
        {"anonymous": {}},
        {"basic": {"users": [{"name": "ann", "hash": HASH}]}},
        {"introspection": {**ASKED, "consumer": "off"}},
        {"authorize": {"rules": [{"consumers": "shop"}]}},
    ],
)
async def test_an_issuer_that_alone_names_consumers_is_none_to_warn_of(other: Any, tmp_path: Path) -> None:
    assert await told_of_asked(tmp_path, {}, {"other": other}) == []


def test_no_token_of_our_examples_is_without_an_audience() -> None:
    found = [one for block in BLOCKS for one in tokens(yaml.safe_load(block))]
    assert len(found) >= 5
    for one in found:
        assert all(issuer.get("audience") for issuer in one.get("issuers", [one])), one


def tokens(data: Any) -> list[dict[str, Any]]:
    """The settings of `jwt` policies anywhere in it."""
    if isinstance(data, list):
        return [found for one in data for found in tokens(one)]
    if not isinstance(data, dict):
        return []
    mine = [one for key, one in data.items() if key == "jwt" and isinstance(one, dict)]
    return mine + [found for one in data.values() for found in tokens(one)]


async def test_the_scheme_tells_apart_what_has_no_issuer(tmp_path: Path) -> None:
    (said,) = await told(tmp_path, ["certs-or-keys", "fair"])
    assert said.endswith(f"callers of api_key and mtls may have the same subject: {ISSUER}")
    condition = {"authorize": {"rules": [{"when": 'identity.subject == "ann"'}]}}
    (said,) = await told(tmp_path, ["certs-or-keys", "fair"], condition)
    assert said.endswith("callers of api_key and mtls may have the same subject: look at identity.scheme too")

"""Authorization: which rule decides, what it asks for, how callers are refused, and fields."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from protogw.call import PARTIAL, Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import BadUpstream, Code, Forbidden, InvalidRequest, Status, Unauthenticated
from protogw.identity import Identity
from protogw.policies.authorize import Authorize, AuthorizeSettings
from protogw.wire.http import HTTP_1_1, Peer, RequestHead
from tests.support import kit, rpc

CODEC = rpc.UNARY.input.codec


def policy(*rules: Any, **settings: Any) -> Authorize:
    return Authorize(AuthorizeSettings.model_validate({"rules": rules, **settings}))


def who(*scopes: str, groups: Sequence[str] = (), consumer: str = "", **claims: Any) -> Identity:
    return Identity(
        subject="ann",
        scheme="jwt",
        consumer=consumer,
        groups=frozenset(groups),
        scopes=frozenset(scopes),
        claims=claims,
    )


def json(**members: Any) -> Payload:
    return Payload(orjson.dumps(members), Encoding.JSON, CODEC)


async def stream(*payloads: Payload) -> AsyncIterator[Payload]:
    for one in payloads:
        yield one


def call(
    method: Method | None = rpc.UNARY,
    identity: Identity | None = None,
    *messages: Payload,
    attributes: dict[str, Any] | None = None,
    **more: Any,
) -> Call:
    payloads = stream(*messages) if method is not None and method.client_streaming else None
    made = Call(
        method,
        Metadata(((b"x-tenant", b"acme"),)),
        front_end="rest",
        peer=Peer("192.0.2.1", 1),
        started=0.0,
        payload=None if payloads is not None else messages[0] if messages else json(text="x"),
        payloads=payloads,
        **more,
    )
    made.identity = identity
    made.attributes = attributes
    return made


def request(verb: str, path: str, identity: Identity | None = None) -> Call:
    head = RequestHead(verb.encode(), path.encode(), b"", b"gw.test", (), HTTP_1_1)
    return call(None, identity, Payload(b"", Encoding.RAW), head=head)


async def forward(call: Call) -> Reply:
    if call.payloads is not None:
        got = [one async for one in call.payloads]
        return Reply(payload=got[-1])
    return Reply(payload=call.payload)


async def outcome(policy: Authorize, call: Call) -> str:
    try:
        await policy(call, forward)
    except Unauthenticated:
        return "who?"
    except Forbidden:
        return "no"
    return "yes"


@pytest.mark.parametrize(
    ("rule", "identity", "meant"),
    [
        ({}, None, "who?"),
        ({}, who(), "yes"),
        ({"anonymous": True}, None, "yes"),
        ({"deny": True}, who("read"), "no"),
        ({"scopes": ["read", "write"]}, who("read", "write", "x"), "yes"),
        ({"scopes": ["read", "write"]}, who("read"), "no"),
        ({"scopes": "read"}, None, "who?"),
        ({"any_scope": ["read", "write"]}, who("write"), "yes"),
        ({"any_scope": ["read", "write"]}, who("reads"), "no"),
        ({"groups": ["staff", "root"]}, who(groups=["root"]), "yes"),
        ({"groups": ["staff", "root"]}, who("staff", groups=["guests"]), "no"),
        ({"consumers": "shop"}, who(consumer="shop"), "yes"),
        ({"consumers": "shop"}, who(groups=["shop"]), "no"),
        ({"scopes": "read", "groups": "staff"}, who("read"), "no"),
        ({"when": 'identity.claims.tenant == header["x-tenant"]'}, who(tenant="acme"), "yes"),
        ({"when": 'identity.claims.tenant == header["x-tenant"]'}, who(tenant="other"), "no"),
        ({"when": 'identity.claims.tenant == header["x-tenant"]'}, who(), "no"),
        ({"when": "identity.subject"}, who(), "no"),
        ({"when": 'message.text == "x"'}, who(), "yes"),
        ({"when": 'message.text == "y"'}, who(), "no"),
        ({"when": 'peer.address == "192.0.2.1"', "anonymous": True}, None, "yes"),
        ({"when": 'peer.address == "192.0.2.2"', "anonymous": True}, None, "no"),
    ],
)
async def test_a_rule_asks_for_all_that_is_written(rule: Any, identity: Identity | None, meant: str) -> None:
    assert await outcome(policy(rule), call(identity=identity)) == meant


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("kit.v1.Echo/Unary", True),
        ("/kit.v1.Echo/Unary", True),
        ("kit.v1.Echo/*", True),
        ("kit.v1.*", True),
        ("kit.*", True),
        ("*", True),
        (["kit.v1.Echo/Up", "kit.v1.Echo/Unary"], True),
        ({"call": "kit.v1.Echo/Unary"}, True),
        ("kit.v1.Echo/Unar", False),
        ("kit.v1.Echo/unary", False),
        ("kit.v1.Ech/*", False),
        ("kit.v.*", False),
        ({"path": "/**"}, False),
    ],
)
async def test_calls_are_matched_by_the_name_of_their_method(match: Any, fits: bool) -> None:
    assert await outcome(policy({"match": match}), call(identity=who())) == ("yes" if fits else "no")


async def test_the_first_rule_that_matches_decides_alone() -> None:
    one = policy({"match": "kit.v1.Echo/Unary", "scopes": "write"}, {"match": "kit.v1.Echo/*", "scopes": "read"})
    assert await outcome(one, call(rpc.UNARY, who("read"))) == "no"
    assert await outcome(one, call(rpc.LOOK, who("read"))) == "yes"
    assert await outcome(one, call(rpc.UNARY, who("write"))) == "yes"


async def test_what_no_rule_matches_is_refused_unless_the_default_says_otherwise() -> None:
    rule = {"match": "other.*"}
    assert await outcome(policy(rule), call(identity=who())) == "no"
    assert await outcome(policy(rule), call()) == "who?"
    assert await outcome(policy(rule, default="allow"), call()) == "yes"
    assert await outcome(policy(rule, default="allow"), request("GET", "/x")) == "yes"


@pytest.mark.parametrize(
    ("verb", "path", "meant"),
    [
        ("GET", "/admin/x", "yes"),
        ("HEAD", "/admin/x", "yes"),
        ("POST", "/admin/x", "no"),
        ("GET", "/%61dmin/x", "yes"),
        ("GET", "/Admin/x", "no"),
        ("GET", "/adminx", "no"),
        ("GET", "/", "no"),
    ],
)
async def test_plain_http_is_matched_by_path_and_method(verb: str, path: str, meant: str) -> None:
    one = policy({"match": {"path": "/admin/**", "method": "get"}, "groups": "staff"})
    assert await outcome(one, request(verb, path, who(groups=["staff"]))) == meant
    assert await outcome(one, request(verb, path)) == "who?"


async def test_a_rule_about_calls_is_none_about_paths() -> None:
    assert await outcome(policy({"match": "*"}), request("GET", "/x", who())) == "no"
    assert await outcome(policy({}), request("GET", "/x", who())) == "yes"


async def test_scopes_that_are_missing_are_named_in_the_challenge() -> None:
    with pytest.raises(Forbidden, match="needs scope a b and one of the scopes c") as caught:
        await policy({"scopes": ["a", "b"], "any_scope": "c"})(call(identity=who("a")), forward)
    assert caught.value.headers == ((b"www-authenticate", b'Bearer error="insufficient_scope", scope="a b c"'),)


async def test_groups_and_conditions_are_nobodys_business() -> None:
    for rule in ({"groups": "staff"}, {"consumers": "shop"}, {"when": 'identity.subject == "bob"'}):
        with pytest.raises(Forbidden) as caught:
            await policy(rule)(call(identity=who()), forward)
        assert caught.value.headers == ()
        assert not {"staff", "shop", "bob"} & set(caught.value.message.replace('"', " ").split())


async def test_a_method_of_a_new_schema_is_decided_anew() -> None:
    one = policy({"match": "kit.v1.Echo/Unary", "fields": [{"field": "text", "scopes": "s"}]})
    await one(call(identity=who()), forward)
    other = replace(rpc.UNARY)
    made = call(other, who())
    assert (await one(made, forward)).payload.proto() == b""  # type: ignore[union-attr]
    assert one._known["kit.v1.Echo/Unary"].method is other


# --- messages ---------------------------------------------------------------------------------------------------------


async def test_every_message_of_a_stream_must_fit_a_condition_on_messages() -> None:
    one = policy({"when": 'message.text == "x"'})
    assert await outcome(one, call(rpc.UP, who(), json(text="x"), json(text="x"))) == "yes"
    assert await outcome(one, call(rpc.UP, who(), json(text="x"), json(text="y"))) == "no"
    assert await outcome(one, call(rpc.UP, None, json(text="x"))) == "who?"


async def test_the_message_that_was_decided_on_is_the_one_that_goes_on() -> None:
    lenient = CODEC.lenient
    twice = Payload(b'{"text":"x","TEXT":"y"}', Encoding.JSON, lenient)
    made = call(rpc.UNARY, who(), twice)
    reply = await policy({"when": 'message.text == "x"'})(made, forward)
    assert reply.payload is not None
    assert reply.payload.encoding is Encoding.PROTO
    assert kit.Message.FromString(reply.payload.data) == kit.message("x")


async def test_a_body_without_fields_fits_no_condition_on_messages() -> None:
    assert await outcome(policy({"when": 'message.text == "x"'}), request("POST", "/x", who())) == "no"


async def test_a_message_that_does_not_fit_its_type_is_told_as_such() -> None:
    bad = Payload(b'{"nope":1}', Encoding.JSON, CODEC)
    with pytest.raises(InvalidRequest, match="nope"):
        await policy({"when": 'message.text == "x"'})(call(rpc.UNARY, who(), bad), forward)


# --- fields -----------------------------------------------------------------------------------------------------------

SECRET = {"field": "text", "scopes": "see"}
TEXT = kit.Message.DESCRIPTOR.fields_by_name["text"].number
COUNT = kit.Plan.DESCRIPTOR.fields_by_name["count"].number


def text(reply: Reply) -> str:
    assert reply.payload is not None
    found: str = kit.Message.FromString(reply.payload.proto()).text
    return found


async def test_a_field_is_taken_out_of_replies_for_those_without_the_right() -> None:
    one = policy({"anonymous": True, "fields": [SECRET]})
    assert text(await one(call(identity=who("see")), forward)) == "x"
    assert text(await one(call(identity=who()), forward)) == ""
    assert text(await one(call(), forward)) == ""


async def test_a_field_may_be_masked_or_the_reply_refused() -> None:
    assert text(await policy({"fields": [{**SECRET, "otherwise": "mask"}]})(call(identity=who()), forward)) == "***"
    with pytest.raises(Forbidden, match="may not see text"):
        await policy({"fields": [{**SECRET, "otherwise": "refuse"}]})(call(identity=who()), forward)


async def test_a_reply_that_nothing_is_cut_from_is_the_same() -> None:
    payload = Payload(kit.message(number=3).SerializeToString(), Encoding.PROTO, CODEC)

    async def answer(call: Call) -> Reply:
        return Reply(payload=payload)

    reply = await policy({"fields": [SECRET]})(call(identity=who()), answer)
    assert reply.payload is payload


async def test_a_reply_that_was_cut_has_no_tag_of_the_whole() -> None:
    async def answer(call: Call) -> Reply:
        return Reply(Metadata(((b"etag", b'"1"'), (b"x-a", b"b"))), payload=json(text="x"))

    one = policy({"fields": [SECRET]})
    assert (await one(call(identity=who()), answer)).metadata.pairs == ((b"x-a", b"b"),)
    assert (await one(call(identity=who("see")), answer)).metadata.get(b"etag") == b'"1"'


REFUSED = {**SECRET, "otherwise": "refuse"}


async def test_a_client_that_can_be_told_of_single_fields_gets_the_rest_of_the_reply() -> None:
    asked = call(identity=who(), attributes={PARTIAL: True})
    reply = await policy({"fields": [REFUSED]})(asked, forward)
    assert text(reply) == ""
    (withheld,) = reply.withheld
    assert withheld.fields == {
        TEXT: Status(Code.PERMISSION_DENIED, "kit.v1.Echo/Unary: the caller may not see text"),
    }


async def test_whom_nobody_vouches_for_is_told_so_of_single_fields() -> None:
    reply = await policy({"anonymous": True, "fields": [REFUSED]})(call(attributes={PARTIAL: True}), forward)
    (withheld,) = reply.withheld
    assert [status.code for status in withheld.fields.values()] == [Code.UNAUTHENTICATED]


async def test_a_client_of_each_kind_is_answered_in_its_own_way_by_one_policy() -> None:
    one = policy({"fields": [REFUSED]})
    for _ in range(2):
        assert text(await one(call(identity=who(), attributes={PARTIAL: True}), forward)) == ""
        with pytest.raises(Forbidden):
            await one(call(identity=who()), forward)


async def test_what_may_not_be_set_refuses_the_call_of_any_client() -> None:
    one = policy({"fields": [{**REFUSED, "of": "request"}]})
    with pytest.raises(Forbidden, match="may not set text"):
        await one(call(identity=who(), attributes={PARTIAL: True}), forward)


async def test_a_reply_says_what_is_withheld_whether_or_not_it_was_there() -> None:
    async def answer(call: Call) -> Reply:
        return Reply(payload=json(number="3"))

    reply = await policy({"fields": [SECRET, {"field": "kit.v1.Plan/count", "groups": "staff"}]})(
        call(identity=who()), answer
    )
    (withheld,) = reply.withheld
    assert set(withheld.fields) == {TEXT}
    assert [set(one.fields) for one in withheld.below.values()] == [{COUNT}]


@pytest.mark.parametrize(("rule", "identity"), [({**SECRET, "otherwise": "mask"}, who()), (SECRET, who("see"))])
async def test_a_masked_field_and_one_for_those_who_may_are_not_withheld(rule: Any, identity: Identity) -> None:
    reply = await policy({"fields": [rule]})(call(identity=identity), forward)
    assert not any(one.fields or one.below for one in reply.withheld)


async def test_what_cannot_be_masked_is_withheld() -> None:
    rule = {"field": "number", "scopes": "see", "otherwise": "mask"}
    (withheld,) = (await policy({"fields": [rule]})(call(identity=who()), forward)).withheld
    assert len(withheld.fields) == 1


def test_the_fields_that_not_everybody_may_see_are_known_beforehand() -> None:
    asked = {"field": "number", "of": "request", "scopes": "s"}
    masked = {"field": "plan.fail_message", "scopes": "s", "otherwise": "mask"}
    one = policy(
        {
            "match": "kit.v1.Echo/Unary",
            "fields": [REFUSED, asked, masked, {"field": "kit.v1.Plan/count", "groups": "a"}],
        },
        {"match": "kit.v1.Echo/Down", "anonymous": True},
    )
    assert one.withholds(rpc.UNARY) == {"kit.v1.Message/text", "kit.v1.Plan/count"}
    assert one.withholds(rpc.DOWN) == frozenset()
    assert one.withholds(rpc.UP) == frozenset()


async def test_every_message_of_a_reply_is_cut() -> None:
    async def answer(call: Call) -> Reply:
        return Reply(payloads=stream(json(text="a", number="1"), json(text="b", number="2")))

    reply = await policy({"fields": [SECRET]})(call(rpc.DOWN, who()), answer)
    assert reply.payloads is not None
    got = [kit.Message.FromString(one.proto()) async for one in reply.payloads]
    assert [(one.text, one.number) for one in got] == [("", 1), ("", 2)]


async def test_a_field_of_a_request_is_refused_or_left_out() -> None:
    rule = {"field": "plan.fail_code", "of": "request", "groups": "staff"}
    sent = json(text="x", plan={"failCode": 3, "count": 2})
    refusing = policy({"fields": [{**rule, "otherwise": "refuse"}]})
    with pytest.raises(Forbidden, match=r"may not set plan\.fail_code"):
        await refusing(call(rpc.UNARY, who(), sent), forward)
    assert await outcome(refusing, call(rpc.UNARY, who(groups=["staff"]), sent)) == "yes"
    assert await outcome(refusing, call(rpc.UNARY, who(), json(text="x", plan={"count": 2}))) == "yes"
    reply = await policy({"fields": [rule]})(call(rpc.UNARY, who(), sent), forward)
    assert reply.payload is not None
    assert kit.Message.FromString(reply.payload.proto()) == kit.message("x", count=2)


async def test_fields_of_a_stream_of_requests_are_decided_message_by_message() -> None:
    rule = {"field": "data", "of": "request", "when": 'message.text == "x"', "otherwise": "refuse"}
    one = policy({"fields": [rule]})
    fine, bad = json(text="x", data="AA=="), json(text="y", data="AA==")
    assert await outcome(one, call(rpc.UP, who(), fine, json(text="y"))) == "yes"
    assert await outcome(one, call(rpc.UP, who(), fine, bad)) == "no"


async def test_a_field_of_a_type_is_cut_wherever_it_is() -> None:
    one = policy({"fields": [{"field": "kit.v1.Plan/count", "groups": "staff"}]})
    reply = await one(call(rpc.UNARY, who(), json(plan={"count": 2, "size": 1})), forward)
    assert reply.payload is not None
    assert kit.Message.FromString(reply.payload.proto()) == kit.message(size=1)


async def test_replies_that_do_not_parse_do_not_pass() -> None:
    async def answer(call: Call) -> Reply:
        return Reply(payload=Payload(b"\x0a\x05x", Encoding.PROTO, CODEC))

    with pytest.raises(BadUpstream, match="does not parse"):
        await policy({"fields": [SECRET]})(call(identity=who()), answer)


async def test_requests_that_do_not_parse_do_not_pass() -> None:
    bad = Payload(b"\x0a\x05x", Encoding.PROTO, CODEC)
    with pytest.raises(InvalidRequest, match="does not parse"):
        await policy({"fields": [{**SECRET, "of": "request"}]})(call(rpc.UNARY, who(), bad), forward)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"match": "Unary"}, "is not a call"),
        ({"match": "kit.v1.Echo/U*"}, "is not a call"),
        ({"match": {}}, "neither call nor path"),
        ({"match": {"call": "*", "method": "GET"}}, "belongs to a path"),
        ({"match": {"path": "admin"}}, "is not a path template"),
        ({"scopes": ['a"b']}, "pattern"),
        ({"scopes": ["a b"]}, "pattern"),
        ({"deny": True, "scopes": "a"}, "stands alone"),
        ({"anonymous": True, "groups": "a"}, "only `when`"),
        ({"when": "nobody.name"}, "is not an expression"),
        ({"fields": [{"field": "a b", "scopes": "s"}]}, "is not a field"),
        ({"fields": [{"field": "a.B/c.d", "scopes": "s"}]}, "is not a field"),
        ({"fields": [{"field": "a"}]}, "asks for nothing"),
        ({"fields": [{"field": "a", "of": "request", "otherwise": "mask", "scopes": "s"}]}, "not masked"),
    ],
)
def test_rules_that_make_no_sense_are_told(rule: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        policy(rule)


@pytest.mark.parametrize(
    ("matches", "hidden"),
    [
        (["*", "a.B/Get"], "rules[1] never decides: rules[0]"),
        (["a.B/Get", "a.*", "a.B/*"], "rules[2] never decides: rules[1]"),
        (["a.B/*", ["a.B/Get", "a.B/Put"]], "rules[1] never decides: rules[0]"),
        ([None, {"path": "/x"}], "rules[1] never decides: rules[0]"),
        ([None, None], "rules[1] never decides: rules[0]"),
        (["a.B/Get", "a.B/Get"], "rules[1] never decides: rules[0]"),
        (["a.B/Get", "a.B/*", "a.*", "*", None], None),
        (["a.B/*", ["a.B/Get", "a.C/Get"], "a.Bc/*"], None),
        (["*", {"path": "/x"}, {"call": "a.B/Get", "path": "/y"}, None], None),
    ],
)
def test_a_rule_that_never_decides_is_told(matches: list[Any], hidden: str | None) -> None:
    rules = [{"deny": True} if one is None else {"match": one, "deny": True} for one in matches]
    if hidden is None:
        policy(*rules)
        return
    with pytest.raises(ValidationError) as caught:
        policy(*rules)
    assert hidden in str(caught.value)


def test_a_policy_without_rules_is_told() -> None:
    with pytest.raises(ValidationError):
        policy()


def test_names_that_nothing_offered_has_are_told() -> None:
    one = policy(
        {"match": ["kit.v1.Echo/Unary", "kit.v1.Echo/Nope", "kit.v2.*"]},
        {"match": "kit.*", "fields": [{"field": "title", "groups": "a"}, {"field": "text", "groups": "a"}]},
        {"match": {"path": "/x"}},
        {"fields": [{"field": "kit.v1.Plan/size", "groups": "a"}, {"field": "kit.v1.Plan/title", "groups": "a"}]},
    )
    methods = list(rpc.CATALOG.methods.values())
    assert one.fit(methods, complete=False) == []
    none = "rules[0].match: no method that it is around is"
    assert one.fit(methods, complete=True) == [
        f"{none} kit.v1.Echo/Nope; there are Absent, Chat, Down, Look, Unary, Up",
        f'{none} kit.v2.*; did you mean "kit.v1.*"?',
        "rules[1].fields: title: kit.v1.Message has no field title",
        "rules[3].fields: kit.v1.Plan/title: kit.v1.Plan has no field title",
    ]

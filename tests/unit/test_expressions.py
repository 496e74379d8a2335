"""Expressions: what they read of a call, what they refuse at load, and that none can hurt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from protogw.call import Call, Encoding, Metadata, Payload
from protogw.expressions import Expression, ExpressionError, ExpressionText
from protogw.expressions.keys import MAX_KEY
from protogw.identity import Identity
from protogw.wire.http import HTTP_2, Peer, RequestHead
from tests.support import rpc

ANNA = Identity(
    subject="anna",
    consumer="shop",
    issuer="https://idp.example",
    scheme="jwt",
    groups=frozenset(("staff", "admin")),
    scopes=frozenset(("read",)),
    claims={"tenant": "t1", "plan": {"tier": 3}},
)


def call(identity: Identity | None = ANNA, message: bytes = b'{"text":"tea","number":"7"}') -> Call:
    made = Call(
        rpc.UNARY,
        Metadata(
            ((b"x-user", b"u1"), (b"x-user", b"u2"), (b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2"))
        ),
        front_end="rest",
        peer=Peer("192.0.2.7", 1, identity="dns:client.example"),
        started=0.0,
        head=RequestHead(b"GET", b"/v1/x", b"", b"Api.Example:8080", (), HTTP_2),
        payload=Payload(message, Encoding.JSON, rpc.UNARY.input.codec),
    )
    made.identity = identity
    return made


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("identity.key", ANNA.key),
        ('identity.key + ""', ANNA.key),
        ("identity.subject", "anna"),
        ("identity.consumer", "shop"),
        ("identity.groups", ["admin", "staff"]),
        ("identity.claims.plan.tier", 3),
        ("peer.address", "192.0.2.7"),
        ("peer.network", "192.0.2.7"),
        ('peer.network + ""', "192.0.2.7"),
        ("peer.identity", "dns:client.example"),
        ("header.X-User", "u1, u2"),
        ("metadata.absent", ""),
        ("method", rpc.UNARY.full_name),
        ("service", rpc.UNARY.service),
        ("front_end", "rest"),
        ("host", "api.example"),
        ("path", "/v1/x"),
        ("message.text", "tea"),
        ('identity.subject + "@" + identity.claims.tenant', "anna@t1"),
        ('header["x-user"]', "u1, u2"),
        ("header.cookie", "a=1; b=2"),
        ('header["cookie"]', "a=1; b=2"),
        ('"admin" in identity.groups && message.text.startsWith("t")', True),
        ("identity.claims.plan.tier > 2 ? 'big' : 'small'", "big"),
        ("has(message.absent)", False),
        ("[1, 2].exists(n, n == 2)", True),
        ('"message is not read here"', "message is not read here"),
    ],
)
def test_what_an_expression_reads(text: str, value: Any) -> None:
    assert Expression(text).value(call()) == value


def test_paths_and_hosts_are_compared_as_routes_compare_them() -> None:
    made = call()
    made.head = RequestHead(b"GET", b"/%61dmin/caf%c3%a9", b"", b"Api.Example.:80", (), HTTP_2)
    assert Expression("path").key(made) == "/admin/caf%C3%A9"
    assert Expression('path.startsWith("/admin/") && host == "api.example"').holds(made)


def test_a_field_with_two_values_fits_no_condition_about_one() -> None:
    assert not Expression('header["x-user"] == "u1" || header["x-user"] == "u2"').holds(call())


@pytest.mark.parametrize(
    "text",
    [
        "path.matches('^/v[0-9]/') && !host.matches(\"[a-z]+\\\\.internal\")",
        r"""'it (matches("(")) "all"' == path""",
        'path.matches(header["x-pattern"])',
        'path.matches("(" + "a)")',
    ],
)
def test_patterns_that_are_right_or_not_known_yet_are_taken(text: str) -> None:
    assert Expression(text).text == text


def test_only_those_that_name_the_message_read_it() -> None:
    assert Expression("message.text").reads_message
    assert Expression('message.text == "a"').reads_message
    assert not Expression('"message" == method').reads_message
    assert not Expression("identity.subject").reads_message


def test_the_message_at_hand_goes_before_the_calls_own() -> None:
    other = Payload(b'{"text":"coffee"}', Encoding.JSON, rpc.UNARY.input.codec)
    assert Expression("message.text").value(call(), other) == "coffee"


@pytest.mark.parametrize("text", ["message.text", 'message.text == "tea"'])
def test_the_service_gets_the_message_that_was_read(text: str) -> None:
    made = call(message=b'{"text":"tea"}')
    Expression("identity.subject").value(made)
    assert made.payload is not None
    assert made.payload.encoding is Encoding.JSON
    Expression(text).value(made)
    assert (made.payload.encoding, made.payload.json()) == (Encoding.PROTO, b'{"text":"tea"}')


def test_nobody_has_an_empty_identity() -> None:
    assert Expression("identity.subject").value(call(None)) == ""
    assert Expression('identity.subject == "" && size(identity.groups) == 0').holds(call(None))


@pytest.mark.parametrize(
    ("text", "key"), [("identity.subject", "anna"), ("identity.claims.plan", '{"tier":3}'), ("message.absent", "")]
)
def test_a_key_is_text(text: str, key: str) -> None:
    assert Expression(text).key(call()) == key


def test_a_key_takes_no_more_room_however_long_what_it_is_made_of() -> None:
    made, other, short = call(), call(), call()
    made.metadata = Metadata(((b"x-user", b"u" * 60_000),))
    other.metadata = Metadata(((b"x-user", b"u" * 59_999 + b"v"),))
    short.metadata = Metadata(((b"x-user", b"u" * MAX_KEY),))
    key = Expression("header.x-user").key
    assert len(key(made)) <= MAX_KEY
    assert key(made) == key(made) != key(other)
    assert key(short) == "u" * MAX_KEY


def test_a_long_subject_is_no_long_key() -> None:
    who = Identity(subject="a" * 60_000, scheme="jwt", consumer="a" * MAX_KEY)
    assert len(Expression("identity.subject").key(call(who))) <= MAX_KEY
    assert Expression("identity.consumer").key(call(who)) == who.consumer
    assert Expression("identity.subject").value(call(who)) == who.subject


@pytest.mark.parametrize("length", [1, MAX_KEY, MAX_KEY + 1])
@pytest.mark.parametrize(
    "text", ["identity.key", "identity.subject", "identity.consumer", "identity.claims.name", "identity.claims.names"]
)
def test_half_a_character_makes_a_key_of_its_own(text: str, length: int) -> None:
    """Stores take UTF-8, which has no way to write it."""
    keys = set()
    for half in "\ud800", "\udfff", "?", "\N{REPLACEMENT CHARACTER}", "\N{GOTHIC LETTER AHSA}":
        name = half * length
        who = Identity(subject=name, consumer=name, scheme="python", claims={"name": name, "names": [name]})
        key = Expression(text).key(call(who))
        assert key.encode().decode() == key
        keys.add(key)
    assert len(keys) == 5


def test_a_condition_on_half_a_character_has_no_value() -> None:
    with pytest.raises(ExpressionError):
        Expression('identity.subject == "a"').holds(call(Identity(subject="\ud800", scheme="python")))


@pytest.mark.parametrize("text", ["message.absent", "identity.claims.absent == 1", "message.text.size"])
def test_what_has_no_value_says_so(text: str) -> None:
    with pytest.raises(ExpressionError):
        Expression(text).value(call())


@pytest.mark.parametrize("text", ["identity.subject", "1 + 1", "message.text"])
def test_a_condition_must_be_true_or_false(text: str) -> None:
    with pytest.raises(ExpressionError, match="neither true nor false"):
        Expression(text).holds(call())


class Settings(BaseModel):
    by: ExpressionText


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("identiti.subject", "there is no identiti"),
        ('path.matches("(")', "is not an expression: invalid regular expression: missing"),
        ("host == 'a' && path . matches( '[a' )", "invalid regular expression: missing"),
        ('matches(path, r"\\q")', "invalid regular expression"),
        ('path.matches("(a{1000}){1000}") ? "a" : "b"', "invalid regular expression"),
        ("identity.subjekt", "identity has no subjekt, but claims, consumer"),
        ('identity.clams.x == "a"', "identity has no clams, but claims"),
        ('method == "a" && peer.adress == "::1"', "peer has no adress, but address, identity"),
        ("header", "write header.NAME"),
        ("method ==", "mismatched input"),
        ("nope == 1", "undeclared reference to 'nope'"),
        ("method + 1", "no matching overload"),
        ("__import__('os')", "undeclared reference"),
        ("x" * 5000 + " == 1", "longer than 4096"),
        ("", "write a path"),
        (7, "write a path"),
    ],
)
def test_a_bad_expression_is_refused_when_it_is_written(text: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("(", r"\(")):
        Settings.model_validate({"by": text})


def test_a_pattern_takes_linear_time() -> None:
    """One that backtracks would not come back within a lifetime."""
    expression = Expression('header["x-long"].matches("^(a+)+$")')
    made = call()
    made.metadata = Metadata(((b"x-long", b"a" * 65_536 + b"!"),))
    assert not expression.holds(made)


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_a_value_error(text: str) -> None:
    said = ""
    try:
        Expression(text)
    except ValueError as error:
        said = str(error)
    assert "\n" not in said


def test_a_call_costs_1_unless_its_front_end_says_otherwise() -> None:
    one = call()
    assert Expression("cost").value(one) == 1
    one.attributes = {"cost": 7}
    assert Expression("cost").value(one) == 7
    assert Expression("cost > 5 && cost < 10").holds(one)

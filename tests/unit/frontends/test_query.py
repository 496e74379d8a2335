"""Query parameters, one by one and against json_format."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from protogw.descriptors import from_graphql
from protogw.descriptors.numbers import Numbers
from protogw.errors import InvalidRequest
from protogw.frontends.query import QueryMap
from tests.support.rest import SCHEMA, THING, Service, ask, front, message, request, thing

QUERY = QueryMap(THING, SCHEMA, frozenset(), ignore_unknown=False)


def read(query: str) -> Any:
    return thing(QUERY.encode(query.encode("latin-1")))


def as_json(query: str) -> Any:
    return json_format.MessageToDict(read(query))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("id=5", {"id": "5"}),
        ("id=-5&zig=-3&zag=-2&small=7", {"id": "-5", "zig": "-3", "zag": -2, "small": 7}),
        ("f32=7&sf64=-9&f64=8&sf32=-1", {"f32": 7, "sf64": "-9", "f64": "8", "sf32": -1}),
        ("large=18446744073709551615", {"large": "18446744073709551615"}),
        ("id=-9223372036854775808", {"id": "-9223372036854775808"}),
        ("id=007", {"id": "7"}),
        ("maybe=0", {"maybe": 0}),
        ("name=", {}),
        ("name=a+b%2Bc%26d", {"name": "a b+c&d"}),
        ("name=caf%C3%A9", {"name": "café"}),
        ("name=a=b", {"name": "a=b"}),
        ("two_words=x", {"twoWords": "x"}),
        ("twoWords=x", {"twoWords": "x"}),
        ("%6Eame=x", {"name": "x"}),
        ("kind=BIG", {"kind": "BIG"}),
        ("kind=2", {"kind": "SMALL"}),
        ("kind=-1", {"kind": "NEGATIVE"}),
        ("kind=77", {"kind": 77}),
        ("on=true", {"on": True}),
        ("on=1&inner.flag=false", {"on": True, "inner": {}}),
        ("weight=1.5e3", {"weight": 1500.0}),
        ("weight=NaN&ratio=-Infinity", {"weight": "NaN", "ratio": "-Infinity"}),
        ("weight=.5&ratio=1.", {"weight": 0.5, "ratio": 1.0}),
        ("data=AQID", {"data": "AQID"}),
        ("data=_-8", {"data": "/+8="}),
        ("data=/%2b8=", {"data": "/+8="}),
        ("data=/+8=", {"data": "/+8="}),
        ("tags=a&tags=b&tags=", {"tags": ["a", "b", ""]}),
        ("numbers=1&numbers=2&manyKinds=BIG&many_kinds=2", {"numbers": [1, 2], "manyKinds": ["BIG", "SMALL"]}),
        ("inner.count=3&inner.deeper.deeper.text=x", {"inner": {"count": 3, "deeper": {"deeper": {"text": "x"}}}}),
        ("at=2024-01-02T03:04:05.5Z", {"at": "2024-01-02T03:04:05.500Z"}),
        ("lasting=1.5s", {"lasting": "1.500s"}),
        ("mask=twoWords,inner.count", {"mask": "twoWords,inner.count"}),
        ("mask=two_words", {"mask": "twoWords"}),
        ("boxed=0&textBox=&flagBox=false&rawBox=AQ", {"boxed": 0, "textBox": "", "flagBox": False, "rawBox": "AQ=="}),
        ("counts[a]=1&counts%5Bb%20c%5D=2", {"counts": {"a": 1, "b c": 2}}),
        ("counts[a]=1&counts[a]=1", None),
        ("kinds[-3]=BIG", {"kinds": {"-3": "BIG"}}),
        ("left=x", {"left": "x"}),
        ("middle.count=1&middle.text=x", {"middle": {"count": 1, "text": "x"}}),
        ("&&id=5&", {"id": "5"}),
    ],
)
def test_parameters_fill_their_fields(query: str, expected: dict[str, Any] | None) -> None:
    if expected is None:
        with pytest.raises(InvalidRequest, match="given more than once"):
            read(query)
    else:
        assert as_json(query) == expected


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("nope=1", "nope: unknown query parameter"),
        ("inner.nope=1", "inner.nope: unknown query parameter"),
        ("id.x=1", "id.x: unknown query parameter"),
        ("at.seconds=1", "at.seconds: unknown query parameter"),
        ("tags.x=1", "tags.x: unknown query parameter"),
        (".=1", r"\.: unknown query parameter"),
        ("=1&inner.=1", r"inner\.: unknown query parameter"),
        ("alt=json", "alt: unknown query parameter"),
        ("$alt=json", r"\$alt: unknown query parameter"),
        ("Id=1", "Id: unknown query parameter"),
        ("%ff=1", "is not UTF-8"),
        ("id=", 'id: expected int64, got ""'),
        ("id", 'id: expected int64, got ""'),
        ("id=1&id=2", "id: given more than once"),
        ("twoWords=a&two_words=b", "two_words: given more than once"),
        ("id=9223372036854775808", "id: expected int64"),
        ("small=-1", "small: expected uint32"),
        ("small=4294967296", "small: expected uint32"),
        ("large=18446744073709551616", "large: expected uint64"),
        ("maybe=2147483648", "maybe: expected int32"),
        ("zag=2147483648", "zag: expected sint32"),
        ("f32=-1", "f32: expected fixed32"),
        ("id=0x10", "id: expected int64"),
        ("id=1%00", "id: expected int64"),
        ("id=--1", "id: expected int64"),
        ("id=-", "id: expected int64"),
        ("on=yes", "on: expected bool"),
        ("on=", "on: expected bool"),
        ("weight=1e999", "weight: expected double"),
        ("weight=nan", "weight: expected double"),
        ("weight=inf", "weight: expected double"),
        ("weight=1_0", "weight: expected double"),
        ("weight=0x1p3", "weight: expected double"),
        ("weight=" + "9" * 20_000, "weight: expected double"),
        ("ratio=3.5e38", "ratio: expected float"),
        ("ratio=1e39", "ratio: expected float"),
        ("kind=HUGE", "kind: expected a value of rest.v1.Kind"),
        ("kind=", "kind: expected a value of rest.v1.Kind"),
        ("kind=2147483648", "kind: expected a value of rest.v1.Kind"),
        ("data=%", "data: expected base64"),
        ("data=abcde", "data: expected base64"),
        ("data=a*b", "data: expected base64"),
        ("name=%ff", "name: expected UTF-8"),
        ("name=%ed%a0%80", "name: expected UTF-8"),
        ("at=yesterday", "at: expected a google.protobuf.Timestamp"),
        ("at=%ff", "at: expected a google.protobuf.Timestamp"),
        ("lasting=5", "lasting: expected a google.protobuf.Duration"),
        ("mask=a..b", "mask: expected a google.protobuf.FieldMask"),
        ("mask=a,,b", "mask: expected a google.protobuf.FieldMask"),
        ("anyShape=1", "anyShape: a google.protobuf.Struct cannot be given as text"),
        ("inner=1", "inner: a rest.v1.Inner cannot be given as text"),
        ("many.count=1", "many.count: unknown query parameter"),
        ("many=1", "many: a repeated message cannot be given"),
        ("counts=1", "counts: a map is given by its entries"),
        ("counts[a]=x", "expected int32"),
        ("kinds[x]=BIG", "its key: expected int32"),
        ("inners[a]=1", "a rest.v1.Inner cannot be given as text"),
        ("id[a]=1", "unknown query parameter"),
        ("]=1", "unknown query parameter"),
        ("left=a&right=1", "right: left and right are of one oneof, choice"),
        ("left=a&middle.text=x", "middle.text: left and middle are of one oneof, choice"),
        ("inner." + "deeper." * 40 + "count=1", "unknown query parameter"),
        ("x" * 10_000 + "=1", "unknown query parameter"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(query: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as raised:
        read(query)
    assert len(raised.value.message) < 300


def test_a_thousand_parameters_are_taken_and_no_more() -> None:
    assert len(read("&".join(["tags=x"] * 1_000)).tags) == 1_000
    with pytest.raises(InvalidRequest, match="more than 1000 parameters"):
        read("&".join(["tags=x"] * 1_001))


def test_names_from_clients_do_not_fill_the_table() -> None:
    query = QueryMap(THING, SCHEMA, frozenset(), ignore_unknown=True)
    for number in range(3_000):
        query.encode(b"nope%d=1&counts[k%d]=1" % (number, number))
        query.encode(b"%" + b"%02X" % ord("n") + b"ame=x" + b"&" * (number % 3))
        query.encode(b"inner." + b"deeper." * (number % 30) + b"count=1")
    assert len(query._known) <= 1_024
    spellings = [
        b"".join(b"%%%02x" % byte if bits >> place & 1 else bytes((byte,)) for place, byte in enumerate(b"two_words"))
        for bits in range(512)
    ]
    for spelling in spellings * 3:
        query.encode(spelling + b"=x&id=1")
    assert len(query._known) <= 1_024


async def test_unknown_parameters_may_be_ignored() -> None:
    rest = front(unknown_query="ignore")
    service = Service()
    exchange = await ask(rest, request("GET /v1/things/1?nope=1&name=x&utm_source=y"), service)
    assert (exchange.status, service.thing.name) == (200, "x")
    exchange = await ask(rest, request("GET /v1/things/1?id=2"), Service())
    assert exchange.status == 400


async def test_a_long_query_of_one_name_costs_little() -> None:
    with pytest.raises(InvalidRequest):
        read("id=" + "1" * 200_000)
    assert read("name=" + "%41" * 100_000).name == "A" * 100_000


# ---- against json_format

_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(-(2**63), 2**63 - 1),
    "small": st.integers(0, 2**32 - 1),
    "zig": st.integers(-(2**63), 2**63 - 1),
    "zag": st.integers(-(2**31), 2**31 - 1),
    "f32": st.integers(0, 2**32 - 1),
    "sf32": st.integers(-(2**31), 2**31 - 1),
    "sf64": st.integers(-(2**63), 2**63 - 1),
    "large": st.integers(0, 2**64 - 1),
    "maybe": st.integers(-(2**31), 2**31 - 1),
    "name": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "twoWords": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "weight": st.floats(allow_nan=False),
    "ratio": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "on": st.booleans(),
    "kind": st.sampled_from(["BIG", "SMALL", "NEGATIVE", 1, 7]),
    "data": st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode()),
    "boxed": st.integers(-(2**31), 2**31 - 1),
    "textBox": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "tags": st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1, max_size=3),
    "numbers": st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=3),
    "right": st.integers(-(2**31), 2**31 - 1),
    "at": st.datetimes().filter(lambda at: at.year > 1000).map(lambda at: at.isoformat() + "Z"),
}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return json.dumps(value)
    return str(value)


@given(
    st.dictionaries(st.sampled_from(sorted(_SCALARS)), st.none(), max_size=6).flatmap(
        lambda names: st.fixed_dictionaries({name: _SCALARS[name] for name in names})
    ),
    st.booleans(),
)
def test_a_query_means_what_the_same_json_means(values: dict[str, Any], plus: bool) -> None:
    escape = quote_plus if plus else quote
    pairs = [
        f"{name}={escape(_text(one), safe='')}"
        for name, value in values.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    expected = json_format.Parse(json.dumps(values), message("rest.v1.Thing"))
    assert read("&".join(pairs)) == expected


@given(
    st.binary(max_size=60).map(
        lambda data: data.translate(bytes(b"idname.[]=&%+1atkscouner"[n % 24] for n in range(256)))
    )
)
def test_any_query_is_a_message_or_refused(query: bytes) -> None:
    try:
        data = QUERY.encode(query)
    except InvalidRequest:
        return
    thing(data)


def test_an_enum_of_a_service_without_a_proto_is_given_in_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "a.graphql").write_text("type Query { find(kind: Kind): Int } enum Kind { open closed }")
    schema = from_graphql.load([tmp_path / "a.graphql"], upstream="a", numbers=Numbers())
    wanted = schema.types["a.FindRequest"]
    query = QueryMap(wanted, schema, frozenset(), ignore_unknown=False)
    for text in (b"kind=closed", b"kind=KIND_CLOSED", b"kind=2"):
        assert json.loads(wanted.codec.to_json(query.encode(text))) == {"kind": "closed"}
    with pytest.raises(InvalidRequest, match=r"kind: expected a value of a\.Kind"):
        query.encode(b"kind=ajar")

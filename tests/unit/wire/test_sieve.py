"""Fields cut out of protobuf bytes: what goes, what stays byte for byte, and bytes that are no message."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from protogw.descriptors.from_proto import schema_of
from protogw.errors import Code, Status
from protogw.wire.protowire import BYTES, END_GROUP, START_GROUP, VARINT, delimited, tag, varint
from protogw.wire.sieve import Cut, Found, Sieve, UnknownField, check_path, field_of, sieve_of

FILE = descriptor_pb2.FileDescriptorProto(name="s.proto", package="s", syntax="proto2")


def _message(name: str, *fields: tuple[Any, ...], within: Any = None) -> Any:
    made = (FILE.message_type if within is None else within.nested_type).add(name=name)
    for number, (field, kind, *rest) in enumerate(fields, 1):
        label = "LABEL_REPEATED" if "many" in rest else "LABEL_OPTIONAL"
        one = made.field.add(name=field, number=number, label=label, type=f"TYPE_{kind}")
        one.json_name = "".join(part.title() if index else part for index, part in enumerate(field.split("_")))
        if kind in ("MESSAGE", "GROUP"):
            one.type_name = rest[0]
    return made


_node = _message(
    "Node",
    ("name", "STRING"),
    ("secret_word", "STRING"),
    ("below", "MESSAGE", ".s.Node", "many"),
    ("by_name", "MESSAGE", ".s.Node.ByNameEntry", "many"),
    ("part", "GROUP", ".s.Node.Part"),
    ("number", "INT64", "many"),
    ("fixed", "FIXED32"),
    ("wide", "DOUBLE"),
)
_message("ByNameEntry", ("key", "STRING"), ("value", "MESSAGE", ".s.Node"), within=_node).options.map_entry = True
_message("Part", ("hidden", "STRING"), ("shown", "STRING"), within=_node)

POOL = descriptor_pool.DescriptorPool()
POOL.Add(FILE)
Node: Any = message_factory.GetMessageClass(POOL.FindMessageTypeByName("s.Node"))
TYPE = schema_of([FILE]).types["s.Node"]


def sieve(*paths: str, **how: Any) -> Sieve:
    return sieve_of(TYPE, [Cut(path=path, **how) for path in paths])


def sifted(message: Any, *paths: str, **how: Any) -> Any:
    return Node.FromString(sieve(*paths, **how).sift(message.SerializeToString()))


def tree() -> Any:
    made = Node(name="a", secret_word="s", number=[1, 2], fixed=3, wide=1.5)
    made.below.add(name="b", secret_word="t").below.add(name="c", secret_word="u")
    made.by_name["k"].CopyFrom(Node(name="d", secret_word="v"))
    made.part.hidden, made.part.shown = "h", "w"
    return made


def test_a_field_goes_and_everything_else_stays() -> None:
    meant = tree()
    meant.ClearField("secret_word")
    assert sifted(tree(), "secret_word") == meant
    assert sifted(tree(), "secretWord") == meant


def test_paths_lead_through_lists_maps_and_groups() -> None:
    meant = tree()
    for one in meant.below:
        one.ClearField("secret_word")
    meant.by_name["k"].ClearField("secret_word")
    meant.part.ClearField("hidden")
    assert sifted(tree(), "below.secret_word", "by_name.secret_word", "part.hidden") == meant


def test_a_field_of_a_type_goes_wherever_the_type_is() -> None:
    left = sifted(tree(), "s.Node/secret_word", "s.Node.Part/hidden")
    assert "secret" not in str(left)
    assert "hidden" not in str(left)
    assert left.below[0].below[0].name == "c"
    assert left.by_name["k"].name == "d"


def test_a_path_and_a_type_may_meet() -> None:
    left = sifted(tree(), "s.Node/secret_word", "below.name")
    assert "secret" not in str(left)
    assert [left.name, left.below[0].HasField("name"), left.below[0].below[0].name] == ["a", False, "c"]


def test_whole_messages_and_lists_go() -> None:
    left = sifted(tree(), "below", "by_name", "part", "number", "fixed", "wide")
    assert left == Node(name="a", secret_word="s")


def test_a_text_stands_in_for_a_string_and_for_nothing_else() -> None:
    left = sifted(tree(), "secret_word", "fixed", text="***")
    assert left.secret_word == "***"
    assert not left.HasField("fixed")


def test_bytes_without_such_a_field_are_the_same_object() -> None:
    data = Node(name="a", part=Node.Part(shown="x")).SerializeToString()
    assert sieve("secret_word", "below.name", "part.hidden").sift(data) is data


def test_what_the_schema_does_not_know_stays_byte_for_byte() -> None:
    unknown = tag(999, VARINT) + varint(5) + delimited(1000, b"\xff\x00")
    unknown += tag(1001, START_GROUP) + tag(7, VARINT) + b"\x01" + tag(1001, END_GROUP)
    data = unknown + delimited(2, b"s") + unknown
    assert sieve("secret_word").sift(data) == unknown + unknown


def test_a_number_that_is_written_longer_than_it_need_be_is_the_same_field() -> None:
    key = bytes((2 << 3 | BYTES | 0x80, 0x80, 0x00))
    assert sieve("secret_word").sift(key + b"\x01s" + delimited(1, b"a")) == delimited(1, b"a")


def test_what_must_not_be_there_is_named() -> None:
    with pytest.raises(Found) as found:
        sieve("below.secret_word", refuse=True).sift(tree().SerializeToString())
    assert found.value.path == "below.secret_word"
    sieve("below.secret_word", refuse=True).sift(Node(secret_word="x").SerializeToString())


def test_the_stricter_of_two_cuts_holds() -> None:
    cuts = [Cut(path="secret_word", text="***"), Cut(path="s.Node/secret_word")]
    for ordered in (cuts, cuts[::-1]):
        assert not Node.FromString(sieve_of(TYPE, ordered).sift(delimited(2, b"s"))).HasField("secret_word")


def test_a_sieve_says_of_each_field_why_it_is_cut_unless_something_stands_in_for_it() -> None:
    no, never = Status(Code.PERMISSION_DENIED, "no"), Status(Code.UNAUTHENTICATED, "never")
    masked = Cut(path="name", text="***", why=no)
    made = sieve_of(TYPE, [masked, Cut(path="number", text="***", why=no), Cut(path="by_name.fixed", why=never)])
    assert made.fields == {6: no}
    # A map's values are in field 2 of its entries.
    assert made.below[4].below[2].fields == {7: never}
    for ordered in ([masked, Cut(path="s.Node/name", why=never)], [Cut(path="s.Node/name", why=never), masked]):
        assert sieve_of(TYPE, ordered).fields == {1: never}


@pytest.mark.parametrize(
    ("path", "its"),
    [
        ("name", "s.Node/name"),
        ("secretWord", "s.Node/secret_word"),
        ("below.below.number", "s.Node/number"),
        ("by_name.fixed", "s.Node/fixed"),
        ("part.hidden", "s.Node.Part/hidden"),
        ("s.Node.Part/shown", "s.Node.Part/shown"),
        ("nope", None),
        ("name.nope", None),
        ("s.Node/nope", None),
        ("s.Nope/name", None),
    ],
)
def test_a_path_means_a_field_of_a_type(path: str, its: str | None) -> None:
    found = field_of(TYPE, path)
    assert (found and f"{found[0].name}/{found[1].name}") == its


def test_what_was_cut_is_told() -> None:
    seen: set[str] = set()
    sieve("secret_word", "below.secret_word", "fixed").sift(Node(secret_word="s").SerializeToString(), seen)
    assert seen == {"secret_word"}


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x12\x05ab",
        b"\x00\x00",
        b"\x0f",
        tag(5, START_GROUP) + delimited(2, b"x"),
        tag(5, START_GROUP) + tag(6, END_GROUP),
        tag(5, END_GROUP),
        b"\x39\x00",
        b"\xff" * 11,
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"(?i)truncated|wire type|range|number"):
        sieve("secret_word").sift(data)


def test_messages_nested_beyond_reason_are_refused() -> None:
    data = b""
    for _ in range(150):
        data = delimited(3, data)
    with pytest.raises(ValueError, match="too deeply"):
        sieve("s.Node/secret_word").sift(data)
    with pytest.raises(ValueError, match="too deeply"):
        sieve("secret_word").sift(tag(9, START_GROUP) * 200)


@pytest.mark.parametrize("path", ["name", "secretWord", "below.below.name", "by_name.part.hidden", "s.Node.Part/shown"])
def test_paths_that_there_are_are_known(path: str) -> None:
    check_path(TYPE, path)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("title", "s.Node has no field title"),
        ("name.x", "s.Node has no field name.x"),
        ("below.title", "s.Node has no field below.title"),
        ("s.Node/title", "s.Node has no field title"),
        ("s.Other/name", "s.Node holds no s.Other"),
    ],
)
def test_paths_that_there_are_not_are_told(path: str, said: str) -> None:
    with pytest.raises(UnknownField, match=said):
        check_path(TYPE, path)
    assert sieve(path).empty


@given(st.binary(max_size=200))
def test_whatever_comes_a_sieve_cuts_it_or_says_that_it_is_no_message(data: bytes) -> None:
    one = sieve("s.Node/secret_word", "s.Node.Part/hidden")
    try:
        left = one.sift(data)
    except ValueError:
        return
    try:
        message = Node.FromString(left)
    except DecodeError:
        return
    assert "secret_word" not in {field.name for field, _ in message.ListFields()}


_LEAVES = st.builds(Node, name=st.text(max_size=3), secret_word=st.text(max_size=3), number=st.lists(st.integers(0, 9)))
_TREES = st.recursive(
    _LEAVES, lambda below: st.builds(Node, name=st.text(max_size=3), below=st.lists(below, max_size=3)), max_leaves=9
)


@given(_TREES)
def test_a_cut_does_as_clearing_the_fields_does(message: Any) -> None:
    data = message.SerializeToString()
    waiting = [message]
    while waiting:
        one = waiting.pop()
        one.ClearField("secret_word")
        waiting += one.below
    assert sieve("s.Node/secret_word").sift(data) == message.SerializeToString()

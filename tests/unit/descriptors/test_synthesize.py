"""Drafts become descriptors that protoc's own library takes, whatever things are called."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protogw.descriptors import synthesize as making
from protogw.descriptors.model import HttpRule, Idempotency, Kind, Schema, SchemaError
from protogw.descriptors.numbers import Numbers, parse
from protogw.descriptors.synthesize import (
    EMPTY,
    REF,
    VALUE,
    Drafts,
    EnumDraft,
    FieldDraft,
    MessageDraft,
    MethodDraft,
    ValueDraft,
    clean,
    nameable,
    synthesize,
)
from protogw.descriptors.to_proto import proto_files


def text(member: str, **more: object) -> FieldDraft:
    return FieldDraft(member=member, kind=Kind.STRING, **more)  # type: ignore[arg-type]


def made(drafts: Drafts, upstream: str = "shop", numbers: Numbers | None = None) -> Schema:
    return synthesize(drafts, upstream=upstream, numbers=numbers or Numbers())


def test_a_message_a_service_and_an_enum_are_made() -> None:
    drafts = Drafts(doc="Sells pets.")
    drafts.enums["status"] = EnumDraft(name="status", values=[ValueDraft(written="sold-out", doc="None left.")])
    drafts.messages["pet"] = MessageDraft(
        name="pet",
        doc="An animal.",
        fields=[
            FieldDraft(member="petId", kind=Kind.INT64, doc="Its number.", presence=True),
            FieldDraft(member="status", kind=Kind.ENUM, holds="status", repeated=True),
            FieldDraft(member="labels", kind=Kind.STRING, mapped=True),
            FieldDraft(member="more", kind=Kind.MESSAGE, holds=VALUE, deprecated=True),
        ],
    )
    drafts.methods.append(
        MethodDraft(
            name="get_pet",
            input="pet",
            output=EMPTY,
            idempotency=Idempotency.NO_SIDE_EFFECTS,
            http=lambda names: [HttpRule(verb="GET", template=f"/pets/{{{names['petId']}}}", success=204)],
            binding=lambda names: ("bound", names["petId"]),
            doc="Finds one.",
        )
    )
    schema = made(drafts)
    method = schema.services["shop.Shop"].methods["GetPet"]
    assert method.http == (HttpRule(verb="GET", template="/pets/{pet_id}", success=204),)
    assert method.binding == ("bound", "pet_id")
    assert method.idempotency is Idempotency.NO_SIDE_EFFECTS
    assert (method.doc, schema.services["shop.Shop"].doc) == ("Finds one.", "Sells pets.")
    pet = schema.types["shop.Pet"]
    assert pet.doc == "An animal."
    assert [(one.name, one.json_name, one.number) for one in pet.fields.values()] == [
        ("pet_id", "petId", 1),
        ("status", "status", 2),
        ("labels", "labels", 3),
        ("more", "more", 4),
    ]
    assert pet.fields["pet_id"].has_presence
    assert pet.fields["pet_id"].doc == "Its number."
    assert pet.fields["labels"].map_key is Kind.STRING
    assert pet.fields["more"].deprecated
    assert schema.enums["shop.Status"].values == {"STATUS_UNSPECIFIED": 0, "STATUS_SOLD_OUT": 1}


def test_members_that_no_proto_could_name_keep_their_names_in_json() -> None:
    members = ["$ref", "@type", "first name", "1st", "ü", "a.b", "message", "fooBar", "foo_bar", "FooBar", "foo-bar"]
    drafts = Drafts(messages={"odd": MessageDraft(name="odd", fields=[text(member) for member in members])})
    odd = made(drafts).types["shop.Odd"]
    assert [one.json_name for one in odd.fields.values()] == members
    data = b'{"foo_bar":"a","fooBar":"b","first name":"c"}'
    assert odd.codec.to_json(odd.codec.from_json(data)) == b'{"first name":"c","fooBar":"b","foo_bar":"a"}'


def test_a_type_that_has_the_services_name_makes_way() -> None:
    drafts = Drafts(messages={"a": MessageDraft(name="shop"), "b": MessageDraft(name="Shop")})
    assert {"shop.ShopMessage", "shop.ShopMessage2"} <= made(drafts).types.keys()


def test_of_two_types_that_want_one_name_the_same_one_gets_it_in_any_order() -> None:
    one, other = MessageDraft(name="Pet", doc="one"), MessageDraft(name="pet", doc="other")
    first = made(Drafts(messages={"Pet": one, "pet": other})).types["shop.Pet"].doc
    second = made(Drafts(messages={"pet": other, "Pet": one})).types["shop.Pet"].doc
    assert first == second == "one"


def test_numbers_of_the_lock_are_kept_and_those_of_what_is_gone_reserved() -> None:
    numbers = parse("shop.Pet\n  4 old string\n  7 name string\n")
    schema = made(Drafts(messages={"p": MessageDraft(name="Pet", fields=[text("id"), text("name")])}), numbers=numbers)
    assert {one.name: one.number for one in schema.types["shop.Pet"].fields.values()} == {"id": 8, "name": 7}
    assert "reserved 4;" in proto_files(schema.descriptor_set)["shop.proto"]


def test_references_of_a_json_schema_get_the_types_names() -> None:
    draft = MessageDraft(name="a pet", json_schema={"properties": {"mother": {"$ref": REF + "p"}, "x": [1]}})
    found = made(Drafts(messages={"p": draft})).types["shop.APet"].json_schema
    assert found == {"properties": {"mother": {"$ref": REF + "shop.APet"}, "x": [1]}}


def test_equal_drafts_give_back_what_is_known() -> None:
    drafts = Drafts(messages={"p": MessageDraft(name="Pet", fields=[text("id")])})
    schema = made(drafts)
    assert synthesize(drafts, upstream="shop", numbers=Numbers(), known=schema) is schema


def test_more_types_than_a_schema_may_have_are_refused_before_any_is_made() -> None:
    drafts = Drafts(messages={str(number): MessageDraft(name="T") for number in range(making.MAX_TYPES + 1)})
    with pytest.raises(SchemaError, match="more than 50000 types"):
        made(drafts)


def test_ten_thousand_types_of_one_name_are_told_apart_quickly() -> None:
    drafts = Drafts(messages={str(number): MessageDraft(name="T") for number in range(2_000)})
    assert len([name for name in made(drafts).types if name.startswith("shop.T")]) == 2_000


def test_comments_hold_no_control_characters() -> None:
    assert clean("a\x00\x1b[31m\r\nb\u2028\ud800 \n") == "a[31m\nb"
    assert len(clean("x" * 1_000_000)) == making.MAX_DOC


NAMES = st.one_of(
    st.text(max_size=12),
    st.text(alphabet=string.ascii_letters + string.digits + "_-.[]\"'/\\", max_size=8),
    st.sampled_from(["Shop", "shop", "Value", "kind", "_x", "X_x", "__proto__", "google", "string", "[a]"]),
    st.sampled_from(["\x00", "*/", "\n", "_a", "a"]),
)


@given(
    messages=st.dictionaries(NAMES, st.lists(NAMES, max_size=5, unique=True), min_size=1, max_size=5),
    values=st.lists(st.one_of(NAMES, st.integers(-5, 5), st.booleans(), st.none()), max_size=6),
    upstream=NAMES,
)
@settings(max_examples=150, deadline=None)
def test_any_names_make_a_schema_whose_protos_say_the_same(
    messages: dict[str, list[str]], values: list[object], upstream: str
) -> None:
    drafts = Drafts(enums={"e": EnumDraft(name="kind", values=[ValueDraft(written=one) for one in values])})  # type: ignore[arg-type]
    for name, members in messages.items():
        fields = [text(member, doc=member, oneof=index % 3 == 1, presence=True) for index, member in enumerate(members)]
        drafts.messages["m" + name] = MessageDraft(name=name, fields=fields, doc=name)
    drafts.methods.extend(MethodDraft(name=name, input="m" + name, output=EMPTY, doc=name) for name in messages)
    schema = made(drafts, upstream)
    assert sum(len(service.methods) for service in schema.services.values()) == len(messages)
    for members in messages.values():
        named = {member for member in members if nameable(member)}
        assert any({one.json_name for one in kind.fields.values()} == named for kind in schema.types.values())
    assert proto_files(schema.descriptor_set)

"""What GraphQL schema is made of which services, and that other tools take it."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import (
    build_client_schema,
    build_schema,
    introspection_from_schema,
    lexicographic_sort_schema,
    print_schema,
    print_type,
    validate_schema,
)

from protogw.descriptors.catalog import Catalog
from protogw.descriptors.to_graphql import offers_any, sdl, to_graphql
from protogw.descriptors.to_graphql_model import Exposure, GraphqlOffer, GraphqlOptions
from protogw.descriptors.to_graphql_names import allocate, field_name, graphql_name, lower_camel, upper_camel
from tests.support import hello
from tests.support.oracle import compiled

HEAD = """syntax = "proto3";
package {package};
import "google/api/annotations.proto";
import "google/protobuf/empty.proto";
"""


def offer(text: str, *more: str, **options: Any) -> GraphqlOffer:
    """The GraphQL schema of proto files without their head."""
    sources = [HEAD.format(package="shop.v1") + text, *more]
    return to_graphql(Catalog.merge([compiled(source) for source in sources]), GraphqlOptions(**options))


def of_type(made: GraphqlOffer, name: str) -> str:
    """A type's SDL without descriptions."""
    text = print_type(made.schema.type_map[name])
    return "\n".join(line for line in text.split("\n") if '"""' not in line)


def fields(made: GraphqlOffer, root: str) -> list[str]:
    return list(made.roots.get(root, {}))  # type: ignore[call-overload, no-any-return]


def test_the_root_type_follows_what_is_known_of_side_effects() -> None:
    made = offer("""
      message M { string id = 1; }
      service S {
        rpc GetIt(M) returns (M);
        rpc ListThem(M) returns (M);
        rpc SearchFor(M) returns (M);
        rpc BatchGetIt(M) returns (M);
        rpc Get(M) returns (M);
        rpc Getaway(M) returns (M);
        rpc Make(M) returns (M);
        rpc Safe(M) returns (M) { option idempotency_level = NO_SIDE_EFFECTS; }
        rpc GetButWrites(M) returns (M) { option idempotency_level = IDEMPOTENT; }
        rpc Read(M) returns (M) { option (google.api.http) = {get: "/v1/{id}"}; }
        rpc GetByPost(M) returns (M) { option (google.api.http) = {post: "/v1/get" body: "*"}; }
        rpc Watch(M) returns (stream M);
        rpc Up(stream M) returns (M);
        rpc Chat(stream M) returns (stream M);
      }""")
    assert fields(made, "query") == ["getIt", "listThem", "searchFor", "batchGetIt", "get", "safe", "read"]
    assert fields(made, "mutation") == ["getaway", "make", "getButWrites", "getByPost"]
    assert fields(made, "subscription") == ["watch"]
    assert made.left_out == {
        "up": "shop.v1.S/Up: GraphQL has no way to stream a request",
        "chat": "shop.v1.S/Chat: GraphQL has no way to stream a request",
    }


def test_the_config_chooses_root_type_and_name() -> None:
    made = offer(
        "message M { string id = 1; } "
        "service S { rpc Make(M) returns (M); rpc Hide(M) returns (M); rpc A(M) returns (M); }",
        chosen={
            "shop.v1.S/Make": Exposure(field="madeOf", root="query"),
            "shop.v1.S/Hide": Exposure(root="none"),
            "shop.v1.S/A": Exposure(field="b"),
        },
    )
    assert (fields(made, "query"), fields(made, "mutation")) == (["madeOf"], ["b"])


def test_two_methods_with_one_chosen_name_are_a_fault() -> None:
    made = offer(
        "message M { string id = 1; } service S { rpc Make(M) returns (M); rpc Bake(M) returns (M); }",
        chosen={"shop.v1.S/Make": Exposure(field="x"), "shop.v1.S/Bake": Exposure(field="x")},
    )
    assert made.faults == ("shop.v1.S/Bake: shop.v1.S/Make already has the name x",)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("int32", "Int!"),
        ("sint32", "Int!"),
        ("sfixed32", "Int!"),
        ("uint32", "UInt32!"),
        ("fixed32", "UInt32!"),
        ("int64", "Int64!"),
        ("uint64", "UInt64!"),
        ("double", "Float"),
        ("float", "Float"),
        ("bool", "Boolean!"),
        ("string", "String!"),
        ("bytes", "String!"),
        ("optional string", "String"),
        ("repeated string", "[String!]!"),
        ("repeated double", "[Float]!"),
        ("E", "E"),
        ("repeated E", "[E]!"),
        ("N", "N"),
        ("repeated N", "[N!]!"),
        ("google.protobuf.Empty", "Boolean"),
        ("map<string, int32>", "[MFEntry!]!"),
    ],
)
def test_a_field_is_null_only_where_the_service_may_have_nothing_to_say(kind: str, shown: str) -> None:
    made = offer(
        f"enum E {{ ZERO = 0; }} message N {{ string a = 1; }} message M {{ {kind} f = 1; }} "
        "service S { rpc Get(M) returns (M); }"
    )
    assert of_type(made, "M") == f"type M {{\n  f: {shown}\n}}"


def test_every_kind_of_field_as_output_and_as_argument() -> None:
    made = to_graphql(hello.CATALOG, GraphqlOptions())
    shown = of_type(made, "Thing")
    for line in (
        "choice: ThingChoice",
        "counts: [ThingCountsEntry!]!",
        "thingOf: [ThingThingOfEntry!]!",
        "at: Timestamp",
        "within: Duration",
        "mask: FieldMask",
        "anything: JSON",
        "any: JSON",
        "wrappedLong: Int64",
        "wrappedText: String",
        "empty: Boolean",
        "nothing: Nothing",
        "values: [JSON]!",
        'old: String! @deprecated(reason: "It is deprecated in the service\'s own schema.")',
    ):
        assert f"  {line}\n" in shown + "\n", line
    assert of_type(made, "ThingChoice").endswith(
        "union ThingChoice = ThingChoiceText | ThingChoiceThing | ThingChoicePicked | ThingChoiceLong"
    )
    assert of_type(made, "ThingChoiceThing") == "type ThingChoiceThing {\n  thing: Thing\n}"
    assert of_type(made, "ThingChoiceInput") == (
        "input ThingChoiceInput @oneOf {\n  text: String\n  thing: ThingInput\n  picked: Colour\n  long: Int64\n}"
    )
    assert of_type(made, "ThingColourOfEntry") == "type ThingColourOfEntry {\n  key: Int64!\n  value: Colour\n}"
    assert "_: Boolean" in of_type(made, "Nothing")
    arguments = {name: str(one.type) for name, one in made.schema.mutation_type.fields["makeThing"].args.items()}  # type: ignore[union-attr]
    assert arguments["inner"] == "ThingInput"
    assert arguments["choice"] == "ThingChoiceInput"
    assert arguments["thingOf"] == "[ThingThingOfEntryInput!]"
    assert arguments["times"] == "[Timestamp!]"


def test_long_numbers_as_text_and_maps_as_json() -> None:
    made = to_graphql(hello.CATALOG, GraphqlOptions(long_as_text=True, maps_as_json=True))
    shown = of_type(made, "Thing")
    assert "int64Value: String!" in shown
    assert "counts: JSON" in shown
    assert "Int64" not in made.schema.type_map


def test_comments_and_deprecation_are_carried_over() -> None:
    made = offer("""
      // What there is.
      message M {
        // Its name.
        string id = 1;
      }
      service S {
        // Reads one.
        rpc Get(M) returns (M) { option deprecated = true; }
      }""")
    query: Any = made.schema.query_type
    assert query.fields["get"].description == "Reads one."
    assert query.fields["get"].deprecation_reason is not None
    assert query.fields["get"].args["id"].description == "Its name."
    assert made.schema.type_map["M"].description == "What there is."


OTHER = """syntax = "proto3"; package other.v2;
message M { int32 number = 1; }
service S { rpc Get(M) returns (M); }
"""


def test_names_that_clash_get_as_much_as_tells_them_apart_whatever_their_order() -> None:
    text = "message M { string id = 1; } service S { rpc Get(M) returns (M); } service T { rpc Get(M) returns (M); }"
    made = offer(text, OTHER)
    assert fields(made, "query") == ["shopV1SGet", "tGet", "otherV2SGet"]
    assert {"ShopV1M", "OtherV2M"} <= made.schema.type_map.keys()
    assert "M" not in made.schema.type_map
    assert len(made.faults) == 5
    assert made.faults[0] == "shop.v1.S/Get: another method has the field get, so its own is shopV1SGet"


def test_the_prefix_is_before_every_field() -> None:
    text = "message M { string id = 1; } service Store { rpc GetIt(M) returns (M); }"
    assert fields(offer(text, prefix="service"), "query") == ["storeGetIt"]
    assert fields(offer(text, prefix="package"), "query") == ["shopV1StoreGetIt"]


def test_a_type_of_two_schemas_is_one_when_it_says_the_same_and_two_when_not() -> None:
    shared = 'syntax = "proto3"; package a; message Money { int64 units = 1; } message Pair { Money one = 1; } '
    same = to_graphql(
        Catalog.merge(
            [
                compiled(shared + "service X { rpc GetX(Pair) returns (Pair); }"),
                compiled(shared + "service Y { rpc GetY(Pair) returns (Pair); }"),
            ]
        ),
        GraphqlOptions(),
    )
    assert [name for name in same.schema.type_map if name.startswith(("Money", "Pair"))] == [
        "Pair",
        "Money",
        "MoneyInput",
    ]
    changed = shared.replace("int64 units = 1", "int64 units = 1; string currency = 2")
    differ = to_graphql(
        Catalog.merge(
            [
                compiled(shared + "service X { rpc GetX(Pair) returns (Pair); }"),
                compiled(changed + "service Y { rpc GetY(Pair) returns (Pair); }"),
            ]
        ),
        GraphqlOptions(),
    )
    money = {name for name in differ.schema.type_map if "Money" in name and "Input" not in name}
    assert len(money) == 2
    assert not validate_schema(differ.schema)


def test_names_that_graphql_keeps_for_itself_are_left_to_it() -> None:
    made = offer("""
      enum E { UNKNOWN = 0; true = 1; null = 2; }
      message Query { string id = 1; E e = 2; }
      message String { string id = 1; }
      message JSON { Query query = 1; String string = 2; string a_b = 3; string c = 4 [json_name = "a-b"]; }
      service S { rpc Get(JSON) returns (JSON); }""")
    assert not validate_schema(made.schema)
    assert {"ShopV1Query", "ShopV1String", "ShopV1JSON"} <= made.schema.type_map.keys()
    assert "true_" in of_type(made, "E")
    assert list(made.structures["ShopV1JSON"].members) == ["query", "string", "aB_3", "aB_4"]


def test_recursive_and_empty_types_and_services_without_queries() -> None:
    made = offer("""
      message Nothing {}
      message Tree { repeated Tree below = 1; Nothing none = 2; }
      service S { rpc Plant(Tree) returns (Tree); rpc Drop(Nothing) returns (google.protobuf.Empty); }""")
    assert not validate_schema(made.schema)
    assert fields(made, "query") == []
    assert str(made.schema.mutation_type.fields["drop"].type) == "Boolean"  # type: ignore[union-attr]
    assert not made.schema.mutation_type.fields["drop"].args  # type: ignore[union-attr]


def test_nothing_is_offered_of_what_only_streams_requests_or_is_the_gateways_own() -> None:
    text = HEAD.format(package="shop.v1") + "message M { string id = 1; } service S { rpc Up(stream M) returns (M); }"
    assert not offers_any(Catalog.merge([compiled(text)]))
    assert offers_any(hello.CATALOG)


def test_what_we_print_is_read_back_as_the_same_schema() -> None:
    made = to_graphql(hello.CATALOG, GraphqlOptions())
    text = sdl(made)
    read = build_schema(text)
    assert not validate_schema(read)
    assert print_schema(read) == print_schema(made.schema)
    told = build_client_schema(introspection_from_schema(made.schema, input_value_deprecation=True))
    assert print_schema(lexicographic_sort_schema(told)) == print_schema(lexicographic_sort_schema(read))


@pytest.mark.parametrize(
    ("text", "lower", "upper"),
    [
        ("GetItem", "getItem", "GetItem"),
        ("get_item", "getItem", "GetItem"),
        ("URLOf", "urlOf", "URLOf"),
        ("ID", "id", "ID"),
        ("shop.v1", "shopV1", "ShopV1"),
        ("2fast", "_2fast", "2fast"),
        ("__type", "_type", "Type"),
    ],
)
def test_names_are_written_as_graphql_writes_them(text: str, lower: str, upper: str) -> None:
    assert (lower_camel(text), upper_camel(text)) == (lower, upper)


def test_a_fields_name_keeps_what_graphql_takes() -> None:
    assert [field_name(one) for one in ("created_at", "_id", "URL", "x-y", "$ref")] == [
        "createdAt",
        "_id",
        "URL",
        "xY",
        "_ref",
    ]
    assert graphql_name("") == "_"


def test_a_third_does_not_get_the_name_that_two_wanted() -> None:
    found, clashed = allocate({1: ("a", "b"), 2: ("a", "c"), 3: ("a", "b"), 4: ("d", "a")})
    assert len(set(found.values())) == 4
    assert found[4] == "d"
    assert [key for key, _ in clashed] == [1, 2, 3]


def test_what_requires_itself_is_no_required_input() -> None:
    """Nobody could ever write one, and GraphQL would answer no request at all of a schema with one."""
    made = offer("""
      import "buf/validate/validate.proto";
      message Link { Link next = 1 [(buf.validate.field).required = true]; string id = 2; }
      message Ask {
        User user = 1 [(buf.validate.field).required = true];
        Link link = 2 [(buf.validate.field).required = true];
        Leaf leaf = 3 [(buf.validate.field).required = true];
      }
      message User { Team team = 1 [(buf.validate.field).required = true]; string name = 2; }
      message Team {
        User owner = 1 [(buf.validate.field).required = true];
        Leaf leaf = 2 [(buf.validate.field).required = true];
        repeated User users = 3 [(buf.validate.field).required = true];
      }
      message Leaf {
        oneof of { Leaf inner = 1 [(buf.validate.field).required = true]; string text = 2; }
        map<string, Leaf> more = 3 [(buf.validate.field).required = true];
      }
      service S { rpc GetIt(Ask) returns (Leaf); }
    """)
    assert validate_schema(made.schema) == []
    team = ["  owner: UserInput", "  leaf: LeafInput!", "  users: [UserInput!]!"]
    assert of_type(made, "TeamInput").split("\n")[1:-1] == team
    asked = "  getIt(user: UserInput, link: LinkInput, leaf: LeafInput!): Leaf"
    assert of_type(made, "Query").split("\n")[1:-1] == [asked]

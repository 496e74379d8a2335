"""from_proto: what a schema says, and every way in which one can be bad."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from protogw.descriptors.build import RULES
from protogw.descriptors.from_proto import load, load_descriptor_set, with_rules
from protogw.descriptors.model import HttpRule, Idempotency, Kind, Schema, SchemaError
from protogw.wire.protowire import delimited
from tests.support import kit

LIBRARY = """
syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
import "google/protobuf/timestamp.proto";

// Sells things.
service Shop {
  // Finds one.
  rpc Get(GetRequest) returns (Item) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = {
      get: "/v1/{name=items/*}"
      additional_bindings { custom { kind: "HEAD" path: "/v1/{name=items/*}" } }
      additional_bindings { post: "/v1/get" body: "*" response_body: "labels" }
    };
  }
  rpc Watch(stream GetRequest) returns (stream Item) { option deprecated = true; }
}
message GetRequest { string name = 1; }
// A thing.
message Item {
  enum State { UNKNOWN = 0; SOLD = 1; }
  string name = 1; // Its name.
  optional int64 price = 2;
  map<int32, Item> parts = 3;
  repeated sint32 sizes = 4;
  oneof owner { string person = 5; bytes company = 6; }
  State state = 7 [deprecated = true];
  google.protobuf.Timestamp sold_at = 8;
  map<string, string> labels = 9;
}
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".proto")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def proto(body: str, package: str = "a") -> str:
    return f'syntax = "proto3";\npackage {package};\n{body}\n'


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    return load([write(tmp_path_factory.mktemp("protos"), shop=LIBRARY) / "shop.proto"])


def test_a_method_has_its_shape_types_and_options(schema: Schema) -> None:
    service = schema.services["shop.v1.Shop"]
    get, watch = service.methods["Get"], service.methods["Watch"]
    assert service.doc == "Sells things."
    assert get.doc == "Finds one."
    assert (get.input.name, get.output.name) == ("shop.v1.GetRequest", "shop.v1.Item")
    assert (get.shape, watch.shape) == ("unary", "bidi")
    assert get.idempotency is Idempotency.NO_SIDE_EFFECTS
    assert (get.deprecated, watch.deprecated) == (False, True)
    assert get.path == b"/shop.v1.Shop/Get"


def test_http_rules_come_with_additional_and_custom_bindings(schema: Schema) -> None:
    assert schema.services["shop.v1.Shop"].methods["Get"].http == (
        HttpRule(verb="GET", template="/v1/{name=items/*}"),
        HttpRule(verb="HEAD", template="/v1/{name=items/*}"),
        HttpRule(verb="POST", template="/v1/get", body="*", response_body="labels"),
    )
    assert schema.services["shop.v1.Shop"].methods["Watch"].http == ()


def test_fields_say_what_they_hold(schema: Schema) -> None:
    item = schema.types["shop.v1.Item"]
    price, parts, sizes = item.fields["price"], item.fields["parts"], item.fields["sizes"]
    assert item.doc == "A thing."
    assert item.fields["name"].doc == "Its name."
    assert (price.kind, price.has_presence, price.oneof) == (Kind.INT64, True, "")
    assert (parts.map_key, parts.kind, parts.type_name, parts.repeated) == (
        Kind.INT32,
        Kind.MESSAGE,
        "shop.v1.Item",
        False,
    )
    assert (sizes.kind, sizes.repeated, sizes.packed) == (Kind.SINT32, True, True)
    assert [item.fields[name].oneof for name in ("person", "company")] == ["owner", "owner"]
    assert item.fields["state"].type_name == "shop.v1.Item.State"
    assert item.fields["state"].deprecated
    assert item.field("soldAt") is item.fields["sold_at"]
    assert "shop.v1.Item.PartsEntry" not in schema.types
    assert dict(schema.enums["shop.v1.Item.State"].values) == {"UNKNOWN": 0, "SOLD": 1}


def test_every_type_has_a_codec(schema: Schema) -> None:
    item = schema.types["shop.v1.Item"].codec
    assert item.to_json(item.from_json(b'{"price":"7","soldAt":"2026-01-01T00:00:00Z"}')) == (
        b'{"price":"7","soldAt":"2026-01-01T00:00:00Z"}'
    )


def test_the_descriptor_set_reads_back_to_the_same_schema(schema: Schema) -> None:
    again = load_descriptor_set(schema.descriptor_set)
    assert again.digest == schema.digest
    assert again.services.keys() == schema.services.keys()
    assert again.services["shop.v1.Shop"].methods["Get"].doc == "Finds one."


def test_the_order_of_files_in_a_set_does_not_matter(schema: Schema) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(schema.descriptor_set)
    turned = descriptor_pb2.FileDescriptorSet(file=reversed(files.file))
    assert load_descriptor_set(turned.SerializeToString()).digest == schema.digest


def test_bundled_imports_may_be_missing_from_a_set(schema: Schema) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(schema.descriptor_set)
    only = descriptor_pb2.FileDescriptorSet(file=[file for file in files.file if file.package == "shop.v1"])
    assert load_descriptor_set(only.SerializeToString()).services["shop.v1.Shop"].methods["Get"].http


def test_a_folder_is_read_whole_with_its_own_imports(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__v1__a=proto('import "b/v1/b.proto";\nservice A { rpc Do(b.v1.B) returns (b.v1.B); }', "a.v1"),
        b__v1__b=proto("message B {}", "b.v1"),
    )
    assert list(load([tmp_path]).services) == ["a.v1.A"]


def test_a_file_in_its_packages_folder_imports_from_above_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__v1__a=proto('import "a/v1/b.proto";\nservice A { rpc Do(B) returns (B); }', "a.v1"),
        a__v1__b=proto("message B {}", "a.v1"),
    )
    assert list(load([tmp_path / "a" / "v1" / "a.proto"]).services) == ["a.v1.A"]


def test_includes_are_searched_for_imports(tmp_path: Path) -> None:
    write(tmp_path / "one", a=proto('import "b.proto";\nmessage A { B b = 1; }'))
    write(tmp_path / "two", b=proto("message B {}"))
    with pytest.raises(SchemaError, match=r"b\.proto: File not found"):
        load([tmp_path / "one" / "a.proto"])
    assert "a.A" in load([tmp_path / "one" / "a.proto"], includes=[tmp_path / "two"]).types


def test_faults_name_file_line_and_column_and_come_all_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, bad=proto("message M { Foo f = 1; int32 a = 1; }"), worse=proto("message N { int32 a 1; }"))
    with pytest.raises(SchemaError) as caught:
        load([tmp_path])
    text = str(caught.value)
    assert f'{tmp_path}/bad.proto:3:13: "Foo" is not defined.' in text
    assert f"{tmp_path}/worse.proto:3:21: Missing field number." in text
    assert capfd.readouterr().err == ""


def test_a_missing_import_is_named(tmp_path: Path) -> None:
    write(tmp_path, bad=proto('import "nope/x.proto";'))
    with pytest.raises(SchemaError) as caught:
        load([tmp_path / "bad.proto"])
    assert caught.value.faults[0] == "nope/x.proto: File not found."
    assert caught.value.faults[1].startswith(f"{tmp_path}/bad.proto:3:1: Import")


def test_imports_reach_nothing_outside_what_is_given(tmp_path: Path) -> None:
    write(tmp_path, secret=proto("message S {}"))
    for import_ in ("../secret.proto", f"{tmp_path}/secret.proto", "grpc_tools/x.proto"):
        write(tmp_path / "in", bad=proto(f'import "{import_}";'))
        with pytest.raises(SchemaError, match="not found"):
            load([tmp_path / "in" / "bad.proto"])


def test_warnings_are_not_faults(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, a=proto('import "google/protobuf/any.proto";\nmessage A {}'))
    assert "a.A" in load([tmp_path / "a.proto"]).types
    assert capfd.readouterr().err == ""


def test_what_others_write_to_stderr_meanwhile_is_not_lost(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, **{f"f{n}": proto(f"message A{n} {{}}") for n in range(50)})
    stop = threading.Event()

    def chatter() -> None:
        while not stop.is_set():
            os.write(2, b"log line\n")

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        load([tmp_path])
    finally:
        stop.set()
        thread.join()
    assert set(capfd.readouterr().err.splitlines()) == {"log line"}


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xff\xff", b"hello", b"\x0a\x00", b"\x0a\x05hello", os.urandom(64)],
    ids=["empty", "bad tag", "text", "nameless file", "truncated", "random"],
)
def test_bytes_that_are_no_descriptor_set_are_refused(data: bytes) -> None:
    with pytest.raises(SchemaError):
        load_descriptor_set(data)


def file(name: str, **fields: object) -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto(name=name, syntax="proto3", **fields)  # type: ignore[arg-type]


def refused(*files: descriptor_pb2.FileDescriptorProto) -> str:
    with pytest.raises(SchemaError) as caught:
        load_descriptor_set(descriptor_pb2.FileDescriptorSet(file=files).SerializeToString())
    return str(caught.value)


@pytest.mark.parametrize("rules", [b"\xff", b"\xc8\x01", b"\xca\x01\x05", b"\x0b", b"\x00"])
def test_rules_that_are_none_require_nothing(rules: bytes) -> None:
    """Whoever describes itself may write anything into options that nothing in the set speaks of."""
    made = file("a.proto", message_type=[{"name": "M", "field": [{"name": "a", "number": 1, "type": 9, "label": 1}]}])
    made.message_type[0].field[0].options.MergeFromString(delimited(RULES, rules))
    schema = load_descriptor_set(descriptor_pb2.FileDescriptorSet(file=[made]).SerializeToString())
    assert not schema.types["M"].fields["a"].required


def test_a_set_without_an_import_says_which() -> None:
    assert refused(file("a.proto", dependency=["b.proto"])) == (
        "a.proto: imports 'b.proto', which is not in the descriptor set"
    )


def test_import_cycles_are_refused() -> None:
    said = refused(file("a.proto", dependency=["b.proto"]), file("b.proto", dependency=["a.proto"]))
    assert "import cycle" in said


def test_a_dangling_type_is_named() -> None:
    field = descriptor_pb2.FieldDescriptorProto(name="f", number=1, label=1, type=11, type_name=".a.Gone")
    message = descriptor_pb2.DescriptorProto(name="M", field=[field])
    assert "a.Gone" in refused(file("a.proto", package="a", message_type=[message]))


def test_two_files_of_one_name_and_different_contents_are_refused() -> None:
    assert "given twice" in refused(file("a.proto", package="a"), file("a.proto", package="b"))


def test_two_files_that_define_one_name_are_refused() -> None:
    message = descriptor_pb2.DescriptorProto(name="M")
    assert "b.proto" in refused(
        file("a.proto", package="a", message_type=[message]), file("b.proto", package="a", message_type=[message])
    )


def test_a_chain_of_thousands_of_imports_is_read() -> None:
    files = [file(f"f{n}.proto", dependency=[f"f{n + 1}.proto"]) for n in range(3_000)] + [file("f3000.proto")]
    data = descriptor_pb2.FileDescriptorSet(file=files).SerializeToString()
    assert load_descriptor_set(data).types == {}


def test_an_import_graph_with_two_to_the_sixty_paths_is_read() -> None:
    files = [file("a0.proto"), file("b0.proto")]
    for n in range(60):
        below = [f"a{n}.proto", f"b{n}.proto"]
        files += [file(f"a{n + 1}.proto", dependency=below), file(f"b{n + 1}.proto", dependency=below)]
    data = descriptor_pb2.FileDescriptorSet(file=files).SerializeToString()
    assert load_descriptor_set(data).types == {}


def test_a_schema_of_too_many_types_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protogw.descriptors.build.MAX_TYPES", 2)
    messages = [descriptor_pb2.DescriptorProto(name=f"M{n}") for n in range(3)]
    assert refused(file("a.proto", message_type=messages)) == "more than 2 message types"


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no such file"):
        load([tmp_path / "none.proto"])
    with pytest.raises(SchemaError, match=r"no \.proto file"):
        load([tmp_path])


def test_a_path_with_a_colon_is_refused_and_one_with_an_equals_sign_is_read(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="colon"):
        load([write(tmp_path / "a:b", a=proto("message A {}"))])
    assert "a.A" in load([write(tmp_path / "a=b", a=proto("message A {}"))]).types


def test_health_and_reflection_of_an_upstream_are_not_offered(tmp_path: Path) -> None:
    write(tmp_path, health=proto("message M {}\nservice Health { rpc Check(M) returns (M); }", "grpc.health.v1"))
    assert load([tmp_path]).services == {}
    assert list(load([tmp_path], hide=()).services) == ["grpc.health.v1.Health"]


def test_json_names_are_derived_where_the_descriptor_leaves_them_out(schema: Schema) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(schema.descriptor_set)
    for one in files.file:
        for message in one.message_type:
            for field in message.field:
                field.ClearField("json_name")
    codec = load_descriptor_set(files.SerializeToString()).types["shop.v1.Item"].codec
    assert codec.to_json(codec.from_json(b'{"sold_at":"2026-01-01T00:00:00Z"}')) == b'{"soldAt":"2026-01-01T00:00:00Z"}'


def test_rules_are_added_or_put_in_place_of_the_annotation(schema: Schema) -> None:
    rule = HttpRule(verb="PUT", template="/v2/x", success=201)
    name = "shop.v1.Shop/Get"
    added = with_rules(schema, {name: [rule]}).services["shop.v1.Shop"].methods["Get"]
    placed = with_rules(schema, {name: [rule]}, replace=True).services["shop.v1.Shop"].methods["Get"]
    assert added.http == (*schema.services["shop.v1.Shop"].methods["Get"].http, rule)
    assert placed.http == (rule,)
    assert placed.path == b"/shop.v1.Shop/Get"
    with pytest.raises(SchemaError, match=r"shop\.v1\.Shop/Nope: no such method"):
        with_rules(schema, {"shop.v1.Shop/Nope": [rule]})


def test_a_rule_for_the_same_verb_and_path_takes_the_place_of_the_annotation() -> None:
    schema = load_descriptor_set(kit.DESCRIPTOR_SET)
    again = HttpRule(verb="POST", template="/v1/echo", body="*", success=201)
    made = with_rules(schema, {"kit.v1.Echo/Unary": [again]}).services["kit.v1.Echo"].methods["Unary"]
    assert [(rule.verb, rule.template, rule.success) for rule in made.http] == [
        ("GET", "/v1/echo/{text}", 200),
        ("POST", "/v1/echo", 201),
    ]

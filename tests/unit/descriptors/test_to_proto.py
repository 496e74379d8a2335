"""Proto files written out: protoc reads them back to the same descriptors."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from protogw.descriptors.from_proto import bundled, compile_protos
from protogw.descriptors.to_proto import proto_files
from protogw.resources import protos

EVERYTHING = """
syntax = "proto2";
package t.google;
import "google/protobuf/descriptor.proto";
import public "google/protobuf/timestamp.proto";
option java_package = "a.\\"b";
option optimize_for = CODE_SIZE;
extend .google.protobuf.MethodOptions { optional Rule rule = 50001; repeated int32 number = 50002; }
extend .google.protobuf.FieldOptions { optional string label = 50003; optional Kind kind = 50004; }
extend .google.protobuf.EnumValueOptions { optional bool hidden = 50005; }
message Rule { optional string path = 1; repeated Rule more = 2; map<string, int64> weights = 3; }
// Kinds.
enum Kind { option allow_alias = true; ZERO = 0; NIL = 0 [(hidden) = true, deprecated = true]; MINUS = -5;
  reserved 7, 10 to 12, 100 to max; reserved "OLD"; }
message Outer {
  option deprecated = true;
  message Kind { optional int32 x = 1; }
  message Timestamp {}
  required string name = 1 [default = "a\\n\\"\\\\", json_name = "NAME", (label) = "x", (t.google.kind) = MINUS];
  optional bytes raw = 2 [default = "\\001\\377"];
  optional double ratio = 3 [default = -inf];
  optional .t.google.Kind kind = 4 [default = NIL];
  optional Kind inner = 5;
  repeated int32 packed = 6 [packed = true];
  optional group Result = 7 { optional string url = 1; optional group Deep = 2 { optional int32 y = 1; } }
  map<int32, Outer.Kind> by_number = 8;
  oneof choice { string text = 9; Outer other = 10; group Either = 11 { optional int32 z = 1; } }
  optional .google.protobuf.Timestamp at = 12;
  optional Timestamp own = 13;
  extensions 100 to 199, 1000 to max;
  extend Outer { optional string more = 100; repeated Outer outers = 101; }
  reserved 50, 60 to 70;
  reserved "gone", "lost";
}
extend Outer { optional int32 last = 150; }
service Things {
  option deprecated = true;
  // Does.
  rpc Do(Outer) returns (stream Outer.Kind) {
    option idempotency_level = IDEMPOTENT;
    option (rule) = { path: "/a/{b=c/*}" more { path: "x" } weights { key: "k" value: 3 } };
    option (number) = 1;
    option (number) = 2;
  }
  rpc Up(stream Outer) returns (Rule);
}
"""

PROTO3 = """
syntax = "proto3";
package t;
message A { optional int32 x = 1; int32 y = 2; repeated string z = 3; oneof o { string q = 4; } string snake_case = 5; }
enum E { E_ZERO = 0; }
"""

EDITION = """
edition = "2023";
package t;
option features.field_presence = IMPLICIT;
message A {
  int32 x = 1 [features.field_presence = LEGACY_REQUIRED];
  A y = 2 [features.message_encoding = DELIMITED];
  reserved gone;
}
"""


def read_back(name: str, sources: Path, roots: list[Path], target: Path) -> None:
    """Compile, write, compile again, compare; comments are compared too."""
    first = compile_protos([sources / name], roots)
    written = proto_files(
        first.SerializeToString(), skip=[file.name for file in first.file if bundled(file.name) is not None]
    )
    for path, text in written.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text)
    second = compile_protos([target / path for path in written], [target])
    again = {file.name: file for file in second.file}
    for file in first.file:
        if file.name in written:
            assert bare(file) == bare(again[file.name])
            assert comments(file) == comments(again[file.name])


def bare(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    copy = descriptor_pb2.FileDescriptorProto()
    copy.CopyFrom(file)
    copy.ClearField("source_code_info")
    for message in copy.message_type:
        in_order(message)
    return copy


def in_order(message: descriptor_pb2.DescriptorProto) -> None:
    """Groups and map entries are declared where their field is, so the order of nested types may change."""
    message.nested_type.sort(key=lambda nested: nested.name)
    for nested in message.nested_type:
        in_order(nested)


def comments(file: descriptor_pb2.FileDescriptorProto) -> set[tuple[tuple[int, ...], str]]:
    return {(tuple(one.path), one.leading_comments) for one in file.source_code_info.location if one.leading_comments}


@pytest.mark.parametrize(("name", "text"), [("a.proto", EVERYTHING), ("b.proto", PROTO3), ("c.proto", EDITION)])
def test_what_is_written_is_read_back_the_same(name: str, text: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / name).write_text(text)
    read_back(name, source, [source], target)


def test_the_sample_service_is_read_back_the_same(tmp_path: Path) -> None:
    read_back("protogw/demo/library.proto", protos(), [protos()], tmp_path)


def test_bundled_files_are_left_out_when_asked(tmp_path: Path) -> None:
    (tmp_path / "a.proto").write_text(EVERYTHING)
    compiled = compile_protos([tmp_path / "a.proto"], [tmp_path])
    assert set(proto_files(compiled.SerializeToString(), skip=["google/protobuf/descriptor.proto"])) == {
        "google/protobuf/timestamp.proto",
        "a.proto",
    }

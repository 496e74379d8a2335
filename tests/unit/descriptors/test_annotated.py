"""The descriptor set as it is offered: with the HTTP bindings that the config says, and all that it imports."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import descriptor_pb2

from protogw.descriptors import from_graphql
from protogw.descriptors.annotated import annotated
from protogw.descriptors.from_proto import bundled, compile_protos, load, load_descriptor_set, with_rules
from protogw.descriptors.model import HttpRule, Schema
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.to_proto import proto_files

PLAIN = """
syntax = "proto3";
package t;
import "other.proto";
// Does things.
service S { rpc Do(M) returns (M); rpc Plain(M) returns (o.Other); }
service Unwanted { rpc Do(M) returns (M); }
message M { string name = 1; }
"""
OTHER = 'syntax = "proto3"; package o; message Other {} service T { rpc Do(Other) returns (Other); }'

RULES = (
    HttpRule(verb="GET", template="/v1/{name=**}", response_body="name"),
    HttpRule(verb="HEAD", template="/v1/x", success=204),
)


def plain(folder: Path) -> Schema:
    (folder / "t.proto").write_text(PLAIN)
    (folder / "other.proto").write_text(OTHER)
    return load([folder / "t.proto", folder / "other.proto"], includes=[folder])


def offered(schema: Schema, *services: str) -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet(file=annotated(schema, services))


def test_bindings_of_the_config_are_annotations(tmp_path: Path) -> None:
    schema = with_rules(plain(tmp_path), {"t.S/Do": RULES})
    again = load_descriptor_set(offered(schema, "t.S").SerializeToString())
    assert [(one.verb, one.template, one.response_body) for one in again.services["t.S"].methods["Do"].http] == [
        ("GET", "/v1/{name=**}", "name"),
        ("HEAD", "/v1/x", ""),
    ]
    assert again.services["t.S"].methods["Plain"].http == ()
    assert again.services["t.S"].doc == "Does things."


def test_bindings_that_the_config_replaces_are_gone(tmp_path: Path) -> None:
    first = with_rules(plain(tmp_path), {"t.S/Do": RULES})
    annotated_once = load_descriptor_set(offered(first, "t.S").SerializeToString())
    replaced = with_rules(annotated_once, {"t.S/Do": [RULES[1]]}, replace=True)
    again = load_descriptor_set(offered(replaced, "t.S").SerializeToString())
    assert [one.template for one in again.services["t.S"].methods["Do"].http] == ["/v1/x"]


def test_what_is_offered_as_it_is_described_stays_byte_for_byte(tmp_path: Path) -> None:
    schema = plain(tmp_path)
    given = descriptor_pb2.FileDescriptorSet.FromString(schema.descriptor_set)
    assert list(offered(schema, "t.S", "o.T").file) == list(given.file)


def test_files_that_the_services_do_not_need_are_left_out(tmp_path: Path) -> None:
    assert [file.name for file in offered(plain(tmp_path), "o.T").file] == ["other.proto"]


def test_a_schema_made_of_another_language_prints_as_a_proto_that_protoc_reads(tmp_path: Path) -> None:
    (tmp_path / "a.graphql").write_text(
        'type Query { "All of them." things(first: Int = 3, kind: Kind): [Thing!]! } enum Kind { A "The other." B } '
        'type Thing { "Its name." name: String! tags: [[String]] old: Int @deprecated }'
    )
    schema = from_graphql.load([tmp_path / "a.graphql"], upstream="my-things", numbers=Numbers())
    rule = HttpRule(verb="GET", template="/things")
    schema = with_rules(schema, {"my_things.MyThings/Things": [rule]})
    files = offered(schema, *schema.services)
    texts = proto_files(files.SerializeToString(), skip=[one.name for one in files.file if bundled(one.name)])
    ((name, text),) = texts.items()
    assert "// Its name." in text
    assert 'option (google.api.http) = { get: "/things" };' in text
    assert "int32 old = 3 [deprecated = true];" in text
    (tmp_path / name).write_text(text)
    compiled = {file.name: file for file in compile_protos([tmp_path / name], [tmp_path]).file}
    (own,) = (file for file in files.file if file.name == name)
    for file in (own, compiled[name]):
        file.ClearField("source_code_info")
    assert compiled[name] == own

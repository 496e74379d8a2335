"""Generated services: their documents are valid, and what a codec writes is what the document says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from protogw.descriptors.about import About, Document
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.changes import breaking
from protogw.descriptors.from_proto import load_descriptor_set
from protogw.descriptors.json_schema import JsonSchemas, references
from protogw.descriptors.to_asyncapi import Channel, Manner, asyncapi
from protogw.frontends.base import Bounds
from protogw.frontends.rest import Rest, RestSettings
from protogw.wire.path_template import parse
from protogw.wire.protojson import JsonOptions
from tests.fuzz.test_protojson_oracle import fill, schemas
from tests.support.oracle import Oracle

OPTIONS = st.builds(
    JsonOptions,
    names=st.sampled_from(["json", "proto"]),
    enums=st.sampled_from(["name", "number"]),
    emit_defaults=st.booleans(),
)
TEMPLATES = st.sampled_from(
    [
        "/a",
        "/a/{FIELD}",
        "/a/{FIELD=b/*}",
        "/a/{FIELD=b/*/c/*}:do",
        "/a/{FIELD=**}",
        "/{FIELD}/*/**",
        "/ä b%7B/{FIELD=*}/x",
        "/",
    ]
)

slow = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@settings(slow, max_examples=60)
@given(st.data(), schemas(), OPTIONS)
def test_what_is_written_is_what_the_schema_says(
    data: st.DataObject, descriptor_set: bytes, options: JsonOptions
) -> None:
    schema = load_descriptor_set(descriptor_set, options)
    described = JsonSchemas(schema, options)
    reference = described.message(schema.types["t.M"])
    validator = Draft202012Validator({"components": {"schemas": described.finished()[0]}, **reference})
    message = Oracle(schema.descriptor_set).type("t.M")()
    data.draw(filled(message))
    validator.validate(json.loads(schema.types["t.M"].codec.to_json(message.SerializeToString())))


@st.composite
def filled(draw: st.DrawFn, message: Any) -> None:
    fill(draw, message, 2)


@st.composite
def services(draw: st.DrawFn) -> bytes:
    """A descriptor set with a service of up to five methods, each with up to three bindings, right or wrong."""
    files = descriptor_pb2.FileDescriptorSet.FromString(draw(schemas()))
    (file,) = files.file
    file.dependency.append("google/api/annotations.proto")
    fields = [field.name for field in file.message_type[0].field]
    service = file.service.add(name="S")
    for index in range(draw(st.integers(1, 5))):
        method = service.method.add(
            name=f"Do{index}",
            input_type=".t.M",
            output_type=draw(st.sampled_from([".t.M", ".google.protobuf.Empty", ".google.protobuf.Value"])),
            client_streaming=draw(st.booleans()),
            server_streaming=draw(st.booleans()),
        )
        rules = [_rule(draw, fields) for _ in range(draw(st.integers(0, 3)))]
        if rules:
            rules[0].additional_bindings.extend(rules[1:])
            method.options.Extensions[annotations_pb2.http].CopyFrom(rules[0])
    return files.SerializeToString()


def _rule(draw: st.DrawFn, fields: list[str]) -> Any:
    rule = annotations_pb2.http.message_type._concrete_class()
    template = draw(TEMPLATES).replace("FIELD", draw(st.sampled_from(fields)))
    verb = draw(st.sampled_from(["get", "put", "post", "delete", "patch", "*", "HEAD", "PURGE"]))
    if verb in ("get", "put", "post", "delete", "patch"):
        setattr(rule, verb, template)
    else:
        rule.custom.kind, rule.custom.path = verb, template
    rule.body = draw(st.sampled_from(["", "", "*", *fields]))
    rule.response_body = draw(st.sampled_from(["", "", *fields]))
    return rule


def openapi(catalog: Catalog, options: JsonOptions) -> tuple[Rest, Document]:
    front_end = Rest(RestSettings(), Bounds())
    front_end.offer(catalog)
    about = About(title="S", version="1", json={"t.S": options}, services=frozenset(["t.S"]))
    return front_end, front_end.document(about)


def examples(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every media type's schema with its example."""
    if isinstance(document, dict):
        if "example" in document and "schema" in document:
            yield document["schema"], document["example"]
        for value in document.values():
            yield from examples(value)


@slow
@given(services(), OPTIONS)
def test_any_services_openapi_is_valid_and_its_examples_fit(descriptor_set: bytes, options: JsonOptions) -> None:
    catalog = Catalog.merge([load_descriptor_set(descriptor_set, options)])
    front_end, document = openapi(catalog, options)
    content = document.content
    assert not isinstance(content, str)
    validate(content)
    operations = sum(len(item) for item in content["paths"].values())
    bindings = sum(len(method.http) or 1 for method in catalog.methods.values())
    assert operations + len(document.omitted) + len(front_end.faults) == bindings
    for schema, example in examples(content["paths"]):
        Draft202012Validator({"components": content["components"], **schema}).validate(example)


@slow
@given(services(), OPTIONS)
def test_any_services_asyncapi_refers_to_what_is_there(descriptor_set: bytes, options: JsonOptions) -> None:
    catalog = Catalog.merge([load_descriptor_set(descriptor_set, options)])
    channels = [
        Channel(method=method, template=parse(method.path.decode()), streams=method.client_streaming)
        for method in catalog.methods.values()
    ]
    about = About(title="S", version="1", json={"t.S": options}, services=frozenset(["t.S"]))
    content = asyncapi(catalog, channels, Manner(), about).content
    for target in references(content):
        at: Any = content
        for step in target.removeprefix("#/").split("/"):
            at = at[step.replace("~1", "/").replace("~0", "~")]


@slow
@given(services())
def test_nothing_breaks_when_nothing_changes(descriptor_set: bytes) -> None:
    one, other = (Catalog.merge([load_descriptor_set(descriptor_set)]) for _ in range(2))
    assert breaking(one, other) == []

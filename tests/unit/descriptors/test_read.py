"""Which reader a schema document is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from protogw.descriptors import read as reading
from protogw.descriptors.model import SchemaError
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.read import language_of, read
from protogw.wire.protojson import DEFAULT


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def fault(*paths: Path) -> str:
    with pytest.raises(SchemaError) as raised:
        read(paths, upstream="shop", numbers=Numbers(), options=DEFAULT)
    return raised.value.faults[0]


@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("a.json", '{"info": {}, "openapi": "3.0.0"}', "OpenAPI"),
        ("a.yaml", "info: {}\nopenapi: 3.1.0\n", "OpenAPI"),
        ("a.yml", '"openapi": "3.1.0"\n', "OpenAPI"),
        ("a.yaml", '{"openapi": "3.0.0"}', "OpenAPI"),
        ("a.json", '{"swagger": "2.0"}', "Swagger 2.0"),
        ("a.yaml", "asyncapi: 3.0.0\n", "AsyncAPI"),
        ("a.json", '{"__schema": {}}', "GraphQL"),
        ("a.json", '{"data": {"__schema": {}}}', "GraphQL"),
        ("a.graphql", "type Query { a: Int }", "GraphQL"),
        ("a.GQL", "type Query { a: Int }", "GraphQL"),
    ],
)
def test_a_document_says_what_it_is(tmp_path: Path, name: str, text: str, language: str) -> None:
    assert language_of(written(tmp_path, name, text)) == language


def test_what_is_no_schema_is_a_fault(tmp_path: Path) -> None:
    assert "is no schema" in fault(written(tmp_path, "a.yaml", "paths:\n  openapi: 3\n"))
    assert "is no schema" in fault(written(tmp_path, "b.json", '{"data": {"openapi": "3.0.0"}}'))
    assert fault(written(tmp_path, "c.json", '{\n"openapi": \n}')).startswith(f"{tmp_path}/c.json:3: is not JSON")
    assert fault(tmp_path / "nosuch.json").endswith("nosuch.json: cannot be read: No such file or directory")


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 10)
    assert fault(written(tmp_path, "a.yaml", "openapi: 3.1.0\n")).endswith("larger than 10 bytes")


def test_a_language_that_is_not_read_is_named_with_what_helps(tmp_path: Path) -> None:
    said = fault(written(tmp_path, "a.json", '{"swagger": "2.0"}'))
    assert said.endswith(
        "is Swagger 2.0, which this version does not read: convert it to OpenAPI 3, for example with swagger2openapi"
    )


def test_languages_are_not_mixed(tmp_path: Path) -> None:
    one = written(tmp_path, "a.yaml", "openapi: 3.1.0\n")
    other = written(tmp_path, "b.yaml", "asyncapi: 3.0.0\n")
    proto = written(tmp_path, "c.proto", 'syntax = "proto3";')
    assert fault(one, other) == f"{other}: is AsyncAPI, and {one} is OpenAPI: write one language"
    assert "cannot be mixed with protos" in fault(proto, one)

"""OpenAPI documents that tests write, and the schemas that are read from them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from protogw.descriptors.from_openapi import load
from protogw.descriptors.model import Method, Schema
from protogw.descriptors.numbers import Numbers


def document(paths: dict[str, Any], schemas: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "info": {}, "paths": paths, "components": {"schemas": schemas or {}}, **more}


def schema_of(tree: dict[str, Any], numbers: Numbers | None = None) -> Schema:
    """The schema of a document; the upstream is called shop."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "openapi.json")
        path.write_text(json.dumps(tree, indent=1))
        return load([path], upstream="shop", numbers=numbers or Numbers())


def operation(operation: dict[str, Any], path: str = "/do", verb: str = "post", **more: Any) -> Method:
    """The one method of a document with one operation."""
    schema = schema_of(document({path: {verb: {"operationId": "do", **operation}}}, **more))
    return schema.services["shop.Shop"].methods["Do"]


def body(schema: Any, schemas: dict[str, Any] | None = None, **more: Any) -> Method:
    """A method whose body and reply are of this JSON Schema."""
    content = {"content": {"application/json": {"schema": schema}}}
    tree = document(
        {"/do": {"post": {"operationId": "do", "requestBody": content, "responses": {"200": content}}}}, schemas, **more
    )
    return schema_of(tree).services["shop.Shop"].methods["Do"]

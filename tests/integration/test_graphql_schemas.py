"""GraphQL schemas of public services, as packages ship them: each becomes methods whose documents the schema itself
accepts, or its fault is named."""

from __future__ import annotations

import json
import random
from pathlib import Path

import graphql
import pytest
from protogw_translators.to_graphql_document import MAX_FIELDS, document

from protogw.descriptors.from_graphql import load
from protogw.descriptors.graphql_binding import GraphqlBinding
from protogw.descriptors.model import Schema, SchemaError
from protogw.descriptors.numbers import Numbers
from tests.support.processes import NODE, missing, require_node

SCHEMAS = {
    "dialogporten": ("@digdir/dialogporten-schema/schema.verified.graphql", 5),
    "pokemon": ("@favware/graphql-pokemon/graphql/*.graphql", 15),
    "relay": ("relay-test-utils-internal/lib/testschema.graphql", 42),
    "nautical": ("@nautical-commerce/graphql-schema/nautical/schema.graphql", 575),
    "github": ("@octokit/graphql-schema/schema.json", 272),
}
"""By name: the files, and how many root fields they have."""
SAMPLE = 15


def files(pattern: str) -> list[Path]:
    require_node()
    found = sorted((NODE / "node_modules").glob(pattern))
    if not found:
        missing(f"{pattern} is not installed (npm install --prefix tests/integration/node)")
    return found


def own(paths: list[Path]) -> graphql.GraphQLSchema:
    """The schema as GraphQL's reference implementation has it."""
    if paths[0].suffix == ".json":
        tree = json.loads(paths[0].read_text())
        return graphql.build_client_schema(tree.get("data", tree), assume_valid=True)
    return graphql.build_schema("\n".join(path.read_text() for path in paths), assume_valid=True)


def methods_of(schema: Schema, name: str) -> list[tuple[str, GraphqlBinding]]:
    (service,) = schema.services.values()
    assert service.name.startswith(f"{name}.")
    made = [(method.name, method.binding) for method in service.methods.values()]
    return [(method, binding) for method, binding in made if isinstance(binding, GraphqlBinding)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_public_schema_becomes_methods_whose_documents_it_accepts(name: str) -> None:
    pattern, count = SCHEMAS[name]
    paths = files(pattern)
    methods = methods_of(load(paths, upstream=name, numbers=Numbers()), name)
    assert len(methods) == count
    # The reference implementation takes half a minute to read the largest of them from SDL.
    reference = own(paths) if name != "nautical" else None
    for method, binding in random.Random(1).sample(methods, min(SAMPLE, len(methods))):
        text = document(binding, method, depth=4).text
        parsed = graphql.parse(text)
        assert reference is None or graphql.validate(reference, parsed) == [], method
        assert text.count(" ") <= 3 * MAX_FIELDS


def test_a_public_schema_that_contradicts_itself_is_named_with_its_place() -> None:
    paths = files("@octokit/graphql-schema/schema.graphql")
    with pytest.raises(SchemaError) as caught:
        load(paths, upstream="github", numbers=Numbers())
    assert len(caught.value.faults) == 2
    for fault in caught.value.faults:
        place, _, message = fault.partition(": ")
        line = int(place.removeprefix(f"{paths[0]}:").partition(":")[0])
        assert message == f"EnterpriseOwnerInfo.{message.split('.')[1].split()[0]} is defined twice"
        assert (
            message.split(".")[1].split()[0] in paths[0].read_text().splitlines()[line - 1 + _doc_lines(paths[0], line)]
        )


def _doc_lines(path: Path, line: int) -> int:
    """Lines of the description that a definition begins with."""
    lines = path.read_text().splitlines()
    if lines[line - 1].strip() != '"""':
        return 0
    return next(n for n in range(1, 50) if lines[line - 1 + n].strip() == '"""') + 1


@pytest.mark.parametrize("name", ["relay", "dialogporten"])
def test_numbers_of_a_public_schema_are_stable(name: str) -> None:
    paths = files(SCHEMAS[name][0])
    numbers = Numbers()
    first = load(paths, upstream=name, numbers=numbers)
    assert load(paths, upstream=name, numbers=numbers).digest == first.digest

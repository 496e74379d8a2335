"""Documents that are made to cost much: refused before any call, and quickly."""

from __future__ import annotations

import time
from typing import Any

import pytest
from graphql import get_introspection_query

from protogw.expressions import Expression
from tests.support import hello
from tests.support.graphql import Service, codes, front, run


def bomb(levels: int, body: str) -> str:
    """A document that expands to 2^levels times `body`."""
    fragments = (f"fragment f{one} on Thing {{ ...f{one + 1} ...f{one + 1} }}" for one in range(levels))
    return f"{{ getThing {{ ...f0 }} }} {' '.join(fragments)} fragment f{levels} on Thing {{ {body} }}"


HOSTILE = {
    "a depth of 10,000": ("{ getThing " + "{ inner " * 10_000 + "{ id }" + " }" * 10_000 + " }", "MAX_TOKENS_LIMIT"),
    "a depth that only recursion sees": ("{ getThing { " + "inner {" * 240 + "id" + "}" * 242, "MAX_DEPTH_LIMIT"),
    "10,000 aliases": ("{ " + " ".join(f"a{one}: hello" for one in range(10_000)) + " }", "MAX_TOKENS_LIMIT"),
    "more aliases than allowed": ("{ " + " ".join(f"a{one}: hello" for one in range(16)) + " }", "MAX_ALIASES_LIMIT"),
    "more fields than allowed": ("{ " + "hello " * 11 + "}", "MAX_ROOT_FIELDS_LIMIT"),
    "10,000 directives": ("{ hello " + "@include(if: true) " * 10_000 + "}", "MAX_TOKENS_LIMIT"),
    "more directives than allowed": ("{ hello " + "@include(if:true)" * 51 + "}", "MAX_DIRECTIVES_LIMIT"),
    "a megabyte of text": ('{ getThing(id: "' + "x" * (1 << 20) + '") { id } }', "MAX_TOKENS_LIMIT"),
    "comments without end": ("{ hello" + "#\n" * 30_000 + "}", "MAX_TOKENS_LIMIT"),
    "2^30 fields": (bomb(30, "id"), "COST_ESTIMATED_TOO_EXPENSIVE"),
    "2^30 objects": (bomb(30, "inner { id }"), "COST_ESTIMATED_TOO_EXPENSIVE"),
    "a name a thousand times": ("{ getThing { " + "id " * 900 + "} }", "COST_ESTIMATED_TOO_EXPENSIVE"),
    "names that validation would compare": (
        "{ getThing { " + ("inner { inner { " + "id " * 19 + "} } ") * 19 + "} }",
        "COST_ESTIMATED_TOO_EXPENSIVE",
    ),
    "fragments in a circle": (
        "{ getThing { ...a } } fragment a on Thing { inner { ...b } } fragment b on Thing { inner { ...a } }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "a fragment in itself": ("{ ...a } fragment a on Query { ...a }", "GRAPHQL_VALIDATION_FAILED"),
    "lists in lists": ("{ getThing(id: " + "[" * 480 + "]" * 480 + ") { id } }", "MAX_DEPTH_LIMIT"),
    "introspection in circles": (
        "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_document_is_refused_before_any_call(name: str) -> None:
    document, code = HOSTILE[name]
    graphql, service = front(), Service(GetThing=hello.Thing(), Hello=hello.StringValue())
    assert graphql.served
    started = time.process_time()
    response = await run(document, service, graphql=graphql)
    assert time.process_time() - started < 1.0
    assert code in codes(response), response
    assert not service.calls


async def test_the_usual_documents_are_within_the_limits() -> None:
    service = Service(GetThing=hello.Thing(), Hello=hello.StringValue())
    deep = "{ getThing { inner { inner { inner { inner { id } } } } } }"
    assert "errors" not in await run(deep, service)
    assert "errors" not in await run("{ " + " ".join(f"a{one}: hello" for one in range(10)) + " }", service)
    refused = await run(deep.replace("{ id }", "{ inner { id } }"), service)
    assert codes(refused) == ["MAX_DEPTH_LIMIT"]


async def test_the_usual_introspection_is_within_the_limits() -> None:
    response = await run(get_introspection_query(specified_by_url=True, input_value_deprecation=True), Service())
    assert response["data"]["__schema"]["queryType"]["name"] == "Query"


@pytest.mark.parametrize(
    ("limits", "document"),
    [
        ({"depth": 2}, "{ getThing { inner { id } } }"),
        ({"aliases": 0}, "{ a: hello }"),
        ({"root_fields": 1}, "{ hello a: hello }"),
        ({"directives": 0}, "{ hello @skip(if: false) }"),
        ({"tokens": 10}, "{ hello hello hello hello hello hello hello hello hello }"),
        ({"cost": 10}, "{ getThing { inner { inner { id } } } }"),
        ({"document": 100}, "{ hello " + " " * 100 + "}"),
    ],
)
async def test_each_limit_can_be_set(limits: dict[str, Any], document: str) -> None:
    service = Service(GetThing=hello.Thing(), Hello=hello.StringValue())
    (code,) = codes(await run(document, service, graphql=front(limits=limits)))
    assert code.startswith(("MAX_", "COST_"))
    assert "errors" not in await run(document, service)


async def test_each_call_says_what_its_field_costs() -> None:
    service = Service(GetThing=hello.Thing(), Hello=hello.StringValue())
    document = "{ getThing { id ...f } hello } fragment f on Thing { inner { id } }"
    await run(document, service)
    costs = {call.method.name: Expression("cost").value(call) for call in service.calls if call.method is not None}
    assert costs == {"GetThing": 9, "Hello": 1}


async def test_equal_fields_that_are_called_once_cost_what_both_do() -> None:
    service = Service(Hello=hello.StringValue())
    await run("{ a: hello b: hello }", service)
    assert [Expression("cost").value(call) for call in service.calls] == [2]

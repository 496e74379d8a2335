"""The GraphQL front end's raw client: unary calls as JSON over HTTP/1.1, server streams as server-sent events."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf import json_format

from tests.support import kit
from tests.support.drivers import Driver, Result, _plain
from tests.support.raw import Exchange

_SELECTED = "text number data tags seen { key value } index at"
_ARGUMENTS = {
    "text": "String",
    "number": "Int64",
    "data": "String",
    "tags": "[String!]",
    "index": "Int",
    "plan": "PlanInput",
}
ROOTS = {"Unary": "query", "Look": "query", "Absent": "query", "Down": "subscription"}


def operation(method: str, message: Any) -> dict[str, Any]:
    """A request for the method: the message's fields are variables."""
    variables = json.loads(json_format.MessageToJson(message))
    declared = ", ".join(f"${name}: {_ARGUMENTS[name]}" for name in variables)
    given = ", ".join(f"{name}: ${name}" for name in variables)
    head = f"{ROOTS.get(method, 'mutation')}{f'({declared})' if declared else ''}"
    field = f"{method[0].lower()}{method[1:]}{f'({given})' if given else ''}"
    return {"query": f"{head} {{ {field} {{ {_SELECTED} }} }}", "variables": variables}


class Graphql(Driver):
    """GraphQL over HTTP."""

    kind = "graphql"
    name = "graphql"

    def started(self, method: str, messages: Sequence[Any], *, timeout: float | None = None) -> Exchange:
        fields = [("content-type", "application/json"), ("x-call", "v"), ("x-call-bin", "AAE")]
        if timeout is not None:
            fields.append(("x-server-timeout", str(timeout)))
        if method in ("Down", "Chat"):
            fields.append(("accept", "text/event-stream"))
        return self._http1().request("POST", "/graphql", fields, json.dumps(operation(method, messages[0])).encode())

    def read(self, exchange: Exchange, result: Result) -> None:
        result.http = exchange.head()
        result.lead = _plain(exchange.headers)
        body = exchange.body()
        result.trail = _plain(exchange.trailers)
        result.code = 0
        for response in self._responses(exchange.get("content-type") or "", body):
            for value in (response.get("data") or {}).values():
                if value is not None:
                    result.messages.append(_message(value))
            for error in response.get("errors", ()):
                status = error["extensions"]["status"]
                result.code, result.message = status["code"], error["message"]
                result.details = [detail["@type"].rpartition("/")[2] for detail in status.get("details", ())]

    @staticmethod
    def _responses(kind: str, body: bytes) -> Iterator[dict[str, Any]]:
        if not kind.startswith("text/event-stream"):
            yield json.loads(body)
            return
        ended = False
        for event in body.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in event.split("\n") if ": " in line)
            if lines.get("event") == "next":
                yield json.loads(lines["data"])
            ended = ended or lines.get("event") == "complete"
        assert ended, body[-200:]


def _message(value: dict[str, Any]) -> Any:
    made = kit.Message(text=value["text"], number=int(value["number"]), data=base64.b64decode(value["data"]))
    made.tags[:] = value["tags"]
    made.index = value["index"]
    for entry in value["seen"]:
        made.seen[entry["key"]] = entry["value"]
    return made

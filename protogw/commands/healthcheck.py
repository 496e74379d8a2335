"""`protogw healthcheck`: is a running gateway ready?"""

from __future__ import annotations

import http.client
import json

from pydantic_core import PydanticCustomError

from protogw.commands.terminal import CommandFailed, say
from protogw.config.units import parse_listen_address


def healthcheck(address: str, timeout: float) -> None:
    try:
        host, port = parse_listen_address(address.removeprefix("http://").rstrip("/"))
    except PydanticCustomError as error:
        raise CommandFailed(f'"{address}" {error.message()}', code=2) from error
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(64 << 10)
    except (OSError, http.client.HTTPException) as error:
        raise CommandFailed(f"{address}: no answer: {error}") from error
    finally:
        connection.close()
    try:
        state = json.loads(body)
        waiting = ", ".join(state["waiting_for_schema"])
        draining = state["draining"]
    except (ValueError, KeyError, TypeError) as error:
        raise CommandFailed(f"{address}: the answer is not a gateway's: status {answer.status}") from error
    if answer.status != 200:
        raise CommandFailed(f"not ready: {'draining' if draining else f'waiting for the schema of {waiting}'}")
    say("ready")

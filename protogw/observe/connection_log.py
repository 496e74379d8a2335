"""The access log's line for a connection or session that was passed through, in JSON or for the eye."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from protogw.observe.access_log import timestamp

if TYPE_CHECKING:
    from protogw.passthrough.base import Carried


def json_connection(at: float, what: Carried) -> bytes:
    """The connection as one JSON object, its keys those that a request has too where they mean the same."""
    return orjson.dumps(
        {
            "time": timestamp(at),
            "client": f"{what.client}:{what.port}",
            "protocol": what.kind,
            "listener": what.listener,
            "server_name": what.server_name or None,
            "ended": what.ended,
            "duration_ms": round(what.elapsed_s * 1e3, 3),
            "bytes_in": what.bytes_in,
            "bytes_out": what.bytes_out,
            "upstream": what.upstream or None,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def console_connection(at: float, what: Carried) -> bytes:
    """The connection as one line for the eye."""
    name = f" {what.server_name}" if what.server_name else ""
    through = f" via {what.upstream}" if what.upstream else ""
    return (
        f"{timestamp(at)[11:23]} {what.ended}: {what.kind} {what.listener}{name} {what.elapsed_s * 1e3:.1f}ms "
        f"{what.bytes_in}B in {what.bytes_out}B out {what.client}:{what.port}{through}\n"
    ).encode()

"""How the admin address answers: JSON for people and programs, kept by nobody on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    body = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(
        body=body, status=status, content_type="application/json", headers={**HEADERS, **(headers or {})}
    )

"""`/analytics` on the admin address: who called what, by consumer, by method, or by GraphQL field."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic_core import PydanticCustomError

from protogw.control.answers import answer
from protogw.observe.analytics_store import By, StoreFault
from protogw.values import parse_duration

if TYPE_CHECKING:
    from protogw.observe.analytics_store import Row

Report = Callable[[By, float, int], Awaitable[Sequence["Row"]]]

MOST_ROWS = 10_000
_WAYS: dict[str, By] = {"consumer": "consumer", "method": "method", "field": "field"}


class AnalyticsViews:
    """The handler; `report` says what was counted."""

    path = "/analytics"

    def __init__(self, report: Report) -> None:
        self._report = report

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(self.path, self._show)

    async def _show(self, request: web.Request) -> web.Response:
        by = _WAYS.get(request.query.get("by", "method"))
        if by is None:
            return answer({"error": f"by: one of {', '.join(_WAYS)}"}, 400)
        since = request.query.get("since", "1h")
        try:
            since_s = parse_duration(since)
            limit = int(request.query.get("limit", "100"))
        except PydanticCustomError as error:
            return answer({"error": f'since: "{since}" {error.message()}'}, 400)
        except ValueError:
            return answer({"error": "limit: a number"}, 400)
        if not 0 < limit <= MOST_ROWS:
            return answer({"error": f"limit: from 1 to {MOST_ROWS}"}, 400)
        try:
            rows = await self._report(by, since_s, limit)
        except StoreFault as fault:
            return answer({"error": str(fault)}, 503)
        return answer({"by": by, "since": since, "rows": [asdict(row) for row in rows]})

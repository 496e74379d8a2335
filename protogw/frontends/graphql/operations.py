"""Operations under way on one connection, each under the id that its client gave it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from protogw.frontends.graphql.execute import Origin, Send
from protogw.frontends.graphql.request import Params
from protogw.frontends.graphql.served import Served

log = logging.getLogger("protogw")


class Operations:
    """Their tasks; at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    @property
    def full(self) -> bool:
        return len(self._tasks) >= self._most

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run an operation; its id is free again when it has ended."""
        task = asyncio.get_running_loop().create_task(work, name=f"operation {name[:100]}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    def cancel(self, name: str) -> None:
        """End an operation that its client has no more use for; its id is free at once."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    async def end(self) -> None:
        """End all of them, and wait for that."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a fault of the gateway's own in a GraphQL operation", exc_info=error)


async def perform(served: Served, params: Params, origin: Origin, send: Send) -> None:
    """Send what one operation of any kind comes to: one response, or those of a subscription. Raises Refused."""
    operation = origin.operation = served.operation(params)
    variables = operation.read(params.variables)
    plan = operation.plan(variables, defer=False)
    if operation.root == "subscription":
        await served.executor.stream(plan, variables, origin, send)
    else:
        response, _ = await served.executor.run(plan, variables, origin)
        await send(response)

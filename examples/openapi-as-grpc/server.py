"""A to-do list over HTTP and JSON, as thousands of services are: it knows nothing of gRPC, and nothing of the gateway.

Usage: python server.py [PORT]
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

TASKS = {1: {"id": 1, "title": "Water the plants", "state": "open", "labels": {"room": "kitchen"}, "due": None}}
CHANGED = asyncio.Condition()


async def list_tasks(request: web.Request) -> web.Response:
    wanted = request.query.getall("state", [])
    return web.json_response([task for task in TASKS.values() if not wanted or task["state"] in wanted])


async def get_task(request: web.Request) -> web.Response:
    task = TASKS.get(int(request.match_info["taskId"]))
    if task is None:
        return problem(404, "there is no such task")
    return web.json_response(task)


async def create_task(request: web.Request) -> web.Response:
    task = await request.json()
    number = max(TASKS, default=0) + 1
    TASKS[number] = {"state": "open", "labels": {}, "due": None, **task, "id": number}
    async with CHANGED:
        CHANGED.notify_all()
    return web.json_response(TASKS[number], status=201)


async def delete_task(request: web.Request) -> web.Response:
    TASKS.pop(int(request.match_info["taskId"]), None)
    return web.Response(status=204)


async def watch_tasks(request: web.Request) -> web.StreamResponse:
    """Every task that is created from now on, as server-sent events."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    known = set(TASKS)
    while True:
        for number in [number for number in TASKS if number not in known]:
            known.add(number)
            await response.write(b"data: " + web.json_response(TASKS[number]).body + b"\n\n")  # type: ignore[operator]
        async with CHANGED:
            await CHANGED.wait()


def problem(status: int, detail: str) -> web.Response:
    return web.json_response({"detail": detail}, status=status, content_type="application/problem+json")


def main(port: int = 8000) -> None:
    app = web.Application()
    app.router.add_get("/api/tasks", list_tasks)
    app.router.add_post("/api/tasks", create_task)
    app.router.add_get("/api/tasks/events", watch_tasks)
    app.router.add_get("/api/tasks/{taskId}", get_task)
    app.router.add_delete("/api/tasks/{taskId}", delete_task)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

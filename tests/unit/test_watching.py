"""Files that change: each change is noticed once, and a file that is away for a moment is not one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from protogw.watching import changes, stamp_of


async def test_each_change_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    told: list[str] = []
    known = stamp_of(path)

    async def watch() -> None:
        async for _ in changes(path, known, 0.001):
            told.append(path.read_text())

    task = asyncio.get_running_loop().create_task(watch())

    async def until(count: int) -> None:
        async with asyncio.timeout(5):
            while len(told) < count:  # noqa: ASYNC110 (a file has no event)
                await asyncio.sleep(0.001)

    newer = tmp_path / "newer"
    newer.write_text("b")
    os.replace(newer, path)
    await until(1)
    path.unlink()
    await asyncio.sleep(0.01)
    newer.write_text("cc")
    os.replace(newer, path)
    await until(2)
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told == ["b", "cc"]


def test_what_is_not_there_has_no_stamp(tmp_path: Path) -> None:
    assert stamp_of(tmp_path / "none") is None

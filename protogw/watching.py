"""Files that may change while the gateway runs: who keeps what is in one learns when to read it again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, int, int]
"""What changes with a file: when it was written, how large it is, and which file it is (a link may come to mean
another)."""


def stamp_of(path: Path) -> Stamp | None:
    """The file's stamp; None when there is none now, as between two versions of it."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


async def changes(path: Path, known: Stamp | None, every_s: float) -> AsyncIterator[None]:
    """Something for each time that the file is another than before, first than the one of the stamp `known`; looked at
    every so many seconds. Never ends by itself."""
    while True:
        await asyncio.sleep(every_s)
        found = await asyncio.to_thread(stamp_of, path)
        if found is not None and found != known:
            known = found
            yield

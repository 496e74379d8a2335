"""What raw listeners do alike, whatever they carry: how many of a source they bear, what they tell, how they end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sized
from typing import ClassVar

from protogw.net.sources import Sources
from protogw.passthrough.base import Carried, PerSource, Recorder, Sweeper, Swept

_CLOSE_S = 1.0


class Listening(ABC):
    """Base of the raw listeners."""

    kind: ClassVar[str]

    def __init__(
        self, name: str, sources: Sources, per_source: int, recorder: Recorder | None, *, underway: Sized
    ) -> None:
        """`underway` are the connections or sessions that have not ended, which the subclass keeps."""
        self.name = name
        self.sources = sources
        self.per_source = PerSource(per_source)
        self.sweeper = Sweeper()
        self._recorder = recorder
        self._underway = underway
        self._emptied = asyncio.Event()

    @abstractmethod
    def stop_accepting(self) -> None:
        """Begin nothing more; what is under way goes on."""
        ...

    @abstractmethod
    def close(self) -> None:
        """End everything now."""
        ...

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more, let what is under way end by itself for `timeout_s`, then end it."""
        self.stop_accepting()
        await self._empty(timeout_s)
        self.close()
        await self._empty(_CLOSE_S)

    async def _empty(self, timeout_s: float) -> None:
        """Until nothing is under way, but not for longer than this."""
        if not self._underway:
            return
        self._emptied.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._emptied.wait()
        except TimeoutError:
            pass

    def _over(self, one: Swept, carried: Carried, *, counted: bool) -> None:
        """One has ended, and is under way no more; `counted` says that it is among those of its source."""
        self.sweeper.discard(one)
        if counted:
            self.per_source.leave(carried.client)
        if self._recorder is not None:
            self._recorder.carried(carried)
        if not self._underway:
            self._emptied.set()

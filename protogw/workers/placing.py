"""Places across workers, over their channels: the supervisor's side, which has them, and the workers', which ask."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from protogw.stores.base import StoreError
from protogw.stores.places import Rooms
from protogw.workers.channel import Channel

TIMEOUT_S: Final = 0.5
"""How long an answer may take, beside what a call waits for a place."""
MOST_ASKED: Final = 100_000
"""Wishes of one worker that have no answer yet; those that wait for a place are among them."""


class Entering:
    """A worker's side. Without a supervisor each worker counts on with its share of every limit."""

    def __init__(self, channel: Channel, share: int) -> None:
        self._channel = channel
        self._share = share
        self._held: dict[str, int] = {}
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._last = 0
        self._gone = False

    async def enter(self, key: str, limit: int, pending: int, wait_s: float) -> bool:
        if self._gone:
            return self._alone(key, limit)
        if len(self._waiting) >= MOST_ASKED:
            raise StoreError(f"{MOST_ASKED} wishes for a place have no answer yet")
        self._last += 1
        number = self._last
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._channel.send({"enter": [number, key, limit, pending]})
        try:
            async with asyncio.timeout((wait_s if pending else 0.0) + TIMEOUT_S):
                entered: bool = await answer
        except BaseException as error:
            if answer.done() and not answer.cancelled() and answer.exception() is None and answer.result():
                self._channel.send({"leave": key})
            else:
                self._channel.send({"forgo": [number, key]})
            if not isinstance(error, TimeoutError):
                raise
            if pending:
                return False
            raise StoreError(f"no answer within {TIMEOUT_S:g} s") from error
        finally:
            self._waiting.pop(number, None)
        if self._gone:
            return self._alone(key, limit)
        if entered:
            self._held[key] = self._held.get(key, 0) + 1
        return entered

    def leave(self, key: str) -> None:
        left = self._held.pop(key, 0) - 1
        if left > 0:
            self._held[key] = left
        self._channel.send({"leave": key})

    def answered(self, message: Mapping[str, Any]) -> None:
        """An answer has come; a place that nobody waits for any more goes back."""
        number, key, entered = message["entered"]
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_result(entered)
        elif entered and (answer is None or answer.cancelled()):
            self._channel.send({"leave": key})

    def gone(self) -> None:
        """The supervisor is gone."""
        self._gone = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result(False)

    def _alone(self, key: str, limit: int) -> bool:
        held = self._held.get(key, 0)
        if held >= max(1, limit // self._share):
            return False
        self._held[key] = held + 1
        return True


class Placing:
    """The supervisor's side."""

    def __init__(self) -> None:
        self.rooms = Rooms()

    def heard(self, channel: Channel, message: Mapping[str, Any]) -> bool:
        """Do what a worker asks for, by its channel; False when it is about something else."""
        if "enter" in message:
            number, key, limit, pending = message["enter"]

            def told(entered: bool) -> None:
                channel.send({"entered": [number, key, entered]})

            self.rooms.enter(channel, number, key, limit, pending, told)
        elif "leave" in message:
            self.rooms.leave(channel, message["leave"])
        elif "forgo" in message:
            number, key = message["forgo"]
            self.rooms.forgo(channel, number, key)
        else:
            return False
        return True

    def gone(self, channel: Channel) -> None:
        """A worker has ended: its places are free."""
        self.rooms.gone(channel)

"""Counters in Redis or Valkey, which gateways share: one script for each wish, by the server's own clock."""

from __future__ import annotations

from collections.abc import Sequence

from protogw.stores.base import Algorithm, Taken, Window
from protogw.stores.places import Places
from protogw.stores.redis_places import RedisPlaces
from protogw.stores.server import Server

TIMEOUT_S = 0.25
"""How long one wish may take, connecting included: a store that is slower than this holds calls up for nothing."""

_SCRIPT = """
-- The arithmetic of stores/windows.py. KEYS: one for each window. ARGV: cost, then for each window its algorithm (b or
-- s), amount, period and burst. Times are in microseconds, which a double holds exactly.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local cost = tonumber(ARGV[1])
local found, after, admitted = {}, {}, true
for i = 1, #KEYS do
  local kind = ARGV[4 * i - 2]
  local amount, per, burst = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i]), tonumber(ARGV[4 * i + 1])
  if kind == 'b' then
    local emission = per / amount
    local tolerance = emission * burst
    local arrival = math.max(now, tonumber(redis.call('GET', KEYS[i]) or now))
    local nextarrival = arrival + emission * cost
    local late = nextarrival - tolerance - now
    if late > 0.5 then
      admitted = false
      local retry = late
      if cost > burst then retry = per end
      found[i] = {0, math.max(0, math.floor((now + tolerance - arrival) / emission + 1e-6)),
        math.ceil(arrival - now), math.ceil(retry)}
    else
      found[i] = {1, math.max(0, math.floor((now + tolerance - nextarrival) / emission + 1e-6)),
        math.ceil(nextarrival - now), 0}
    end
    after[i] = {nextarrival, math.ceil((nextarrival - now) / 1000) + 1}
  else
    local start = now - now % per
    local count, before = 0, 0
    local state = redis.call('HMGET', KEYS[i], 's', 'c', 'b')
    if state[1] then
      if tonumber(state[1]) == start then
        count, before = tonumber(state[2]), tonumber(state[3])
      elseif tonumber(state[1]) == start - per then
        before = tonumber(state[2])
      end
    end
    local used = count + before * (1 - (now - start) / per)
    local reset = start + per - now
    if used + cost > amount + 1e-9 then
      admitted = false
      local retry = reset
      local room = amount - count - cost
      if before > 0 and room >= 0 then
        retry = (1 - room / before) * per - (now - start)
      elseif count > 0 and cost <= amount then
        retry = reset + math.max(0, 1 - (amount - cost) / count) * per
      end
      found[i] = {0, math.max(0, math.floor(amount - used)), math.ceil(reset), math.max(1000, math.ceil(retry))}
    else
      found[i] = {1, math.max(0, math.floor(amount - used - cost + 1e-9)), math.ceil(reset), 0}
    end
    after[i] = {start, count + cost, before, math.ceil((start + 2 * per - now) / 1000) + 1}
  end
end
if admitted then
  for i = 1, #KEYS do
    local state = after[i]
    if #state == 2 then
      redis.call('SET', KEYS[i], string.format('%.17g', state[1]), 'PX', state[2])
    else
      redis.call('HSET', KEYS[i], 's', string.format('%.17g', state[1]), 'c', state[2], 'b', state[3])
      redis.call('PEXPIRE', KEYS[i], state[4])
    end
  end
end
return found
"""


class RedisCounters:
    """A CounterStore in a Redis or Valkey server (`redis://`, `rediss://`, `unix://`)."""

    def __init__(self, url: str, *, prefix: str = "protogw:limit:", timeout_s: float = TIMEOUT_S) -> None:
        self._server = Server(url, timeout_s)
        self._script = self._server.client.register_script(_SCRIPT)
        self._prefix = prefix
        self._places: RedisPlaces | None = None

    @property
    def places(self) -> Places | None:
        if self._places is None:
            self._places = RedisPlaces(self._server)
        return self._places

    async def take(self, key: str, cost: int, windows: Sequence[Window]) -> Sequence[Taken]:
        # One hash tag, so that a cluster keeps a key's windows together.
        keys = [f"{self._prefix}{{{key}}}:{index}:{window.per_s:g}" for index, window in enumerate(windows)]
        arguments: list[str | int] = [cost]
        for window in windows:
            kind = "b" if window.algorithm is Algorithm.TOKEN_BUCKET else "s"
            arguments += [kind, window.amount, round(window.per_s * 1e6), window.burst]
        async with self._server.asking():
            found = await self._script(keys=keys, args=arguments)
        return [Taken(bool(ok), int(left), reset / 1e6, retry / 1e6) for ok, left, reset, retry in found]

    async def close(self) -> None:
        if self._places is not None:
            await self._places.close()
        await self._server.close()

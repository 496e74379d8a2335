"""Quotas: so much a day, a week or a month for each consumer, by the plan that it is on; kept across restarts.

A quota is bookkeeping over long periods and no protection from bursts, which is `rate_limit`'s.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Reply
from protogw.counting import Count
from protogw.errors import Forbidden, LimitReached, Overloaded
from protogw.expressions import ExpressionError, ExpressionText, of_head, parse_expression
from protogw.paths import parse_path
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.costs import MOST_COST, cost_of
from protogw.policies.left import left, tell
from protogw.policies.seldom import Seldom
from protogw.stores.base import StoreError
from protogw.stores.quotas import QuotaStore, Spent, opened
from protogw.values import refuse

MOST_SHOWN = 10_000
"""Consumers whose use the admin address shows: those seen last."""
_ALLOWANCE = re.compile(r"([0-9]{1,15})\s?/\s?(hour|day|week|month)")
_ROLLING = {"hour": 3600.0, "day": 86400.0, "week": 604800.0, "month": 2592000.0}


class Allowance(NamedTuple):
    """So much in each period."""

    amount: int
    period: str


def parse_allowance(value: object) -> Allowance:
    """`1000/day`, `100000/month`."""
    if isinstance(value, Allowance):
        return value
    match = _ALLOWANCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        refuse("is not a quota: write 1000/day; there are hour, day, week and month")
    return Allowance(int(match[1]), match[2])


def parse_zone(value: object) -> ZoneInfo:
    """A zone of the tz database, `Europe/Berlin`."""
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(str(value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        refuse("is not a time zone: write UTC or Europe/Berlin")


def parse_store(value: object) -> str:
    """The URL of a server, or the path of a file in a folder that there is."""
    if (isinstance(value, str) and value.startswith(("redis://", "rediss://", "unix://"))) or value == ":memory:":
        return str(value)
    path = parse_path(value)
    if path.is_dir() or not path.parent.is_dir():
        refuse("is not where a file can be: its folder must be there")
    return str(path)


AllowanceText = Annotated[
    Allowance, PlainValidator(parse_allowance), WithJsonSchema({"type": "string", "examples": ["1000/day"]})
]


class QuotaSettings(PolicySettings):
    """How much each consumer has, in which period, and where that is kept."""

    limit: AllowanceText | None = None
    """So much in each period, `1000/day`, for everybody; or `plans`."""
    plans: Mapping[str, AllowanceText] = {}
    """So much for those on each plan, by the plan's name; the first that a consumer is on counts."""
    plan: ExpressionText | None = None
    """Which plans a caller is on: a name, or a list of them. Default: `identity.groups`."""
    default: str | None = None
    """The plan of those who are on none. Without it they are refused."""
    by: ExpressionText | None = None
    """Whose quota it is. Default: `identity.consumer`."""
    store: Annotated[str, PlainValidator(parse_store), WithJsonSchema({"type": "string"})]
    """Where it is kept: a file (`quotas.sqlite`) for this node, which its workers share; `redis://host:6379/0` for all
    gateways; `:memory:` for this process until it ends."""
    cost: Annotated[int, Field(ge=1, le=MOST_COST)] | ExpressionText = 1
    """What a call counts for: a number, or an expression that is one."""
    period: Literal["calendar", "rolling"] = "calendar"
    """`calendar` begins anew with each hour, day, week (on Monday) or month of the time zone; `rolling` looks back from
    each call, and a month is thirty days."""
    timezone: Annotated[ZoneInfo, PlainValidator(parse_zone), WithJsonSchema({"type": "string"})] = ZoneInfo("UTC")
    """Where days begin at midnight: `Europe/Berlin`."""
    on_error: Literal["open", "closed"] = "closed"
    """What becomes of calls while the store cannot be asked: let through (and logged), or refused as UNAVAILABLE."""
    headers: bool = True
    """Tell clients what is left: `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.limit is None) == (not self.plans):
            raise PydanticCustomError("quota", "{reason}", {"reason": "needs either limit or plans"})
        if self.default is not None and self.default not in self.plans:
            raise PydanticCustomError("quota", "{reason}", {"reason": "default names none of its plans"})
        return self


class Quota:
    """Lets each consumer make so many calls a day, week or month, by its plan."""

    kind: ClassVar[str] = "quota"
    Settings: ClassVar[type[PolicySettings]] = QuotaSettings

    def __init__(self, settings: QuotaSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._by = settings.by or parse_expression("identity.consumer")
        self._plan = settings.plan or parse_expression("identity.groups")
        self._cost = settings.cost
        self._open = settings.on_error == "open"
        self._rolling = settings.period == "rolling"
        self._name = "quota"
        self._store: QuotaStore = opened(settings.store)
        self._periods: dict[str, tuple[float, float, float]] = {}
        """The current period of each length: when it began, when it ends, and when the one before began."""
        self._shown: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._telling = Seldom()
        self.failures = 0
        """Uses that the store did not answer."""
        self._allowed, self._refused, self._unasked = Count(), Count(), Count()

    def equip(self, tools: Tools) -> None:
        self._name = tools.name
        name, what = "quota_decisions", "Calls that a quota judged."
        self._allowed = tools.count(name, what, outcome="allowed")
        self._refused = tools.count(name, what, outcome="refused")
        self._unasked = tools.count(name, what, outcome="unasked_open" if self._open else "unasked_closed")

    async def run(self) -> None:
        """Hold the store until cancelled."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._store.close()

    @property
    def of_head(self) -> bool:
        return of_head(self._by, self._plan, self._cost)

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        plan, allowance = self._allowance(call)
        who = self._by.key(call)
        cost = self._cost if isinstance(self._cost, int) else cost_of(self._cost, call)
        now = self._clock()
        began, ends, before = self._period(allowance.period, now)
        # A plan that is changed within the period goes on from what is used: the plan is no part of the key.
        tag = f"{self._name} {who} {allowance.period}"
        share = 1.0 - (now - began) / (ends - began) if self._rolling else 0.0
        until = ends + (ends - began if self._rolling else 0.0)
        try:
            spent = await self._store.spend(
                f"{tag} {int(began)}", f"{tag} {int(before)}", share, cost, allowance.amount, until
            )
        except StoreError as error:
            self.failures += 1
            self._unasked.value += 1
            self._telling.unasked(self._name, "the store cannot be asked", error, let_through=self._open)
            if not self._open:
                raise Overloaded("the quota cannot be looked up") from error
            return await forward(call)
        remaining = max(0, int(allowance.amount - spent.used))
        self._show(who, plan, allowance, spent.used, ends)
        notes = left(allowance.amount, remaining, until - now) if self._settings.headers else None
        if not spent.allowed:
            self._refused.value += 1
            call.notes = notes  # what another limit leaves is not what counts
            wait_s = (
                _rolled_s(spent, allowance.amount - cost, ends - now, ends - began) if self._rolling else ends - now
            )
            raise LimitReached(f"the quota of {self._name} is used up", max(1.0, wait_s))
        self._allowed.value += 1
        if notes is not None:
            tell(call, notes)
        return await forward(call)

    def _allowance(self, call: Call) -> tuple[str, Allowance]:
        settings = self._settings
        if settings.limit is not None:
            return "", settings.limit
        try:
            found = self._plan.value(call)
        except ExpressionError:
            found = ()
        on = {found} if isinstance(found, str) else set(found) if isinstance(found, (list, tuple)) else set()
        for plan, allowance in settings.plans.items():
            if plan in on:
                return plan, allowance
        if settings.default is None:
            raise Forbidden("the caller is on no plan")
        return settings.default, settings.plans[settings.default]

    def _period(self, period: str, now: float) -> tuple[float, float, float]:
        known = self._periods.get(period)
        if known is not None and known[0] <= now < known[1]:
            return known
        if self._rolling:
            length = _ROLLING[period]
            began = now - now % length
            found = began, began + length, began - length
        else:
            found = calendar(period, now, self._settings.timezone)
        self._periods[period] = found
        return found

    def _show(self, who: str, plan: str, allowance: Allowance, used: float, ends: float) -> None:
        shown = self._shown
        shown[who] = {
            "plan": plan,
            "used": int(used),
            "limit": allowance.amount,
            "period": allowance.period,
            "ends_at": ends,
        }
        shown.move_to_end(who)
        if len(shown) > MOST_SHOWN:
            shown.popitem(last=False)

    def shown(self) -> Mapping[str, Any]:
        """What the admin address shows: the use of those who called last, as far as this process knows."""
        now = self._clock()
        return {
            "failures": self.failures,
            "consumers": {who: one for who, one in self._shown.items() if one["ends_at"] > now},
        }


def _rolled_s(spent: Spent, room: int, ends_s: float, length_s: float) -> float:
    """After how long there will be room for a use that was refused, if nothing else is used until then.

    `room` is how much may be used beside it, `ends_s` when the current period ends. What the period before has left
    counts for less and less until then, and what the current one has from then on.
    """
    if room < 0:
        return ends_s + length_s  # more than there ever is
    if room >= spent.current:
        return ends_s * (1.0 - (room - spent.current) / (spent.used - spent.current))
    return ends_s + length_s * (1.0 - room / spent.current)


def calendar(period: str, now: float, zone: ZoneInfo) -> tuple[float, float, float]:
    """When the period began that `now` is in, when it ends, and when the one before it began: Unix times.

    A day with a change of the clocks has 23 or 25 hours, and the month that it is in its own length.
    """
    here = datetime.fromtimestamp(now, zone)
    if period == "hour":
        # Counted in real time: an hour that the clocks repeat is two.
        began_at = now - (here.minute * 60 + here.second + here.microsecond / 1e6)
        return began_at, began_at + 3600.0, began_at - 3600.0
    began = here.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "day":
        ends, before = began + timedelta(days=1), began - timedelta(days=1)
    elif period == "week":
        began -= timedelta(days=began.weekday())
        ends, before = began + timedelta(days=7), began - timedelta(days=7)
    else:
        began = began.replace(day=1)
        ends = (began + timedelta(days=32)).replace(day=1)
        before = (began - timedelta(days=1)).replace(day=1)
    return began.timestamp(), ends.timestamp(), before.timestamp()

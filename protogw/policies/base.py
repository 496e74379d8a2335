"""What a policy is, and how policies are folded into one chain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from pathlib import Path
    from ssl import SSLContext

    from protogw.call import Call, Reply
    from protogw.consumers import Consumers
    from protogw.counting import Count
    from protogw.descriptors.model import Method, Spelling
    from protogw.fetching import Fetcher
    from protogw.stores.base import CounterStore
    from protogw.stores.entries import CacheStore, Wanted
    from protogw.wire.http import Header, RequestHead

Handler: TypeAlias = "Callable[[Call], Awaitable[Reply]]"


class PolicySettings(BaseModel):
    """A policy's own settings, written under its kind; each policy subclasses this."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@runtime_checkable
class Policy(Protocol):
    """One step around a call. Constructed with its `Settings`."""

    kind: ClassVar[str]
    Settings: ClassVar[type[PolicySettings]]

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        """Pass the call on with `forward`, at most once, or refuse it by raising GatewayError.

        Only a policy whose very purpose it is (retries, hedging) forwards more than once.
        """
        ...


class Folding(ABC):
    """A policy that makes its own link of each chain, so that what its settings decide is decided once."""

    def __call__(self, call: Call, forward: Handler) -> Awaitable[Reply]:
        return self.around(forward)(call)

    @abstractmethod
    def around(self, forward: Handler) -> Handler:
        """What carries calls through this policy and then on with `forward`; asked for after `equip`."""


class Tools(Protocol):
    """What a policy may use that outlives a call; each policy is handed its own."""

    @property
    def name(self) -> str:
        """The policy's name in the config."""
        ...

    @property
    def fetcher(self) -> Fetcher:
        """What asks other servers over HTTP."""
        ...

    @property
    def consumers(self) -> Consumers | None:
        """The callers that the config knows by name; None when it knows none."""
        ...

    def spelling(self, front_end: str) -> Spelling:
        """What the clients of the front end of this kind call fields, where their messages are not JSON."""
        ...

    def changed(self) -> None:
        """What the policy lacks to work (`Lacking`) has come, or is gone."""
        ...

    def counters(self, url: str) -> CounterStore:
        """The counters at this URL, or of this node for an empty one; one store for all who name the same."""
        ...

    def cache(self, url: str, *, most_bytes: int, most_entry: int) -> CacheStore:
        """This policy's cache at this URL, or for an empty one in this node's memory, up to `most_bytes`."""
        ...

    def policy(self, name: str) -> object:
        """Another policy of the config, perhaps not equipped yet; raises ValueError naming those that there are."""
        ...

    def upstream(self, name: str) -> Target:
        """The pool of one of the config's upstreams; raises ValueError naming those that there are."""
        ...

    def count(self, name: str, what: str, **labels: str) -> Count:
        """A number that only grows: the metric `protogw_NAME_total`, with the policy's name as label `policy` beside
        these. Bind it once for each set of labels and add to it per call; `what` says in a sentence what is counted."""
        ...

    def counts(self, name: str, what: str, *labels: str) -> Callable[..., Count]:
        """The same where label values come with calls and are few: what is returned gives the count of such values."""
        ...

    def gauge(self, name: str, what: str, read: Callable[[], float], **labels: str) -> None:
        """A number that goes up and down, read whenever the metrics are: `protogw_NAME`."""
        ...

    def pool(
        self, kind: str, addresses: Sequence[tuple[str, int]], *, tls: bool = False, ca: Path | None = None
    ) -> Target:
        """A pool of the policy's own to equal addresses that speak `kind`; nothing of it is offered to clients."""
        ...

    def tls(self, ca: Path) -> SSLContext:
        """For the fetcher: servers are verified against these authorities."""
        ...


class Target(Protocol):
    """Where calls go: a pool, or the gateway's own services."""

    name: str
    kind: str

    async def send(self, call: Call) -> Reply:
        """Carry one call; raises GatewayError."""
        ...


@runtime_checkable
class Reachable(Protocol):
    """A target that knows whether calls would come anywhere."""

    @property
    def reachable(self) -> bool:
        """At least one of its endpoints is not known to be down."""
        ...


@runtime_checkable
class Equipped(Protocol):
    """A policy that needs tools; asked for once, at assembly."""

    def equip(self, tools: Tools) -> None:
        """Take the tools; called once, before any call. Raises ValueError when the settings do not fit them."""
        ...


@runtime_checkable
class OfHead(Protocol):
    """A policy that may do without a call's one message."""

    @property
    def of_head(self) -> bool:
        """It never looks at it, or asks for it itself, so a client that holds it back is not asked for it before. Asked
        for each route once, after `equip`."""
        ...


@runtime_checkable
class Fitted(Protocol):
    """A policy whose settings name methods or their fields."""

    def fit(self, methods: Sequence[Method], complete: bool) -> list[str]:
        """Be used around exactly these methods from now on; what of the settings does not fit them, each beginning with
        its key. Told whenever what is offered changes; not `complete` while some service has not described itself."""
        ...


@runtime_checkable
class Withholding(Protocol):
    """A policy that may take fields out of replies (Reply.withheld)."""

    def withholds(self, method: Method) -> frozenset[str]:
        """The fields that some callers of the method get replies without, each as `package.Type/field`."""
        ...


@runtime_checkable
class Purged(Protocol):
    """A policy that keeps what it was answered."""

    async def purge(self, wanted: Wanted) -> int:
        """Forget what is meant, and say how many those were; raises StoreError."""
        ...

    def describe(self) -> dict[str, object]:
        """How it stands, for operators."""
        ...


@runtime_checkable
class ReadsQuery(Protocol):
    """A policy that finds something in the query which is no field of a message; asked for once, at assembly."""

    @property
    def query_names(self) -> frozenset[bytes]:
        """The parameters that are its business."""
        ...


@runtime_checkable
class ReadsHeaders(Protocol):
    """A policy that finds credentials in header fields, which therefore no policy may write; asked for once, at
    assembly."""

    @property
    def credential_headers(self) -> frozenset[bytes]:
        """The names of these fields, in lower case."""
        ...


@runtime_checkable
class WritesHeaders(Protocol):
    """A policy that tells services who calls, in fields that are taken out of what any client sends; asked for once, at
    assembly."""

    @property
    def written_headers(self) -> frozenset[bytes]:
        """The names of these fields, in lower case."""
        ...


@runtime_checkable
class Started(Protocol):
    """A policy with work in the background; asked for once, at assembly."""

    async def run(self) -> None:
        """Do that work, from the gateway's start until cancelled at its end."""
        ...


@runtime_checkable
class Lacking(Protocol):
    """A policy that may have to wait for what it works with, and refuses calls until then; readiness asks it."""

    @property
    def lacks(self) -> str | None:
        """What it waits for; None when it can work."""
        ...


@runtime_checkable
class Shown(Protocol):
    """A policy that has something to show on the admin address; asked for once, at assembly."""

    def shown(self) -> Mapping[str, object]:
        """What it is now, without any secret."""
        ...


@runtime_checkable
class OriginPolicy(Protocol):
    """A policy that speaks to browsers about whole requests, before they are calls, and so for a whole listener."""

    kind: ClassVar[str]

    def grant(self, head: RequestHead, origin: bytes) -> tuple[Header, ...]:
        """The fields that every answer to this request carries."""
        ...

    def preflight(self, head: RequestHead, origin: bytes) -> tuple[Header, ...] | None:
        """The answer's fields when the request is a preflight, else None."""
        ...


def chain(policies: Sequence[Policy], innermost: Handler) -> Handler:
    """Fold the policies around `innermost`; the first listed is the outermost. Done once, when routes are built."""
    handler = innermost
    for policy in reversed(policies):
        handler = _link(policy, handler)
    return handler


def _link(policy: Policy, forward: Handler) -> Handler:
    called: object = type(policy).__call__
    # A subclass that handles calls in its own way is called in that way.
    if isinstance(policy, Folding) and called is Folding.__call__:
        return policy.around(forward)
    step = policy.__call__

    def run(call: Call) -> Awaitable[Reply]:
        return step(call, forward)

    return run

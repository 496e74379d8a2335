"""Fields by which services are told who calls: only the gateway writes them.

What a client sends under such a name is removed from every call, whichever protocol brought it and whether or not the
route has the policy that writes it. Made at load; a gateway whose policies write none has nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from protogw.call import Metadata
from protogw.policies.base import ReadsHeaders, WritesHeaders
from protogw.values import refuse

if TYPE_CHECKING:
    from protogw.call import Call

_KEPT = 256

_TAKEN = frozenset(
    (
        b"authorization",
        b"connection",
        b"content-length",
        b"content-type",
        b"cookie",
        b"date",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"server",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Names that are the protocols' own."""


def twinless(name: bytes) -> bytes:
    """The name as those read it to whom "_" is "-", in lower case."""
    return name.lower().replace(b"_", b"-")


def _checked(value: str) -> str:
    name = twinless(value.encode("utf-8", "replace"))
    if not name.replace(b"-", b"").isalnum() or len(name) > 100:
        refuse("is not the name of a header field that a policy may write: letters, digits and - are")
    if name in _TAKEN or name.startswith((b"grpc-", b"sec-", b"proxy-", b"x-forwarded-")) or name.endswith(b"-bin"):
        refuse("is a field that means something to a protocol, and is not a policy's to write")
    return value.lower()


FieldName = Annotated[str, AfterValidator(_checked)]
"""The name of a field that a policy writes, as a setting."""


def written_by(policies: Iterable[object]) -> frozenset[bytes]:
    """What these policies write, in the one spelling that stands for all."""
    return frozenset(
        twinless(name) for policy in policies if isinstance(policy, WritesHeaders) for name in policy.written_headers
    )


def clashes(policies: Mapping[str, object]) -> list[str]:
    """What does not go together: a field that one policy writes is taken from clients, so no other finds it."""
    writers = {
        twinless(name): policy
        for policy, part in policies.items()
        if isinstance(part, WritesHeaders)
        for name in part.written_headers
    }
    return [
        f"policies.{policy}: looks for its credential in {name.decode()}, which {writers[twinless(name)]} writes: "
        "what clients send there is removed"
        for policy, part in policies.items()
        if isinstance(part, ReadsHeaders)
        for name in sorted(part.credential_headers)
        if twinless(name) in writers
    ]


class Stripped:
    """Takes such fields, under every spelling, out of calls as clients send them."""

    def __init__(self, names: frozenset[bytes]) -> None:
        self.names = names
        # By identity: equal heads share one Metadata, which is never changed, held here so that its id stays its own.
        self._memo: dict[int, tuple[Metadata, Metadata]] = {}

    def clean(self, call: Call) -> None:
        metadata = call.metadata
        known = self._memo.get(id(metadata))
        if known is None:
            kept = tuple([pair for pair in metadata.pairs if pair[0].replace(b"_", b"-") not in self.names])
            known = (metadata, metadata if len(kept) == len(metadata.pairs) else Metadata(kept))
            if len(self._memo) >= _KEPT:
                self._memo.clear()
            self._memo[id(metadata)] = known
        call.metadata = known[1]

    def __repr__(self) -> str:
        return f"<Stripped {b', '.join(sorted(self.names)).decode()}>"

"""Where a call carries a credential, how it is taken out, and that it goes no further: for policies that authenticate.

A place is written `header.NAME`, `query.NAME` or `cookie.NAME`. Two that differ in one call are no credential: whoever
reads another one than this gateway must not come to another caller.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import Annotated
from urllib.parse import unquote_to_bytes

from pydantic import AfterValidator, Field

from protogw.call import Call, Metadata
from protogw.errors import Unauthenticated
from protogw.values import LISTED, refuse
from protogw.wire.recurring import Recurring

MAX_BYTES = 16 << 10
"""The largest credential that is looked at."""

_KEPT = 256
_first = itemgetter(0)

_PLACE = re.compile(r"(header|query|cookie)\.([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100})")


def _checked(value: str) -> str:
    if _PLACE.fullmatch(value) is None:
        refuse("is not a place: write header.NAME, query.NAME or cookie.NAME")
    return value


Place = Annotated[str, AfterValidator(_checked)]
PlaceList = Annotated[tuple[Place, ...], LISTED, Field(min_length=1, max_length=8)]


class Places:
    """Where to look, in order. `scheme` is what a header's value must begin with ("Bearer"), if anything."""

    def __init__(
        self, places: tuple[str, ...], scheme: str = "", *, hide: bool = True, challenge: str = "Bearer"
    ) -> None:
        """`challenge` is what WWW-Authenticate says to calls whose credential cannot be looked at."""
        split = [place.partition(".") for place in places]
        self.header_names = frozenset(name.lower().encode() for kind, _, name in split if kind == "header")
        self._cookies = tuple(name.encode() for kind, _, name in split if kind == "cookie")
        self.query_names = frozenset(name.encode() for kind, _, name in split if kind == "query")
        self._scheme = scheme.lower().encode()
        self._hide = hide
        self._challenge = challenge
        # By identity: equal heads share one Metadata, which is never changed, held here so that its id stays its own.
        self._memo: Recurring[int, tuple[Metadata, frozenset[bytes], Metadata]] = Recurring(_KEPT)
        self._read = self.header_names | (frozenset((b"cookie",)) if self._cookies else frozenset())
        """The fields that may have credentials."""
        lone = len(self._read) == 1 and not self._scheme and not self._cookies and not self.query_names
        self._lone = next(iter(self._read)) if lone else b""
        """The only place where it may be, where that is a field which holds nothing else."""

    def take(self, call: Call) -> bytes | None:
        """The call's credential, None without any; it is taken out of what goes on where that is wanted.

        Raises Unauthenticated when there are several that differ, or it is too large.
        """
        _, found, rest = self._known(call.metadata)
        return self._taken(call, found, rest)

    def take_new(self, call: Call) -> bytes | None:
        """The same by who keeps what came of it, so that nothing need be kept here."""
        lone = self._lone
        if lone:
            # Nearly always it is one field, which holds nothing else: found without a step for each of the others.
            pairs = call.metadata.pairs
            names = list(map(_first, pairs))
            try:
                at = names.index(lone)
            except ValueError:
                return None
            value = pairs[at][1]
            if value and len(value) <= MAX_BYTES and lone not in names[at + 1 :]:
                if self._hide:
                    call.metadata = Metadata(pairs[:at] + pairs[at + 1 :])
                return value
        return self._taken(call, *self._parted(call.metadata))

    def _taken(self, call: Call, found: frozenset[bytes], rest: Metadata) -> bytes | None:
        head = call.head
        if self.query_names and head is not None and head.query:
            found = found.union([text for name, text in _parameters(head.query) if name in self.query_names])
        if not found:
            return None
        if len(found) > 1:
            raise Unauthenticated("several credentials that differ", self._challenge)
        (credential,) = found
        if len(credential) > MAX_BYTES:
            raise Unauthenticated(f"the credential is longer than {MAX_BYTES} bytes", self._challenge)
        if self._hide:
            call.metadata = rest
            if self.query_names:
                self._strip_query(call)
        return credential

    def withhold(self, call: Call) -> None:
        """Take whatever stands in these places out of what goes on, unread, where that is wanted."""
        if self._hide:
            call.metadata = self._known(call.metadata)[2]
            if self.query_names:
                self._strip_query(call)

    def _known(self, metadata: Metadata) -> tuple[Metadata, frozenset[bytes], Metadata]:
        known = self._memo.get(id(metadata))
        if known is None:
            known = (metadata, *self._parted(metadata))
            self._memo.keep(id(metadata), known)
        return known

    def _parted(self, metadata: Metadata) -> tuple[frozenset[bytes], Metadata]:
        """The credentials in the metadata, and the metadata without them."""
        read, pairs = self._read, metadata.pairs
        places = [at for at, (name, _) in enumerate(pairs) if name in read]
        found: set[bytes] = set()
        kept = list(pairs)
        for at in reversed(places):
            name, value = pairs[at]
            if name in self.header_names:
                bare = self._bare(value)
                if bare is not None:
                    found.add(bare)
                    del kept[at]
            else:
                found |= {text for cookie, text in _cookies(value) if cookie in self._cookies}
                parts = [part for part in value.split(b";") if part.partition(b"=")[0].strip() not in self._cookies]
                rest = b";".join(parts).strip()
                kept[at : at + 1] = ((name, rest),) if rest else ()
        return frozenset(found), Metadata(tuple(kept)) if found else metadata

    def _bare(self, value: bytes) -> bytes | None:
        if not self._scheme:
            return value or None
        scheme, _, rest = value.partition(b" ")
        return rest.strip() or None if scheme.lower() == self._scheme else None

    def _strip_query(self, call: Call) -> None:
        head = call.head
        if head is not None and head.query:
            attributes = call.attributes if call.attributes is not None else {}
            query: bytes = attributes.get("query", head.query)
            kept = [part for part in query.split(b"&") if _name(part) not in self.query_names]
            attributes["query"] = b"&".join(kept)
            call.attributes = attributes


def _name(part: bytes) -> bytes:
    return unquote_to_bytes(part.partition(b"=")[0].replace(b"+", b" "))


def _parameters(query: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (_name(part), unquote_to_bytes(part.partition(b"=")[2].replace(b"+", b" ")))
        for part in query.split(b"&")
        if part
    ]


def _cookies(value: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of a Cookie field (RFC 6265 section 4.2)."""
    pairs = (part.partition(b"=") for part in value.split(b";"))
    return [(name.strip(), text.strip().strip(b'"')) for name, _, text in pairs]

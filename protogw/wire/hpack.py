"""HPACK (RFC 7541): header lists to and from the bytes of HTTP/2 header blocks. Sans-I/O.

Encoding is stateless: static-table references and literals that neither side indexes, without Huffman coding. So the
block of a header list is a constant that may be kept and sent on any connection, and no client can make us spend
memory on an encoder's table. Decoding is the whole of RFC 7541, one Decoder for one connection.

A block that leaves the dynamic table as it was decodes to the same list until the table changes: Decoder keeps what
was built from such blocks (`blocks`), and callers look there first. Blocks that miss, since real clients put new
entries in the table with every new `grpc-timeout`, cost a table look-up per indexed field and one check per literal.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from hpack.table import HeaderTable

from protogw.wire.http import Header, field_bytes
from protogw.wire.huffman import HpackError, decode_ahead, decode_huffman, read_integer, strings
from protogw.wire.recurring import ByName, Recurring

T = TypeVar("T")

STATIC: tuple[Header, ...] = HeaderTable.STATIC_TABLE
"""RFC 7541 appendix A; index 1 is the first."""

SENSITIVE = frozenset((b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"x-api-key", b"api-key"))
"""Names whose values no intermediary may put in a compression table (RFC 7541 section 7.1.3)."""

_CONTROLS = bytes(range(0x09)) + bytes(range(0x0A, 0x20)) + b"\x7f"
_PRINTABLE = bytes(range(0x20, 0x7F))
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch

_CACHED_NAMES = 4096
_CACHED_LISTS = 1024
_CACHED_BYTES = 256  # no longer block is kept


class MalformedFields(Exception):
    """A field section that decodes, but which HTTP/2 forbids (RFC 9113 section 8.1.1)."""


class FieldsTooLarge(Exception):
    """A field section over the limit of bytes or of fields; the compression state is still good."""


# --- encoding ---------------------------------------------------------------------------------------------------------


def encode_integer(value: int, bits: int, first: int = 0) -> bytes:
    """An integer with a prefix of `bits` bits; `first` has the octet's other bits (RFC 7541 section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    octets = bytearray((first | most,))
    value -= most
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _static_fields() -> tuple[dict[Header, bytes], dict[bytes, int]]:
    fields: dict[Header, bytes] = {}
    names: dict[bytes, int] = {}
    for index, pair in enumerate(STATIC, 1):
        names.setdefault(pair[0], index)
        if pair[1] or not pair[0].startswith(b":"):
            fields[pair] = encode_integer(index, 7, 0x80)
    return fields, names


_STATIC_FIELDS, _STATIC_NAMES = _static_fields()
_SIZES = tuple(bytes((size,)) for size in range(0x7F))


def encode(pairs: Iterable[Header]) -> bytes:
    """The header block of `pairs`, pseudo-headers among them; raises ValueError on bytes no field may carry.

    A tuple's block is remembered when it comes again, so callers that have the same fields again and again best pass
    tuples.
    """
    if type(pairs) is tuple:
        block = _encoded_lists.get(pairs)
        if block is not None:
            return block
        block = _encode(pairs)
        if len(block) <= _CACHED_BYTES and SENSITIVE.isdisjoint([name for name, _ in pairs]):
            _encoded_lists.keep(pairs, block)
        return block
    return _encode(tuple(pairs))


def _encode(pairs: tuple[Header, ...]) -> bytes:
    parts: list[bytes] = []
    add = parts.append
    static = _STATIC_FIELDS.get
    names, sizes = _encoded_names, _SIZES
    for pair in pairs:
        field = static(pair)
        if field is not None:
            add(field)
            continue
        name, value = pair
        add(names[name])
        size = len(value)
        add(sizes[size] if size < 0x7F else encode_integer(size, 7))
        add(value)
    if not _are_plain([value for _, value in pairs]):
        for name, value in pairs:
            if not is_value(value):
                name_text = name.decode("latin-1")
                raise ValueError(f"the value of {name_text!r} has control characters or surrounding white space")
    return b"".join(parts)


def _encode_name(name: bytes) -> bytes:
    if not is_name(name):
        raise ValueError(f"{name!r} is not a field name in lower case")
    kind = 0x10 if name in SENSITIVE else 0x00
    index = _STATIC_NAMES.get(name)
    if index is not None:
        return encode_integer(index, 4, kind)
    return bytes((kind,)) + encode_integer(len(name), 7) + name


_encoded_names = ByName(_encode_name)
_encoded_lists: Recurring[tuple[Header, ...], bytes] = Recurring(_CACHED_LISTS)


def table_size_update(size: int) -> bytes:
    """What must open the first block after the peer lowered SETTINGS_HEADER_TABLE_SIZE (RFC 7541 section 6.3)."""
    return encode_integer(size, 5, 0x20)


# --- field syntax -----------------------------------------------------------------------------------------------------

PSEUDO_NAMES = frozenset((b":method", b":scheme", b":path", b":authority", b":status", b":protocol"))

_names: set[bytes] = {*PSEUDO_NAMES, *(name for name, _ in STATIC)}


def is_name(name: bytes) -> bool:
    """Whether this is a token in lower case, or the name of a pseudo-header field (RFC 9113 sections 8.2.1, 8.3)."""
    if name in _names or name in PSEUDO_NAMES:
        return True
    if _NAME(name) is None:
        return False
    if len(name) <= 64:
        if len(_names) >= _CACHED_NAMES:
            _names.clear()
        _names.add(name)
    return True


def is_value(value: bytes) -> bool:
    """Whether the value has no control characters but tabs, and no white space around it."""
    # Both calls return their argument itself, or one of equal length, when there is nothing to remove.
    return len(value.translate(None, _CONTROLS).strip(b" \t")) == len(value)


def _are_plain(values: list[bytes]) -> bool:
    """Whether all are printable ASCII without white space around: the quick answer for nearly every field section.

    All in one go, since a look at each costs more than taking it out of the block.
    """
    text = b"".join(values)
    return not text.translate(None, _PRINTABLE) and len(b"".join(map(bytes.strip, values))) == len(text)


# --- decoding ---------------------------------------------------------------------------------------------------------

_FIRST_DYNAMIC = 0x80 + 62
_KEPT_BLOCKS = 32
_KEPT_BLOCK_BYTES = 2048


class Decoder(Generic[T]):
    """One connection's decoder, which also keeps what its owner builds from the lists.

    `build` makes the owner's object out of a list whose names and values are well-formed; it may raise
    MalformedFields. Objects are shared by all equal lists while they are remembered, so they must never be changed.
    """

    __slots__ = (
        "_build",
        "_count",
        "_kept",
        "_known",
        "_octets",
        "_size",
        "_table",
        "_table_limit",
        "_table_most",
        "_tainted",
        "blocks",
    )

    def __init__(
        self, build: Callable[[list[Header]], T], *, header_bytes: int, header_count: int, table_bytes: int = 4096
    ) -> None:
        self._build = build
        self._octets = header_bytes
        self._count = header_count
        self._table: deque[Header] = deque()
        self._size = 0
        self._table_most = self._table_limit = table_bytes
        self._tainted = False
        self.blocks: dict[bytes, T] = {}
        """Blocks that decode, with the table as it is now, to the object beside them."""
        self._known: Recurring[tuple[Header, ...], T] = Recurring(_KEPT_BLOCKS)

    def decode(self, block: bytes) -> T:
        """What `build` made of the block's list; raises HpackError, MalformedFields or FieldsTooLarge.

        After the latter two the connection may go on. Call it for every block, in order, and only when `blocks`
        does not have it.
        """
        table = self._table
        changed = False
        fields: list[Header] = []
        add = fields.append
        known = strings.get
        ahead: dict[bytes, bytes] | None = None
        fault = ""
        references = 0
        position, end = 0, len(block)
        try:
            while position < end:
                start = position
                octet = block[position]
                position += 1
                if octet >= 0x80:  # an indexed field, section 6.1
                    if octet < _FIRST_DYNAMIC:
                        if octet == 0x80:
                            raise HpackError("index 0")
                        add(STATIC[octet - 0x81])
                    elif octet != 0xFF:
                        add(table[octet - _FIRST_DYNAMIC])
                        references += 1
                    else:
                        references += 1
                        index, position = read_integer(block, position, 0x7F)
                        add(table[index - 62])
                    continue
                if octet >= 0x40:  # a literal that enters the table, section 6.2.1
                    index, most = octet & 0x3F, 0x3F
                elif octet >= 0x20:  # a new size of the table, section 6.3
                    if fields:
                        raise HpackError("a size update after a field")
                    size = octet & 0x1F
                    if size == 0x1F:
                        size, position = read_integer(block, position, 0x1F)
                    if size > self._table_most:
                        raise HpackError("a table larger than allowed")
                    self._table_limit = size
                    changed = True
                    self._evict(size)
                    continue
                else:  # a literal that does not, sections 6.2.2 and 6.2.3
                    index, most = octet & 0x0F, 0x0F
                if index:
                    if index == most:
                        index, position = read_integer(block, position, most)
                    if index < 62:
                        name = STATIC[index - 1][0]
                    else:
                        name = table[index - 62][0]
                        references += 1
                else:
                    size = block[position]
                    position += 1
                    coded = size >= 0x80
                    size &= 0x7F
                    if size == 0x7F:
                        size, position = read_integer(block, position, 0x7F)
                    name = block[position : position + size]
                    position += size
                    if coded:
                        text = known(name)
                        if text is None:
                            if ahead is None:
                                ahead = decode_ahead(block, start)
                            text = ahead.get(name) or decode_huffman(name)
                        name = text
                    if name not in _names and not is_name(name):
                        fault = "a field name is not a token in lower case"
                size = block[position]
                position += 1
                coded = size >= 0x80
                size &= 0x7F
                if size == 0x7F:
                    size, position = read_integer(block, position, 0x7F)
                value = block[position : position + size]
                position += size
                if position > end:
                    raise HpackError("a string is cut short")
                if coded:
                    text = known(value)
                    if text is None:
                        if ahead is None:
                            ahead = decode_ahead(block, start)
                        text = ahead.get(value) or decode_huffman(value)
                    value = text
                pair = (name, value)
                add(pair)
                if octet >= 0x40:
                    size = len(name) + len(value) + 32
                    limit = self._table_limit
                    if size > limit:
                        # A table that holds nothing stays as it is: some encoders never refer to it, and name it still.
                        if table:
                            changed = True
                            table.clear()
                            self._size = 0
                    else:
                        changed = True
                        table.appendleft(pair)
                        self._size += size
                        if self._size > limit:
                            self._evict(limit)
                        if fault:
                            self._tainted = True
        except IndexError:
            raise HpackError("an index past the table, or a block cut short") from None
        if changed and self.blocks:
            self.blocks.clear()
        if fault:
            raise MalformedFields(fault)
        # Values are looked at here, the table's too: it may hold some that no field section may carry.
        if self._tainted or not _are_plain([value for _, value in fields]):
            self._check(fields)
        count = len(fields)
        if count > self._count:
            raise FieldsTooLarge(f"more than {self._count} fields")
        # A Huffman code has at least 5 bits, and no entry of the static table is 64 octets long.
        most = 2 * end + 96 * count + self._size * references
        if most > self._octets and field_bytes(fields) > self._octets:
            raise FieldsTooLarge(f"more than {self._octets} bytes of fields")
        key = tuple(fields)
        built = self._known.get(key)
        if built is None:
            built = self._build(fields)
            if end <= _KEPT_BLOCK_BYTES:
                self._known.keep(key, built)
        if not changed and end <= _KEPT_BLOCK_BYTES:
            if len(self.blocks) >= _KEPT_BLOCKS:
                self.blocks.clear()
            self.blocks[block] = built
        return built

    def confine(self, table_bytes: int) -> None:
        """The peer has acknowledged this SETTINGS_HEADER_TABLE_SIZE of ours, lower than before (section 4.2)."""
        self._table_most = table_bytes
        if self._table_limit > table_bytes:
            self._table_limit = table_bytes
            if self._size > table_bytes:
                self.blocks.clear()
                self._evict(table_bytes)

    def forget(self) -> None:
        """Drop what was kept to save work; for a connection that has gone quiet."""
        self.blocks.clear()
        self._known.clear()

    def _evict(self, limit: int) -> None:
        table = self._table
        while self._size > limit:
            name, value = table.pop()
            self._size -= len(name) + len(value) + 32

    def _check(self, fields: list[Header]) -> None:
        """Check fields one by one, because the table may hold names that no field section may carry."""
        for name, value in fields:
            if not is_name(name) or not is_value(value):
                raise MalformedFields("a field name or value has forbidden characters")

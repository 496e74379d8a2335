"""The Huffman code of HPACK strings (RFC 7541 section 5.2 and appendix B), and the integers before them.

Decoding octet by octet in Python costs more than all else in a header block that no cache knows. So when the first such
string is met, all that are left in its block go through the decoder of jh2, in native code and in one call. It forgives
wrong padding, which the standard does not: every result is therefore checked by counting its bits.
"""

from __future__ import annotations

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

try:
    from jh2._hazmat import Decoder as _Native
    from jh2._hazmat import HPACKError as _NativeError
except ImportError:  # no build for this platform: Python alone decodes the same, at its own pace
    _Native = None
    _NativeError = ValueError

_KEPT = 4096
_KEPT_BYTES = 20
"""Bounds of the strings remembered: their number, and the coded length over which a string is likely met just once."""

_MOST = 1 << 28  # of any integer: no limit of ours is near it
_MOST_INTEGER_OCTETS = 6


class HpackError(Exception):
    """The compression state is lost: COMPRESSION_ERROR on the connection."""


_CODES = {(REQUEST_CODES_LENGTH[symbol], REQUEST_CODES[symbol]): symbol for symbol in range(257)}
_END_OF_STRING = 256


class _State(dict[int, "tuple[_State, bytes] | None"]):
    """Where a decoder stands within a code: for each next octet, the state after it and the symbols that it ends.

    Rows are filled in as octets are met, since all 256 × 256 would take longer to make than most programs run.
    None marks an octet that no encoder can have written.
    """

    __slots__ = ("accepting", "bits", "code")

    def __init__(self, bits: int, code: int) -> None:
        super().__init__()
        self.bits = bits
        self.code = code
        # The rest must be a prefix of EOS, all ones, shorter than an octet (RFC 7541 section 5.2).
        self.accepting = bits < 8 and code == (1 << bits) - 1

    def __missing__(self, octet: int) -> tuple[_State, bytes] | None:
        bits, code = self.bits, self.code
        symbols = bytearray()
        for shift in range(7, -1, -1):
            code = code << 1 | octet >> shift & 1
            bits += 1
            symbol = _CODES.get((bits, code))
            if symbol is not None:
                if symbol == _END_OF_STRING:
                    self[octet] = None
                    return None
                symbols.append(symbol)
                bits = code = 0
            elif bits >= 30:
                self[octet] = None
                return None
        found = _states.get((bits, code))
        if found is None:
            found = _states[bits, code] = _State(bits, code)
        self[octet] = step = (found, bytes(symbols))
        return step


_ROOT = _State(0, 0)
_states: dict[tuple[int, int], _State] = {(0, 0): _ROOT}

strings: dict[bytes, bytes] = {}
"""Coded strings met before, and their text. Bounded."""


def decode_huffman(data: bytes) -> bytes:
    """The string that `data` codes; raises HpackError on wrong padding or an explicit EOS."""
    known = strings.get(data)
    if known is not None:
        return known
    state = _ROOT
    text = bytearray()
    try:
        for octet in data:
            state, symbols = state[octet]  # type: ignore[misc]
            text += symbols
    except TypeError:
        raise HpackError("a string holds a code that does not exist") from None
    if not state.accepting:
        raise HpackError("a string's padding is wrong")
    whole = bytes(text)
    _keep(data, whole)
    return whole


def _keep(data: bytes, text: bytes) -> None:
    if len(data) <= _KEPT_BYTES:
        if len(strings) >= _KEPT:
            strings.clear()
        strings[data] = text


# --- many at once, in native code -------------------------------------------------------------------------------------

_BITS = bytes(REQUEST_CODES_LENGTH[:256])
_FIELD = b"\x01"  # a literal that enters no table, its name from the static one: only its string varies
_native = _Native() if _Native is not None else None
if _native is not None:
    _native.max_header_list_size = 1 << 30  # whoever takes blocks in has bounded them


def decode_ahead(block: bytes, position: int) -> dict[bytes, bytes]:
    """The texts of the coded strings, not remembered yet, of all fields from `position` on, by their codes.

    A string that is missing from the result is decoded by itself, and may turn out to be faulty.
    """
    if _native is None:
        return {}
    coded: dict[bytes, bytes] = {}
    try:
        _collect(block, position, coded)
    except (IndexError, HpackError):
        pass  # the block is broken further on, which its own decoder will say in its turn
    found: dict[bytes, bytes] = {}
    try:
        fields = _native.decode(b"".join(coded.values()))
    except _NativeError:
        return found
    for data, (_, text, _) in zip(coded, fields, strict=True):
        # The code of a text is unique, so bits that are missing can only be padding: all ones, less than an octet.
        padding = 8 * len(data) - sum(text.translate(_BITS))
        ones = (1 << padding) - 1 if 0 <= padding < 8 else -1
        if ones >= 0 and data[-1] & ones == ones:
            found[data] = text
            _keep(data, text)
    return found


def _collect(block: bytes, position: int, coded: dict[bytes, bytes]) -> None:
    """Put every coded string from the field at `position` on, and a field that holds just it, into `coded`."""
    end = len(block)
    while position < end:
        octet = block[position]
        position += 1
        if octet >= 0x80:
            if octet == 0xFF:
                _, position = read_integer(block, position, 0x7F)
            continue
        if octet >= 0x40:
            index, most = octet & 0x3F, 0x3F
        elif octet >= 0x20:
            if octet == 0x3F:
                _, position = read_integer(block, position, 0x1F)
            continue
        else:
            index, most = octet & 0x0F, 0x0F
        if index == most:
            index, position = read_integer(block, position, most)
        for _ in range(1 if index else 2):
            start = position
            size = block[position]
            position += 1
            huffman = size >= 0x80
            size &= 0x7F
            if size == 0x7F:
                size, position = read_integer(block, position, 0x7F)
            stop = position + size
            if huffman and size and stop <= end:
                data = block[position:stop]
                if data not in strings:
                    coded[data] = _FIELD + block[start:stop]
            position = stop


def read_integer(block: bytes, position: int, value: int) -> tuple[int, int]:
    """The rest of an integer whose prefix was all ones, and where it ends (RFC 7541 section 5.1)."""
    for shift in range(0, 7 * _MOST_INTEGER_OCTETS, 7):
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            if value > _MOST:
                break
            return value, position
    raise HpackError("an integer is too large")

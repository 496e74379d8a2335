"""JSON Schema's `pattern` (ECMA-262) → RE2, which protovalidate's rules are written in and which takes linear time.

What is made means the same to every engine that evaluates such rules: what RE2 cannot say (looking around, references
back), and what engines say differently (`\\b`), is Unsayable. Read as ECMA-262 reads it with the flag `u`, but for
needless backslashes and lone braces, which are in many documents. Pure.
"""

from __future__ import annotations

import re
from typing import Final

MAX_LENGTH: Final = 2_000
MAX_REPEAT: Final = 1_000
"""RE2's own limit of a counted repetition, those within each other multiplied."""
MAX_SIZE: Final = 5_000
"""Characters and classes, each as often as it is repeated: what the compiled pattern may cost."""
_DEEPEST: Final = 50
_PROPERTY_SIZE: Final = 30
"""A class of Unicode's counts as so many: it is compiled to hundreds of ranges of bytes."""

_SPACES = r"\t\n\x0b\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}"
_CLASSES = {
    "d": "0-9",
    "w": "0-9A-Za-z_",
    "s": _SPACES,
}
_DOT = r"[^\n\r\x{2028}\x{2029}]"
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_WRITTEN = {9: r"\t", 10: r"\n", 12: r"\f", 13: r"\r"}
_OUTSIDE = frozenset(r"\.+*?()|[]{}^$")
_INSIDE = frozenset(r"\[]^-&~")
_CATEGORIES = frozenset(
    [
        "L",
        "Lu",
        "Ll",
        "Lt",
        "Lm",
        "Lo",
        "M",
        "Mn",
        "Mc",
        "Me",
        "N",
        "Nd",
        "Nl",
        "No",
        "P",
        "Pc",
        "Pd",
        "Ps",
        "Pe",
        "Pi",
        "Pf",
        "Po",
        "S",
        "Sm",
        "Sc",
        "Sk",
        "So",
        "Z",
        "Zs",
        "Zl",
        "Zp",
        "Greek",
        "Latin",
        "Cyrillic",
        "Han",
        "Hiragana",
        "Katakana",
        "Hangul",
        "Arabic",
        "Hebrew",
        "Thai",
    ]
)
_COUNTED = re.compile(r"\{([0-9]{1,9})(,([0-9]{0,9}))?\}")
_HEX = re.compile(r"u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})")
_PROPERTY = re.compile(r"[pP]\{(?:(?:General_Category|gc|Script|sc)=)?([A-Za-z_]{1,40})\}")
_NAME = re.compile(r"\?<[A-Za-z_$][A-Za-z0-9_$]{0,100}>")


class Unsayable(ValueError):
    """A pattern that RE2 has no words for; the message says what of it."""


def re2(pattern: str) -> str:
    """The pattern in RE2's words: finds something in exactly those texts that the pattern finds something in.

    Raises Unsayable.
    """
    if len(pattern) > MAX_LENGTH:
        raise Unsayable(f"is longer than {MAX_LENGTH} characters")
    reader = _Reader(pattern)
    made, size, _ = reader.alternatives(0)
    if reader.at < len(pattern):
        raise Unsayable("has a ) too many")
    if size > MAX_SIZE:
        raise Unsayable("is too large when its repetitions are written out")
    return made


class _Reader:
    """Reads one pattern from left to right. Each part is what is made of it, its size, and how often what is in it is
    repeated at the most."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def _next(self) -> str:
        return self._text[self.at : self.at + 1]

    def alternatives(self, depth: int) -> tuple[str, int, int]:
        if depth > _DEEPEST:
            raise Unsayable("is nested too deeply")
        made: list[str] = []
        size, repeated = 0, 1
        while self.at < len(self._text) and self._next() != ")":
            if self._next() == "|":
                self.at += 1
                made.append("|")
                continue
            part, its_size, its_repeated = self._term(depth)
            made.append(part)
            size += its_size
            repeated = max(repeated, its_repeated)
        return "".join(made), size, repeated

    def _term(self, depth: int) -> tuple[str, int, int]:
        char = self._next()
        if char in "^$":
            self.at += 1
            if self._quantified():
                raise Unsayable("repeats an assertion")
            return char, 1, 1
        if char in "*+?":
            raise Unsayable(f"has nothing to repeat before {char}")
        if char == "(":
            return self._repeat(*self._group(depth))
        part = self._atom(char)
        return self._repeat(part, _PROPERTY_SIZE if re.search(r"\\[pP]\{", part) else 1, 1)

    def _quantified(self) -> bool:
        return self._next() in ("*", "+", "?") or _COUNTED.match(self._text, self.at) is not None

    def _group(self, depth: int) -> tuple[str, int, int]:
        self.at += 1
        if self._next() == "?":
            named = _NAME.match(self._text, self.at)
            if self._text.startswith("?:", self.at):
                self.at += 2
            elif named is not None:
                self.at = named.end()
            elif self._text.startswith(("?=", "?!", "?<=", "?<!"), self.at):
                raise Unsayable("looks ahead or behind, which RE2 does not")
            else:
                raise Unsayable("has a group that ECMA-262 does not know")
        made, size, repeated = self.alternatives(depth + 1)
        if self._next() != ")":
            raise Unsayable("lacks a )")
        self.at += 1
        return f"(?:{made})", size + 1, repeated

    def _atom(self, char: str) -> str:
        if char == "[":
            return self._set()
        self.at += 1
        if char == ".":
            return _DOT
        if char == "\\":
            return self._escaped(inside=False)
        return _written(ord(char), _OUTSIDE)

    def _repeat(self, part: str, size: int, repeated: int) -> tuple[str, int, int]:
        counted = _COUNTED.match(self._text, self.at)
        if counted is not None:
            least = int(counted[1])
            most = least if counted[2] is None else int(counted[3]) if counted[3] else None
            if most is not None and most < least:
                raise Unsayable("repeats from more to less")
            times = max(least, most or 0, 1)
            if times * repeated > MAX_REPEAT:
                raise Unsayable(f"repeats more than {MAX_REPEAT} times, which RE2 does not")
            self.at = counted.end()
            part, size, repeated = part + counted[0], size * times, repeated * times
        elif self._next() in ("*", "+", "?"):
            part += self._next()
            self.at += 1
        else:
            return part, size, repeated
        if self._next() == "?":
            self.at += 1  # how much is taken first makes no difference to whether there is a match
        if self._quantified():
            raise Unsayable("repeats a repetition")
        return part, size, repeated

    # ---- sets and single characters

    def _set(self) -> str:
        self.at += 1
        negated = self._next() == "^"
        if negated:
            self.at += 1
        made: list[str] = []
        while (char := self._next()) != "]":
            if not char:
                raise Unsayable("lacks a ]")
            low, code = self._member(char)
            if self._next() == "-" and self._text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high, last = self._member(self._next())
                if code is None or last is None:
                    raise Unsayable("has a range to or from a class")
                if last < code:
                    raise Unsayable("has a range that ends before it begins")
                made.append(f"{low}-{high}")
            else:
                made.append(low)
        self.at += 1
        if not made:
            if negated:
                return r"[\x{0}-\x{10ffff}]"
            raise Unsayable("has a set of nothing")
        return f"[{'^' if negated else ''}{''.join(made)}]"

    def _member(self, char: str) -> tuple[str, int | None]:
        """One member of a set, and its code if it is one character."""
        self.at += 1
        if char != "\\":
            return _written(ord(char), _INSIDE), ord(char)
        following = self._next()
        if following in ("d", "w", "s", "D", "W", "S", "p", "P"):
            return self._escaped(inside=True), None
        if following == "b":
            self.at += 1
            return r"\x08", 8
        code = self._code()
        return _written(code, _INSIDE), code

    def _escaped(self, *, inside: bool) -> str:
        """What stands for the escape whose backslash has been read."""
        char = self._next()
        if char in _CLASSES:
            self.at += 1
            return _CLASSES[char] if inside else f"[{_CLASSES[char]}]"
        if char and char in "DWS":
            self.at += 1
            if inside:
                raise Unsayable(f"has \\{char} within a set")
            return f"[^{_CLASSES[char.lower()]}]"
        if char and char in "bB":
            raise Unsayable(f"asks for the edge of a word (\\{char}), which means more than one thing")
        found = _PROPERTY.match(self._text, self.at)
        if found is not None:
            if found[1] not in _CATEGORIES:
                raise Unsayable(f"asks for the property {found[1]}")
            self.at = found.end()
            return f"\\{char}{{{found[1]}}}"
        return _written(self._code(), _OUTSIDE)

    def _code(self) -> int:
        """The character that an escape is."""
        char = self._next()
        if not char:
            raise Unsayable("ends in a backslash")
        found = _HEX.match(self._text, self.at)
        if found is not None:
            self.at = found.end()
            return self._paired(int(found[1] or found[2] or found[3], 16))
        self.at += 1
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "0" and not self._next().isdigit():
            return 0
        if char == "c" and self._next().isascii() and self._next().isalpha():
            self.at += 1
            return ord(self._text[self.at - 1]) % 32
        if char.isdigit() or char == "k":
            raise Unsayable("refers back to a group, which RE2 does not")
        if char.isalnum():
            raise Unsayable(f"has \\{char}, which ECMA-262 does not know")
        return ord(char)

    def _paired(self, code: int) -> int:
        """The character of a pair of surrogates, or the code itself."""
        if 0xD800 <= code < 0xDC00 and self._text.startswith("\\", self.at):
            found = _HEX.match(self._text, self.at + 1)
            low = int(found[2], 16) if found is not None and found[2] else 0
            if 0xDC00 <= low < 0xE000:
                assert found is not None
                self.at = found.end()
                return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        return code


def _written(code: int, special: frozenset[str]) -> str:
    """One character, outside or within a set."""
    if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        raise Unsayable("has half a surrogate pair, which no text holds")
    char = chr(code)
    if char in special:
        return f"\\{char}"
    if code in _WRITTEN:
        return _WRITTEN[code]
    return char if 32 <= code < 127 or (code > 160 and char.isprintable()) else f"\\x{{{code:x}}}"

"""Names of other schema languages → identifiers of protos: valid, bounded, and unique where they stand. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Container

MAX_NAME = 128
"""Characters of a made name, before what tells it from another is added."""

_WORD = re.compile(r"[A-Za-z0-9]+")
_HUMP = re.compile(r"([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])")


def camel(text: str, otherwise: str = "Type") -> str:
    """`pet-tag`, `petTag` and `pet.tag` as PetTag; `otherwise` where nothing is left of it."""
    words = _WORD.findall(text[: 8 * MAX_NAME])
    made = "".join(word[0].upper() + word[1:] for word in words)[:MAX_NAME]
    if not made:
        return otherwise
    return f"N{made}" if made[0].isdigit() else made


def snake(text: str, otherwise: str = "field") -> str:
    """`petTag`, `Pet-Tag` and `$petTag` as pet_tag; `otherwise` where nothing is left of it."""
    words = [_HUMP.sub(_apart, word) for word in _WORD.findall(text[: 8 * MAX_NAME])]
    made = "_".join(words).lower()[:MAX_NAME].strip("_")
    if not made:
        return otherwise
    return f"n{made}" if made[0].isdigit() else made


def upper_snake(text: str, otherwise: str = "VALUE") -> str:
    """`petTag` and `pet tag` as PET_TAG; it may begin with a digit, for it is made to follow a prefix."""
    words = [_HUMP.sub(_apart, word) for word in _WORD.findall(text[: 8 * MAX_NAME])]
    return "_".join(words).upper()[:MAX_NAME].strip("_") or otherwise


def _apart(found: re.Match[str]) -> str:
    return f"{found[1] or found[3]}_{found[2] or found[4]}"


def package_of(upstream: str) -> str:
    """The proto package of an upstream that has no proto: its name in the config."""
    return snake(upstream, "upstream")


def service_of(upstream: str) -> str:
    """The full name of the one service of an upstream that has no proto."""
    return f"{package_of(upstream)}.{camel(upstream, 'Service')}"


class Taken:
    """The names that are taken in one scope, compared by `key`."""

    def __init__(self, key: Callable[[str], str] = str) -> None:
        self._key = key
        self._names: set[str] = set()
        self._last: dict[str, int] = {}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._key(name) in self._names

    def take(self, wanted: str, *, separator: str = "", avoid: Container[str] = ()) -> str:
        """The name itself, or with the first number behind it that makes it one of its own; it is taken then.

        Names in `avoid` are not given. What is tried next is remembered: 100,000 equal names cost no more than others.
        """
        name, count = wanted, self._last.get(wanted, 1)
        while self._key(name) in self._names or name in avoid:
            count += 1
            name = f"{wanted}{separator}{count}"
        self._last[wanted] = count
        self._names.add(self._key(name))
        return name

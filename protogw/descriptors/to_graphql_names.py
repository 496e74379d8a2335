"""How proto names are written in GraphQL, and how two things that want one name are told apart. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

_OUTSIDE = re.compile(r"[^0-9A-Za-z_]+")
_LEADING_CAPITALS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]+")
_WORD_START = re.compile(r"(?<=[0-9A-Za-z])_+([0-9A-Za-z])")


def graphql_name(text: str) -> str:
    """The text as a name that GraphQL takes: other characters become "_", and "__" is introspection's."""
    name = _OUTSIDE.sub("_", text)
    if name.startswith("__"):
        name = "_" + name.lstrip("_")
    return name if name and not name[0].isdigit() else f"_{name}"


def lower_camel(text: str) -> str:
    """`GetItem` and `get_item` as `getItem`, `URLOf` as `urlOf`."""
    name = _WORD_START.sub(lambda match: match[1].upper(), graphql_name(text))
    return _LEADING_CAPITALS.sub(lambda match: match[0].lower(), name, count=1) if name[:1].isupper() else name


def upper_camel(text: str) -> str:
    """`get_item` as `GetItem`; `shop.v1` as `ShopV1`."""
    name = _WORD_START.sub(lambda match: match[1].upper(), graphql_name(text)).lstrip("_")
    return name[:1].upper() + name[1:]


def field_name(text: str) -> str:
    """A field's JSON name as GraphQL writes fields: `created_at` as `createdAt`; `URL` and `_id` stay."""
    return _WORD_START.sub(lambda match: match[1].upper(), graphql_name(text))


def allocate(
    wishes: Mapping[K, Sequence[str]], taken: Collection[str] = ()
) -> tuple[dict[K, str], list[tuple[K, str]]]:
    """A name for each key, and which keys did not get their first wish, with what they got.

    Keys with one wish in common all go on to their next, so that the outcome does not depend on their order. Those
    whose wishes are used up are numbered in the order in which they stand.
    """
    at = dict.fromkeys(wishes, 0)
    refused = set(taken)
    while True:
        wanted: dict[str, list[K]] = {}
        for key, names in wishes.items():
            if at[key] < len(names):
                wanted.setdefault(names[at[key]], []).append(key)
        clashing = [name for name, keys in wanted.items() if len(keys) > 1 or name in refused]
        if not clashing:
            break
        for name in clashing:
            # What two wanted stays free for nobody: a third, to whom it was the second wish, must not get it.
            refused.add(name)
            for key in wanted[name]:
                at[key] += 1
    found: dict[K, str] = {}
    used = {*wanted, *taken}
    for key, names in wishes.items():
        if at[key] < len(names):
            found[key] = names[at[key]]
            continue
        number = 2
        while f"{names[-1]}{number}" in used:
            number += 1
        found[key] = f"{names[-1]}{number}"
        used.add(found[key])
    return found, [(key, name) for key, name in found.items() if name != wishes[key][0]]

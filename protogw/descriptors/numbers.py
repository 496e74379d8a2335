"""Field and enum numbers of schemas that have none, kept in `protogw.lock` beside the config.

A number belongs to a type, a member's own name and its kind, for good: what leaves a schema keeps its number and gets
it back should it return, and a member whose kind changes gets a new one. So a client built with an older schema never
reads one thing as another. Pure, but for `load` and `save`.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from protogw.descriptors.model import SchemaError

LOCK = "protogw.lock"
MAX_BYTES = 64 << 20
MAX_NUMBER = (1 << 29) - 1
RESERVED = range(19_000, 20_000)
"""Numbers that protobuf keeps for itself."""

_HEADER = (
    "# The field numbers of services that have no proto: protogw writes this file, and clients that are built from\n"
    "# the proto files it prints rely on it. Keep it beside the config, under version control.\n"
)
_OWNER = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_LINE = re.compile(r'  (\d{1,9}) ("(?:[^"\\]|\\.)*"|[^\s"]+) (\S+)( removed)?')
_PLAIN = re.compile(r"[A-Za-z0-9_.$@/:+-]+")


@dataclass(slots=True)
class _Kept:
    number: int
    used: bool = False
    removed: bool = False
    """Said so by the file."""
    new: bool = False
    """Not in the file."""


class Numbers:
    """What is kept of each type; asking for a number that is not known yet makes it.

    A reader calls `begin` with its package before it asks, so that what it no longer asks for counts as removed.
    """

    def __init__(self) -> None:
        self._types: dict[str, dict[tuple[str, str], _Kept]] = {}
        self._next: dict[str, int] = {}
        self._begun: set[str] = set()

    def begin(self, package: str) -> None:
        """All of the package's types are about to be asked for again."""
        self._begun.add(package)
        for owner, kept in self._types.items():
            if _package(owner) == package:
                for entry in kept.values():
                    entry.used = False

    def number(self, owner: str, member: str, kind: str) -> int:
        """The number of this member of the type, or value of the enum, of this full name.

        `kind` is a word without spaces that changes when what the member holds does. Raises SchemaError when the type
        has no number left.
        """
        kept = self._types.setdefault(owner, {})
        entry = kept.get((member, kind))
        if entry is None:
            number = self._next.get(owner, 1)
            if number in RESERVED:
                number = RESERVED.stop
            if number > MAX_NUMBER:
                raise SchemaError(f"{LOCK}: {owner} has no field number left")
            entry = kept[member, kind] = _Kept(number, new=True)
            self._next[owner] = number + 1
        entry.used = True
        return entry.number

    def reserved(self, owner: str) -> list[int]:
        """The type's numbers that nothing has now, in their order."""
        return sorted(entry.number for entry in self._types.get(owner, {}).values() if not entry.used)

    def part(self, package: str) -> Numbers:
        """A copy of what is kept of one package, to be asked elsewhere (in a thread, say) and then put back."""
        other = Numbers()
        for owner, kept in self._types.items():
            if _package(owner) == package:
                other._types[owner] = {key: replace(entry) for key, entry in kept.items()}
                if owner in self._next:
                    other._next[owner] = self._next[owner]
        return other

    def put(self, part: Numbers) -> None:
        """What a part has learnt since."""
        self._types |= part._types
        self._next |= part._next
        self._begun |= part._begun

    def changes(self) -> list[str]:
        """What the file does not say yet, a line each: what is new, what is gone, what has come back."""
        found: list[str] = []
        for owner, kept in sorted(self._types.items()):
            if _package(owner) not in self._begun:
                continue
            fresh = sum(entry.new and entry.used for entry in kept.values())
            if fresh == len(kept):
                found.append(f"{owner} is new")
                continue
            for (member, kind), entry in sorted(kept.items(), key=lambda one: one[1].number):
                shown = f"{owner}.{_shown(member)} ({entry.number}, {kind})"
                if entry.new and entry.used:
                    found.append(f"{shown} is new")
                elif not entry.new and entry.used and entry.removed:
                    found.append(f"{shown} has come back")
        return found

    def breaks(self) -> list[str]:
        """What the file has and the schemas have no more, a line each: clients that use it are broken."""
        return [
            f"{owner}.{_shown(member)} ({entry.number}, {kind}) is gone: clients that use it get nothing there"
            for owner, kept in sorted(self._types.items())
            if _package(owner) in self._begun
            for (member, kind), entry in sorted(kept.items(), key=lambda one: one[1].number)
            if not entry.new and not entry.used and not entry.removed
        ]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not self._types

    def text(self) -> str:
        """The file, sorted: a change of one member is a change of one line."""
        lines = [_HEADER]
        for owner, kept in sorted(self._types.items()):
            begun = _package(owner) in self._begun
            lines.append(f"\n{owner}\n")
            for (member, kind), entry in sorted(kept.items(), key=lambda one: one[1].number):
                removed = not entry.used if begun else entry.removed
                if removed and entry.new:
                    continue  # it came and went between two writings: nobody was told of it
                lines.append(f"  {entry.number} {_shown(member)} {kind}{' removed' if removed else ''}\n")
        return "".join(lines)


def _package(owner: str) -> str:
    return owner.rpartition(".")[0]


def _shown(member: str) -> str:
    return member if _PLAIN.fullmatch(member) else json.dumps(member)


def parse(text: str, name: str = LOCK) -> Numbers:
    """The numbers that a lock file's text says; raises SchemaError with every line that is wrong."""
    numbers = Numbers()
    faults: list[str] = []
    owner = ""
    taken: set[int] = set()
    for place, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            owner, taken = line.strip(), set()
            if not _OWNER.fullmatch(owner) or owner in numbers._types:
                faults.append(f"{name}:{place}: {owner[:100]!r} is no type's name, or is there twice")
            numbers._types.setdefault(owner, {})
            continue
        found = _LINE.fullmatch(line.rstrip())
        fault = _line(numbers, owner, taken, found) if found and owner else "is not `  NUMBER MEMBER KIND`"
        if fault:
            faults.append(f"{name}:{place}: {fault}")
    if faults:
        raise SchemaError(*faults[:100])
    return numbers


def _line(numbers: Numbers, owner: str, taken: set[int], found: re.Match[str]) -> str:
    """Takes one line; what is wrong with it, or nothing."""
    number = int(found[1])
    member = found[2]
    if member.startswith('"'):
        try:
            member = json.loads(member)
        except ValueError:
            return f"{member[:100]} is no text"
    if not 0 < number <= MAX_NUMBER or number in RESERVED:
        return f"{number} cannot be a field's number"
    kept = numbers._types[owner]
    if number in taken or (member, found[3]) in kept:
        return f"{owner} has the number {number}, or {_shown(member)}, twice"
    taken.add(number)
    kept[member, found[3]] = _Kept(number, removed=bool(found[4]))
    numbers._next[owner] = max(numbers._next.get(owner, 1), number + 1)
    return ""


def load(path: Path) -> Numbers:
    """The numbers of a lock file; none when there is no such file. Raises SchemaError with every fault in it."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SchemaError(f"{path}: larger than {MAX_BYTES} bytes")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Numbers()
    except OSError as error:
        raise SchemaError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path}: is not UTF-8 text") from error
    return parse(text, str(path))


def save(numbers: Numbers, path: Path) -> bool:
    """Write the lock file if it would say something else than it does; whole or not at all. Raises OSError."""
    text = numbers.text()
    try:
        if path.read_text("utf-8") == text:
            return False
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    handle, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(made, 0o644)
        os.replace(made, path)
    except OSError:
        os.unlink(made)
        raise
    return True

"""`protogw check`: everything that is wrong with a config and its schemas, without serving."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from protogw.assembly import KINDS, AssemblyError, load_numbers, load_schema
from protogw.commands.cautions import cautions
from protogw.commands.configured import assembled, print_faults, run
from protogw.commands.terminal import CommandFailed, note, say
from protogw.config import Config, ConfigError, Fault, inspect
from protogw.config.document import Document
from protogw.config.faults import Place
from protogw.descriptors import numbers as lock
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.changes import breaking
from protogw.descriptors.from_proto import load
from protogw.descriptors.model import Schema, SchemaError
from protogw.descriptors.numbers import LOCK, Numbers

_STEP = re.compile(r"([A-Za-z_][\w-]*)|\[(\d+)\]|\[\"((?:[^\"\\]|\\.)*)\"\]|\.")
_PATH = re.compile(r"((?:listeners|upstreams|policies|routes|use)[^\s:]*): ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be checked beside the config itself; see the command's help."""

    connect: bool = False
    write_lock: bool = False
    against: Path | None = None


def check(path: Path, *, strict: bool, as_json: bool, wanted: Wanted) -> None:
    config, errors, document = inspect(path, KINDS)
    warnings: list[Fault] = []
    if config is not None:
        errors, warnings = run(lambda: _deeper(config, document, wanted))
    failed = bool(errors) or (strict and bool(warnings))
    if as_json:
        print_faults([*errors, *warnings])
        if failed:
            raise CommandFailed("")
        return
    for warning in warnings:
        note(f"warning: {warning}")
    if errors:
        raise CommandFailed(str(ConfigError(errors)))
    if failed:
        raise CommandFailed("the warnings above fail a strict check")
    assert config is not None
    listeners, upstreams = len(config.listeners), len(config.upstreams)
    say(f"{path}: ok ({listeners} listener{'s'[: listeners != 1]}, {upstreams} upstream{'s'[: upstreams != 1]})")


async def _deeper(config: Config, document: Document, wanted: Wanted) -> tuple[list[Fault], list[Fault]]:
    """What shows only once schemas are read and everything is put together: errors, and warnings."""
    errors: list[Fault] = []
    schemas: dict[str, Schema] = {}
    try:
        numbers = load_numbers(config)
    except SchemaError as error:
        return _placed(document, error.faults), []
    for name, upstream in config.upstreams.items():
        try:
            schema = load_schema(name, upstream, numbers)
            if schema is not None:
                schemas[name] = schema
        except SchemaError as error:
            errors.extend(_placed(document, (f"upstreams.{name}.schema: {fault}" for fault in error.faults)))
    if errors:
        return errors, []
    try:
        async with assembled(config, connect=wanted.connect, schemas=schemas, numbers=numbers) as (gateway, unknown):
            offering = gateway.offering
            assert offering is not None
            _, _, faults = offering.compose()
            told = dict.fromkeys(faults)
            seldom_meant = cautions(config, gateway.policies)
            for name, door in gateway.doors.items():
                for front_end in door.front_ends:
                    found: Iterable[str] = getattr(front_end, "faults", ())
                    told.update((f"listeners.{name}: {fault}", None) for fault in found)
            broken = _broken(wanted.against, gateway.catalog, unknown) if wanted.against is not None else []
    except (AssemblyError, CommandFailed) as error:
        return _placed(document, str(error).splitlines()), []
    errors = _placed(document, (fault for fault in told if fault.startswith("routes[")))
    warnings = _placed(document, [*(fault for fault in told if not fault.startswith("routes[")), *seldom_meant])
    errors += broken
    if wanted.connect:
        unreachable = (f"upstreams.{name}: its schema is not known: {reason}" for name, reason in unknown.items())
        errors += _placed(document, unreachable)
    if wanted.write_lock and not errors and config.lock is not None and not numbers.is_empty:
        try:
            lock.save(numbers, config.lock)
        except OSError as error:
            return _placed(document, [f"{config.lock}: cannot be written: {error.strerror}"]), warnings
    else:
        warnings += _placed(document, _unlocked(numbers))
    return errors, warnings


def _broken(against: Path, catalog: Catalog, unknown: Mapping[str, str]) -> list[Fault]:
    """What breaks the clients of an older offer, which a file or a folder describes."""
    if unknown:
        names = ", ".join(unknown)
        raise CommandFailed(f"{against}: cannot be compared while these describe themselves: {names} (--connect)")
    try:
        old = Catalog.merge([load([against])])
    except SchemaError as error:
        raise CommandFailed("\n".join(error.faults)) from error
    return [
        Fault(file=str(against), line=0, column=0, path=change.where, message=change.what)
        for change in breaking(old, catalog)
    ]


def _unlocked(numbers: Numbers) -> Iterable[str]:
    """What the lock file should say and does not."""
    yield from (f"{LOCK}: {broken}" for broken in numbers.breaks())
    changes = numbers.changes()
    if changes:
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        yield f"{LOCK}: {changes[0]}{more}: `protogw serve` or `protogw check --write-lock` writes it down"


def _placed(document: Document, faults: Iterable[str]) -> list[Fault]:
    """Faults that begin with a path of the config, each at its place in the file."""
    known = len(document.faults)
    for fault in faults:
        match = _PATH.match(fault)
        if match is None:
            document.fault((), fault)
        else:
            document.fault(place_of(match[1]), fault[match.end() :], key=True)
    found = document.faults[known:]
    del document.faults[known:]
    return found


def place_of(path: str) -> Place:
    """The place that a path such as `routes[2].match.call` names."""
    steps: list[str | int] = []
    for match in _STEP.finditer(path):
        if match[1] is not None:
            steps.append(match[1])
        elif match[2] is not None:
            steps.append(int(match[2]))
        elif match[3] is not None:
            steps.append(match[3])
    return tuple(steps)

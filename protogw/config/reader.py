"""YAML text → plain data that remembers where each value was written.

Scalars follow YAML 1.2's core schema (`on`, `no` and `1:30` are text). The environment is read after parsing, so a
variable's text can never add keys. Anchors are allowed and their expansion bounded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from protogw.config.document import NOTHING, Document, Mark
from protogw.config.faults import Fault, Place, dotted
from protogw.discovery.files import SUFFIXES as FILE_SUFFIXES
from protogw.paths import Written
from protogw.words import quoted

MAX_BYTES = 16 << 20
MAX_DEPTH = 64
MAX_EXPANDED = 20_000
"""Nodes that aliases may add: enough for shared settings, far too few for an entity bomb."""
MAX_SECRET_BYTES = 64 << 10
MAX_INCLUDES = 64

_VARIABLE = re.compile(r"\$(?:(\$)\{|\{([^}]*)\})")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)(.*))?\Z", re.DOTALL)
_INT = re.compile(r"[-+]?[0-9]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z|0o[0-7]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_CORE_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))


class _Loader(yaml.CSafeLoader):
    """Leaves plain scalars unresolved: `_resolve` gives them YAML 1.2's meaning."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 (PyYAML declares it as an instance's)


def read(path: Path, environment: Mapping[str, str] = os.environ) -> Document:
    """The document of a file and of all it includes; what is wrong with it is in `faults`."""
    document = Document()
    _read_into(document, path, str(path), environment, [])
    return document


def _read_into(document: Document, path: Path, label: str, environment: Mapping[str, str], above: list[Path]) -> None:
    document.files.append(label)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        document.faults.append(_whole(label, f"cannot be read: {error.strerror}"))
        return
    if len(text) > MAX_BYTES:
        document.faults.append(_whole(label, f"is larger than {MAX_BYTES >> 20} MiB"))
        return
    reader = _Reader(document, label, path.parent, environment)
    node = reader.compose(text)
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        document.faults.append(reader.at(node, (), "expected a mapping at the top"))
        return
    included = reader.merge(node)
    for name, mark in included:
        target = path.parent / name
        resolved = target.resolve()
        if resolved in above or resolved == path.resolve():
            document.faults.append(
                Fault(file=mark.file, line=mark.line, column=mark.column, path="include", message="includes itself")
            )
        elif len(document.files) >= MAX_INCLUDES:
            document.faults.append(_whole(label, f"includes more than {MAX_INCLUDES} files"))
            return
        elif not target.is_file():
            message = f"{quoted(name)} cannot be read: no such file"
            document.faults.append(
                Fault(file=mark.file, line=mark.line, column=mark.column, path="include", message=message)
            )
        else:
            _read_into(document, target, str(target), environment, [*above, path.resolve()])


def _whole(label: str, message: str) -> Fault:
    return Fault(file=label, line=0, column=0, path="", message=message)


class _Reader:
    """Builds one file's data into the document."""

    def __init__(self, document: Document, label: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._document = document
        self._label = label
        self._folder = folder
        self._environment = environment
        self._seen: set[int] = set()
        self._open: set[int] = set()
        self._expanded = 0
        self._too_many = False

    def compose(self, text: bytes) -> yaml.Node | None:
        """The one YAML document of the text, or None when there is none or it does not parse (a fault says so)."""
        loader = None
        try:
            loader = _Loader(text)
            if not loader.check_node():
                self._document.faults.append(_whole(self._label, "is empty"))
                return None
            node = loader.get_node()
            second = loader.get_node() if loader.check_node() else None
            if second is not None:
                self._document.faults.append(self.at(second, (), "a second YAML document starts here"))
            return node
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            message = f"not YAML: {error.problem or error.context}"
            lines = text.splitlines()
            if 0 < line <= len(lines) and b"${" in lines[line - 1]:
                message += " (inside { } or [ ], a value with ${...} needs quotes)"
            if b"\t" in text and "cannot start any token" in message:
                message += " (YAML is indented with spaces, never tabs)"
            self._document.faults.append(Fault(file=self._label, line=line, column=column, path="", message=message))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            self._document.faults.append(_whole(self._label, f"not YAML: {reason}"))
        finally:
            if loader is not None:
                loader.dispose()
        return None

    def at(self, node: yaml.Node, place: Place, message: str) -> Fault:
        mark = self._mark(node)
        return Fault(file=mark.file, line=mark.line, column=mark.column, path=dotted(place), message=message)

    def merge(self, root: yaml.MappingNode) -> list[tuple[str, Mark]]:
        """Add this file's sections to the document; returns the files that it includes."""
        document = self._document
        included: list[tuple[str, Mark]] = []
        sections = self._pairs(root, ())
        for name, key, node in sections:
            if name == "include":
                entries = node.value if isinstance(node, yaml.SequenceNode) else [node]
                for entry in entries:
                    if isinstance(entry, yaml.ScalarNode) and entry.value:
                        text = self._scalar(entry, ("include",))
                        included.append((str(text), self._mark(entry)))
                    else:
                        document.faults.append(self.at(entry, ("include",), "expected a path"))
                continue
            if isinstance(node, yaml.ScalarNode) and _plain(node) and node.value in ("", "~", "null"):
                continue  # a section whose entries are all commented out
            place: Place = (name,)
            there = document.data.get(name)
            if there is None:
                document.data[name] = self._build(node, place, key, 1)
            elif isinstance(there, dict) and isinstance(node, yaml.MappingNode):
                for entry, entry_key, value in self._pairs(node, place):
                    inner = (*place, entry)
                    if entry in there:
                        first = document.keys[inner]
                        message = f"is already defined at {first.file}:{first.line}"
                        document.faults.append(self.at(entry_key, inner, message))
                    else:
                        there[entry] = self._build(value, inner, entry_key, 2)
            elif name == "routes" and isinstance(there, list) and isinstance(node, yaml.SequenceNode):
                for value in node.value:
                    there.append(self._build(value, (*place, len(there)), value, 2))
            else:
                first = document.keys[place]
                document.faults.append(self.at(key, place, f"is already defined at {first.file}:{first.line}"))
        return included

    def _mark(self, node: yaml.Node) -> Mark:
        start = node.start_mark
        return Mark(self._label, start.line + 1, start.column + 1)

    def _pairs(self, node: yaml.MappingNode, place: Place) -> Iterable[tuple[str, yaml.Node, yaml.Node]]:
        """The entries of a mapping, merge keys (`<<`) resolved; a key given twice is a fault."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._document.faults.append(self.at(key, place, "a key must be text"))
                continue
            name = key.value
            if name == "<<" and _plain(key):
                for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    self._expanded += 1
                    if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                        self._document.faults.append(self.at(value, place, "<< expects an alias of a mapping"))
                    elif not self._refused(source, place, 0):
                        self._open.add(id(source))
                        for inherited, inherited_key, inherited_value in self._pairs(source, place):
                            merged.setdefault(inherited, (inherited_key, inherited_value))
                        self._open.discard(id(source))
                continue
            if name in own:
                first = own[name][0].start_mark.line + 1
                self._document.faults.append(self.at(key, (*place, name), f"is given twice, first on line {first}"))
                continue
            own[name] = (key, value)
        for name, (key, value) in merged.items():
            own.setdefault(name, (key, value))
        return [(name, key, value) for name, (key, value) in own.items()]

    def _build(self, node: yaml.Node, place: Place, key: yaml.Node, depth: int) -> Any:
        document = self._document
        document.keys[place] = self._mark(key)
        document.values[place] = self._mark(node)
        if self._refused(node, place, depth):
            return NOTHING
        if isinstance(node, yaml.ScalarNode):
            value = self._scalar(node, place)
            if value is None:
                document.faults.append(self.at(key, place, "has no value: write one, or remove the key"))
                return NOTHING
            return value
        self._open.add(id(node))
        built: Any
        if isinstance(node, yaml.MappingNode):
            built = {}
            for name, inner_key, value in self._pairs(node, place):
                built[name] = self._build(value, (*place, name), inner_key, depth + 1)
        else:
            built = [self._build(value, (*place, index), value, depth + 1) for index, value in enumerate(node.value)]
        self._open.discard(id(node))
        return built

    def _refused(self, node: yaml.Node, place: Place, depth: int) -> bool:
        message = ""
        if id(node) in self._seen:
            self._expanded += 1
        self._seen.add(id(node))
        if self._too_many:
            return True
        if id(node) in self._open:
            message = "an alias inside its own anchor"
        elif self._expanded > MAX_EXPANDED:
            self._too_many = True
            message = f"aliases expand to more than {MAX_EXPANDED} values"
        elif depth > MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH} levels"
        elif node.tag not in _CORE_TAGS:
            message = f"the tag {quoted(node.tag)} is not allowed"
        if message:
            self._document.faults.append(self.at(node, place, message))
        return bool(message)

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        text = node.value
        if "${" in text:
            try:
                replaced = _VARIABLE.sub(self._variable, text)
            except _BadVariable as error:
                self._document.faults.append(self.at(node, place, str(error)))
                return NOTHING
            if replaced != text:
                self._document.as_written[place] = text
            text = replaced
        if text.startswith("file:") and not _finds(text, place):
            self._document.as_written.setdefault(place, node.value)
            secret = self._secret(text[5:])
            if isinstance(secret, _BadVariable):
                self._document.faults.append(self.at(node, place, str(secret)))
                return NOTHING
            return Written(secret, self._folder)
        return _resolve(text, self._folder) if _plain(node) else Written(text, self._folder)

    def _variable(self, match: re.Match[str]) -> str:
        if match[1]:
            return "${"
        parts = _NAME.match(match[2])
        if parts is None:
            raise _BadVariable(f"{quoted('${' + match[2] + '}')} does not name a variable")
        name, operator, rest = parts[1], parts[2], parts[3]
        value = self._environment.get(name, "")
        if value:
            return value
        if operator == ":-":
            return rest or ""
        if operator == ":?":
            raise _BadVariable(f"the environment variable {name} is not set: {rest}")
        if name in self._environment:
            return ""
        raise _BadVariable(f"the environment variable {name} is not set (${{{name}:-default}} gives a default)")

    def _secret(self, name: str) -> str | _BadVariable:
        path = self._folder / name
        try:
            if not path.is_file():
                return _BadVariable(f"{quoted(name)} cannot be read: no such file")
            with path.open("rb") as file:
                data = file.read(MAX_SECRET_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            return _BadVariable(f"{quoted(name)} cannot be read: {reason}")
        if len(data) > MAX_SECRET_BYTES:
            return _BadVariable(f"{quoted(name)} is larger than {MAX_SECRET_BYTES >> 10} KiB")
        try:
            return data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            return _BadVariable(f"{quoted(name)} is not UTF-8 text")


class _BadVariable(Exception):
    """A variable or secret that cannot be had."""


def _finds(text: str, place: Place) -> bool:
    """It stands for an upstream's address and names a file of addresses, which is followed and no secret."""
    return place[0] == "upstreams" and (len(place) in (3, 4) or place[-1] == "address") and text.endswith(FILE_SUFFIXES)


def _plain(node: yaml.ScalarNode) -> bool:
    return not node.style


def _resolve(text: str, folder: Path) -> Any:
    """A plain scalar by YAML 1.2's core schema."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    first = text[0]
    if (first.isdigit() or first in "+-.") and len(text) <= 32:
        if _INT.match(text):
            return int(text)
        if _HEX.match(text):
            return int(text, 0)
        if _FLOAT.match(text):
            return float(text)
    return Written(text, folder)

"""Schema documents in JSON and YAML: parsed, followed from one to another by `$ref`, and found again by line.

References lead to files below the folder of the first document and nowhere else: never to the network, never up. Reads
files; knows no schema language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import orjson
import yaml

from protogw.descriptors.model import SchemaError

MAX_BYTES = 64 << 20
"""All files of one schema together."""
MAX_FILES = 1_000
MAX_NODES = 10_000_000
"""Values of one document, those that YAML's aliases repeat counted each time."""
MAX_CHAIN = 64
"""References that lead to references."""
MAX_FAULTS = 100

Steps: TypeAlias = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]{1,4300}\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a document, and where it is."""

    document: Document
    steps: Steps
    value: Any
    key: str
    """Tells the node from every other of the schema's documents."""

    @property
    def name(self) -> str:
        """The last step that leads to it."""
        return str(self.steps[-1]) if self.steps else ""

    @property
    def mapping(self) -> Mapping[str, Any]:
        """The value, if it is a mapping; an empty one otherwise."""
        return self.value if isinstance(self.value, dict) else {}

    def child(self, step: str | int) -> Node:
        """The value under this key or index, which is there."""
        return self.standing(step, self.value[step])

    def standing(self, step: str | int, value: Any) -> Node:
        """A value that is taken to be there."""
        return Node(self.document, (*self.steps, step), value, f"{self.key}/{_escaped(step)}")

    def get(self, step: str) -> Node | None:
        """The value under this key, or None when there is none, or it is null."""
        value = self.mapping.get(step)
        return None if value is None else self.standing(step, value)

    def children(self, step: str) -> Iterator[Node]:
        """The values of the mapping or list under this key."""
        held = self.mapping.get(step)
        names = range(len(held)) if isinstance(held, list) else held if isinstance(held, dict) else ()
        owner = self.standing(step, held)
        for name in names:
            yield owner.child(name)

    def text(self, step: str) -> str:
        """The text under this key, or nothing."""
        value = self.mapping.get(step)
        return value if isinstance(value, str) else ""

    def flag(self, step: str) -> bool:
        return self.mapping.get(step) is True

    @property
    def where(self) -> str:
        """File, line and path, for a fault."""
        line = self.document.line(self.steps)
        path = self._path
        return f"{self.document.path}:{line}: {path}" if path else f"{self.document.path}:{line}"

    @property
    def place(self) -> str:
        """File and path: the line, which takes long to find, is for faults."""
        return f"{self.document.path}: {self._path}"

    @property
    def _path(self) -> str:
        return ".".join(_shown(step) for step in self.steps)


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")


def _shown(step: str | int) -> str:
    text = str(step)[:100]
    return text if re.fullmatch(r"[\w$-]+", text) else json.dumps(text)


@dataclass(slots=True, eq=False)
class Document:
    """One file; `name` is how the schema's other files call it."""

    path: Path
    name: str
    text: str
    tree: Any
    is_json: bool

    @property
    def root(self) -> Node:
        return Node(self, (), self.tree, f"{self.name}#")

    def line(self, steps: Steps) -> int:
        """The line of the deepest part of the path that is there, from 1."""
        offset = _json_offset(self.text, steps) if self.is_json else _yaml_offset(self.text, steps)
        return self.text.count("\n", 0, offset) + 1


@dataclass(slots=True)
class Documents:
    """A first document and the files that it refers to. Raises SchemaError for what cannot be read or must not be."""

    path: Path
    label: str = ""
    """Comes before its files' names, where a schema has more than one first document."""
    first: Document = field(init=False)
    _known: dict[Path, Document] = field(default_factory=dict)
    _bytes: int = 0

    def __post_init__(self) -> None:
        self.first = self._read(self.path.resolve(), self.path, self.label)

    def follow(self, node: Node) -> Node:
        """The node, or what its `$ref`s lead to. Raises SchemaError naming the reference."""
        seen: set[str] = set()
        at = node
        while isinstance(at.value, dict) and isinstance(ref := at.value.get("$ref"), str):
            if at.key in seen or len(seen) >= MAX_CHAIN:
                raise SchemaError(f"{at.where}: {ref[:200]!r} leads to itself")
            seen.add(at.key)
            at = self.target(at, ref)
        return at

    def target(self, node: Node, ref: str) -> Node:
        """What one reference in the node names."""
        try:
            return self._target(node, ref)
        except SchemaError as error:
            raise SchemaError(*(f"{node.where}: {ref[:200]!r} {fault}" for fault in error.faults)) from error

    def _target(self, node: Node, ref: str) -> Node:
        place, _, fragment = ref.partition("#")
        document = node.document
        if place:
            parts = urlsplit(place)
            if parts.scheme or parts.netloc:
                raise SchemaError("is on the network, where nothing is fetched from: write a file")
            document = self._file(document, unquote(parts.path))
        pointer = unquote(fragment)
        if pointer and not pointer.startswith("/"):
            raise SchemaError("names an anchor: only paths, #/such/as/this, are followed")
        at: Node = document.root
        for part in pointer.split("/")[1:]:
            step = part.replace("~1", "/").replace("~0", "~")
            held = at.value
            if isinstance(held, dict) and step in held:
                at = at.child(step)
            elif isinstance(held, list) and step.isdecimal() and len(step) < 10 and int(step) < len(held):
                at = at.child(int(step))
            else:
                raise SchemaError("leads nowhere")
        return at

    def _file(self, document: Document, name: str) -> Document:
        top = self.first.path.resolve().parent
        path = (document.path.resolve().parent / name).resolve()
        if not path.is_relative_to(top):
            raise SchemaError(f"is outside of {self.path.parent}")
        known = self._known.get(path)
        if known is not None:
            return known
        if len(self._known) >= MAX_FILES:
            raise SchemaError(f"is one file more than {MAX_FILES}")
        shown = path.relative_to(top)
        return self._read(path, self.path.parent / shown, f"{self.label}{shown}")

    def _read(self, path: Path, shown: Path, name: str) -> Document:
        try:
            size = path.stat().st_size
            if self._bytes + size > MAX_BYTES:
                raise SchemaError(f"{shown}: more than {MAX_BYTES} bytes in all")
            self._bytes += size
            data = path.read_bytes()
        except OSError as error:
            raise SchemaError(f"{shown}: cannot be read: {error.strerror}") from error
        found = self._known[path] = parse(data, shown, name)
        return found


def parse(data: bytes, path: Path, name: str = "") -> Document:
    """A document of JSON or YAML; raises SchemaError naming the line that is neither."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SchemaError(f"{path}:{line}: is not UTF-8 text") from error
    is_json = text.lstrip()[:1] in ("{", "[")
    try:
        tree = _json(text, path) if is_json else None
        if tree is None:
            is_json = False
            tree = _yaml(text, path)
        if not is_json:
            _check_size(tree, path)
    except RecursionError as error:
        raise SchemaError(f"{path}: nested too deeply") from error
    return Document(path, name, text, tree, is_json)


def _json(text: str, path: Path) -> Any:
    """The parsed JSON; None when it may yet be YAML, which has mappings in braces too."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if path.suffix.lower() != ".json":
            return None
        line = text.count("\n", 0, error.pos) + 1
        raise SchemaError(f"{path}:{line}: is not JSON: {error.msg.partition(': line')[0]}") from error


# ---- YAML, with the scalars of its version 1.2: `no` and `2026-01-01` are text


class _Loader(yaml.CSafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 (PyYAML declares it as an instance's)


class _Builder:
    """Composed nodes → plain data; an alias gives the very same object again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made: dict[int, Any] = {}
        self._open: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.style or (node.tag.endswith(":str") and node.style) else _scalar(node.value)
        made = self._made.get(id(node))
        if made is not None:
            return made
        if id(node) in self._open:
            raise self._fault(node, "an alias within what it stands for")
        self._open.add(id(node))
        made = self._mapping(node) if isinstance(node, yaml.MappingNode) else [self.value(one) for one in node.value]
        self._open.discard(id(node))
        self._made[id(node)] = made
        return made

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        made: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._fault(key, "a key that is no text")
            if key.value == "<<" and not key.style:
                for one in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(one, yaml.MappingNode):
                        raise self._fault(one, "only mappings can be merged")
                    for name, item in self.value(one).items():
                        merged.setdefault(name, item)
                continue
            made[key.value] = self.value(value)
        return {**merged, **made} if merged else made

    def _fault(self, node: yaml.Node, message: str) -> SchemaError:
        return SchemaError(f"{self._path}:{node.start_mark.line + 1}: is not YAML that is read here: {message}")


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text


def _yaml(text: str, path: Path) -> Any:
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return _Builder(path).value(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SchemaError(
            f"{path}:{mark.line + 1 if mark else 1}: is not YAML: {error.problem or error.context}"
        ) from error
    except yaml.YAMLError as error:
        raise SchemaError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _check_size(tree: Any, path: Path) -> None:
    """Raises SchemaError when aliases make more of the document than may be walked through."""
    sizes: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(tree, False)]
    while stack:
        value, done = stack.pop()
        if not isinstance(value, (dict, list)) or id(value) in sizes:
            continue
        held = list(value.values()) if isinstance(value, dict) else value
        if done:
            size = 1 + sum(sizes.get(id(one), 1) if isinstance(one, (dict, list)) else 1 for one in held)
            if size > MAX_NODES:
                raise SchemaError(f"{path}: its aliases make more than {MAX_NODES} values of it")
            sizes[id(value)] = size
        else:
            stack.append((value, True))
            stack.extend((one, False) for one in held)


# ---- places, which are asked for only to tell a fault


def _json_offset(text: str, steps: Steps) -> int:
    decoder = json.JSONDecoder()
    skip = _SPACE.match
    at = skip(text, 0).end()  # type: ignore[union-attr]
    for step in steps:
        found = -1
        opening, count = text[at : at + 1], 0
        if opening not in ("{", "["):
            break
        inside = skip(text, at + 1).end()  # type: ignore[union-attr]
        while text[inside : inside + 1] not in ("}", "]", ""):
            start = inside
            name: str | int = count
            if opening == "{":
                name, inside = scanstring(text, inside + 1, True)
                inside = skip(text, skip(text, inside).end() + 1).end()  # type: ignore[union-attr]
            if name == step:
                found = inside
                shown = start
            _, inside = decoder.raw_decode(text, inside)
            inside = skip(text, inside).end()  # type: ignore[union-attr]
            if text[inside : inside + 1] == ",":
                inside = skip(text, inside + 1).end()  # type: ignore[union-attr]
            count += 1
            if found >= 0 and opening == "[":
                break
        if found < 0:
            break
        at = found
        if step == steps[-1] and opening == "{":
            at = found if text.count("\n", shown, found) == 0 else shown
    return at


def _yaml_offset(text: str, steps: Steps) -> int:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    finally:
        loader.dispose()
    at = node
    index = node.start_mark.index if node is not None else 0
    for step in steps:
        if isinstance(at, yaml.MappingNode):
            for key, value in at.value:
                if getattr(key, "value", None) == step:
                    at, index = value, key.start_mark.index
                    break
            else:
                break
        elif isinstance(at, yaml.SequenceNode) and isinstance(step, int) and step < len(at.value):
            at = at.value[step]
            index = at.start_mark.index
        else:
            break
    return index

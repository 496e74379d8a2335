"""Schemas out of Protocol Buffers: .proto text, folders of it, and serialized descriptor sets.

Nothing is read but the paths given, the import folders given, and the bundled google/{protobuf,api,rpc,type} protos.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import tempfile
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace as replaced
from pathlib import Path

from google.api import annotations_pb2  # registers the google.api.http option, so that it is parsed
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError

from protogw.descriptors.build import RULES_PROTO, Foreign, build, serialized
from protogw.descriptors.model import HttpRule, Method, Schema, SchemaError, Service
from protogw.wire.protojson import DEFAULT, JsonOptions

GATEWAY_OWN = frozenset(
    (
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "grpc.health.v1.Health",
    )
)
"""Services that the gateway answers itself: an upstream's own are never offered."""

MAX_BYTES = 64 << 20
MAX_FAULTS = 100

_BUNDLED = re.compile(
    r"google/(?:protobuf|api|rpc|type)/(?:[a-z0-9_]+/)*[a-z0-9_]+\.proto|buf/validate/validate\.proto"
)
_FAULT = re.compile(r"(?P<file>[^:\n]+\.proto):(?:(?P<line>\d+):(?P<column>\d+):)? (?P<text>.+)")
_compiling = threading.Lock()

assert annotations_pb2.http is not None


def load(
    paths: Sequence[Path],
    *,
    includes: Sequence[Path] = (),
    options: JsonOptions = DEFAULT,
    hide: Collection[str] = GATEWAY_OWN,
) -> Schema:
    """One schema of .proto files, folders of them, and descriptor set files.

    A file's imports are looked up in `includes`, then in its own import root (the folder above its package's path),
    then among the bundled protos. Raises SchemaError with every fault found.
    """
    sources: list[Path] = []
    sets: list[Path] = []
    roots: list[Path] = [path.resolve() for path in includes]
    for path in paths:
        if not path.exists():
            raise SchemaError(f"{path}: no such file or folder")
        if path.is_dir():
            found = sorted(one for one in path.rglob("*.proto") if one.is_file())
            if not found:
                raise SchemaError(f"{path}: no .proto file in this folder")
            sources.extend(found)
            roots.append(path.resolve())
        elif path.suffix == ".proto":
            sources.append(path)
        else:
            sets.append(path)
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for path in sets:
        if path.stat().st_size > MAX_BYTES:
            raise SchemaError(f"{path}: larger than {MAX_BYTES} bytes")
        _collect(_parse_set(path.read_bytes(), str(path)), files)
    if sources:
        _collect(compile_protos(sources, roots), files)
    return schema_of(files.values(), options=options, hide=hide)


def load_descriptor_set(data: bytes, options: JsonOptions = DEFAULT, *, hide: Collection[str] = GATEWAY_OWN) -> Schema:
    """The schema of a serialized google.protobuf.FileDescriptorSet, its files in any order."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    _collect(_parse_set(data, "descriptor set"), files)
    return schema_of(files.values(), options=options, hide=hide)


def schema_of(
    files: Iterable[descriptor_pb2.FileDescriptorProto],
    *,
    options: JsonOptions = DEFAULT,
    hide: Collection[str] = GATEWAY_OWN,
    known: Schema | None = None,
    foreign: Foreign | None = None,
) -> Schema:
    """The schema of these files; imports that are missing but bundled are added.

    `foreign` is what they do not say, where they were made of another schema language.
    `known` itself is returned when it is of the very same files: that is found out without building anything.
    """
    ordered = _ordered({file.name: file for file in files})
    if known is not None and hashlib.sha256(serialized(ordered)).hexdigest() == known.digest:
        return known
    return build(ordered, options, hide, foreign)


def with_rules(schema: Schema, rules: Mapping[str, Sequence[HttpRule]], *, replace: bool = False) -> Schema:
    """The schema with HTTP rules added to, or put in place of, those its methods are annotated with.

    A rule takes the place of the method's own for the same verb and path. `rules` is keyed by `package.Service/Method`.
    Raises SchemaError naming each method that does not exist.
    """
    known = {method.full_name for service in schema.services.values() for method in service.methods.values()}
    if unknown := [name for name in rules if name not in known]:
        raise SchemaError(*(f"{name}: no such method" for name in unknown))

    def ruled(method: Method) -> Method:
        more = rules.get(method.full_name)
        if more is None:
            return method
        taken = {(rule.verb, rule.template) for rule in more}
        kept = () if replace else (rule for rule in method.http if (rule.verb, rule.template) not in taken)
        return replaced(method, http=(*kept, *more), described=method.annotated)

    services = {
        name: Service(
            name=name,
            methods={key: ruled(method) for key, method in service.methods.items()},
            doc=service.doc,
        )
        for name, service in schema.services.items()
    }
    return Schema(services=services, types=schema.types, enums=schema.enums, descriptor_set=schema.descriptor_set)


def with_offers(schema: Schema, offers: Mapping[str, Mapping[str, object]]) -> Schema:
    """The schema with what the config says of its methods' offers, by `package.Service/Method`."""
    services = {
        name: Service(
            name=name,
            methods={
                key: replaced(method, offered={**method.offered, **offers[method.full_name]})
                if method.full_name in offers
                else method
                for key, method in service.methods.items()
            },
            doc=service.doc,
        )
        for name, service in schema.services.items()
    }
    return Schema(services=services, types=schema.types, enums=schema.enums, descriptor_set=schema.descriptor_set)


def compile_protos(sources: Sequence[Path], roots: Sequence[Path]) -> descriptor_pb2.FileDescriptorSet:
    """The descriptor set of .proto files with all their imports and comments; raises SchemaError as protoc says it."""
    real = {str(source.resolve()): str(source) for source in sources}
    searched = list(roots)
    for source in map(Path, real):
        if not any(source.is_relative_to(root) for root in searched):
            searched.append(_import_root(source))
    if split := [f"{root}: protoc cannot read a path with a colon" for root in searched if ":" in str(root)]:
        raise SchemaError(*split)
    with tempfile.TemporaryDirectory(prefix="protogw-") as folder:
        target = Path(folder, "set.binpb")
        faults = _protoc(list(real), searched, target)
        if any(fault.startswith(f"{RULES_PROTO}:") or f'"{RULES_PROTO}"' in fault for fault in faults):
            rules = Path(folder, "rules.binpb")
            rules.write_bytes(_rules_set())
            searched.append(rules)
            faults = _protoc(list(real), searched, target)
        if faults and len(real) > 1:
            # protoc stops at the first bad file: ask for each alone, so that every fault is told.
            faults = [fault for source in real for fault in _protoc([source], searched, target)]
        if faults:
            raise SchemaError(*dict.fromkeys(_as_given(fault, real) for fault in faults[:MAX_FAULTS]))
        return _parse_set(target.read_bytes(), "protoc's output")


def _protoc(sources: Sequence[str], roots: Sequence[Path], target: Path) -> list[str]:
    """Compile to a descriptor set; the faults, which are none when it was written. A root that is a file is a
    descriptor set, in which imports are looked up last."""
    from grpc_tools import _protoc_compiler  # a large library that only .proto text needs

    arguments = [
        "protoc",
        *(f"--descriptor_set_in={root}" if root.name == "rules.binpb" else f"-I={root}" for root in roots),
        *_bundled_folders(),
        f"--descriptor_set_out={target}",
        "--include_imports",
        "--include_source_info",
        *sources,
    ]
    with _Stderr(target.with_name("stderr")) as said:
        code = _protoc_compiler.run_main([os.fsencode(argument) for argument in arguments])
    if code != 0:
        return said.faults or said.other or ["protoc refused the files without saying why"]
    said.pass_on()
    return []


def _as_given(fault: str, real: Mapping[str, str]) -> str:
    """The fault with its file named as the caller named it."""
    file, colon, rest = fault.partition(":")
    return real.get(file, file) + colon + rest


class _Stderr:
    """Catches what protoc prints to the process's stderr, one compilation at a time."""

    def __init__(self, path: Path) -> None:
        self.faults: list[str] = []
        self.other: list[str] = []
        self._path = path
        self._saved = -1

    def __enter__(self) -> _Stderr:
        _compiling.acquire()
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            try:
                self._saved = os.dup(2)
            except OSError:  # the process has no stderr
                self._saved = -1
            with open(self._path, "wb") as target:
                os.dup2(target.fileno(), 2)
        except BaseException:  # whatever it is, the next one may compile
            _compiling.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._saved >= 0:
                os.dup2(self._saved, 2)
                os.close(self._saved)
            else:
                os.close(2)
        finally:
            _compiling.release()
        for line in self._path.read_text("utf-8", "replace").splitlines():
            if not _FAULT.match(line):
                self.other.append(line)
            elif ": warning: " not in line:
                self.faults.append(line)

    def pass_on(self) -> None:
        """Write on what others wrote to stderr while it was caught."""
        if self.other and sys.stderr is not None:
            sys.stderr.write("\n".join(self.other) + "\n")


def _import_root(source: Path) -> Path:
    """The folder that imports start from: above the package's path when the file lies in one, else the file's own."""
    found = re.search(rb"^\s*package\s+([\w.]+)\s*;", source.read_bytes(), re.MULTILINE)
    if found:
        parts = tuple(found[1].decode("ascii", "replace").split("."))
        if source.parent.parts[-len(parts) :] == parts:
            return Path(*source.parent.parts[: -len(parts)])
    return source.parent


def _bundled_folders() -> list[str]:
    """protoc's arguments that map the bundled virtual folders, and nothing beside them."""
    folders: list[str] = []
    tools = importlib.util.find_spec("grpc_tools")
    assert tools is not None
    assert tools.submodule_search_locations is not None
    for root in tools.submodule_search_locations:
        folders.append(f"-Igoogle/protobuf={Path(root, '_proto', 'google', 'protobuf')}")
    for name in ("api", "rpc", "type"):
        spec = importlib.util.find_spec(f"google.{name}")
        for root in (spec.submodule_search_locations or ()) if spec is not None else ():
            folders.append(f"-Igoogle/{name}={root}")
    return folders


def _parse_set(data: bytes, what: str) -> descriptor_pb2.FileDescriptorSet:
    try:
        parsed = descriptor_pb2.FileDescriptorSet.FromString(data)
    except DecodeError as error:
        raise SchemaError(f"{what}: not a google.protobuf.FileDescriptorSet") from error
    if not parsed.file or any(not file.name for file in parsed.file):
        raise SchemaError(f"{what}: not a google.protobuf.FileDescriptorSet, or an empty one")
    return parsed


def _collect(found: descriptor_pb2.FileDescriptorSet, into: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """Add the files; of a bundled one that differs the first is kept, any other must be the same."""
    for file in found.file:
        other = into.setdefault(file.name, file)
        if other is not file and not _BUNDLED.fullmatch(file.name) and _bare(other) != _bare(file):
            raise SchemaError(f"{file.name}: given twice, with different contents")


def _bare(file: descriptor_pb2.FileDescriptorProto) -> bytes:
    copy = descriptor_pb2.FileDescriptorProto()
    copy.CopyFrom(file)
    copy.ClearField("source_code_info")
    return copy.SerializeToString(deterministic=True)


def _ordered(files: dict[str, descriptor_pb2.FileDescriptorProto]) -> list[descriptor_pb2.FileDescriptorProto]:
    """The files and the bundled ones they import, imports first; the order depends on the names alone."""
    order: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    faults: list[str] = []
    visiting: set[str] = set()
    for top in sorted(files):
        # An explicit stack: a hostile set may chain imports deeper than Python recurses.
        stack: list[tuple[str, str, bool]] = [(top, "", False)]
        while stack:
            name, importer, done = stack.pop()
            if done:
                visiting.discard(name)
                order[name] = files[name]
                continue
            if name in order:
                continue
            if name in visiting:
                raise SchemaError(f"{importer}: import cycle through {name!r}")
            file = files.get(name) or bundled(name)
            if file is None:
                fault = f"{importer}: imports {name!r}, which is not in the descriptor set"
                if fault not in faults:
                    faults.append(fault)
                continue
            files[name] = file
            visiting.add(name)
            stack.append((name, importer, True))
            stack.extend((import_, name, False) for import_ in sorted(file.dependency, reverse=True))
    if faults:
        raise SchemaError(*faults)
    return list(order.values())


def _rules_set() -> bytes:
    """A descriptor set of protovalidate's annotations, behind what they import."""
    from protovalidate._gen.buf.validate import validate_pb  # a large library that few schemas need

    files = [file for name in _RULES_IMPORT if (file := bundled(name)) is not None]
    rules = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    return descriptor_pb2.FileDescriptorSet(file=[*files, rules]).SerializeToString()


_RULES_IMPORT = tuple(f"google/protobuf/{name}.proto" for name in ("descriptor", "duration", "field_mask", "timestamp"))


def bundled(name: str) -> descriptor_pb2.FileDescriptorProto | None:
    """The bundled file of this import path, or None."""
    if not _BUNDLED.fullmatch(name):
        return None
    if name == RULES_PROTO:
        return descriptor_pb2.FileDescriptorSet.FromString(_rules_set()).file[-1]
    try:
        importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        found = descriptor_pool.Default().FindFileByName(name)
    except (ImportError, KeyError):
        return None
    file = descriptor_pb2.FileDescriptorProto()
    found.CopyToProto(file)
    return file

"""What a type's own schema asks of its messages: field_behavior REQUIRED (AIP-203) and protovalidate's rules.

The rules are evaluated by protovalidate's Rust engine, whose regular expressions take linear time; what it costs is
bounded by the size of the message. A type without rules costs nothing: that is found out when the schema is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2

from protogw.call import Payload
from protogw.descriptors.build import RULES
from protogw.descriptors.model import Spelling, Type
from protogw.errors import Detail, InvalidRequest
from protogw.policies.message_paths import path_of
from protogw.wire.protowire import fields

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from protovalidate import Validator

MOST: Final = 20
"""Violations that are told."""
_ALL_BYTES: Final = 64 << 10
"""Of larger messages only the first violation is looked for: their number has no bound."""
_DEEPEST: Final = 100

_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_VIOLATIONS = "type.googleapis.com/buf.validate.Violations"
_NUMBERS = frozenset(
    (
        FieldDescriptor.CPPTYPE_BOOL,
        FieldDescriptor.CPPTYPE_DOUBLE,
        FieldDescriptor.CPPTYPE_FLOAT,
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    )
)


class Checks:
    """What is asked of one type's messages. Raises ValueError for rules that cannot be compiled."""

    def __init__(self, root: Type, known: Known) -> None:
        self._type = root
        reached = _reached(root, known)
        self._required = _Required.of(reached, root.name)
        self._validator: Validator | None = None
        if any(facts.rules for facts in reached.values()):
            self._compile(reached, known)
        self.unsaid = tuple(dict.fromkeys(said for name in reached for said in root.types[name].unsaid))
        """What the schema asks and no rule says."""

    def _compile(self, reached: Mapping[str, _Facts], known: Known) -> None:
        from protovalidate import (
            CompilationError,
            EvaluationError,  # only schemas with rules need it
        )

        self._codec = self._type.codec.ruled()
        self._validator = known.validator(self._type)
        self._unknown: tuple[type[Exception], ...] = (EvaluationError, CompilationError)
        for name, facts in reached.items():
            if (facts.rules or name == self._type.name) and (fault := known.fault(self._type.types[name])):
                raise ValueError(f"{name}: its rules cannot be compiled: {fault}")

    @property
    def any(self) -> bool:
        """Whether there is anything to check."""
        return self._validator is not None or self._required is not None

    def check(self, payload: Payload, spelling: Spelling = Spelling.PROTO) -> None:
        """Raises InvalidRequest with the violations as details, in which fields are called as `spelling` says."""
        data = payload.proto()
        found: list[tuple[str, str]] = []
        if self._required is not None:
            try:
                message = self._type.message.FromString(data)
            except DecodeError as error:
                raise InvalidRequest(f"the message is not a {self._type.name}") from error
            for path in self._required.missing(message, "", 0, spelling is not Spelling.PROTO):
                found.append((path, "must be set"))
                if len(found) >= MOST:
                    break
        violations: list[Any] = []
        if self._validator is not None:
            parsed = self._codec.parsed(data)
            try:
                violations = self._validator.collect_violations(parsed, fail_fast=True)
                if violations and len(data) <= _ALL_BYTES:
                    violations = self._validator.collect_violations(parsed)
            except self._unknown as error:
                raise InvalidRequest("the message cannot be checked: a rule has no answer for it") from error
        if found or violations:
            raise _refusal(found, violations, self._type, spelling)


def _refusal(missing: list[tuple[str, str]], violations: list[Any], root: Type, spelling: Spelling) -> InvalidRequest:
    protos = [violation.proto for violation in violations[:MOST]]
    told = [*missing, *((path_of(one.field, root, spelling), one.message or one.rule_id) for one in protos)][:MOST]
    details = [Detail(_BAD_REQUEST, _bad_request(told))]
    if protos:
        from protovalidate import ViolationsPb

        details.append(Detail(_VIOLATIONS, ViolationsPb(violations=protos).to_binary()))
    words = "; ".join([f"{path}: {said}" if path else said for path, said in told[:3]])
    more = len(missing) + len(violations) - min(3, len(told))
    return InvalidRequest(f"{words}; and {more} more" if more > 0 else words, details=tuple(details))


def _bad_request(told: list[tuple[str, str]]) -> bytes:
    violation = error_details_pb2.BadRequest.FieldViolation
    made = error_details_pb2.BadRequest(
        field_violations=[violation(field=path, description=said) for path, said in told]
    )
    written: bytes = made.SerializeToString()
    return written


class _Facts(NamedTuple):
    """What the descriptor of one type says."""

    required: tuple[FieldDescriptor, ...]
    held: tuple[tuple[FieldDescriptor, str], ...]
    """The fields with messages, and the type of each; of a map, of its values."""
    rules: bool


class Known:
    """What was found out of types before, schemas apart."""

    def __init__(self) -> None:
        self.facts: dict[tuple[int, str], _Facts] = {}
        self._validators: dict[int, Validator] = {}
        self._faults: dict[tuple[int, str], str] = {}

    def validator(self, one: Type) -> Validator:
        """The validator of the type's schema: what it has compiled of one message serves for all that hold it."""
        from protovalidate import Validator

        found = self._validators.get(id(one.types))
        if found is None:
            found = self._validators[id(one.types)] = Validator()
        return found

    def fault(self, one: Type) -> str:
        """Why the type's own rules cannot be compiled, empty if they can."""
        from protovalidate import CompilationError, EvaluationError

        key = (id(one.types), one.name)
        if key not in self._faults:
            self._faults[key] = ""
            try:
                self.validator(one).collect_violations(one.codec.ruled().parsed(b""))
            except (CompilationError, InvalidRequest, ValueError, RecursionError) as error:
                self._faults[key] = str(error)
            except EvaluationError:
                pass  # of an empty message, which need not come
        return self._faults[key]


def _reached(root: Type, known: Known) -> dict[str, _Facts]:
    """The type and all that its messages may hold, by full name; entries of maps apart."""
    found: dict[str, _Facts] = {}
    stack = [root.name]
    while stack:
        name = stack.pop()
        if name in found:
            continue
        key = (id(root.types), name)
        facts = known.facts.get(key)
        if facts is None:
            facts = known.facts[key] = _facts(root.types[name].message.DESCRIPTOR)
        found[name] = facts
        stack.extend(held for _, held in facts.held)
    return found


def _facts(one: Descriptor) -> _Facts:
    required = tuple(field for field in one.fields if _is_required(field))
    held = tuple((field, type_name) for field in one.fields if (type_name := _held(field)))
    options = [one.GetOptions(), *(field.GetOptions() for field in one.fields), *(of.GetOptions() for of in one.oneofs)]
    rules = any(number == RULES for made in options for number, _ in fields(made.SerializeToString()))
    return _Facts(required, held, rules)


def _held(field: FieldDescriptor) -> str:
    """The message type of a field's values, of a map's those of its entries; empty when they are no messages."""
    held = field.message_type
    if held is not None and _is_map(field):
        held = held.fields_by_name["value"].message_type
    return str(held.full_name) if held is not None else ""


def _is_map(field: FieldDescriptor) -> bool:
    held = field.message_type
    return held is not None and field.is_repeated and bool(held.GetOptions().map_entry)


class _Required:
    """A type's required fields, and those through which there may be more."""

    __slots__ = ("fields", "within")

    def __init__(self, required: tuple[FieldDescriptor, ...]) -> None:
        self.fields = required
        self.within: list[tuple[FieldDescriptor, bool, _Required]] = []

    @staticmethod
    def of(reached: Mapping[str, _Facts], root: str) -> _Required | None:
        """What is required of the root type's messages, None if nothing."""
        holders: dict[str, list[str]] = {}
        for name, facts in reached.items():
            for _, held in facts.held:
                holders.setdefault(held, []).append(name)
        # Those that hold a required field at any depth, found from the inside out.
        matter: set[str] = set()
        stack = [name for name, facts in reached.items() if facts.required]
        while stack:
            name = stack.pop()
            if name not in matter:
                matter.add(name)
                stack.extend(holders.get(name, ()))
        made = {name: _Required(reached[name].required) for name in matter}
        for name, one in made.items():
            one.within = [(field, _is_map(field), made[held]) for field, held in reached[name].held if held in made]
        return made.get(root)

    def missing(self, message: Any, prefix: str, depth: int, in_json: bool) -> Iterator[str]:
        """The paths of the required fields that are not set, in this message and those within it."""
        for field in self.fields:
            name = field.name
            if not (message.HasField(name) if field.has_presence else getattr(message, name)):
                yield prefix + (field.json_name if in_json else name)
        if depth >= _DEEPEST:
            return
        for field, is_map, inner in self.within:
            name = field.name
            shown = f"{prefix}{field.json_name if in_json else name}"
            if not field.is_repeated:
                if message.HasField(name):
                    yield from inner.missing(getattr(message, name), f"{shown}.", depth + 1, in_json)
                continue
            values = getattr(message, name)
            if is_map:
                for key in values:
                    of_key = f'"{key[:100]}"' if isinstance(key, str) else str(key).lower()
                    yield from inner.missing(values[key], f"{shown}[{of_key}].", depth + 1, in_json)
            else:
                for index, value in enumerate(values):
                    yield from inner.missing(value, f"{shown}[{index}].", depth + 1, in_json)


def _is_required(field: FieldDescriptor) -> bool:
    """Whether the field must be set. A number without presence is never missing: 0 is a number."""
    behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    if field_behavior_pb2.REQUIRED not in behaviors:
        return False
    return field.has_presence or field.is_repeated or field.cpp_type not in _NUMBERS

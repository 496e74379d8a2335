"""The text of an expression → what reads its value of a call: straight code for a bare path, CEL for the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from protogw.call import Call, Payload
from protogw.expressions.roots import MEMBERS, QUICK, ROOTS, ExpressionError, Reader, between

_FIELDS = re.compile(r"(?<![\w.])message((?:\s*\.\s*[A-Za-z_]\w*+(?!\s*\())+)")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_-]+)*")
_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_MEMBER = re.compile(r"(?<![\w.])(identity|peer)\s*\.\s*([A-Za-z_]\w*)(?!\w*\s*\()")
_PATTERN = re.compile(r"""\bmatches\s*\((?:[^"'()]*,)?\s*(r?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))\s*\)""")
"""A regular expression that stands in an expression as it is."""
_QUOTED = re.compile(r"""r?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")


def compiled(text: str) -> Reader:
    """What reads the value. Raises ValueError whose message follows the expression: `"…" is not an expression: …`."""
    if _is_path(text):
        return _compiled_path(text)
    bare = _QUOTED.sub('""', text)
    for root, member in _MEMBER.findall(bare):
        _check_member(root, member)
    return _compiled_cel(text, _roots_of(bare))


def message_fields(text: str) -> list[str] | None:
    """The fields of the message that it names, `book.title` for `message.book.title`; None when it reads no message."""
    if _is_path(text):
        root, _, path = text.partition(".")
        return None if root != "message" else [path] if path else []
    bare = _QUOTED.sub('""', text)
    if "message" not in _roots_of(bare):
        return None
    return ["".join(path.split()).removeprefix(".") for path in _FIELDS.findall(bare)]


def _is_path(text: str) -> bool:
    return _PATH.fullmatch(text) is not None and text not in ("true", "false", "null")


def _roots_of(bare: str) -> set[str]:
    return {word for word in _WORD.findall(bare) if word in ROOTS}


def _check_member(root: str, name: str) -> None:
    known = MEMBERS.get(root)
    if known is not None and name not in known:
        raise ValueError(f"is not an expression: {root} has no {name}, but {', '.join(sorted(known))}")


def _compiled_path(text: str) -> Reader:
    fast = QUICK.get(text)
    if fast is not None:
        return fast
    root, *members = text.split(".")
    read = ROOTS.get(root)
    if read is None:
        known = ", ".join(ROOTS)
        raise ValueError(f"is not an expression: there is no {root}; there are {known}")
    if members:
        _check_member(root, members[0])
    if root in ("header", "metadata"):
        if len(members) != 1:
            raise ValueError(f"is not an expression: write {root}.NAME")
        name = members[0].lower().encode()
        separator = between(name)

        def field(call: Call, payload: Payload | None) -> str:
            found: bytes | None = None
            for key, value in call.metadata.pairs:
                if key == name:
                    found = value if found is None else found + separator + value
            return found.decode("utf-8", "replace") if found is not None else ""

        return field
    if not members:
        return read

    def member(call: Call, payload: Payload | None) -> Any:
        value = read(call, payload)
        for name in members:
            if not isinstance(value, Mapping) or name not in value:
                raise ExpressionError(f"{text}: there is no {name}")
            value = value[name]
        return value

    return member


def _compiled_cel(text: str, roots: set[str]) -> Reader:
    try:
        from cel_expr_python import cel  # some platforms have no build of it, and most configs need none
    except ImportError as error:
        raise ValueError("cannot be read: cel-expr-python is not installed; only plain paths do without it") from error
    kinds = {"method": cel.Type.STRING, "service": cel.Type.STRING, "front_end": cel.Type.STRING}
    kinds |= {"host": cel.Type.STRING, "path": cel.Type.STRING}
    environment = cel.NewEnv(variables={name: kinds.get(name, cel.Type.DYN) for name in ROOTS})
    try:
        program = environment.compile(text)
    except RuntimeError as error:
        raise ValueError(f"is not an expression: {_complaint(str(error))}") from error
    failed = cel.Type.ERROR
    quoted = [found.span() for found in _QUOTED.finditer(text)]
    for found in _PATTERN.finditer(text):
        if any(start < found.start() < end for start, end in quoted):
            continue
        # CEL reads it when it is used, and would have no value for any call.
        tried = environment.compile(f'"".matches({found[1]})').eval(data={})
        if tried.type() == failed:
            raise ValueError(f"is not an expression: {str(tried.value()).partition(': ')[2]}")
    readers = tuple((name, ROOTS[name]) for name in sorted(roots))

    def evaluate(call: Call, payload: Payload | None) -> Any:
        try:
            result = program.eval(data={name: read(call, payload) for name, read in readers})
        except RuntimeError as error:  # of half a surrogate pair
            raise ExpressionError(f"{text}: is about what is no text") from error
        if result.type() == failed:
            raise ExpressionError(f"{text}: {result.value()}")
        return result.plain_value()

    return evaluate


_CEL_FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): ([^\n]*)")


def _complaint(said: str) -> str:
    found = _CEL_FAULT.search(said)
    return f"{found[3]} (column {found[2]})" if found is not None else said.splitlines()[0]

"""Every regular expression that the gateway holds ends soon, whatever it is given (regex bombs): the inputs are long
repetitions that make a pattern with nested or adjacent quantifiers go back and forth."""

from __future__ import annotations

import importlib
import pkgutil
import re
import signal
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import protogw_translators
import pytest

import protogw

LENGTH = 64 << 10
ENDS_S = 20
"""What is linear takes milliseconds for this much, what is quadratic minutes: no machine is so slow as to blur that."""

SEEDS = (
    *("a", "0", " ", "\t", "-", "_", ".", "/", "=", ";", ",", '"', "\\", "é"),
    *("%41", "a.", "a-", "a,", "a=", "{a}", "{a=", "1s"),
)
TAILS = ("!", "\n", "\0", '"', "")


def modules() -> Iterator[ModuleType]:
    for package in (protogw, protogw_translators):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith(("__main__", "_pb2_grpc")):
                yield importlib.import_module(found.name)


def patterns() -> dict[str, re.Pattern[Any]]:
    """Those of modules and of classes, by where they are."""
    found: dict[str, re.Pattern[Any]] = {}
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                found[f"{module.__name__}.{name}"] = value
            elif isinstance(value, type) and value.__module__ == module.__name__:
                found |= {
                    f"{module.__name__}.{name}.{inner}": one
                    for inner, one in vars(value).items()
                    if isinstance(one, re.Pattern)
                }
    return found


PATTERNS = patterns()


def test_there_are_patterns_to_try() -> None:
    assert len(PATTERNS) > 40


@pytest.mark.parametrize("where", sorted(PATTERNS))
def test_a_pattern_ends_whatever_it_is_given(where: str) -> None:
    pattern = PATTERNS[where]
    binary = isinstance(pattern.pattern, bytes)

    def over(number: int, frame: object) -> None:
        raise TimeoutError(f"{where}: {pattern.pattern!r} does not end")

    before = signal.signal(signal.SIGALRM, over)
    try:
        for seed in SEEDS:
            for tail in TAILS:
                text: Any = seed * (LENGTH // len(seed)) + tail
                if binary:
                    text = text.encode()
                signal.alarm(ENDS_S)
                pattern.fullmatch(text)
                pattern.match(text)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

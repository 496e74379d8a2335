"""JSON values as YAML that every YAML reader takes for the same values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

_AMBIGUOUS = re.compile(r"[-+.0-9~=]|(?:y|n|yes|no|on|off|true|false|null|nan|inf)\Z", re.IGNORECASE)
"""Texts that a reader of YAML 1.1 or of 1.2 may take for something else when they stand without quotes."""


class _Dumper(yaml.SafeDumper):
    """Writes every value where it belongs: never as an alias of an equal one."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else "'" if _AMBIGUOUS.match(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def yaml_text(value: Mapping[str, Any]) -> str:
    """The value as a YAML document, members in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)

"""The config models written out: as JSON Schema for editors, and as the reference page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from protogw.config.kinds import Kinds, settings_of, summary
from protogw.config.load import keys_of
from protogw.config.model import configured
from protogw.values import DURATION_EXAMPLES, SIZE_EXAMPLES, format_duration, format_size


def json_schema(kinds: Kinds) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a config with these kinds."""
    schema: dict[str, Any] = configured(kinds).model_json_schema(by_alias=True)
    _tidy(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "protogw configuration", **schema}


def json_schema_text(kinds: Kinds) -> str:
    """The schema as it is committed and printed."""
    return orjson.dumps(json_schema(kinds), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _tidy(node: Any) -> None:
    """Drop what says nothing to an editor: titles made from names, null beside the forms that may be written, and
    defaults that are whole mappings. Durations and sizes get their defaults as a user writes them."""
    if isinstance(node, list):
        for item in node:
            _tidy(item)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("title"), str):
        del node["title"]
    forms = node.get("anyOf")
    if isinstance(forms, list):
        flat: list[Any] = []
        for form in forms:
            flat.extend(form["anyOf"] if set(form) == {"anyOf"} else [form])
        flat = [form for form in flat if form != {"type": "null"}]
        if len(flat) == 1:
            del node["anyOf"]
            for key, value in flat[0].items():
                node.setdefault(key, value)
        else:
            node["anyOf"] = flat
    if "default" in node:
        default = node["default"]
        if default is None or isinstance(default, (dict, list)):
            del node["default"]
        elif not isinstance(default, str):
            node["default"] = _as_written(default, node.get("examples"))
    for key, value in list(node.items()):
        if key == "properties":
            for inner in value.values():
                _tidy(inner)
        else:
            _tidy(value)


def _as_written(default: Any, examples: Any) -> Any:
    if examples == DURATION_EXAMPLES:
        return format_duration(default)
    return format_size(default) if examples == SIZE_EXAMPLES else default


def reference(kinds: Kinds) -> str:
    """The reference page: one table a mapping, in the order of the file."""
    schema = json_schema(kinds)
    lines = [
        "# Configuration reference",
        "",
        "One YAML file. Generated from the models that read it (`make generate`); [config.md](config.md) explains.",
        "",
    ]
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    lines += _section("The file", schema)
    for name in _in_order(schema, definitions):
        definition = definitions[name]
        lines += _section(_title(name), definition)
    for title, table in (
        ("Front ends", kinds.front_ends),
        ("Upstream kinds", kinds.translators),
        ("Passed through", kinds.passthroughs),
        ("Policies", kinds.policies),
        ("Balancers", kinds.balancers),
        ("Health checks", kinds.probes),
    ):
        lines += [f"## {title}", "", "| kind | what it is | settings |", "|---|---|---|"]
        for kind, part in table.items():
            settings = ", ".join(f"`{key}`" for key in keys_of(settings_of(part))) or "none"
            lines.append(f"| `{kind}` | {_cell(summary(part))} | {settings} |")
        lines.append("")
    return "\n".join(lines)


def _in_order(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """The definitions in the order in which a reader of the file comes to them."""
    found: list[str] = []
    waiting = [schema]
    while waiting:
        for name in _references(waiting.pop(0)):
            if name not in found:
                found.append(name)
                waiting.append(definitions[name])
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$defs":
                continue
            if key == "$ref":
                yield str(value).rpartition("/")[2]
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _title(name: str) -> str:
    """`protogw__frontends__rest__Settings` → `rest settings`, `ListenerTls` → `Listener tls`."""
    parts = name.split("__")
    if parts[-1].endswith("Settings") and len(parts) > 1:
        return f"{parts[-2]} settings"
    words = "".join(f" {char.lower()}" if char.isupper() else char for char in parts[-1]).strip()
    return words[:1].upper() + words[1:]


def _section(title: str, definition: Mapping[str, Any]) -> list[str]:
    full = definition
    for form in definition.get("anyOf", ()):
        if "properties" in form:
            full = form
    lines = [f"## {title}", ""]
    described = str(definition.get("description") or full.get("description") or "").split("\n\n")[0]
    if described:
        lines += [" ".join(described.split()), ""]
    properties: Mapping[str, Any] = full.get("properties", {})
    if not properties:
        return [*lines, "No settings.", ""]
    required = full.get("required", ())
    lines += ["| key | value | default | what it does |", "|---|---|---|---|"]
    for key, value in properties.items():
        default = "**required**" if key in required else _default(value)
        text = _cell(" ".join(str(value.get("description", "")).split()))
        lines.append(f"| `{key}` | {_cell(_form(value))} | {default} | {text} |")
    return [*lines, ""]


def _form(value: Mapping[str, Any]) -> str:
    """What may be written, in a few words."""
    if value.get("examples") == DURATION_EXAMPLES:
        return "duration"
    if value.get("examples") == SIZE_EXAMPLES:
        return "size"
    if "$ref" in value:
        return _title(str(value["$ref"]).rpartition("/")[2]).lower()
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    if "const" in value:
        return f"`{str(value['const']).lower()}`"
    if "anyOf" in value:
        forms = list(dict.fromkeys(_form(form) for form in value["anyOf"]))
        if len(forms) > 1 and forms[-1] == f"list of {forms[-2]}":
            forms[-2:] = [f"{forms[-2]}, or a list"]
        return " or ".join(forms)
    kind = value.get("type")
    if kind == "array":
        return f"list of {_form(value.get('items', {}))}"
    if kind == "object":
        inner = value.get("additionalProperties") or next(iter(value.get("patternProperties", {}).values()), None)
        return f"name → {_form(inner)}" if isinstance(inner, dict) else "mapping"
    example = f" (`{value['examples'][0]}`)" if value.get("examples") else ""
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return names.get(str(kind), "any") + example


def _default(value: Mapping[str, Any]) -> str:
    if value.get("default", "") == "":
        return ""
    default = value["default"]
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

"""Generates what is committed but not written by hand; with --check it only says what is out of date.

Python message classes from protos/, the configuration's JSON Schema, and the support matrix in the README.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "translators")]


def protobuf() -> Iterator[tuple[Path, str]]:
    """Message classes, stubs and service classes, beside the Python package that their proto path mirrors."""
    from google.api import annotations_pb2
    from grpc_tools import protoc

    sources = sorted((ROOT / "protos").rglob("*.proto"))
    with tempfile.TemporaryDirectory() as out:
        status = protoc.main(
            [
                "protoc",
                f"-I{ROOT / 'protos'}",
                f"-I{files('grpc_tools') / '_proto'}",
                f"-I{Path(annotations_pb2.__file__).parent.parent.parent}",
                f"--python_out={out}",
                f"--pyi_out={out}",
                f"--grpc_python_out={out}",
                *map(str, sources),
            ]
        )
        if status:
            raise SystemExit(status)
        for made in sorted(Path(out).rglob("*.py*")):
            text = made.read_text()
            if made.name.endswith("_pb2_grpc.py") and "Servicer" not in text:
                continue
            yield ROOT / made.relative_to(out), text


def support_matrix() -> Iterator[tuple[Path, str]]:
    """The README's table of what is offered in front of what, between its markers."""
    from scripts.support_matrix import table

    readme = ROOT / "README.md"
    text = readme.read_text()
    start, end = "<!-- support matrix: generated -->\n", "<!-- end of support matrix -->"
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    yield readme, f"{head}{start}{table()}{end}{tail}"


def config_schema() -> Iterator[tuple[Path, str]]:
    """The JSON Schema and the reference of the configuration, from the config models and the tables of kinds."""
    from protogw.assembly import KINDS
    from protogw.config.schema import json_schema_text, reference

    yield ROOT / "schema" / "config.schema.json", json_schema_text(KINDS)
    yield ROOT / "docs" / "config-reference.md", reference(KINDS)


GENERATORS = {"protobuf": protobuf, "matrix": support_matrix, "schema": config_schema}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is out of date")
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"of {', '.join(GENERATORS)}; all by default")
    options = parser.parse_args()
    if unknown := set(options.what) - set(GENERATORS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    stale = 0
    for name in options.what or GENERATORS:
        for path, text in GENERATORS[name]():
            if path.exists() and path.read_text() == text:
                continue
            stale += 1
            print(f"{'out of date' if options.check else 'wrote'}: {path.relative_to(ROOT)}")
            if not options.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    if options.check and stale:
        print("run: make generate", file=sys.stderr)
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What must hold for the repository as a whole: nothing generated is out of date, parts import only what they may."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, SOURCES, require_tool

OURS = [ROOT / name for name in ("protogw", "translators", "benchmarks", "scripts", "examples", "tests/support")]


def checked(*argv: str) -> None:
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={"PYTHONPATH": SOURCES},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_that_is_generated_is_out_of_date() -> None:
    checked(sys.executable, "scripts/generate.py", "--check")


def test_parts_import_only_what_they_may() -> None:
    checked(require_tool("lint-imports"), "--no-cache")


def test_no_file_is_too_long_to_read() -> None:
    generated = re.compile(r"_pb2(_grpc)?\.pyi?$")
    files = [path for folder in OURS for path in folder.rglob("*.py")]
    lengths = {path: path.read_text().count("\n") for path in files if not generated.search(path.name)}
    assert [f"{path.relative_to(ROOT)}: {length}" for path, length in lengths.items() if length > 600] == []


PAGES = [
    *("README.md", "CONTRIBUTING.md"),
    *(str(page.relative_to(ROOT)) for folder in ("docs", "examples") for page in sorted((ROOT / folder).rglob("*.md"))),
]


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = [found for found in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in found]
    folder: Path = (ROOT / page).parent
    assert [target for target in targets if not (folder / target).exists()] == []

"""The Grafana dashboard in the documents: its queries are PromQL, and ask for metrics and labels that there are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from protogw.gateway import Gateway
from protogw.observe.exposition import Exposition
from protogw.observe.metrics import Metrics
from tests.support.processes import ROOT, require_tool

DASHBOARD = ROOT / "docs" / "grafana" / "protogw.json"

_NAME = re.compile(r"\b((?:protogw|process)_[a-z0-9_]+)")
_LABELS = re.compile(r"\{([^}]*)\}|by \(([^)]*)\)")
_OF_SERIES = re.compile(r"_(?:bucket|sum|count)$")


def expressions() -> list[str]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def counted_by_policies() -> set[str]:
    """The names that policies and the rest of the program bind, as they are written there."""
    found: set[str] = set()
    for path in (ROOT / "protogw").rglob("*.py"):
        text = path.read_text()
        found |= set(re.findall(r'(?:\.count|\.counts|\.gauge|\.total)\(\s*"([a-z_]+)"', text))
        found |= set(re.findall(r'name, what = "([a-z_]+)"', text))
    return found


async def test_every_metric_that_it_asks_for_is_one_that_there_is() -> None:
    families = Exposition(Metrics(), Gateway({}), dropped=lambda: 0).families()
    names = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    own = counted_by_policies()
    names |= {f"protogw_{name}_total" for name in own} | {f"protogw_{name}" for name in own}
    asked = {_OF_SERIES.sub("", name) for expression in expressions() for name in _NAME.findall(expression)}
    assert len(asked) > 20
    assert asked - names == set()


async def test_every_metric_of_the_gateways_own_is_on_it_or_known_to_be_missing() -> None:
    families = Exposition(Metrics(), Gateway({}), dropped=lambda: 0).families()
    asked = " ".join(expressions())
    unshown = {one.name for one in families if one.name.startswith("protogw") and one.name not in asked}
    # What says little over time: shown as tables elsewhere, or of use in a search alone.
    assert unshown == {
        "protogw_draining",
        "protogw_listener_accepted",
        "protogw_listener_accepts_held",
        "protogw_methods",
        "protogw_passed_received_bytes",
        "protogw_passed_seconds",
        "protogw_passed_sent_bytes",
    }


@pytest.mark.parametrize("expression", expressions())
def test_every_label_that_it_asks_for_is_one_that_there_is(expression: str) -> None:
    known = {"frontend", "upstream", "service", "method", "code", "le", "listener", "kind", "endpoint", "state"}
    known |= {"policy", "outcome", "reason", "job"}
    asked: set[str] = set()
    for selected, grouped in _LABELS.findall(expression):
        asked |= {re.split("[=!]", part)[0] for part in selected.split(",") if part}
        asked |= {part.strip() for part in grouped.split(",") if part}
    assert asked - known == set()


def test_its_panels_do_not_overlap_and_are_known_apart() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_promtool_takes_every_query(tmp_path: Path) -> None:
    tool = require_tool("promtool")
    rules = [
        {"record": f"panel:{index}", "expr": re.sub(r"\$__\w+", "5m", text).replace("$frontend", ".*")}
        for index, text in enumerate(expressions())
    ]
    for rule in rules:
        rule["expr"] = rule["expr"].replace("$upstream", ".*").replace("$job", ".*")
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([tool, "check", "rules", str(path)], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()

"""The benchmark's ratios and tables, from made-up scores."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from benchmarks import report
from benchmarks.load import Burst
from benchmarks.measure import Outcome, Score
from benchmarks.rows import ROWS


def outcome() -> Outcome:
    ours = Score(peer="protogw", cpu=[50e-6, 40e-6, 60e-6], rate=[1.0] * 3, p50=[0.001] * 3, p99=[0.002] * 3)
    theirs = Score(peer="Envoy", cpu=[100e-6, 100e-6, 60e-6], rate=[1.0] * 3, p50=[0.001] * 3, p99=[0.002] * 3)
    return Outcome(row=ROWS[0], scores={"protogw": ours, "Envoy": theirs, "nginx": Score(peer="nginx", refused="404")})


def test_a_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    assert outcome().ratio("protogw", "Envoy") == 2.0
    assert outcome().ratio("protogw", "nginx") is None


def test_percentiles_are_those_of_the_answers() -> None:
    burst = Burst(requests=100, failed=0, wall_s=1.0, latencies=[number / 1000 for number in range(100)])
    assert (burst.p99, burst.percentile(1.0)) == (0.099, 0.099)


def test_results_are_saved_as_json_and_markdown(tmp_path: Path) -> None:
    written = report.save([outcome()], tmp_path, rounds=3, seconds=1.0, name="made-up")
    data = json.loads(written[0].read_text())
    assert data["rows"][0]["ratio"] == 2.0
    assert data["rows"][0]["scores"][2] == {"peer": "nginx", "refused": "404"}
    assert "| protogw | 50.00 | 20,000 |" in written[1].read_text()


def test_the_table_names_every_peer(capsys) -> None:
    report.show([outcome()], Console(width=120))
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("protogw", "Envoy", "nginx"))

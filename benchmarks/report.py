"""Results as a table for the terminal, a Markdown page, JSON and a plot."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Outcome
from benchmarks.rows import Row

OURS, PEER = "protogw", "Envoy"
"""Ratios are to this peer where a row names no other."""
_COLOURS = {
    "protogw": "#2a78d6",
    "Envoy": "#9a9890",
    "nginx": "#c9c7bf",
    "HAProxy": "#7fae6f",
    "nginx stream": "#b7d3ae",
}
_HEADINGS = ("job", "gateway", "CPU µs each", "each core-second", "p50 ms", "p99 ms", "× peer", "aim")


def _lines(outcomes: Sequence[Outcome], *, short: bool = False) -> list[tuple[str, ...]]:
    lines = []
    for outcome in outcomes:
        for score in outcome.scores.values():
            title = outcome.row.key if short else outcome.row.title
            if score.refused:
                lines.append((title, score.peer, "cannot", "", "", "", "", ""))
                continue
            against = outcome.row.against
            ratio = outcome.ratio(score.peer, against)
            mine = score.peer == OURS
            lines.append(
                (
                    title,
                    score.peer + (f" ({score.failed} failed)" if score.failed else ""),
                    f"{score.cpu_us:.2f}",
                    f"{score.per_core_second:,.0f}",
                    f"{statistics.median(score.p50) * 1e3:.2f}",
                    f"{statistics.median(score.p99) * 1e3:.2f}",
                    f"{ratio:.2f}" if ratio is not None and score.peer != against else "",
                    _aim(outcome.row) if mine else "",
                )
            )
    return lines


def _aim(row: Row) -> str:
    if not row.target:
        return ""
    return f"{row.target:.1f}" if row.against == PEER else f"{row.target:.1f} × {row.against}"


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """The table on the terminal; a ratio is green when it reaches its aim."""
    table = Table(title="CPU time of the gateway's process")
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="left" if number < 2 else "right")
    last = ""
    for line in _lines(outcomes, short=True):
        title, ratio, aim = line[0], line[6], line[7]
        if last and title != last:
            table.add_section()
        colour = "" if not (ratio and aim) else "[green]" if float(ratio) >= float(aim.split()[0]) else "[red]"
        table.add_row("" if title == last else title, *line[1:6], colour + ratio, aim)
        last = title
    console.print(table)


def save(outcomes: Sequence[Outcome], folder: Path, *, rounds: int, seconds: float, name: str) -> list[Path]:
    """Write name.json, name.md and name.png; the plot is left out where matplotlib is not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    data = {
        "when": when,
        "machine": machine(),
        "rounds": rounds,
        "seconds_a_round": seconds,
        "rows": [
            {
                "key": outcome.row.key,
                "title": outcome.row.title,
                "unit": outcome.row.unit,
                "target": outcome.row.target,
                "against": outcome.row.against,
                "ratio": outcome.ratio(OURS, outcome.row.against),
                "scores": [score.as_json() for score in outcome.scores.values()],
            }
            for outcome in outcomes
        ],
    }
    written = [folder / f"{name}.json", folder / f"{name}.md"]
    written[0].write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    rows = [_HEADINGS, tuple("---" if number < 2 else "---:" for number in range(len(_HEADINGS))), *_lines(outcomes)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    written[1].write_text(
        f"# Measured {when}\n\n"
        f"{machine()}. {rounds} rounds of about {seconds:g} s for each gateway, in turn; medians.\n"
        "CPU is user and system time of the gateway's processes, from /proc. Compare within one run only.\n"
        f"The peer is {PEER} where the aim names no other.\n\n"
        f"{table}\n"
    )
    plot = folder / f"{name}.png"
    if _plot(outcomes, plot, when):
        written.append(plot)
    return written


def machine() -> str:
    """What measured."""
    return f"{platform.machine()}, {_processor()}, Python {platform.python_version()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _plot(outcomes: Sequence[Outcome], path: Path, when: str) -> bool:
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot

    shown = [outcome for outcome in outcomes if outcome.row.per_request == 1][::-1]
    peers = [name for name in _COLOURS if any(name in outcome.scores for outcome in shown)]
    figure, axes = pyplot.subplots(figsize=(9, 1.4 + 0.62 * len(shown)), layout="constrained")
    ranks = [[peer for peer in peers if peer in outcome.scores and outcome.scores[peer].cpu] for outcome in shown]
    height = 0.8 / max(1, *map(len, ranks))
    for peer in peers:
        places, values = [], []
        for place, (outcome, present) in enumerate(zip(shown, ranks, strict=True)):
            if peer in present:
                # Around the middle of the row, however few there are.
                places.append(place + height * ((len(present) - 1) / 2 - present.index(peer)))
                values.append(outcome.scores[peer].cpu_us)
        bars = axes.barh(places, values, height * 0.86, color=_COLOURS[peer], label=peer)
        labels = [f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in values]
        axes.bar_label(bars, labels, padding=3, fontsize=8, color="#52514e")
    axes.set_yticks(range(len(shown)), [outcome.row.title for outcome in shown], fontsize=9)
    axes.set_title("CPU microseconds for one request; less is better", loc="left", fontsize=11, pad=26)
    axes.set_xlabel(f"median of the rounds, {when}", fontsize=8, color="#52514e")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False, colors="#52514e")
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.legend(
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(peers),
        borderaxespad=0.2,
        fontsize=8,
        columnspacing=1.0,
        handlelength=1.2,
    )
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return True

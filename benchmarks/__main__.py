"""python -m benchmarks: this gateway, Envoy and nginx do the same jobs in turn."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import report
from benchmarks.backends import Backends
from benchmarks.measure import measure
from benchmarks.peers import PEERS, Peer
from benchmarks.processes import Missing
from benchmarks.rows import ROWS

RESULTS = Path(__file__).with_name("results")


def _options() -> argparse.Namespace:
    keys = [row.key for row in ROWS]
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(keys)}; all by default")
    parser.add_argument("--quick", action="store_true", help="two short rounds each: under two minutes, and noisier")
    parser.add_argument("--rounds", type=int, help="rounds for each gateway (default 5)")
    parser.add_argument("--seconds", type=float, help="about how long a round is (default 2)")
    parser.add_argument("--peers", help=f"of {','.join(names)}; all by default")
    parser.add_argument("--save", metavar="NAME", help="the results' name (default: latest, or quick with --quick)")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(keys):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    options.peers = options.peers.split(",") if options.peers else names
    if unknown := set(options.peers) - set(names):
        parser.error(f"no such gateway: {', '.join(sorted(unknown))}")
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.4 if options.quick else 2.0)
    options.save = options.save or ("quick" if options.quick else "latest")
    return options


def main() -> int:
    options = _options()
    console = Console()
    rows = [row for row in ROWS if not options.rows or row.key in options.rows]
    peers: list[Peer] = []
    outcomes = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="protogw-bench-") as name:
        folder = Path(name)
        backends: Backends | None = None
        try:
            backends = Backends(folder)
            for kind in PEERS:
                if kind.name in options.peers:
                    try:
                        peers.append(kind(folder, backends))
                    except Missing as error:
                        console.print(f"[yellow]{kind.name} is left out:[/] {escape(str(error))}", highlight=False)
            with Progress(*columns, console=console, transient=True) as progress:
                task = progress.add_task("", total=len(rows))
                for row in rows:
                    outcomes.append(
                        measure(
                            row,
                            peers,
                            rounds=options.rounds,
                            seconds=options.seconds,
                            folder=folder,
                            tell=lambda text: progress.update(task, description=text),
                        )
                    )
                    progress.advance(task)
        except Missing as error:
            console.print(f"[red]{error}[/]", highlight=False)
            return 1
        finally:
            for peer in peers:
                peer.stop()
            if backends is not None:
                backends.stop()
    report.show(outcomes, console)
    for outcome in outcomes:
        for score in outcome.scores.values():
            if score.refused:
                console.print(f"{outcome.row.key}: {score.peer}: {score.refused}", markup=False, highlight=False)
    for path in report.save(outcomes, RESULTS, rounds=options.rounds, seconds=options.seconds, name=options.save):
        console.print(f"wrote {path}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

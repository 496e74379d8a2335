"""`protogw kinds`: the tables of interchangeable parts."""

from __future__ import annotations

from protogw.assembly import KINDS
from protogw.commands.terminal import print_json, print_table
from protogw.config.kinds import settings_of, summary
from protogw.config.load import keys_of


def kinds(*, as_json: bool) -> None:
    tables = {
        "front end": KINDS.front_ends,
        "upstream": KINDS.translators,
        "policy": KINDS.policies,
        "balancer": KINDS.balancers,
        "health check": KINDS.probes,
    }
    rows = [
        (part, kind, list(keys_of(settings_of(found))), summary(found))
        for part, table in tables.items()
        for kind, found in table.items()
    ]
    if as_json:
        print_json([dict(zip(("part", "kind", "settings", "what"), row, strict=True)) for row in rows])
        return
    print_table(
        ("part", "kind", "settings", "what it is"),
        [(part, kind, ", ".join(settings), what) for part, kind, settings, what in rows],
    )

"""The README's support matrix: from the tables of kinds, and what the matrix tests hold to be true of each pair."""

from __future__ import annotations

from tests.matrix import pairs

NAMES = {
    "rest": "REST",
    "grpc": "gRPC",
    "grpc-web": "gRPC-Web",
    "connect": "Connect",
    "graphql": "GraphQL",
    "websocket": "WebSocket",
    "http": "plain HTTP",
}


def _cell(front: str, translator: str) -> str:
    if front == pairs.OPAQUE or translator == pairs.OPAQUE:
        return "as it is" if front == translator else "–"
    missing = [shape for shape in pairs.SHAPES if pairs.limit(front, translator, shape)]
    return "all shapes" if not missing else f"all but {', '.join(missing)}"


def table() -> str:
    """Markdown: a line for each front end, a column for each translator, then the reasons."""
    columns = (*pairs.translators(), pairs.OPAQUE)
    lines = [
        "| clients speak | " + " | ".join(f"service: {NAMES.get(kind, kind)}" for kind in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for front in (*pairs.fronts(), pairs.OPAQUE):
        cells = " | ".join(_cell(front, kind) for kind in columns)
        lines.append(f"| {NAMES.get(front, front)} | {cells} |")
    reasons = {
        f"{shape} to {NAMES.get(translator, translator)}: {limit.why}"
        for (front, translator), limits in pairs.LIMITS.items()
        if front not in pairs.FRONT_LIMITS
        for shape, limit in limits.items()
    }
    notes = [
        *sorted(reasons),
        *(f"{NAMES.get(kind, kind)}: {why}" for kind, why in pairs.FRONT_LIMITS.items()),
        *(f"{NAMES.get(kind, kind)}: {why}" for kind, why in pairs.HALF_DUPLEX.items()),
    ]
    return "\n".join(lines) + "\n\n" + "".join(f"- {note}\n" for note in notes)

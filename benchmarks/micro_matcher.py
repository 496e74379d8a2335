"""Matching cost with 10 and with 10,000 routes: the two must be equal within noise."""

from __future__ import annotations

import timeit

from protogw.routing.matcher import Entry, Matcher
from protogw.wire.path_template import parse


def build(count: int) -> Matcher[int]:
    return Matcher.build(
        Entry(b"GET", parse(f"/v1/group{number // 10}/thing{number}/{{id}}"), number) for number in range(count)
    )


def main() -> None:
    for count in (10, 10_000):
        matcher = build(count)
        path = b"/v1/group0/thing5/12345"
        best = min(timeit.repeat(lambda: matcher.match(b"GET", path), number=100_000, repeat=5))  # noqa: B023
        missing = min(timeit.repeat(lambda: matcher.match(b"GET", b"/v1/none"), number=100_000, repeat=5))  # noqa: B023
        print(f"{count:6} routes: match {best * 10:.3f} µs, miss {missing * 10:.3f} µs")


if __name__ == "__main__":
    main()

"""Settings of every test."""

from __future__ import annotations

from hypothesis import settings

# The same examples each time, and no clock that a busy machine could fail: a run says the same wherever it is made.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

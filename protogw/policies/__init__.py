"""Policies: one step around a call, one policy a file."""

from protogw.kinds import table
from protogw.policies.cors import Cors

POLICIES = table("policies", Cors)

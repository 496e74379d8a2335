"""Policies: one step around a call, one policy a file."""

from protogw.kinds import table
from protogw.policies.api_key import ApiKey
from protogw.policies.cors import Cors
from protogw.policies.python import Python
from protogw.policies.rate_limit import RateLimit
from protogw.policies.retry import Retry

POLICIES = table(
    "policies",
    Cors,
    ApiKey,
    RateLimit,
    Retry,
    Python,
)

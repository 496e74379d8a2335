"""Policies: one step around a call, one policy a file."""

from protogw.kinds import table
from protogw.policies.adaptive import Adaptive
from protogw.policies.anonymous import Anonymous
from protogw.policies.any_of import AnyOf
from protogw.policies.api_key import ApiKey
from protogw.policies.authorize import Authorize
from protogw.policies.basic import Basic
from protogw.policies.cache import Cache
from protogw.policies.compress import Compress
from protogw.policies.concurrency import Concurrency
from protogw.policies.cors import Cors
from protogw.policies.deprecated import Deprecated
from protogw.policies.fault import Fault
from protogw.policies.forward_auth import ForwardAuth
from protogw.policies.hedge import Hedge
from protogw.policies.http_signature import HttpSignature
from protogw.policies.introspection import Introspection
from protogw.policies.ip_filter import IpFilter
from protogw.policies.jwt import Jwt
from protogw.policies.maintenance import Maintenance
from protogw.policies.mtls import Mtls
from protogw.policies.opa import Opa
from protogw.policies.python import Python
from protogw.policies.quota import Quota
from protogw.policies.rate_limit import RateLimit
from protogw.policies.retry import Retry
from protogw.policies.shed import Shed
from protogw.policies.size import SizeLimit
from protogw.policies.timeout import Timeout
from protogw.policies.transform import Transform
from protogw.policies.validate import Validate

POLICIES = table(
    "policies",
    Cors,
    ApiKey,
    Basic,
    Jwt,
    Introspection,
    Mtls,
    Anonymous,
    AnyOf,
    Authorize,
    ForwardAuth,
    HttpSignature,
    IpFilter,
    Opa,
    RateLimit,
    Quota,
    Retry,
    Python,
    Deprecated,
    Cache,
    Hedge,
    Timeout,
    Fault,
    Maintenance,
    Concurrency,
    Shed,
    Adaptive,
    SizeLimit,
    Compress,
    Transform,
    Validate,
)

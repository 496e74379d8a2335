"""The configuration: one YAML file, strict keys, every fault told at once with its place and the nearest right word."""

from protogw.config.faults import ConfigError, Fault
from protogw.config.kinds import Kinds
from protogw.config.load import inspect, load
from protogw.config.model import Config, Listener, ListenerLimits, Policy
from protogw.config.observing import AccessLog, Analytics, Metrics, Tracing
from protogw.config.routes import Match, RestBinding, Rewrite, Route
from protogw.config.sources import INTROSPECTION, REFLECTION, Source, SourceKind
from protogw.config.tls import ListenerTls, UpstreamTls
from protogw.config.units import Address
from protogw.config.upstreams import Endpoint, JsonOptions, Upstream
from protogw.values import Rate

__all__ = [
    "INTROSPECTION",
    "REFLECTION",
    "AccessLog",
    "Address",
    "Analytics",
    "Config",
    "ConfigError",
    "Endpoint",
    "Fault",
    "JsonOptions",
    "Kinds",
    "Listener",
    "ListenerLimits",
    "ListenerTls",
    "Match",
    "Metrics",
    "Policy",
    "Rate",
    "RestBinding",
    "Rewrite",
    "Route",
    "Source",
    "SourceKind",
    "Tracing",
    "Upstream",
    "UpstreamTls",
    "inspect",
    "load",
]

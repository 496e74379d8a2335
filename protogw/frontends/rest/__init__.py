"""REST: google.api.http bindings, JSON bodies, streams by Accept."""

from protogw.frontends.rest.front_end import Rest
from protogw.frontends.rest.settings import RestSettings

__all__ = ["Rest", "RestSettings"]

"""The GraphQL front end: one endpoint for everything that can be queried, changed or subscribed to."""

from protogw.frontends.graphql.front_end import Graphql

__all__ = ["Graphql"]

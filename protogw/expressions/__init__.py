"""The one small language over the neutral call: keys (`by: identity.subject`), conditions, values.

A bare path is read by straight code; anything else is CEL (github.com/google/cel-spec), which always ends, touches
nothing but the call, and whose regular expressions take linear time. Knows no protocol.

    identity.key                       who calls, as a text that nobody else has: also where subjects of several issuers
                                       or schemes are alike
    identity.subject · .consumer · .issuer · .scheme · .groups · .scopes · .claims.NAME · .metadata.NAME
    peer.address · peer.network        the client's address, and of an IPv6 address its /64
    peer.identity                      the name that its certificate vouches for
    header.NAME                        a field of the metadata; several of one name are one, with commas between
    method · service · front_end
    host · path                        in one spelling, whatever the client's: wire.spelling
    cost                               what the front end says that the call costs: of GraphQL its field's part of the
                                       operation's cost (docs/graphql.md), of everything else 1
    message.FIELD                      the request's message (of a stream: the one at hand), as ProtoJSON writes it
"""

from __future__ import annotations

from protogw.expressions.expression import Expression, ExpressionText, of_head, parse_expression
from protogw.expressions.roots import ExpressionError, identity_as_data

__all__ = ["Expression", "ExpressionError", "ExpressionText", "identity_as_data", "of_head", "parse_expression"]

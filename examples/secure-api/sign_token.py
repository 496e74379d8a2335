"""Signs a token as this example's issuer would: `python sign_token.py SUBJECT [--scope "…"] [--groups a,b]`.

The issuer's key is in issuer.jwk, for everyone to read: it is good for nothing but this example.
"""

import argparse
import json
import time
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import ECKey

HERE = Path(__file__).parent

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("subject")
parser.add_argument("--scope", default="books.read")
parser.add_argument("--groups", default="")
parser.add_argument("--minutes", type=float, default=60)
asked = parser.parse_args()

key = ECKey.import_key(json.loads((HERE / "issuer.jwk").read_text()))
now = int(time.time())
claims = {
    "iss": "https://idp.example",
    "aud": "library",
    "sub": asked.subject,
    "scope": asked.scope,
    "groups": [group for group in asked.groups.split(",") if group],
    "iat": now,
    "exp": now + int(asked.minutes * 60),
}
print(jwt.encode({"alg": "ES256", "kid": "example-1"}, claims, key))

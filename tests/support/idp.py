"""An OpenID provider that we did not write (npm's oidc-provider), on a port of its own; it can be ended, started again
on the same port, and given other keys."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request

from tests.support.processes import NODE, Program, free_port, missing, require_tool

CLIENT, SECRET = "app", "app-secret-of-some-length"


class Idp:
    """Runs from `start` until `stop`."""

    def __init__(self) -> None:
        self._node = require_tool("node")
        if not (NODE / "node_modules" / "oidc-provider").is_dir():
            missing("the OpenID provider is not installed (npm install --prefix tests/integration/node)")
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self._program: Program | None = None

    def start(self) -> None:
        self._program = Program([self._node, str(NODE / "idp.mjs"), str(self.port)], cwd=NODE)
        self._program.wait_for_port(self.port)

    def stop(self) -> None:
        if self._program is not None:
            self._program.stop()
            self._program = None

    def rotate(self) -> None:
        """Sign with other keys from now on."""
        self._post("/rotate", {})

    def token(self, resource: str = "urn:api") -> str:
        """An access token: a JWT for `urn:api` (RS256) and `urn:ec` (ES256), opaque for `urn:opaque`."""
        form = {"grant_type": "client_credentials", "scope": "read", "resource": resource}
        found: str = json.loads(self._post("/token", form))["access_token"]
        return found

    def revoke(self, token: str) -> None:
        self._post("/token/revocation", {"token": token})

    def _post(self, path: str, form: dict[str, str]) -> bytes:
        request = urllib.request.Request(self.issuer + path, urllib.parse.urlencode(form).encode(), method="POST")
        manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
        manager.add_password(None, self.issuer, CLIENT, SECRET, is_authenticated=True)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(manager)
        )
        with opener.open(request, timeout=20) as answer:
            data: bytes = answer.read()
        return data

// An OpenID provider on a port: tokens for clients, JWTs or opaque by the resource that is asked for. `POST /rotate` gives it other keys.
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { Provider } from "oidc-provider";

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
let made = 0;

function keys() {
  made += 1;
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  return [
    { ...rsa, kid: `rsa-${made}`, use: "sig", alg: "RS256" },
    { ...ec, kid: `ec-${made}`, use: "sig", alg: "ES256" },
  ];
}

class Memory {
  static kept = new Map();
  constructor(name) {
    this.name = name;
  }
  key(id) {
    return `${this.name}:${id}`;
  }
  async upsert(id, payload) {
    Memory.kept.set(this.key(id), payload);
  }
  async find(id) {
    return Memory.kept.get(this.key(id));
  }
  async destroy(id) {
    Memory.kept.delete(this.key(id));
  }
  async consume(id) {
    Memory.kept.get(this.key(id)).consumed = Date.now() / 1000;
  }
  async revokeByGrantId() {}
  async findByUid() {}
  async findByUserCode() {}
}

function provider() {
  return new Provider(issuer, {
    adapter: Memory,
    jwks: { keys: keys() },
    clients: [
      {
        client_id: "app",
        client_secret: "app-secret-of-some-length",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
        token_endpoint_auth_method: "client_secret_basic",
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: "read write",
          audience: resource,
          accessTokenTTL: 300,
          accessTokenFormat: resource === "urn:opaque" ? "opaque" : "jwt",
          jwt: { sign: { alg: resource === "urn:ec" ? "ES256" : "RS256" } },
        }),
      },
    },
  });
}

let answer = provider().callback();
createServer((request, response) => {
  if (request.method === "POST" && request.url === "/rotate") {
    answer = provider().callback();
    response.end("rotated");
  } else {
    answer(request, response);
  }
}).listen(port, "127.0.0.1", () => console.log("listening"));

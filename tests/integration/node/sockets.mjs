// The `ws` package against the gateway: each check prints a line of JSON. Usage: node sockets.mjs ws://host:port
import WebSocket from "ws";

const base = process.argv[2];
const service = "/kit.v1.Echo";

function open(path, protocols = [], options = {}) {
  const socket = new WebSocket(base + path, protocols, { handshakeTimeout: 5000, ...options });
  const inbox = [];
  let wake = () => {};
  socket.on("message", (data, binary) => {
    inbox.push(binary ? data : data.toString());
    wake();
  });
  const closed = new Promise((resolve) =>
    socket.on("close", (code, reason) => {
      resolve([code, reason.toString()]);
      wake();
    }),
  );
  const opened = new Promise((resolve, reject) => {
    socket.on("open", resolve);
    socket.on("unexpected-response", (_, answer) => reject(new Error(`HTTP ${answer.statusCode}`)));
    socket.on("error", reject);
  });
  const next = async () => {
    while (!inbox.length) {
      if (socket.readyState === WebSocket.CLOSED) throw new Error("closed");
      await new Promise((resolve) => (wake = resolve));
    }
    return inbox.shift();
  };
  return { socket, opened, closed, next, inbox };
}

function equal(found, wanted) {
  if (JSON.stringify(found) !== JSON.stringify(wanted))
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
}

const checks = {
  async unary() {
    const call = open(`${service}/Unary`);
    await call.opened;
    call.socket.send(JSON.stringify({ text: "Zoë ☃", number: "9007199254740993" }));
    const answer = JSON.parse(await call.next());
    equal([answer.text, answer.number], ["Zoë ☃", "9007199254740993"]);
    equal(await call.closed, [1000, ""]);
  },
  async serverStream() {
    const call = open(`${service}/Down`);
    await call.opened;
    call.socket.send(JSON.stringify({ plan: { count: 50 } }));
    const [code] = await call.closed;
    equal([code, call.inbox.length], [1000, 50]);
  },
  async bidirectional() {
    const call = open(`${service}/Chat`, ["protogw.json"]);
    await call.opened;
    equal(call.socket.protocol, "protogw.json");
    for (const text of ["a", "b", "c"]) {
      call.socket.send(JSON.stringify({ text }));
      equal(JSON.parse(await call.next()).text, text);
    }
    call.socket.send("");
    equal(await call.next(), "");
    const end = JSON.parse(await call.next());
    equal([end.code, end.trailers["x-trail"]], [0, ["t"]]);
    equal((await call.closed)[0], 1000);
  },
  async compressed() {
    const call = open(`${service}/Unary`, [], { perMessageDeflate: { threshold: 0 } });
    await call.opened;
    equal(call.socket.extensions.includes("permessage-deflate"), true);
    call.socket.send(JSON.stringify({ text: "x".repeat(100000) }));
    equal(JSON.parse(await call.next()).text.length, 100000);
  },
  async status() {
    const call = open(`${service}/Unary`);
    await call.opened;
    call.socket.send(JSON.stringify({ plan: { failCode: 5, failMessage: "none here" } }));
    equal(await call.closed, [4005, "none here"]);
  },
  async tokenAmongSubprotocols() {
    const call = open(`${service}/Unary`, ["bearer", "abc.def", "protogw.json"]);
    await call.opened;
    equal(call.socket.protocol, "protogw.json");
    call.socket.send("{}");
    equal(JSON.parse(await call.next()).seen.authorization, "Bearer abc.def");
  },
  async foreignOrigin() {
    const call = open(`${service}/Unary`, [], { origin: "https://evil.example" });
    const refused = await call.opened.then(() => "opened", (error) => error.message);
    equal(refused, "HTTP 403");
  },
  async session() {
    const session = open("/protogw.calls.v1", ["protogw.calls.v1"]);
    await session.opened;
    equal(JSON.parse(await session.next()).type, "hello");
    const say = (head, body) => session.socket.send(JSON.stringify(head) + (body ? "\n" + JSON.stringify(body) : ""));
    for (let id = 1; id <= 20; id++)
      say({ type: "open", id, method: "kit.v1.Echo/Unary" }, { text: `${id}`, plan: { failCode: id % 2 ? 0 : 9 } });
    const codes = {};
    const texts = {};
    while (Object.keys(codes).length < 20) {
      const [head, body] = (await session.next()).split("\n");
      const frame = JSON.parse(head);
      if (frame.type === "message") texts[frame.id] = JSON.parse(body).text;
      if (frame.type === "status") codes[frame.id] = frame.code;
    }
    for (let id = 1; id <= 20; id++) equal([codes[id], texts[id]], id % 2 ? [0, `${id}`] : [9, undefined]);
    session.socket.close();
    equal((await session.closed)[0], 1005);
  },
  async jsonRpc() {
    const session = open("/protogw.calls.v1", ["jsonrpc"]);
    await session.opened;
    session.socket.send(JSON.stringify({ jsonrpc: "2.0", id: "a", method: "kit.v1.Echo/Unary", params: { text: "hi" } }));
    const answer = JSON.parse(await session.next());
    equal([answer.id, answer.result.text], ["a", "hi"]);
    session.socket.close();
  },
};

for (const [name, check] of Object.entries(checks)) {
  try {
    await Promise.race([check(), new Promise((_, reject) => setTimeout(() => reject(new Error("timed out")), 10000).unref())]);
    console.log(JSON.stringify({ name, ok: true }));
  } catch (error) {
    console.log(JSON.stringify({ name, ok: false, error: String(error) }));
  }
}
process.exit(0);

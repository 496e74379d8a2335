// A WebSocket service as people write them with `ws`: feed.proto in JSON, and in protobuf at /binary. Prints its port.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const server = createServer((request, response) => response.writeHead(404).end());
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: { threshold: 64 } });
let open = 0;
let opened = 0;
const topics = new Map();

function publish(topic, note) {
  for (const socket of topics.get(topic) ?? []) socket.send(JSON.stringify({ topic, ...note }));
}

function answer(socket, request, note) {
  const say = (reply) => socket.send(JSON.stringify({ id: note.id, ...reply }));
  switch (note.type) {
    case "subscribe":
      topics.set(note.topic, (topics.get(note.topic) ?? new Set()).add(socket));
      return;
    case "publish":
      publish(note.topic, { text: note.text });
      return say({ text: "published" });
    case "count":
      for (let n = 0; n < Number(note.number); n++) say({ text: `${n}`, data: "A".repeat(100) });
      return say({ type: "complete" });
    case "fail":
      return say({ type: "failed", error: { code: 5, message: note.text } });
    case "close":
      return socket.close(Number(note.number), note.text);
    case "vanish":
      return socket.terminate();
    case "silent":
      return;
    case "sockets":
      return say({ text: `${open} of ${opened}` });
    default:
      return say({ text: (note.text ?? "").toUpperCase(), header: { ref: request.headers["x-call"] } });
  }
}

sockets.on("connection", (socket, request) => {
  open += 1;
  opened += 1;
  const collected = [];
  socket.on("close", () => {
    open -= 1;
    for (const listeners of topics.values()) listeners.delete(socket);
  });
  if (request.url === "/binary") {
    socket.on("message", (data, binary) => (binary ? socket.send(data) : socket.close(1003, "binary only")));
    return;
  }
  socket.send(JSON.stringify({ type: "hello" }));
  socket.on("message", (data) => {
    const text = data.toString();
    if (request.url === "/collect") {
      if (text) return collected.push(JSON.parse(text).text);
      return socket.send(JSON.stringify({ text: collected.join(" ") }));
    }
    if (!text) return socket.close(1000);
    let note;
    try {
      note = JSON.parse(text);
    } catch {
      return socket.close(1007, "not JSON");
    }
    return answer(socket, request, note);
  });
});

server.on("upgrade", (request, socket, head) => {
  if (request.url === "/refused") {
    return socket.end("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
  }
  return sockets.handleUpgrade(request, socket, head, (made) => sockets.emit("connection", made, request));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

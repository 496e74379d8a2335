// A WebSocket client that nobody here wrote (ws): echoes of several sizes, compressed or not, and a goodbye.
import WebSocket from "ws";

const [url, deflate, ...rest] = process.argv.slice(2);
const socket = new WebSocket(url, ["chat", "other"], { perMessageDeflate: deflate === "true" });
const sizes = [0, 1, 125, 126, 65535, 65536, 300000];
const seen = [];
socket.on("open", () => sizes.forEach((size) => {
  socket.send("é".repeat(size / 2));
  socket.send(Buffer.alloc(size, 7));
}));
socket.on("message", (data, binary) => {
  seen.push([binary, data.length]);
  if (seen.length === 2 * sizes.length) socket.ping("there?");
});
socket.on("pong", (data) => socket.close(4001, String(data)));
socket.on("close", (code, reason) => {
  console.log(JSON.stringify({ seen, code, reason: String(reason), protocol: socket.protocol, extensions: socket.extensions }));
});
socket.on("error", (error) => console.log(JSON.stringify({ error: String(error) })));
socket.on("unexpected-response", (_, answer) => {
  console.log(JSON.stringify({ status: answer.statusCode }));
  socket.terminate();
});

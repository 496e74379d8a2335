// As much of XMLHttpRequest as grpc-web needs, over node:http, so that the browser's client runs in Node.
import http from 'node:http';

export class XMLHttpRequest {
  readyState = 0;
  status = 0;
  statusText = '';
  responseText = '';
  response = null;
  responseType = '';
  timeout = 0;
  onreadystatechange = null;
  #headers = {};
  #answer = {};

  open(method, url) {
    this.#request = { method, url };
    this.#to(1);
  }
  #request;
  #sent;

  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  getAllResponseHeaders() {
    return Object.entries(this.#answer).map(([name, value]) => `${name}: ${value}`).join('\r\n');
  }

  getResponseHeader(name) {
    return this.#answer[name.toLowerCase()] ?? null;
  }

  send(body) {
    const { method, url } = this.#request;
    this.#sent = http.request(url, { method, headers: this.#headers }, (answer) => {
      this.status = answer.statusCode;
      this.#answer = answer.headers;
      this.#to(2);
      const pieces = [];
      answer.on('data', (piece) => {
        pieces.push(piece);
        this.responseText += piece.toString('latin1');
        this.#to(3);
      });
      const end = () => {
        const whole = Buffer.concat(pieces);
        this.response = this.responseType === 'arraybuffer'
          ? whole.buffer.slice(whole.byteOffset, whole.byteOffset + whole.length) : this.responseText;
        this.#to(4);
      };
      answer.on('end', end);
      answer.on('error', () => { this.status = 0; this.#to(4); });
    });
    this.#sent.on('error', () => { this.status = 0; this.#to(4); });
    this.#sent.end(typeof body === 'string' ? body : Buffer.from(body));
  }

  abort() {
    this.#sent?.destroy();
  }

  #to(state) {
    if (this.readyState === 4) return;
    this.readyState = state;
    this.onreadystatechange?.();
  }
}

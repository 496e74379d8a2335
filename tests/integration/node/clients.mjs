// One JavaScript client against the gateway: node clients.mjs CLIENT http://127.0.0.1:PORT kit.pb
// Prints a line of JSON for each check; exits with 1 when one fails.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import * as connectNode from '@connectrpc/connect-node';
import * as connectWeb from '@connectrpc/connect-web';
import { createFileRegistry, create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import { XMLHttpRequest } from './xhr.mjs';

const [client, url, descriptors] = process.argv.slice(2);
const set = readFileSync(descriptors);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, set));
const Echo = registry.getService('kit.v1.Echo');
const Message = registry.getMessage('kit.v1.Message');

let failed = 0;
async function check(name, run) {
  const limit = new Promise((_, reject) => setTimeout(() => reject(new Error('hung')), 8000).unref());
  try {
    await Promise.race([run(), limit]);
    console.log(JSON.stringify({ name, ok: true }));
  } catch (error) {
    failed += 1;
    console.log(JSON.stringify({ name, ok: false, error: String(error.stack ?? error).slice(0, 600) }));
  }
}

async function refused(promise, code) {
  try {
    await promise;
  } catch (error) {
    const found = ConnectError.from(error);
    assert.equal(found.code, code);
    return found;
  }
  throw new Error('it was not refused');
}

async function withConnect(transport, { streams = true, sends = true, duplex = false, get = false } = {}) {
  const kit = createClient(Echo, transport);
  await check('a message keeps its values', async () => {
    const answer = await kit.unary({ text: 'Zoë ☃', number: 9007199254740993n, data: new Uint8Array([0, 255]), tags: ['a', 'b'] });
    assert.equal(answer.text, 'Zoë ☃');
    assert.equal(answer.number, 9007199254740993n);
    assert.deepEqual([...answer.data], [0, 255]);
    assert.deepEqual(answer.tags, ['a', 'b']);
  });
  await check('metadata both ways', async () => {
    let lead, trail;
    const answer = await kit.unary({}, {
      headers: { 'x-a': '1', 'x-b-bin': 'AP8' },
      onHeader: (found) => { lead = found; },
      onTrailer: (found) => { trail = found; },
    });
    assert.equal(answer.seen['x-a'], '1');
    assert.equal(answer.seen['x-b-bin'], '00ff');
    assert.equal(lead.get('x-lead'), 'a, b');
    assert.equal(trail.get('x-trail'), 't');
  });
  await check('a status keeps message and details', async () => {
    const error = await refused(kit.unary({ plan: { failCode: 3, failMessage: 'Zoë\n100 %' } }), Code.InvalidArgument);
    assert.equal(error.rawMessage, 'Zoë\n100 %');
    assert.equal(error.details[0].type, 'google.rpc.BadRequest');
  });
  await check('every code', async () => {
    for (const code of [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]) {
      await refused(kit.unary({ plan: { failCode: code } }), code);
    }
  });
  await check('the deadline reaches the service', async () => {
    const answer = await kit.unary({}, { timeoutMs: 5000 });
    assert.ok(Number(answer.seen.deadline) > 3, answer.seen.deadline);
  });
  await check('a deadline ends the call', () => refused(kit.unary({ plan: { hang: true } }, { timeoutMs: 200 }), Code.DeadlineExceeded));
  await check('cancelling ends the call', async () => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 100);
    await refused(kit.unary({ plan: { hang: true } }, { signal: stop.signal }), Code.Canceled);
  });
  await check('a method that is not implemented', () => refused(kit.absent({}), Code.Unimplemented));
  await check('3 MiB both ways', async () => {
    assert.equal((await kit.unary({ data: new Uint8Array(3 << 20) })).data.length, 3 << 20);
  });
  if (get) await check('GET for a call without side effects', async () => assert.equal((await kit.look({ text: 'g' })).text, 'g'));
  if (streams) {
    await check('a server stream in order', async () => {
      let next = 0;
      for await (const answer of kit.down({ plan: { count: 50 } })) assert.equal(answer.index, next++);
      assert.equal(next, 50);
    });
    await check('the first message comes before the last is made', async () => {
      const began = Date.now();
      for await (const _ of kit.down({ plan: { count: 2, delayMs: 1500 } })) { assert.ok(Date.now() - began < 1200); break; }
    });
    await check('an error after data', async () => {
      let seen = 0;
      await refused((async () => { for await (const _ of kit.down({ plan: { count: 3, failCode: 9 } })) seen++; })(), Code.FailedPrecondition);
      assert.equal(seen, 3);
    });
  }
  if (sends) await check('a client stream', async () => {
    const answer = await kit.up((async function* () { for (let n = 1; n <= 10; n++) yield { number: BigInt(n) }; })());
    assert.equal(answer.number, 55n);
  });
  if (duplex) await check('full duplex', async () => {
    let next;
    const talk = (async function* () { for (let n = 0; n < 5; n++) { yield { text: `${n}` }; await new Promise((resolve) => { next = resolve; }); } })();
    let heard = 0;
    for await (const answer of kit.chat(talk)) { assert.equal(answer.text, `${heard++}`); next(); }
    assert.equal(heard, 5);
  });
}

async function withGrpcJs() {
  const definition = loader.loadFileDescriptorSetFromBuffer(set, { longs: String, keepCase: true });
  const Kit = grpc.loadPackageDefinition(definition).kit.v1.Echo;
  const kit = new Kit(new URL(url).host, grpc.credentials.createInsecure());
  const unary = (target, message, ...rest) => new Promise((resolve, reject) => {
    target.Unary(message, ...rest, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
  await check('a message keeps its values', async () => {
    const answer = await unary(kit, { text: 'Zoë', number: '9007199254740993' });
    assert.equal(answer.text, 'Zoë');
    assert.equal(answer.number, '9007199254740993');
  });
  await check('metadata', async () => {
    const metadata = new grpc.Metadata();
    metadata.set('x-a', '1');
    metadata.set('x-b-bin', Buffer.from([0, 255]));
    const { seen } = await unary(kit, {}, metadata); // the loader shows a map as its entries
    assert.equal(seen.find(({ key }) => key === 'x-a').value, '1');
    assert.equal(seen.find(({ key }) => key === 'x-b-bin').value, '00ff');
  });
  await check('a status with details', async () => {
    const error = await unary(kit, { plan: { fail_code: 5, fail_message: 'Zoë\n100 %' } }).then(() => null, (found) => found);
    assert.equal(error.code, 5);
    assert.equal(error.details, 'Zoë\n100 %');
    assert.ok(error.metadata.get('grpc-status-details-bin').length);
  });
  await check('a deadline', async () => {
    const error = await unary(kit, { plan: { hang: true } }, { deadline: Date.now() + 200 }).then(() => null, (found) => found);
    assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED);
  });
  await check('a server stream', () => new Promise((resolve, reject) => {
    let seen = 0;
    const stream = kit.Down({ plan: { count: 100, size: 10000 } });
    stream.on('data', () => { seen++; });
    stream.on('error', reject);
    stream.on('end', () => (seen === 100 ? resolve() : reject(new Error(`${seen} messages`))));
  }));
  await check('a client stream', () => new Promise((resolve, reject) => {
    const stream = kit.Up((error, answer) => (error ? reject(error) : resolve(assert.equal(answer.number, '55'))));
    for (let n = 1; n <= 10; n++) stream.write({ number: n });
    stream.end();
  }));
  await check('full duplex', () => new Promise((resolve, reject) => {
    const stream = kit.Chat();
    let heard = 0;
    stream.on('data', () => { if (++heard === 5) stream.end(); else stream.write({ text: `${heard}` }); });
    stream.on('end', resolve);
    stream.on('error', reject);
    stream.write({ text: '0' });
  }));
  await check('gzip', async () => {
    const packed = new Kit(new URL(url).host, grpc.credentials.createInsecure(), { 'grpc.default_compression_algorithm': 2 });
    assert.equal((await unary(packed, { text: 'z'.repeat(50000) })).text.length, 50000);
    packed.close();
  });
  kit.close();
}

async function withGrpcWeb(format) {
  globalThis.XMLHttpRequest = XMLHttpRequest;
  const { GrpcWebClientBase, MethodDescriptor, MethodType } = (await import('grpc-web')).default;
  const made = new GrpcWebClientBase({ format });
  const describe = (name, type) => new MethodDescriptor(
    `/kit.v1.Echo/${name}`, type, Object, Object,
    (fields) => toBinary(Message, create(Message, fields)), (bytes) => fromBinary(Message, bytes),
  );
  const unary = (fields, metadata = {}, name = 'Unary') => new Promise((resolve, reject) => {
    made.rpcCall(`${url}/kit.v1.Echo/${name}`, fields, metadata, describe(name, MethodType.UNARY), (error, answer) => (error ? reject(error) : resolve(answer)));
  });
  await check('a message keeps its values', async () => {
    const answer = await unary({ text: 'Zoë', number: 9007199254740993n }, { 'x-a': '1' });
    assert.equal(answer.text, 'Zoë');
    assert.equal(answer.number, 9007199254740993n);
    assert.equal(answer.seen['x-a'], '1');
  });
  await check('a status', async () => {
    const error = await unary({ plan: { failCode: 5, failMessage: 'none here' } }).then(() => null, (found) => found);
    assert.equal(error.code, 5);
    assert.equal(error.message, 'none here');
  });
  await check('a deadline', async () => {
    const error = await unary({ plan: { hang: true } }, { deadline: String(Date.now() + 200) }).then(() => null, (found) => found);
    assert.equal(error.code, 4);
  });
  if (format === 'text') {
    await check('a server stream', () => new Promise((resolve, reject) => {
      let seen = 0, status;
      const fields = { plan: { count: 20, size: 1000 } };
      const stream = made.serverStreaming(`${url}/kit.v1.Echo/Down`, fields, {}, describe('Down', MethodType.SERVER_STREAMING));
      stream.on('data', (answer) => { if (answer.index === seen) seen++; });
      stream.on('status', (found) => { status = found.code; });
      stream.on('error', reject);
      stream.on('end', () => (seen === 20 && status === 0 ? resolve() : reject(new Error(`${seen} messages, status ${status}`))));
    }));
    await check('an error after data', () => new Promise((resolve, reject) => {
      let seen = 0;
      const fields = { plan: { count: 3, failCode: 9 } };
      const stream = made.serverStreaming(`${url}/kit.v1.Echo/Down`, fields, {}, describe('Down', MethodType.SERVER_STREAMING));
      stream.on('data', () => { seen++; });
      stream.on('error', (error) => (seen === 3 && error.code === 9 ? resolve() : reject(error)));
      stream.on('end', () => reject(new Error('it ended well')));
    }));
  }
}

const http1 = { baseUrl: url, httpVersion: '1.1' }, http2 = { baseUrl: url, httpVersion: '2' };
const all = { duplex: true };
const CLIENTS = {
  'connect-node': () => withConnect(connectNode.createConnectTransport({ ...http2, useHttpGet: true }), { ...all, get: true }),
  'connect-node-json': () => withConnect(connectNode.createConnectTransport({ ...http2, useBinaryFormat: false, useHttpGet: true }), { ...all, get: true }),
  'connect-node-http1': () => withConnect(connectNode.createConnectTransport({ ...http1, useHttpGet: true }), { get: true }),
  'connect-node-gzip': () => withConnect(connectNode.createConnectTransport({ ...http1, sendCompression: connectNode.compressionGzip, compressMinBytes: 0 })),
  'connect-node-grpc': () => withConnect(connectNode.createGrpcTransport({ baseUrl: url }), all),
  'connect-node-grpc-web': () => withConnect(connectNode.createGrpcWebTransport(http2), all),
  'connect-node-grpc-web-http1': () => withConnect(connectNode.createGrpcWebTransport(http1)),
  'connect-web': () => withConnect(connectWeb.createConnectTransport({ baseUrl: url, useHttpGet: true }), { sends: false, get: true }),
  'connect-web-grpc-web': () => withConnect(connectWeb.createGrpcWebTransport({ baseUrl: url }), { sends: false }),
  'grpc-js': withGrpcJs,
  'grpc-web-text': () => withGrpcWeb('text'),
  'grpc-web-binary': () => withGrpcWeb('binary'),
};

await CLIENTS[client]();
process.exit(failed ? 1 : 0);

// GraphQL clients of others against the gateway: graphql-http's server audits, graphql-ws, graphql-sse, Apollo Client.
// usage: node graphql_clients.mjs audit|ws|sse|apollo|schema http://127.0.0.1:PORT
// Prints one JSON line a check: {"name", "ok", "error"}. The service behind is hello.proto's.
import assert from 'node:assert/strict';
import WebSocket from 'ws';

const [, , suite, base] = process.argv;
const endpoint = `${base}/graphql`;
const socketUrl = endpoint.replace('http', 'ws');
let failed = 0;

async function check(name, work) {
  let error;
  try {
    await Promise.race([work(), new Promise((_, no) => setTimeout(() => no(new Error('hung for 10 s')), 10_000).unref())]);
  } catch (caught) {
    error = String(caught?.stack ?? caught);
    failed += 1;
  }
  console.log(JSON.stringify({ name, ok: error === undefined, error }));
}

const collected = (client, request) =>
  new Promise((ok, no) => {
    const found = [];
    client.subscribe(request, { next: (value) => found.push(value), error: no, complete: () => ok(found) });
  });

async function audit() {
  const { serverAudits } = await import('graphql-http');
  for (const one of serverAudits({ url: endpoint, fetchFn: fetch })) {
    const result = await one.fn();
    console.log(JSON.stringify({ name: `${one.id} ${one.name}`, ok: result.status === 'ok', error: result.reason }));
    if (result.status !== 'ok') failed += 1;
  }
}

// What a raw socket gets: the messages, then the close code; -1 while it is open after `wait` ms.
const raw = (messages, { protocol = 'graphql-transport-ws', wait = 1_000, headers } = {}) =>
  new Promise((ok) => {
    const socket = new WebSocket(socketUrl, protocol, { headers });
    const got = [];
    const timer = setTimeout(() => socket.terminate() || ok({ code: -1, got }), wait);
    socket.on('open', () => messages.forEach((one) => socket.send(typeof one === 'string' || Buffer.isBuffer(one) ? one : JSON.stringify(one))));
    socket.on('message', (data) => got.push(JSON.parse(data)));
    socket.on('unexpected-response', (_, response) => clearTimeout(timer) || ok({ code: response.statusCode, got }));
    socket.on('close', (code) => clearTimeout(timer) || ok({ code, got }));
    socket.on('error', () => {});
  });

async function ws() {
  const { createClient } = await import('graphql-ws');
  const made = (options) => createClient({ url: socketUrl, webSocketImpl: WebSocket, retryAttempts: 0, ...options });
  const init = { type: 'connection_init' };
  const slow = (id) => ({ type: 'subscribe', id, payload: { query: 'subscription { count(to: 50, pauseMs: 200) }' } });
  await check('a query and a subscription over one socket', async () => {
    const client = made();
    assert.deepEqual(await collected(client, { query: '{ hello }' }), [{ data: { hello: 'world' } }]);
    const numbers = await collected(client, { query: 'subscription ($to: Int) { count(to: $to) }', variables: { to: 5 } });
    assert.deepEqual(numbers.map((one) => one.data.count), [1, 2, 3, 4, 5]);
    await client.dispose();
  });
  await check('twenty subscriptions at once', async () => {
    const client = made();
    const all = await Promise.all([...Array(20)].map(() => collected(client, { query: 'subscription { count(to: 5) }' })));
    assert.ok(all.every((one) => one.length === 5));
    await client.dispose();
  });
  await check('leaving a subscription ends it', async () => {
    const client = made();
    const seen = [];
    await new Promise((ok) => {
      const leave = client.subscribe(
        { query: 'subscription { count(to: 1000, pauseMs: 10) }' },
        { next: (value) => { seen.push(value); if (seen.length === 3) leave(); }, error: ok, complete: ok },
      );
    });
    assert.equal(seen.length, 3);
    await client.dispose();
  });
  await check('a failing stream ends with an error in its last response', async () => {
    const client = made();
    const all = await collected(client, { query: 'subscription { count(to: 1, failCode: 9) }' });
    assert.equal(all.length, 2);
    assert.equal(all[1].errors[0].extensions.code, 'FAILED_PRECONDITION');
    await client.dispose();
  });
  await check('an invalid document is an error of its id and the socket stays', async () => {
    const { code, got } = await raw([init, { type: 'subscribe', id: '1', payload: { query: '{ nope }' } }]);
    assert.ok(got.some((one) => one.type === 'error' && one.id === '1' && one.payload[0].message.includes('nope')));
    assert.equal(code, -1);
  });
  await check('ping is answered', async () => {
    const { got } = await raw([init, { type: 'ping', payload: { at: 1 } }]);
    assert.deepEqual(got.find((one) => one.type === 'pong'), { type: 'pong', payload: { at: 1 } });
  });
  await check('a ping with a newer credential does not disturb what is under way', async () => {
    let socket;
    const client = made({ connectionParams: { authorization: 'Bearer a' }, keepAlive: 100, on: { connected: (opened) => { socket = opened; } } });
    const counted = collected(client, { query: 'subscription { count(to: 5, pauseMs: 100) }' });
    assert.deepEqual(await collected(client, { query: '{ hello }' }), [{ data: { hello: 'world' } }]);
    socket.send(JSON.stringify({ type: 'ping', payload: { authorization: 'Bearer b' } }));
    assert.equal((await counted).length, 5);
    await client.dispose();
  });
  const codes = [
    ['subscribe before init', [slow('1')], 4401],
    ['a second init', [init, init], 4429],
    ['an id twice', [init, slow('a'), slow('a')], 4409],
    ['no JSON', [init, 'hello'], 4400],
    ['a binary message', [init, Buffer.from('{}')], 4400],
    ['an unknown type', [init, { type: 'nope' }], 4400],
    ['a subscribe without an id', [init, { type: 'subscribe', payload: { query: '{ hello }' } }], 4400],
    ['an init with a list', [{ type: 'connection_init', payload: [] }], 4400],
    ['an init with what is no field', [{ type: 'connection_init', payload: { authorization: 'a\r\nb: c' } }], 4403],
    ['no init in time', [], 4408],
  ];
  for (const [name, messages, code] of codes) {
    await check(`${name}: ${code}`, async () => assert.equal((await raw(messages, { wait: 5_000 })).code, code));
  }
  await check('no subprotocol: 4406', async () => assert.equal((await raw([], { protocol: [] })).code, 4406));
  await check('a page of another origin is refused', async () => {
    assert.equal((await raw([init], { headers: { origin: 'https://evil.example' } })).code, 403);
  });
  await check('one operation too many is refused, the others go on', async () => {
    const { code, got } = await raw([init, ...[...Array(101).keys()].map((one) => slow(`s${one}`))], { wait: 2_000 });
    assert.equal(code, -1);
    assert.deepEqual(got.filter((one) => one.type === 'error').map((one) => one.id), ['s100']);
    assert.ok(got.some((one) => one.type === 'next'));
  });
}

async function sse() {
  const { createClient } = await import('graphql-sse');
  for (const singleConnection of [false, true]) {
    const mode = singleConnection ? 'single connection' : 'distinct connections';
    const client = createClient({ url: `${endpoint}/stream`, singleConnection, retryAttempts: 0 });
    await check(`${mode}: a query`, async () => {
      assert.deepEqual(await collected(client, { query: '{ hello }' }), [{ data: { hello: 'world' } }]);
    });
    await check(`${mode}: subscriptions at once`, async () => {
      const all = await Promise.all([1, 2, 3].map((to) => collected(client, { query: `subscription { count(to: ${to}) }` })));
      assert.deepEqual(all.map((one) => one.length), [1, 2, 3]);
    });
    await check(`${mode}: leaving a subscription ends it`, async () => {
      const iterator = client.iterate({ query: 'subscription { count(to: 1000, pauseMs: 10) }' });
      assert.deepEqual((await iterator.next()).value, { data: { count: 1 } });
      await iterator.return();
    });
    client.dispose();
  }
}

async function apollo() {
  const { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } = await import('@apollo/client');
  const { GraphQLWsLink } = await import('@apollo/client/link/subscriptions');
  const { PersistedQueryLink } = await import('@apollo/client/link/persisted-queries');
  const { Defer20220824Handler } = await import('@apollo/client/incremental');
  const { createClient } = await import('graphql-ws');
  const { createHash } = await import('node:crypto');
  const made = (link) =>
    new ApolloClient({ link, cache: new InMemoryCache(), incrementalHandler: new Defer20220824Handler() });
  const numbers = (client) =>
    new Promise((ok, no) => {
      const found = [];
      client.subscribe({ query: gql`subscription { count(to: 3) }` }).subscribe({
        next: (value) => (value.error ? no(value.error) : found.push(value.data.count)),
        error: no,
        complete: () => ok(found),
      });
    });
  const http = () => new HttpLink({ uri: endpoint, fetch });
  await check('HttpLink: a query with variables', async () => {
    const query = gql`query ($id: String) { getThing(id: $id) { id int64Value } }`;
    const { data } = await made(http()).query({ query, variables: { id: 'x' } });
    assert.deepEqual({ ...data.getThing, __typename: undefined }, { __typename: undefined, id: 'x', int64Value: '9007199254740993' });
  });
  await check('HttpLink: a mutation', async () => {
    const { data } = await made(http()).mutate({ mutation: gql`mutation { dropThing(id: "x") }` });
    assert.deepEqual({ ...data }, { dropThing: true });
  });
  await check('HttpLink: an error has the code of the status', async () => {
    const query = gql`{ getThing(id: "x", failCode: 5) { id } }`;
    const error = await made(http()).query({ query }).then(() => undefined, (caught) => caught);
    assert.equal(error.errors[0].extensions.code, 'NOT_FOUND');
    assert.deepEqual(error.errors[0].path, ['getThing']);
  });
  await check('HttpLink: a subscription in parts', async () => assert.deepEqual(await numbers(made(http())), [1, 2, 3]));
  await check('HttpLink: a deferred field comes later', async () => {
    const query = gql`{ hello ... @defer { getThing(id: "x", pauseMs: 50) { id } } }`;
    const seen = await new Promise((ok, no) => {
      const states = [];
      made(http()).watchQuery({ query }).subscribe({
        error: no,
        next: ({ data, dataState }) => {
          if (data) states.push([dataState, Object.keys(data).filter((one) => one !== '__typename')]);
          if (dataState === 'complete') ok(states);
        },
      });
    });
    assert.deepEqual(seen, [['streaming', ['hello']], ['complete', ['hello', 'getThing']]]);
  });
  await check('PersistedQueryLink: by hash', async () => {
    const sha256 = (text) => createHash('sha256').update(text).digest('hex');
    for (const useGETForHashedQueries of [false, true]) {
      const client = made(ApolloLink.from([new PersistedQueryLink({ sha256, useGETForHashedQueries }), http()]));
      for (let time = 0; time < 2; time += 1) {
        const { data } = await client.query({ query: gql`query Persisted { hello }`, fetchPolicy: 'no-cache' });
        assert.equal(data.hello, 'world');
      }
    }
  });
  await check('GraphQLWsLink: a subscription', async () => {
    const socket = createClient({ url: socketUrl, webSocketImpl: WebSocket });
    assert.deepEqual(await numbers(made(new GraphQLWsLink(socket))), [1, 2, 3]);
    await socket.dispose();
  });
}

// graphql-js reads the SDL, and what introspection says is the same schema.
async function schema() {
  const { buildClientSchema, buildSchema, getIntrospectionQuery, lexicographicSortSchema, printSchema, validateSchema } = await import('graphql');
  const { readFileSync } = await import('node:fs');
  const sorted = (one) => printSchema(lexicographicSortSchema(one));
  await check('graphql-js takes the SDL, and introspection says the same', async () => {
    const built = buildSchema(readFileSync(process.argv[4], 'utf8'));
    assert.deepEqual(validateSchema(built), []);
    const query = getIntrospectionQuery({ specifiedByUrl: true, oneOf: true, inputValueDeprecation: true });
    const answer = await fetch(endpoint, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ query }) });
    assert.equal(sorted(buildClientSchema((await answer.json()).data)), sorted(built));
  });
}

await { audit, ws, sse, apollo, schema }[suite]();
process.exit(failed ? 1 : 0);

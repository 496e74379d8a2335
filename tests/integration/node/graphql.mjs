// A GraphQL service that nobody here wrote the server of: `node graphql.mjs yoga|apollo` prints its port.
// Yoga answers subscriptions as server-sent events and, by graphql-ws, over WebSocket.
import { createServer } from 'node:http';
import { GraphQLError } from 'graphql';
import { createSchema, createYoga } from 'graphql-yoga';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer } from 'ws';

const typeDefs = /* GraphQL */ `
  enum Genre { FICTION SCIENCE }
  interface Node { id: ID! }
  type Author implements Node { id: ID! name: String! born: Int books(first: Int = 5): [Book!]! }
  type Book implements Node {
    id: ID!
    title: String!
    genre: Genre!
    pages: Int!
    rating: Float
    author: Author!
    secret: String
    tags: [[String!]!]
    born: String
  }
  union Hit = Book | Author
  scalar Json
  input By @oneOf { id: ID name: String }
  input NewBook { title: String! by: By! pages: Int! = 100 genre: Genre = SCIENCE tags: [[String!]!] }
  type Query {
    book(id: ID!): Book
    books(genre: Genre, first: Int! = 2): [Book!]!
    search(text: String!): [Hit!]!
    node(id: ID!): Node
    watching: Int!
    headers: Json!
    fail(code: String): Int
    exact: Book!
  }
  type Mutation { addBook(input: NewBook!): Book! }
  type Subscription {
    countdown(from: Int!): Int!
    bookEvents(upTo: Int!, failAt: Int = -1): Book!
    forever: Int
  }
`;

const authors = { a1: { __typename: 'Author', id: 'a1', name: 'Zoë ☃', born: 1900 }, a2: { __typename: 'Author', id: 'a2', name: 'Ada' } };
const book = (id, title, genre, author, more = {}) =>
  ({ __typename: 'Book', id, title, genre, pages: 0, author: authors[author], ...more });
const books = [
  book('1', 'One', 'FICTION', 'a1', { pages: 0, rating: 4, tags: [['x', 'y'], []], born: 'yes' }),
  book('2', 'Two', 'SCIENCE', 'a2', { pages: 2147483647, rating: 0.1 }),
  book('3', 'Three', 'SCIENCE', 'a1', { pages: -1 }),
];
let watching = 0;

const coded = (message, code) => new GraphQLError(message, { extensions: code ? { code } : {} });
async function* watched(make) {
  watching++;
  try {
    yield* make();
  } finally {
    watching--;
  }
}
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const resolvers = {
  Query: {
    book: (_, { id }) => books.find((one) => one.id === id) ?? null,
    books: (_, { genre, first }) => books.filter((one) => !genre || one.genre === genre).slice(0, first),
    search: (_, { text }) => [...books.filter((one) => one.title.includes(text)), ...Object.values(authors)],
    node: (_, { id }) => authors[id] ?? books.find((one) => one.id === id) ?? null,
    watching: () => watching,
    headers: (_, __, { headers }) => headers,
    fail: (_, { code }) => { throw coded('as you wished', code); },
    exact: () => { throw coded('there is none', 'NOT_FOUND'); },
  },
  Mutation: {
    addBook: (_, { input: { title, by, pages, genre, tags } }) =>
      book('9', title, genre, 'a1', { pages, tags, author: by.id ? authors[by.id] : { __typename: 'Author', id: 'x', name: by.name } }),
  },
  Subscription: {
    countdown: {
      subscribe: (_, { from }) => watched(async function* () {
        for (let n = from; n >= 0; n--) yield { countdown: n };
      }),
    },
    bookEvents: {
      subscribe: (_, { upTo, failAt }) => watched(async function* () {
        for (let n = 0; n < upTo; n++) yield n === failAt ? coded('no more', 'FAILED_PRECONDITION') : books[n % 3];
      }),
      resolve: (event) => { if (event instanceof Error) throw event; return event; },
    },
    forever: {
      subscribe: () => watched(async function* () {
        for (let n = 0; ; n++) { yield { forever: n }; await pause(20); }
      }),
    },
  },
  Author: { books: (author, { first }) => books.filter((one) => one.author === author).slice(0, first) },
  Book: { secret: (one) => { if (one.id === '2') throw coded('not yours', 'FORBIDDEN'); return 'open'; } },
};

const schema = createSchema({ typeDefs, resolvers });
const context = ({ req, request, extra }) =>
  ({ headers: req?.headers ?? (request ? Object.fromEntries(request.headers) : extra?.request.headers) });

let server;
if (process.argv[2] === 'apollo') {
  const { ApolloServer } = await import('@apollo/server');
  const { HeaderMap } = await import('@apollo/server');
  const apollo = new ApolloServer({ schema });
  await apollo.start();
  server = createServer(async (req, res) => {
    const pieces = [];
    for await (const piece of req) pieces.push(piece);
    const headers = new HeaderMap();
    for (const [name, value] of Object.entries(req.headers)) headers.set(name, [value].flat().join(', '));
    const answer = await apollo.executeHTTPGraphQLRequest({
      httpGraphQLRequest: { method: req.method, headers, search: '', body: JSON.parse(Buffer.concat(pieces).toString()) },
      context: async () => context({ req }),
    });
    res.writeHead(answer.status ?? 200, Object.fromEntries(answer.headers));
    if (answer.body.kind === 'complete') res.end(answer.body.string);
  });
} else {
  const yoga = createYoga({ schema, context, graphqlEndpoint: '/graphql', maskedErrors: false, logging: false });
  server = createServer(yoga);
  useServer({ schema, context, connectionInitWaitTimeout: 1000 }, new WebSocketServer({ server, path: '/graphql' }));
}
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));

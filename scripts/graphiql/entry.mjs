// The page's one script: GraphiQL on the endpoint that the script's own tag names.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { GraphiQL } from 'graphiql';
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import 'graphiql/graphiql.css';

const endpoint = new URL(document.currentScript.dataset.endpoint, location.href).href;
const fetcher = createGraphiQLFetcher({ url: endpoint, subscriptionUrl: endpoint.replace(/^http/, 'ws') });
createRoot(document.getElementById('graphiql')).render(React.createElement(GraphiQL, { fetcher }));

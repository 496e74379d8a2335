#!/usr/bin/env bash
# Builds GraphiQL's script and style sheet into protogw/frontends/graphql/assets, gzipped: everything in one file each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
assets=../../protogw/frontends/graphql/assets
npm install --no-package-lock --no-audit --no-fund --loglevel=error
npx esbuild entry.mjs --bundle --minify --format=iife --target=es2020 --legal-comments=eof \
  --define:process.env.NODE_ENV=\"production\" --loader:.woff2=dataurl --outfile=build/graphiql.js
for name in graphiql.js graphiql.css; do
  gzip -9 -n -c "build/$name" >"$assets/$name.gz"
done
cat node_modules/graphiql/LICENSE >"$assets/GRAPHIQL_LICENSE"

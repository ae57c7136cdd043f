#!/bin/sh
# The lifecycle of an app, with the real executables and an embedded web server; no root, no network.
# Options are passed on: --keep leaves the directories.
set -eu
cd "$(dirname "$0")"
cargo build --quiet --release --package driver-http --package datastore-fs
exec cargo run --quiet --release --example lifecycle -- --bin "${CARGO_TARGET_DIR:-target}/release" "$@"

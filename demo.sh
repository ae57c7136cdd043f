#!/bin/sh
# The lifecycle of an app, with the real executables and an embedded server; no root, no network.
# Options are passed on: --backend s3 uses an S3 marketplace instead of an http one, --keep leaves the directories.
set -eu
cd "$(dirname "$0")"
cargo build --quiet --release --package driver-http --package driver-s3 --package driver-one --package datastore-fs
exec cargo run --quiet --release --example lifecycle -- --bin "${CARGO_TARGET_DIR:-target}/release" "$@"

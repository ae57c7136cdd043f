#!/bin/sh
# The lifecycle of an app, with the real executables and an embedded server; no root, no network.
# Options are passed on: --backend s3 uses an S3 marketplace instead of an http one, --keep leaves the directories.
set -eu
cd "$(dirname "$0")"
# All executables in the profile of the tests: then ./test.sh builds nothing a second time.
cargo build --quiet --workspace --bins --example lifecycle
exec "${CARGO_TARGET_DIR:-target}/debug/examples/lifecycle" "$@"

#!/usr/bin/env bash
# All tests. Installs nothing: a test that needs a program which is not here says what to install and counts as skipped.
# With MARKET_TEST_REQUIRE=all a missing program is a failure. Closes with "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")" || exit 1
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
status=0

run() {
    printf '\n==> %s\n' "$*"
    "$@" 2>&1 | tee -a "$log" || status=1
}

# Those who embed the template parser get it alone.
few_crates() {
    local count
    count=$(CARGO_RESOLVER_FEATURE_UNIFICATION=selected cargo tree --package market-core --no-default-features --edges normal --prefix none --no-dedupe | grep -v ' (/' | sort -u | wc -l)
    echo "market-core without features: $count crates of others (at most 8)"
    [ "$count" -le 8 ]
}

# Drivers that discover apps come without the checks of images.
no_image_check() {
    local package
    for package in driver-one driver-linuxcontainers; do
        if CARGO_RESOLVER_FEATURE_UNIFICATION=selected cargo tree --package "$package" --edges normal --prefix none | grep '^image-check '; then
            echo "$package depends on image-check"
            return 1
        fi
    done
}

run cargo test --workspace --no-fail-fast
run cargo check --quiet --package market-core --no-default-features
run cargo check --quiet --package market-core --no-default-features --features serde
run cargo check --quiet --package market-core --no-default-features --features model
run cargo check --quiet --package market-core --no-default-features --features driver
run no_image_check
# Those who need no S3 get none.
run cargo check --quiet --package driver-http
run few_crates

passed=$(grep -E '^test result:' "$log" | sed -E 's/.* ([0-9]+) passed.*/\1/' | awk "{ sum += \$1 } END { print sum + 0 }")
failed=$(grep -E '^test result:' "$log" | sed -E 's/.* ([0-9]+) failed.*/\1/' | awk "{ sum += \$1 } END { print sum + 0 }")
skipped=$(grep -c 'SKIPPED: ' "$log")
if [ "$skipped" -gt 0 ]; then
    printf '\nSkipped:\n'
    grep -o 'SKIPPED: .*' "$log" | sort | uniq -c
fi
[ "${failed:-0}" -gt 0 ] && status=1
printf '\n%s passed, %s failed, %s skipped\n' "$((${passed:-0} - skipped))" "${failed:-0}" "$skipped"
exit "$status"

#!/bin/bash
# Everything that must hold, in one run; each step goes on when an earlier one failed. Closing line: `N passed, N failed, N skipped`.
# A step that is no test counts as one check. Tests that skip themselves (skip! in tests/src/skip.rs) are counted as skipped.
set -u
cd "$(dirname "$0")/.." || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HSHIM_SKIPS=$work/skips
: >"$HSHIM_SKIPS"
export CARGO_TERM_COLOR=never
export NO_COLOR=1
passed=0 failed=0 skipped=0
began=$(date +%s)
failures=()

say() { printf '\n==> [%4d s] %s\n' "$(($(date +%s) - began))" "$*"; }

# check NAME COMMAND…: one check.
check() {
    local name=$1
    shift
    say "$name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        failures+=("$name")
    fi
}

# tests NAME COMMAND…: a cargo-nextest run, whose own counts are added up.
tests() {
    local name=$1 log=$work/log status
    shift
    say "$name"
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    local summary
    summary=$(grep -E '^ *Summary \[' "$log" | tail -n 1)
    local ok bad ignored
    ok=$(sed -nE 's/.* ([0-9]+) passed.*/\1/p' <<<"$summary")
    ignored=$(sed -nE 's/.* ([0-9]+) skipped.*/\1/p' <<<"$summary")
    bad=$(grep -oE '[0-9]+ (failed|timed out|exec failed)' <<<"$summary" | awk '{ n += $1 } END { print n + 0 }')
    [ -n "$ok" ] || ok=0
    [ -n "$ignored" ] || ignored=0
    if [ "$status" -ne 0 ]; then
        [ "$bad" -ne 0 ] || bad=1
        failures+=("$name")
    fi
    passed=$((passed + ok))
    failed=$((failed + bad))
    skipped=$((skipped + ignored))
}

# guest KIND SUITE… [-- FILTER…]: suites in the guest, each one process; the counts are libtest's. What skips itself there is printed after "== skipped".
guest() {
    local log=$work/log status
    say "guest, $1: ${*:2}"
    timeout --kill-after 30 1500 tests/guest/suites "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    local ok bad ignored early
    ok=$(sed -nE 's/^test result: .* ([0-9]+) passed;.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    bad=$(sed -nE 's/^test result: .* ([0-9]+) failed;.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    ignored=$(sed -nE 's/^test result: .* ([0-9]+) ignored;.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    early=$(sed -n '/^== skipped/,$p' "$log" | sed 1d | grep -cE '^[^:]+: ')
    if [ "$status" -ne 0 ] || [ "$ok" -eq 0 ]; then
        [ "$bad" -ne 0 ] || bad=1
        failures+=("guest $1")
    fi
    passed=$((passed + ok - early))
    failed=$((failed + bad))
    skipped=$((skipped + ignored + early))
}

# Only test targets that exist: a suite is a directory below tests/ with an entry in tests/Cargo.toml.
nextest() { timeout --kill-after 30 2400 cargo nextest run --profile ci "$@"; }

check "native library" just native
check "format" cargo fmt --check
check "build" cargo build --workspace
check "lints" cargo clippy --quiet --workspace --all-targets -- -D warnings
check "rustdoc" env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items
tests "units, properties and end to end, on this machine's cgroups" nextest --workspace
tests "the reference passes the suites that judge hshim" env RUNTIME=runc cargo nextest run --profile ci -p hshim-tests --test oci --test limits --test rootless --test security
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
    tests "on the private v2 mount" tests/on-v2.sh cargo nextest run --profile ci -p hshim-tests --test smoke --test oci --test limits --test rootless
fi
guest plain limits
guest plain taskapi -- tasks:: restarts:: phases::each_call
guest plain containerd -- events::a_container_that_runs_out tasks::limits_can restarts::an_unhealthy
check "release programs, static and within their budgets" just release

# Tests that returned early were counted as passed above.
early=$(sort "$HSHIM_SKIPS" | wc -l)
passed=$((passed - early))
skipped=$((skipped + early))
if [ "$early" -gt 0 ]; then
    say "tests that cannot run here"
    sort "$HSHIM_SKIPS" | uniq -c
fi
if [ "$failed" -gt 0 ]; then
    say "failed: ${failures[*]}"
fi
say "done"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

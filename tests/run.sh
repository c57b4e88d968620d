#!/usr/bin/env bash
# Every check and every test of Bowline, from nothing: tests/run.sh [quick|unit|e2e|all]
#
#   quick  formatting, lints, documentation, dependencies, architecture
#   unit   the tests of the crates (they start a Postgres of their own, and use the engine)
#   e2e    end to end, against a real Docker Engine and a real Postgres
#   all    everything above, in this order (default)
#
# Installs what is missing (Debian packages; pinned programs into target/tools), starts an engine when none
# answers, and stops what it started. Ends at the first part that fails, with its output above.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib/ensure.sh
. deploy/lib/ensure.sh

what=${1:-all}
case $what in quick | unit | e2e | all) ;; *) fail "unknown argument: $what" "tests/run.sh [quick|unit|e2e|all]" ;; esac
wants() { [ "$what" = all ] || [ "$what" = "$1" ]; }

state=$PWD/target/run
# What the end-to-end tests measured, a line each; shown at the end.
figures=$PWD/target/figures.txt
rm -f "$figures"
gateway_image=localhost/bowline-gateway:latest
# In CI the lock file is part of what is tested.
locked=(${CI:+--locked})
profile=${CI:+ci}
profile=${profile:-default}

# --- Parts --------------------------------------------------------------------------------------------------

part='' part_started='' summary=''

# part HEADLINE COMMAND…: in this shell, so that `set -e` holds within; `finish` tells which part it was.
part() {
    part=$1 part_started=$SECONDS
    shift
    printf '\n== %s\n' "$part"
    "$@"
    part_done ok
}

part_done() {
    summary+=$(printf '  %-6s %4d s  %s' "$1" $((SECONDS - part_started)) "$part")$'\n'
    part=''
}

finish() {
    local code=$?
    set +e
    if [ -n "$part" ]; then part_done FAILED; fi
    stop_engine "$state"
    if wants e2e && [ -s "$figures" ]; then printf '\n== Figures\n%s\n' "$(sort "$figures")"; fi
    printf '\n== Summary (%s, %d s in all)\n%s' "$what" "$SECONDS" "$summary"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

tools() {
    ensure_build_tools
    ensure_command git git
    if wants quick; then
        ensure_command shellcheck shellcheck
        ensure_tool cargo-deny
    fi
    if wants unit || wants e2e; then
        ensure_tool cargo-nextest
        ensure_command curl curl
        ensure_postgres_binaries
        ensure_registry
    fi
}

# --- Checks -------------------------------------------------------------------------------------------------

shell_scripts() {
    git ls-files --cached --others --exclude-standard -z '*.sh' .ci/run |
        xargs -0 shellcheck --external-sources --source-path="$PWD"
}

clippy() { cargo clippy "${locked[@]}" --workspace --all-targets -- -D warnings; }

documentation() { RUSTDOCFLAGS="-D warnings" cargo doc "${locked[@]}" --workspace --no-deps --document-private-items; }

dependencies() { cargo deny --log-level error check bans licenses sources; }

# What deny.toml cannot say: core decides and never does, so nothing below it may wait, listen or connect.
architecture() {
    local found
    found=$(cargo tree "${locked[@]}" --package bowline-core --edges normal --prefix none --format '{p}' |
        grep -E '^(tokio|mio|futures|hyper|axum|rmcp|sqlx|bollard|rand)[a-z-]* ' | sort -u || true)
    [ -z "$found" ] || fail "bowline-core depends on: $(printf '%s' "$found" | tr '\n' ' ')" \
        "core is pure; the work belongs into the crate that calls it"
    say "bowline-core depends on nothing that does input or output"
}

# --- Tests --------------------------------------------------------------------------------------------------

crate_tests() {
    cargo nextest run "${locked[@]}" --profile "$profile" --workspace --filterset 'not binary_id(bowline-tests::e2e)'
    cargo test "${locked[@]}" --quiet --workspace --doc
}

engine() {
    ensure_engine "$state"
    docker version --format 'Docker Engine {{.Server.Version}} (API {{.Server.APIVersion}})'
}

images() {
    deploy/image/build.sh "$gateway_image"
    deploy/servers/build.sh mcp-server-time mcp-server-fetch
    tests/images/build.sh
}

# The official client library of MCP, as a client that is none of ours.
python_sdk() {
    ensure_python_venv
    [ -x target/sdk/bin/pip ] || quietly python3 -m venv target/sdk
    quietly target/sdk/bin/pip install --requirement tests/sdk/requirements.txt
    target/sdk/bin/pip show mcp | sed -n '1,2p'
}

end_to_end() {
    local host
    host=$(rustc --version --verbose | sed -n 's/^host: //p')
    cargo build "${locked[@]}" --package bowline-cli
    # Every test brings its own Postgres, and says itself which engine it means.
    env -u DATABASE_URL \
        BOWLINE_BIN="$PWD/target/debug/bowline" \
        BOWLINE_BRIDGE="$PWD/target/$host/image/bowline-bridge" \
        BOWLINE_GATEWAY_IMAGE="$gateway_image" \
        BOWLINE_SDK_PYTHON="$PWD/target/sdk/bin/python" \
        BOWLINE_FIGURES="$figures" \
        cargo nextest run "${locked[@]}" --profile "$profile" --package bowline-tests --test e2e
}

# Needs root, as the engine does that it starts.
service() {
    local host
    host=$(rustc --version --verbose | sed -n 's/^host: //p')
    tests/systemd/run.sh target/debug/bowline "target/$host/image/bowline-bridge"
}

part "Tools" tools
if wants quick; then
    part "Formatting" cargo fmt --all --check
    part "Shell scripts" shell_scripts
    part "Lints" clippy
    part "Documentation" documentation
    part "Dependencies" dependencies
    part "Architecture" architecture
fi
if wants unit || wants e2e; then part "Docker Engine" engine; fi
if wants unit; then
    part "Checked queries" deploy/lib/prepare-queries.sh --check
    part "Tests of the crates" crate_tests
fi
if wants e2e; then
    part "Images" images
    part "MCP client library" python_sdk
    part "End-to-end tests" end_to_end
    part "Service" service
fi

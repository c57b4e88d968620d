#!/usr/bin/env bash
# Two users with a gateway each, from nothing: deploy/quickstart.sh
#
#   (no argument)     installs and starts what is missing, builds, starts `bowline serve` in the background,
#                     applies examples/quickstart, and calls a tool of each user through its own gateway.
#                     Run again, it changes nothing that is as it should be.
#   --down            ends it: gateways, networks, files, database, and `serve` itself
#   --down --engine   and stops the Docker Engine, when it was started here
#
# Everything of its own is in .quickstart (state, logs) and in a folder on tmpfs (secrets, sockets).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib/ensure.sh
. deploy/lib/ensure.sh

ensure_build_tools

usage() { fail "unknown argument: $1" "deploy/quickstart.sh [--down [--engine]]"; }

state=$PWD/.quickstart
instance=quickstart
users=(u1 u2)
bowline=$PWD/target/release/bowline

# Secrets belong into memory; /run is a disk on some machines.
runtime=/run/bowline-$instance
[ "$(stat --file-system --format %T /run)" = tmpfs ] || runtime=/dev/shm/bowline-$instance

# For serve and the command line alike, and for the user's own shell (see `source_me`).
export BOWLINE_INSTANCE=$instance BOWLINE_STATE_DIR=$state/state BOWLINE_RUNTIME_DIR=$runtime
export BOWLINE_SERVER=$runtime/api/bowline.sock BOWLINE_GATEWAY_IMAGE=localhost/bowline-gateway:latest
BOWLINE_BRIDGE=$PWD/target/$(rustc --version --verbose | sed -n 's/^host: //p')/image/bowline-bridge
export BOWLINE_BRIDGE

# --- Up -----------------------------------------------------------------------------------------------------

install_and_build() {
    ensure_engine "$state"
    ensure_postgres_binaries
    say "building bowline (the first time takes some minutes)"
    nice cargo build --quiet --release --locked --package bowline-cli
    deploy/image/build.sh "$BOWLINE_GATEWAY_IMAGE"
    deploy/servers/build.sh mcp-server-time
}

serve_answers() { "$bowline" get gateways --all-namespaces --output name; }

start_serve() {
    local sum
    sum=$(cat "$bowline" "$BOWLINE_BRIDGE" | sha256sum | cut -d' ' -f1)
    if is_ours "$state/serve.pid"; then
        if [ "$(cat "$state/serve.sum")" = "$sum" ]; then
            say "bowline serve runs already"
            return
        fi
        say "restarting bowline serve, because it was built anew (containers go on, except those of a new image or bridge)"
        stop_ours "$state/serve.pid" TERM 60
    else
        say "starting bowline serve (log: .quickstart/serve.log)"
    fi
    mkdir -p "$BOWLINE_STATE_DIR"
    printf '%s\n' "$sum" >"$state/serve.sum"
    # The database is its own, whatever the caller's environment names.
    nohup env -u DATABASE_URL setsid "$bowline" serve >>"$state/serve.log" 2>&1 </dev/null &
    process_stamp $! >"$state/serve.pid"
    disown
    wait_until 60 serve_answers || {
        tail -n 20 "$state/serve.log" >&2
        fail "bowline serve did not answer within 60 s" "its log is .quickstart/serve.log"
    }
}

# Which containers there are and since when they run: equal before and after means that none was touched.
containers() {
    local ids
    ids=$(docker ps --all --quiet --no-trunc --filter "label=dev.bowline.instance=$instance" | sort)
    # shellcheck disable=SC2086 # one argument for each
    if [ -n "$ids" ]; then docker inspect --format '{{.Id}} {{.State.StartedAt}}' $ids; fi
}

source_me() {
    cat >"$state/env" <<END
# For your shell: . .quickstart/env
PATH=$(dirname "$bowline"):\$PATH
export BOWLINE_INSTANCE=$instance BOWLINE_RUNTIME_DIR=$runtime BOWLINE_SERVER=$BOWLINE_SERVER
END
}

call_tools() {
    local user
    for user in "${users[@]}"; do
        printf '\n%s asks its gateway for the time:\n' "$user"
        "$bowline" call "$user" get_current_time '{"timezone": "Europe/Berlin"}'
    done
}

up() {
    local before after
    mkdir -p "$state"
    install_and_build
    before=$(containers)
    start_serve
    source_me
    "$bowline" apply --filename examples/quickstart --wait --timeout 3m
    after=$(containers)
    call_tools
    printf '\n'
    "$bowline" get gateways --all-namespaces
    printf '\n'
    if [ -z "$before" ]; then
        say "Both users are ready."
    elif [ "$before" = "$after" ]; then
        say "Both users are ready. No container was changed."
    else
        say "Both users are ready. Containers were changed to match what is declared."
    fi
    cat <<END

Use it:            . .quickstart/env; bowline describe gateway/u1/default
Connect a client:  bowline connect u1 --client claude-code --name laptop
Stop it:           deploy/quickstart.sh --down
END
}

# --- Down ---------------------------------------------------------------------------------------------------

delete_gateways() {
    local gateways
    gateways=$("$bowline" get gateways --all-namespaces --output name)
    # shellcheck disable=SC2086 # one argument for each
    if [ -n "$gateways" ]; then "$bowline" delete $gateways --timeout 2m; fi
}

# The private Postgres outlives a `serve` that was killed. The number in its pid file may be anybody's by now: only
# a process that works in this very data folder is the one.
stop_left_database() {
    local data=$state/state/postgres/data pid
    pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null) || return 0
    [[ $pid =~ ^[1-9][0-9]*$ ]] && [ "/proc/$pid/cwd" -ef "$data" ] || return 0
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = postgres ] || return 0
    say "stopping the database that was left behind"
    process_stamp "$pid" >"$state/postgres.pid"
    # Without waiting for its clients: there are none that matter any more.
    stop_ours "$state/postgres.pid" INT 60
}

down() {
    local stop_engine_too=$1
    if is_ours "$state/serve.pid"; then
        delete_gateways
        stop_ours "$state/serve.pid" TERM 60
        say "bowline serve has ended"
    fi
    # What a `serve` that died could not remove.
    if [ -x "$bowline" ] && engine_answers; then "$bowline" teardown --instance "$instance" --yes; fi
    stop_left_database
    rm -rf "$runtime" "$state/state" "$state/env" "$state/serve.sum"
    if [ "$stop_engine_too" = yes ]; then
        stop_engine "$state"
    elif is_ours "$state/dockerd.pid"; then
        say "the Docker Engine that was started here still runs; to stop it: deploy/quickstart.sh --down --engine"
    fi
    say "Nothing of the quickstart is left running."
}

case "$*" in
"") up ;;
--down) down no ;;
"--down --engine") down yes ;;
*) usage "$*" ;;
esac

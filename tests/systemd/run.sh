#!/usr/bin/env bash
# The service in a booted systemd: tests/systemd/run.sh BOWLINE BRIDGE
#
# Installs into a staged Debian, has `systemd-analyze` read the unit, boots it in a container of systemd-nspawn beside
# an Engine and a Postgres of its own, and looks at what systemd sees: ready, fed, restarted, stopped. The bare
# Debian is made once and kept in target/systemd. Needs root; everything else is removed at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/lib/ensure.sh
. deploy/lib/ensure.sh

[ $# = 2 ] || fail "wrong arguments: $*" "tests/systemd/run.sh BOWLINE BRIDGE"
[ "$(id -u)" = 0 ] || fail "a system can only be booted by root" "run this as root"
bowline=$1 bridge=$2

# shellcheck source=/dev/null
suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-bookworm}")
cache=$PWD/target/systemd
base=$cache/$suite
# Short, because sockets are in it; the runtime directory is to be on tmpfs.
work=$(mktemp -d /tmp/bowline-sd.XXXXXX)
chmod 0755 "$work"
runtime=$(mktemp -d /dev/shm/bowline-sd.XXXXXX)
stage=$cache/stage.$$
unit=bowline.service
# Long enough for the slowest part of a busy machine, short enough to wait for.
watchdog=16
booted='' leader='' engine=''

finish() {
    local code=$?
    set +e
    if [ "$code" != 0 ]; then
        [ -z "$leader" ] || inside journalctl --no-pager --lines 40 --unit "$unit" >&2
        for log in "$work"/*.log; do [ ! -f "$log" ] || tail -n 15 "$log" >&2; done
    fi
    # Each is the parent of a process namespace, and takes everything within with it.
    for child in $leader $booted $engine; do kill -KILL "$child" 2>/dev/null; done
    wait 2>/dev/null
    stop_postgres "$work/pg"
    rm -rf --one-file-system "$work" "$runtime" "$stage"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# --- A Debian to boot ---------------------------------------------------------------------------------------

ensure_base() {
    if [ -f "$base/.complete" ]; then return; fi
    ensure_command debootstrap debootstrap
    say "making a minimal Debian $suite with systemd (about 40 s)"
    rm -rf --one-file-system "$base"
    mkdir -p "$base"
    quietly debootstrap --variant=minbase --include=systemd,systemd-sysv "$suite" "$base" \
        ${BOWLINE_DEBIAN_MIRROR:+"$BOWLINE_DEBIAN_MIRROR"}
    rm -rf "$base"/var/cache/apt/* "$base"/var/lib/apt/lists/*
    touch "$base/.complete"
}

# A copy by hard links: what is installed replaces files, and what the booted system writes goes to memory.
stage_root() {
    rm -rf --one-file-system "$stage"
    cp --archive --link "$base" "$stage"
    deploy/systemd/install.sh --root "$stage" "$bowline" "$bridge"
    cat >"$stage/etc/bowline/bowline.env" <<SETTINGS
BOWLINE_DOCKER_HOST=unix:///mnt/engine/docker.sock
BOWLINE_GATEWAY_IMAGE=localhost/bowline-gateway:latest
BOWLINE_HOST_NAME=booted
BOWLINE_INSTANCE=booted
SETTINGS
    # As docs/operating.md says it.
    install -D -m 0644 /dev/stdin "$stage/etc/systemd/system/$unit.d/database.conf" <<'DROP_IN'
[Service]
LoadCredential=database-url:/etc/bowline/database-url
Environment=BOWLINE_DATABASE_URL_FILE=%d/database-url
DROP_IN
    printf 'postgres:///postgres?host=/mnt/pg&user=postgres\n' | install -m 0600 /dev/stdin "$stage/etc/bowline/database-url"
    install -m 0644 /dev/stdin "$stage/etc/systemd/system/$unit.d/watchdog.conf" <<DROP_IN
[Service]
WatchdogSec=$watchdog
DROP_IN
}

verify() {
    local said
    # It speaks of what it does not like and succeeds all the same, in some versions.
    said=$(systemd-analyze verify --man=no --root="$stage" "$unit" 2>&1) || fail "systemd-analyze verify: $said"
    ! grep -q bowline <<<"$said" || fail "systemd-analyze verify: $said"
    quietly systemctl --root="$stage" enable "$unit"
    say "systemd-analyze verify: nothing to say about $unit"
}

# --- What the service needs ---------------------------------------------------------------------------------

engine_is_up() { docker --host "unix://$work/engine/docker.sock" version; }

# It and the booted system see one runtime directory under one name, as on a real host.
start_engine() {
    mkdir "$work/engine"
    printf '{}' >"$work/engine/daemon.json"
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --net --mount --propagation private --pid --fork --kill-child=KILL --mount-proc -- sh -c '
        mount -t tmpfs tmpfs /run && mkdir /run/bowline && mount --bind "$1" /run/bowline && ip link set lo up &&
            exec dockerd --config-file "$2/daemon.json" --data-root "$2/data" --host "unix://$2/docker.sock"
    ' sh "$runtime" "$work/engine" >"$work/dockerd.log" 2>&1 </dev/null &
    engine=$!
    wait_until 60 engine_is_up || fail "the Engine did not come up" "its log is above"
}

inside() { nsenter --target "$leader" --all -- "$@"; }

has_leader() { leader=$(tr -d ' ' 2>/dev/null <"/proc/$booted/task/$booted/children") && [ -n "$leader" ]; }

has_booted() { inside systemctl is-system-running | grep -qE '^(running|degraded)$'; }

# What has ended and was not waited for still has its entry there, with the state Z.
has_ended() { ! grep -qs '^[0-9]* (.*) [^ZX]' "/proc/$booted/stat"; }

boot() {
    systemd-nspawn --quiet --directory "$stage" --machine "bowline-$$" --volatile=overlay --register=no --keep-unit \
        --bind "$runtime:/run/bowline" --bind "$work/engine:/mnt/engine" --bind "$work/pg:/mnt/pg" \
        --boot >"$work/boot.log" 2>&1 </dev/null &
    booted=$!
    wait_until 20 has_leader || fail "systemd-nspawn did not start"
    wait_until 60 has_booted || fail "the system did not come up: $(inside systemctl is-system-running)"
}

# --- What systemd sees --------------------------------------------------------------------------------------

property() { inside systemctl show --value --property "$1" "$unit"; }

is_active() { [ "$(property ActiveState)" = active ]; }
is_inactive() { [ "$(property ActiveState)" = inactive ]; }
is_fed_after() { [ "$(property WatchdogTimestampMonotonic)" -gt "$1" ]; }
was_restarted() { [ "$(property NRestarts)" = "$1" ] && is_active; }

becomes_ready() {
    wait_until 60 is_active || fail "not ready: $(property ActiveState), $(property Result)"
    # `active` comes with READY=1, and that only after the first listing.
    inside journalctl --no-pager --unit "$unit" | grep -q 'everything listed' || fail "ready before anything was listed"
    say "ready after the first complete listing"
}

is_fed() {
    local pid since
    pid=$(property MainPID) since=$(property WatchdogTimestampMonotonic)
    # Longer than two whole periods: unfed it would have been ended.
    wait_until $((watchdog * 4)) is_fed_after $((since + watchdog * 2000000)) || fail "the watchdog is not fed"
    [ "$(property MainPID) $(property NRestarts)" = "$pid 0" ] || fail "it was restarted although it was well"
    say "watchdog of $watchdog s fed over two periods, same process"
}

hang_is_noticed() {
    local pid begin=$SECONDS
    pid=$(property MainPID)
    inside systemctl kill --kill-whom=main --signal=SIGSTOP "$unit"
    wait_until $((watchdog * 4)) was_restarted 1 || fail "a process that hangs is not restarted"
    [ "$(property MainPID)" != "$pid" ] || fail "the same process"
    inside journalctl --no-pager --unit "$unit" | grep -q 'Watchdog timeout' || fail "restarted, but not by the watchdog"
    say "a process that stands still is restarted and ready after $((SECONDS - begin)) s"
}

stops_cleanly() {
    inside systemctl stop "$unit"
    is_inactive || fail "after stop: $(property ActiveState)"
    [ "$(property Result) $(property ExecMainStatus)" = "success 0" ] ||
        fail "stopped with $(property Result), status $(property ExecMainStatus)"
    inside test -d /run/bowline/api || fail "the runtime directory did not outlive the stop"
    inside systemctl start "$unit"
    is_active || fail "after start: $(property ActiveState)"
    say "stopped with status 0, runtime directory kept, started again"
}

shuts_down() {
    inside systemctl --no-block start poweroff.target
    wait_until 60 has_ended || fail "the system did not shut down"
    wait "$booted" || fail "the system ended with $?"
    booted='' leader=''
    say "shut down with the system"
}

ensure_command systemd-nspawn systemd-container
ensure_command systemd-analyze systemd
ensure_base
stage_root
verify
start_postgres "$work/pg" >/dev/null
start_engine
boot
becomes_ready
is_fed
hang_is_noticed
stops_cleanly
shuts_down

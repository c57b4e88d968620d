#!/usr/bin/env bash
# Installs Bowline as a systemd service: deploy/systemd/install.sh [--root DIR] [BOWLINE BRIDGE]
#
#   --root DIR       into this root file system instead of the running one
#   BOWLINE BRIDGE   the programs [default: target/release/bowline, and what deploy/image/build.sh built]
#
# It starts and enables nothing, and leaves settings in /etc/bowline as they are.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/lib/ensure.sh
. deploy/lib/ensure.sh

root=
if [ "${1:-}" = --root ]; then
    [ -d "${2:-}" ] || fail "--root needs a directory that exists" "deploy/systemd/install.sh --root DIR"
    root=${2%/}
    shift 2
fi
case $# in
    0) bowline=target/release/bowline bridge=$(find target -path '*/image/bowline-bridge' -type f | head -n 1) ;;
    2) bowline=$1 bridge=$2 ;;
    *) fail "wrong arguments: $*" "deploy/systemd/install.sh [--root DIR] [BOWLINE BRIDGE]" ;;
esac
[ -f "$bowline" ] || fail "there is no program $bowline" "cargo build --release --package bowline-cli"
[ -f "$bridge" ] || fail "there is no bridge ${bridge:-below target}" "deploy/image/build.sh builds it"
[ -w "${root:-/}" ] || fail "${root:-/} cannot be written" "run this as root"

install -D -m 0755 "$bowline" "$root/usr/bin/bowline"
# Beside the program, where it is looked for.
install -D -m 0755 "$bridge" "$root/usr/bin/bowline-bridge"
install -D -m 0644 deploy/systemd/bowline.service "$root/usr/lib/systemd/system/bowline.service"
install -d -m 0755 "$root/etc/bowline" "$root/etc/bowline/specs.d"
if [ ! -e "$root/etc/bowline/bowline.env" ]; then
    install -m 0600 /dev/stdin "$root/etc/bowline/bowline.env" <<'SETTINGS'
# Settings of bowline.service: each flag of `bowline serve` is a variable, --port-range is BOWLINE_PORT_RANGE.
SETTINGS
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    say "installed; start it with: systemctl enable --now bowline"
else
    say "installed into ${root:-/}"
fi

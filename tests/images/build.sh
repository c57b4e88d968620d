#!/usr/bin/env bash
# Builds a light MCP server for the end-to-end tests: tests/images/build.sh [TAG]
#
# One static binary of about a megabyte, so that a test with dozens of servers measures Bowline and not Python.
# What it does is told by its arguments, which a catalog entry sets with `command`: see its source,
# crates/gateway/examples/scripted_server.rs. Nothing is built when the image has the same content already.
set -euo pipefail

tag=${1:-localhost/bowline-test-server:latest}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# Not below dev.bowline: a container inherits its image's labels, and those are read as ours.
label=bowline-build.inputs

cd "$root"
# These flags reach the example alone: everything it is linked with is what the tests build anyhow.
cargo rustc ${CI:+--locked} --package bowline-gateway --example scripted_server -- \
    -C target-feature=+crt-static -C strip=symbols
built=${CARGO_TARGET_DIR:-$root/target}/debug/examples/scripted_server

inputs=$(cat "$here/Dockerfile" "$built" | sha256sum | cut -c1-16)
present=$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$tag" 2>/dev/null || true)
if [ "$present" = "$inputs" ]; then
    echo "image $tag is up to date"
    exit
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
install -m 0555 "$built" "$context/server"
cp "$here/Dockerfile" "$context/"
# The classic builder: Engine 20.10 has no other without a plugin.
DOCKER_BUILDKIT=0 docker build --quiet --force-rm --label "$label=$inputs" --tag "$tag" "$context" >/dev/null
echo "image $tag built ($(stat -c %s "$built") bytes)"

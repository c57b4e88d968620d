#!/usr/bin/env bash
# Builds the image with the gateway and the bridge: deploy/image/build.sh [TAG]
#
# Both are static binaries, so that the bridge runs in any image. The image carries the digest of what is in
# it as a label; when an image with the same digest has the tag already, nothing is built and nothing changes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
tag=${1:-bowline/gateway:$version} # what `bowline serve` looks for by default
label=bowline-image-digest

target=$(rustc -vV | sed -n 's/^host: //p')
cd "$root"
# --target keeps these flags from build scripts and procedural macros, which cannot be static, and gives the
# build a folder of its own.
RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$root=/bowline --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo build --quiet --locked --profile image --target "$target" --package bowline-gateway --bins
built=${CARGO_TARGET_DIR:-$root/target}/$target/image

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
install -m 0555 "$built/bowline-gateway" "$context/gateway"
install -m 0555 "$built/bowline-bridge" "$context/bridge"
cp "$here/Dockerfile" "$context/"
# The same bytes at the same time of modification give the same layer.
touch -d @0 "$context"/*

digest=$(cd "$context" && sha256sum Dockerfile gateway bridge | sha256sum | cut -d' ' -f1)
present=$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$tag" 2>/dev/null || true)
if [ "$present" = "$digest" ]; then
    echo "image $tag is up to date"
else
    # The classic builder: Engine 20.10 has no other without a plugin. Newer clients say at each build that it is
    # deprecated, so what it prints is for the case that it fails.
    log=$(mktemp)
    trap 'rm -rf "$context" "$log"' EXIT
    DOCKER_BUILDKIT=0 docker build --quiet --label "$label=$digest" --tag "$tag" "$context" >"$log" 2>&1 || {
        code=$?
        cat "$log" >&2
        exit "$code"
    }
    echo "image $tag built"
fi
echo "gateway: $(stat -c %s "$context/gateway") bytes, bridge: $(stat -c %s "$context/bridge") bytes," \
    "image: $(docker image inspect --format '{{.Size}}' "$tag") bytes, $(docker image inspect --format '{{.Id}}' "$tag")"

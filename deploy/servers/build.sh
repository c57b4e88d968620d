#!/usr/bin/env bash
# Real MCP servers as images, without an image registry: deploy/servers/build.sh [NAME…]
#
#   NAME  a file of deploy/servers/requirements without its ending (default: all of them).
#         Makes localhost/NAME:latest
#
# A minimal Debian with Python is debootstrapped once and imported as the base; the server is installed from
# wheels on the host and laid over it. The images run under the hardening of every server container: read-only
# root, any uid, no capability, HOME=/tmp. An image whose inputs have not changed is left as it is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
# shellcheck source=deploy/lib/ensure.sh
. deploy/lib/ensure.sh

suite=bookworm
python=3.11
contents=python3,ca-certificates,git
base=localhost/bowline-python:$suite
cache=${BOWLINE_CACHE:-$PWD/target/servers}
# Not below dev.bowline: a container inherits its image's labels, and those are read as ours.
label=bowline-build.inputs

digest() { sha256sum | cut -c1-16; }
has_inputs() { [ "$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null)" = "$2" ]; }

# The root file system as a tar, made in a folder of its own and moved into place when complete.
make_root() {
    local tar=$1 root
    [ "$(id -u)" = 0 ] || fail "debootstrap needs root" "run this as root"
    ensure_command debootstrap debootstrap
    mkdir -p "$cache"
    root=$(mktemp -d "$cache/root.XXXXXX")
    # shellcheck disable=SC2064 # this very folder
    trap "remove_root '$root'" EXIT
    say "making a minimal Debian $suite with Python (about 40 s)"
    # Debian's own mirror, unless the caller names one that is nearer.
    quietly debootstrap --variant=minbase --include="$contents" "$suite" "$root" \
        ${BOWLINE_DEBIAN_MIRROR:+"$BOWLINE_DEBIAN_MIRROR"}
    # What neither Python nor a server reads. Bytecode stays: the root is read-only at run time.
    rm -rf "$root"/var/cache/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
        "$root"/usr/share/{doc,man,info,locale,bash-completion}/*
    tar --create --file "$tar.new" --directory "$root" --numeric-owner --sort=name --one-file-system .
    mv "$tar.new" "$tar"
    remove_root "$root"
    trap - EXIT
}

remove_root() {
    local mount
    # An interrupted debootstrap leaves its mounts behind; they must not be walked into.
    for mount in "$1"/proc "$1"/sys; do
        if mountpoint --quiet "$mount"; then umount "$mount"; fi
    done
    rm -rf --one-file-system "$1"
}

ensure_base() {
    local inputs tar
    inputs=$(printf '%s\n' "$suite" "$contents" "$(sed -n '/^make_root()/,/^}/p' "$here/build.sh")" | digest)
    if has_inputs "$base" "$inputs"; then return; fi
    tar=$cache/root-$inputs.tar
    [ -f "$tar" ] || make_root "$tar"
    quietly docker import \
        --change "LABEL $label=$inputs" \
        --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/opt/server' \
        "$tar" "$base"
    say "made $base"
}

dockerfile() {
    cat <<END
FROM $base
COPY server /opt/server
# Checked by nobody at run time: the files cannot change, and their times differ from host to host.
RUN ["python3", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "/opt/server"]
ENTRYPOINT ["python3", "-m", "${1//-/_}"]
LABEL $label=$2
END
}

build_server() {
    local name=$1 requirements=$here/requirements/$1.txt image=localhost/$1:latest inputs context previous
    [ -f "$requirements" ] || fail "no server of this name: $name" "one of: $(known_servers)"
    inputs=$({
        cat "$requirements"
        dockerfile "$name" ""
        docker image inspect --format '{{.Id}}' "$base"
    } | digest)
    if has_inputs "$image" "$inputs"; then
        say "$image is up to date"
        return
    fi
    say "making $image"
    previous=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null || true)
    ensure_python_venv
    context=$(mktemp -d)
    # shellcheck disable=SC2064 # this very folder
    trap "rm -rf '$context'" EXIT
    local platforms=() glibc
    for glibc in 2014 _2_17 _2_24 _2_27 _2_28 _2_31 _2_34; do platforms+=(--platform "manylinux${glibc}_$(uname -m)"); done
    [ -x "$cache/venv/bin/pip" ] || quietly python3 -m venv "$cache/venv"
    quietly "$cache/venv/bin/pip" install --require-hashes --no-deps --only-binary=:all: --no-compile \
        --implementation cp --python-version "$python" "${platforms[@]}" \
        --target "$context/server" --requirement "$requirements"
    dockerfile "$name" "$inputs" >"$context/Dockerfile"
    # The classic builder: it is in every engine, and these few steps need no more. No step needs a network.
    DOCKER_BUILDKIT=0 quietly docker build --quiet --force-rm --network none --tag "$image" "$context"
    rm -rf "$context"
    trap - EXIT
    # The one it replaces, unless a container still stands on it.
    if [ -n "$previous" ]; then docker image rm "$previous" >/dev/null 2>&1 || true; fi
}

known_servers() { (cd "$here/requirements" && printf '%s\n' *.txt) | sed 's/\.txt$//' | tr '\n' ' '; }

engine_answers || fail "no Docker Engine answers" "start it; deploy/quickstart.sh does"
ensure_base
# shellcheck disable=SC2046 # names without spaces
if [ $# -eq 0 ]; then set -- $(known_servers); fi
for name in "$@"; do build_server "$name"; done

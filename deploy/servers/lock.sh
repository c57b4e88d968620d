#!/usr/bin/env bash
# Renews the pinned requirements of the server images: deploy/servers/lock.sh [NAME…]
#
# Resolved for the Python of the base image, whatever the host runs, and complete: the image build installs
# without looking at dependencies, since pip judges their markers by the host's Python.
set -euo pipefail
cd "$(dirname "$0")/requirements"
# shellcheck source=deploy/lib/ensure.sh
. ../../lib/ensure.sh

ensure_python_venv
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
quietly python3 -m venv "$scratch"
quietly "$scratch/bin/pip" install uv
if [ $# -eq 0 ]; then set -- mcp-server-*.txt; fi
for server in "${@%.txt}"; do
    {
        printf '# %s and everything it needs, for the base image. Written by deploy/servers/lock.sh.\n' "$server"
        "$scratch/bin/uv" pip compile --quiet --python-version 3.11.2 --python-platform x86_64-manylinux_2_28 \
            --only-binary :all: --no-header --no-annotate --generate-hashes - <<<"$server"
    } >"$scratch/$server.txt"
    mv "$scratch/$server.txt" "$server.txt"
    say "wrote deploy/servers/requirements/$server.txt"
done

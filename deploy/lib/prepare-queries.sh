#!/usr/bin/env bash
# Renews `.sqlx`, against which the queries of crates/store are checked where no database is at hand.
#
#   deploy/lib/prepare-queries.sh           describes every query on a real, private Postgres and writes .sqlx
#   deploy/lib/prepare-queries.sh --check   writes nothing; fails when .sqlx is not what it would write
#
# The query macros do the work themselves when they are given a database and a directory (SQLX_OFFLINE_DIR), so
# no sqlx-cli is needed. The server listens on a unix socket only and is gone, with its data, when this ends.
set -euo pipefail

case "${1:-}" in
'' | --check) mode=${1:-write} ;;
*)
    echo "usage: $0 [--check]" >&2
    exit 2
    ;;
esac

cd "$(dirname "$0")/../.."

bin=${BOWLINE_POSTGRES_BIN:-}
if [[ -z $bin ]]; then
    for candidate in /usr/lib/postgresql/*/bin; do
        [[ -x $candidate/initdb ]] && bin=$candidate
    done
fi
if [[ -z $bin || ! -x $bin/initdb ]]; then
    echo "error: no PostgreSQL server binaries found" >&2
    echo "hint: apt-get install postgresql, or name their directory in BOWLINE_POSTGRES_BIN" >&2
    exit 1
fi

work=$(mktemp -d /tmp/bowline-queries.XXXXXX)
# Postgres refuses to run as root.
as_server=()
if [[ $(id -u) == 0 ]]; then
    as_server=(runuser -u postgres --)
    chmod 0711 "$work"
fi
mkdir "$work/server" "$work/sqlx"
[[ $(id -u) == 0 ]] && chown postgres "$work/server"

finish() {
    if [[ -f $work/server/data/postmaster.pid ]]; then
        (cd / && "${as_server[@]}" "$bin/pg_ctl" -D "$work/server/data" -m immediate -s stop) || true
    fi
    rm -rf "$work"
}
trap finish EXIT

(
    cd /
    "${as_server[@]}" "$bin/initdb" -D "$work/server/data" --username=bowline --auth=trust --no-locale \
        --encoding=UTF8 --no-sync --no-instructions >/dev/null
    "${as_server[@]}" "$bin/pg_ctl" -D "$work/server/data" -l "$work/server/log" -w -s \
        -o "-c listen_addresses='' -c unix_socket_directories='$work/server' -c fsync=off" start
)
for migration in crates/store/migrations/*.sql; do
    "$bin/psql" -h "$work/server" -U bowline -d postgres -v ON_ERROR_STOP=1 -q -1 -f - <"$migration"
done

# The nonce makes cargo compile this one crate again, and nothing else.
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$work/sqlx" \
    DATABASE_URL="postgres://bowline@localhost/postgres?host=$work/server" \
    cargo rustc --quiet --package bowline-store --lib -- --cfg "queries_nonce=\"${work##*.}\""

if [[ $mode == --check ]]; then
    if ! diff -r .sqlx "$work/sqlx"; then
        echo "error: .sqlx is not what the queries and migrations say" >&2
        echo "hint: run deploy/lib/prepare-queries.sh and commit .sqlx" >&2
        exit 1
    fi
    echo ".sqlx is up to date ($(find .sqlx -name 'query-*.json' | wc -l) queries)"
else
    rm -rf .sqlx
    mkdir .sqlx
    cp "$work"/sqlx/query-*.json .sqlx/
    echo "wrote .sqlx ($(find .sqlx -name 'query-*.json' | wc -l) queries)"
fi

# The names of everything that is done here often. `just` lists them; the work is in the scripts they call.

_default:
    @just --list --unsorted

# Formatting, lints, documentation, dependencies, architecture
check:
    tests/run.sh quick

# Everything that CI runs: checks, unit tests, end-to-end tests
test:
    tests/run.sh all

# Tests that need no engine
unit:
    tests/run.sh unit

# End-to-end tests against a real engine and a real Postgres
e2e:
    tests/run.sh e2e

# Two users with a gateway each, from nothing
quickstart:
    deploy/quickstart.sh

# End what quickstart started
down:
    deploy/quickstart.sh --down

# Rewrite the golden files, to be reviewed in the diff
bless:
    BOWLINE_BLESS=1 cargo nextest run --workspace --filterset 'not binary_id(bowline-tests::e2e)'

# Renew the offline data of the checked queries (`.sqlx`) from a real database
prepare:
    deploy/lib/prepare-queries.sh

# The gateway image
image:
    deploy/image/build.sh

# Images of real MCP servers, without a registry
servers *NAMES:
    deploy/servers/build.sh {{ NAMES }}

# The documentation of the crates, in the browser
doc:
    cargo doc --workspace --no-deps --document-private-items --open

-- The first schema: desired state, status, leases, tokens, events and hosts of one Bowline instance.

-- Who this database is. The id is drawn once and carried along by every backup; the instance is written by
-- the first `serve`.
CREATE TABLE installation (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id         uuid NOT NULL DEFAULT gen_random_uuid(),
    instance   text,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO installation DEFAULT VALUES;

-- The version counter. A sequence would not do: its values become visible in the order of their allotment,
-- not of the commits, and a reader at 11 would miss a 10 that commits later. Incrementing this one row is the
-- last thing that a write does; the row's lock lasts until the commit, so versions become visible in order.
-- `horizon` is the newest version whose tombstone may have been pruned.
CREATE TABLE object_version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version   bigint NOT NULL DEFAULT 0,
    horizon   bigint NOT NULL DEFAULT 0
);
INSERT INTO object_version DEFAULT VALUES;

-- `namespace` is the tenant, and empty for cluster-scoped kinds: an empty text can be compared by an index,
-- where NULL needs IS NOT DISTINCT FROM, which cannot.
CREATE TABLE objects (
    uid              uuid PRIMARY KEY,
    kind             text NOT NULL,
    namespace        text NOT NULL,
    name             text NOT NULL,
    generation       bigint NOT NULL DEFAULT 1,
    resource_version bigint NOT NULL DEFAULT 0,
    labels           jsonb NOT NULL,
    annotations      jsonb NOT NULL,
    spec             jsonb NOT NULL,
    status           jsonb,
    managed_by       text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    deletion_at      timestamptz,
    CONSTRAINT objects_key UNIQUE (kind, namespace, name)
);
CREATE INDEX objects_resource_version ON objects (resource_version);

-- What is left of a deleted object, so that a watch can tell.
CREATE TABLE tombstones (
    version    bigint PRIMARY KEY,
    uid        uuid NOT NULL,
    kind       text NOT NULL,
    namespace  text NOT NULL,
    name       text NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now()
);

-- The ClusterCatalogs that a gateway's specification names: a text, or an object without another kind.
CREATE FUNCTION cluster_catalogs_of(spec jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(array_agg(CASE jsonb_typeof(entry) WHEN 'string' THEN entry #>> '{}' ELSE entry ->> 'name' END), '{}')
    FROM jsonb_array_elements(CASE jsonb_typeof(spec -> 'catalogs') WHEN 'array' THEN spec -> 'catalogs' ELSE '[]' END) AS entry
    WHERE jsonb_typeof(entry) = 'string'
       OR (jsonb_typeof(entry) = 'object' AND coalesce(entry ->> 'kind', 'ClusterCatalog') = 'ClusterCatalog')
);

CREATE TABLE hosts (
    id            uuid PRIMARY KEY,
    name          text NOT NULL CONSTRAINT hosts_name UNIQUE,
    registered_at timestamptz NOT NULL DEFAULT now()
);

-- Where a gateway runs. The epoch grows when it moves; a writer of an older epoch is refused.
CREATE TABLE placements (
    gateway_uid uuid PRIMARY KEY CONSTRAINT placements_gateway REFERENCES objects (uid) ON DELETE CASCADE,
    host_id     uuid NOT NULL CONSTRAINT placements_host REFERENCES hosts (id),
    epoch       bigint NOT NULL DEFAULT 1,
    placed_at   timestamptz NOT NULL DEFAULT now()
);

-- What the controller last saw of a gateway, and the image ids it has pinned. No part of the object: neither
-- a version nor a watch knows of it.
CREATE TABLE observations (
    gateway_uid uuid PRIMARY KEY CONSTRAINT observations_gateway REFERENCES objects (uid) ON DELETE CASCADE,
    observed    jsonb,
    observed_at timestamptz,
    pins        jsonb
);

-- One holder per value and host; one value per holder. No cascade: a gateway that holds leases cannot go.
CREATE TABLE leases (
    host_id     uuid NOT NULL CONSTRAINT leases_host REFERENCES hosts (id),
    kind        text NOT NULL CHECK (kind IN ('port', 'uid', 'subnet')),
    value       bigint NOT NULL,
    gateway_uid uuid NOT NULL CONSTRAINT leases_gateway REFERENCES objects (uid) ON DELETE RESTRICT,
    holder      text NOT NULL,
    taken_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT leases_value PRIMARY KEY (host_id, kind, value),
    CONSTRAINT leases_slot UNIQUE (gateway_uid, host_id, kind, holder)
);

-- Ports that stay with the name of a deleted gateway for a while.
CREATE TABLE port_reservations (
    host_id        uuid NOT NULL CONSTRAINT port_reservations_host REFERENCES hosts (id),
    port           bigint NOT NULL,
    namespace      text NOT NULL,
    name           text NOT NULL,
    reserved_until timestamptz NOT NULL,
    CONSTRAINT port_reservations_port PRIMARY KEY (host_id, port),
    CONSTRAINT port_reservations_name UNIQUE (host_id, namespace, name)
);

-- The verifiers of a gateway's bearer tokens; the revision grows with every change of the set.
CREATE TABLE token_sets (
    gateway_uid uuid PRIMARY KEY CONSTRAINT token_sets_gateway REFERENCES objects (uid) ON DELETE CASCADE,
    revision    bigint NOT NULL
);
CREATE TABLE tokens (
    gateway_uid uuid NOT NULL CONSTRAINT tokens_set REFERENCES token_sets (gateway_uid) ON DELETE CASCADE,
    id          text NOT NULL,
    sha256      text NOT NULL CONSTRAINT tokens_sha256_hex CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    label       text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    CONSTRAINT tokens_id PRIMARY KEY (gateway_uid, id),
    CONSTRAINT tokens_sha256 UNIQUE (sha256)
);
CREATE INDEX tokens_expires_at ON tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Deduplicated by what they say. The message is compared by its hash, because an index entry holds at most
-- 2,704 bytes.
CREATE TABLE events (
    object_uid uuid NOT NULL CONSTRAINT events_object REFERENCES objects (uid) ON DELETE CASCADE,
    type       text NOT NULL CHECK (type IN ('Normal', 'Warning')),
    reason     text NOT NULL,
    message    text NOT NULL,
    count      integer NOT NULL DEFAULT 1,
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL
);
CREATE UNIQUE INDEX events_identity ON events (object_uid, type, reason, md5(message));
CREATE INDEX events_last_at ON events (last_at);

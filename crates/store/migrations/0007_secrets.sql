-- Secrets: values that the api half seals and only the controller opens. The object says which keys there are, and
-- nothing here says anything of a value but its length and whether it has a line break.

-- The public halves of the keys for which values are sealed. The newest that is not retired seals; `ordinal` says which
-- is newer, because a clock may go back. `on_disk` says whether the controller had the private half when it looked last.
CREATE TABLE sealing_keys (
    id         text NOT NULL CONSTRAINT sealing_keys_id PRIMARY KEY CHECK (id ~ '^[0-9a-f]{16}$'),
    ordinal    bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT sealing_keys_ordinal UNIQUE,
    public_key bytea NOT NULL CHECK (octet_length(public_key) = 32),
    on_disk    boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);

-- The rotation that was asked for last: it wants a key that is newer than `after_ordinal`, and is carried out as soon
-- as there is one. `problem` says why there is none yet.
CREATE TABLE sealing_rotation (
    singleton     boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    after_ordinal bigint NOT NULL,
    asked_at      timestamptz NOT NULL DEFAULT now(),
    problem       text
);

-- The version that a Secret had last. It outlives keys that are removed, so that no version ever comes twice.
CREATE TABLE secret_versions (
    secret_uid uuid PRIMARY KEY CONSTRAINT secret_versions_secret REFERENCES objects (uid) ON DELETE CASCADE,
    last       bigint NOT NULL
);

-- The values. The one with `compared` is in use; a newer one without waits until the controller has compared the two:
-- `effective` is the version since which the value is what it is. A first one has nothing to be compared with.
CREATE TABLE secret_values (
    secret_uid uuid NOT NULL CONSTRAINT secret_values_secret REFERENCES objects (uid) ON DELETE CASCADE,
    key        text NOT NULL,
    version    bigint NOT NULL,
    effective  bigint NOT NULL,
    compared   boolean NOT NULL,
    line_break boolean NOT NULL,
    nonce      bytea NOT NULL,
    ciphertext bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT secret_values_key PRIMARY KEY (secret_uid, key, version)
);
CREATE UNIQUE INDEX secret_values_in_use ON secret_values (secret_uid, key) WHERE compared;
CREATE UNIQUE INDEX secret_values_waiting ON secret_values (secret_uid, key) WHERE NOT compared;

-- The data key of each value, wrapped for one sealing key and, while that is replaced, for two.
CREATE TABLE secret_wraps (
    secret_uid   uuid NOT NULL,
    key          text NOT NULL,
    version      bigint NOT NULL,
    key_id       text NOT NULL CONSTRAINT secret_wraps_sealing_key REFERENCES sealing_keys (id),
    encapsulated bytea NOT NULL,
    wrapped      bytea NOT NULL,
    CONSTRAINT secret_wraps_key PRIMARY KEY (secret_uid, key, version, key_id),
    CONSTRAINT secret_wraps_value FOREIGN KEY (secret_uid, key, version)
        REFERENCES secret_values (secret_uid, key, version) ON DELETE CASCADE
);
CREATE INDEX secret_wraps_key_id ON secret_wraps (key_id);

-- The Secrets that a gateway's specification names; they are of its own namespace.
CREATE FUNCTION secrets_of(spec jsonb) RETURNS SETOF text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT DISTINCT named.name
    FROM (
        SELECT jsonb_path_query(spec, '$.secretRefs[*].name') #>> '{}' AS name
        UNION ALL
        SELECT jsonb_path_query(spec, '$.servers[*].secrets[*].valueFrom.secretKeyRef.name') #>> '{}'
    ) AS named
    WHERE named.name IS NOT NULL;
END;

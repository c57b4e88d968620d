-- What users have asked of a running gateway, counted. The controller compares a count with the one that it has
-- carried out last, so that a request is neither lost with a process nor carried out twice. `unit` is 'gateway',
-- 'server:<registry key>', or '*' for all of them.
CREATE TABLE object_requests (
    uid     uuid NOT NULL CONSTRAINT object_requests_object REFERENCES objects (uid) ON DELETE CASCADE,
    unit    text NOT NULL CHECK (unit IN ('*', 'gateway') OR unit LIKE 'server:_%'),
    restart bigint NOT NULL DEFAULT 0,
    retry   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (uid, unit)
);

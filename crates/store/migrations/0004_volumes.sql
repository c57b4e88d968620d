-- Volumes belong to the tenant. They outlive gateways, so that none of their rows hangs on an object.

-- The uid of a namespace. It comes with the namespace's first object and stays: a volume that carries it is this
-- tenant's, and no later tenant's of the same name.
CREATE TABLE tenants (
    namespace  text PRIMARY KEY CHECK (namespace <> ''),
    uid        uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT tenants_uid UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tenants (namespace) SELECT DISTINCT namespace FROM objects WHERE namespace <> '';

-- By a trigger, because objects are written in several places and none may forget it.
CREATE FUNCTION make_tenant() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO tenants (namespace) VALUES (NEW.namespace) ON CONFLICT (namespace) DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER objects_tenant AFTER INSERT ON objects
FOR EACH ROW WHEN (NEW.namespace <> '') EXECUTE FUNCTION make_tenant();

-- One row per volume that a gateway has wanted or that was seen on a host. `engine_name` is absent until it was
-- seen there. `holder` is the one gateway that may use it; a removal that was asked for begins when there is none.
CREATE TABLE volumes (
    tenant_uid          uuid NOT NULL CONSTRAINT volumes_tenant REFERENCES tenants (uid),
    host_id             uuid NOT NULL CONSTRAINT volumes_host REFERENCES hosts (id),
    server              text NOT NULL,
    name                text NOT NULL,
    engine_name         text,
    holder              uuid CONSTRAINT volumes_holder REFERENCES objects (uid) ON DELETE SET NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    removal_asked_at    timestamptz,
    removal_problem     text,
    CONSTRAINT volumes_key PRIMARY KEY (tenant_uid, host_id, server, name)
);
CREATE INDEX volumes_holder_index ON volumes (holder) WHERE holder IS NOT NULL;
CREATE INDEX volumes_removal ON volumes (host_id) WHERE removal_asked_at IS NOT NULL;

-- A removal can begin: it was asked for, and nobody uses the volume (any more).
CREATE FUNCTION tell_volume_removal() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_notify('bowline_volumes', NEW.tenant_uid::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER volumes_removable AFTER UPDATE OF holder, removal_asked_at ON volumes
FOR EACH ROW WHEN (NEW.removal_asked_at IS NOT NULL AND NEW.holder IS NULL) EXECUTE FUNCTION tell_volume_removal();

-- Catalogs of a namespace beside those of the cluster.

-- The catalogs that a gateway's specification names, as the key of an object has it: a text is a ClusterCatalog of
-- that name, an object says its kind and, for a Catalog, its namespace. What names nothing is left out.
CREATE FUNCTION catalogs_of(spec jsonb) RETURNS TABLE (kind text, namespace text, name text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT named.kind, named.namespace, named.name
    FROM jsonb_array_elements(CASE jsonb_typeof(spec -> 'catalogs') WHEN 'array' THEN spec -> 'catalogs' ELSE '[]' END) AS entry,
         LATERAL (
             SELECT CASE jsonb_typeof(entry) WHEN 'string' THEN 'ClusterCatalog' ELSE entry ->> 'kind' END AS kind,
                    coalesce(entry ->> 'namespace', '') AS namespace,
                    CASE jsonb_typeof(entry) WHEN 'string' THEN entry #>> '{}' ELSE entry ->> 'name' END AS name
         ) AS named
    WHERE named.kind IN ('ClusterCatalog', 'Catalog') AND named.name IS NOT NULL;
END;

DROP FUNCTION cluster_catalogs_of (jsonb);

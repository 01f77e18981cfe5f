-- server_facts
-- One row, no locks: what a person asks first about a server.
SELECT current_setting('server_version_num')::integer AS version,
       current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS synchronous_commit,
       pg_is_in_recovery() AS standby;

-- missing_roles
-- No row when all is well, no locks: roles that our processes sign in as and the server lacks.
SELECT wanted.name
FROM unnest(%(roles)s::text[]) AS wanted (name)
WHERE NOT EXISTS (SELECT 1 FROM pg_roles AS r WHERE r.rolname = wanted.name);

-- applied_migrations
-- One row per migration, no locks.
SELECT number, name FROM public.schema_migration ORDER BY number;

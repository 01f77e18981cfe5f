-- One login role per process; a role is granted what its process writes, nothing else.
-- Roles belong to the server, not to one database, so another database may have made them before.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY[
        'meterloop_ingest', 'meterloop_control', 'meterloop_signer',
        'meterloop_billing', 'meterloop_portal', 'auditor'
    ] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END
$$;

-- What an auditor may do: read everything, change nothing.
GRANT pg_read_all_data TO auditor;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;

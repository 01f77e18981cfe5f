-- Two who need the same new month at once: the second waits for the first and then finds it there.
-- After a wait for an advisory lock a name is still looked up as it was before, for nothing told
-- this server process what was made meanwhile; a query of the catalogue sees it.
CREATE OR REPLACE FUNCTION ingest.ready_month(wanted date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = ingest, pg_temp AS $$
DECLARE
    since date := date_trunc('month', wanted::timestamp)::date;
    name text := 'day_' || to_char(wanted, 'YYYYMM');
BEGIN
    IF to_regclass('ingest.' || name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(730514, 0);
    IF EXISTS (
        SELECT FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = 'ingest'::regnamespace AND c.relname = name
    ) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE ingest.%I (LIKE ingest.day INCLUDING CONSTRAINTS)', name);
    EXECUTE format(
        'CREATE TRIGGER day_stays BEFORE DELETE OR TRUNCATE ON ingest.%I'
        ' FOR EACH STATEMENT EXECUTE FUNCTION ingest.refuse_change()', name);
    EXECUTE format('ALTER TABLE ingest.day ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
        name, since, (since + interval '1 month')::date);
END
$$;

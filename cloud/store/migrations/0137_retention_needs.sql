-- Who still needs the intervals of old days: what retention asks before it lets a month go.
-- One row a reason, with the first civil day that it needs: agreements whose use is billed up to a
-- day, charges of runs that are not billed yet, and bills in dispute while the dispute lasts.
CREATE VIEW bills.still_needed AS
SELECT 'unbilled' AS kind, w.id AS reference, w.first_day, w.last_day
FROM (
    SELECT g.id, g.ended_at::date AS last_day,
           coalesce((SELECT max(b.period_end) FROM bills.standing AS b WHERE b.agreement = g.id),
                    g.started_at::date) AS first_day
    FROM customers.agreement AS g
) AS w
WHERE w.last_day IS NULL OR w.first_day < w.last_day
UNION ALL
SELECT 'run', i.run || '/' || i.agreement, i.period_start, i.period_end
FROM bills.item AS i JOIN bills.run AS r ON r.id = i.run
WHERE i.bill IS NULL AND r.stage <> 'closed'
UNION ALL
SELECT 'dispute', b.id::text, b.period_start, d.until_on
FROM bills.penalty_document AS d JOIN bills.standing AS b ON b.id = d.bill
WHERE d.kind = 'dispute' AND d.state IN ('proposed', 'approved');

-- Days that were to be looked at again after their intervals were let go: they keep their version.
CREATE TABLE rollups.kept_day (
    id bigint GENERATED ALWAYS AS IDENTITY,
    usage_point text NOT NULL,
    day date NOT NULL,
    version integer NOT NULL,
    cause text NOT NULL,
    reference text NOT NULL,
    actor text NOT NULL,
    noted_at timestamptz NOT NULL,
    kept_from date NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT kept_day_pk PRIMARY KEY (id),
    CONSTRAINT kept_day_let_go CHECK (day <= kept_from),
    CONSTRAINT kept_day_version CHECK (version >= 0)
);
COMMENT ON COLUMN rollups.kept_day.version IS '0 where the day was never rolled up';
CREATE INDEX kept_day_of_point ON rollups.kept_day (usage_point, day);
CREATE TRIGGER kept_day_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rollups.kept_day
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT USAGE ON SCHEMA bills TO meterloop_ingest;
GRANT SELECT ON bills.still_needed TO meterloop_ingest, meterloop_billing, meterloop_portal;
GRANT SELECT ON rollups.kept_day TO meterloop_ingest, meterloop_billing, meterloop_portal;
GRANT INSERT ON rollups.kept_day TO meterloop_ingest;

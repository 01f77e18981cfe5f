-- What an operator keeps an eye on: how many interval slots came for each concentrator and hour,
-- how far behind batches are, and what was refused of one reading.

-- slots: new import intervals by the UTC hour in which they start, 24 numbers. Counted in the
-- transaction that stores them, so that a repeat counts nothing and a late one its own hour.
CREATE TABLE ingest.tally (
    concentrator text NOT NULL,
    day date NOT NULL,
    slots integer[] NOT NULL,
    CONSTRAINT tally_pk PRIMARY KEY (day, concentrator),
    CONSTRAINT tally_of_hours CHECK (cardinality(slots) = 24 AND 0 <= ALL (slots))
) WITH (fillfactor = 70);

INSERT INTO ingest.tally (concentrator, day, slots)
SELECT k.concentrator, k.day, array_agg(coalesce(n.slots, 0) ORDER BY h.hour)
FROM (
    SELECT DISTINCT r.concentrator, (r.start AT TIME ZONE 'UTC')::date AS day
    FROM ingest.interval_reading AS r
    WHERE r.channel = 3 AND r.concentrator IS NOT NULL
) AS k
CROSS JOIN generate_series(0, 23) AS h (hour)
LEFT JOIN (
    SELECT r.concentrator, (r.start AT TIME ZONE 'UTC')::date AS day,
           extract(hour FROM r.start AT TIME ZONE 'UTC')::integer AS hour, count(*) AS slots
    FROM ingest.interval_reading AS r
    WHERE r.channel = 3 AND r.concentrator IS NOT NULL
    GROUP BY 1, 2, 3
) AS n ON n.concentrator = k.concentrator AND n.day = k.day AND n.hour = h.hour
GROUP BY k.concentrator, k.day;

-- the last minutes are looked at again and again
CREATE INDEX batch_received ON ingest.batch (received_wall);

-- what was refused of one reading of one meter
CREATE INDEX quarantine_reading ON ingest.quarantine ((row ->> 'meter'), (row ->> 'at_ms'))
    WHERE row IS NOT NULL;

GRANT SELECT ON ingest.tally TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT INSERT, UPDATE ON ingest.tally TO meterloop_ingest;

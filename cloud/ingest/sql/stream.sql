-- add_tallies
-- One row per concentrator and UTC day; the caller holds the locks of the concentrators.
INSERT INTO ingest.tally AS t (concentrator, day, slots)
SELECT k.concentrator, k.day, (%(slots)s::integer[])[24 * k.n - 23 : 24 * k.n]
FROM unnest(%(concentrator)s::text[], %(day)s::date[]) WITH ORDINALITY AS k (concentrator, day, n)
ON CONFLICT (day, concentrator) DO UPDATE
SET slots = ARRAY(SELECT t.slots[h] + excluded.slots[h] FROM generate_series(1, 24) AS h
                  ORDER BY h);

-- tallies
-- What came of each concentrator on the UTC days named: one row each.
SELECT t.concentrator, t.day, t.slots FROM ingest.tally AS t
WHERE t.day BETWEEN %(first)s AND %(last)s;

-- minutes
-- Batches since a wall instant by wall minute, and how late they were: by index.
SELECT k.minute, count(*), sum(k.rows)::bigint, sum(k.stored)::bigint, sum(k.duplicates)::bigint,
       sum(k.refused)::bigint,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY k.lag_ms),
       percentile_disc(0.95) WITHIN GROUP (ORDER BY k.lag_ms)
FROM (
    SELECT floor(extract(epoch FROM b.received_wall) / 60)::bigint AS minute, b.rows, b.stored,
           b.duplicates, b.quarantined + b.reports_quarantined AS refused,
           greatest(0, extract(epoch FROM b.received_at - b.made_at) * 1000)::bigint AS lag_ms
    FROM ingest.batch AS b
    WHERE b.received_wall >= %(since)s
) AS k
GROUP BY k.minute ORDER BY k.minute;

-- heard_since
-- Which concentrators sent batches since a wall instant, and the last: by index.
SELECT b.concentrator, max(b.received_wall), count(*), sum(b.stored)::bigint
FROM ingest.batch AS b
WHERE b.received_wall >= %(since)s
GROUP BY b.concentrator;

-- newest_batches
-- When the newest batch of each concentrator named was received: one index probe each.
SELECT k.id, n.received_wall
FROM unnest(%(concentrators)s::text[]) AS k (id)
CROSS JOIN LATERAL (
    SELECT b.received_wall FROM ingest.batch AS b
    WHERE b.concentrator = k.id
    ORDER BY b.boot DESC, b.seq DESC LIMIT 1
) AS n;

-- row_named
-- The reading of a meter's channel at one instant where it is a row: two index probes.
SELECT s.seconds, r.wh, r.status, r.received_at, r.batch
FROM ingest.series AS s
JOIN ingest.reading AS r ON r.series = s.no AND r.at = %(at)s
WHERE s.meter = %(meter)s AND s.channel = %(channel)s;

-- day_named
-- The packed day of a meter's channel: two index probes.
SELECT s.seconds, d.body
FROM ingest.series AS s
JOIN ingest.day AS d ON d.series = s.no AND d.day = %(day)s
WHERE s.meter = %(meter)s AND s.channel = %(channel)s;

-- batch_numbered
-- One batch, and how many octets of it are kept: they are where something of it was refused.
SELECT b.concentrator, b.boot, b.seq, b.digest, b.custody, b.made_at, b.received_at,
       b.received_wall, b.rows, b.stored, b.duplicates, b.momentary, b.quarantined,
       length(p.octets)
FROM ingest.batch AS b
LEFT JOIN ingest.payload AS p ON p.digest = b.digest
WHERE b.no = %(no)s;

-- refused_readings
-- What was refused of one meter at one instant, in any state: by index.
SELECT q.id, q.concentrator, q.boot, q.seq, q.cause, q.detail, q.row, q.received_at, q.state,
       length(p.octets) AS octets
FROM ingest.quarantine AS q
JOIN ingest.payload AS p ON p.digest = q.digest
WHERE q.row ->> 'meter' = %(meter)s AND q.row ->> 'at_ms' = %(at_ms)s AND q.row IS NOT NULL
ORDER BY q.id LIMIT %(limit)s;

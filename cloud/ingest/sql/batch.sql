-- lock_concentrators
-- One advisory lock per concentrator until commit, in the order given: no two batches of the same
-- meters are judged at once. Callers sort, so that two transactions never wait for each other.
SELECT pg_advisory_xact_lock(730511, hashtext(k.id))
FROM unnest(%(concentrators)s::text[]) WITH ORDINALITY AS k (id, n)
ORDER BY k.n;

-- batch_by_id
-- One batch row, or none.
SELECT b.digest, b.custody, b.rows, b.stored, b.duplicates, b.momentary, b.quarantined, b.reports,
       b.reports_quarantined
FROM ingest.batch AS b
WHERE b.concentrator = %(concentrator)s AND b.boot = %(boot)s AND b.seq = %(seq)s;

-- insert_batch
-- One row; its key must be new, the caller holds the concentrator's lock.
INSERT INTO ingest.batch (concentrator, boot, seq, digest, custody, made_at, received_at,
                          received_wall, rows, stored, duplicates, momentary, quarantined, reports,
                          reports_quarantined)
VALUES (%(concentrator)s, %(boot)s, %(seq)s, %(digest)s, %(custody)s, %(made_at)s,
        %(received_at)s, %(received_wall)s, %(rows)s, %(stored)s, %(duplicates)s, %(momentary)s,
        %(quarantined)s, %(reports)s, %(reports_quarantined)s);

-- batch_takes_rows
-- A batch that was quarantined whole gets its account when it is redriven: one row.
UPDATE ingest.batch AS b
SET custody = 'stored', rows = %(rows)s, stored = %(stored)s, duplicates = %(duplicates)s,
    momentary = %(momentary)s, quarantined = %(quarantined)s, reports = %(reports)s,
    reports_quarantined = %(reports_quarantined)s
WHERE b.concentrator = %(concentrator)s AND b.boot = %(boot)s AND b.seq = %(seq)s
  AND b.custody = 'quarantined';

-- registers_around
-- Per (meter, channel, first, last): stored registers in that time and the nearest on both sides.
SELECT k.n - 1 AS n, (extract(epoch FROM r.at) * 1000)::bigint AS at_ms, r.wh
FROM unnest(%(meter)s::text[], %(channel)s::smallint[], %(first_ms)s::bigint[],
            %(last_ms)s::bigint[]) WITH ORDINALITY AS k (meter, channel, first_ms, last_ms, n)
CROSS JOIN LATERAL (
    SELECT 'epoch'::timestamptz + k.first_ms * interval '1 millisecond' AS first_at,
           'epoch'::timestamptz + k.last_ms * interval '1 millisecond' AS last_at
) AS t
CROSS JOIN LATERAL (
    (SELECT x.at, x.wh FROM ingest.register_reading AS x
     WHERE x.meter = k.meter AND x.channel = k.channel AND x.at < t.first_at
     ORDER BY x.at DESC LIMIT 1)
    UNION ALL
    (SELECT x.at, x.wh FROM ingest.register_reading AS x
     WHERE x.meter = k.meter AND x.channel = k.channel AND x.at BETWEEN t.first_at AND t.last_at)
    UNION ALL
    (SELECT x.at, x.wh FROM ingest.register_reading AS x
     WHERE x.meter = k.meter AND x.channel = k.channel AND x.at > t.last_at
     ORDER BY x.at LIMIT 1)
) AS r;

-- intervals_between
-- Per (meter, channel, first, last): stored intervals that start in that time.
SELECT k.n - 1 AS n, (extract(epoch FROM x.start) * 1000)::bigint AS at_ms, x.wh, x.seconds
FROM unnest(%(meter)s::text[], %(channel)s::smallint[], %(first_ms)s::bigint[],
            %(last_ms)s::bigint[]) WITH ORDINALITY AS k (meter, channel, first_ms, last_ms, n)
JOIN ingest.interval_reading AS x
  ON x.meter = k.meter AND x.channel = k.channel
 AND x.start BETWEEN 'epoch'::timestamptz + k.first_ms * interval '1 millisecond'
                 AND 'epoch'::timestamptz + k.last_ms * interval '1 millisecond';

-- insert_registers
-- New registers; every key was looked up under the concentrator's lock.
INSERT INTO ingest.register_reading (meter, channel, at, wh, status, received_at, concentrator,
                                     boot, seq)
SELECT k.meter, k.channel, 'epoch'::timestamptz + k.at_ms * interval '1 millisecond', k.wh,
       k.status, 'epoch'::timestamptz + k.received_ms * interval '1 millisecond',
       %(concentrator)s, %(boot)s, %(seq)s
FROM unnest(%(meter)s::text[], %(channel)s::smallint[], %(at_ms)s::bigint[], %(wh)s::bigint[],
            %(status)s::bigint[], %(received_ms)s::bigint[])
     AS k (meter, channel, at_ms, wh, status, received_ms);

-- insert_intervals
-- New intervals; every key was looked up under the concentrator's lock.
INSERT INTO ingest.interval_reading (meter, channel, start, seconds, wh, status, received_at,
                                     concentrator, boot, seq)
SELECT k.meter, k.channel, 'epoch'::timestamptz + k.at_ms * interval '1 millisecond', k.seconds,
       k.wh, k.status, 'epoch'::timestamptz + k.received_ms * interval '1 millisecond',
       %(concentrator)s, %(boot)s, %(seq)s
FROM unnest(%(meter)s::text[], %(channel)s::smallint[], %(at_ms)s::bigint[], %(seconds)s::integer[],
            %(wh)s::bigint[], %(status)s::bigint[], %(received_ms)s::bigint[])
     AS k (meter, channel, at_ms, seconds, wh, status, received_ms);

-- upsert_momentary
-- One row per (meter, channel); newer device time wins, at the same time the larger value.
INSERT INTO ingest.momentary (meter, channel, at, value)
SELECT k.meter, k.channel, 'epoch'::timestamptz + k.at_ms * interval '1 millisecond', k.value
FROM unnest(%(meter)s::text[], %(channel)s::smallint[], %(at_ms)s::bigint[], %(value)s::bigint[])
     AS k (meter, channel, at_ms, value)
ON CONFLICT (meter, channel) DO UPDATE SET at = excluded.at, value = excluded.value
WHERE (momentary.at, momentary.value) < (excluded.at, excluded.value);

-- upsert_meter_seen
-- One row per meter; both times only move forward.
INSERT INTO ingest.meter_seen (meter, last_at, last_received)
SELECT k.meter, 'epoch'::timestamptz + k.at_ms * interval '1 millisecond',
       'epoch'::timestamptz + k.received_ms * interval '1 millisecond'
FROM unnest(%(meter)s::text[], %(at_ms)s::bigint[], %(received_ms)s::bigint[])
     AS k (meter, at_ms, received_ms)
ON CONFLICT (meter) DO UPDATE
SET last_at = greatest(meter_seen.last_at, excluded.last_at),
    last_received = greatest(meter_seen.last_received, excluded.last_received);

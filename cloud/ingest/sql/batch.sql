-- lock_concentrators
-- One advisory lock per concentrator until commit, in the order given: no two batches of the same
-- meters are judged at once. Callers sort, so that two transactions never wait for each other.
SELECT pg_advisory_xact_lock(730511, hashtext(k.id))
FROM unnest(%(concentrators)s::text[]) WITH ORDINALITY AS k (id, n)
ORDER BY k.n;

-- batches_by_id
-- The batches named that are known, one index probe each.
SELECT b.concentrator, b.boot, b.seq, b.no, b.digest, b.custody, b.rows, b.stored, b.duplicates,
       b.momentary, b.quarantined, b.reports, b.reports_quarantined
FROM unnest(%(concentrator)s::text[], %(boot)s::bigint[], %(seq)s::bigint[])
     AS k (concentrator, boot, seq)
JOIN ingest.batch AS b
  ON b.concentrator = k.concentrator AND b.boot = k.boot AND b.seq = k.seq;

-- next_batch_numbers
-- As many new numbers as asked, rising; numbers of transactions that fail are lost.
SELECT nextval('ingest.batch_no_seq') FROM generate_series(1, %(size)s::integer);

-- insert_batches
-- One row each; their keys must be new, the caller holds the locks of their concentrators.
INSERT INTO ingest.batch (no, concentrator, boot, seq, digest, custody, made_at, received_at,
                          received_wall, rows, stored, duplicates, momentary, quarantined, reports,
                          reports_quarantined)
SELECT k.no, k.concentrator, k.boot, k.seq, k.digest, k.custody, k.made_at, k.received_at,
       k.received_wall, k.rows, k.stored, k.duplicates, k.momentary, k.quarantined, k.reports,
       k.reports_quarantined
FROM unnest(%(no)s::bigint[], %(concentrator)s::text[], %(boot)s::bigint[], %(seq)s::bigint[],
            %(digest)s::bytea[], %(custody)s::text[], %(made_at)s::timestamptz[],
            %(received_at)s::timestamptz[], %(received_wall)s::timestamptz[], %(rows)s::integer[],
            %(stored)s::integer[], %(duplicates)s::integer[], %(momentary)s::integer[],
            %(quarantined)s::integer[], %(reports)s::integer[], %(reports_quarantined)s::integer[])
     AS k (no, concentrator, boot, seq, digest, custody, made_at, received_at, received_wall, rows,
           stored, duplicates, momentary, quarantined, reports, reports_quarantined);

-- batch_takes_rows
-- A batch that was quarantined whole gets its account when it is redriven: one row.
UPDATE ingest.batch AS b
SET custody = 'stored', rows = %(rows)s, stored = %(stored)s, duplicates = %(duplicates)s,
    momentary = %(momentary)s, quarantined = %(quarantined)s, reports = %(reports)s,
    reports_quarantined = %(reports_quarantined)s
WHERE b.concentrator = %(concentrator)s AND b.boot = %(boot)s AND b.seq = %(seq)s
  AND b.custody = 'quarantined';

-- upsert_momentary
-- One row per (meter, channel); newer device time wins, at the same time the larger value.
INSERT INTO ingest.momentary (meter, channel, at, value)
SELECT k.meter, k.channel, 'epoch'::timestamptz + k.at_ms * interval '1 millisecond', k.value
FROM unnest(%(meter)s::text[], %(channel)s::smallint[], %(at_ms)s::bigint[], %(value)s::bigint[])
     AS k (meter, channel, at_ms, value)
ON CONFLICT (meter, channel) DO UPDATE SET at = excluded.at, value = excluded.value
WHERE (momentary.at, momentary.value) < (excluded.at, excluded.value);

-- insert_payload
-- The octets of a payload, once.
INSERT INTO ingest.payload (digest, topic, content_type, octets)
VALUES (%(digest)s, %(topic)s, %(content_type)s, %(octets)s)
ON CONFLICT (digest) DO NOTHING;

-- insert_quarantined_payload
-- A payload as a whole, once per concentrator and cause; returns nothing when it is known.
INSERT INTO ingest.quarantine (concentrator, boot, seq, cause, detail, digest, received_at)
VALUES (%(concentrator)s, %(boot)s, %(seq)s, %(cause)s, %(detail)s, %(digest)s, %(received_at)s)
ON CONFLICT (concentrator, digest, cause) WHERE row IS NULL DO NOTHING;

-- insert_quarantined_rows
-- Rows of one batch.
INSERT INTO ingest.quarantine (concentrator, boot, seq, cause, detail, digest, row, received_at)
SELECT %(concentrator)s, %(boot)s, %(seq)s, k.cause, k.detail, %(digest)s, k.row::jsonb,
       %(received_at)s
FROM unnest(%(cause)s::text[], %(detail)s::text[], %(row)s::text[]) AS k (cause, detail, row);

-- quarantine_list
-- Newest first, of one state.
SELECT q.id, q.concentrator, q.boot, q.seq, q.cause, q.detail, q.row, q.received_at, q.state,
       length(p.octets) AS octets
FROM ingest.quarantine AS q
JOIN ingest.payload AS p ON p.digest = q.digest
WHERE q.state = %(state)s
ORDER BY q.id DESC LIMIT %(limit)s;

-- lock_quarantine
-- One item with its payload, locked until commit.
SELECT q.id, q.concentrator, q.boot, q.seq, q.cause, q.detail, q.row, q.received_at, q.state,
       length(p.octets) AS octets, p.octets AS payload, p.content_type, p.topic
FROM ingest.quarantine AS q
JOIN ingest.payload AS p ON p.digest = q.digest
WHERE q.id = %(id)s
FOR UPDATE OF q;

-- settle_quarantine
-- One open item gets its end.
UPDATE ingest.quarantine AS q
SET state = %(state)s, settled_at = %(settled_at)s, settled_by = %(settled_by)s
WHERE q.id = %(id)s AND q.state = 'open';

-- quarantine_counts
-- How many items per cause and state.
SELECT q.cause, q.state, count(*) FROM ingest.quarantine AS q GROUP BY q.cause, q.state
ORDER BY q.cause, q.state;

-- batch_totals
-- The sum over all batches, for the conservation law.
SELECT count(*), coalesce(sum(b.rows), 0)::bigint, coalesce(sum(b.stored), 0)::bigint,
       coalesce(sum(b.duplicates), 0)::bigint, coalesce(sum(b.momentary), 0)::bigint,
       coalesce(sum(b.quarantined), 0)::bigint
FROM ingest.batch AS b;

-- reading_totals
-- How many raw registers and intervals there are: rows, readings that packed days tell of, and those
-- that were let go with their months.
SELECT (SELECT count(*) FROM ingest.reading)
     + (SELECT coalesce(sum(ingest.readings_in(d.body)), 0) FROM ingest.day AS d)
     + (SELECT coalesce(sum(m.readings), 0) FROM ingest.month_dropped AS m) AS readings;

-- missing_batches
-- Per concentrator and boot: how many sequence numbers below the highest have no batch.
SELECT b.concentrator, b.boot, max(b.seq) - min(b.seq) + 1 - count(*) AS missing
FROM ingest.batch AS b
GROUP BY b.concentrator, b.boot
HAVING max(b.seq) - min(b.seq) + 1 <> count(*)
ORDER BY b.concentrator, b.boot;

-- batches_out_of_balance
-- Batches whose quarantined count differs from the quarantine rows that name them.
SELECT b.concentrator, b.boot, b.seq
FROM ingest.batch AS b
WHERE b.quarantined + b.reports_quarantined <> (
    SELECT count(*) FROM ingest.quarantine AS q
    WHERE q.concentrator = b.concentrator AND q.boot = b.boot AND q.seq = b.seq
      AND q.row IS NOT NULL)
ORDER BY b.concentrator, b.boot, b.seq
LIMIT %(limit)s;

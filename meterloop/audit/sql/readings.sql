-- seen_registers
-- Every stored register by meter, unpacked once for this session: a packed day cannot be asked by
-- its readings. No locks.
CREATE TEMPORARY TABLE seen_register ON COMMIT DROP AS
SELECT s.meter, s.channel, x.at, x.wh
FROM ingest.stored AS x JOIN ingest.series AS s ON s.no = x.series
WHERE s.seconds = 0;

-- seen_intervals
-- Every stored interval by meter, unpacked once for this session. No locks.
CREATE TEMPORARY TABLE seen_interval ON COMMIT DROP AS
SELECT s.meter, s.channel, x.at AS start, s.seconds, x.wh
FROM ingest.stored AS x JOIN ingest.series AS s ON s.no = x.series
WHERE s.seconds > 0;

-- r1_rows_that_vanished
-- One text per violation, no locks: a batch that tells more stored rows than the tables hold.
SELECT b.concentrator || ' batch ' || b.boot || '/' || b.seq || ': ' || b.stored || ' told, '
       || coalesce(found.rows, 0) || ' there' AS example
FROM ingest.batch AS b
LEFT JOIN (
    SELECT kept.batch, sum(kept.rows) AS rows
    FROM (
        SELECT r.batch, count(*) AS rows FROM ingest.reading AS r GROUP BY r.batch
        UNION ALL
        SELECT u.batch, u.readings
        FROM ingest.day AS d CROSS JOIN LATERAL ingest.runs_in(d.body) AS u
        UNION ALL
        SELECT g.batch, g.readings FROM ingest.batch_dropped AS g
    ) AS kept
    GROUP BY kept.batch
) AS found ON found.batch = b.no
WHERE b.stored > coalesce(found.rows, 0);

-- r1_missing_batches
-- One row per missing number, no locks: numbers between a boot's first and newest batch.
SELECT span.concentrator, span.boot, wanted.seq
FROM (
    SELECT b.concentrator, b.boot, min(b.seq) AS first, max(b.seq) AS newest
    FROM ingest.batch AS b GROUP BY b.concentrator, b.boot
) AS span
CROSS JOIN LATERAL generate_series(span.first, span.newest) AS wanted (seq)
WHERE NOT EXISTS (
    SELECT 1 FROM ingest.batch AS b
    WHERE b.concentrator = span.concentrator AND b.boot = span.boot AND b.seq = wanted.seq
);

-- r1_stored_intervals
-- One row per stored import interval, no locks.
SELECT i.meter, (extract(epoch FROM i.start) * 1000)::bigint AS start_ms, i.wh
FROM seen_interval AS i
WHERE i.channel = 3;

-- r1_quarantined_intervals
-- One row per quarantined import interval, no locks.
SELECT q.row ->> 'meter' AS meter, (q.row ->> 'at_ms')::bigint AS start_ms
FROM ingest.quarantine AS q
WHERE q.row IS NOT NULL AND (q.row ->> 'channel')::integer = 3;

-- r2_intervals_that_overlap
-- One text per violation, no locks: two intervals of a meter that share time.
SELECT seen.meter || ' at ' || seen.start AS example
FROM (
    SELECT i.meter, i.start,
           lag(i.start + make_interval(secs => i.seconds))
               OVER (PARTITION BY i.meter, i.channel ORDER BY i.start) AS previous_end
    FROM seen_interval AS i
) AS seen
WHERE seen.previous_end > seen.start;

-- r2_usage_that_overlaps
-- One text per violation, no locks: two segments of a usage point that share time.
SELECT seen.usage_point || ' at ' || seen.since AS example
FROM (
    SELECT s.usage_point, s.since,
           lag(s.until) OVER (PARTITION BY s.usage_point ORDER BY s.since) AS previous_end
    FROM usage.segment AS s WHERE s.void_at IS NULL
) AS seen
WHERE seen.previous_end > seen.since;

-- r3_usage_unlike_its_reading
-- One text per violation, no locks: figures of a meter that did not hang there then speak for a
-- usage point, or by a factor that nobody set.
SELECT s.usage_point || ' at ' || s.since AS example
FROM usage.segment AS s
WHERE s.void_at IS NULL AND (
    NOT EXISTS (
        SELECT FROM assets.installation AS n
        WHERE n.usage_point = s.usage_point AND n.meter = s.meter AND n.installed_at <= s.since
          AND (n.removed_at IS NULL OR n.removed_at > s.since))
    OR s.numerator::bigint * coalesce(
        (SELECT r.denominator FROM assets.ratio AS r
         WHERE r.usage_point = s.usage_point AND r.valid_from <= s.since
         ORDER BY r.valid_from DESC LIMIT 1), 1)
    <> s.denominator::bigint * coalesce(
        (SELECT r.numerator FROM assets.ratio AS r
         WHERE r.usage_point = s.usage_point AND r.valid_from <= s.since
         ORDER BY r.valid_from DESC LIMIT 1), 1));

-- r3_stored_registers
-- One row per stored import register, no locks.
SELECT r.meter, (extract(epoch FROM r.at) * 1000)::bigint AS at_ms, r.wh
FROM seen_register AS r
WHERE r.channel = 1;

-- r4_registers_unlike_intervals
-- One text per violation, no locks: between two registers, the whole intervals must not count more
-- than the registers, and all touching intervals not less; only where no interval is missing.
SELECT seen.meter || ': registers ' || seen.moved || ' Wh, intervals ' || seen.inside || ' to '
       || seen.touching || ' Wh' AS example
FROM (
    SELECT span.meter, span.last_wh - span.first_wh AS moved,
           coalesce(sum(i.wh) FILTER (
               WHERE i.start >= span.first_at
                 AND i.start + make_interval(secs => i.seconds) <= span.last_at), 0) AS inside,
           coalesce(sum(i.wh), 0) AS touching,
           count(*) AS intervals,
           ceil(extract(epoch FROM span.last_at - span.grid) / span.seconds)
               - floor(extract(epoch FROM span.first_at - span.grid) / span.seconds) AS wanted
    FROM (
        SELECT c.meter, c.first_start AS grid, c.seconds,
               min(r.at) AS first_at, (array_agg(r.wh ORDER BY r.at))[1] AS first_wh,
               max(r.at) AS last_at, (array_agg(r.wh ORDER BY r.at DESC))[1] AS last_wh
        FROM vee.coverage AS c
        JOIN seen_register AS r ON r.meter = c.meter AND r.channel = 1
            AND r.at BETWEEN c.first_start AND c.newest_start + make_interval(secs => c.seconds)
        WHERE c.channel = 3
        GROUP BY c.meter, c.first_start, c.seconds
        HAVING max(r.at) > min(r.at)
    ) AS span
    JOIN seen_interval AS i ON i.meter = span.meter AND i.channel = 3
        AND i.start < span.last_at
        AND i.start + make_interval(secs => i.seconds) > span.first_at
    GROUP BY span.meter, span.grid, span.seconds, span.first_at, span.last_at, span.first_wh,
             span.last_wh
) AS seen
-- each interval is a difference of whole Wh, so one watt-hour either way is rounding
WHERE seen.intervals = seen.wanted
  AND (seen.inside > seen.moved + 1 OR seen.touching + 1 < seen.moved)
  AND NOT EXISTS (
      SELECT 1 FROM ingest.event AS e WHERE e.meter = seen.meter AND e.code LIKE '%%clock%%set%%');

-- r5_gaps_without_exception
-- One text per violation, no locks: intervals absent between a meter's first and newest that no
-- open exception covers.
SELECT c.meter || ' channel ' || c.channel || ' at ' || wanted.start AS example
FROM vee.coverage AS c
CROSS JOIN LATERAL generate_series(
    c.first_start, c.newest_start, make_interval(secs => c.seconds)) AS wanted (start)
WHERE wanted.start >= coalesce(
    ingest.kept_from()::timestamp AT TIME ZONE 'UTC', '-infinity'::timestamptz)
AND NOT EXISTS (
    SELECT 1 FROM seen_interval AS i
    WHERE i.meter = c.meter AND i.channel = c.channel AND i.start = wanted.start
) AND NOT EXISTS (
    SELECT 1 FROM vee.exception AS e
    WHERE e.kind = 'gap' AND e.meter = c.meter AND e.channel = c.channel AND e.closed_at IS NULL
      AND e.range_start <= wanted.start AND e.range_end > wanted.start
);

-- reading_counts
-- One row, no locks: how much there is.
SELECT (SELECT count(*) FROM ingest.batch) AS batches,
       (SELECT count(*) FROM seen_register) AS registers,
       (SELECT count(*) FROM seen_interval) AS intervals,
       (SELECT count(*) FROM ingest.quarantine) AS quarantined,
       (SELECT count(*) FROM vee.exception WHERE closed_at IS NULL) AS exceptions,
       (SELECT count(*) FROM control.command) AS commands,
       (SELECT count(*) FROM ledger.entry) AS entries,
       (SELECT count(*) FROM payments.payment) AS payments;

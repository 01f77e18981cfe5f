-- states
-- What workers left of the concentrators named: the caller holds their locks.
SELECT s.concentrator, s.stamp, s.meters, s.last, s.received
FROM ingest.concentrator_state AS s WHERE s.concentrator = ANY (%(concentrators)s);

-- stamps
-- The stamps of the concentrators named: the caller holds their locks.
SELECT s.concentrator, s.stamp
FROM ingest.concentrator_state AS s WHERE s.concentrator = ANY (%(concentrators)s);

-- write_state
-- One row, its list of meters new.
INSERT INTO ingest.concentrator_state AS s (concentrator, stamp, meters, last, received)
VALUES (%(concentrator)s, %(stamp)s, %(meters)s::text[], %(last)s, %(received)s)
ON CONFLICT (concentrator) DO UPDATE
SET stamp = excluded.stamp, meters = excluded.meters, last = excluded.last,
    received = excluded.received;

-- touch_states
-- One row each; the lists of meters stay as they are.
UPDATE ingest.concentrator_state AS s
SET stamp = k.stamp, last = k.last, received = k.received
FROM unnest(%(concentrator)s::text[], %(stamp)s::bigint[], %(last)s::bytea[], %(received)s::bytea[])
     AS k (concentrator, stamp, last, received)
WHERE s.concentrator = k.concentrator;

-- series_of
-- The series of the meters named.
SELECT s.no, s.meter, s.channel, s.seconds FROM ingest.series AS s
WHERE s.meter = ANY (%(meters)s);

-- insert_series
-- New series, known ones left alone; the caller asks for their numbers afterwards.
INSERT INTO ingest.series (meter, channel, seconds)
SELECT k.meter, k.channel, k.seconds
FROM unnest(%(meter)s::text[], %(channel)s::smallint[], %(seconds)s::integer[])
     AS k (meter, channel, seconds)
ON CONFLICT (meter, channel, seconds) DO NOTHING;

-- newest_rows
-- The newest reading of each series that is a row: one index probe per series and open day.
SELECT k.series, (extract(epoch FROM r.at) * 1000)::bigint AS at_ms, r.wh
FROM unnest(%(series)s::integer[]) AS k (series)
CROSS JOIN LATERAL (
    SELECT x.at, x.wh FROM ingest.reading AS x
    WHERE x.series = k.series
    ORDER BY x.at DESC LIMIT 1
) AS r;

-- newest_days
-- The newest packed day of each series: one index probe per series and month.
SELECT k.series, d.day, d.body
FROM unnest(%(series)s::integer[]) AS k (series)
CROSS JOIN LATERAL (
    SELECT x.day, x.body FROM ingest.day AS x
    WHERE x.series = k.series
    ORDER BY x.day DESC LIMIT 1
) AS d;

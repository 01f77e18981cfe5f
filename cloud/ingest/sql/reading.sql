-- open_days
-- Days whose readings are rows now, and the newest day of which anything is known.
SELECT coalesce(array_agg(s.day ORDER BY s.day) FILTER (WHERE s.state = 'open'), '{}') AS open,
       max(s.day) AS newest
FROM ingest.day_state AS s;

-- share_days
-- Shared advisory locks until commit on the days named that are open or lie ahead: they cannot be
-- closed or opened meanwhile. Days that are packed need none, for that they stay.
SELECT pg_advisory_xact_lock_shared(730512, k.day - date '1970-01-01')
FROM unnest(%(days)s::date[]) WITH ORDINALITY AS k (day, n)
WHERE k.day > coalesce((SELECT max(s.day) FROM ingest.day_state AS s), '-infinity'::date)
   OR EXISTS (SELECT FROM ingest.day_state AS s WHERE s.day = k.day AND s.state = 'open')
ORDER BY k.n;

-- insert_packed_days
-- Days of which packed rows come before they were ever open; the caller shares their locks.
INSERT INTO ingest.day_state (day, state, changed_at)
SELECT k.day, 'packed', %(now)s FROM unnest(%(days)s::date[]) AS k (day)
ON CONFLICT (day) DO NOTHING;

-- ready_months
-- Partitions for packed days of the months named are there afterwards.
SELECT ingest.ready_month(k.day) FROM unnest(%(days)s::date[]) AS k (day);

-- open_day
-- The day has rows afterwards where it may: see the function.
SELECT ingest.open_day(%(day)s, %(now)s);

-- lock_day
-- The exclusive advisory lock of one day until commit: nobody writes rows of it meanwhile.
SELECT pg_advisory_xact_lock(730512, %(day)s::date - date '1970-01-01');

-- copy_readings
-- New rows of open days; every key was looked up under the concentrator's lock.
COPY ingest.reading (series, at, wh, status, received_at, batch) FROM STDIN (FORMAT BINARY);

-- copy_days
-- Packed days of series that have none yet.
COPY ingest.day (series, day, body) FROM STDIN (FORMAT BINARY);

-- copy_open_rows
-- Every row of one open day and of series [first, last), by series and instant.
COPY (SELECT r.series, r.at, r.wh, r.status, r.received_at, r.batch FROM ingest.reading AS r
      WHERE r.at >= %(since)s AND r.at < %(until)s
        AND r.series >= %(first)s AND r.series < %(last)s
      ORDER BY r.series, r.at)
TO STDOUT (FORMAT BINARY);

-- upsert_days
-- Packed days, anew or with more readings than before: a trigger refuses any other change.
INSERT INTO ingest.day AS d (series, day, body)
SELECT k.series, k.day, k.body
FROM unnest(%(series)s::integer[], %(day)s::date[], %(body)s::bytea[]) AS k (series, day, body)
ON CONFLICT (series, day) DO UPDATE SET body = excluded.body;

-- days_named
-- The packed days named that are there, by place in the list.
SELECT k.n - 1 AS n, d.body
FROM unnest(%(series)s::integer[], %(day)s::date[]) WITH ORDINALITY AS k (series, day, n)
JOIN ingest.day AS d ON d.series = k.series AND d.day = k.day;

-- rows_around
-- Per (series, first, last): rows in that time and the nearest on both sides.
SELECT k.n - 1 AS n, (extract(epoch FROM r.at) * 1000)::bigint AS at_ms, r.wh
FROM unnest(%(series)s::integer[], %(first_ms)s::bigint[], %(last_ms)s::bigint[])
     WITH ORDINALITY AS k (series, first_ms, last_ms, n)
CROSS JOIN LATERAL (
    SELECT 'epoch'::timestamptz + k.first_ms * interval '1 millisecond' AS first_at,
           'epoch'::timestamptz + k.last_ms * interval '1 millisecond' AS last_at
) AS t
CROSS JOIN LATERAL (
    (SELECT x.at, x.wh FROM ingest.reading AS x
     WHERE x.series = k.series AND x.at < t.first_at ORDER BY x.at DESC LIMIT 1)
    UNION ALL
    (SELECT x.at, x.wh FROM ingest.reading AS x
     WHERE x.series = k.series AND x.at BETWEEN t.first_at AND t.last_at)
    UNION ALL
    (SELECT x.at, x.wh FROM ingest.reading AS x
     WHERE x.series = k.series AND x.at > t.last_at ORDER BY x.at LIMIT 1)
) AS r;

-- days_around
-- Per (series, first, last): packed days of that time and the nearest on both sides.
SELECT k.n - 1 AS n, d.day, d.body
FROM unnest(%(series)s::integer[], %(first)s::date[], %(last)s::date[])
     WITH ORDINALITY AS k (series, first, last, n)
CROSS JOIN LATERAL (
    (SELECT x.day, x.body FROM ingest.day AS x
     WHERE x.series = k.series AND x.day < k.first ORDER BY x.day DESC LIMIT 1)
    UNION ALL
    (SELECT x.day, x.body FROM ingest.day AS x
     WHERE x.series = k.series AND x.day BETWEEN k.first AND k.last)
    UNION ALL
    (SELECT x.day, x.body FROM ingest.day AS x
     WHERE x.series = k.series AND x.day > k.last ORDER BY x.day LIMIT 1)
) AS d;

-- rows_of
-- Every row of a channel of the meters in [since, until), oldest first for each.
SELECT s.meter, (extract(epoch FROM r.at) * 1000)::bigint AS at_ms, r.wh, r.status,
       (extract(epoch FROM r.received_at) * 1000)::bigint AS received_ms, r.batch
FROM ingest.series AS s
JOIN ingest.reading AS r ON r.series = s.no AND r.at >= %(since)s AND r.at < %(until)s
WHERE s.meter = ANY (%(meters)s) AND s.channel = %(channel)s
ORDER BY s.meter, r.at;

-- days_of
-- Every packed day of a channel of the meters between two days, oldest first for each.
SELECT s.meter, d.day, d.body
FROM ingest.series AS s
JOIN ingest.day AS d ON d.series = s.no AND d.day BETWEEN %(first)s AND %(last)s
WHERE s.meter = ANY (%(meters)s) AND s.channel = %(channel)s
ORDER BY s.meter, d.day;

-- next_series
-- The lowest number, at or above one, of a series that has rows of one day: one index probe.
SELECT r.series FROM ingest.reading AS r
WHERE r.at >= %(since)s AND r.at < %(until)s AND r.series >= %(first)s
ORDER BY r.series LIMIT 1;

-- drop_day
-- Ends the home of rows of a packed day; the caller holds its lock. Returns how many rows there were.
SELECT ingest.drop_day(%(day)s, %(now)s);

-- has_hypertable
-- One row: whether TimescaleDB keeps the rows; what the server offers, has loaded and installed. Its
-- own settings tell that it is loaded: the list of libraries is not for everybody's eyes.
SELECT ingest.has_hypertable(),
       (SELECT a.default_version FROM pg_available_extensions AS a WHERE a.name = 'timescaledb'),
       current_setting('timescaledb.disable_load', true) IS NOT NULL,
       (SELECT e.extversion FROM pg_extension AS e WHERE e.extname = 'timescaledb'),
       current_setting('timescaledb.license', true);

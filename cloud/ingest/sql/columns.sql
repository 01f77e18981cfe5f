-- series_among
-- The series of a channel of the meters named, by place in the list.
SELECT k.n - 1, s.no, s.seconds
FROM unnest(%(meters)s::text[]) WITH ORDINALITY AS k (meter, n)
JOIN ingest.series AS s ON s.meter = k.meter AND s.channel = %(channel)s
ORDER BY k.n, s.no;

-- rows_between
-- Rows of the series in [since, until), each column as one string of octets; no locks.
SELECT string_agg(int8send(w.n), ''), string_agg(int8send(w.at_ms), ''),
       string_agg(int8send(w.wh), ''), string_agg(int8send(w.status), ''),
       string_agg(int8send(w.batch), '')
FROM (
    SELECT k.n - 1 AS n, (extract(epoch FROM r.at) * 1000)::bigint AS at_ms, r.wh, r.status,
           r.batch
    FROM unnest(%(series)s::integer[]) WITH ORDINALITY AS k (series, n)
    JOIN ingest.reading AS r ON r.series = k.series
    WHERE r.at >= %(since)s AND r.at < %(until)s
    ORDER BY k.n, r.at
) AS w;

-- days_between
-- Packed days of the series between two days; no locks.
SELECT k.n - 1, d.day - date '1970-01-01', d.body
FROM unnest(%(series)s::integer[]) WITH ORDINALITY AS k (series, n)
JOIN ingest.day AS d ON d.series = k.series
WHERE d.day BETWEEN %(first)s AND %(last)s
ORDER BY k.n, d.day;

-- row_at_or_before
-- Per (series, instant) the newest row at or before it: an index probe per open day at most.
SELECT k.n - 1, (extract(epoch FROM r.at) * 1000)::bigint, r.wh, r.status
FROM unnest(%(series)s::integer[], %(at)s::timestamptz[]) WITH ORDINALITY AS k (series, at, n)
CROSS JOIN LATERAL (
    SELECT x.at, x.wh, x.status FROM ingest.reading AS x
    WHERE x.series = k.series AND x.at <= k.at
    ORDER BY x.at DESC LIMIT 1
) AS r;

-- row_at_or_after
-- Per (series, instant) the oldest row at or after it: an index probe per open day at most.
SELECT k.n - 1, (extract(epoch FROM r.at) * 1000)::bigint, r.wh, r.status
FROM unnest(%(series)s::integer[], %(at)s::timestamptz[]) WITH ORDINALITY AS k (series, at, n)
CROSS JOIN LATERAL (
    SELECT x.at, x.wh, x.status FROM ingest.reading AS x
    WHERE x.series = k.series AND x.at >= k.at
    ORDER BY x.at LIMIT 1
) AS r;

-- days_at_or_before
-- Per (series, day, bound) the packed day and the one before it, newest first, where they lie at or
-- after the bound: what a day holds may all lie after the instant that is asked about.
SELECT k.n - 1, d.day - date '1970-01-01', d.body
FROM unnest(%(series)s::integer[], %(day)s::date[], %(bound)s::date[])
     WITH ORDINALITY AS k (series, day, bound, n)
CROSS JOIN LATERAL (
    SELECT x.day, x.body FROM ingest.day AS x
    WHERE x.series = k.series AND x.day <= k.day AND x.day >= k.bound
    ORDER BY x.day DESC LIMIT 2
) AS d;

-- days_at_or_after
-- Per (series, day, bound) the packed day and the one after it, oldest first, where they lie at or
-- before the bound.
SELECT k.n - 1, d.day - date '1970-01-01', d.body
FROM unnest(%(series)s::integer[], %(day)s::date[], %(bound)s::date[])
     WITH ORDINALITY AS k (series, day, bound, n)
CROSS JOIN LATERAL (
    SELECT x.day, x.body FROM ingest.day AS x
    WHERE x.series = k.series AND x.day >= k.day AND x.day <= k.bound
    ORDER BY x.day LIMIT 2
) AS d;

-- batch_times
-- When the batches named came, by their numbers.
SELECT b.no, (extract(epoch FROM b.received_at) * 1000)::bigint
FROM ingest.batch AS b WHERE b.no = ANY (%(numbers)s::bigint[]);

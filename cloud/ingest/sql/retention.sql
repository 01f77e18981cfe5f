-- reached_day
-- A day that readings have reached by their own instants: one row, null while nothing was stored.
SELECT ingest.reached_day();

-- kept_from
-- The first day of which intervals are kept, null while every day is: one probe of a small table.
SELECT ingest.kept_from();

-- months_kept
-- Months of packed days whose intervals are here, oldest first, with the newest word on each.
SELECT k.month, w.how, w.evidence, w.readings
FROM ingest.months_kept() AS k (month)
LEFT JOIN LATERAL (
    SELECT r.how, r.evidence, r.readings FROM ingest.month_released AS r
    WHERE r.month = k.month ORDER BY r.no DESC LIMIT 1
) AS w ON true
ORDER BY k.month;

-- count_month
-- One row: packed intervals of one month as series-days, readings and octets. Reads its partition.
SELECT count(*), coalesce(sum(ingest.readings_in(d.body)), 0), coalesce(sum(octet_length(d.body)), 0)
FROM ingest.day AS d
JOIN ingest.series AS s ON s.no = d.series AND s.seconds > 0
WHERE d.day >= %(month)s AND d.day < %(until)s;

-- days_of_month
-- Packed intervals of one month and of series [first, last), by series and day.
SELECT s.meter, s.channel, s.seconds, d.day, d.body
FROM ingest.day AS d
JOIN ingest.series AS s ON s.no = d.series AND s.seconds > 0
WHERE d.day >= %(month)s AND d.day < %(until)s AND d.series >= %(first)s AND d.series < %(last)s
ORDER BY d.series, d.day;

-- newest_series
-- The highest number of a series, null where there is none: one index probe.
SELECT max(s.no) FROM ingest.series AS s;

-- release_month
-- One row: somebody's word that a month may go.
INSERT INTO ingest.month_released (month, released_at, how, evidence, readings, released_by)
VALUES (%(month)s, %(now)s, %(how)s, %(evidence)s, %(readings)s, %(actor)s);

-- drop_month
-- Lets the intervals of a month go where everything allows it: see the function for its locks.
SELECT ingest.drop_month(%(month)s, %(keep_from)s, %(actor)s, %(now)s);

-- dropped_month
-- What went with a month: one row or none.
SELECT m.series_days, m.readings, m.octets FROM ingest.month_dropped AS m WHERE m.month = %(month)s;

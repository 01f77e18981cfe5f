-- lock_list
-- The advisory lock of who writes the list, until commit; waits for nobody. One row: taken or not.
SELECT pg_try_advisory_xact_lock(7305117110);

-- insert_touched
-- One row: what a transaction changed of which days.
INSERT INTO rollups.touched (cause, reference, actor, at, usage_points, days, readings, first_ms,
                             last_ms)
VALUES (%(cause)s, %(reference)s, %(actor)s, %(at)s, %(usage_points)s::text[], %(days)s::date[],
        %(readings)s::integer[], %(first_ms)s::bigint[], %(last_ms)s::bigint[]);

-- take_touched
-- Takes the oldest rows that are committed; row locks until commit. One row per point and day.
WITH taken AS (
    DELETE FROM rollups.touched AS t
    WHERE t.no IN (SELECT k.no FROM rollups.touched AS k ORDER BY k.no LIMIT %(limit)s)
    RETURNING t.no, t.cause, t.reference, t.actor, t.at, t.usage_points, t.days, t.readings,
              t.first_ms, t.last_ms
)
SELECT t.cause, t.reference, t.actor, t.at, k.usage_point, k.day, k.readings, k.first_ms, k.last_ms
FROM taken AS t
CROSS JOIN LATERAL unnest(t.usage_points, t.days, t.readings, t.first_ms, t.last_ms)
    AS k (usage_point, day, readings, first_ms, last_ms)
ORDER BY t.no, k.usage_point, k.day;

-- upsert_dirty
-- One row per point and day, each once; what was there first keeps its cause, readings add up.
INSERT INTO rollups.dirty AS d (usage_point, day, due_at, cause, reference, actor, noted_at,
                                readings, first_ms, last_ms)
SELECT k.usage_point, k.day, k.due_at, k.cause, k.reference, k.actor, k.noted_at, k.readings,
       k.first_ms, k.last_ms
FROM unnest(%(usage_point)s::text[], %(day)s::date[], %(due_at)s::timestamptz[], %(cause)s::text[],
            %(reference)s::text[], %(actor)s::text[], %(noted_at)s::timestamptz[],
            %(readings)s::integer[], %(first_ms)s::bigint[], %(last_ms)s::bigint[])
     AS k (usage_point, day, due_at, cause, reference, actor, noted_at, readings, first_ms, last_ms)
ON CONFLICT (usage_point, day) DO UPDATE
SET readings = d.readings + excluded.readings,
    first_ms = CASE WHEN excluded.readings = 0 THEN d.first_ms
                    WHEN d.readings = 0 THEN excluded.first_ms
                    ELSE least(d.first_ms, excluded.first_ms) END,
    last_ms = CASE WHEN excluded.readings = 0 THEN d.last_ms
                   ELSE greatest(d.last_ms, excluded.last_ms) END;

-- insert_lots
-- Points that wait together for a day or a cycle, so many a row, by part of the network.
INSERT INTO rollups.lot (part, due_at, noted_at, day, cycle, usage_points)
SELECT w.part, %(due_at)s, %(noted_at)s, %(day)s, %(cycle)s,
       array_agg(w.usage_point ORDER BY w.usage_point)
FROM (
    SELECT k.usage_point, hashtext(k.usage_point) & 63 AS part,
           row_number() OVER (PARTITION BY hashtext(k.usage_point) & 63
                              ORDER BY k.usage_point) - 1 AS place
    FROM unnest(%(usage_points)s::text[]) AS k (usage_point)
) AS w
GROUP BY w.part, w.place / %(size)s
ORDER BY w.part, w.place / %(size)s;

-- parts_due
-- Parts of the network of which anything is due, those that wait longest first; two index probes a
-- part.
SELECT g.part, least(l.due_at, d.due_at) AS since
FROM generate_series(0, 63) AS g (part)
LEFT JOIN LATERAL (
    SELECT x.due_at FROM rollups.lot AS x
    WHERE x.part = g.part AND x.due_at <= %(now)s ORDER BY x.due_at LIMIT 1
) AS l ON true
LEFT JOIN LATERAL (
    SELECT x.due_at FROM rollups.dirty AS x
    WHERE x.part = g.part AND x.due_at <= %(now)s ORDER BY x.due_at LIMIT 1
) AS d ON true
WHERE l.due_at IS NOT NULL OR d.due_at IS NOT NULL
ORDER BY since, g.part;

-- lock_part
-- The advisory lock of one part until commit; waits for nobody. One row: taken or not.
SELECT pg_try_advisory_xact_lock(730519, %(part)s);

-- take_lots
-- Takes the oldest due lots of a part whose lock is held; row locks until commit.
DELETE FROM rollups.lot AS l
WHERE l.no IN (
    SELECT k.no FROM rollups.lot AS k WHERE k.part = %(part)s AND k.due_at <= %(now)s
    ORDER BY k.due_at, k.no LIMIT %(limit)s
)
RETURNING l.day, l.cycle, l.noted_at, l.usage_points;

-- take_dirty
-- Takes every due day of the points of a part that have waited longest; row locks until commit. A
-- day that who writes the list is adding to is left for later: nobody waits for anybody here.
DELETE FROM rollups.dirty AS d
WHERE d.ctid = ANY (ARRAY(
    SELECT k.ctid FROM rollups.dirty AS k
    WHERE k.part = %(part)s AND k.due_at <= %(now)s
      AND k.usage_point = ANY (ARRAY(
          SELECT w.usage_point FROM (
              SELECT x.usage_point FROM rollups.dirty AS x
              WHERE x.part = %(part)s AND x.due_at <= %(now)s
              ORDER BY x.due_at LIMIT %(limit)s
          ) AS w GROUP BY w.usage_point))
    FOR UPDATE SKIP LOCKED))
RETURNING d.usage_point, d.day, d.cause, d.reference, d.actor, d.noted_at, d.readings, d.first_ms,
          d.last_ms;

-- waiting
-- One row: transactions not looked at yet, days that wait, and those of them that are due.
SELECT (SELECT count(*) FROM rollups.touched), coalesce(sum(w.size), 0)::bigint,
       coalesce(sum(w.size) FILTER (WHERE w.due_at <= %(now)s), 0)::bigint
FROM (
    SELECT d.due_at, 1 AS size FROM rollups.dirty AS d
    UNION ALL
    SELECT l.due_at, cardinality(l.usage_points) FROM rollups.lot AS l
) AS w;

-- horizons
-- The next day of every zone, one row a zone.
SELECT h.zone, h.next_day FROM rollups.horizon AS h;

-- upsert_horizon
-- One row: the days of a zone before this one are all on the list or done.
INSERT INTO rollups.horizon (zone, next_day) VALUES (%(zone)s, %(next_day)s)
ON CONFLICT (zone) DO UPDATE SET next_day = excluded.next_day;

-- cycles_seen
-- Those of the cycles named whose points have their roll-ups.
SELECT c.cycle FROM rollups.cycle_seen AS c WHERE c.cycle = ANY (%(cycles)s::bigint[]);

-- insert_cycle_seen
-- One row: the points of this cycle have their roll-ups.
INSERT INTO rollups.cycle_seen (cycle, at) VALUES (%(cycle)s, %(at)s) ON CONFLICT DO NOTHING;

-- waiting_before
-- Two rows at most: days that wait to be rolled up and begin before one, and zones whose days before
-- it are not all on the list; how many, the first day, and one of them.
SELECT 'day', count(*), min(w.day), min(w.usage_point)
FROM (
    SELECT d.day, d.usage_point FROM rollups.dirty AS d WHERE d.day < %(until)s::date
    UNION ALL
    SELECT l.day, l.usage_points[1] FROM rollups.lot AS l WHERE l.day < %(until)s::date
    UNION ALL
    SELECT k.day, k.usage_point FROM rollups.touched AS t
    CROSS JOIN LATERAL unnest(t.usage_points, t.days) AS k (usage_point, day)
    WHERE k.day < %(until)s::date
) AS w
HAVING count(*) > 0
UNION ALL
SELECT 'zone', count(*), min(h.next_day), min(h.zone) FROM rollups.horizon AS h
WHERE h.next_day < %(until)s::date
HAVING count(*) > 0;

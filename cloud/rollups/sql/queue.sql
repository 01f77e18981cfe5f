-- lock_rollups
-- The one advisory lock of who rolls up, until commit; waits for nobody. One row: taken or not.
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

-- take_dirty
-- Takes every due day of the points that have waited longest; row locks until commit.
WITH chosen AS (
    SELECT DISTINCT k.usage_point
    FROM (
        SELECT d.usage_point FROM rollups.dirty AS d
        WHERE d.due_at <= %(now)s ORDER BY d.due_at, d.usage_point LIMIT %(limit)s
    ) AS k
)
DELETE FROM rollups.dirty AS d
USING chosen AS c
WHERE d.usage_point = c.usage_point AND d.due_at <= %(now)s
RETURNING d.usage_point, d.day, d.cause, d.reference, d.actor, d.noted_at, d.readings, d.first_ms,
          d.last_ms;

-- waiting
-- One row: transactions not looked at yet, days that wait, and those of them that are due.
SELECT (SELECT count(*) FROM rollups.touched), count(*),
       count(*) FILTER (WHERE d.due_at <= %(now)s)
FROM rollups.dirty AS d;

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

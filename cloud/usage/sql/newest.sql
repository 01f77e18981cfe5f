-- write_newest
-- Newest registers of usage points that have no row yet; each gets a number. They are sorted first:
-- a scan beside the insert would look at ever more rows.
INSERT INTO usage.newest AS n (usage_point, at_ms, cumulative_wh, questionable, moved, quality,
                               meter, wh, day_ms, opening_wh, overlaid)
SELECT k.usage_point, k.at_ms, k.cumulative_wh, k.quality = 4, pg_current_xact_id(), k.quality,
       k.meter, k.wh, k.day_ms, k.opening_wh, k.overlaid
FROM unnest(%(usage_point)s::text[], %(at_ms)s::bigint[], %(cumulative_wh)s::bigint[],
            %(quality)s::smallint[], %(meter)s::text[], %(wh)s::bigint[], %(day_ms)s::bigint[],
            %(opening_wh)s::bigint[], %(overlaid)s::boolean[])
     AS k (usage_point, at_ms, cumulative_wh, quality, meter, wh, day_ms, opening_wh, overlaid)
WHERE NOT EXISTS (SELECT FROM usage.newest AS x WHERE x.usage_point = k.usage_point)
ORDER BY k.usage_point
ON CONFLICT (usage_point) DO UPDATE
SET at_ms = excluded.at_ms, cumulative_wh = excluded.cumulative_wh,
    questionable = excluded.questionable, moved = excluded.moved, quality = excluded.quality,
    meter = excluded.meter, wh = excluded.wh, day_ms = excluded.day_ms,
    opening_wh = excluded.opening_wh, overlaid = excluded.overlaid;

-- move_newest
-- The newest register of points, by the meter that it was of before. Locks their rows; the caller
-- holds the points.
UPDATE usage.newest AS n
SET at_ms = k.at_ms, cumulative_wh = k.cumulative_wh, questionable = k.quality = 4,
    moved = pg_current_xact_id(), quality = k.quality, wh = k.wh, day_ms = k.day_ms,
    opening_wh = k.opening_wh
FROM unnest(%(point)s::bigint[], %(at_ms)s::bigint[], %(cumulative_wh)s::bigint[],
            %(quality)s::bigint[], %(wh)s::bigint[], %(day_ms)s::bigint[],
            %(opening_wh)s::bigint[])
     AS k (point, at_ms, cumulative_wh, quality, wh, day_ms, opening_wh)
WHERE n.point = k.point;

-- begin_newest
-- The very first register of points. Locks their rows; the caller holds the points.
UPDATE usage.newest AS n
SET at_ms = k.at_ms, cumulative_wh = k.cumulative_wh, questionable = k.quality = 4,
    moved = pg_current_xact_id(), quality = k.quality, wh = k.wh, day_ms = k.day_ms,
    opening_wh = k.opening_wh, meter = k.meter
FROM unnest(%(point)s::bigint[], %(at_ms)s::bigint[], %(cumulative_wh)s::bigint[],
            %(quality)s::bigint[], %(wh)s::bigint[], %(day_ms)s::bigint[],
            %(opening_wh)s::bigint[], %(meter)s::text[])
     AS k (point, at_ms, cumulative_wh, quality, wh, day_ms, opening_wh, meter)
WHERE n.point = k.point;

-- rewrite_newest
-- The newest register of usage points that have a row; what says the same moves nothing. Locks them.
UPDATE usage.newest AS n
SET at_ms = k.at_ms, cumulative_wh = k.cumulative_wh, questionable = k.quality = 4,
    moved = pg_current_xact_id(), quality = k.quality, meter = k.meter, wh = k.wh,
    day_ms = k.day_ms, opening_wh = k.opening_wh, overlaid = k.overlaid
FROM unnest(%(usage_point)s::text[], %(at_ms)s::bigint[], %(cumulative_wh)s::bigint[],
            %(quality)s::smallint[], %(meter)s::text[], %(wh)s::bigint[], %(day_ms)s::bigint[],
            %(opening_wh)s::bigint[], %(overlaid)s::boolean[])
     AS k (usage_point, at_ms, cumulative_wh, quality, meter, wh, day_ms, opening_wh, overlaid)
WHERE n.usage_point = k.usage_point
  AND (n.at_ms, n.cumulative_wh, n.quality, n.meter, n.wh, n.day_ms, n.opening_wh, n.overlaid)
      IS DISTINCT FROM (k.at_ms, k.cumulative_wh, k.quality, k.meter, k.wh, k.day_ms, k.opening_wh,
                        k.overlaid);

-- newest_registers
-- The newest register of each usage point named that has one.
SELECT n.usage_point, n.at_ms, n.cumulative_wh, n.quality, n.day_ms, n.opening_wh
FROM usage.newest AS n
WHERE n.usage_point = ANY (%(usage_points)s::text[]) AND n.at_ms >= 0
ORDER BY n.usage_point;

-- register_at
-- The newest register at or before an instant: one index probe.
SELECT r.usage_point, r.at, r.cumulative_wh, r.quality, r.meter, r.wh
FROM usage.register AS r
WHERE r.usage_point = %(usage_point)s AND r.at <= %(at)s
ORDER BY r.at DESC LIMIT 1;

-- first_register
-- The oldest register of a usage point: one index probe.
SELECT r.usage_point, r.at, r.cumulative_wh, r.quality, r.meter, r.wh
FROM usage.register AS r
WHERE r.usage_point = %(usage_point)s
ORDER BY r.at LIMIT 1;

-- registers_at_each
-- For each (usage point, instant) the newest register at or before it, in the order asked.
SELECT k.n, r.usage_point, r.at, r.cumulative_wh, r.quality, r.meter, r.wh
FROM unnest(%(usage_points)s::text[], %(at)s::timestamptz[]) WITH ORDINALITY
     AS k (usage_point, at, n)
CROSS JOIN LATERAL (
    SELECT x.usage_point, x.at, x.cumulative_wh, x.quality, x.meter, x.wh
    FROM usage.register AS x
    WHERE x.usage_point = k.usage_point AND x.at <= k.at
    ORDER BY x.at DESC LIMIT 1
) AS r
ORDER BY k.n;

-- newest_registers
-- The newest register of each usage point named, with its time in ms since 1970.
SELECT k.usage_point, (extract(epoch FROM r.at) * 1000)::bigint AS at_ms, r.cumulative_wh,
       r.quality, r.meter, r.wh
FROM unnest(%(usage_points)s::text[]) AS k (usage_point)
CROSS JOIN LATERAL (
    SELECT x.at, x.cumulative_wh, x.quality, x.meter, x.wh
    FROM usage.register AS x
    WHERE x.usage_point = k.usage_point
    ORDER BY x.at DESC LIMIT 1
) AS r
ORDER BY k.usage_point;

-- oldest_registers
-- The oldest register of each usage point named.
SELECT k.usage_point, r.cumulative_wh
FROM unnest(%(usage_points)s::text[]) AS k (usage_point)
CROSS JOIN LATERAL (
    SELECT x.cumulative_wh FROM usage.register AS x
    WHERE x.usage_point = k.usage_point
    ORDER BY x.at LIMIT 1
) AS r;

-- registers_in
-- Every register of a usage point in [start, end), oldest first.
SELECT r.usage_point, r.at, r.cumulative_wh, r.quality, r.meter, r.wh
FROM usage.register AS r
WHERE r.usage_point = %(usage_point)s AND r.at >= %(start)s AND r.at < %(end)s
ORDER BY r.at;

-- intervals_in
-- Every interval of a usage point that starts in [start, end), oldest first.
SELECT i.usage_point, i.start, i.seconds, i.wh, i.quality
FROM usage.interval AS i
WHERE i.usage_point = %(usage_point)s AND i.start >= %(start)s AND i.start < %(end)s
ORDER BY i.start;

-- insert_registers
-- New registers; the key is known already only where derivation is repeated.
INSERT INTO usage.register (usage_point, at, meter, wh, cumulative_wh, quality)
SELECT k.usage_point, 'epoch'::timestamptz + k.at_ms * interval '1 millisecond', k.meter, k.wh,
       k.cumulative_wh, k.quality
FROM unnest(%(usage_point)s::text[], %(at_ms)s::bigint[], %(meter)s::text[], %(wh)s::bigint[],
            %(cumulative_wh)s::bigint[], %(quality)s::text[])
     AS k (usage_point, at_ms, meter, wh, cumulative_wh, quality)
ON CONFLICT (usage_point, at) DO UPDATE
SET meter = excluded.meter, wh = excluded.wh, cumulative_wh = excluded.cumulative_wh,
    quality = excluded.quality
WHERE (register.meter, register.wh, register.cumulative_wh, register.quality)
    IS DISTINCT FROM (excluded.meter, excluded.wh, excluded.cumulative_wh, excluded.quality);

-- delete_registers
-- Every register of one usage point, before it is derived anew in the same transaction.
DELETE FROM usage.register AS r WHERE r.usage_point = %(usage_point)s;

-- insert_intervals
-- New intervals; a known key is left alone, for raw intervals never change.
INSERT INTO usage.interval (usage_point, start, seconds, wh, quality)
SELECT k.usage_point, 'epoch'::timestamptz + k.start_ms * interval '1 millisecond', k.seconds,
       k.wh, k.quality
FROM unnest(%(usage_point)s::text[], %(start_ms)s::bigint[], %(seconds)s::integer[],
            %(wh)s::bigint[], %(quality)s::text[])
     AS k (usage_point, start_ms, seconds, wh, quality)
ON CONFLICT (usage_point, start) DO NOTHING;

-- overlay_rows
-- Rows that speak at the time asked about days between two: of layer machine the newest of each
-- day, of layer person all. No locks.
SELECT k.n - 1 AS point, o.layer, (extract(epoch FROM o.since) * 1000)::bigint AS since_ms,
       o.seconds, o.version, (extract(epoch FROM o.created_at) * 1000)::bigint AS created_ms,
       o.offset_s, o.kind, o.wh
FROM unnest(%(usage_points)s::text[]) WITH ORDINALITY AS k (usage_point, n)
JOIN vee.overlay AS o ON o.usage_point = k.usage_point
WHERE o.day BETWEEN %(first)s AND %(last)s
  AND o.created_at <= coalesce(%(as_of)s::timestamptz, 'infinity')
  AND (o.layer = 'person' OR NOT EXISTS (
      SELECT FROM vee.overlay AS x
      WHERE x.usage_point = o.usage_point AND x.day = o.day AND x.layer = o.layer
        AND x.seconds = o.seconds AND x.version > o.version
        AND x.created_at <= coalesce(%(as_of)s::timestamptz, 'infinity')));

-- register_overlay_rows
-- Of each instant in [start, end) and layer the newest register that was said at the time asked.
SELECT DISTINCT ON (k.n, o.at, o.layer)
       k.n - 1 AS point, (extract(epoch FROM o.at) * 1000)::bigint AS at_ms, o.wh, o.kind,
       (extract(epoch FROM o.created_at) * 1000)::bigint AS created_ms, o.version
FROM unnest(%(usage_points)s::text[]) WITH ORDINALITY AS k (usage_point, n)
JOIN vee.register_overlay AS o ON o.usage_point = k.usage_point
WHERE o.at >= %(start)s AND o.at < %(end)s
  AND o.created_at <= coalesce(%(as_of)s::timestamptz, 'infinity')
ORDER BY k.n, o.at, o.layer, o.version DESC;

-- fleet
-- Meters that hang on each concentrator now and did before an instant, by interval length: a scan
-- of what is installed, no locks.
SELECT i.concentrator, coalesce(m.interval_seconds, 0), count(*)
FROM assets.installation AS i
JOIN assets.meter AS m ON m.id = i.meter
WHERE i.removed_at IS NULL AND i.installed_at <= %(since)s
GROUP BY i.concentrator, coalesce(m.interval_seconds, 0);

-- fleet_changes
-- Meters that came to a concentrator or left it after an instant.
SELECT i.concentrator, coalesce(m.interval_seconds, 0), i.meter, i.installed_at, i.removed_at
FROM assets.installation AS i
JOIN assets.meter AS m ON m.id = i.meter
WHERE i.installed_at > %(since)s OR i.removed_at > %(since)s
ORDER BY i.installed_at, i.id;

-- stays
-- What hung at the usage points named, oldest first for each: columns as strings of octets, 2^42 - 1
-- ms for ever, 0 seconds without load profile; the zones by commas. No locks.
SELECT string_agg(int8send(w.n), ''), string_agg(int8send(w.since_ms), ''),
       string_agg(int8send(w.until_ms), ''), string_agg(int8send(w.seconds), ''),
       string_agg(w.zone, ',')
FROM (
    SELECT k.n - 1 AS n, (extract(epoch FROM i.installed_at) * 1000)::bigint AS since_ms,
           coalesce((extract(epoch FROM i.removed_at) * 1000)::bigint, 4398046511103) AS until_ms,
           coalesce(m.interval_seconds, 0)::bigint AS seconds, p.zone
    FROM unnest(%(usage_points)s::text[]) WITH ORDINALITY AS k (usage_point, n)
    JOIN assets.installation AS i ON i.usage_point = k.usage_point
    JOIN assets.meter AS m ON m.id = i.meter
    JOIN assets.usage_point AS p ON p.id = k.usage_point
    ORDER BY k.n, i.installed_at, i.id
) AS w;

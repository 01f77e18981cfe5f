-- zones
-- Each zone with metered usage points and when the first meter was installed there.
SELECT p.zone, min(i.installed_at) AS since
FROM assets.usage_point AS p
JOIN assets.installation AS i ON i.usage_point = p.id
GROUP BY p.zone ORDER BY p.zone;

-- points_of_zone
-- The next usage points of a zone, by id, at which a meter was installed within [since, until).
SELECT p.id FROM assets.usage_point AS p
WHERE p.zone = %(zone)s AND p.id > %(after)s
  AND EXISTS (SELECT FROM assets.installation AS i
              WHERE i.usage_point = p.id AND i.installed_at < %(until)s
                AND (i.removed_at IS NULL OR i.removed_at > %(since)s))
ORDER BY p.id LIMIT %(limit)s;

-- points_by_zone
-- Every usage point of a kind by zone, sorted: one row a zone.
SELECT p.zone, array_agg(p.id ORDER BY p.id) FROM assets.usage_point AS p
WHERE p.kind = %(kind)s
GROUP BY p.zone ORDER BY p.zone;

-- zones_of
-- The zone of each usage point named.
SELECT p.id, p.zone FROM assets.usage_point AS p WHERE p.id = ANY (%(usage_points)s::text[]);

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

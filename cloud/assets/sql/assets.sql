-- insert_transformers
-- One row per transformer, known ones untouched.
INSERT INTO assets.transformer (id, name, unit)
SELECT * FROM unnest(%(id)s::text[], %(name)s::text[], %(unit)s::text[])
ON CONFLICT DO NOTHING;

-- transformers_by_id
-- The transformers named.
SELECT t.id, t.name, t.unit FROM assets.transformer AS t WHERE t.id = ANY (%(id)s);

-- insert_usage_points
-- One row per usage point, known ones untouched.
INSERT INTO assets.usage_point (id, kind, transformer, zone, capacity_w)
SELECT * FROM unnest(
    %(id)s::text[], %(kind)s::text[], %(transformer)s::text[], %(zone)s::text[],
    %(capacity_w)s::bigint[])
ON CONFLICT DO NOTHING;

-- usage_points_by_id
-- The usage points named.
SELECT p.id, p.kind, p.transformer, p.zone, p.capacity_w
FROM assets.usage_point AS p WHERE p.id = ANY (%(id)s);

-- usage_points_of_transformer
-- The usage points below one transformer, its head among them.
SELECT p.id, p.kind, p.transformer, p.zone, p.capacity_w
FROM assets.usage_point AS p WHERE p.transformer = %(transformer)s ORDER BY p.id;

-- usage_point_ids
-- Ids of every usage point of a kind.
SELECT p.id FROM assets.usage_point AS p WHERE p.kind = %(kind)s ORDER BY p.id;

-- insert_concentrators
-- One row per concentrator, known ones untouched.
INSERT INTO assets.concentrator (id, name)
SELECT * FROM unnest(%(id)s::text[], %(name)s::text[])
ON CONFLICT DO NOTHING;

-- concentrators_by_id
-- The concentrators named.
SELECT c.id, c.name FROM assets.concentrator AS c WHERE c.id = ANY (%(id)s);

-- insert_meters
-- One row per meter, known ones untouched.
INSERT INTO assets.meter (id, model, protocol, has_relay, can_close_remotely, interval_seconds,
                          control_mode, rollover_wh, max_w, keeps_power, token_kind)
SELECT * FROM unnest(
    %(id)s::text[], %(model)s::text[], %(protocol)s::text[], %(has_relay)s::boolean[],
    %(can_close_remotely)s::boolean[], %(interval_seconds)s::integer[],
    %(control_mode)s::smallint[], %(rollover_wh)s::bigint[], %(max_w)s::bigint[],
    %(keeps_power)s::boolean[], %(token_kind)s::text[])
ON CONFLICT DO NOTHING;

-- meters_by_id
-- The meters named.
SELECT m.id, m.model, m.protocol, m.has_relay, m.can_close_remotely, m.interval_seconds,
       m.control_mode, m.rollover_wh, m.max_w, m.keeps_power, m.token_kind
FROM assets.meter AS m WHERE m.id = ANY (%(id)s);

-- insert_installations
-- One row per installation; one that repeats or overlaps a known one is skipped and then compared.
INSERT INTO assets.installation (meter, usage_point, concentrator, installed_at, removed_at,
                                 initial_wh, final_wh)
SELECT * FROM unnest(
    %(meter)s::text[], %(usage_point)s::text[], %(concentrator)s::text[],
    %(installed_at)s::timestamptz[], %(removed_at)s::timestamptz[],
    %(initial_wh)s::bigint[], %(final_wh)s::bigint[])
ON CONFLICT DO NOTHING;

-- end_installation
-- The one open installation of a usage point gets its end.
UPDATE assets.installation AS i
SET removed_at = %(removed_at)s, final_wh = %(final_wh)s
WHERE i.usage_point = %(usage_point)s AND i.removed_at IS NULL
  AND i.installed_at < %(removed_at)s::timestamptz
RETURNING i.meter, i.concentrator;

-- installed
-- Installations with meter and usage point, oldest first; each NULL filter means any.
SELECT i.meter, i.usage_point, i.concentrator, i.installed_at, i.removed_at, i.initial_wh,
       i.final_wh,
       m.model, m.protocol, m.has_relay, m.can_close_remotely, m.interval_seconds,
       m.control_mode, m.rollover_wh, m.max_w, m.keeps_power, m.token_kind,
       p.kind, p.transformer, p.zone, p.capacity_w
FROM assets.installation AS i
JOIN assets.meter AS m ON m.id = i.meter
JOIN assets.usage_point AS p ON p.id = i.usage_point
WHERE (%(meters)s::text[] IS NULL OR i.meter = ANY (%(meters)s::text[]))
  AND (%(usage_points)s::text[] IS NULL OR i.usage_point = ANY (%(usage_points)s::text[]))
  AND (%(concentrator)s::text IS NULL OR i.concentrator = %(concentrator)s::text)
  AND (i.removed_at IS NULL OR NOT %(only_open)s::boolean)
ORDER BY i.installed_at, i.id;

-- units_of_usage_points
-- Who looks after each usage point: the unit of its transformer, else the transformer itself.
SELECT p.id, coalesce(t.unit, t.id) AS unit
FROM assets.usage_point AS p
JOIN assets.transformer AS t ON t.id = p.transformer
WHERE p.id = ANY (%(usage_points)s);

-- ever_installed_at
-- Every installation of every meter that ever hung on a concentrator, oldest first.
SELECT i.meter, i.usage_point, i.concentrator, i.installed_at, i.removed_at, i.initial_wh,
       i.final_wh,
       m.model, m.protocol, m.has_relay, m.can_close_remotely, m.interval_seconds,
       m.control_mode, m.rollover_wh, m.max_w, m.keeps_power, m.token_kind,
       p.kind, p.transformer, p.zone, p.capacity_w
FROM assets.installation AS i
JOIN assets.meter AS m ON m.id = i.meter
JOIN assets.usage_point AS p ON p.id = i.usage_point
WHERE i.meter IN (SELECT k.meter FROM assets.installation AS k
                  WHERE k.concentrator = %(concentrator)s)
ORDER BY i.installed_at, i.id;

-- concentrators_of
-- The concentrators that ever had a meter of the usage points named; no locks.
SELECT DISTINCT i.concentrator FROM assets.installation AS i
WHERE i.usage_point = ANY (%(usage_points)s::text[]);

-- revisions
-- How often the assets changed what they say of each concentrator's meters.
SELECT r.concentrator, r.no FROM assets.concentrator_revision AS r
WHERE r.concentrator = ANY (%(concentrators)s);

-- insert_recomputes
-- One row per day that has another version now.
INSERT INTO rollups.recompute (usage_point, day, cause, reference, actor, noted_at, readings,
                               first_ms, last_ms, carried_from, before_version, after_version,
                               periods, at)
SELECT k.usage_point, k.day, k.cause, k.reference, k.actor, k.noted_at, k.readings, k.first_ms,
       k.last_ms, k.carried_from, k.before_version, k.after_version, k.periods::jsonb, %(at)s
FROM unnest(%(usage_point)s::text[], %(day)s::date[], %(cause)s::text[], %(reference)s::text[],
            %(actor)s::text[], %(noted_at)s::timestamptz[], %(readings)s::integer[],
            %(first_ms)s::bigint[], %(last_ms)s::bigint[], %(carried_from)s::date[],
            %(before_version)s::integer[], %(after_version)s::integer[], %(periods)s::text[])
     AS k (usage_point, day, cause, reference, actor, noted_at, readings, first_ms, last_ms,
           carried_from, before_version, after_version, periods)
ORDER BY k.usage_point, k.day;

-- recomputes_of
-- Recomputes of one usage point (and one day, if named), newest first.
SELECT r.id, r.usage_point, r.day, r.cause, r.reference, r.actor, r.noted_at, r.readings,
       r.first_ms, r.last_ms, r.carried_from, r.before_version, r.after_version, r.periods,
       l.recompute IS NOT NULL AS looked
FROM rollups.recompute AS r
LEFT JOIN rollups.looked AS l ON l.recompute = r.id
WHERE r.usage_point = %(usage_point)s AND (%(day)s::date IS NULL OR r.day = %(day)s::date)
ORDER BY r.id DESC LIMIT %(limit)s;

-- recomputes_unlooked
-- The oldest recomputes that billing was not asked about; locks nothing, the key of `looked` lets
-- one of two that ask at once write its answer.
SELECT r.id, r.usage_point, r.day, r.cause, r.reference, r.actor, r.noted_at, r.readings,
       r.first_ms, r.last_ms, r.carried_from, r.before_version, r.after_version, r.periods,
       false AS looked
FROM rollups.recompute AS r
WHERE r.id > (SELECT coalesce(max(l.recompute), 0) FROM rollups.looked AS l)
ORDER BY r.id LIMIT %(limit)s;

-- day_versions
-- The versions named, in any order.
SELECT d.usage_point, d.day, d.zone, d.version, d.known_at, d.slots, d.missing, d.interval_wh,
       d.slot_qualities, d.from_at, d.from_wh, d.from_quality, d.to_at, d.to_wh, d.to_quality
FROM unnest(%(usage_points)s::text[], %(days)s::date[], %(versions)s::integer[])
     AS k (usage_point, day, version)
JOIN rollups.day AS d ON (d.usage_point, d.day, d.version) = (k.usage_point, k.day, k.version);

-- insert_looked
-- One row per recompute that billing was asked about now; asked before changes nothing.
INSERT INTO rollups.looked (recompute, at, found)
SELECT k.recompute, %(at)s, k.found
FROM unnest(%(recompute)s::bigint[], %(found)s::integer[]) AS k (recompute, found)
ON CONFLICT DO NOTHING
RETURNING recompute;

-- insert_dependents
-- One row per thing in billing that had used a day.
INSERT INTO rollups.dependent (recompute, n, kind, reference, account, state, wh_before, wh_after,
                               currency, micros_before, micros_after)
SELECT k.recompute, k.n, k.kind, k.reference, k.account, k.state, k.wh_before, k.wh_after,
       k.currency, k.micros_before, k.micros_after
FROM unnest(%(recompute)s::bigint[], %(n)s::smallint[], %(kind)s::text[], %(reference)s::text[],
            %(account)s::text[], %(state)s::text[], %(wh_before)s::bigint[],
            %(wh_after)s::bigint[], %(currency)s::text[], %(micros_before)s::bigint[],
            %(micros_after)s::bigint[])
     AS k (recompute, n, kind, reference, account, state, wh_before, wh_after, currency,
           micros_before, micros_after);

-- dependents_of
-- What billing told of the recomputes named, in the order told.
SELECT d.recompute, d.kind, d.reference, d.account, d.state, d.wh_before, d.wh_after, d.currency,
       d.micros_before, d.micros_after
FROM rollups.dependent AS d
WHERE d.recompute = ANY (%(recomputes)s::bigint[])
ORDER BY d.recompute, d.n;

-- insert_kept
-- One row per day that keeps its version because its intervals were let go.
INSERT INTO rollups.kept_day (usage_point, day, version, cause, reference, actor, noted_at,
                              kept_from, at)
SELECT k.usage_point, k.day, k.version, k.cause, k.reference, k.actor, k.noted_at,
       %(kept_from)s, %(at)s
FROM unnest(%(usage_point)s::text[], %(day)s::date[], %(version)s::integer[], %(cause)s::text[],
            %(reference)s::text[], %(actor)s::text[], %(noted_at)s::timestamptz[])
     AS k (usage_point, day, version, cause, reference, actor, noted_at);

-- kept_of
-- Days of one usage point (and one day, if named) that keep their version, newest word first.
SELECT d.day, d.version, d.cause, d.reference, d.actor, d.noted_at, d.kept_from, d.at
FROM rollups.kept_day AS d
WHERE d.usage_point = %(usage_point)s AND (%(day)s::date IS NULL OR d.day = %(day)s::date)
ORDER BY d.id DESC LIMIT %(limit)s;

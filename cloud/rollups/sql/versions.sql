-- days_in
-- The versions that held at a knowledge time of the points' days in [first, until), in order.
SELECT DISTINCT ON (d.usage_point, d.day)
       d.usage_point, d.day, d.zone, d.version, d.known_at, d.slots, d.missing, d.interval_wh,
       d.slot_qualities, d.from_at, d.from_wh, d.from_quality, d.to_at, d.to_wh, d.to_quality
FROM rollups.day AS d
WHERE d.usage_point = ANY (%(usage_points)s::text[]) AND d.day >= %(first)s AND d.day < %(until)s
  AND (%(as_of)s::timestamptz IS NULL OR d.known_at <= %(as_of)s::timestamptz)
ORDER BY d.usage_point, d.day, d.version DESC;

-- days_newest
-- The newest version of each (usage point, day) that has one; days as ordinals; columns as strings
-- of octets, -2^63 is null, instants in us since 2000.
SELECT string_agg(int8send(k.n), ''), string_agg(int8send(k.day - 730120), ''),
       string_agg(int8send(r.version), ''),
       string_agg(int8send(r.slots), ''), string_agg(int8send(r.missing), ''),
       string_agg(int8send(coalesce(r.interval_wh, -9223372036854775808)), ''),
       string_agg(int8send(r.slot_qualities), ''),
       string_agg(coalesce(timestamptz_send(r.from_at), int8send(-9223372036854775808)), ''),
       string_agg(int8send(coalesce(r.from_wh, -9223372036854775808)), ''),
       string_agg(int8send(r.from_quality), ''),
       string_agg(coalesce(timestamptz_send(r.to_at), int8send(-9223372036854775808)), ''),
       string_agg(int8send(coalesce(r.to_wh, -9223372036854775808)), ''),
       string_agg(int8send(r.to_quality), '')
FROM unnest(%(names)s::text[], %(days)s::integer[]) WITH ORDINALITY AS k (usage_point, day, n)
CROSS JOIN LATERAL (
    SELECT d.* FROM rollups.day AS d
    WHERE d.usage_point = k.usage_point AND d.day = date '0001-01-01' + (k.day - 1)
    ORDER BY d.version DESC LIMIT 1
) AS r;

-- days_within
-- The newest versions of the points' days in [first, until), days as ordinals, by point and day;
-- columns as `days_newest` has them.
SELECT string_agg(int8send(r.n), ''), string_agg(int8send(r.day - date '2000-01-01'), ''),
       string_agg(int8send(r.version), ''),
       string_agg(int8send(r.slots), ''), string_agg(int8send(r.missing), ''),
       string_agg(int8send(coalesce(r.interval_wh, -9223372036854775808)), ''),
       string_agg(int8send(r.slot_qualities), ''),
       string_agg(coalesce(timestamptz_send(r.from_at), int8send(-9223372036854775808)), ''),
       string_agg(int8send(coalesce(r.from_wh, -9223372036854775808)), ''),
       string_agg(int8send(r.from_quality), ''),
       string_agg(coalesce(timestamptz_send(r.to_at), int8send(-9223372036854775808)), ''),
       string_agg(int8send(coalesce(r.to_wh, -9223372036854775808)), ''),
       string_agg(int8send(r.to_quality), '')
FROM (
    SELECT DISTINCT ON (k.n, d.day) k.n, d.*
    FROM unnest(%(names)s::text[]) WITH ORDINALITY AS k (usage_point, n)
    JOIN rollups.day AS d ON d.usage_point = k.usage_point
    WHERE d.day >= date '0001-01-01' + (%(first)s::integer - 1)
      AND d.day < date '0001-01-01' + (%(until)s::integer - 1)
    ORDER BY k.n, d.day, d.version DESC
) AS r;

-- copy_days
-- New versions, one row each; a version that is known already is a bug and refused by the key.
COPY rollups.day (usage_point, day, version, known_at, zone, slots, missing, slot_qualities,
                  from_quality, to_quality, basis, interval_wh, from_at, from_wh, to_at, to_wh,
                  wh) FROM STDIN (FORMAT binary);

-- versions_of_day
-- Every version of one day, oldest first.
SELECT d.usage_point, d.day, d.zone, d.version, d.known_at, d.slots, d.missing, d.interval_wh,
       d.slot_qualities, d.from_at, d.from_wh, d.from_quality, d.to_at, d.to_wh, d.to_quality
FROM rollups.day AS d
WHERE d.usage_point = %(usage_point)s AND d.day = %(day)s
ORDER BY d.version;

-- periods_at
-- For each (usage point, kind, name) the version that held at a knowledge time, in any order.
SELECT r.usage_point, r.kind, r.name, r.version, r.known_at, r.first_day, r.until_day, r.days_told,
       r.slots, r.missing, r.slot_qualities, r.register_qualities, r.bases, r.interval_wh,
       r.from_at, r.from_wh, r.to_at, r.to_wh, r.wh
FROM unnest(%(usage_points)s::text[], %(kinds)s::text[], %(names)s::text[])
     AS k (usage_point, kind, name)
CROSS JOIN LATERAL (
    SELECT p.* FROM rollups.period AS p
    WHERE p.usage_point = k.usage_point AND p.kind = k.kind AND p.name = k.name
      AND (%(as_of)s::timestamptz IS NULL OR p.known_at <= %(as_of)s::timestamptz)
    ORDER BY p.version DESC LIMIT 1
) AS r;

-- periods_of
-- The versions that held at a knowledge time of a point's periods of a kind, oldest first.
SELECT DISTINCT ON (p.first_day, p.name)
       p.usage_point, p.kind, p.name, p.version, p.known_at, p.first_day, p.until_day, p.days_told,
       p.slots, p.missing, p.slot_qualities, p.register_qualities, p.bases, p.interval_wh,
       p.from_at, p.from_wh, p.to_at, p.to_wh, p.wh
FROM rollups.period AS p
WHERE p.usage_point = %(usage_point)s AND p.kind = %(kind)s
  AND p.first_day < %(until)s AND p.until_day > %(first)s
  AND (%(as_of)s::timestamptz IS NULL OR p.known_at <= %(as_of)s::timestamptz)
ORDER BY p.first_day, p.name, p.version DESC;

-- insert_periods
-- New versions, one row each.
INSERT INTO rollups.period (usage_point, kind, name, version, known_at, first_day, until_day, days,
                            days_told, slots, missing, slot_qualities, register_qualities, bases,
                            interval_wh, from_at, from_wh, to_at, to_wh, wh)
SELECT k.usage_point, k.kind, k.name, k.version, %(known_at)s, k.first_day, k.until_day,
       k.until_day - k.first_day, k.days_told, k.slots, k.missing, k.slot_qualities,
       k.register_qualities, k.bases, k.interval_wh, k.from_at, k.from_wh, k.to_at, k.to_wh, k.wh
FROM unnest(%(usage_point)s::text[], %(kind)s::text[], %(name)s::text[], %(version)s::integer[],
            %(first_day)s::date[], %(until_day)s::date[], %(days_told)s::smallint[],
            %(slots)s::integer[], %(missing)s::integer[], %(slot_qualities)s::smallint[],
            %(register_qualities)s::smallint[], %(bases)s::smallint[], %(interval_wh)s::bigint[],
            %(from_at)s::timestamptz[], %(from_wh)s::bigint[], %(to_at)s::timestamptz[],
            %(to_wh)s::bigint[], %(wh)s::bigint[])
     AS k (usage_point, kind, name, version, first_day, until_day, days_told, slots, missing,
           slot_qualities, register_qualities, bases, interval_wh, from_at, from_wh, to_at, to_wh,
           wh);
